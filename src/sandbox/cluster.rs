//! A throw-away cluster on loopback: coordinators, a master that commits, slaves that replicate from it, each with a
//! backup service behind a link that can fail.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle as Thread,
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    board::Board,
    coordinator::{Condition, Coordinators},
    database::{Contents, Database, DatabaseError},
    generator::{Generator, Taste},
    link::{Flow, Link},
    live::Live,
    member::{End, MemberError, Orders, Served, Surroundings, Worker, milliseconds},
    registration::{Announcement, Generation},
};
use crate::{
    Error, ErrorKind,
    ids::{DataSource, MemberId, StoreId, TxId},
    server::{Limits, Release, Service, Stop},
    store::{StoreFormat, header::CURRENT_VERSION},
};

/// The first port on which members would listen for each other; nobody does here.
const CLUSTER_PORT: u16 = 6360;

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder for the members' databases; made if it is not there.
    pub dir: PathBuf,
    /// The releases it behaves like.
    pub generation: Generation,
    /// Name of the cluster.
    pub name: String,
    /// Number of members.
    pub members: u16,
    /// Where the coordinators listen; port 0 takes a free one.
    pub coordinators: Vec<SocketAddr>,
    /// Port of the first member's backup service, the others follow; 0 takes free ones.
    pub first_port: u16,
    /// Seed of the transactions.
    pub seed: u64,
    /// Transactions before the cluster starts.
    pub transactions: u32,
    /// Transactions a second that the master commits.
    pub rate: u32,
    /// How long a dead member stays registered.
    pub session_timeout: Duration,
}

impl Plan {
    /// Three members and one coordinator on free ports, in `dir`.
    pub fn new(dir: &Path) -> Plan {
        Plan {
            dir: dir.to_owned(),
            generation: Generation::Neo4j18,
            name: "neo4j.ha".to_owned(),
            members: 3,
            coordinators: vec![loopback(0)],
            first_port: 0,
            seed: 1,
            transactions: 500,
            rate: 20,
            session_timeout: Duration::from_secs(5),
        }
    }
}

/// A cluster could not be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A folder or port of it.
    #[error("{what}: {cause}")]
    Io {
        /// What was to be done.
        what: String,
        /// Why it was not.
        cause: io::Error,
    },
    /// A member.
    #[error("member {id}: {cause}")]
    Member {
        /// Which one.
        id: MemberId,
        /// Why.
        cause: MemberError,
    },
    /// There is no such member.
    #[error("there is no member {0}")]
    Unknown(MemberId),
    /// There is no such coordinator.
    #[error("there is no coordinator {0}")]
    NoCoordinator(usize),
    /// It does not run, or runs already.
    #[error("member {id} is {state}")]
    State {
        /// Which one.
        id: MemberId,
        /// What it is.
        state: State,
    },
}

impl From<ClusterError> for Error {
    fn from(error: ClusterError) -> Error {
        Error::new(ErrorKind::Failed, error)
    }
}

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It works.
    Running,
    /// It hangs: connections stay open, nothing moves.
    Stalled,
    /// Its process is gone.
    Down,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Running => "running",
            State::Stalled => "stalled",
            State::Down => "down",
        })
    }
}

/// A member as the sandbox knows it; `neo4j-backup members` shows what the coordinators know.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its id.
    pub id: MemberId,
    /// What it does.
    pub state: State,
    /// Whether it has the master's role.
    pub is_master: bool,
    /// Its backup service.
    pub backup: SocketAddr,
    /// Last transaction of its graph.
    pub last: TxId,
    /// Its database.
    pub dir: PathBuf,
    /// Bytes that its backup service has sent.
    pub sent: u64,
}

