//! The client against a server that says what a test tells it to say.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::support::{Fault, Faulty, replay::read_frame};
use tokio::runtime::Runtime;

use neo4j_backup_core::{
    Error, ErrorKind,
    cancel::Cancel,
    error::Setting,
    source::client::{Incoming, Member, Settings},
};
use neo4j_format::{
    ids::{DataSource, TxId},
    wire::{Dialect, Event},
};

/// What the server does with a request.
#[derive(Clone)]
enum Act {
    /// Says this and leaves the connection open, as real servers do.
    Say(Vec<u8>),
    /// Says this and closes.
    SayAndClose(Vec<u8>),
    /// Says the first once and the second over and over until the client goes.
    Repeat(Vec<u8>, Vec<u8>),
}

/// Nothing is said, the connection stays open.
const SILENCE: Act = Act::Say(Vec::new());

/// A server on a free port; `answer` gets the number of the connection, from 0, and the request's frame.
fn serve(answer: impl Fn(usize, &[u8]) -> Act + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut open = Vec::new();
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let Some(request) = read_frame(&mut stream) else {
                continue;
            };
            match answer(number, &request) {
                Act::Say(bytes) => {
                    stream.write_all(&bytes).unwrap();
                    open.push(stream);
                }
                Act::SayAndClose(bytes) => {
                    stream.write_all(&bytes).unwrap();
                    stream.shutdown(Shutdown::Both).unwrap();
                }
                Act::Repeat(first, bytes) => {
                    stream.write_all(&first).unwrap();
                    thread::spawn(move || while stream.write_all(&bytes).is_ok() {});
                }
            }
        }
    });
    port
}

const PROBE_18: &[u8] = include_bytes!("../vectors/1.8-probe.bin");
const PROBE_15: &[u8] = include_bytes!("../vectors/1.5-probe.bin");
const PROBE_14: &[u8] = include_bytes!("../vectors/1.4.2-probe.bin");
const NOTHING_13: &[u8] = include_bytes!("../vectors/1.3-nothing.bin");
const INCREMENTAL_18: &[u8] = include_bytes!("../vectors/1.8-incremental.bin");
const PRUNED_18: &[u8] = include_bytes!("../vectors/1.8-pruned.bin");

fn is_probe(request: &[u8]) -> bool {
    request.len() == 19 && request[..2] == [0, 1]
}

fn is_empty_list_of_13(request: &[u8]) -> bool {
    request.len() == 11 && request[..2] == [0, 1]
}

/// A D18 server that gives every other request this answer.
fn serve_18(act: Act) -> u16 {
    serve(move |_, request| {
        if is_probe(request) {
            Act::Say(PROBE_18.to_vec())
        } else {
            act.clone()
        }
    })
}

fn settings() -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(5),
        silence_timeout: Some(Duration::from_millis(400)),
        ..Settings::default()
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn find(runtime: &Runtime, port: u16, settings: Settings, cancel: &Cancel) -> Result<Member, Error> {
    runtime.block_on(Member::find("127.0.0.1", port, settings, cancel.clone()))
}

fn found(runtime: &Runtime, port: u16) -> Member {
    find(runtime, port, settings(), &Cancel::default()).unwrap()
}

const ASKED: [(DataSource, TxId); 2] = [(DataSource::Graph, TxId(1)), (DataSource::Lucene, TxId(1))];

/// Bytes of data and number of transactions up to the end.
fn drain(mut incoming: Incoming) -> Result<(u64, u64), Error> {
    let (mut bytes, mut transactions) = (0, 0);
    loop {
        match incoming.next()? {
            Event::Data(data) => bytes += u64::try_from(data.len()).unwrap(),
            Event::TransactionEnd => transactions += 1,
            Event::End => return Ok((bytes, transactions)),
            _ => {}
        }
    }
}

/// One D18 chunk.
fn chunk(header: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 2).unwrap();
    [&length.to_be_bytes()[..], &[header, 1], payload].concat()
}

fn name(text: &str) -> Vec<u8> {
    let units = u16::try_from(text.len()).unwrap().to_be_bytes();
    units
        .into_iter()
        .chain(text.bytes().flat_map(|byte| [0, byte]))
        .collect()
}

