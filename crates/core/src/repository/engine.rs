//! The border to `rustic_core`: opening a repository, its errors, and a back end that can refuse to write.
//!
//! The crate goes on after many failures and has no way to cancel it. So all writes go through [`Guard`], which refuses
//! them once the run was cancelled or something failed, and every call runs inside [`call`], since some failures panic.

use std::{
    fmt::Display,
    io::ErrorKind::NotFound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use rustic_backend::local::LocalBackend;
use rustic_core::{
    BytesList, ConfigOptions, Credentials, FileType, Id, KeyOptions, OpenStatus, ReadBackend, Repository,
    RepositoryBackends, RepositoryOptions, RusticError, RusticResult, WriteBackend,
};

use super::location::{Location, Password, Storage, open_directory};
#[cfg(feature = "cloud")]
use super::objects::Bucket;
use crate::{Error, ErrorKind, cancel::Cancel, error::Setting};
use neo4j_format::{DirHandle, DiskError};

/// The file whose existence makes a directory a repository; an object in a store.
pub(super) const CONFIG: &str = "config";

/// Whether writing goes on.
#[derive(Debug, Clone)]
pub(super) struct Health {
    cancel: Cancel,
    failure: Arc<Mutex<Option<String>>>,
    /// Until when the lock is held, where it ends by itself.
    lease: Arc<Mutex<Option<Instant>>>,
}

impl Health {
    pub(super) fn new(cancel: &Cancel) -> Health {
        Health {
            cancel: cancel.clone(),
            failure: Arc::default(),
            lease: Arc::default(),
        }
    }

    /// Completes when the run is cancelled.
    #[cfg(feature = "cloud")]
    pub(super) async fn cancelled(&self) -> Error {
        self.cancel.cancelled().await
    }

    /// Lets the lock end at `end` unless this is called again.
    #[cfg(feature = "cloud")]
    pub(super) fn lease(&self, end: Instant) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Notes that something failed, which `rustic_core` would only log.
    pub(super) fn fail(&self, what: impl Display) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| what.to_string());
    }

    /// The cancellation, or the first failure.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.cancel.check()?;
        let lease = *self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if lease.is_some_and(|end| end < Instant::now()) {
            self.fail("the lock of the repository could not be renewed");
        }
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(what) => Err(Error::new(ErrorKind::Failed, what.clone())),
            None => Ok(()),
        }
    }
}

/// A back end that refuses to write once the run is over.
#[derive(Debug)]
struct Guard {
    inner: Arc<dyn WriteBackend>,
    health: Health,
}

impl Guard {
    fn may_write(&self) -> RusticResult<()> {
        self.health
            .check()
            .map_err(|error| RusticError::new(rustic_core::ErrorKind::Backend, error.to_string()))
    }
}

impl ReadBackend for Guard {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.inner.list_with_size(kind)
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<bytes::Bytes> {
        self.inner.read_full(kind, id)
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<bytes::Bytes> {
        self.inner.read_partial(kind, id, cacheable, offset, length)
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.inner.warmup_path(kind, id)
    }
}

impl WriteBackend for Guard {
    fn create(&self) -> RusticResult<()> {
        self.inner.create()
    }

    fn write_bytes(&self, kind: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        self.may_write()?;
        self.inner.write_bytes(kind, id, cacheable, content)
    }

    fn remove(&self, kind: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        self.may_write()?;
        self.inner.remove(kind, id, cacheable)
    }
}

/// Calls into `rustic_core`, whose failures and panics become errors.
pub(super) fn call<T>(
    health: &Health,
    location: &Location,
    work: impl FnOnce() -> RusticResult<T>,
) -> Result<T, Error> {
    let done = catch_unwind(AssertUnwindSafe(work));
    // what the guard refused is not the cause
    health.check()?;
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error_of(location, &error)),
        Err(_) => {
            let text = format!("{location}: the repository engine failed unexpectedly");
            Err(Error::new(ErrorKind::Failed, text)
                .with_hint("check the disk and its free space, and the repository with restic check"))
        }
    }
}

fn error_of(location: &Location, error: &RusticError) -> Error {
    if error.is_incorrect_password() {
        return Error::new(ErrorKind::NoRepository, format!("{location}: wrong password"))
            .with_hint("name the file with the right password")
            .see(&[Setting::RepositoryPassword]);
    }
    let mut text = format!("{location}: {}", error.display_log());
    let mut kind = ErrorKind::Failed;
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            kind = match io.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
                _ => ErrorKind::Disk,
            };
            text = format!("{location}: {io}");
        }
        source = cause.source();
    }
    Error::new(kind, text)
}