/// The cluster. Dropping it ends all members as a crash would; [`Cluster::shut_down`] ends them cleanly.
#[derive(Debug)]
pub struct Cluster {
    surroundings: Surroundings,
    coordinators: Arc<Coordinators>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    id: MemberId,
    dir: PathBuf,
    link: Link,
    /// Where the link leads.
    behind: SocketAddr,
    orders: Arc<Orders>,
    served: Arc<Served>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    thread: Thread<Result<(), MemberError>>,
    stop: Stop,
    service: JoinHandle<usize>,
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
        let surroundings = Surroundings {
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
            let member = Member::new(id, dir, port, cluster.release()).await?;
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
        if state != State::Down {
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
            if self.member(id)?.state() != State::Down {
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

    fn member(&self, id: MemberId) -> Result<&Member, ClusterError> {
        let member = self.members.iter().find(|member| member.id == id);
        member.ok_or(ClusterError::Unknown(id))
    }

    fn member_mut(&mut self, id: MemberId) -> Result<&mut Member, ClusterError> {
        let member = self.members.iter_mut().find(|member| member.id == id);
        member.ok_or(ClusterError::Unknown(id))
    }

    fn running_member(&self, id: MemberId) -> Result<&Member, ClusterError> {
        let member = self.member(id)?;
        match member.state() {
            State::Down => Err(ClusterError::State { id, state: State::Down }),
            _ => Ok(member),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(running) = &member.running {
                member.orders.end(End::Killed);
                running.stop.abort();
                running.service.abort();
            }
        }
        for member in &mut self.members {
            if let Some(running) = member.running.take() {
                // what a member that is thrown away has to say is not asked for
                let _ = running.thread.join();
            }
        }
    }
}

impl Member {
    async fn new(id: MemberId, dir: PathBuf, port: u16, release: Release) -> Result<Member, ClusterError> {
        let failed = |cause| in_member(id, cause);
        let database = Database::open(&dir).map_err(failed)?;
        let served = Served::new(Live::of(&database, release).map_err(failed)?);
        database.close().map_err(failed)?;
        let behind = loopback(0);
        let listening = Link::up(loopback(port), behind).await;
        let mut link = listening.map_err(|cause| io_error(&format!("port {port} cannot be listened on"), cause))?;
        link.down().await;
        Ok(Member {
            id,
            dir,
            link,
            behind,
            orders: Arc::default(),
            served: Arc::new(served),
            running: None,
        })
    }

    async fn run(&mut self, surroundings: Surroundings, release: Release) -> Result<(), ClusterError> {
        let (id, failed) = (self.id, |cause| in_member(self.id, cause));
        let database = Database::open(&self.dir).map_err(failed)?;
        let live = Live::of(&database, release).map_err(failed)?;
        self.served = Arc::new(Served::new(live));
        self.orders = Arc::default();
        let listener = TcpListener::bind(loopback(0)).await;
        let listener = listener.map_err(|cause| io_error("a backup service cannot listen", cause))?;
        self.behind = listener
            .local_addr()
            .map_err(|cause| io_error("a backup service cannot listen", cause))?;
        let up = self.link.up_again(self.behind).await;
        up.map_err(|cause| io_error(&format!("{} cannot be listened on again", self.link.address()), cause))?;
        let stop = Stop::default();
        let service = Service::new(Arc::clone(&self.served), Limits::default());
        let stopping = stop.clone();
        let service = tokio::spawn(async move { service.run(listener, &stopping).await });
        let announcement = Announcement {
            id,
            address: format!("127.0.0.1:{}", CLUSTER_PORT + u16::try_from(id.0).unwrap_or(1)),
            backup_port: self.link.address().port(),
        };
        let worker = Worker::join(
            surroundings,
            announcement,
            Arc::clone(&self.orders),
            Arc::clone(&self.served),
            database,
        );
        let worker = worker.map_err(|cause| ClusterError::Member { id, cause })?;
        let thread = std::thread::Builder::new().name(format!("member {id}"));
        let thread = thread.spawn(move || worker.run());
        let thread = thread.map_err(|cause| io_error("a member has no thread", cause))?;
        self.running = Some(Running { thread, stop, service });
        Ok(())
    }

    async fn end(&mut self, end: End) -> Result<(), ClusterError> {
        let id = self.id;
        let Some(running) = self.running.take() else {
            return Err(ClusterError::State { id, state: State::Down });
        };
        // a process that is killed or stopped takes its connections with it
        self.orders.end(end);
        self.orders.stalled.store(false, Ordering::Relaxed);
        self.link.down().await;
        running.stop.abort();
        let _ = running.service.await;
        let ended = tokio::task::spawn_blocking(move || running.thread.join()).await;
        match ended {
            Ok(Ok(result)) => result.map_err(|cause| ClusterError::Member { id, cause }),
            _ => Err(io_error("a member's thread failed", io::ErrorKind::Other.into())),
        }
    }

    fn state(&self) -> State {
        match &self.running {
            Some(running) if !running.thread.is_finished() => {
                if self.link.flow() == Flow::Held {
                    State::Stalled
                } else {
                    State::Running
                }
            }
            _ => State::Down,
        }
    }

    fn status(&self, master: Option<MemberId>) -> Status {
        Status {
            id: self.id,
            state: self.state(),
            is_master: master == Some(self.id),
            backup: self.link.address(),
            last: self.served.live().feed().last(DataSource::Graph),
            dir: self.dir.clone(),
            sent: self.link.passed(),
        }
    }
}

fn taste_of(generation: Generation) -> Taste {
    Taste {
        self_relationships: generation != Generation::Neo4j13,
        graph_properties: generation >= Generation::Neo4j16,
        ..Taste::of(generation.format())
    }
}

fn folder(number: u16) -> String {
    format!("member-{number}")
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn in_member(id: MemberId, cause: DatabaseError) -> ClusterError {
    ClusterError::Member {
        id,
        cause: cause.into(),
    }
}

fn io_error(what: &str, cause: io::Error) -> ClusterError {
    ClusterError::Io {
        what: what.to_owned(),
        cause,
    }
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
