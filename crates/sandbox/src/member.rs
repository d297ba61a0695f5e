//! One member of a cluster: a thread that owns its database, commits as master and pulls as slave.

use std::{
    fs, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{
    board::{Board, Master},
    coordinator::{Coordinators, Refused},
    database::{Database, DatabaseError, LoggedTransaction, Machines, NotKept},
    generator::{Generator, WorkloadProfile},
    live::Live,
    registration::{Announcement, Generation, Registration},
};
use neo4j_backup_core::serve::{Copy, Identity, Moment, Refusal, Source};
use neo4j_format::{
    ids::{DataSource, MemberId, TxId},
    log::{Buffer, Fingerprint, Layout, LogFormat, TransactionRange, TransactionReader},
};

/// How often a member looks around.
const TICK: Duration = Duration::from_millis(4);

/// Transactions that are pulled at once.
const BATCH: usize = 256;

/// Transactions that a master may be behind its rate; it does not catch up with more.
const DEBT: f64 = 20.0;

/// How a member's thread is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As a killed process does.
    Killed,
    /// Cleanly.
    ShutDown,
}

/// Commands to a running member.
#[derive(Debug, Default)]
pub(super) struct Orders {
    end: Mutex<Option<End>>,
    pub(super) stalled: AtomicBool,
    /// Transactions that it stays behind its master.
    pub(super) lag: AtomicU64,
}

impl Orders {
    pub(super) fn end(&self, end: End) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    fn ended(&self) -> Option<End> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The member's database as its backup service sees it: another one after the store was copied again.
#[derive(Debug)]
pub(super) struct Served(Mutex<Live>);

impl Served {
    pub(super) fn new(live: Live) -> Served {
        Served(Mutex::new(live))
    }

    pub(super) fn live(&self) -> Live {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, live: Live) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = live;
    }
}

impl Source for Served {
    fn identity(&self) -> Identity {
        self.live().identity()
    }

    fn copy(&self) -> Result<Copy, Refusal> {
        self.live().copy()
    }

    fn since(&self, moment: &Moment) -> Result<Vec<TransactionRange>, Refusal> {
        self.live().since(moment)
    }
}

