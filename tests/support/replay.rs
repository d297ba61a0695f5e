//! A server that plays back what a Neo4j 1.8 sent in one full backup, and the judgement of what became of it.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use serde_json::Value;

use neo4j_format::wire::{Decoder, Dialect, Event};

/// What the recorded server sent.
pub const FULL: &[u8] = include_bytes!("../vectors/1.8-full.bin");
/// The last transaction of each data source, which the copied files contain already.
pub const OVERLAP: &[u8] = include_bytes!("../vectors/1.8-full-overlap.bin");
/// Store id and no transaction.
pub const LEVEL: &[u8] = include_bytes!("../vectors/1.8-full-level.bin");
const PROBE: &[u8] = include_bytes!("../vectors/1.8-probe.bin");

/// Bytes of a frame's length and chunk header.
pub const HEAD: usize = 6;

/// The response with one more file, of an index, that has this many bytes: long ones are written in another way.
pub fn with_large_file(length: usize) -> Vec<u8> {
    let (mut decoder, mut input, mut end) = (Decoder::full(Dialect::D18), FULL, 0);
    loop {
        match decoder.next(&mut input).unwrap() {
            Some(Event::FileEnd) => end = FULL.len() - input.len(),
            Some(Event::StoreId(_)) => break,
            _ => {}
        }
    }
    let path: Vec<u16> = "index/lucene/node/large/_0.cfs".encode_utf16().collect();
    let mut file = u16::try_from(path.len()).unwrap().to_be_bytes().to_vec();
    file.extend(path.into_iter().flat_map(u16::to_be_bytes));
    file.push(1);
    let content = vec![7; length];
    let mut blocks = content.chunks(255).peekable();
    while let Some(block) = blocks.next() {
        file.push(match blocks.peek() {
            Some(_) => 0,
            None => u8::try_from(block.len()).unwrap(),
        });
        file.extend(block);
    }
    let payload = [&FULL[HEAD..end], &file, &FULL[end..]].concat();
    let frame = u32::try_from(payload.len() + HEAD - 4).unwrap();
    [&frame.to_be_bytes()[..], &FULL[4..HEAD], &payload].concat()
}

/// How the server answers the request for all files.
#[derive(Debug, Clone)]
pub enum Answer {
    /// With this.
    Whole(Vec<u8>),
    /// With this, and closes.
    Cut(Vec<u8>),
    /// With this, and then silence.
    Stalled(Vec<u8>),
    /// With this, and with the second part once it is told to go on.
    Halting(Vec<u8>, Vec<u8>),
}

impl Answer {
    /// As recorded.
    pub fn recorded() -> Answer {
        Answer::Whole(FULL.to_vec())
    }
}

/// How it answers requests for transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transactions {
    /// As recorded.
    Recorded,
    /// There never are any.
    None,
    /// There never are any, and it is another database.
    OfAnotherDatabase,
}

/// The server; it lives as long as the test.
#[derive(Debug)]
pub struct Server {
    port: u16,
    state: Arc<Mutex<(Answer, Transactions)>>,
    sent: Mutex<Receiver<()>>,
    goes_on: Sender<()>,
}

