//! `serve` under load and among clients that mean no good: limits, rates, refusals, its end, and what the log says.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::serving::{ask, backup, connect, enlarge, from_another_address, take};
use crate::support::Serving;

use neo4j_format::{
    ids::{StoreId, TxId},
    store::StoreFormat,
    wire::{Decoder, Dialect, Event, failure, request},
};
use neo4j_sandbox::database::Database;

#[test]
fn clients_beyond_the_connection_limit_get_an_error() {
    let (folder, dir) = backup();
    let serving = Serving::with(&dir, &["-max-connections", "2"]);
    let mut held = [connect(&serving), connect(&serving)];
    for stream in &mut held {
        ask(stream, &request::incremental(Dialect::D18, &[])).unwrap();
    }
    let finished = take("-full", &serving.uri(), &folder.path().join("copy"));
    assert_eq!(finished.code, Some(16), "{finished:?}");
    assert!(
        finished.stderr.contains("connection limit (2) reached"),
        "{}",
        finished.stderr
    );
    drop(held);
    let limit = Instant::now() + Duration::from_secs(10);
    while !take("-full", &serving.uri(), &folder.path().join("copy")).success() {
        assert!(Instant::now() < limit, "{}", serving.log());
    }
}

#[test]
fn one_address_cannot_take_all_connections() {
    let (folder, dir) = backup();
    let serving = Serving::with(&dir, &["-max-per-address", "2"]);
    let held = [connect(&serving), connect(&serving)];
    let finished = take("-full", &serving.uri(), &folder.path().join("copy"));
    assert_eq!(finished.code, Some(16), "{finished:?}");
    let text = "connection limit (2) of this address reached";
    assert!(finished.stderr.contains(text), "{}", finished.stderr);
    // another address is served
    let mut other = from_another_address(&serving);
    ask(&mut other, &request::incremental(Dialect::D18, &[])).unwrap();
    drop(held);
    let limit = Instant::now() + Duration::from_secs(10);
    while !take("-full", &serving.uri(), &folder.path().join("copy")).success() {
        assert!(Instant::now() < limit, "{}", serving.log());
    }
}

#[test]
fn a_directory_that_is_exchanged_for_another_database_is_not_served() {
    let (folder, dir) = backup();
    let serving = Serving::start(&dir);
    let mut stream = connect(&serving);
    ask(&mut stream, &request::full(Dialect::D18)).unwrap();
    let aside = folder.path().join("aside");
    fs::rename(&dir, &aside).unwrap();
    let other = StoreId {
        creation_time: 1_350_000_000_000,
        random: 7,
        store_version: None,
    };
    let database = Database::create(&dir, StoreFormat::Current, other).unwrap();
    database.close().unwrap();
    for frame in [
        request::full(Dialect::D18),
        request::incremental(Dialect::D18, &[]),
        request::incremental(Dialect::D18, &[("nioneodb", TxId(1))]),
    ] {
        let error = ask(&mut stream, &frame).unwrap_err();
        assert!(error.contains("now holds another database"), "{error}");
    }
    fs::remove_dir_all(&dir).unwrap();
    fs::rename(&aside, &dir).unwrap();
    ask(&mut stream, &request::full(Dialect::D18)).unwrap();
}

#[test]
fn connections_far_beyond_the_limit_are_closed_at_once() {
    let (_folder, dir) = backup();
    let serving = Serving::with(&dir, &["-max-connections", "1"]);
    let mut served = connect(&serving);
    ask(&mut served, &request::incremental(Dialect::D18, &[])).unwrap();
    let crowd: Vec<_> = (0..40).map(|_| connect(&serving)).collect();
    serving.wait_for("connection closed: too many clients");
    let (_, descriptors) = serving.resources();
    assert!(descriptors < 40, "{descriptors}");
    // whoever was let in is served as before
    ask(&mut served, &request::full(Dialect::D18)).unwrap();
    drop(crowd);
}

