//! Native replay against the real thing: the copy of a full backup under a random load, once finished by us and once left
//! as it came off the wire with its transactions in the log, for Neo4j's own recovery to finish. Both have to hold the same
//! records.
//!
//! What may differ, and why:
//!
//! * bytes of a record in use that its content does not reach: behind the data of a dynamic block, and behind the blocks of
//!   a property record. Neither side writes them, so they are what stood there before, and Neo4j's recovery reads and writes
//!   whole pages of a file that was still changing when it was copied;
//! * records that are not in use, for the same reason; both sides clear the in-use information only, so that has to agree;
//! * `neostore` record 2, the version of the next log: recovery closes one log more than we do;
//! * `.id` files: recovery collects free ids, a backup keeps none (`docs/formats/store-format.md` §6), and zeros behind the
//!   last record in use.
//!
//! `RECOVERY_SEEDS=1,2,3` chooses other loads, `tests/run full recovery` runs many. With `RECOVERY_KEEP` set the directories stay, and
//! the answers of the server beside them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::support::{Options, Peer, Release, our_tool, require_peers};
use tempfile::Builder;

use neo4j_format::{
    DirHandle,
    ids::{DataSource, TxId},
    log::{Buffer, Layout, LogFormat, LogHeader, LogWriter, TransactionReader},
    store::{Header, StoreFile, StoreFormat},
    wire::{Decoder, Dialect, Event},
};

/// Transactions before the backup.
const BEFORE: u32 = 300;

/// One answer as it came off the wire, and whether it is that of a full backup.
#[derive(Debug, Clone)]
struct Answer {
    full: bool,
    bytes: Vec<u8>,
}

/// Passes connections on to a server and keeps its answers in the order in which they were asked for.
fn recording_proxy(server: u16) -> (u16, Arc<Mutex<Vec<Answer>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&answers);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
            let mut request = vec![0; 4];
            if client.read_exact(&mut request).is_err() {
                continue;
            }
            let length = usize::try_from(u32::from_be_bytes(*request.first_chunk().unwrap())).unwrap();
            request.resize(4 + length, 0);
            client.read_exact(&mut request[4..]).unwrap();
            server.write_all(&request).unwrap();
            // the type of request follows the chunk header of one or two bytes
            let full = request[if length < 20 { 5 } else { 6 }] == 0;
            let place = {
                let mut answers = shared.lock().unwrap();
                answers.push(Answer {
                    full,
                    bytes: Vec::new(),
                });
                answers.len() - 1
            };
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut piece = vec![0; 65_536];
                while let Ok(n @ 1..) = server.read(&mut piece) {
                    shared.lock().unwrap()[place].bytes.extend(&piece[..n]);
                    if client.write_all(&piece[..n]).is_err() {
                        break;
                    }
                }
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    (port, answers)
}

/// Lays out what the answers hold: the files as they came, and the graph's transactions up to `last` in its first slot.
fn lay_out(dir: &Path, answers: &[Answer], dialect: Dialect, format: StoreFormat, last: TxId) -> u64 {
    let mut transactions: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
    for answer in answers {
        let mut decoder = if answer.full {
            Decoder::full(dialect)
        } else {
            Decoder::incremental(dialect)
        };
        let mut input = &answer.bytes[..];
        let (mut file, mut transaction) = (None, None);
        loop {
            match decoder.next(&mut input) {
                Ok(Some(Event::File(path))) => {
                    let path = dir.join(path.as_str());
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    file = Some(fs::File::create(path).unwrap());
                }
                Ok(Some(Event::Transaction(source, id))) => {
                    transaction = (&*source == DataSource::Graph.name()).then_some(id.0);
                    transaction.map(|id| transactions.insert(id, Vec::new()));
                }
                Ok(Some(Event::Data(piece))) => match (&mut file, transaction) {
                    (Some(file), _) => file.write_all(piece).unwrap(),
                    (None, Some(id)) => transactions.get_mut(&id).unwrap().extend(piece),
                    (None, None) => {}
                },
                Ok(Some(Event::FileEnd)) => file = None,
                Ok(Some(Event::TransactionEnd | Event::StoreId(_))) => {}
                // a probe's answer is no response
                Ok(Some(Event::End) | None) | Err(_) => break,
            }
        }
    }
    // the Lucene part is not looked at, and files that are being written need not open
    let _ = fs::remove_dir_all(dir.join("index"));
    transactions.retain(|id, _| *id <= last.0);
    let Some((first, _)) = transactions.first_key_value() else {
        return 0;
    };
    let layout = Layout {
        format: LogFormat::from(format),
        source: DataSource::Graph,
    };
    let header = LogHeader {
        format: layout.format,
        version: Header::open(&DirHandle::open(dir).unwrap())
            .unwrap()
            .log_version()
            .unwrap(),
        previous_last_tx: TxId(*first).previous(),
    };
    let log = fs::File::create(dir.join("nioneo_logical.log.1")).unwrap();
    let (mut log, mut buffer) = (LogWriter::create(log, header, layout).unwrap(), Buffer::new());
    for (id, bytes) in &transactions {
        let mut reader = TransactionReader::new(&bytes[..], layout, TxId(*id), &mut buffer);
        log.append(&mut reader).unwrap();
    }
    log.finish().unwrap();
    fs::write(dir.join("nioneo_logical.log.active"), [0, b'1', 0, 0]).unwrap();
    transactions.len() as u64
}

