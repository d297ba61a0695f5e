//! A directory that is held open, and the only way to what lies below it.
//!
//! Names are relative to the handle, or as [`DirHandle::join`] gives them. Each component is opened by itself and without following a link, so that nothing
//! outside the directory is reached, however names are swapped meanwhile. Only regular files and directories are opened:
//! a pipe or a device is an error at once, never a wait. New files are created, never found.
//!
//! `openat2` with `RESOLVE_BENEATH` would do the same in one call, but old kernels and containers lack it
//! (`docs/decisions/0011-directory-handles.md`).

mod entry;
mod new_files;

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{
        Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, accessat, mkdirat, openat, readlinkat,
        renameat, renameat_with, statat, unlinkat,
    },
    io::Errno,
};

pub use self::{
    entry::{Entry, EntryKind, EntryStatus},
    new_files::NewFiles,
};

/// A directory held open. Clones share the handle.
#[derive(Debug, Clone)]
pub struct DirHandle {
    fd: Arc<OwnedFd>,
    /// For messages.
    path: PathBuf,
    new_files: NewFiles,
}

/// The entry is neither a regular file nor a directory, or is a file where a directory is needed, or the reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotUsable {
    /// A pipe, a device or a socket.
    #[error("is not a regular file")]
    NotAFile,
    /// A symbolic link, or a file where a folder is needed.
    #[error("is a symbolic link")]
    Link,
    /// A name that does not stay below the directory.
    #[error("is not a name inside the directory")]
    Outside,
}

impl NotUsable {
    /// Whether this is why `error` happened.
    pub fn of(error: &io::Error) -> Option<NotUsable> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<NotUsable> for io::Error {
    fn from(error: NotUsable) -> io::Error {
        let kind = match error {
            NotUsable::Outside => io::ErrorKind::InvalidInput,
            NotUsable::NotAFile | NotUsable::Link => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// How every file is opened: a link is not followed, and a pipe does not wait for its other end.
const OPEN: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// New files and folders are private until [`NewFiles`] says otherwise; the umask may take more away.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const PRIVATE_FOLDER: Mode = Mode::RWXU;

/// The folder that a name lies in.
enum Folder<'a> {
    Itself(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Folder<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Folder::Itself(fd) => *fd,
            Folder::Below(fd) => fd.as_fd(),
        }
    }
}

/// Whether a system call knows its flags; if not, it did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flags {
    Known,
    Unknown,
}

impl DirHandle {
    /// Opens the directory at `path`, which is followed as the caller wrote it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: impl AsRef<Path>) -> io::Result<DirHandle> {
        let path = path.as_ref();
        let fd = openat(CWD, path, OFlags::RDONLY | FOLDER, Mode::empty())?;
        Ok(DirHandle::new(fd, path.to_owned(), NewFiles::default()))
    }

    fn new(fd: OwnedFd, path: PathBuf, new_files: NewFiles) -> DirHandle {
        DirHandle {
            fd: Arc::new(fd),
            path,
            new_files,
        }
    }

    /// The same directory, whose new files and folders get this owner, group and mode.
    #[must_use]
    pub fn with_new_files(self, new_files: NewFiles) -> DirHandle {
        DirHandle { new_files, ..self }
    }

    /// What new files and folders get.
    pub fn new_files(&self) -> &NewFiles {
        &self.new_files
    }

    /// Its path when it was opened: for messages only.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For messages.
    pub fn display(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// The path of a name in it: for messages, and as a name for this handle.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// What the directory itself is.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn status(&self) -> io::Result<EntryStatus> {
        Ok(EntryStatus(rustix::fs::fstat(&*self.fd)?))
    }

