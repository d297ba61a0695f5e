//! A client that throws away what it gets.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use neo4j_format::wire::{Dialect, request};

/// Room of a reader.
pub(crate) const ROOM: usize = 1 << 20;

/// Frame length and chunk header of D18.
const HEAD: usize = 6;

/// Takes a full backup (D18) of the service at `address`; seconds and bytes.
pub(crate) fn full_backup(address: &str) -> (f64, usize) {
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
