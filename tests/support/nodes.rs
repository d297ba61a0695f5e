//! The nodes of a coordinator as they are, for test vectors and for looking at what a test did.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const GET_CHILDREN: i32 = 8;
/// Bytes of a node's state behind its data.
const STAT: usize = 68;

/// One line for each node but `ZooKeeper`'s own: path, version of its data, the change that set them last, owner and
/// data, the last in hexadecimal or `-`.
pub fn dump(port: u16) -> String {
    let mut session = Session::open(port);
    let mut text = String::new();
    session.visit("/", &mut text);
    text
}

/// Creates a node with these data that everybody may use in these ways only (read 1, write 2, create 4).
pub fn create(port: u16, path: &str, data: &[u8], permissions: i32) {
    let mut session = Session::open(port);
    session.xid += 1;
    let mut request = [session.xid.to_be_bytes(), CREATE.to_be_bytes()].concat();
    let mut buffer = |bytes: &[u8]| {
        request.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
        request.extend(bytes);
    };
    buffer(path.as_bytes());
    buffer(data);
    request.extend(1_i32.to_be_bytes());
    request.extend(permissions.to_be_bytes());
    for part in ["world", "anyone"] {
        request.extend(i32::try_from(part.len()).unwrap().to_be_bytes());
        request.extend(part.as_bytes());
    }
    request.extend([0; 4]);
    let reply = session.exchange(&request);
    assert_eq!(reply[12..16], [0; 4], "{path} cannot be created");
}

/// Replaces the data of a node, whoever owns it.
pub fn set(port: u16, path: &str, data: &[u8]) {
    let mut session = Session::open(port);
    session.xid += 1;
    let mut request = [session.xid.to_be_bytes(), SET_DATA.to_be_bytes()].concat();
    for part in [path.as_bytes(), data] {
        request.extend(i32::try_from(part.len()).unwrap().to_be_bytes());
        request.extend(part);
    }
    // any version
    request.extend((-1_i32).to_be_bytes());
    let reply = session.exchange(&request);
    assert_eq!(reply[12..16], [0; 4], "{path} cannot be set");
}

struct Session {
    stream: TcpStream,
    xid: i32,
}

impl Session {
    fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut session = Self { stream, xid: 0 };
        let mut request = vec![0; 12];
        request.extend(5000_i32.to_be_bytes());
        request.extend([0; 8]);
        request.extend(16_i32.to_be_bytes());
        request.extend([0; 16]);
        session.exchange(&request);
        session
    }

    fn visit(&mut self, path: &str, text: &mut String) {
        let below = |name: &str| format!("{}/{name}", path.trim_end_matches('/'));
        if path != "/" {
            let reply = self.ask(GET_DATA, path);
            let (data, stat) = reply.split_at(reply.len() - STAT);
            let number = |at: usize| i64::from_be_bytes(stat[at..at + 8].try_into().unwrap());
            let version = i32::from_be_bytes(stat[32..36].try_into().unwrap());
            write!(text, "{path} {version} {} {} ", number(8), number(44)).unwrap();
            let data = &data[4..];
            for byte in data {
                write!(text, "{byte:02x}").unwrap();
            }
            text.push_str(if data.is_empty() { "-\n" } else { "\n" });
        }
        let list = self.ask(GET_CHILDREN, path);
        let length = |at: usize| usize::try_from(i32::from_be_bytes(list[at..at + 4].try_into().unwrap())).unwrap();
        let mut names = Vec::new();
        let mut at = 4;
        for _ in 0..length(0) {
            let end = at + 4 + length(at);
            names.push(String::from_utf8_lossy(&list[at + 4..end]).into_owned());
            at = end;
        }
        names.sort();
        for name in names.iter().filter(|name| *name != "zookeeper") {
            self.visit(&below(name), text);
        }
    }

    fn ask(&mut self, opcode: i32, path: &str) -> Vec<u8> {
        self.xid += 1;
        let mut request = [self.xid.to_be_bytes(), opcode.to_be_bytes()].concat();
        request.extend(i32::try_from(path.len()).unwrap().to_be_bytes());
        request.extend(path.as_bytes());
        request.push(0);
        let mut reply = self.exchange(&request);
        assert_eq!(reply[12..16], [0; 4], "{path} cannot be read");
        reply.drain(..16);
        reply
    }

    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        let length = i32::try_from(request.len()).unwrap();
        self.stream.write_all(&length.to_be_bytes()).unwrap();
        self.stream.write_all(request).unwrap();
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut reply).unwrap();
        reply
    }
}
