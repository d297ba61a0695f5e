//! A source whose transactions a test makes up: it hands out the recorded full backup of a Neo4j 1.8, and then whatever
//! transactions were committed to it, changed on the way as the test likes.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "panicking is how tests report"
)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use neo4j_format::{
    ids::{DataSource, TxId},
    log::{
        encode::Command,
        entry::{self, Commit, CommitKind, CommitStamp, Origin, Start},
        format::LogFormat,
    },
    store::record::{Node, RecordId},
    wire::{Decoder, Dialect, Event},
};

const FULL: &[u8] = include_bytes!("../vectors/1.8-full.bin");
const OVERLAP: &[u8] = include_bytes!("../vectors/1.8-full-overlap.bin");
const LEVEL: &[u8] = include_bytes!("../vectors/1.8-full-level.bin");
const PROBE: &[u8] = include_bytes!("../vectors/1.8-probe.bin");
const PRUNED: &[u8] = include_bytes!("../vectors/1.8-pruned.bin");

/// Frame length and chunk header, before the store id of a response.
const CHUNK_HEADER: usize = 6;
const STORE_ID: usize = 24;
/// Header of the last chunk of a D18 message, and of one that is not.
const LAST: [u8; 2] = [8, 1];
const MORE: [u8; 2] = [9, 1];
/// Bytes of the largest chunk that this source sends.
const CHUNK: usize = 1 << 20;
/// Version, kind of request and context without transactions, before the data sources of a request.
const REQUEST_HEADER: usize = 19;

/// A transaction as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub source: String,
    pub id: i64,
    pub body: Vec<u8>,
}

/// An answer to a request for transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub store_id: Vec<u8>,
    /// All that were asked for.
    pub sources: Vec<String>,
    pub transactions: Vec<Transaction>,
}

/// What a test does to an answer.
type Tampering = Arc<dyn Fn(&mut Answer) + Send + Sync>;
/// What it does to its bytes.
type Noise = Arc<dyn Fn(&mut Vec<u8>) + Send + Sync>;

struct State {
    transactions: Vec<Transaction>,
    /// Smallest id that is still there, for both data sources.
    kept_from: i64,
    tampering: Option<Tampering>,
    noise: Option<Noise>,
    /// Data sources and ids of every request.
    asked: Vec<Vec<(String, i64)>>,
}

/// The source; it lives as long as the test.
pub struct Source {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Source {
    /// One that has the transactions of the recorded backup: the graph's up to 5, the indexes' up to 6.
    pub fn recorded() -> Source {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            transactions: recorded_transactions(),
            kept_from: 0,
            tampering: None,
            noise: None,
            asked: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                // a client that goes away is no fault of the source
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let Some(request) = read_frame(&mut stream) else {
                        return;
                    };
                    let answer = respond(&request, &mut shared.lock().unwrap_or_else(PoisonError::into_inner));
                    let _ = stream.write_all(&answer);
                });
            }
        });
        Source { port, state }
    }

    pub fn uri(&self) -> String {
        format!("single://127.0.0.1:{}", self.port)
    }

    /// Id of the last transaction of a data source.
    pub fn last(&self, source: DataSource) -> i64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = state.transactions.iter().filter(|tx| tx.source == source.name());
        of_source.map(|tx| tx.id).max().unwrap()
    }

    /// Commits graph commands in one transaction; gives its id.
    pub fn commit(&self, commands: &[Command<'_>]) -> i64 {
        let id = self.last(DataSource::Graph) + 1;
        let mut encoded = Vec::new();
        for command in commands {
            let mut bytes = Vec::new();
            command.encode(LogFormat::V2, &mut bytes);
            encoded.push(bytes);
        }
        self.push(DataSource::Graph, id, transaction(DataSource::Graph, id, &encoded));
        id
    }

    /// Adds a transaction as it is.
    pub fn push(&self, source: DataSource, id: i64, body: Vec<u8>) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .transactions
            .push(Transaction {
                source: source.name().to_owned(),
                id,
                body,
            });
    }

    /// Takes the last transactions of the graph back, as a server does that was restored from an older state.
    pub fn forget(&self, source: DataSource, count: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..count {
            let at = state
                .transactions
                .iter()
                .rposition(|tx| tx.source == source.name())
                .unwrap();
            state.transactions.remove(at);
        }
    }

    /// Transactions before this id are gone.
    pub fn prune_before(&self, id: i64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).kept_from = id;
    }

    /// From now on answers are changed like this before they are sent.
    pub fn tamper(&self, change: impl Fn(&mut Answer) + Send + Sync + 'static) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tampering = Some(Arc::new(change));
    }

    /// From now on their bytes are.
    pub fn damage(&self, change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).noise = Some(Arc::new(change));
    }

    /// From now on answers are as they should be.
    pub fn honest(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.tampering, state.noise) = (None, None);
    }

    /// What was asked for since the last call.
    pub fn asked(&self) -> Vec<Vec<(String, i64)>> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).asked)
    }

    /// The bytes of the answer that a request for everything after these ids would get.
    pub fn answer(&self, after: &[(DataSource, i64)]) -> Vec<u8> {
        let after: Vec<_> = after
            .iter()
            .map(|(source, id)| (source.name().to_owned(), *id))
            .collect();
        answer(&after, &self.state.lock().unwrap_or_else(PoisonError::into_inner)).encode()
    }
}

/// The command that creates an empty node.
pub fn creates(id: u64) -> Command<'static> {
    let node = Node {
        first_relationship: None,
        first_property: None,
    };
    Command::Node(RecordId(id), Some(node))
}