/// The beginning of a full backup: the name of a file and 255 of its bytes, more to come.
fn file_begins() -> Vec<u8> {
    chunk(9, &[&name("neostore")[..], &[1, 0], &[7; 255]].concat())
}

#[test]
fn every_dialect_is_found_by_its_answer() {
    let runtime = runtime();
    for (answer, dialect) in [
        (PROBE_18, Dialect::D18),
        (PROBE_15, Dialect::D15),
        (PROBE_14, Dialect::D14),
    ] {
        let port = serve(|_, request| {
            if is_probe(request) {
                Act::Say(answer.to_vec())
            } else {
                SILENCE
            }
        });
        let member = found(&runtime, port);
        assert_eq!(member.dialect(), dialect);
        assert_eq!(member.address(), format!("127.0.0.1:{port}"));
        assert_eq!(member.store_id().is_some(), dialect == Dialect::D14);
    }
    let port = serve(|_, request| {
        if is_empty_list_of_13(request) {
            Act::Say(NOTHING_13.to_vec())
        } else {
            SILENCE
        }
    });
    assert_eq!(found(&runtime, port).dialect(), Dialect::D13);
}

#[test]
fn a_server_that_answers_the_first_probe_late_is_found_nevertheless() {
    let runtime = runtime();
    let port = serve(|number, _| {
        // answered once the second probe has arrived, which a 1.8 server takes for a foreign version as well
        if number == 0 {
            SILENCE
        } else {
            Act::Say(PROBE_18.to_vec())
        }
    });
    assert_eq!(found(&runtime, port).dialect(), Dialect::D18);
}

/// A virtual machine that is paused, a collection of garbage: both requests are answered when it goes on.
#[test]
fn a_server_that_pauses_before_its_first_answer_is_waited_for_as_long_as_for_any_other() {
    let runtime = runtime();
    for (answer, dialect) in [(PROBE_18, Dialect::D18), (PROBE_14, Dialect::D14)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            thread::sleep(Duration::from_secs(7));
            let (mut first, _) = listener.accept().unwrap();
            let (mut second, _) = listener.accept().unwrap();
            read_frame(&mut first).unwrap();
            read_frame(&mut second).unwrap();
            // 1.4 closes what it does not understand
            match dialect {
                Dialect::D14 => drop(second),
                _ => second.write_all(answer).unwrap(),
            }
            first.write_all(answer).unwrap();
        });
        let settings = Settings {
            silence_timeout: Some(Duration::from_mins(1)),
            ..settings()
        };
        let member = find(&runtime, port, settings, &Cancel::default()).unwrap();
        assert_eq!(member.dialect(), dialect);
        server.join().unwrap();
    }
}

#[test]
fn silence_before_the_first_answer_is_a_time_limit() {
    let runtime = runtime();
    let port = serve(|_, _| SILENCE);
    let begun = Instant::now();
    let error = find(&runtime, port, settings(), &Cancel::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimeLimit);
    let text =
        format!("127.0.0.1:{port}: accepted the connection but sent nothing for 0.4 s: paused, or not a backup port");
    assert_eq!(error.to_string(), text);
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_response_of_a_few_bytes_per_second_is_given_up() {
    let runtime = runtime();
    let server = serve_18(Act::Say(INCREMENTAL_18.to_vec()));
    let drips = |min_rate| {
        let after = u64::try_from(PROBE_18.len() + INCREMENTAL_18.len() - 100).unwrap();
        let relay = Faulty::to(server, Fault::Drip(Duration::from_millis(20)), after);
        let settings = Settings { min_rate, ..settings() };
        let port = relay.uri().rsplit(':').next().unwrap().parse().unwrap();
        drain(
            find(&runtime, port, settings, &Cancel::default())
                .unwrap()
                .incremental(&ASKED),
        )
    };
    let error = drips(1024).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimeLimit);
    let text = error.to_string();
    assert!(text.contains("less than the minimum rate of 1024 bytes/s"), "{text}");
    assert_eq!(error.settings(), [Setting::MinRate]);
    assert!(drips(20).unwrap().1 > 2);
}

#[test]
fn the_answer_to_a_probe_is_read_whole_so_that_no_server_sees_a_reset() {
    let runtime = runtime();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_frame(&mut stream).unwrap();
        stream.write_all(PROBE_18).unwrap();
        stream.read(&mut [0]).map_err(|error| error.kind())
    });
    assert_eq!(found(&runtime, port).dialect(), Dialect::D18);
    assert_eq!(server.join().unwrap(), Ok(0));
}

