//! The restore of a whole cluster: what has to be done for each member, and whether it may be done now.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{args::request::RequestError, output::streams::printable};
use neo4j_backup_core::{
    ClusterOptions, Error, ErrorKind,
    cancel::Cancel,
    members::registered,
    source::{discovery::Cluster, uri::Source},
};

/// The restore of a whole cluster, step by step.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterPlan {
    cluster: Option<String>,
    store_id: String,
    /// Who is registered, in the order of their start.
    members: Vec<PlannedMember>,
    /// What is done, in this order.
    steps: Vec<String>,
    #[serde(skip)]
    pub(crate) found: Cluster,
}

#[derive(Debug, Serialize)]
struct PlannedMember {
    id: i32,
    role: &'static str,
    address: Option<String>,
}

/// The cluster as its `ZooKeeper` servers have it.
///
/// # Errors
/// The URI names no cluster; as [`registered`].
pub(crate) fn look(uri: &str, name: Option<&str>, cancel: &Cancel) -> Result<Cluster, Error> {
    let source = Source::parse(uri).map_err(Error::from)?;
    if matches!(source, Source::Single { .. }) {
        let wrong = RequestError::Word {
            option: "cluster-of",
            text: uri.to_owned(),
            expected: "a cluster is expected, for example ha://192.168.1.15:2181",
        };
        return Err(Error::new(ErrorKind::Usage, wrong));
    }
    let options = ClusterOptions {
        name: name.filter(|name| !name.is_empty()).map(str::to_owned),
        ..ClusterOptions::default()
    };
    registered(&source, &options, cancel)
}

impl ClusterPlan {
    /// The plan for a cluster; `restore` is the command for each member, `members` the one that shows them.
    pub(crate) fn new(found: Cluster, restore: &str, members: &str) -> ClusterPlan {
        let mut order: Vec<_> = found.members.iter().collect();
        // the one that is started first becomes the master
        order.sort_by_key(|member| found.master.id() != Some(member.id));
        let planned: Vec<PlannedMember> = order
            .into_iter()
            .map(|member| PlannedMember {
                id: member.id.0,
                role: found.role(member.id).name(),
                address: member.service().map(|service| printable(&service.address)),
            })
            .collect();
        let each = |what: &str| match planned.as_slice() {
            [] => format!("{what} every member"),
            planned => {
                let named: Vec<String> = planned.iter().map(PlannedMember::label).collect();
                format!("{what} {}, and members that are down now", named.join(", "))
            }
        };
        let steps = vec![
            format!("{}: bin/neo4j stop. Leave the ZooKeeper servers running", each("stop")),
            format!("{}: {restore}", each("restore, on the host of")),
            format!(
                "{}: bin/neo4j start, one after the other; the first becomes the master",
                each("start")
            ),
            format!("look at the members: {members}"),
            "take a full backup into another directory".to_owned(),
        ];
        ClusterPlan {
            cluster: found.name.as_deref().map(printable),
            store_id: found.store_id.to_string(),
            members: planned,
            steps,
            found,
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let name = self.cluster.as_deref().unwrap_or("(its releases give it no name)");
        let _ = writeln!(text, "Restore of the cluster {name}, database {}:", self.store_id);
        for (number, step) in (1..).zip(&self.steps) {
            let _ = writeln!(text, "  {number}. {}", printable(step));
        }
        text
    }
}

impl PlannedMember {
    fn label(&self) -> String {
        match &self.address {
            Some(address) => format!("member {} ({}, {address})", self.id, self.role),
            None => format!("member {} ({})", self.id, self.role),
        }
    }
}

/// A word as a shell reads it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("/var/lib/neo4j"), "/var/lib/neo4j");
        assert_eq!(quoted("2012-10-10 14:03"), "'2012-10-10 14:03'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
