//! A backup to be served without Java, and a client that tells what it got.

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
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{Finished, Serving, our_tool, replay::Server};
use neo4j_format::wire::{Decoder, Event, Request, RequestKind, WireError};

/// A backup, made from what a real 1.8 sent.
pub fn backup() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("backup");
    let finished = take("-full", &Server::recorded().uri(), &dir);
    assert!(finished.success(), "{finished:?}");
    (folder, dir)
}

/// Makes the directory so many bytes larger, with what looks like unused records.
pub fn enlarge(dir: &Path, bytes: u64) {
    let path = dir.join("neostore.propertystore.db.strings");
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

pub fn take(mode: &str, uri: &str, to: &Path) -> Finished {
    our_tool(&[mode, "-from", uri, "-to", to.to_str().unwrap(), "-output=json"])
}

/// What a response says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub files: Vec<String>,
    pub transactions: Vec<(String, i64)>,
    pub bytes: usize,
}

pub fn connect(serving: &Serving) -> TcpStream {
    let stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// A connection from 127.0.0.2.
pub fn from_another_address(serving: &Serving) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let stream = socket.connect(serving.address().parse().unwrap()).await.unwrap();
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream
    })
}

/// Sends a request and reads its whole response.
pub fn ask(stream: &mut TcpStream, frame: &[u8]) -> Result<Told, String> {
    stream.write_all(frame).map_err(|e| e.to_string())?;
    let Request { dialect, wanted } = Request::decode(&frame[4..]).unwrap();
    let mut decoder = match wanted {
        RequestKind::Full => Decoder::full(dialect),
        RequestKind::Incremental(_) => Decoder::incremental(dialect),
    };
    let (mut told, mut buffer) = (Told::default(), vec![0; 64 * 1024]);
    loop {
        let n = stream.read(&mut buffer).map_err(|e| e.to_string())?;
        if n == 0 {
            return Err("closed".to_owned());
        }
        let mut input = &buffer[..n];
        loop {
            match decoder.next(&mut input).map_err(|e: WireError| e.to_string())? {
                None => break,
                Some(Event::File(path)) => told.files.push(path.to_string()),
                Some(Event::Transaction(source, id)) => told.transactions.push((source.to_string(), id.0)),
                Some(Event::Data(data)) => told.bytes += data.len(),
                Some(Event::End) => return Ok(told),
                Some(_) => {}
            }
        }
    }
}