fn backends(location: &Location, health: &Health) -> Result<RepositoryBackends, Error> {
    let inner: Arc<dyn WriteBackend> = match &location.storage {
        Storage::Directory(path) => {
            let path = path.to_str().ok_or_else(|| {
                let text = format!("{location}: the name of a repository must be UTF-8");
                Error::new(ErrorKind::Configuration, text)
            })?;
            Arc::new(call(health, location, || LocalBackend::new(path, []))?)
        }
        #[cfg(feature = "cloud")]
        Storage::Objects(url) => Arc::new(Bucket::connect(url, health)?),
    };
    let guard = Guard {
        inner,
        health: health.clone(),
    };
    Ok(RepositoryBackends::new(Arc::new(guard), None))
}

fn has_config(location: &Location, health: &Health) -> Result<bool, Error> {
    health.check()?;
    match &location.storage {
        Storage::Directory(path) => Ok(open_directory(path).is_ok_and(|dir| dir.has(CONFIG))),
        #[cfg(feature = "cloud")]
        Storage::Objects(url) => Bucket::connect(url, health)?.has_config(),
    }
}

fn options() -> RepositoryOptions {
    RepositoryOptions::default().no_cache(true)
}

/// Opens a repository.
///
/// # Errors
/// Of kind [`ErrorKind::NoRepository`] if there is none or the password is wrong; of the disk.
pub(super) fn open(location: &Location, password: &Password, health: &Health) -> Result<Repository<OpenStatus>, Error> {
    if !has_config(location, health)? {
        let text = format!("{location}: there is no repository");
        let hint = match &location.storage {
            Storage::Directory(_) => "create it, or mount the file system that holds it",
            #[cfg(feature = "cloud")]
            Storage::Objects(_) => "create it, or correct its name",
        };
        return Err(Error::new(ErrorKind::NoRepository, text)
            .with_hint(hint)
            .see(&[Setting::CreateRepository]));
    }
    let backends = backends(location, health)?;
    call(health, location, || {
        Repository::new(&options(), &backends)?.open(&Credentials::password(password.text()))
    })
}

/// Creates a repository where there is nothing.
///
/// # Errors
/// There is something already; of the disk.
pub(super) fn create(location: &Location, password: &Password, health: &Health) -> Result<(), Error> {
    if has_config(location, health)? {
        let text = format!("{location}: there is a repository already");
        return Err(Error::new(ErrorKind::NotOurs, text));
    }
    let is_empty = match &location.storage {
        Storage::Directory(path) => match open_directory(path) {
            Ok(dir) => dir.entries().map_err(DiskError::at(dir.path()))?.is_empty(),
            Err(error) if error.kind() == NotFound => {
                create_directory(path)?;
                true
            }
            Err(error) => return Err(DiskError::new(path, error).into()),
        },
        #[cfg(feature = "cloud")]
        Storage::Objects(url) => Bucket::connect(url, health)?.is_empty()?,
    };
    if !is_empty {
        return Err(Error::new(ErrorKind::NotOurs, format!("{location}: is not empty"))
            .with_hint("name a directory that is absent or empty"));
    }
    let backends = backends(location, health)?;
    let config = ConfigOptions::default().set_version(2_u32).set_compression(3);
    call(health, location, || {
        Repository::new(&options(), &backends)?.init(
            &Credentials::password(password.text()),
            &KeyOptions::default().with_created(true),
            &config,
        )
    })?;
    sync(location)
}

fn create_directory(path: &Path) -> Result<(), DiskError> {
    let parent = path.parent().unwrap_or(path);
    let created = DirHandle::open(parent).and_then(|parent| parent.create_folder(path.file_name().unwrap_or_default()));
    created.map(drop).map_err(DiskError::at(path))
}

/// Makes everything in the repository durable, names as well.
///
/// # Errors
/// Disk errors.
pub(super) fn sync(location: &Location) -> Result<(), Error> {
    match &location.storage {
        Storage::Directory(path) => {
            let synced = open_directory(path).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?));
            Ok(synced.map_err(DiskError::at(path))?)
        }
        // a request that succeeded is durable
        #[cfg(feature = "cloud")]
        Storage::Objects(_) => Ok(()),
    }
}

/// For signatures outside this file.
pub(super) type Opened = Repository<OpenStatus>;