#[test]
fn what_is_no_backup_service_is_told_apart() {
    let runtime = runtime();
    let kind = |act: Act| {
        let port = serve(move |_, _| act.clone());
        let error = find(&runtime, port, settings(), &Cancel::default()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("127.0.0.1:{port}: ")), "{error}");
        assert!(error.hint().is_some());
        (error.kind(), error.to_string())
    };
    let (http, text) = kind(Act::SayAndClose(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    assert_eq!(http, ErrorKind::Protocol);
    assert!(text.contains("HTTP/1.1 400 Bad Request\\r\\n"), "{text}");
    let (closing, text) = kind(Act::SayAndClose(vec![]));
    assert_eq!(closing, ErrorKind::Protocol);
    assert!(text.contains("closed it without an answer"), "{text}");
    let (newer, text) = kind(Act::Say([&chunk(12, &[])[..4], &[8, 2, 0xac, 0xed], &[0; 60]].concat()));
    assert_eq!(newer, ErrorKind::Protocol);
    assert!(text.contains("version 2.2"), "{text}");
}

#[test]
fn nobody_there_is_unreachable_with_each_address_and_cause() {
    let runtime = runtime();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = find(&runtime, port, settings(), &Cancel::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("refused"), "{error}");
    let bad = runtime
        .block_on(Member::find("no.such.host.invalid", 1, settings(), Cancel::default()))
        .unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::Unreachable);
}

#[test]
fn an_incremental_comes_through_event_by_event() {
    let runtime = runtime();
    let port = serve_18(Act::Say(INCREMENTAL_18.to_vec()));
    let mut incoming = found(&runtime, port).incremental(&ASKED);
    assert!(matches!(incoming.next().unwrap(), Event::StoreId(id) if id.store_version.is_some()));
    assert!(matches!(incoming.next().unwrap(), Event::Transaction(source, TxId(2)) if &*source == "nioneodb"));
    assert!(matches!(incoming.next().unwrap(), Event::Data(_)));
    assert!(matches!(incoming.next().unwrap(), Event::TransactionEnd));
    assert!(drain(incoming).unwrap().1 > 2);
}

#[test]
fn the_request_names_the_sources_in_the_order_asked() {
    let runtime = runtime();
    let (tell, told) = mpsc::channel();
    let port = serve(move |number, request| {
        tell.send(request.to_vec()).unwrap();
        Act::Say(if number == 0 {
            PROBE_18.to_vec()
        } else {
            INCREMENTAL_18.to_vec()
        })
    });
    drain(found(&runtime, port).incremental(&ASKED)).unwrap();
    let requests: Vec<Vec<u8>> = told.iter().take(2).collect();
    assert_eq!(requests[0].len(), 19);
    assert_eq!(requests[1][19..24], [2, 0, 0, 0, 8]);
    assert!(requests[1].ends_with(&[0xff; 12]));
}

#[test]
fn a_large_file_arrives_whole_in_large_pieces() {
    let runtime = runtime();
    let size = 3_000_000_usize;
    let data: Vec<u8> = (0..=255).cycle().take(size).collect();
    let mut payload = [&name("neostore")[..], &[1]].concat();
    for block in data.chunks(255) {
        payload.push(if block.len() == 255 {
            0
        } else {
            u8::try_from(block.len()).unwrap()
        });
        payload.extend(block);
    }
    payload.extend([0; 2 + 24 + 1]);
    let mut bytes: Vec<u8> = Vec::new();
    let mut parts = payload.chunks(1_000_000).peekable();
    while let Some(part) = parts.next() {
        bytes.extend(chunk(if parts.peek().is_some() { 9 } else { 8 }, part));
    }
    let mut incoming = found(&runtime, serve_18(Act::Say(bytes))).full();
    let (mut arrived, mut pieces) = (Vec::new(), 0);
    loop {
        match incoming.next().unwrap() {
            Event::File(path) => assert_eq!(path.as_str(), "neostore"),
            Event::Data(piece) => {
                pieces += 1;
                arrived.extend_from_slice(piece);
            }
            Event::End => break,
            _ => {}
        }
    }
    assert!(arrived == data);
    assert!(pieces < 200, "{pieces}");
}

