//! A real cluster of Neo4j 1.3 – 1.8 on loopback.

use std::{path::Path, thread};

use super::{Backup, Coordinators, Options, Peer, Release, coordinators::free_ports};

/// Members of ours; killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The member of id 1 first.
    pub members: Vec<Peer>,
}

/// How the members of a cluster are started.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `ha.cluster_name`, which releases from 1.5.1 on look at.
    pub name: Option<String>,
    /// More, `key=value`.
    pub more: Vec<String>,
}

impl Cluster {
    /// Starts `count` members below `dir`, the first one alone, so that it is the master.
    pub fn start(release: Release, count: usize, coordinators: &Coordinators, dir: &Path, settings: &Settings) -> Self {
        let start = |id: usize, port: u16| {
            let dir = dir.join(format!("member{id}"));
            Peer::start(release, &dir, &options(release, id, port, coordinators, settings))
        };
        let ports = free_ports(count);
        let mut members = vec![start(1, ports[0])];
        let others: Vec<Peer> = thread::scope(|scope| {
            let start = &start;
            let starting: Vec<_> = (2..=count)
                .zip(&ports[1..])
                .map(|(id, port)| scope.spawn(move || start(id, *port)))
                .collect();
            starting.into_iter().map(|member| member.join().unwrap()).collect()
        });
        members.extend(others);
        Self { members }
    }
}

fn options(release: Release, id: usize, port: u16, coordinators: &Coordinators, settings: &Settings) -> Options {
    let (id_key, coordinators_key) = if release < Release::V1_5 {
        ("ha.machine_id", "ha.zoo_keeper_servers")
    } else {
        ("ha.server_id", "ha.coordinators")
    };
    let mut all = vec![
        format!("{id_key}={id}"),
        format!("{coordinators_key}={}", coordinators.hosts()),
        format!("ha.server=127.0.0.1:{port}"),
    ];
    all.extend(settings.name.iter().map(|name| format!("ha.cluster_name={name}")));
    all.extend(settings.more.iter().cloned());
    Options {
        backup: Backup::On,
        settings: all,
    }
}
