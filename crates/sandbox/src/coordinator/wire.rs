//! The part of `ZooKeeper`'s protocol that clusters and backup tools use (`docs/formats/zookeeper-discovery.md` §13), from
//! the server's side. Pure: bytes ↔ the values of `message`.
//!
//! ```text
//! message  i32 length, body
//! request  i32 xid, i32 opcode, payload        reply  i32 xid, i64 zxid, i32 error, payload if there is no error
//! ```

use super::message::{Answer, Connect, Event, Operation, Refused, Stat};

/// Largest message that is read, as `ZooKeeper` has it by default.
pub(super) const MESSAGE_MAX: u32 = 1024 * 1024;

/// The xid of watch events.
const EVENT_XID: i32 = -1;

impl Connect {
    /// `None` for anything else.
    pub(super) fn decode(body: &[u8]) -> Option<Connect> {
        let mut fields = Fields(body);
        let _protocol = fields.i32()?;
        let _seen = fields.i64()?;
        let timeout = fields.i32()?;
        let session = fields.i64()?;
        let _password = fields.buffer()?;
        Some(Connect {
            timeout,
            session,
            knows_read_only: !fields.0.is_empty(),
        })
    }

    /// The answer: the session and its time limit, both 0 if it has expired.
    pub(super) fn answer(self, session: i64, timeout: i32) -> Vec<u8> {
        let mut body = Vec::new();
        put_i32(&mut body, 0);
        put_i32(&mut body, timeout);
        put_i64(&mut body, session);
        // who knows the session's number may have it: nothing here is worth a password
        put_buffer(&mut body, &[0; 16]);
        if self.knows_read_only {
            body.push(0);
        }
        body
    }
}

/// Number and content of a request; `None` if it cannot be read.
pub(super) fn request(body: &[u8]) -> Option<(i32, Operation)> {
    let mut fields = Fields(body);
    let xid = fields.i32()?;
    let opcode = fields.i32()?;
    let operation = match opcode {
        1 | 15 => {
            let (path, data) = (fields.string()?, fields.buffer()?.to_vec());
            for _ in 0..fields.count()? {
                let _permissions = fields.i32()?;
                let (_scheme, _id) = (fields.string()?, fields.string()?);
            }
            let flags = fields.i32()?;
            if !(0..=3).contains(&flags) {
                return Some((xid, Operation::Other));
            }
            Operation::Create {
                path,
                data,
                ephemeral: flags & 1 == 1,
                sequential: flags & 2 == 2,
                stat: opcode == 15,
            }
        }
        2 => Operation::Delete {
            path: fields.string()?,
            version: fields.i32()?,
        },
        3 => Operation::Exists {
            path: fields.string()?,
            watch: fields.bool()?,
        },
        4 => Operation::GetData {
            path: fields.string()?,
            watch: fields.bool()?,
        },
        5 => Operation::SetData {
            path: fields.string()?,
            data: fields.buffer()?.to_vec(),
            version: fields.i32()?,
        },
        8 | 12 => Operation::GetChildren {
            path: fields.string()?,
            watch: fields.bool()?,
            stat: opcode == 12,
        },
        9 => Operation::Sync { path: fields.string()? },
        11 => Operation::Ping,
        100 => Operation::Auth,
        101 => Operation::SetWatches {
            seen: fields.i64()?,
            data: fields.strings()?,
            exists: fields.strings()?,
            children: fields.strings()?,
        },
        -11 => Operation::Close,
        _ => Operation::Other,
    };
    Some((xid, operation))
}

/// The reply to request `xid`; `zxid` is the last change there was.
pub(super) fn reply(xid: i32, zxid: i64, answer: &Result<Answer, Refused>) -> Vec<u8> {
    let mut body = Vec::new();
    put_i32(&mut body, xid);
    put_i64(&mut body, zxid);
    put_i32(&mut body, answer.as_ref().map_or_else(|refused| refused.code(), |_| 0));
    match answer {
        Err(_) | Ok(Answer::Nothing) => {}
        Ok(Answer::Path(path)) => put_string(&mut body, path),
        Ok(Answer::PathAndStat(path, stat)) => {
            put_string(&mut body, path);
            stat.put(&mut body);
        }
        Ok(Answer::Stat(stat)) => stat.put(&mut body),
        Ok(Answer::Data(data, stat)) => {
            put_buffer(&mut body, data);
            stat.put(&mut body);
        }
        Ok(Answer::Children(names)) => put_strings(&mut body, names),
        Ok(Answer::ChildrenAndStat(names, stat)) => {
            put_strings(&mut body, names);
            stat.put(&mut body);
        }
    }
    body
}

