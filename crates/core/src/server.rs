//! A directory as a backup source, in one call.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    time::Duration,
};

use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    error::Setting,
    runtime::OwnRuntime,
    serve::{self, Counters, Directory, Identity, Limits, Network, Release, Service, Source as _, Stop},
    source::uri::Source,
};
use neo4j_format::store::StoreFormat;

/// The default address. Any client that reaches the port can copy the database.
pub const LOOPBACK: &str = "127.0.0.1";

/// How long a wait for the end lasts at most; it then begins again.
const A_LONG_TIME: Duration = Duration::from_hours(24);

/// A directory to serve as a backup source: a cleanly closed database, or a backup.
#[derive(Debug, Clone)]
pub struct Serve {
    dir: PathBuf,
    release: Option<Release>,
    format: Option<StoreFormat>,
    host: String,
    ports: RangeInclusive<u16>,
    allowed: Vec<Network>,
    limits: Limits,
}

impl Serve {
    /// The directory `dir` on the usual port of 127.0.0.1.
    pub fn new(dir: impl Into<PathBuf>) -> Serve {
        Serve {
            dir: dir.into(),
            release: None,
            format: None,
            host: LOOPBACK.to_owned(),
            ports: Source::DEFAULT_BACKUP_PORT..=Source::DEFAULT_BACKUP_PORT,
            allowed: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// Where to listen: at the first free port of `ports`; port 0 takes any free one.
    #[must_use]
    pub fn listen(self, host: impl Into<String>, ports: RangeInclusive<u16>) -> Serve {
        Serve {
            host: host.into(),
            ports,
            ..self
        }
    }

    /// The release that the directory is of, if the directory does not say.
    #[must_use]
    pub fn release(self, release: Release) -> Serve {
        Serve {
            release: Some(release),
            ..self
        }
    }

    /// Refuses a directory of another store format.
    #[must_use]
    pub fn require_format(self, format: StoreFormat) -> Serve {
        Serve {
            format: Some(format),
            ..self
        }
    }

    /// Serves clients of these networks only.
    #[must_use]
    pub fn allow(self, networks: Vec<Network>) -> Serve {
        Serve {
            allowed: networks,
            ..self
        }
    }

    /// What clients may cost.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Serve {
        Serve { limits, ..self }
    }

    /// Starts to serve, on threads of its own. Works from any thread.
    ///
    /// # Errors
    /// The directory is not a cleanly closed database or a backup; the address is not available.
    pub fn start(self) -> Result<Server, Error> {
        let directory = Arc::new(Directory::open(&self.dir, self.release)?);
        let identity = directory.identity();
        if self.format.is_some_and(|format| format != identity.format) {
            let text = format!(
                "{}: the store format is {}, which is not that of the given release",
                self.dir.display(),
                identity.format.version()
            );
            return Err(Error::new(ErrorKind::Configuration, text)
                .with_hint("leave out the release")
                .see(&[Setting::Release]));
        }
        let failed = |error| Error::new(ErrorKind::Failed, error);
        let runtime = OwnRuntime::start()?;
        let listener = received(&start(
            &runtime,
            async move { serve::bind(&self.host, self.ports).await },
        ))?
        .map_err(|error| {
            Error::new(ErrorKind::Configuration, error)
                .with_hint("choose another address to listen on")
                .see(&[Setting::Listen])
        })?;
        let address = listener.local_addr().map_err(failed)?;
        let shortcomings = directory
            .shortcomings()
            .map_err(|refusal| Error::new(ErrorKind::TargetInUse, refusal))?;
        let stop = Stop::default();
        let service = Service::new(directory, self.limits).allowing(self.allowed);
        let counters = service.counters();
        let serving = {
            let stop = stop.clone();
            async move { service.run(listener, &stop).await }
        };
        Ok(Server {
            address,
            identity,
            shortcomings,
            counters,
            stop,
            ended: start(&runtime, serving),
            _runtime: runtime,
        })
    }
}

/// A directory that is being served; dropping it ends this at once.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    identity: Identity,
    shortcomings: Vec<String>,
    counters: Arc<Counters>,
    stop: Stop,
    /// Receives how many responses were cut off.
    ended: Receiver<usize>,
    _runtime: OwnRuntime,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The source that it is for a backup on this machine.
    pub fn source(&self) -> Source {
        Source::Single {
            host: self.address.ip().to_string(),
            port: self.address.port(),
        }
    }

    /// Which database it serves, and in which dialects.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What clients will miss: one sentence each.
    pub fn shortcomings(&self) -> &[String] {
        &self.shortcomings
    }

    /// What it has done so far.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Serves until `cancel` is cancelled; responses that are being sent may end within [`Limits::drain`].
    ///
    /// # Errors
    /// Responses had to be cut off; of the kind that `cancel` gives.
    pub fn run(self, cancel: &Cancel) -> Result<(), Error> {
        let why = loop {
            if let Err(cancelled) = cancel.wait(A_LONG_TIME) {
                break cancelled.kind();
            }
        };
        self.stop.drain();
        match received(&self.ended)? {
            0 => Ok(()),
            1 => Err(Error::new(why, "1 response was cut off")),
            count => Err(Error::new(why, format!("{count} responses were cut off"))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.abort();
    }
}

/// Lets the runtime do `work`, whose result will be received.
fn start<T: Send + 'static>(runtime: &OwnRuntime, work: impl Future<Output = T> + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime.handle().spawn(async move {
        // the receiver may have been dropped
        let _ = sender.send(work.await);
    });
    receiver
}

fn received<T>(receiver: &Receiver<T>) -> Result<T, Error> {
    receiver
        .recv()
        .map_err(|_| Error::new(ErrorKind::Failed, "the service ended unexpectedly"))
}
