//! What a backup service is measured against: clients that throw away what they get, and the machine's loopback.
//!
//! ```text
//! loopback ceiling MIB             sends that much, plain and framed in blocks of 256 bytes, through a socket pair of ours
//! loopback file PATH MIB           sends a file, over and over, as it is: what a service that reads files can reach
//! loopback drain ADDRESS CLIENTS   full backups (D18), all at once
//! loopback cycles ADDRESS COUNT    connect, full backup, disconnect, one after the other
//! ```
//!
//! Each line it prints is `NAME SECONDS BYTES`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement ends where something fails, and prints what it found"
)]

use std::{
    env,
    fs::File,
    io::{Read, Seek, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Instant,
};

use neo4j_backup::wire::{Dialect, request};

/// As much as the service sends at once.
const CHUNK: usize = 256 * 1024;

/// Room of a reader.
const ROOM: usize = 1 << 20;

/// Frame length and chunk header of D18.
const HEAD: usize = 6;

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["ceiling", mib] => ceiling(mib.parse::<usize>().unwrap() << 20),
        ["file", path, mib] => file(path, mib.parse::<usize>().unwrap() << 20),
        ["drain", address, clients] => {
            let clients: Vec<_> = (0..clients.parse::<usize>().unwrap())
                .map(|_| {
                    let address = address.to_owned();
                    thread::spawn(move || drain(&address))
                })
                .collect();
            for client in clients {
                say("drain", client.join().unwrap());
            }
        }
        ["cycles", address, count] => {
            let (start, mut bytes) = (Instant::now(), 0);
            for _ in 0..count.parse::<usize>().unwrap() {
                bytes += drain(address).1;
            }
            say("cycles", (start.elapsed().as_secs_f64(), bytes));
        }
        _ => println!("usage: loopback ceiling MIB | file PATH MIB | drain ADDRESS CLIENTS | cycles ADDRESS COUNT"),
    }
}

fn say(name: &str, (seconds, bytes): (f64, usize)) {
    println!("{name} {seconds:.4} {bytes}");
}

/// Takes a full backup and throws it away; seconds and bytes.
fn drain(address: &str) -> (f64, usize) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&request::full(Dialect::D18)).unwrap();
    let (mut room, mut total) = (vec![0; ROOM], 0);
    loop {
        let mut head = [0; HEAD];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let mut left = usize::try_from(length).unwrap() - (HEAD - 4);
        assert_eq!(head[4] & 2, 0, "the server reports a failure");
        total += HEAD + left;
        while left > 0 {
            let n = stream.read(&mut room[..left.min(ROOM)]).unwrap();
            assert_ne!(n, 0, "the server closed the connection");
            left -= n;
        }
        if head[4] & 1 == 0 {
            return (start.elapsed().as_secs_f64(), total);
        }
    }
}

/// The same bytes again and again, which stay in the processor's cache: nothing but the socket and the framing.
fn ceiling(bytes: usize) {
    let data = vec![0x5a; CHUNK / 256 * 255];
    let mut frame = vec![0; CHUNK];
    say("plain", through(bytes, |stream| stream.write_all(&frame).unwrap()));
    let framed = through(bytes, |stream| {
        for (block, data) in frame.chunks_exact_mut(256).zip(data.chunks_exact(255)) {
            block[0] = 0;
            block[1..].copy_from_slice(data);
        }
        stream.write_all(&frame).unwrap();
    });
    say("framed", framed);
}

fn file(path: &str, bytes: usize) {
    let mut file = File::open(path).unwrap();
    let mut chunk = vec![0; CHUNK];
    let sent = through(bytes, |stream| {
        let n = match file.read(&mut chunk).unwrap() {
            0 => {
                file.rewind().unwrap();
                file.read(&mut chunk).unwrap()
            }
            n => n,
        };
        stream.write_all(&chunk[..n]).unwrap();
    });
    say("file", sent);
}

fn through(bytes: usize, mut send: impl FnMut(&mut TcpStream)) -> (f64, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut writer, _) = listener.accept().unwrap();
    let start = Instant::now();
    let reading = thread::spawn(move || {
        let (mut room, mut total) = (vec![0; ROOM], 0);
        loop {
            match reader.read(&mut room).unwrap() {
                0 => return total,
                n => total += n,
            }
        }
    });
    for _ in 0..bytes / CHUNK {
        send(&mut writer);
    }
    drop(writer);
    let total = reading.join().unwrap();
    (start.elapsed().as_secs_f64(), total)
}
