//! A member as a process of its own would be: its database and port stay, while it is started, killed and started again.
//!
//! What runs is a thread that commits or replicates (`member`), and a backup service behind a link (`link`).

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle as Thread,
};

use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    database::Database,
    link::{Flow, Link},
    live::Live,
    member::{ClusterContext, End, MemberError, Orders, Served, Worker},
    plan::{ClusterError, MemberState, Status, in_member, io_error, loopback},
    registration::Announcement,
};
use neo4j_backup_core::serve::{Limits, Release, Service, Stop};
use neo4j_format::ids::{DataSource, MemberId};

/// The first port on which members would listen for each other; nobody does here.
const CLUSTER_PORT: u16 = 6360;

#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: MemberId,
    dir: PathBuf,
    pub(super) link: Link,
    /// Where the link leads.
    behind: SocketAddr,
    pub(super) orders: Arc<Orders>,
    pub(super) served: Arc<Served>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    thread: Thread<Result<(), MemberError>>,
    stop: Stop,
    service: JoinHandle<usize>,
}

impl Process {
    pub(super) async fn new(id: MemberId, dir: PathBuf, port: u16, release: Release) -> Result<Process, ClusterError> {
        let failed = |cause| in_member(id, cause);
        let database = Database::open(&dir).map_err(failed)?;
        let served = Served::new(Live::of(&database, release).map_err(failed)?);
        database.close().map_err(failed)?;
        let behind = loopback(0);
        let listening = Link::up(loopback(port), behind).await;
        let mut link = listening.map_err(|cause| io_error(&format!("port {port} cannot be listened on"), cause))?;
        link.down().await;
        Ok(Process {
            id,
            dir,
            link,
            behind,
            orders: Arc::default(),
            served: Arc::new(served),
            running: None,
        })
    }

    pub(super) async fn run(&mut self, surroundings: ClusterContext, release: Release) -> Result<(), ClusterError> {
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

    pub(super) async fn end(&mut self, end: End) -> Result<(), ClusterError> {
        let id = self.id;
        let Some(running) = self.running.take() else {
            return Err(ClusterError::State {
                id,
                state: MemberState::Down,
            });
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

    pub(super) fn state(&self) -> MemberState {
        match &self.running {
            Some(running) if !running.thread.is_finished() => {
                if self.link.flow() == Flow::Held {
                    MemberState::Stalled
                } else {
                    MemberState::Running
                }
            }
            _ => MemberState::Down,
        }
    }

    pub(super) fn status(&self, master: Option<MemberId>) -> Status {
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

impl Process {
    /// Ends what runs as a crash would, without waiting for it.
    pub(super) fn abandon(&self) {
        if let Some(running) = &self.running {
            self.orders.end(End::Killed);
            running.stop.abort();
            running.service.abort();
        }
    }

    /// Waits for what was abandoned.
    pub(super) fn join(&mut self) {
        if let Some(running) = self.running.take() {
            // what a member that is thrown away has to say is not asked for
            let _ = running.thread.join();
        }
    }
}