/// The entries of a transaction that commits in one phase.
pub fn transaction(source: DataSource, id: i64, commands: &[Vec<u8>]) -> Vec<u8> {
    const IDENTIFIER: i32 = 77;
    let time = 1_700_000_000_000 + id;
    let mut global_id = b"NEOKERNL\0made up!".to_vec();
    global_id.extend(id.to_be_bytes());
    let mut body = Vec::new();
    let start = Start {
        global_id: &global_id,
        branch: source.branch_qualifier(),
        identifier: IDENTIFIER,
        origin: Some(Origin {
            master_id: -1,
            my_id: -1,
            time,
        }),
    };
    start.encode(&mut body).unwrap();
    for command in commands {
        body.extend(entry::command(IDENTIFIER));
        body.extend(command);
    }
    let commit = Commit {
        kind: CommitKind::OnePhase,
        identifier: IDENTIFIER,
        tx: TxId(id),
        stamp: CommitStamp::Time(time),
    };
    commit.encode(&mut body);
    body.extend(entry::done(IDENTIFIER));
    body
}

impl Answer {
    fn encode(&self) -> Vec<u8> {
        let mut payload = self.store_id.clone();
        // nothing can be sent of a data source that is not listed
        let listed: Vec<_> = self
            .transactions
            .iter()
            .filter(|tx| self.sources.contains(&tx.source))
            .collect();
        if listed.is_empty() {
            payload.push(0);
        } else {
            payload.push(u8::try_from(self.sources.len()).unwrap());
            for name in &self.sources {
                let units: Vec<u16> = name.encode_utf16().collect();
                payload.extend(u32::try_from(units.len()).unwrap().to_be_bytes());
                payload.extend(units.into_iter().flat_map(u16::to_be_bytes));
            }
            for tx in listed {
                let number = self.sources.iter().position(|name| *name == tx.source).unwrap() + 1;
                payload.push(u8::try_from(number).unwrap());
                payload.extend(tx.id.to_be_bytes());
                blocks(&tx.body, &mut payload);
            }
            payload.push(0);
        }
        frames(&payload)
    }
}

fn blocks(body: &[u8], out: &mut Vec<u8>) {
    let mut pieces = body.chunks(255).peekable();
    while let Some(piece) = pieces.next() {
        out.push(match pieces.peek() {
            Some(_) => 0,
            None => u8::try_from(piece.len()).unwrap(),
        });
        out.extend(piece);
    }
}

fn frames(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut pieces = payload.chunks(CHUNK).peekable();
    while let Some(piece) = pieces.next() {
        let header = if pieces.peek().is_some() { MORE } else { LAST };
        out.extend(u32::try_from(piece.len() + header.len()).unwrap().to_be_bytes());
        out.extend(header);
        out.extend(piece);
    }
    out
}

fn respond(request: &[u8], state: &mut State) -> Vec<u8> {
    // the probe is in another dialect; the second byte behind the version is the kind of request
    if request.len() == 19 {
        return PROBE.to_vec();
    }
    let sent = |mut bytes: Vec<u8>, state: &State| {
        if let Some(noise) = &state.noise {
            noise(&mut bytes);
        }
        bytes
    };
    if request[2] == 0 {
        return sent(FULL.to_vec(), state);
    }
    let after = asked(&request[REQUEST_HEADER..]);
    state.asked.push(after.clone());
    if after.iter().any(|(_, id)| id + 1 < state.kept_from) {
        return PRUNED.to_vec();
    }
    let mut answer = answer(&after, state);
    if let Some(tampering) = &state.tampering {
        tampering(&mut answer);
    }
    sent(answer.encode(), state)
}

fn answer(after: &[(String, i64)], state: &State) -> Answer {
    let of_source = |(name, last): &(String, i64)| {
        let (name, last) = (name.clone(), *last);
        let wanted = move |tx: &&Transaction| tx.source == name && tx.id > last;
        state.transactions.iter().filter(wanted).cloned().collect::<Vec<_>>()
    };
    Answer {
        store_id: LEVEL[CHUNK_HEADER..CHUNK_HEADER + STORE_ID].to_vec(),
        sources: after.iter().map(|(name, _)| name.clone()).collect(),
        transactions: after.iter().flat_map(of_source).collect(),
    }
}

/// Data sources and ids of a request.
fn asked(mut fields: &[u8]) -> Vec<(String, i64)> {
    let mut take = |n: usize| {
        let (now, later) = fields.split_at(n);
        fields = later;
        now
    };
    let count = take(1)[0];
    (0..count)
        .map(|_| {
            let units = u32::from_be_bytes(take(4).try_into().unwrap());
            let name: Vec<u16> = take(2 * usize::try_from(units).unwrap())
                .chunks(2)
                .map(|unit| u16::from_be_bytes([unit[0], unit[1]]))
                .collect();
            let id = i64::from_be_bytes(take(8).try_into().unwrap());
            (String::from_utf16(&name).unwrap(), id)
        })
        .collect()
}

fn recorded_transactions() -> Vec<Transaction> {
    let mut decoder = Decoder::incremental(Dialect::D18);
    let mut found = Vec::new();
    let mut input = OVERLAP;
    loop {
        match decoder.next(&mut input).unwrap().unwrap() {
            Event::Transaction(source, id) => found.push(Transaction {
                source: source.to_string(),
                id: id.0,
                body: Vec::new(),
            }),
            Event::Data(bytes) => found.last_mut().unwrap().body.extend(bytes),
            Event::End => return found,
            _ => {}
        }
    }
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}