/// The records of a store file.
struct Records<'a> {
    kind: StoreFile,
    format: StoreFormat,
    bytes: &'a [u8],
    size: usize,
}

impl<'a> Records<'a> {
    fn of(kind: StoreFile, format: StoreFormat, bytes: &'a [u8]) -> Records<'a> {
        let size = kind.record_size(format).map_or_else(
            || usize::try_from(u32::from_be_bytes(*bytes.first_chunk().unwrap())).unwrap(),
            |size| usize::try_from(size).unwrap(),
        );
        let end = bytes.len() - kind.trailer(format).len();
        assert_eq!(
            &bytes[end..],
            kind.trailer(format).as_bytes(),
            "{} is not closed",
            kind.name()
        );
        assert_eq!(end % size, 0, "{}", kind.name());
        let bytes = &bytes[..end];
        Records {
            kind,
            format,
            bytes,
            size,
        }
    }

    fn len(&self) -> usize {
        self.bytes.len() / self.size
    }

    /// The bytes of a record that mean something; `None` for one that is not in use.
    fn meaning(&self, id: usize) -> Option<&'a [u8]> {
        let record = self.bytes.get(id * self.size..(id + 1) * self.size)?;
        let current = self.format == StoreFormat::Current;
        let field = |at: usize| usize::try_from(u32::from_be_bytes(*record[at..].first_chunk().unwrap())).unwrap();
        match self.kind {
            // the block size
            kind if kind.is_dynamic() && id == 0 => Some(&record[..4]),
            kind if kind.is_dynamic() && current => {
                (record[0] >> 4 == 1).then(|| &record[..8 + (field(0) & 0x00ff_ffff)])
            }
            kind if kind.is_dynamic() => (record[0] & 1 == 1).then(|| &record[..13 + field(5)]),
            StoreFile::Property if current => {
                let blocks: Vec<usize> = (0..4).map(|i| usize::from(record[13 + 8 * i] & 15)).collect();
                (1..=12).contains(&blocks[0]).then(|| {
                    let property = neo4j_format::store::record::Property::decode(record.try_into().unwrap()).unwrap();
                    &record[..9 + 8 * usize::from(property.used)]
                })
            }
            StoreFile::Neostore => Some(record),
            _ => (record[0] & 1 == 1).then_some(record),
        }
    }
}

/// What differs between two stores, `ours` and the one that Neo4j recovered; how many records in use were compared.
fn compare(ours: &Path, theirs: &Path, format: StoreFormat) -> (Vec<String>, usize) {
    let (mut differences, mut compared) = (Vec::new(), 0);
    for kind in StoreFile::ALL {
        let read = |dir: &Path| fs::read(dir.join(kind.name())).unwrap();
        let (ours, theirs) = (read(ours), read(theirs));
        let (ours, theirs) = (Records::of(kind, format, &ours), Records::of(kind, format, &theirs));
        for id in 0..ours.len().max(theirs.len()) {
            let (our, their) = (ours.meaning(id), theirs.meaning(id));
            compared += usize::from(our.is_some());
            let log_version = kind == StoreFile::Neostore && id == 2;
            if our != their && !log_version {
                differences.push(format!(
                    "{} record {id}:\n  ours   {our:02x?}\n  theirs {their:02x?}",
                    kind.name()
                ));
            }
        }
    }
    (differences, compared)
}

