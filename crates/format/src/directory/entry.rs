//! What stands at a name.

use std::{
    ffi::OsString,
    io,
    os::fd::AsFd,
    time::{Duration, SystemTime},
};

use rustix::fs::{FileType, Stat};

/// A name in a directory.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name: bytes, not always text.
    pub name: OsString,
    /// What stands there.
    pub status: EntryStatus,
}

/// What kind of thing stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Folder,
    /// A link, a pipe, a device or a socket.
    Other,
}

/// What the file system says of a name or a handle.
#[derive(Debug, Clone)]
pub struct EntryStatus(pub(super) Stat);

#[expect(
    clippy::useless_conversion,
    reason = "the widths of the fields differ between platforms"
)]
impl EntryStatus {
    /// Of an open file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn of(file: &impl AsFd) -> io::Result<EntryStatus> {
        Ok(EntryStatus(rustix::fs::fstat(file)?))
    }

    /// What kind of thing it is.
    pub fn kind(&self) -> EntryKind {
        match FileType::from_raw_mode(self.0.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Folder,
            _ => EntryKind::Other,
        }
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == EntryKind::File
    }

    /// Whether it is a directory.
    pub fn is_folder(&self) -> bool {
        self.kind() == EntryKind::Folder
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        u64::try_from(self.0.st_size).unwrap_or_default()
    }

    /// Bytes on the disk: holes do not count.
    pub fn allocated(&self) -> u64 {
        u64::try_from(self.0.st_blocks).unwrap_or_default().saturating_mul(512)
    }

    /// How many names a file has.
    pub fn links(&self) -> u64 {
        u64::from(self.0.st_nlink)
    }

    /// Its owner.
    pub fn owner(&self) -> u32 {
        self.0.st_uid
    }

    /// Its group.
    pub fn group(&self) -> u32 {
        self.0.st_gid
    }

    /// The permission bits, with setuid, setgid and sticky.
    pub fn mode(&self) -> u32 {
        self.0.st_mode & 0o7777
    }

    /// Device and inode: by these it is known under any name.
    pub fn identity(&self) -> (u64, u64) {
        (self.0.st_dev.into(), self.0.st_ino.into())
    }

    /// When its content was last changed.
    pub fn modified(&self) -> SystemTime {
        let seconds = Duration::from_secs(u64::try_from(self.0.st_mtime).unwrap_or_default());
        SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(u64::try_from(self.0.st_mtime_nsec).unwrap_or_default())
    }
}
