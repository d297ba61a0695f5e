//! Who is in a cluster, and who would be asked for a backup.

use tokio::runtime::Handle;

use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    cluster_options::ClusterOptions,
    error::Setting,
    runtime,
    source::{
        discovery::{Answers, Cluster, DiscoveryError, Patience, Ranking, Search, ask_members, discover, rank},
        uri::Source,
    },
};

/// What is known of a cluster and of every member.
#[derive(Debug)]
#[non_exhaustive]
pub struct ClusterMembers {
    /// As the coordinators have it.
    pub cluster: Cluster,
    /// What each member's backup service answered.
    pub answers: Answers,
    /// Who would be asked for a full backup, best first, and who would not, with the reason.
    pub ranking: Ranking,
}

/// Finds the cluster of an `ha://` source and asks the backup service of every member. Works from any thread, as
/// [`crate::Backup::run`].
///
/// # Errors
/// [`ErrorKind::NoZooKeeper`], [`ErrorKind::NotAuthorized`] or [`ErrorKind::UnknownCluster`] if the cluster cannot be
/// found; [`ErrorKind::NoMember`] if it has no members; [`ErrorKind::Usage`] if the source is a single server; a cancelled
/// run.
pub fn members(source: &Source, options: &ClusterOptions, cancel: &Cancel) -> Result<ClusterMembers, Error> {
    let search = search(source, options)?;
    runtime::block_on(|| {
        Handle::current().block_on(async {
            let cluster = discover(&search, cancel).await?;
            let wanted = options.wanted(None);
            let answers = ask_members(&cluster, &wanted, Patience::Everybody, cancel).await?;
            let ranking = rank(&cluster, &answers, &wanted);
            if cluster.members.is_empty() {
                return Err(DiscoveryError::NoMembers(cluster.label()).into());
            }
            Ok(ClusterMembers {
                cluster,
                answers,
                ranking,
            })
        })
    })
}

/// Finds the cluster of an `ha://` source as its coordinators have it; asks no member, and there may be none. Works from
/// any thread, as [`crate::Backup::run`].
///
/// # Errors
/// As [`members`], except that a cluster without members is none.
pub fn registered(source: &Source, options: &ClusterOptions, cancel: &Cancel) -> Result<Cluster, Error> {
    let search = search(source, options)?;
    runtime::block_on(|| Handle::current().block_on(discover(&search, cancel)))
}

/// Refuses a cluster with members: one that runs would give its data to those that were restored.
///
/// # Errors
/// Of kind [`ErrorKind::TargetInUse`].
pub fn require_stopped(cluster: &Cluster) -> Result<(), Error> {
    if cluster.members.is_empty() {
        return Ok(());
    }
    let members: Vec<String> = cluster.members.iter().map(|member| member.id.to_string()).collect();
    let text = format!(
        "cluster {} has registered members: {}",
        cluster.label(),
        members.join(", ")
    );
    Err(Error::new(ErrorKind::TargetInUse, text)
        .with_hint("stop all members, and wait until the ZooKeeper servers have noticed")
        .see(&[Setting::RegisteredMembers]))
}

/// Refuses a cluster whose coordinators know it as another database than the one with this store id: restored members
/// could not join it.
///
/// # Errors
/// Of kind [`ErrorKind::NotOurs`].
pub fn require_database(cluster: &Cluster, store_id: &str) -> Result<(), Error> {
    let known = cluster.store_id.to_string();
    // without a name there may be several databases, each with a cluster of its own
    if cluster.name.is_none() || known == store_id {
        return Ok(());
    }
    let text = format!(
        "cluster {} holds the database {known}; the backup is of {store_id}",
        cluster.label()
    );
    Err(Error::new(ErrorKind::NotOurs, text).with_hint("restore a backup of this cluster, or name another cluster"))
}

fn search(source: &Source, options: &ClusterOptions) -> Result<Search, Error> {
    let Source::Ha { coordinators, chroot } = source else {
        let text = format!("{source} is a single server; members are those of a cluster, as in ha://host:2181");
        return Err(Error::new(ErrorKind::Usage, text));
    };
    Ok(Search {
        coordinators: coordinators.clone(),
        chroot: chroot.clone(),
        cluster: options.name.clone(),
        timeout: options.zookeeper_timeout,
    })
}
