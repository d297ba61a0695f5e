//! Disks as they may be found when power was lost while a program ran: of what was not synced any part may be missing,
//! whatever the order in which it was written, and a write may be torn.
//!
//! The model: a file's content is on the disk once the file was synced, a name once its directory was, and nothing
//! before. Less than what any file system gives, so that what survives here survives there.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::disk_trace::{Call, Effect};

/// A file, whatever its name.
type Inode = usize;

/// What a program did to a directory. Calls are known by their index.
#[derive(Clone)]
pub struct Recording {
    /// Files of the directory before, by name.
    before: BTreeMap<PathBuf, Inode>,
    contents: Vec<Vec<u8>>,
    folders: BTreeSet<PathBuf>,
    calls: Vec<Call>,
    /// The file that each call is about.
    inodes: Vec<Option<Inode>>,
    /// The sync that brought each call to the disk.
    synced_by: Vec<Option<usize>>,
}

/// What one sync brings to the disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// The content of a file.
    Content(usize),
    /// The names in a directory.
    Names(PathBuf),
}

/// What becomes of a call that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Kept,
    /// Of a write so many 256ths; anything else is kept.
    Torn(u8),
    Lost,
    /// Of a write the length of the file is kept; anything else is lost.
    Length,
}

/// A directory as it is found afterwards.
pub struct Disk {
    names: BTreeMap<PathBuf, Inode>,
    contents: Vec<Vec<u8>>,
    folders: BTreeSet<PathBuf>,
    /// How many writes were lost.
    pub missing: usize,
}

impl Recording {
    /// What `calls` did to a directory that was like `dir` before.
    pub fn new(dir: &Path, calls: Vec<Call>) -> Recording {
        let mut recording = Recording {
            before: BTreeMap::new(),
            contents: Vec::new(),
            folders: BTreeSet::new(),
            calls: Vec::new(),
            inodes: Vec::new(),
            synced_by: Vec::new(),
        };
        recording.read(dir, Path::new(""));
        recording.calls = calls
            .into_iter()
            .filter(|call| call.effect != Effect::Nothing)
            .collect();
        recording.follow_names();
        recording.follow_syncs();
        recording
    }

    /// The same if this one sync had been forgotten.
    #[must_use]
    pub fn without(&self, sync: usize) -> Recording {
        let mut other = self.clone();
        other.calls[sync].effect = Effect::Nothing;
        other.follow_syncs();
        other
    }

    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub fn syncs(&self) -> impl Iterator<Item = usize> {
        (0..self.calls.len()).filter(|at| self.calls[*at].effect == Effect::Sync)
    }

    /// The calls that a sync brought to the disk.
    pub fn synced_by(&self, sync: usize) -> impl Iterator<Item = usize> {
        (0..sync).filter(move |at| self.synced_by[*at] == Some(sync))
    }

    /// How long a call may still be lost: until so many calls were made.
    pub fn pending_until(&self, call: usize) -> usize {
        self.synced_by[call].unwrap_or(self.calls.len())
    }

    /// The calls of which nothing may be left if power is lost behind the first `until`.
    pub fn pending(&self, until: usize) -> Vec<usize> {
        let changes = (0..until).filter(|at| !matches!(self.calls[*at].effect, Effect::Sync | Effect::Nothing));
        changes.filter(|at| self.pending_until(*at) >= until).collect()
    }

    /// What has to be synced for this call to be on the disk.
    pub fn unit(&self, call: usize) -> Unit {
        match &self.calls[call] {
            Call { effect, path, .. } if is_of_name(effect) => {
                Unit::Names(path.parent().unwrap_or(Path::new("")).to_owned())
            }
            Call { path, .. } => self.inodes[call].map_or(Unit::Names(path.clone()), Unit::Content),
        }
    }

    /// The disk when power is lost behind the first `until` calls; `fate` tells what becomes of those not synced.
    pub fn disk(&self, until: usize, mut fate: impl FnMut(usize) -> Fate) -> Disk {
        let mut disk = Disk {
            names: self.before.clone(),
            contents: self.contents.clone(),
            folders: self.folders.clone(),
            missing: 0,
        };
        let pending = self.pending(until);
        for at in 0..until {
            let (call, inode) = (&self.calls[at], self.inodes[at]);
            let fate = match pending.binary_search(&at) {
                Ok(_) => fate(at),
                Err(_) => Fate::Kept,
            };
            match fate {
                Fate::Kept => disk.take(call, inode, u8::MAX),
                Fate::Torn(part) => disk.take(call, inode, part),
                Fate::Length => disk.lengthen(call, inode),
                Fate::Lost => {}
            }
            disk.missing += usize::from(matches!(fate, Fate::Lost | Fate::Length));
        }
        disk
    }

