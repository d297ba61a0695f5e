//! The pure part: examples of the specification, real nodes, random and hostile ones.

mod cluster;
mod ranking;
mod real;
mod znodes;

use super::{
    Reading,
    cluster::Node,
    znodes::{MemberRecord, ServerRecord},
};

/// A member's node.
pub(super) fn member(name: &str, last: i64, master: i32) -> Node {
    Node {
        name: name.into(),
        data: MemberRecord {
            last,
            master: Some(master),
        }
        .encode(),
        version: 1,
        changed: 1,
        owner: owner(name),
    }
}

/// A node below `ha-servers`.
pub(super) fn server(id: &str, address: &str, backup_port: i32) -> Node {
    let record = ServerRecord {
        backup_port,
        address: address.into(),
    };
    Node {
        name: id.into(),
        data: record.encode().unwrap(),
        version: 1,
        changed: 1,
        owner: owner(id),
    }
}

/// `master-notify`, `master-rebound` or `flush-requested`.
pub(super) fn number(value: i32, changed: i64) -> Node {
    Node {
        data: value.to_be_bytes().to_vec(),
        changed,
        ..Node::default()
    }
}

/// One session per member, negative as on real servers of 3.3.2.
fn owner(name: &str) -> i64 {
    let id = name.split('_').next().unwrap_or_default();
    id.parse::<i64>().map_or(-99, |id| -1000 - id)
}

/// The worked example of §12: three members of 1.5.1 – 1.7, the third without backup service.
pub(super) fn worked_example() -> Reading {
    Reading {
        members: vec![
            member("1_0000000002", 42, 2),
            member("2_0000000005", 42, 2),
            member("3_0000000009", 40, 2),
        ],
        servers: vec![
            server("1", "10.0.0.1:6361", 6362),
            server("2", "10.0.0.2:6361", 6372),
            server("3", "10.0.0.3:6361", 0),
        ],
        rebound: Some(number(2, 20)),
        ..Reading::default()
    }
}