#[test]
fn hostile_clients_cost_their_connection_and_nothing_else() {
    let (folder, dir) = backup();
    let serving = Serving::with(&dir, &["-max-connections", "40", "-max-per-address", "40"]);
    let full = request::full(Dialect::D18);
    let whole = [&u32::MAX.to_be_bytes()[..], &[0; 100]].concat();
    let many = [&[0, 0, 0, 24, 8, 1, 1][..], &[0xff; 16], &[127, 0x7f, 0xff, 0xff, 0xff]].concat();
    let mut half = Vec::new();
    for _ in 0..10 {
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            whole.clone(),
            many.clone(),
            vec![0; 4],
            vec![0xff; 9],
        ] {
            let mut stream = connect(&serving);
            let _ = stream.write_all(&bytes);
            // a failure, or nothing; then the connection is closed
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            assert!(rest.is_empty() || failure::read(&rest[6..]).exceptions.len() == 1);
        }
        let mut stream = connect(&serving);
        stream.write_all(&full[..20]).unwrap();
        half.push(stream);
        // never reads
        let mut stream = connect(&serving);
        stream.write_all(&full).unwrap();
        half.push(stream);
        let mut stream = connect(&serving);
        stream.write_all(&full).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    let finished = take("-full", &serving.uri(), &folder.path().join("copy"));
    assert!(finished.success(), "{finished:?}\n{}", serving.log());
    let (rss, descriptors) = serving.resources();
    assert!(rss < 64 << 20, "{rss}");
    assert!(descriptors < 60, "{descriptors}");
    drop(half);
}

#[test]
fn a_client_that_asks_for_nothing_or_does_not_read_is_given_up() {
    let (_folder, dir) = backup();
    // more than any socket's buffer holds
    enlarge(&dir, 64 << 20);
    let serving = Serving::with(&dir, &["-idle-timeout", "1s", "-reader-timeout", "1s"]);
    let mut silent = connect(&serving);
    let mut lazy = connect(&serving);
    lazy.write_all(&request::full(Dialect::D18)).unwrap();
    serving.wait_for("no request for 1 s");
    serving.wait_for("given up: the client did not read the response within 1 s");
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}

#[test]
fn all_clients_together_get_the_rate_that_was_given() {
    let (_folder, dir) = backup();
    enlarge(&dir, 100_000);
    let serving = Serving::with(&dir, &["-max-rate", "200k"]);
    let (start, mut bytes) = (Instant::now(), 0);
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = connect(&serving);
            thread::spawn(move || ask(&mut stream, &request::full(Dialect::D18)).unwrap().bytes)
        })
        .collect();
    for client in clients {
        bytes += client.join().unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    // the first portion of an eighth of a second goes at once
    let least = f64::from(u32::try_from(bytes).unwrap()) / (200.0 * 1024.0) - 0.2;
    assert!(seconds > least, "{bytes} bytes in {seconds} s");
}

#[test]
fn only_those_who_may_are_answered() {
    let (_folder, dir) = backup();
    let serving = Serving::with(&dir, &["-allow", "10.0.0.0/8", "-allow", "fd00::/8"]);
    let mut stream = connect(&serving);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    serving.wait_for("connection rejected: address is not allowed");
    let serving = Serving::with(&dir, &["-allow", "10.0.0.0/8,127.0.0.0/8"]);
    ask(&mut connect(&serving), &request::full(Dialect::D18)).unwrap();
}

#[test]
fn it_listens_on_loopback_unless_told_otherwise_and_warns_where_anybody_may_ask() {
    let (_folder, dir) = backup();
    let said = |options: &[&str]| {
        let serving = Serving::with(&dir, options);
        let warnings = serving.said["result"]["warnings"].to_string();
        (
            serving.address().to_owned(),
            warnings.contains("anyone who reaches this address"),
        )
    };
    let (address, is_warned) = said(&["-listen", ":0"]);
    assert!(address.starts_with("127.0.0.1:") && !is_warned, "{address}");
    let (address, is_warned) = said(&["-listen", "0.0.0.0:0"]);
    assert!(address.starts_with("0.0.0.0:") && is_warned, "{address}");
    let (_, is_warned) = said(&["-listen", "0.0.0.0:0", "-allow", "10.0.0.0/8"]);
    assert!(!is_warned);
}

