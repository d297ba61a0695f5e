//! What a backup service is measured against: clients that throw away what they get, and the machine's loopback.
//!
//! ```text
//! loopback ceiling MIB             sends that much, plain and framed in blocks of 256 bytes, through a socket pair of ours
//! loopback files DIR MIB           reads the files of a folder, over and over, and sends them as they are and framed:
//!                                  what a service that reads files can reach
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

mod throw_away;

use std::{
    env,
    fs::{self, File},
    io::{Read, Seek, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::Instant,
};

use throw_away::full_backup;

/// As much as the service sends at once.
const CHUNK: usize = 256 * 1024;

/// Bytes of data in a chunk of blocks.
const DATA: usize = CHUNK / 256 * 255;

/// Reads for a chunk: the service's are as long.
const PARTS: usize = 2;

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["ceiling", mib] => ceiling(mib.parse::<usize>().unwrap() << 20),
        ["files", dir, mib] => files(Path::new(dir), mib.parse::<usize>().unwrap() << 20),
        ["drain", address, clients] => {
            let clients: Vec<_> = (0..clients.parse::<usize>().unwrap())
                .map(|_| {
                    let address = address.to_owned();
                    thread::spawn(move || full_backup(&address))
                })
                .collect();
            for client in clients {
                say("drain", client.join().unwrap());
            }
        }
        ["cycles", address, count] => {
            let (start, mut bytes) = (Instant::now(), 0);
            for _ in 0..count.parse::<usize>().unwrap() {
                bytes += full_backup(address).1;
            }
            say("cycles", (start.elapsed().as_secs_f64(), bytes));
        }
        _ => println!("usage: loopback ceiling MIB | files DIR MIB | drain ADDRESS CLIENTS | cycles ADDRESS COUNT"),
    }
}

fn say(name: &str, (seconds, bytes): (f64, usize)) {
    println!("{name} {seconds:.4} {bytes}");
}

/// The same bytes again and again, which stay in the processor's cache: nothing but the socket and the framing.
fn ceiling(bytes: usize) {
    let data = vec![0x5a; DATA];
    let mut chunk = vec![0; CHUNK];
    say("plain", through(bytes, |stream| stream.write_all(&chunk).unwrap()));
    let framed = through(bytes, |stream| {
        frame(&data, &mut chunk);
        stream.write_all(&chunk).unwrap();
    });
    say("framed", framed);
}

/// What is read from the files of a folder, one after the other as if they were one: the bytes come from the page cache.
fn files(dir: &Path, bytes: usize) {
    let mut endless = Endless::of(dir);
    let mut chunk = vec![0; CHUNK];
    let read = through(bytes, |stream| {
        endless.fill(&mut chunk);
        stream.write_all(&chunk).unwrap();
    });
    say("read", read);
    let mut data = vec![0; DATA];
    let framed = through(bytes, |stream| {
        for (data, chunk) in data.chunks_mut(DATA / PARTS).zip(chunk.chunks_mut(CHUNK / PARTS)) {
            endless.fill(data);
            frame(data, chunk);
        }
        stream.write_all(&chunk).unwrap();
    });
    say("read-framed", framed);
}

fn frame(data: &[u8], chunk: &mut [u8]) {
    for (block, data) in chunk.chunks_exact_mut(256).zip(data.chunks_exact(255)) {
        block[0] = 0;
        block[1..].copy_from_slice(data);
    }
}

/// Files that are read again from the first one on behind the last.
struct Endless {
    files: Vec<File>,
    current: usize,
}

impl Endless {
    fn of(dir: &Path) -> Endless {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<File> = entries
            .filter(|path| path.is_file())
            .map(|path| File::open(path).unwrap())
            .collect();
        assert!(files.iter().any(|file| file.metadata().unwrap().len() > 0));
        Endless { files, current: 0 }
    }

    fn fill(&mut self, mut room: &mut [u8]) {
        while !room.is_empty() {
            let n = self.files[self.current].read(room).unwrap();
            room = &mut room[n..];
            if n == 0 {
                self.current = (self.current + 1) % self.files.len();
                self.files[self.current].rewind().unwrap();
            }
        }
    }
}

fn through(bytes: usize, mut send: impl FnMut(&mut TcpStream)) -> (f64, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut writer, _) = listener.accept().unwrap();
    let start = Instant::now();
    let reading = thread::spawn(move || {
        let (mut room, mut total) = (vec![0; throw_away::ROOM], 0);
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
