//! Nodes of coordinators: bytes are a value or an error, and each member of any cluster is a candidate or passed over.
//! An input has lines as those of `tests/vectors/znodes`; it is taken as the data of one node, too.
#![no_main]

use libfuzzer_sys::fuzz_target;

use neo4j_backup_core::source::discovery::{
    Answers, Cluster, MemberCriteria, Node, Preference, Reading, rank,
    znodes::{self, MemberRecord, RootName, ServerRecord},
};

fuzz_target!(|bytes: &[u8]| {
    let _ = (znodes::store_id(bytes), znodes::number(bytes));
    if let Ok(record) = MemberRecord::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
    if let Ok(record) = ServerRecord::decode(bytes) {
        let _ = (record.port(), record.hosts());
        if let Some(again) = record.encode() {
            assert_eq!(ServerRecord::decode(&again), Ok(record));
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        rank_members(&reading(text));
    }
});

fn rank_members(reading: &Reading) {
    let root = RootName {
        creation_time: 1,
        random: 2,
    };
    let cluster = Cluster::assemble(None, root, None, reading);
    for (_, preference) in Preference::ALL {
        let wanted = MemberCriteria {
            preference,
            ..MemberCriteria::default()
        };
        let ranking = rank(&cluster, &Answers::new(), &wanted);
        let passed_over = ranking.passed_over.iter().map(|member| member.id);
        let mut ids: Vec<_> = ranking
            .candidates
            .iter()
            .map(|member| member.id)
            .chain(passed_over)
            .collect();
        ids.sort_unstable();
        assert!(ids.iter().eq(cluster.members.iter().map(|member| &member.id)));
        let _ = ranking.require_candidates(&cluster, None);
    }
}

fn reading(text: &str) -> Reading {
    let mut reading = Reading::default();
    for (path, node) in text.lines().filter_map(node) {
        let name = node.name.as_str();
        if path.contains("/ha-servers/") {
            reading.servers.push(node);
        } else if path.contains("/compatibility-1.8/") {
            reading.marks_of_1_8.push(node.name);
        } else if name == znodes::MASTER_NOTIFY {
            reading.notify = Some(node);
        } else if name == znodes::MASTER_REBOUND {
            reading.rebound = Some(node);
        } else if name == znodes::FLUSH_REQUESTED {
            reading.flush = Some(node);
        } else {
            reading.members.push(node);
        }
    }
    reading
}

fn node(line: &str) -> Option<(&str, Node)> {
    let mut words = line.split(' ');
    let path = words.next()?;
    let node = Node {
        name: path.rsplit('/').next()?.to_owned(),
        version: words.next()?.parse().ok()?,
        changed: words.next()?.parse().ok()?,
        owner: words.next()?.parse().ok()?,
        data: words.next()?.as_bytes().chunks(2).filter_map(byte).collect(),
    };
    Some((path, node))
}

fn byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