    /// What stands at `name`; a link is looked at itself.
    ///
    /// # Errors
    /// Those of the file system; above all `NotFound`.
    pub fn status_of(&self, name: impl AsRef<Path>) -> io::Result<EntryStatus> {
        let (folder, last) = self.walk(name.as_ref())?;
        Ok(EntryStatus(statat(folder, last, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// The owner of a symbolic link and where it leads, read from one and the same link; `None` where none stands.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn link(&self, name: impl AsRef<Path>) -> io::Result<Option<(u32, PathBuf)>> {
        let (folder, last) = self.walk(name.as_ref())?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = match openat(folder, last, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened?,
        };
        let found = rustix::fs::fstat(&link)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            return Ok(None);
        }
        let leads_to = readlinkat(&link, "", Vec::new())?;
        Ok(Some((found.st_uid, OsStr::from_bytes(leads_to.to_bytes()).into())))
    }

    /// Whether anything stands at `name`, as far as that can be seen.
    pub fn has(&self, name: impl AsRef<Path>) -> bool {
        self.status_of(name).is_ok()
    }

    /// Whether a regular file stands at `name`, as far as that can be seen.
    pub fn has_file(&self, name: impl AsRef<Path>) -> bool {
        self.status_of(name).is_ok_and(|found| found.kind() == EntryKind::File)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// Those of the file system; [`NotUsable`].
    pub fn open_file(&self, name: impl AsRef<Path>) -> io::Result<File> {
        self.open_with(name.as_ref(), OFlags::RDONLY)
    }

    /// Opens a regular file for reading and writing.
    ///
    /// # Errors
    /// As [`DirHandle::open_file`].
    pub fn open_to_change(&self, name: impl AsRef<Path>) -> io::Result<File> {
        self.open_with(name.as_ref(), OFlags::RDWR)
    }

    fn open_with(&self, name: &Path, access: OFlags) -> io::Result<File> {
        let (folder, last) = self.walk(name)?;
        regular(openat(folder, last, access | OPEN, Mode::empty()))
    }

    /// Reads the whole of a regular file that has at most `limit` bytes.
    ///
    /// # Errors
    /// As [`DirHandle::open_file`]; `InvalidData` where it is longer.
    pub fn read(&self, name: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.open_file(name)?;
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            let text = format!("is larger than {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(bytes)
    }

    /// Whether this user may create names in the directory; creates none.
    ///
    /// # Errors
    /// The permission that is missing; a read-only file system.
    pub fn may_create(&self) -> io::Result<()> {
        Ok(accessat(
            self,
            ".",
            Access::WRITE_OK | Access::EXEC_OK,
            AtFlags::EACCESS,
        )?)
    }

    /// Creates a file, open for reading and writing, where nothing stands yet.
    ///
    /// # Errors
    /// Those of the file system; `AlreadyExists`.
    pub fn create_new(&self, name: impl AsRef<Path>) -> io::Result<File> {
        let (folder, last) = self.walk(name.as_ref())?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OPEN;
        let file = File::from(openat(folder, last, flags, PRIVATE_FILE)?);
        self.new_files.give_file(&file)?;
        Ok(file)
    }

    /// Opens a file for reading and writing, emptied, or creates it.
    ///
    /// # Errors
    /// As [`DirHandle::open_file`].
    pub fn create(&self, name: impl AsRef<Path>) -> io::Result<File> {
        let name = name.as_ref();
        match self.create_new(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = self.open_to_change(name)?;
                file.set_len(0)?;
                Ok(file)
            }
            created => created,
        }
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// Those of the file system; `NotADirectory`, also for a link.
    pub fn folder(&self, name: impl AsRef<Path>) -> io::Result<DirHandle> {
        let name = self.relative(name.as_ref());
        let (folder, last) = self.walk(name)?;
        let fd = openat(folder, last, OFlags::RDONLY | FOLDER | OFlags::NOFOLLOW, Mode::empty());
        Ok(DirHandle::new(
            fd.map_err(of_link)?,
            self.join(name),
            self.new_files.clone(),
        ))
    }

    /// Creates a folder where nothing stands yet, and opens it.
    ///
    /// # Errors
    /// Those of the file system; `AlreadyExists`.
    pub fn create_folder(&self, name: impl AsRef<Path>) -> io::Result<DirHandle> {
        let (folder, last) = self.walk(name.as_ref())?;
        mkdirat(folder, last, PRIVATE_FOLDER)?;
        let made = self.folder(name)?;
        self.new_files.give_folder(&made.fd)?;
        Ok(made)
    }

    /// Creates a folder and those that it lies in, as far as they are not there.
    ///
    /// # Errors
    /// As [`DirHandle::folder`].
    pub fn create_folders(&self, name: impl AsRef<Path>) -> io::Result<()> {
        let mut at = self.clone();
        for component in self.relative(name.as_ref()).components() {
            let Component::Normal(part) = component else {
                return Err(NotUsable::Outside.into());
            };
            at = match at.create_folder(part) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => at.folder(part)?,
                made => made?,
            };
        }
        Ok(())
    }

    /// What lies in the directory, in no order.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&*self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let status = match statat(&*self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                // it went meanwhile
                Err(Errno::NOENT) => continue,
                found => EntryStatus(found?),
            };
            let name = name.to_owned();
            entries.push(Entry { name, status });
        }
        Ok(entries)
    }

