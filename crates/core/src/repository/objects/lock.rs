//! A lock in an object store, which has none: objects that say who is at work.
//!
//! Whoever wants the lock writes an object and then lists the others: one of two that come at the same time sees the
//! other, and gives way. The holder writes its object again and again; one that was not written for [`STALE`], by the
//! clock of the store, is of a run that was killed. Long before that, a run that cannot write its object any more ends.

use std::{
    thread,
    time::{Duration, Instant},
};

use object_store::{ObjectStoreExt as _, PutPayload, path::Path};
use tokio::task::JoinHandle;

use super::{
    super::lock::{Use, in_use},
    Bucket,
};
use crate::{Error, ErrorKind, run_id::RunId};

/// Folder of the objects; restic ignores it.
const LOCKS: &str = "neo4j-backup.locks";

/// How often the object is written.
const REFRESH: Duration = Duration::from_mins(1);

/// How long after the last time the holder goes on.
const LEASE: Duration = Duration::from_mins(5);

/// How long after the last time others count the object.
const STALE: Duration = Duration::from_mins(15);

/// How long a request may take that removes the object.
const REMOVAL: Duration = Duration::from_secs(10);

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(in super::super) struct ObjectLock {
    bucket: Bucket,
    path: Path,
    refresh: Option<JoinHandle<()>>,
}

impl ObjectLock {
    /// Takes the lock, for which it waits a while.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::TargetInUse`] if another run keeps it; the store cannot be asked; cancelled.
    pub(in super::super) fn take(bucket: &Bucket, wanted: Use, wait: Duration) -> Result<ObjectLock, Error> {
        let kind = match wanted {
            Use::Shared => "shared",
            Use::Exclusive => "exclusive",
        };
        let id = RunId::random()?.to_string();
        let lock = bucket.url.object(&format!("{LOCKS}/{kind}-{id}"));
        // two that wait for each other must not try at the same times
        let pause = Duration::from_millis(300 + id.bytes().map(u64::from).sum::<u64>() % 700);
        let start = Instant::now();
        loop {
            let leased = Instant::now();
            let mut held = ObjectLock {
                bucket: bucket.clone(),
                path: lock.clone(),
                refresh: None,
            };
            let written = bucket.wait(bucket.store.put(&lock, PutPayload::new()));
            written.map_err(|error| bucket.error(error))?;
            let others = held.others()?;
            if !others.iter().any(|(name, age)| excludes(wanted, name, *age)) {
                if wanted == Use::Exclusive {
                    held.remove_stale(&others);
                }
                bucket.health.lease(leased + LEASE);
                held.refresh = Some(bucket.runtime.handle().spawn(refresh(bucket.clone(), lock)));
                return Ok(held);
            }
            drop(held);
            if start.elapsed() >= wait {
                return Err(in_use(&bucket.url));
            }
            bucket.health.check()?;
            thread::sleep(pause);
        }
    }

    /// The objects of other runs, and how long ago they were written, by the clock of the store.
    fn others(&self) -> Result<Vec<(Path, Duration)>, Error> {
        let bucket = &self.bucket;
        let found = bucket.list(LOCKS).map_err(|error| bucket.error(error))?;
        let Some(own) = found.iter().find(|found| found.location == self.path) else {
            let text = format!("{}: does not list what was just written", bucket.url);
            return Err(Error::new(ErrorKind::Failed, text));
        };
        let others = found.iter().filter(|other| other.location != own.location);
        let aged = others.map(|other| {
            let age = own.last_modified.signed_duration_since(other.last_modified);
            (other.location.clone(), age.to_std().unwrap_or_default())
        });
        Ok(aged.collect())
    }

    /// Removes what runs left that were killed.
    fn remove_stale(&self, others: &[(Path, Duration)]) {
        for (path, _) in others {
            if let Err(error) = self.bucket.wait(self.bucket.store.delete(path)) {
                tracing::debug!("{path}: {error}");
            }
        }
    }
}

/// Whether another run keeps a lock from being taken.
fn excludes(wanted: Use, other: &Path, age: Duration) -> bool {
    let is_exclusive = other.filename().is_some_and(|name| name.starts_with("exclusive-"));
    (wanted == Use::Exclusive || is_exclusive) && age < STALE
}

/// Writes the object until the run ends.
async fn refresh(bucket: Bucket, path: Path) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let leased = Instant::now();
        match bucket.store.put(&path, PutPayload::new()).await {
            Ok(_) => bucket.health.lease(leased + LEASE),
            // until the lease ends
            Err(error) => tracing::warn!("{}: cannot renew the lock: {error}", bucket.url),
        }
    }
}

impl Drop for ObjectLock {
    fn drop(&mut self) {
        let refresh = self.refresh.take();
        let bucket = &self.bucket;
        let removal = async {
            if let Some(refresh) = refresh {
                refresh.abort();
                // ends with an error, as it was aborted
                let _ = refresh.await;
            }
            bucket.store.delete(&self.path).await
        };
        // what cannot be removed is stale after a while
        let _ = bucket
            .runtime
            .handle()
            .block_on(async { tokio::time::timeout(REMOVAL, removal).await });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::{
        cancel::Cancel,
        repository::{engine::Health, lock::tests::assert_prune_is_alone, objects::ObjectUrl},
        runtime::OwnRuntime,
    };

    fn bucket() -> Bucket {
        Bucket {
            store: Arc::new(InMemory::new()),
            runtime: Arc::new(OwnRuntime::start().unwrap()),
            url: ObjectUrl::parse("s3:host/bucket/folder", &|_| None).unwrap().unwrap(),
            health: Health::new(&Cancel::default()),
        }
    }

    #[test]
    fn a_prune_is_alone_and_others_are_not() {
        let bucket = bucket();
        let take = |wanted| ObjectLock::take(&bucket, wanted, Duration::ZERO);
        assert_prune_is_alone(take);
        assert!(bucket.is_empty().unwrap(), "an object is left");
    }

    #[test]
    fn a_run_that_cannot_renew_its_lock_writes_no_more() {
        let bucket = bucket();
        let _held = ObjectLock::take(&bucket, Use::Shared, Duration::ZERO).unwrap();
        bucket.health.check().unwrap();
        bucket
            .health
            .lease(Instant::now().checked_sub(Duration::from_secs(1)).unwrap());
        let lost = bucket.health.check().unwrap_err();
        assert!(lost.to_string().contains("lock"), "{lost}");
    }

    #[test]
    fn runs_that_were_killed_do_not_keep_the_lock() {
        let [shared, exclusive] = ["locks/shared-1", "locks/exclusive-1"].map(Path::from);
        for (wanted, other, fresh) in [
            (Use::Shared, &shared, false),
            (Use::Shared, &exclusive, true),
            (Use::Exclusive, &shared, true),
            (Use::Exclusive, &exclusive, true),
        ] {
            assert_eq!(excludes(wanted, other, LEASE), fresh);
            assert!(!excludes(wanted, other, STALE));
        }
    }
}