/// The event sent to a client that watches `path`.
pub(super) fn event(event: Event, path: &str) -> Vec<u8> {
    /// The client is connected.
    const SYNC_CONNECTED: i32 = 3;
    let mut body = Vec::new();
    put_i32(&mut body, EVENT_XID);
    put_i64(&mut body, -1);
    put_i32(&mut body, 0);
    put_i32(
        &mut body,
        match event {
            Event::Created => 1,
            Event::Deleted => 2,
            Event::DataChanged => 3,
            Event::ChildrenChanged => 4,
        },
    );
    put_i32(&mut body, SYNC_CONNECTED);
    put_string(&mut body, path);
    body
}

impl Stat {
    fn put(&self, out: &mut Vec<u8>) {
        for long in [self.created, self.modified, self.created_at, self.modified_at] {
            put_i64(out, long);
        }
        for int in [self.version, self.children_version, 0] {
            put_i32(out, int);
        }
        put_i64(out, self.owner);
        put_i32(out, self.data_length);
        put_i32(out, self.children);
        put_i64(out, self.children_modified);
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn i32(&mut self) -> Option<i32> {
        self.bytes(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.bytes(8)?.try_into().ok().map(i64::from_be_bytes)
    }

    fn bool(&mut self) -> Option<bool> {
        Some(self.bytes(1)? != [0])
    }

    /// −1 is an empty one.
    fn buffer(&mut self) -> Option<&'a [u8]> {
        match self.i32()? {
            -1 => Some(&[]),
            length => self.bytes(usize::try_from(length).ok()?),
        }
    }

    fn string(&mut self) -> Option<String> {
        String::from_utf8(self.buffer()?.to_vec()).ok()
    }

    /// −1 is none.
    fn count(&mut self) -> Option<u32> {
        match self.i32()? {
            -1 => Some(0),
            count => u32::try_from(count).ok(),
        }
    }

    fn strings(&mut self) -> Option<Vec<String>> {
        (0..self.count()?).map(|_| self.string()).collect()
    }
}

fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_buffer(out: &mut Vec<u8>, bytes: &[u8]) {
    put_i32(out, i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    out.extend_from_slice(bytes);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_buffer(out, text.as_bytes());
}

fn put_strings(out: &mut Vec<u8>, texts: &[String]) {
    put_i32(out, i32::try_from(texts.len()).unwrap_or(i32::MAX));
    for text in texts {
        put_string(out, text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hex::hex;

    /// The messages of `docs/formats/zookeeper-discovery.md` §13 without their lengths.
    #[test]
    fn the_documented_messages_are_understood_and_answered() {
        let connect = hex("00000000 0000000000000000 00001388 0000000000000000 00000010 \
                           00000000000000000000000000000000 00");
        let connect = Connect::decode(&connect).unwrap();
        assert_eq!(
            (connect.timeout, connect.session, connect.knows_read_only),
            (5000, 0, true)
        );
        assert_eq!(connect.answer(7, 5000).len(), 37);
        let old = Connect {
            knows_read_only: false,
            ..connect
        };
        assert_eq!(old.answer(7, 5000).len(), 36);

        let list = hex("00000001 0000000c 00000001 2f 00");
        let children = Operation::GetChildren {
            path: "/".to_owned(),
            watch: false,
            stat: true,
        };
        assert_eq!(request(&list), Some((1, children)));
        let get = hex("00000002 00000004 00000009 2f6e656f346a2e6861 00");
        let data = Operation::GetData {
            path: "/neo4j.ha".to_owned(),
            watch: false,
        };
        assert_eq!(request(&get), Some((2, data)));
        assert_eq!(request(&hex("fffffffe 0000000b")), Some((-2, Operation::Ping)));
        assert_eq!(request(&hex("00000004 fffffff5")), Some((4, Operation::Close)));

        let found = reply(2, 9, &Ok(Answer::Data(vec![0; 24], Stat::default())));
        assert_eq!(found.len(), 112);
        assert_eq!(
            reply(3, 9, &Err(Refused::NoNode)),
            hex("00000003 0000000000000009 ffffff9b")
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80), opcode in -11_i32..110) {
            let _ = Connect::decode(&body);
            let _ = request(&body);
            let _ = request(&[&1_i32.to_be_bytes()[..], &opcode.to_be_bytes(), &body].concat());
        }
    }
}
