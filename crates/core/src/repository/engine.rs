//! The border to `rustic_core`: opening a repository, its errors, and a back end that can refuse to write.
//!
//! The crate goes on after many failures and has no way to cancel it. So all writes go through [`Guard`], which refuses
//! them once the run was cancelled or something failed, and every call runs inside [`call`], since some failures panic.

use std::{
    fmt::Display,
    io::ErrorKind::NotFound,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use rustic_backend::local::LocalBackend;
use rustic_core::{
    BytesList, ConfigOptions, Credentials, FileType, Id, KeyOptions, OpenStatus, ReadBackend, Repository,
    RepositoryBackends, RepositoryOptions, RusticError, RusticResult, WriteBackend,
};

use super::location::{Location, Password};
use crate::{Error, ErrorKind, cancel::Cancel, error::Setting};
use neo4j_format::{DirHandle, DiskError};

/// The file whose existence makes a directory a repository.
const CONFIG: &str = "config";

/// Whether writing goes on.
#[derive(Debug, Clone)]
pub(super) struct Health {
    cancel: Cancel,
    failure: Arc<Mutex<Option<String>>>,
}

impl Health {
    pub(super) fn new(cancel: &Cancel) -> Health {
        Health {
            cancel: cancel.clone(),
            failure: Arc::default(),
        }
    }

    /// Notes that something failed, which `rustic_core` would only log.
    pub(super) fn fail(&self, what: impl Display) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| what.to_string());
    }

    /// The cancellation, or the first failure.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.cancel.check()?;
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(what) => Err(Error::new(ErrorKind::Failed, what.clone())),
            None => Ok(()),
        }
    }
}

/// A back end that refuses to write once the run is over.
#[derive(Debug)]
struct Guard {
    inner: LocalBackend,
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
    let path = location.path().to_str().ok_or_else(|| {
        let text = format!("{location}: the name of a repository must be UTF-8");
        Error::new(ErrorKind::Configuration, text)
    })?;
    let inner = call(health, location, || LocalBackend::new(path, []))?;
    let guard = Guard {
        inner,
        health: health.clone(),
    };
    Ok(RepositoryBackends::new(Arc::new(guard), None))
}

fn options() -> RepositoryOptions {
    RepositoryOptions::default().no_cache(true)
}

/// Opens a repository.
///
/// # Errors
/// Of kind [`ErrorKind::NoRepository`] if there is none or the password is wrong; of the disk.
pub(super) fn open(location: &Location, password: &Password, health: &Health) -> Result<Repository<OpenStatus>, Error> {
    if !location.open().is_ok_and(|dir| dir.has(CONFIG)) {
        let text = format!("{location}: there is no repository");
        return Err(Error::new(ErrorKind::NoRepository, text)
            .with_hint("create it, or mount the file system that holds it")
            .see(&[Setting::CreateRepository]));
    }
    let backends = backends(location, health)?;
    call(health, location, || {
        Repository::new(&options(), &backends)?.open(&Credentials::password(password.text()))
    })
}

/// Creates a repository in a directory that is absent or empty.
///
/// # Errors
/// There is something already; of the disk.
pub(super) fn create(location: &Location, password: &Password, health: &Health) -> Result<(), Error> {
    match location.open() {
        Ok(dir) if dir.has(CONFIG) => {
            let text = format!("{location}: there is a repository already");
            return Err(Error::new(ErrorKind::NotOurs, text));
        }
        Ok(dir) => {
            if !dir.entries().map_err(DiskError::at(dir.path()))?.is_empty() {
                return Err(Error::new(ErrorKind::NotOurs, format!("{location}: is not empty"))
                    .with_hint("name a directory that is absent or empty"));
            }
        }
        Err(error) if error.kind() == NotFound => create_directory(location)?,
        Err(error) => return Err(DiskError::new(location.path(), error).into()),
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

fn create_directory(location: &Location) -> Result<(), DiskError> {
    let path = location.path();
    let parent = path.parent().unwrap_or(path);
    let created = DirHandle::open(parent).and_then(|parent| parent.create_folder(path.file_name().unwrap_or_default()));
    created.map(drop).map_err(DiskError::at(path))
}

/// Makes everything in the repository durable, the names too.
///
/// # Errors
/// Disk errors.
pub(super) fn sync(location: &Location) -> Result<(), Error> {
    let synced = location.open().and_then(|dir| Ok(rustix::fs::syncfs(&dir)?));
    Ok(synced.map_err(DiskError::at(location.path()))?)
}

/// For signatures outside this file.
pub(super) type Opened = Repository<OpenStatus>;