    fn read(&mut self, dir: &Path, folder: &Path) {
        for entry in fs::read_dir(dir.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                self.read(dir, &path);
                self.folders.insert(path);
            } else {
                self.before.insert(path, self.contents.len());
                self.contents.push(fs::read(entry.path()).unwrap());
            }
        }
    }

    /// Which file each call is about, as names come and go.
    fn follow_names(&mut self) {
        let mut names = self.before.clone();
        for call in &self.calls {
            let inode = match &call.effect {
                Effect::Create { .. } => {
                    let next = self.contents.len();
                    let inode = *names.entry(call.path.clone()).or_insert(next);
                    if inode == next {
                        self.contents.push(Vec::new());
                    }
                    Some(inode)
                }
                Effect::Rename { to } => {
                    let inode = names.remove(&call.path).unwrap();
                    names.insert(to.clone(), inode);
                    Some(inode)
                }
                Effect::Remove => names.remove(&call.path),
                _ => names.get(&call.path).copied(),
            };
            self.inodes.push(inode);
        }
    }

    fn follow_syncs(&mut self) {
        let syncs: Vec<(usize, Unit)> = self.syncs().map(|sync| (sync, self.unit(sync))).collect();
        let by = |at: usize| {
            let unit = self.unit(at);
            let found = syncs.iter().find(|(sync, synced)| *sync > at && *synced == unit);
            found.map(|(sync, _)| *sync)
        };
        self.synced_by = (0..self.calls.len()).map(by).collect();
    }
}

fn is_of_name(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Create { .. } | Effect::Rename { .. } | Effect::Remove | Effect::MakeFolder | Effect::RemoveFolder
    )
}

impl Disk {
    /// Lays the disk out in `dir`.
    pub fn write(&self, dir: &Path) {
        if dir.exists() {
            fs::remove_dir_all(dir).unwrap();
        }
        fs::create_dir(dir).unwrap();
        for folder in &self.folders {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        for (name, content) in self.files() {
            // a name whose folder is gone is gone
            if name.parent().is_none_or(|folder| dir.join(folder).is_dir()) {
                fs::write(dir.join(name), content).unwrap();
            }
        }
    }

    /// All files with their content.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.names
            .iter()
            .map(|(name, inode)| (name.as_path(), self.contents[*inode].as_slice()))
    }

    /// The call has reached the disk, of a write so many 256ths.
    fn take(&mut self, call: &Call, inode: Option<Inode>, part: u8) {
        match &call.effect {
            Effect::Create { empties } => {
                self.names.insert(call.path.clone(), inode.unwrap());
                if *empties {
                    self.contents[inode.unwrap()].clear();
                }
            }
            Effect::Write { offset, bytes } => {
                let length = if part == u8::MAX {
                    bytes.len()
                } else {
                    bytes.len() * usize::from(part) / 256
                };
                self.put(inode.unwrap(), *offset, &bytes[..length]);
            }
            Effect::Truncate { length } => self.contents[inode.unwrap()].resize(*length, 0),
            Effect::Rename { to } => {
                if self.names.get(&call.path) == inode.as_ref() {
                    self.names.remove(&call.path);
                }
                self.names.insert(to.clone(), inode.unwrap());
            }
            Effect::Remove => {
                self.names.remove(&call.path);
            }
            Effect::MakeFolder => {
                self.folders.insert(call.path.clone());
            }
            Effect::RemoveFolder => {
                self.folders.remove(&call.path);
            }
            Effect::Sync | Effect::Nothing => {}
        }
    }

    /// Of a lost write the length of the file has reached the disk.
    fn lengthen(&mut self, call: &Call, inode: Option<Inode>) {
        if let Effect::Write { offset, bytes } = &call.effect {
            self.put(inode.unwrap(), offset + bytes.len(), &[]);
        }
    }

    fn put(&mut self, inode: Inode, offset: usize, bytes: &[u8]) {
        let content = &mut self.contents[inode];
        let end = offset + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset..end].copy_from_slice(bytes);
    }
}

/// The generator known as `SplitMix64`.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit.max(1)
    }
}
