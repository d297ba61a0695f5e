//! Who is in a cluster, and who would be asked for a backup.

use tokio::runtime::Handle;

use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    cluster_options::ClusterOptions,
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
    let Source::Ha { coordinators, chroot } = source else {
        let text = format!("{source} is a single server; members are those of a cluster, as in ha://host:2181");
        return Err(Error::new(ErrorKind::Usage, text));
    };
    let search = Search {
        coordinators: coordinators.clone(),
        chroot: chroot.clone(),
        cluster: options.name.clone(),
        timeout: options.zookeeper_timeout,
    };
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
