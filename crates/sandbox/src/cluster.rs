//! A throw-away cluster on loopback: coordinators, a master that commits, slaves that replicate from it, each with a
//! backup service behind a link that can fail.

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    board::Board,
    coordinator::{Condition, Coordinators},
    database::{Contents, Database, DatabaseError},
    generator::{Generator, WorkloadProfile},
    link::Flow,
    member::{ClusterContext, End, milliseconds},
    plan::{ClusterError, MemberState, Plan, Status, in_member, io_error},
    process::Process,
    registration::Generation,
};
use neo4j_backup_core::serve::Release;
use neo4j_format::{
    ids::{MemberId, StoreId, TxId},
    store::{StoreFormat, header::CURRENT_VERSION},
};

/// The cluster. Dropping it ends all members as a crash would; [`Cluster::shut_down`] ends them cleanly.
#[derive(Debug)]
pub struct Cluster {
    surroundings: ClusterContext,
    coordinators: Arc<Coordinators>,
    members: Vec<Process>,
}

impl Cluster {
    /// Makes the databases and starts everything.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn start(plan: Plan) -> Result<Cluster, ClusterError> {
        let coordinators = Coordinators::start(&plan.coordinators).await;
        let coordinators = Arc::new(coordinators.map_err(|cause| io_error("a coordinator cannot listen", cause))?);
        let format = plan.generation.format();
        let surroundings = ClusterContext {
            generation: plan.generation,
            cluster: plan.name.clone(),
            coordinators: Arc::clone(&coordinators),
            board: Board::default(),
            seed: plan.seed,
            taste: taste_of(plan.generation),
            rate: Arc::new(AtomicU64::new(u64::from(plan.rate) * 1000)),
            session_timeout: plan.session_timeout,
        };
        let mut cluster = Cluster {
            surroundings,
            coordinators,
            members: Vec::new(),
        };
        let store = StoreId {
            creation_time: milliseconds(),
            random: plan.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).cast_signed() ^ milliseconds(),
            store_version: (format == StoreFormat::Current).then_some(CURRENT_VERSION),
        };
        let first = plan.dir.join(folder(1));
        cluster
            .fill(&first, store, plan.transactions)
            .map_err(|cause| in_member(MemberId(1), cause))?;
        for number in 1..=plan.members {
            let dir = plan.dir.join(folder(number));
            if number > 1 {
                copy(&first, &dir).map_err(|cause| io_error(&dir.display().to_string(), cause))?;
            }
            let port = if plan.first_port == 0 {
                0
            } else {
                plan.first_port + (number - 1)
            };
            let id = MemberId(i32::from(number));
            let member = Process::new(id, dir, port, cluster.release()).await?;
            cluster.members.push(member);
        }
        for number in 0..cluster.members.len() {
            cluster.run(number).await?;
        }
        Ok(cluster)
    }

    /// The URI that finds it.
    pub fn uri(&self) -> String {
        let hosts: Vec<String> = self.coordinators.addresses().iter().map(ToString::to_string).collect();
        format!("ha://{}", hosts.join(","))
    }

    /// Its coordinators.
    pub fn coordinators(&self) -> Vec<(SocketAddr, Condition)> {
        self.coordinators
            .addresses()
            .into_iter()
            .zip(self.coordinators.conditions())
            .collect()
    }

    /// All members.
    pub fn status(&self) -> Vec<Status> {
        let master = self.surroundings.board.master().map(|master| master.id);
        self.members.iter().map(|member| member.status(master)).collect()
    }

    /// The member that has the master's role, if one has it and can be reached.
    pub fn master(&self) -> Option<MemberId> {
        let master = self.surroundings.board.master()?;
        master.is_there.then_some(master.id)
    }

    /// What a member's database held right after these transactions.
    ///
    /// # Errors
    /// There is no such member, or its logs cannot be read.
    pub fn contents_at(&self, id: MemberId, graph: TxId, lucene: TxId) -> Result<Contents, ClusterError> {
        let live = self.member(id)?.served.live();
        let contents = Contents::at(live.feed(), self.surroundings.generation.format(), graph, lucene);
        contents.map_err(|cause| in_member(id, cause))
    }

    /// Sets how many transactions a second the master commits.
    pub fn set_rate(&self, rate: u32) {
        self.surroundings.rate.store(u64::from(rate) * 1000, Ordering::Relaxed);
    }

    /// Ends a member as `kill -9` does: connections are cut, its registration lingers.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&mut self, id: MemberId) -> Result<(), ClusterError> {
        self.member_mut(id)?.end(End::Killed).await
    }

    /// Ends a member cleanly.
    ///
    /// # Errors
    /// It does not run, or its database cannot be closed.
    pub async fn stop(&mut self, id: MemberId) -> Result<(), ClusterError> {
        self.member_mut(id)?.end(End::ShutDown).await
    }

    /// Starts a member that is down, on its old database and port.
    ///
    /// # Errors
    /// It is not down, or cannot be started.
    pub async fn restart(&mut self, id: MemberId) -> Result<(), ClusterError> {
        let number = self.number(id)?;
        let state = self.member(id)?.state();
        if state != MemberState::Down {
            return Err(ClusterError::State { id, state });
        }
        self.run(number).await
    }

    /// Lets a member hang, as if its process were stopped.
    ///
    /// # Errors
    /// It does not run.
    pub fn stall(&self, id: MemberId) -> Result<(), ClusterError> {
        let member = self.running_member(id)?;
        member.orders.stalled.store(true, Ordering::Relaxed);
        member.link.set_flow(Flow::Held);
        Ok(())
    }

    /// Lets a stalled or slowed member go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self, id: MemberId) -> Result<(), ClusterError> {
        let member = self.running_member(id)?;
        member.orders.stalled.store(false, Ordering::Relaxed);
        member.link.set_flow(Flow::Open);
        Ok(())
    }

    /// Limits what a member's backup service sends to so many bytes a second.
    ///
    /// # Errors
    /// It does not run.
    pub fn slow(&self, id: MemberId, bytes: u64) -> Result<(), ClusterError> {
        self.running_member(id)?.link.set_flow(Flow::Slow(bytes));
        Ok(())
    }

    /// Lets a slave stay so many transactions behind its master; 0 lets it catch up.
    ///
    /// # Errors
    /// There is no such member.
    pub fn lag(&self, id: MemberId, transactions: u64) -> Result<(), ClusterError> {
        self.member(id)?.orders.lag.store(transactions, Ordering::Relaxed);
        Ok(())
    }

    /// Puts a coordinator, counted from 1, into another condition.
    ///
    /// # Errors
    /// There is no such coordinator, or its port is taken.
    pub async fn set_coordinator(&mut self, number: usize, condition: Condition) -> Result<(), ClusterError> {
        let set = self.coordinators.set_condition(number.wrapping_sub(1), condition).await;
        match set {
            Ok(true) => Ok(()),
            Ok(false) => Err(ClusterError::NoCoordinator(number)),
            Err(cause) => Err(io_error("a coordinator cannot listen again", cause)),
        }
    }

    /// Ends all members cleanly, slaves first.
    ///
    /// # Errors
    /// Of the first one that cannot.
    pub async fn shut_down(mut self) -> Result<(), ClusterError> {
        let master = self.master();
        let mut ids: Vec<MemberId> = self.members.iter().map(|member| member.id).collect();
        ids.sort_by_key(|id| Some(*id) == master);
        for id in ids {
            if self.member(id)?.state() != MemberState::Down {
                self.stop(id).await?;
            }
        }
        Ok(())
    }

    /// Makes the first member's database.
    fn fill(&self, dir: &Path, store: StoreId, transactions: u32) -> Result<(), DatabaseError> {
        let format = self.surroundings.generation.format();
        let mut database = Database::create(dir, format, store)?;
        let generator = Generator::new(self.surroundings.seed, self.surroundings.taste);
        for _ in 0..transactions {
            generator.step(&mut database, milliseconds())?;
        }
        database.close()
    }

    async fn run(&mut self, number: usize) -> Result<(), ClusterError> {
        let (surroundings, release) = (self.surroundings.clone(), self.release());
        match self.members.get_mut(number) {
            Some(member) => member.run(surroundings, release).await,
            None => Ok(()),
        }
    }

    fn release(&self) -> Release {
        match self.surroundings.generation {
            Generation::Neo4j13 => Release::Neo4j13,
            _ => Release::Other,
        }
    }

    fn number(&self, id: MemberId) -> Result<usize, ClusterError> {
        let number = self.members.iter().position(|member| member.id == id);
        number.ok_or(ClusterError::Unknown(id))
    }

    fn member(&self, id: MemberId) -> Result<&Process, ClusterError> {
        let member = self.members.iter().find(|member| member.id == id);
        member.ok_or(ClusterError::Unknown(id))
    }

    fn member_mut(&mut self, id: MemberId) -> Result<&mut Process, ClusterError> {
        let member = self.members.iter_mut().find(|member| member.id == id);
        member.ok_or(ClusterError::Unknown(id))
    }

    fn running_member(&self, id: MemberId) -> Result<&Process, ClusterError> {
        let member = self.member(id)?;
        match member.state() {
            MemberState::Down => Err(ClusterError::State {
                id,
                state: MemberState::Down,
            }),
            _ => Ok(member),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &self.members {
            member.abandon();
        }
        for member in &mut self.members {
            member.join();
        }
    }
}

fn taste_of(generation: Generation) -> WorkloadProfile {
    WorkloadProfile {
        self_relationships: generation != Generation::Neo4j13,
        graph_properties: generation >= Generation::Neo4j16,
        ..WorkloadProfile::of(generation.format())
    }
}

fn folder(number: u16) -> String {
    format!("member-{number}")
}

/// Copies a closed database.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
