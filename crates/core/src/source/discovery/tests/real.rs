//! What the coordinators of real clusters held (`tests/vectors/znodes`).

use std::collections::BTreeMap;

use crate::source::discovery::{
    Cluster, Last, Layout, Master, Reading, Registration,
    cluster::Node,
    znodes::{self, MemberName, RootName, ServerRecord},
};
use neo4j_format::ids::{MemberId, TxId};

const VECTORS: [(&str, &str); 6] = [
    ("1.3", include_str!("../../../../../../tests/vectors/znodes/1.3.txt")),
    (
        "1.4.2",
        include_str!("../../../../../../tests/vectors/znodes/1.4.2.txt"),
    ),
    ("1.5", include_str!("../../../../../../tests/vectors/znodes/1.5.txt")),
    (
        "1.6.1",
        include_str!("../../../../../../tests/vectors/znodes/1.6.1.txt"),
    ),
    (
        "1.7.2",
        include_str!("../../../../../../tests/vectors/znodes/1.7.2.txt"),
    ),
    ("1.8", include_str!("../../../../../../tests/vectors/znodes/1.8.txt")),
];

/// Nodes by their paths.
fn nodes(text: &str) -> BTreeMap<String, Node> {
    let node = |line: &str| {
        let [path, version, changed, owner, data] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let digits: Vec<u8> = data
            .chars()
            .filter_map(|digit| digit.to_digit(16))
            .map(|digit| u8::try_from(digit).unwrap())
            .collect();
        let node = Node {
            name: path.rsplit('/').next().unwrap().to_owned(),
            data: digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect(),
            version: version.parse().unwrap(),
            changed: changed.parse().unwrap(),
            owner: owner.parse().unwrap(),
        };
        (path.to_owned(), node)
    };
    text.lines().map(node).collect()
}

fn root(nodes: &BTreeMap<String, Node>) -> RootName {
    nodes.values().find_map(|node| RootName::parse(&node.name)).unwrap()
}

fn reading(nodes: &BTreeMap<String, Node>) -> Reading {
    let root = format!("/{}", root(nodes));
    let below = |parent: &str| {
        let parent = format!("{parent}/");
        let children = nodes.iter().filter_map(move |(path, node)| {
            let name = path.strip_prefix(&parent)?;
            (!name.contains('/')).then(|| node.clone())
        });
        children.collect::<Vec<_>>()
    };
    let one = |name: &str| nodes.get(&format!("{root}/{name}")).cloned();
    Reading {
        members: below(&root),
        servers: below(&format!("{root}/{}", znodes::SERVERS)),
        marks_of_1_8: below(&format!("{root}/{}", znodes::MARKS_OF_1_8))
            .into_iter()
            .map(|node| node.name)
            .collect(),
        notify: one(znodes::MASTER_NOTIFY),
        rebound: one(znodes::MASTER_REBOUND),
        flush: one(znodes::FLUSH_REQUESTED),
    }
}

#[test]
fn real_clusters_are_understood() {
    for (release, text) in VECTORS {
        let nodes = nodes(text);
        let cluster = Cluster::assemble(None, root(&nodes), None, &reading(&nodes));
        assert_eq!(cluster.master, Master::Announced(MemberId(1)), "{release}");
        let layout = match release {
            "1.3" => Layout::V1_3,
            "1.8" => Layout::V1_8,
            _ => Layout::V1_4,
        };
        let lasts = match layout {
            Layout::V1_8 => [Last::Unpublished, Last::Unpublished, Last::Unpublished],
            _ => [23, 1, 1].map(|last| Last::Live(TxId(last))),
        };
        assert!(cluster.members.len() >= 2);
        for (member, last) in cluster.members.iter().zip(lasts) {
            assert_eq!(
                (member.layout, member.registration, &member.last),
                (layout, Registration::Complete, &last),
                "{release}, member {}",
                member.id
            );
            assert!(member.service().unwrap().port.is_some());
        }
    }
}

/// The named node leads to the root from 1.5.1 on only.
#[test]
fn the_named_node_of_a_real_cluster_leads_to_its_root_or_nowhere() {
    for (release, text) in VECTORS {
        let nodes = nodes(text);
        let named = znodes::store_id(&nodes["/neo4j.ha"].data).unwrap();
        let leads = matches!(release, "1.6.1" | "1.7.2" | "1.8");
        assert_eq!(root(&nodes) == RootName::from(named), leads, "{release}");
        assert_eq!(
            named.store_version.is_some(),
            !matches!(release, "1.3" | "1.4.2"),
            "{release}"
        );
    }
}

#[test]
fn real_records_are_written_as_they_were_read() {
    for (release, text) in VECTORS {
        let reading = reading(&nodes(text));
        for node in &reading.servers {
            let record = ServerRecord::decode(&node.data).unwrap();
            assert_eq!(record.encode().as_ref(), Some(&node.data), "{release}");
        }
        for node in reading.members {
            if let Some(name) = MemberName::parse(&node.name) {
                assert_eq!(name.to_string(), node.name);
                let record = znodes::MemberRecord::decode(&node.data).unwrap();
                assert_eq!(record.encode(), node.data, "{release}");
            }
        }
    }
}
