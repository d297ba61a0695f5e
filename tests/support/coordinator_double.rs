//! A coordinator that is none: it serves a tree of nodes in the wire format of `docs/formats/zookeeper-discovery.md`
//! §13, or does what no real one would.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// What it does with its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// Serves its tree.
    Serves,
    /// Takes connections and says nothing.
    Silent,
    /// Takes connections and closes them.
    Closes,
    /// Answers as a web server does.
    Foreign,
    /// Says that it has no quorum.
    NoQuorum,
    /// Has no quorum when it is asked so many times, and then serves its tree.
    Elects { times: usize },
    /// Takes so long for each answer.
    Slow { milliseconds: u64 },
    /// Answers nothing for so long from its start on, as a process that is stopped, and then serves its tree.
    Pauses { seconds: u64 },
    /// Closes so many connections, as dead servers behind one address, and then serves its tree.
    ClosesFirst { times: usize },
    /// Serves its tree, but for nodes whose paths end like this.
    Forbids(&'static str),
    /// Says that it serves and then opens no session.
    MuteSession,
    /// Says that it serves and closes sessions.
    ClosesSession,
    /// Says that the session has expired.
    ExpiredSession,
    /// Opens a session and then answers nothing.
    MuteReplies,
    /// Announces a reply of this many bytes and sends bytes without an end.
    Announces(i32),
    /// Answers with the wrong number.
    WrongXid,
    /// Sends data shorter than a node's state.
    ShortData,
    /// Sends a list that announces this many nodes.
    ListOf(i32),
    /// Sends one frame after the other that nobody asked for.
    Floods,
}

/// Nodes by their paths, parents need not be there; data and whether a session owns it.
pub type Tree = BTreeMap<String, (Vec<u8>, i64)>;

/// Starts one; returns its port. Runs until the test ends.
pub fn start(conduct: Conduct, tree: Tree) -> u16 {
    start_at("127.0.0.1", conduct, tree)
}

/// The same at another address.
pub fn start_at(address: &str, conduct: Conduct, tree: Tree) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tree, begun) = (Arc::new(tree), Instant::now());
    thread::spawn(move || {
        for (time, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let tree = Arc::clone(&tree);
            let conduct = match conduct {
                Conduct::Elects { times } if time < times => Conduct::NoQuorum,
                Conduct::ClosesFirst { times } if time < times => Conduct::Closes,
                Conduct::Elects { .. } | Conduct::ClosesFirst { .. } => Conduct::Serves,
                Conduct::Pauses { seconds } => {
                    thread::sleep(Duration::from_secs(seconds).saturating_sub(begun.elapsed()));
                    Conduct::Serves
                }
                conduct => conduct,
            };
            // clients may leave at any time
            thread::spawn(move || serve(stream, conduct, &tree).ok());
        }
    });
    port
}

