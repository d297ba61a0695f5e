//! A real cluster of Neo4j 1.3 – 1.8 on loopback.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use super::{Backup, Coordinators, Options, Peer, Release, coordinators::free_ports};

/// Members of ours; killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The member of id 1 first.
    pub members: Vec<Peer>,
    release: Release,
    dir: PathBuf,
    /// How each was started.
    options: Vec<Options>,
}

/// How the members of a cluster are started.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `ha.cluster_name`, which releases from 1.5.1 on look at.
    pub name: Option<String>,
    /// Where the first member finds its coordinators, if not where they are: a relay that can be cut.
    pub first_looks_at: Option<String>,
    /// The first member offers no backup service.
    pub first_without_backup: bool,
    /// No member does.
    pub without_backup: bool,
    /// More, `key=value`.
    pub more: Vec<String>,
}

impl Cluster {
    /// Starts `count` members below `dir`, one after the other, so that the first one is the master.
    pub fn start(release: Release, count: usize, coordinators: &Coordinators, dir: &Path, settings: &Settings) -> Self {
        let options: Vec<Options> = (1..=count)
            .zip(free_ports(count))
            .map(|(id, port)| options(release, id, port, coordinators, settings))
            .collect();
        let mut cluster = Self {
            members: Vec::new(),
            release,
            dir: dir.to_owned(),
            options,
        };
        let start = cluster.starter();
        for index in 0..count {
            let member = persistently(|| {
                // of a start that failed in the midst of making a store nothing is of use
                let half_made = member_dir(dir, index);
                if half_made.exists() {
                    fs::remove_dir_all(&half_made).unwrap();
                }
                start(index)
            });
            cluster.members.push(member);
        }
        cluster
    }

    /// Starts members again that were killed, by their places in `members`; each gets a new backup port.
    pub fn restart(&mut self, killed: &[usize]) {
        let start = self.starter();
        for index in killed {
            self.members[*index] = persistently(|| start(*index));
        }
    }

    /// Starts a member by its place in `members`, wherever the caller wants to wait for it.
    pub fn starter(&self) -> impl Fn(usize) -> Peer + Sync + Send + use<> {
        let (release, dir, options) = (self.release, self.dir.clone(), self.options.clone());
        move |index| Peer::start(release, &member_dir(&dir, index), &options[index])
    }
}

fn member_dir(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("member{}", index + 1))
}

/// A member of 1.8 may die or hang at its start when the role of master moves just then; as an operator would, this starts
/// it again.
fn persistently(start: impl Fn() -> Peer + Sync) -> Peer {
    let tried = || thread::scope(|scope| scope.spawn(&start).join().ok());
    tried().or_else(tried).unwrap_or_else(&start)
}

fn options(release: Release, id: usize, port: u16, coordinators: &Coordinators, settings: &Settings) -> Options {
    let (id_key, coordinators_key) = if release < Release::V1_5 {
        ("ha.machine_id", "ha.zoo_keeper_servers")
    } else {
        ("ha.server_id", "ha.coordinators")
    };
    let relay = settings.first_looks_at.clone().filter(|_| id == 1);
    let coordinators = relay.unwrap_or_else(|| coordinators.hosts());
    let mut all = vec![
        format!("{id_key}={id}"),
        format!("{coordinators_key}={coordinators}"),
        format!("ha.server=127.0.0.1:{port}"),
    ];
    all.extend(settings.name.iter().map(|name| format!("ha.cluster_name={name}")));
    all.extend(settings.more.iter().cloned());
    let is_without = settings.without_backup || settings.first_without_backup && id == 1;
    Options {
        backup: if is_without { Backup::Off } else { Backup::On },
        settings: all,
    }
}
