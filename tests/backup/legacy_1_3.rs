//! What only a 1.3 does (`docs/formats/neo4j-1.3.md` §6): it leaves indexes out of a full copy that it has not opened since
//! its start, and it never sends an answer of certain sizes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use crate::support::{Finished, Options, Peer, Release, our_tool, require_peers};
use tempfile::TempDir;

use neo4j_format::{
    ids::TxId,
    wire::{Decoder, Dialect, Event, request},
};

const RELEASE: Release = Release::V1_3;
const SEED: u64 = 3;

fn back_up(mode: &str, source: &Peer, to: &Path, options: &[&str]) -> Finished {
    let (uri, to) = (source.uri(), to.to_str().unwrap());
    our_tool(&[&[mode, "-from", &uri, "-to", to], options].concat())
}

/// A source with a load, started again without a query to most of its indexes.
fn restarted(dir: &Path, transactions: u32) -> Peer {
    let options = Options::source(RELEASE);
    let mut source = Peer::start(RELEASE, dir, &options);
    source.load(SEED, transactions);
    source.quit();
    Peer::start(RELEASE, dir, &options.with("open-indexes=false"))
}

#[test]
fn indexes_that_a_server_has_not_opened_since_its_start_are_in_the_backup() {
    if !require_peers(RELEASE) {
        return;
    }
    let work = TempDir::new().unwrap();
    let copy = work.path().join("copy");
    let mut source = restarted(&work.path().join("source"), 60);
    let finished = back_up("-full", &source, &copy, &[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("has not opened"), "{}", finished.stderr);
    assert!(
        !copy.join("index/lucene/node/people").exists(),
        "the server sent all of its indexes"
    );
    let (expected, found) = (source.contents(), Peer::contents_of_copy(RELEASE, &copy));
    assert_eq!(found.difference(&expected), None);

    source.load(SEED, 60);
    let finished = back_up("-incremental", &source, &copy, &[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(
        Peer::contents_of_copy(RELEASE, &copy).difference(&source.contents()),
        None
    );
}

#[test]
fn indexes_that_cannot_be_had_are_named_and_the_graph_is_whole() {
    if !require_peers(RELEASE) {
        return;
    }
    let work = TempDir::new().unwrap();
    let (dir, copy) = (work.path().join("source"), work.path().join("copy"));
    let mut source = restarted(&dir, 60);
    for entry in fs::read_dir(dir.join("index")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("lucene.log.v") {
            fs::remove_file(path).unwrap();
        }
    }
    let finished = back_up("-full", &source, &copy, &["-silence-timeout", "4"]);
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    assert!(finished.stderr.contains("node index \"people\""), "{}", finished.stderr);
    assert_eq!(
        Peer::contents_of_copy(RELEASE, &copy).graph_difference(&source.contents()),
        None
    );
}

/// Answers whose bytes, chunk header included, number as many times 256 as a power of two are not sent.
fn is_lost(size: usize) -> bool {
    size.is_multiple_of(256) && (size / 256).is_power_of_two()
}

/// Last transactions of graph and indexes, and what the transactions since the state before add to an answer.
#[derive(Debug, Clone, Copy)]
struct State {
    last: [i64; 2],
    adds: [usize; 2],
}

const SOURCES: [&str; 2] = ["nioneodb", "lucene-index"];

/// The answer to a request for what follows; `None` when the server says nothing for two seconds.
fn ask(port: u16, last: [i64; 2]) -> Option<Vec<u8>> {
    let asked = [(SOURCES[0], TxId(last[0])), (SOURCES[1], TxId(last[1]))];
    answer(
        port,
        &request::incremental(Dialect::D13, &asked),
        Duration::from_secs(2),
    )
}

/// The answer to a request, one chunk; `None` when the server says nothing for so long.
fn answer(port: u16, request: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.write_all(request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut chunk = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut chunk).unwrap();
    Some([&length[..], &chunk].concat())
}

/// Bytes of an answer's chunk: header, store id, names of the sources, transactions, a zero; without transactions only
/// the first two and the zero.
fn size(adds: [usize; 2]) -> usize {
    if adds == [0, 0] {
        return 1 + 16 + 1;
    }
    let names = SOURCES.iter().map(|name| 4 + 2 * name.len());
    1 + 16 + 1 + names.sum::<usize>() + adds[0] + adds[1] + 1
}

fn read(answer: &[u8], before: State) -> State {
    let (mut decoder, mut input) = (Decoder::incremental(Dialect::D13), answer);
    let (mut state, mut source, mut body) = (State { adds: [0, 0], ..before }, 0, 0_usize);
    loop {
        match decoder.next(&mut input).unwrap().unwrap() {
            Event::Transaction(name, id) => {
                source = SOURCES.iter().position(|known| **known == *name).unwrap();
                (state.last[source], body) = (id.0, 0);
            }
            Event::Data(piece) => body += piece.len(),
            Event::TransactionEnd => state.adds[source] += 9 + body + body.div_ceil(255),
            Event::End => break,
            Event::StoreId(_) | Event::File(_) | Event::FileEnd => {}
        }
    }
    assert_eq!(answer.len() - 4, size(state.adds), "{state:?}");
    state
}

/// Numbers of two transactions of the load between which an answer has a size that gets lost, and the ids at the first.
fn find_lost(states: &[State]) -> Option<(usize, usize)> {
    (0..states.len()).find_map(|from| {
        let mut adds = [0, 0];
        let to = (from + 1..states.len()).find(|to| {
            adds = [adds[0] + states[*to].adds[0], adds[1] + states[*to].adds[1]];
            is_lost(size(adds)) && adds[0] > 0 && adds[1] > 0
        });
        to.map(|to| (from, to))
    })
}

#[test]
fn an_answer_of_a_size_that_a_server_loses_is_asked_for_in_parts() {
    if !require_peers(RELEASE) {
        return;
    }
    let work = TempDir::new().unwrap();
    let dir = |name: &str| work.path().join(name);
    let options = Options::source(RELEASE);
    let mut scout = Peer::start(RELEASE, &dir("scout"), &options);
    let mut states = vec![State {
        last: [1, 1],
        adds: [0, 0],
    }];
    let (from, to) = loop {
        assert!(states.len() < 300, "no two transactions found");
        scout.load(SEED, 1);
        let before = *states.last().unwrap();
        // one that gets lost by itself ends the search at once
        let Some(answer) = ask(scout.port(), before.last) else {
            break (states.len() - 1, states.len());
        };
        states.push(read(&answer, before));
        if let Some(found) = find_lost(&states) {
            break found;
        }
    };
    eprintln!("between transactions {from} and {to} of the load");
    drop(scout);

    let mut source = Peer::start(RELEASE, &dir("source"), &options);
    source.replay(SEED, u64::try_from(from).unwrap());
    assert_eq!(back_up("-full", &source, &dir("copy"), &[]).code, Some(0));
    source.replay(SEED, u64::try_from(to).unwrap());
    assert_eq!(ask(source.port(), states[from].last), None, "the answer is not lost");
    let finished = back_up("-incremental", &source, &dir("copy"), &["-silence-timeout", "3"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("each data source alone"),
        "{}",
        finished.stderr
    );
    assert_eq!(
        Peer::contents_of_copy(RELEASE, &dir("copy")).difference(&source.contents()),
        None
    );
}

/// Contents of a file that makes an answer of `size` bytes, in which it has a name of so many letters, one that gets lost.
fn filler(size: usize, letters: usize) -> Option<Vec<u8>> {
    let with_head = size + 2 + 2 * letters + 1;
    let lost = (0..usize::BITS - 9).map(|k| 256 << k).find(|lost| *lost > with_head)?;
    let length = (lost - with_head) * 255 / 256;
    let found =
        (length.saturating_sub(1)..=length + 1).find(|length| with_head + length + length.div_ceil(255) == lost)?;
    Some(vec![0; found])
}

#[test]
#[ignore = "takes half a minute; tests/run full"]
fn a_full_answer_of_a_size_that_a_server_loses_is_told_and_there_again_after_a_transaction() {
    if !require_peers(RELEASE) {
        return;
    }
    let work = TempDir::new().unwrap();
    let dir = |name: &str| work.path().join(name);
    // mapped buffers make a server pad its files with megabytes of zeros
    let options = Options::source(RELEASE).with("use_memory_mapped_buffers=false");
    let mut source = Peer::start(RELEASE, &dir("source"), &options);
    source.load(SEED, 30);
    let full = request::full(Dialect::D13);
    let patience = Duration::from_secs(5);
    // what was not opened yet is from then on
    answer(source.port(), &full, patience).unwrap();
    let size = answer(source.port(), &full, patience).unwrap().len() - 4;
    // a server sends every file of its directory whose name begins like this
    let (name, contents) = ["neostore.filler", "neostore.fillers"]
        .iter()
        .find_map(|name| Some((name, filler(size, name.len())?)))
        .unwrap();
    fs::write(dir("source").join(name), &contents).unwrap();
    assert_eq!(answer(source.port(), &full, patience), None, "the answer is not lost");

    let finished = back_up("-full", &source, &dir("copy"), &["-silence-timeout", "5"]);
    assert_eq!(finished.code, Some(17), "{}", finished.stderr);
    for told in ["lose answers of a few sizes", "run again after another transaction"] {
        assert!(finished.stderr.contains(told), "{}", finished.stderr);
    }
    assert!(!dir("copy").exists());

    source.load(SEED, 3);
    let finished = back_up("-full", &source, &dir("copy"), &["-silence-timeout", "60"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(
        Peer::contents_of_copy(RELEASE, &dir("copy")).difference(&source.contents()),
        None
    );
}
