//! What an error of the file system means for a run: its kind, and what to do about it.
//!
//! [`ErrorKind::Disk`] means that the device itself failed. Process limits, invalid names, missing permissions and missing
//! file system features have kinds of their own, because each needs a different remedy.

use std::{
    error, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{io::Errno, process::geteuid};

use crate::{Error, ErrorKind, error::ErrorScope};
use neo4j_format::{DiskError, directory::NotUsable};

/// The kind of a failed system call on a file.
pub(crate) fn kind(cause: &io::Error) -> ErrorKind {
    meaning(cause).0
}

/// Whether this process may not do what it tried.
pub(crate) fn is_denied(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::PermissionDenied
}

/// Whether the file system has no file locks.
pub(crate) fn cannot_lock(cause: &io::Error) -> bool {
    matches!(errno(cause), Some(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP))
}

/// What to do about a file system without locks.
pub(crate) const MOUNT_WITH_LOCKS: &str =
    "mount it with locks: local_lock=all or nolock (NFS), nobrl (CIFS); or name a target on another file system";

/// The error of a run whose call on a file failed.
pub(crate) fn failed(error: DiskError) -> Error {
    let cause = copy(error.cause());
    let path = error.path().to_owned();
    failed_at(&path, &cause, error)
}

/// The same of an error that says more than the file system did.
pub(crate) fn failed_at(path: &Path, cause: &io::Error, error: impl error::Error + Send + Sync + 'static) -> Error {
    let (kind, hint) = meaning(cause);
    let error = match kind {
        ErrorKind::PermissionDenied => {
            let cause = match error.source().map(ToString::to_string) {
                Some(cause) if !error.to_string().contains(&cause) => format!(": {cause}"),
                _ => String::new(),
            };
            let uid = geteuid().as_raw();
            Error::new(
                kind,
                format!("{error}{cause}; this process runs as uid {uid}{}", modes(path)),
            )
        }
        _ => Error::new(kind, error),
    };
    let error = error.with_scope(ErrorScope::Target);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn meaning(cause: &io::Error) -> (ErrorKind, Option<&'static str>) {
    if NotUsable::of(cause).is_some() {
        let hint = "put the file or directory itself there: links, pipes and devices are not used";
        return (ErrorKind::Configuration, Some(hint));
    }
    match errno(cause) {
        Some(Errno::NOSPC | Errno::DQUOT) => (
            ErrorKind::NoSpace,
            Some("free some space on the target's file system and run again"),
        ),
        Some(Errno::FBIG) => (
            ErrorKind::NoSpace,
            Some("raise the limit on the size of files (ulimit -f), or use a file system that takes larger files"),
        ),
        Some(Errno::ACCESS | Errno::PERM) => (
            ErrorKind::PermissionDenied,
            Some("run as the user who owns the backup, or name another target"),
        ),
        Some(Errno::MFILE | Errno::NFILE) => (
            ErrorKind::Failed,
            Some("raise the limit on open files (ulimit -n) and run again"),
        ),
        Some(Errno::NOMEM) => (ErrorKind::Failed, Some("free some memory and run again")),
        Some(Errno::AGAIN) => (
            ErrorKind::Failed,
            Some("raise the limit on processes and threads (ulimit -u) and run again"),
        ),
        Some(Errno::NAMETOOLONG) => (ErrorKind::Configuration, Some("name a target with a shorter path")),
        Some(Errno::LOOP) => (
            ErrorKind::Configuration,
            Some("put the file or directory itself there: a link is not followed"),
        ),
        Some(Errno::NOSYS | Errno::OPNOTSUPP) => (
            ErrorKind::Configuration,
            Some("this file system or kernel lacks a function that a backup needs: name another target"),
        ),
        Some(Errno::BUSY) => (
            ErrorKind::TargetInUse,
            Some("another process or a mount uses it: end that and run again"),
        ),
        Some(Errno::ROFS) => (
            ErrorKind::Disk,
            Some("the file system is read-only: if the kernel made it so after an error, its log says why"),
        ),
        Some(Errno::NOENT) => (ErrorKind::Disk, None),
        _ => (
            ErrorKind::Disk,
            Some("look at the kernel's log for errors of this device"),
        ),
    }
}

fn errno(cause: &io::Error) -> Option<Errno> {
    let number = cause.raw_os_error().map(Errno::from_raw_os_error);
    number.or(match cause.kind() {
        io::ErrorKind::PermissionDenied => Some(Errno::ACCESS),
        io::ErrorKind::StorageFull => Some(Errno::NOSPC),
        io::ErrorKind::NotFound => Some(Errno::NOENT),
        _ => None,
    })
}

/// The same error; what the system says is in its number.
pub(crate) fn copy(cause: &io::Error) -> io::Error {
    match (cause.raw_os_error(), NotUsable::of(cause)) {
        (Some(number), _) => io::Error::from_raw_os_error(number),
        (None, Some(not_usable)) => not_usable.into(),
        (None, None) => cause.kind().into(),
    }
}

/// Mode and owner of a path and of the directory it is in, as far as this process may see them.
fn modes(path: &Path) -> String {
    let mut text = String::new();
    for path in path.ancestors().filter_map(seen).take(2) {
        text += &path;
    }
    text
}

fn seen(path: &Path) -> Option<String> {
    let path = if path.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        path.to_owned()
    };
    let found = fs::symlink_metadata(&path).ok()?;
    let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
    Some(format!(", {} has mode {mode:04o}, owner {uid}:{gid}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn of(errno: Errno) -> Error {
        DiskError::new("/b/neostore", errno.into()).into()
    }

    #[test]
    fn only_what_the_device_reports_is_a_disk_error() {
        for (errno, kind) in [
            (Errno::IO, ErrorKind::Disk),
            (Errno::STALE, ErrorKind::Disk),
            (Errno::ROFS, ErrorKind::Disk),
            (Errno::NOSPC, ErrorKind::NoSpace),
            (Errno::DQUOT, ErrorKind::NoSpace),
            (Errno::FBIG, ErrorKind::NoSpace),
            (Errno::ACCESS, ErrorKind::PermissionDenied),
            (Errno::PERM, ErrorKind::PermissionDenied),
            (Errno::MFILE, ErrorKind::Failed),
            (Errno::NFILE, ErrorKind::Failed),
            (Errno::NOMEM, ErrorKind::Failed),
            (Errno::NAMETOOLONG, ErrorKind::Configuration),
            (Errno::LOOP, ErrorKind::Configuration),
        ] {
            let error = of(errno);
            assert_eq!((error.kind(), error.scope()), (kind, ErrorScope::Target), "{errno}");
        }
    }

    #[test]
    fn a_missing_right_names_path_user_and_modes() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let path = dir.path().join("missing/file");
        let error = Error::from(DiskError::new(&path, Errno::ACCESS.into()));
        let text = error.to_string();
        let uid = geteuid().as_raw();
        let nearest = format!("{} has mode 0750, owner {uid}:", dir.path().display());
        for part in [
            &format!("{}: ", path.display()),
            &format!("runs as uid {uid}"),
            &nearest,
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