fn serve(mut stream: TcpStream, conduct: Conduct, tree: &Tree) -> io::Result<()> {
    match conduct {
        Conduct::Closes => return Ok(()),
        Conduct::Silent => return drain(&mut stream),
        _ => {}
    }
    let mut first = [0; 4];
    stream.read_exact(&mut first)?;
    let pause = match conduct {
        Conduct::Slow { milliseconds } => Duration::from_millis(milliseconds),
        _ => Duration::ZERO,
    };
    thread::sleep(pause);
    if &first == b"srvr" {
        return stream.write_all(match conduct {
            Conduct::Foreign => b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(),
            Conduct::NoQuorum => b"This ZooKeeper instance is not currently serving requests\n",
            _ => b"Zookeeper version: 3.8.0-double\nMode: standalone\nNode count: 5\n",
        });
    }
    read_body(&mut stream, first)?;
    match conduct {
        Conduct::ClosesSession => return Ok(()),
        Conduct::MuteSession => return drain(&mut stream),
        _ => {}
    }
    let session = i64::from(conduct != Conduct::ExpiredSession);
    let mut opened = [0_i32.to_be_bytes(), 4000_i32.to_be_bytes()].concat();
    opened.extend(session.to_be_bytes());
    opened.extend(16_i32.to_be_bytes());
    opened.extend([0; 17]);
    send(&mut stream, &opened)?;
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let body = read_body(&mut stream, length)?;
        let number = |at: usize| i32::from_be_bytes(body[at..at + 4].try_into().unwrap());
        let (xid, opcode) = (number(0), number(4));
        thread::sleep(pause);
        let path = || String::from_utf8_lossy(&body[12..12 + usize::try_from(number(8)).unwrap()]).into_owned();
        let answer = match opcode {
            4 | 8 if matches!(conduct, Conduct::Forbids(end) if path().ends_with(end)) => Err(-102),
            4 => data(tree, &path(), conduct),
            8 => children(tree, &path(), conduct),
            9 => Ok([1_i32.to_be_bytes().as_slice(), b"/"].concat()),
            _ => Ok(Vec::new()),
        };
        match conduct {
            Conduct::MuteReplies => return drain(&mut stream),
            Conduct::Announces(length) => {
                stream.write_all(&length.to_be_bytes())?;
                return endlessly(&mut stream);
            }
            Conduct::Floods => return endlessly(&mut stream),
            _ => {}
        }
        let xid = if conduct == Conduct::WrongXid && opcode != 11 {
            xid + 1
        } else {
            xid
        };
        let mut reply = xid.to_be_bytes().to_vec();
        reply.extend(9_i64.to_be_bytes());
        match answer {
            Ok(payload) => {
                reply.extend(0_i32.to_be_bytes());
                reply.extend(payload);
            }
            Err(error) => reply.extend(error.to_be_bytes()),
        }
        send(&mut stream, &reply)?;
        if opcode == -11 {
            return Ok(());
        }
    }
}

fn data(tree: &Tree, path: &str, conduct: Conduct) -> Result<Vec<u8>, i32> {
    let (data, owner) = tree.get(path).ok_or(-101)?;
    if conduct == Conduct::ShortData {
        return Ok(vec![0; 3]);
    }
    let mut payload = i32::try_from(data.len()).unwrap().to_be_bytes().to_vec();
    payload.extend(data);
    // czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, length, children, pzxid
    payload.extend([0; 32]);
    payload.extend(1_i32.to_be_bytes());
    payload.extend([0; 8]);
    payload.extend(owner.to_be_bytes());
    payload.extend([0; 16]);
    Ok(payload)
}

fn children(tree: &Tree, path: &str, conduct: Conduct) -> Result<Vec<u8>, i32> {
    let parent = format!("{}/", path.trim_end_matches('/'));
    let mut names: Vec<&str> = tree
        .keys()
        .filter_map(|path| path.strip_prefix(&parent))
        .filter_map(|below| below.split('/').next())
        .collect();
    names.dedup();
    if names.is_empty() && !tree.contains_key(path) && path != "/" {
        return Err(-101);
    }
    let count = match conduct {
        Conduct::ListOf(count) => count,
        _ => i32::try_from(names.len()).unwrap(),
    };
    let mut payload = count.to_be_bytes().to_vec();
    for name in names {
        payload.extend(i32::try_from(name.len()).unwrap().to_be_bytes());
        payload.extend(name.as_bytes());
    }
    Ok(payload)
}

fn read_body(stream: &mut TcpStream, length: [u8; 4]) -> io::Result<Vec<u8>> {
    let mut body = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn send(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let length = i32::try_from(body.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), body].concat())
}

fn drain(stream: &mut TcpStream) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}

/// Frames of 1 MiB, each the answer to a ping.
fn endlessly(stream: &mut TcpStream) -> io::Result<()> {
    let mut body = vec![0; 1 << 20];
    body[..4].copy_from_slice(&(-2_i32).to_be_bytes());
    loop {
        send(stream, &body)?;
    }
}
