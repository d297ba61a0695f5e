//! Contents of a database as `tests/peers/Dump.java` writes them, and comparing two of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

/// How many differing lines a report shows, and how much of each.
const SHOWN_LINES: usize = 12;
const SHOWN_CHARS: usize = 160;

/// What a reader of a database saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Number of the load's last transaction that the graph has, 0 without one.
    pub seq: u64,
    /// Number of the load's last transaction that the indexes have, 0 without one.
    pub index_seq: u64,
    /// One line per entity, by its name (`N 17`, `R 4`, `G`, `COUNT`).
    graph: BTreeMap<String, String>,
    /// Hits per index and query (`IN people name:*`).
    indexes: BTreeMap<String, BTreeSet<u64>>,
}

impl Contents {
    /// Reads a dump.
    pub fn parse(text: &str) -> Self {
        let mut contents = Self {
            seq: 0,
            index_seq: 0,
            graph: BTreeMap::new(),
            indexes: BTreeMap::new(),
        };
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ').unwrap_or_else(|| panic!("dump line {line:?}"));
            match kind {
                "SEQ" => contents.seq = rest.parse().unwrap(),
                "INDEX-SEQ" => contents.index_seq = rest.parse().unwrap(),
                "G" | "COUNT" => contents.put(kind, rest),
                "N" | "R" => {
                    let (id, value) = rest.split_once(' ').unwrap();
                    contents.put(&format!("{kind} {id}"), value);
                }
                "IN" | "IR" => {
                    let (query, ids) = line.split_once(" [").unwrap();
                    let ids = ids
                        .trim_end_matches(']')
                        .split(", ")
                        .map(|id| id.parse().unwrap())
                        .collect();
                    contents.indexes.insert(query.to_owned(), ids);
                }
                _ => panic!("dump line {line:?}"),
            }
        }
        contents
    }

    fn put(&mut self, name: &str, value: &str) {
        let before = self.graph.insert(name.to_owned(), value.to_owned());
        assert!(before.is_none(), "{name} was dumped twice");
    }

    /// Leaves a node index out of later comparisons.
    pub fn forget_index(&mut self, name: &str) {
        let prefix = format!("IN {name} ");
        self.indexes.retain(|query, _| !query.starts_with(&prefix));
    }

    /// The first differences of two databases, for people; `None` when they are equal.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let mut report = Report::default();
        report.value("SEQ", &self.seq, &other.seq);
        report.value("INDEX-SEQ", &self.index_seq, &other.index_seq);
        report.maps(&self.graph, &other.graph);
        report.maps(&self.indexes, &other.indexes);
        report.finish()
    }

    /// The first differences of the graphs alone.
    pub fn graph_difference(&self, other: &Self) -> Option<String> {
        let mut report = Report::default();
        report.maps(&self.graph, &other.graph);
        report.finish()
    }

    /// The first differences of the indexes, as far as they speak of entities that both graphs have: a reader is never
    /// shown a hit whose entity is gone, so where graphs differ, equal indexes show different hits.
    pub fn index_difference(&self, other: &Self) -> Option<String> {
        let mut report = Report::default();
        report.maps(&self.hits_shared_with(other), &other.hits_shared_with(self));
        report.finish()
    }

    fn hits_shared_with(&self, other: &Self) -> BTreeMap<String, BTreeSet<u64>> {
        let mut indexes = self.indexes.clone();
        for (query, ids) in &mut indexes {
            let kind = if query.starts_with("IN") { "N" } else { "R" };
            ids.retain(|id| other.graph.contains_key(&format!("{kind} {id}")));
        }
        indexes.retain(|_, ids| !ids.is_empty());
        indexes
    }
}

#[derive(Default)]
struct Report {
    lines: Vec<String>,
    hidden: usize,
}

impl Report {
    fn value<T: PartialEq + std::fmt::Debug>(&mut self, name: &str, left: &T, right: &T) {
        if left == right {
            return;
        }
        if self.lines.len() >= SHOWN_LINES {
            self.hidden += 1;
            return;
        }
        let (left, right) = around_difference(&format!("{left:?}"), &format!("{right:?}"));
        self.lines.push(format!("{name}\n  - {left}\n  + {right}"));
    }

    fn maps<T: PartialEq + std::fmt::Debug>(&mut self, left: &BTreeMap<String, T>, right: &BTreeMap<String, T>) {
        let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        for name in names {
            self.value(name, &left.get(name), &right.get(name));
        }
    }

    fn finish(self) -> Option<String> {
        let mut text = self.lines.join("\n");
        if self.hidden > 0 {
            let _ = write!(text, "\n… and {} more", self.hidden);
        }
        (!text.is_empty()).then_some(text)
    }
}

/// Both texts from shortly before their first difference on.
fn around_difference(left: &str, right: &str) -> (String, String) {
    let common = left.chars().zip(right.chars()).take_while(|(l, r)| l == r).count();
    let cut = |text: &str| text.chars().skip(common.saturating_sub(40)).take(SHOWN_CHARS).collect();
    (cut(left), cut(right))
}