/// Why a member gave up.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// Its database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A coordinator refused something.
    #[error("a coordinator refuses a member's node: {0}")]
    Coordinator(#[from] Refused),
    /// The file system failed.
    #[error("a member's folder cannot be replaced: {0}")]
    Folder(#[from] io::Error),
}

impl From<NotKept> for MemberError {
    fn from(error: NotKept) -> MemberError {
        MemberError::Database(error.into())
    }
}

/// What all members of a cluster share.
#[derive(Debug, Clone)]
pub(super) struct ClusterContext {
    pub(super) generation: Generation,
    pub(super) cluster: String,
    pub(super) coordinators: Arc<Coordinators>,
    pub(super) board: Board,
    pub(super) seed: u64,
    pub(super) taste: WorkloadProfile,
    /// Transactions that the master commits, in thousandths of a second.
    pub(super) rate: Arc<AtomicU64>,
    pub(super) session_timeout: Duration,
}

/// Everything that a member's thread works with.
#[derive(Debug)]
pub(super) struct Worker {
    surroundings: ClusterContext,
    announcement: Announcement,
    orders: Arc<Orders>,
    served: Arc<Served>,
    database: Database,
    registration: Registration,
    /// The master and its term that this member last acted on.
    role: Option<(MemberId, u64)>,
    /// Who committed the last transaction.
    last_master: i32,
    owed: f64,
    counted: Instant,
}

impl Worker {
    /// Registers the member.
    pub(super) fn join(
        surroundings: ClusterContext,
        announcement: Announcement,
        orders: Arc<Orders>,
        served: Arc<Served>,
        database: Database,
    ) -> Result<Worker, MemberError> {
        let registration = register(&surroundings, &announcement, &database, -1)?;
        surroundings
            .board
            .join(announcement.id, served.live(), registration.sequence());
        Ok(Worker {
            surroundings,
            announcement,
            orders,
            served,
            database,
            registration,
            role: None,
            last_master: -1,
            owed: 0.0,
            counted: Instant::now(),
        })
    }

    /// Runs until it is asked to end.
    pub(super) fn run(mut self) -> Result<(), MemberError> {
        let mut was_stalled = false;
        loop {
            match self.orders.ended() {
                Some(End::Killed) => {
                    self.surroundings.board.lose(self.announcement.id, self.expiry());
                    self.registration.abandon(self.surroundings.session_timeout);
                    return Ok(());
                }
                Some(End::ShutDown) => {
                    self.database.close()?;
                    self.registration.close();
                    self.surroundings.board.leave(self.announcement.id);
                    return Ok(());
                }
                None => {}
            }
            let is_stalled = self.orders.stalled.load(Ordering::Relaxed);
            if is_stalled && !was_stalled {
                self.surroundings.board.lose(self.announcement.id, self.expiry());
                self.registration.fall_silent(self.surroundings.session_timeout);
            } else if !is_stalled && was_stalled {
                self.come_back()?;
            }
            was_stalled = is_stalled;
            if !is_stalled {
                self.tick()?;
            }
            thread::sleep(TICK);
        }
    }

    fn expiry(&self) -> Instant {
        Instant::now() + self.surroundings.session_timeout
    }

    /// After a stall: goes on with its session, or registers again.
    fn come_back(&mut self) -> Result<(), MemberError> {
        let is_known = self.surroundings.board.find(self.announcement.id);
        if self.registration.speak_again() && is_known {
            return Ok(());
        }
        self.registration = register(&self.surroundings, &self.announcement, &self.database, self.last_master)?;
        let live = self.served.live();
        self.surroundings
            .board
            .join(self.announcement.id, live, self.registration.sequence());
        self.role = None;
        Ok(())
    }

    fn tick(&mut self) -> Result<(), MemberError> {
        match self.surroundings.board.master() {
            Some(master) if master.id == self.announcement.id => self.lead(&master)?,
            Some(master) if master.is_there => self.follow(&master)?,
            _ => {}
        }
        let last = self.database.feed().last(DataSource::Graph);
        self.registration.publish(last, self.last_master)?;
        Ok(())
    }

    /// Commits what is due at the rate.
    fn lead(&mut self, master: &Master) -> Result<(), MemberError> {
        let own = self.announcement.id;
        if self.role != Some((own, master.term)) {
            self.database.set_machines(Machines {
                master: own.0,
                own: own.0,
            });
            self.registration.lead()?;
            self.role = Some((own, master.term));
            (self.owed, self.counted) = (0.0, Instant::now());
        }
        let now = Instant::now();
        let rate =
            f64::from(u32::try_from(self.surroundings.rate.load(Ordering::Relaxed)).unwrap_or(u32::MAX)) / 1000.0;
        self.owed = (self.owed + rate * now.duration_since(self.counted).as_secs_f64()).min(DEBT.max(rate));
        self.counted = now;
        // another term writes other transactions: what two masters commit alone must not look alike
        let generator = Generator::new(
            self.surroundings.seed.wrapping_add(master.term),
            self.surroundings.taste,
        );
        while self.owed >= 1.0 && self.orders.ended().is_none() {
            self.owed -= 1.0;
            generator.step(&mut self.database, milliseconds())?;
            self.last_master = own.0;
        }
        Ok(())
    }

    /// Applies what the master has committed.
    fn follow(&mut self, master: &Master) -> Result<(), MemberError> {
        if self.role != Some((master.id, master.term)) {
            if !self.continues(&master.live)? {
                self.copy_store(&master.live)?;
            }
            self.registration.follow(master.id)?;
            self.role = Some((master.id, master.term));
        }
        let lag = self.orders.lag.load(Ordering::Relaxed);
        for source in DataSource::ALL {
            // the indexes of a slave that lags wait until its graph is there
            if source == DataSource::Lucene && lag > 0 {
                continue;
            }
            let last = master.live.feed().last(source).0.saturating_sub_unsigned(lag);
            let next = self.database.feed().last(source).next();
            for place in master.live.feed().from(source, next, BATCH)? {
                if place.tx.0 > last {
                    break;
                }
                self.database.apply(source, place.tx, read(&place)?)?;
                self.last_master = master.id.0;
            }
        }
        Ok(())
    }

    /// Whether the master's history is this member's own and more.
    fn continues(&self, master: &Live) -> Result<bool, MemberError> {
        for source in DataSource::ALL {
            let last = self.database.feed().last(source);
            if last == TxId::BASE {
                continue;
            }
            let (own, other) = (
                self.database.feed().from(source, last, 1)?,
                master.feed().from(source, last, 1)?,
            );
            let same = match (own.first(), other.first()) {
                (Some(own), Some(other)) => self.fingerprint(source, own)? == self.fingerprint(source, other)?,
                _ => false,
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fingerprint(&self, source: DataSource, place: &LoggedTransaction) -> Result<Fingerprint, MemberError> {
        let layout = Layout {
            format: LogFormat::from(self.database.format()),
            source,
        };
        let (bytes, mut buffer) = (read(place)?, Buffer::new());
        let mut transaction = TransactionReader::new(bytes.as_slice(), layout, place.tx, &mut buffer);
        Ok(transaction.fingerprint().map_err(DatabaseError::from)?)
    }

    /// Branched off: replaces its own store with the master's.
    fn copy_store(&mut self, master: &Live) -> Result<(), MemberError> {
        let dir = self.database.dir().to_owned();
        let copying = dir.with_extension("copying");
        if copying.exists() {
            fs::remove_dir_all(&copying)?;
        }
        let id = self.database.store_id()?;
        let mut copy = Database::create(&copying, self.database.format(), id)?;
        for source in DataSource::ALL {
            let mut next = TxId::BASE.next();
            loop {
                let places = master.feed().from(source, next, BATCH)?;
                for place in &places {
                    copy.apply(source, place.tx, read(place)?)?;
                }
                match places.last() {
                    Some(place) => next = place.tx.next(),
                    None => break,
                }
            }
        }
        copy.close()?;
        fs::remove_dir_all(&dir)?;
        fs::rename(&copying, &dir)?;
        self.database = Database::open(&dir)?;
        let live = Live::of(&self.database, self.served.identity().release)?;
        self.served.replace(live.clone());
        self.surroundings.board.replace(self.announcement.id, live);
        Ok(())
    }
}

fn register(
    surroundings: &ClusterContext,
    announcement: &Announcement,
    database: &Database,
    master: i32,
) -> Result<Registration, MemberError> {
    Ok(Registration::register(
        surroundings.coordinators.session(),
        surroundings.generation,
        &surroundings.cluster,
        database.store_id()?,
        announcement,
        database.feed().last(DataSource::Graph),
        master,
    )?)
}

fn read(place: &LoggedTransaction) -> Result<Vec<u8>, DatabaseError> {
    place.read().map_err(DatabaseError::Log)
}

pub(super) fn milliseconds() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
