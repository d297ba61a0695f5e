//! A relay on loopback that spoils what a server says, and an address where nobody answers at all.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// How much is read before the count of bytes is looked at.
const PIECE: usize = 4096;

/// What becomes of a server's bytes from one of them on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No more come, the connection stays open.
    Silence,
    /// One comes every so often.
    Drip(Duration),
    /// The connection is closed in order.
    Close,
    /// It is reset.
    Reset,
}

/// Passes on what the server of a port says, all connections counted together, up to `after` bytes; lives as long as
/// the test.
#[derive(Debug)]
pub struct Faulty {
    port: u16,
    passed: Arc<AtomicU64>,
}

impl Faulty {
    pub fn to(server: u16, fault: Fault, after: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let passed = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&passed);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let passed = Arc::clone(&shared);
                // a client that goes away is no fault of the relay
                thread::spawn(move || relay(client, server, fault, after, &passed));
            }
        });
        Self { port, passed }
    }

    /// A relay without a fault, to count what a server says.
    pub fn none(server: u16) -> Self {
        Self::to(server, Fault::Close, u64::MAX)
    }

    pub fn uri(&self) -> String {
        format!("single://127.0.0.1:{}", self.port)
    }

    /// Bytes passed on so far.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }
}

fn relay(mut client: TcpStream, server: u16, fault: Fault, after: u64, passed: &AtomicU64) -> Option<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).ok()?;
    let request = peek_frame(&client)?;
    server.write_all(&request).ok()?;
    let mut piece = [0; PIECE];
    loop {
        let n = server.read(&mut piece).ok().filter(|n| *n > 0)?;
        let room = usize::try_from(after.saturating_sub(passed.load(Ordering::SeqCst))).unwrap_or(usize::MAX);
        let (whole, spoilt) = piece.get(..n)?.split_at(room.min(n));
        client.write_all(whole).ok()?;
        passed.fetch_add(u64::try_from(whole.len()).ok()?, Ordering::SeqCst);
        if spoilt.is_empty() {
            continue;
        }
        match fault {
            // a socket that is dropped with a request nobody read resets its connection
            Fault::Reset => return None,
            Fault::Close => {
                client.read_exact(&mut vec![0; request.len()]).ok()?;
                return client.shutdown(Shutdown::Both).ok();
            }
            Fault::Silence => {
                client.read_exact(&mut vec![0; request.len()]).ok()?;
                // until the client goes
                return client.read(&mut [0]).ok().map(|_| ());
            }
            Fault::Drip(pause) => {
                for byte in spoilt {
                    thread::sleep(pause);
                    client.write_all(&[*byte]).ok()?;
                }
            }
        }
    }
}

/// The request, which stays unread.
fn peek_frame(client: &TcpStream) -> Option<Vec<u8>> {
    let mut request = [0; PIECE];
    loop {
        let n = client.peek(&mut request).ok().filter(|n| *n > 0)?;
        let there = request.get(..n)?;
        let length = there
            .first_chunk()
            .map(|length| usize::try_from(u32::from_be_bytes(*length)).unwrap());
        if length.is_some_and(|length| n >= length + 4) {
            return Some(there.to_vec());
        }
        thread::yield_now();
    }
}

/// An address that takes no connection and refuses none: its queue is full, so that what is sent there is dropped.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    _queue: (tokio::runtime::Runtime, tokio::net::TcpListener, Vec<TcpStream>),
}

impl BlackHole {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = {
            let _entered = runtime.enter();
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            socket.listen(1).unwrap()
        };
        let address = listener.local_addr().unwrap();
        let limit = Duration::from_millis(200);
        let waiting = std::iter::from_fn(|| TcpStream::connect_timeout(&address, limit).ok()).collect();
        Self {
            address,
            _queue: (runtime, listener, waiting),
        }
    }

    pub fn uri(&self) -> String {
        format!("single://{}", self.address)
    }
}