impl Server {
    pub fn start(answer: Answer, transactions: Transactions) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new((answer, transactions)));
        let (tell, sent) = mpsc::channel();
        let shared = Arc::clone(&state);
        let (goes_on, told) = mpsc::channel();
        let told = Arc::new(Mutex::new(told));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, tell, told) = (Arc::clone(&shared), tell.clone(), Arc::clone(&told));
                // a client that was killed is no fault of the server
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let Some(request) = read_frame(&mut stream) else {
                        return;
                    };
                    let (answer, transactions) = shared.lock().unwrap().clone();
                    let answer = respond(&request, answer, transactions);
                    let (Answer::Whole(bytes)
                    | Answer::Cut(bytes)
                    | Answer::Stalled(bytes)
                    | Answer::Halting(bytes, _)) = &answer;
                    let _ = stream.write_all(bytes);
                    match answer {
                        Answer::Whole(_) => {}
                        Answer::Cut(_) => drop(stream.shutdown(Shutdown::Both)),
                        Answer::Stalled(_) => drop(tell.send(())),
                        Answer::Halting(_, rest) => {
                            let _ = tell.send(());
                            if told.lock().unwrap().recv().is_ok() {
                                let _ = stream.write_all(&rest);
                            }
                        }
                    }
                    // open until the client goes
                    let _ = stream.read(&mut [0]);
                });
            }
        });
        let sent = Mutex::new(sent);
        Server {
            port,
            state,
            sent,
            goes_on,
        }
    }

    /// A server that plays everything back as recorded.
    pub fn recorded() -> Server {
        Server::start(Answer::recorded(), Transactions::Recorded)
    }

    /// From now on it answers otherwise.
    pub fn change(&self, answer: Answer, transactions: Transactions) {
        *self.state.lock().unwrap() = (answer, transactions);
    }

    pub fn uri(&self) -> String {
        format!("single://127.0.0.1:{}", self.port)
    }

    /// Sends the second part of a halting answer.
    pub fn go_on(&self) {
        self.goes_on.send(()).unwrap();
    }

    /// Waits until a stalled or halting answer was sent as far as it goes.
    pub fn wait_until_stalled(&self) {
        self.sent.lock().unwrap().recv().unwrap();
    }
}

fn respond(request: &[u8], answer: Answer, transactions: Transactions) -> Answer {
    if request.len() == 19 {
        return Answer::Whole(PROBE.to_vec());
    }
    // version 8.1, kind of request, context without transactions, number of data sources
    match (request[2], transactions) {
        (0, _) => answer,
        (_, Transactions::Recorded) if request[19] == 2 => Answer::Whole(OVERLAP.to_vec()),
        (_, Transactions::OfAnotherDatabase) => {
            let mut bytes = LEVEL.to_vec();
            bytes[HEAD + 4] ^= 1;
            Answer::Whole(bytes)
        }
        _ => Answer::Whole(LEVEL.to_vec()),
    }
}

/// The next request, `None` where the client has gone.
pub fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

/// `DIR` with a suffix.
pub fn sibling(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// What stands beside the target that has no place there after a run.
pub fn left_over(dir: &Path) -> Vec<String> {
    [".partial", ".ready", ".replaced", ".lock"]
        .into_iter()
        .filter(|suffix| fs::symlink_metadata(sibling(dir, suffix)).is_ok())
        .map(str::to_owned)
        .collect()
}

/// Why `dir` is no complete backup, by its own manifest.
pub fn judge(dir: &Path) -> Result<(), String> {
    let text = fs::read(dir.join("neo4j-backup.json")).map_err(|error| format!("manifest: {error}"))?;
    let manifest: Value = serde_json::from_slice(&text).map_err(|error| format!("manifest: {error}"))?;
    if manifest["state"] != "complete" {
        return Err(format!("state {}", manifest["state"]));
    }
    let files = manifest["files"].as_array().ok_or("no list of files")?;
    for name in STORES.iter().copied().chain(["neo4j-backup.sums"]) {
        if !dir.join(name).is_file() {
            return Err(format!("{name} is missing"));
        }
    }
    for file in files {
        let path = file["path"].as_str().ok_or("a file without a path")?;
        let length = fs::metadata(dir.join(path)).map(|found| found.len());
        if length.as_ref().ok() != file["length"].as_u64().as_ref() {
            return Err(format!("{path}: {length:?} where the manifest says {}", file["length"]));
        }
    }
    Ok(())
}

/// The files of a store.
pub const STORES: [&str; 10] = [
    "neostore",
    "neostore.nodestore.db",
    "neostore.propertystore.db",
    "neostore.propertystore.db.arrays",
    "neostore.propertystore.db.index",
    "neostore.propertystore.db.index.keys",
    "neostore.propertystore.db.strings",
    "neostore.relationshipstore.db",
    "neostore.relationshiptypestore.db",
    "neostore.relationshiptypestore.db.names",
];