/// How often the logs of the graph and of the indexes were rotated, as the logs that are kept tell.
fn rotations(dir: &Path) -> [usize; 2] {
    [dir.to_owned(), dir.join("index")].map(|dir| {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains(".log.v")).count()
    })
}

fn dialect_of(release: Release) -> Dialect {
    match release {
        Release::V1_3 => Dialect::D13,
        Release::V1_4_2 => Dialect::D14,
        Release::V1_5 => Dialect::D15,
        _ => Dialect::D18,
    }
}

fn replay_equals_recovery(release: Release, seed: u64) {
    let keep = env::var_os("RECOVERY_KEEP").is_some();
    let work = Builder::new().disable_cleanup(keep).tempdir().unwrap();
    let dir = |name: &str| work.path().join(name);
    let (ours, raw) = (dir("ours"), dir("raw"));
    // mapped buffers make a server pad its files with megabytes of zeros; an index deleted during a full backup can end a
    // server (`docs/formats/wire-protocol.md` §6.3), and this is about the graph
    let options = Options::source(release)
        .with("use_memory_mapped_buffers=false")
        .with("delete-indexes=false");
    let mut source = Peer::start(release, &dir("source"), &options);
    source.load(seed, BEFORE);
    let (port, answers) = recording_proxy(source.port());
    let uri = format!("single://127.0.0.1:{port}");
    let rotated = rotations(source.dir()).map(|before| before + 1);
    let finished = thread::scope(|scope| {
        // slow, so that the load changes files while they are copied
        let to = ours.to_str().unwrap();
        let run = scope.spawn(|| our_tool(&["-full", "-from", &uri, "-to", to, "-max-rate", "150k"]));
        // a server without mapped buffers that rotates while it commits writes files wrongly at times
        // (`docs/formats/wire-protocol.md` §9.4)
        while rotations(source.dir()) != rotated && !run.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        source.start_load(seed, 0);
        run.join().unwrap()
    });
    source.stop_load();
    let answers = answers.lock().unwrap().clone();
    if keep {
        for (number, answer) in answers.iter().enumerate() {
            fs::write(dir(&format!("answer-{number}")), &answer.bytes).unwrap();
        }
    }
    assert!(finished.success(), "{}", finished.stderr);
    drop(source);

    let header = Header::open(&DirHandle::open(&ours).unwrap()).unwrap();
    let (format, last) = (header.format().unwrap(), header.last_transaction().unwrap());
    let dialect = dialect_of(release);
    fs::create_dir(&raw).unwrap();
    let transactions = lay_out(&raw, &answers, dialect, format, last);
    assert!(
        transactions > 3,
        "only {transactions} transactions were committed meanwhile"
    );
    Peer::boot(release, &raw).quit();
    let (differences, compared) = compare(&ours, &raw, format);
    eprintln!(
        "neo4j {}, seed {seed}: {transactions} transactions replayed, {compared} records in use, {} differ",
        release.name(),
        differences.len()
    );
    assert!(compared > 1000);
    assert!(
        differences.is_empty(),
        "neo4j {}, seed {seed}: {} records differ\n{}",
        release.name(),
        differences.len(),
        differences[..differences.len().min(10)].join("\n")
    );

    // what the comparison would say of a single bit
    let nodes = ours.join(StoreFile::Node.name());
    let mut bytes = fs::read(&nodes).unwrap();
    bytes[8] ^= 1;
    fs::write(&nodes, bytes).unwrap();
    assert_eq!(compare(&ours, &raw, format).0.len(), 1);
}

fn seeds() -> Vec<u64> {
    let text = env::var("RECOVERY_SEEDS").unwrap_or_else(|_| "1".to_owned());
    text.split(',').map(|seed| seed.parse().unwrap()).collect()
}

macro_rules! for_each_release {
    ($($(#[$ignored:meta])? $name:ident: $release:ident),* $(,)?) => {$(
        #[test]
        $(#[$ignored])?
        fn $name() {
            if require_peers(Release::$release) {
                for seed in seeds() {
                    replay_equals_recovery(Release::$release, seed);
                }
            }
        }
    )*};
}

for_each_release! {
    our_replay_equals_the_recovery_of_1_4_2: V1_4_2,
    our_replay_equals_the_recovery_of_1_8: V1_8,
    #[ignore = "another release; tests/run full"]
    our_replay_equals_the_recovery_of_1_9_9: V1_9_9,
}