#[test]
fn a_signal_lets_responses_under_way_end_and_takes_no_new_ones() {
    let (_folder, dir) = backup();
    enlarge(&dir, 100_000);
    let serving = Serving::with(&dir, &["-max-rate", "100k"]);
    let mut idle = connect(&serving);
    ask(&mut idle, &request::incremental(Dialect::D18, &[])).unwrap();
    let mut busy = connect(&serving);
    busy.write_all(&request::full(Dialect::D18)).unwrap();
    let mut first = [0; 1];
    busy.read_exact(&mut first).unwrap();
    let address = serving.address().to_owned();
    serving.terminate();
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "idle connections end at once");
    assert!(TcpStream::connect(address).is_err());
    let mut rest = Vec::new();
    busy.read_to_end(&mut rest).unwrap();
    let whole = [&first[..], &rest].concat();
    let (mut decoder, mut input) = (Decoder::full(Dialect::D18), &whole[..]);
    while decoder.next(&mut input).unwrap() != Some(Event::End) {}
    let (code, rest) = serving.ended();
    assert_eq!((code, rest.as_str()), (Some(0), ""));
}

#[test]
fn responses_that_do_not_end_in_time_are_cut_off_and_the_exit_code_says_so() {
    let (_folder, dir) = backup();
    enlarge(&dir, 100_000);
    let serving = Serving::with(&dir, &["-max-rate", "1k", "-drain-timeout", "1s"]);
    let mut busy = connect(&serving);
    busy.write_all(&request::full(Dialect::D18)).unwrap();
    busy.read_exact(&mut [0]).unwrap();
    serving.terminate();
    serving.wait_for("1 response was cut off");
    assert_eq!(serving.ended().0, Some(143));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (_folder, dir) = backup();
    enlarge(&dir, 100_000);
    let serving = Serving::with(&dir, &["-max-rate", "1k", "-drain-timeout", "1h"]);
    let mut busy = connect(&serving);
    busy.write_all(&request::full(Dialect::D18)).unwrap();
    busy.read_exact(&mut [0]).unwrap();
    serving.terminate();
    serving.wait_for("signal received");
    serving.terminate();
    assert_eq!(serving.ended().0, Some(143));
}

#[test]
fn each_request_leaves_one_line_in_the_log() {
    let (_folder, dir) = backup();
    let serving = Serving::start(&dir);
    let mut stream = connect(&serving);
    let told = ask(&mut stream, &request::full(Dialect::D18)).unwrap();
    let client = stream.local_addr().unwrap();
    serving.wait_for("outcome=\"sent\"");
    let log = serving.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("request")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for part in [
        format!("client={client}"),
        "dialect=\"D18\"".to_owned(),
        "asked=\"full\"".to_owned(),
        format!("files={}", told.files.len()),
        format!("transactions={}", told.transactions.len()),
        "bytes=".to_owned(),
        "milliseconds=".to_owned(),
    ] {
        assert!(lines[0].contains(&part), "{part} in {}", lines[0]);
    }

    // so does one that is refused
    let too_old = request::incremental(Dialect::D18, &[("nioneodb", TxId(1))]);
    ask(&mut stream, &too_old).unwrap_err();
    serving.wait_for("refused: ");
    let log = serving.log();
    let line = log.lines().find(|line| line.contains("refused: ")).unwrap();
    for part in ["asked=\"nioneodb after 1\"", "files=0", "No such log version"] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn many_clients_one_after_the_other_leave_nothing_behind() {
    let (_folder, dir) = backup();
    let serving = Serving::start(&dir);
    let full = request::full(Dialect::D18);
    let cycle = |count: usize| {
        for _ in 0..count {
            ask(&mut connect(&serving), &full).unwrap();
        }
    };
    cycle(100);
    let (before, _) = serving.resources();
    cycle(400);
    let (after, descriptors) = serving.resources();
    assert!(
        after < before + (8 << 20),
        "{before} bytes of memory before, {after} after"
    );
    assert!(descriptors < 20, "{descriptors}");
}