    /// Gives a file or folder another name below the directory, replacing what has it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        let (old, from) = self.walk(from.as_ref())?;
        let (new, to) = self.walk(to.as_ref())?;
        Ok(renameat(old, from, new, to)?)
    }

    /// Gives a file or folder a name that nothing has yet. A system that lacks the flag for that may replace an empty
    /// folder, and a file.
    ///
    /// # Errors
    /// Those of the file system; `AlreadyExists` or `DirectoryNotEmpty`.
    pub fn rename_new(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        match self.rename_with(from.as_ref(), to.as_ref(), RenameFlags::NOREPLACE)? {
            Flags::Known => Ok(()),
            Flags::Unknown => self.rename(from, to),
        }
    }

    /// Exchanges two files or folders in one step; `false` where the system or the file system cannot.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn exchange(&self, one: impl AsRef<Path>, other: impl AsRef<Path>) -> io::Result<bool> {
        let flags = self.rename_with(one.as_ref(), other.as_ref(), RenameFlags::EXCHANGE)?;
        Ok(flags == Flags::Known)
    }

    fn rename_with(&self, from: &Path, to: &Path, flags: RenameFlags) -> io::Result<Flags> {
        let (old, from) = self.walk(from)?;
        let (new, to) = self.walk(to)?;
        match renameat_with(old, from, new, to, flags) {
            Ok(()) => Ok(Flags::Known),
            // what kernels, overlayfs, FUSE, NFS and seccomp filters say that do not know a flag
            Err(Errno::INVAL | Errno::NOSYS | Errno::XDEV | Errno::OPNOTSUPP | Errno::PERM) => Ok(Flags::Unknown),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove_file(&self, name: impl AsRef<Path>) -> io::Result<()> {
        let (folder, last) = self.walk(name.as_ref())?;
        Ok(unlinkat(folder, last, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove_folder(&self, name: impl AsRef<Path>) -> io::Result<()> {
        let (folder, last) = self.walk(name.as_ref())?;
        Ok(unlinkat(folder, last, AtFlags::REMOVEDIR)?)
    }

    /// Removes a folder and all that lies in it. A link is removed, not followed.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove_tree(&self, name: impl AsRef<Path>) -> io::Result<()> {
        let name = name.as_ref();
        self.folder(name)?.remove_content()?;
        self.remove_folder(name)
    }

    /// Removes all that lies in the directory.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove_content(&self) -> io::Result<()> {
        for entry in self.entries()? {
            match entry.status.kind() {
                EntryKind::Folder => self.remove_tree(&entry.name)?,
                EntryKind::File | EntryKind::Other => self.remove_file(&entry.name)?,
            }
        }
        Ok(())
    }

    /// Makes the names in the directory durable.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&*self.fd)?)
    }

    /// Makes the entry `name` durable: the content of a file, or the names in a folder. An empty name means the directory
    /// itself.
    ///
    /// # Errors
    /// Those of the file system; [`NotUsable`].
    pub fn sync_entry(&self, name: impl AsRef<Path>) -> io::Result<()> {
        let name = self.relative(name.as_ref());
        if name.as_os_str().is_empty() {
            return self.sync();
        }
        let (folder, last) = self.walk(name)?;
        let file = File::from(openat(folder, last, OFlags::RDONLY | OPEN, Mode::empty()).map_err(of_link)?);
        let found = file.metadata()?;
        if found.is_file() || found.is_dir() {
            file.sync_all()
        } else {
            Err(NotUsable::NotAFile.into())
        }
    }

    /// Gives the directory itself this owner, group and mode.
    ///
    /// # Errors
    /// Those of the file system, but not that this user may not.
    pub fn give(&self, new_files: &NewFiles) -> io::Result<()> {
        new_files.give_folder(&self.fd)
    }

    /// The name without the path of the directory, if it begins with that.
    pub fn relative<'n>(&self, name: &'n Path) -> &'n Path {
        name.strip_prefix(&self.path).unwrap_or(name)
    }

    /// The folder in which `name` lies, and its last component.
    fn walk<'a, 'n>(&'a self, name: &'n Path) -> io::Result<(Folder<'a>, &'n OsStr)> {
        let mut folder = Folder::Itself(self.fd.as_fd());
        let name = self.relative(name);
        let mut components = name.components().map(|component| match component {
            Component::Normal(part) => Ok(part),
            _ => Err(io::Error::from(NotUsable::Outside)),
        });
        let mut last = components.next().ok_or(NotUsable::Outside)??;
        for next in components {
            let next = next?;
            let flags = OFlags::PATH | FOLDER | OFlags::NOFOLLOW;
            folder = Folder::Below(openat(&folder, last, flags, Mode::empty()).map_err(of_link)?);
            last = next;
        }
        Ok((folder, last))
    }
}

impl AsFd for DirHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The file of a descriptor, if it is a regular one.
fn regular(opened: rustix::io::Result<OwnedFd>) -> io::Result<File> {
    let file = match opened {
        // a socket, or a pipe without a reader
        Err(Errno::NXIO) => return Err(NotUsable::NotAFile.into()),
        Err(Errno::LOOP) => return Err(NotUsable::Link.into()),
        opened => File::from(opened?),
    };
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(NotUsable::NotAFile.into())
    }
}

/// Opening a link as a folder is refused with one of two errors, depending on the flags.
fn of_link(error: Errno) -> io::Error {
    match error {
        Errno::LOOP => NotUsable::Link.into(),
        other => other.into(),
    }
}

/// Whether a path names something below a directory: no root, no `..`, at least one name.
pub fn stays_inside(path: impl AsRef<Path>) -> bool {
    let mut components = path.as_ref().components().peekable();
    components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests;