#[test]
fn pruned_logs_need_a_full_backup_and_other_failures_are_the_servers() {
    let runtime = runtime();
    let error = drain(found(&runtime, serve_18(Act::Say(PRUNED_18.to_vec()))).incremental(&ASKED)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FullNeeded);
    assert!(error.to_string().contains("No such log version:0"), "{error}");
    let error = drain(found(&runtime, serve_18(Act::Say(PRUNED_18.to_vec()))).full()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    let unknown = include_bytes!("../vectors/1.8-unknown-source.bin").to_vec();
    let error = drain(found(&runtime, serve_18(Act::Say(unknown))).incremental(&ASKED)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    assert!(error.to_string().contains("No data source 'nothere' found"), "{error}");
}

#[test]
fn a_failure_in_the_middle_of_a_file_is_the_servers() {
    let runtime = runtime();
    let bytes = [&file_begins()[..], PRUNED_18].concat();
    let error = drain(found(&runtime, serve_18(Act::SayAndClose(bytes))).full()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    assert!(error.to_string().contains("neostore"), "{error}");
}

#[test]
fn a_connection_closed_in_a_file_names_file_and_offset() {
    let runtime = runtime();
    let port = serve_18(Act::SayAndClose(file_begins()));
    let error = drain(found(&runtime, port).full()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let text = format!("127.0.0.1:{port}: in file neostore, 281 bytes into the response: the connection was closed");
    assert_eq!(error.to_string(), text);
}

#[test]
fn every_byte_that_arrived_is_handed_on_before_the_error_is() {
    let runtime = runtime();
    let rest = chunk(9, &[&[100][..], &[7; 100]].concat());
    for cut in [file_begins().len() - 1, file_begins().len(), file_begins().len() + 50] {
        let said = [file_begins(), rest.clone()].concat();
        let port = serve_18(Act::SayAndClose(said[..cut].to_vec()));
        let mut incoming = found(&runtime, port).full();
        let mut bytes = 0;
        let error = loop {
            match incoming.next() {
                Ok(Event::Data(data)) => bytes += data.len(),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        // of the second chunk six bytes are its own and one is a block's
        let expected = match cut - (file_begins().len() - 1) {
            0 => 254,
            1 => 255,
            more => 255 + more - 8,
        };
        assert_eq!((error.kind(), bytes), (ErrorKind::Unreachable, expected), "{cut}");
    }
}

#[test]
fn silence_in_a_file_is_a_time_limit() {
    let runtime = runtime();
    let error = drain(found(&runtime, serve_18(Act::Say(file_begins()))).full()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimeLimit);
    assert!(
        error.to_string().contains("neostore") && error.to_string().contains("400ms"),
        "{error}"
    );
}

#[test]
fn what_has_arrived_is_handed_on_though_the_server_pauses() {
    let runtime = runtime();
    let settings = Settings {
        silence_timeout: Some(Duration::from_mins(10)),
        ..settings()
    };
    let port = serve_18(Act::Say(file_begins()));
    let mut incoming = find(&runtime, port, settings, &Cancel::default()).unwrap().full();
    assert!(matches!(incoming.next().unwrap(), Event::File(_)));
    assert!(matches!(incoming.next().unwrap(), Event::Data(data) if data.len() == 255));
}

#[test]
fn a_one_byte_server_that_closes_on_an_incremental_needs_a_full_backup_if_it_is_alive() {
    let runtime = runtime();
    let alive = serve(|_, request| {
        if is_probe(request) {
            Act::Say(PROBE_14.to_vec())
        } else {
            Act::SayAndClose(vec![])
        }
    });
    let error = drain(found(&runtime, alive).incremental(&ASKED)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FullNeeded);
    let dead = serve(|number, _| {
        if number == 0 {
            Act::Say(PROBE_14.to_vec())
        } else {
            Act::SayAndClose(vec![])
        }
    });
    let error = drain(found(&runtime, dead).incremental(&ASKED)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[test]
fn a_one_byte_server_that_is_silent_on_an_incremental_is_waited_for() {
    let runtime = runtime();
    let alive = serve(|_, request| {
        if is_probe(request) {
            Act::Say(PROBE_14.to_vec())
        } else {
            SILENCE
        }
    });
    let error = drain(found(&runtime, alive).incremental(&ASKED)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimeLimit);
    assert!(error.to_string().contains("answers other requests"), "{error}");
    assert!(error.hint().unwrap().contains("full backup"));
}

#[test]
fn transactions_that_do_not_follow_are_a_protocol_error() {
    let runtime = runtime();
    let asked = [(DataSource::Graph, TxId(3)), (DataSource::Lucene, TxId(1))];
    let error = drain(found(&runtime, serve_18(Act::Say(INCREMENTAL_18.to_vec()))).incremental(&asked)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(
        error.to_string().contains("transaction 2 of nioneodb, expected 4"),
        "{error}"
    );
}

#[test]
fn a_cancelled_run_ends_a_blocked_pull_with_its_reason() {
    let (runtime, cancel) = (runtime(), Cancel::default());
    let settings = Settings {
        silence_timeout: Some(Duration::from_mins(10)),
        ..settings()
    };
    let mut incoming = find(&runtime, serve_18(SILENCE), settings, &cancel).unwrap().full();
    let pull = thread::spawn(move || incoming.next().map(|_| ()).unwrap_err().kind());
    cancel.cancel(ErrorKind::Terminated);
    assert_eq!(pull.join().unwrap(), ErrorKind::Terminated);
}

#[test]
fn a_cancelled_run_ends_though_a_server_never_stops_sending() {
    let (runtime, cancel) = (runtime(), Cancel::default());
    // full blocks without end
    let endless = serve_18(Act::Repeat(file_begins(), chunk(9, &[0; 4096])));
    let mut incoming = find(&runtime, endless, settings(), &cancel).unwrap().full();
    let mut pulled = 0;
    let error = loop {
        match incoming.next() {
            Ok(Event::Data(data)) => pulled += data.len(),
            Ok(_) => {}
            Err(error) => break error,
        }
        if pulled > 4_000_000 {
            cancel.cancel(ErrorKind::TimeLimit);
        }
    };
    assert_eq!(error.kind(), ErrorKind::TimeLimit);
}

#[test]
fn dropping_the_stream_closes_the_connection() {
    let runtime = runtime();
    let (tell, told) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut probe = listener.accept().unwrap().0;
        read_frame(&mut probe).unwrap();
        probe.write_all(PROBE_18).unwrap();
        let mut stream = listener.accept().unwrap().0;
        read_frame(&mut stream).unwrap();
        tell.send(None).unwrap();
        tell.send(stream.read(&mut [0]).ok()).unwrap();
    });
    let settings = Settings {
        silence_timeout: Some(Duration::from_mins(10)),
        ..settings()
    };
    let incoming = find(&runtime, port, settings, &Cancel::default()).unwrap().full();
    assert_eq!(told.recv().unwrap(), None);
    drop(incoming);
    assert_eq!(told.recv_timeout(Duration::from_secs(20)).unwrap(), Some(0));
}

#[test]
fn the_rate_is_limited() {
    let runtime = runtime();
    let settings = Settings {
        max_rate: Some(20_000),
        ..settings()
    };
    let member = find(
        &runtime,
        serve_18(Act::Say(INCREMENTAL_18.to_vec())),
        settings,
        &Cancel::default(),
    )
    .unwrap();
    let start = Instant::now();
    drain(member.incremental(&ASKED)).unwrap();
    assert!(start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());
}

#[test]
fn pulling_behind_an_error_is_an_error() {
    let runtime = runtime();
    let mut incoming = found(&runtime, serve_18(Act::SayAndClose(vec![]))).full();
    assert!(incoming.next().is_err());
    assert!(incoming.next().unwrap_err().to_string().contains("already ended"));
}

#[test]
fn a_recorded_response_is_replayed() {
    let decoder = neo4j_format::wire::Decoder::incremental(Dialect::D18);
    assert!(drain(Incoming::replay(decoder, INCREMENTAL_18)).unwrap().1 > 2);
    let decoder = neo4j_format::wire::Decoder::incremental(Dialect::D18);
    let error = drain(Incoming::replay(decoder, &INCREMENTAL_18[..100])).unwrap_err();
    assert!(error.to_string().contains("the response ends within"), "{error}");
}
