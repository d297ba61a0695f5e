//! Power that is lost during an incremental backup: of the writes that were not synced any may be missing, whatever their
//! order, and a last one may be torn. What a real run wrote is recorded, and disks are made of it as they may be found
//! afterwards; from each the next run goes on to the same bytes as a run that nobody stopped, and Neo4j starts.
//!
//! The model: a file's content is on the disk once the file was synced, a name once its directory was, and nothing
//! before. Runs at some points; `CRASH_POINTS=all` (`tests/crash_points`) takes many more and starts Neo4j on at least 50
//! of them. Needs `strace` and a real Neo4j.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "panicking is how tests report"
)]

mod disk_trace;
mod interrupted;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use disk_trace::{Call, Effect, record, require_strace};
use interrupted::{PROGRAM, Scene, remove, takes_all};
use support::{Release, require_peers};

/// Points of the short run, and on one of how many of them Neo4j is started.
const POINTS: usize = 160;
const BOOT: usize = 20;
const POINTS_OF_ALL: usize = 2000;
const BOOT_OF_ALL: usize = 33;

#[test]
fn power_lost_during_an_incremental_does_no_harm_1_8() {
    power_lost_anywhere_does_no_harm(Release::V1_8);
}

#[test]
#[ignore = "long: tests/crash_points"]
fn power_lost_during_an_incremental_does_no_harm_1_4_2() {
    power_lost_anywhere_does_no_harm(Release::V1_4_2);
}

#[test]
#[ignore = "long: tests/crash_points"]
fn power_lost_during_an_incremental_does_no_harm_1_9_9() {
    power_lost_anywhere_does_no_harm(Release::V1_9_9);
}

fn power_lost_anywhere_does_no_harm(release: Release) {
    if !require_peers(release) || !require_strace("lost power") {
        return;
    }
    let scene = Scene::new(release);
    let copy = scene.copy("copy");
    let arguments = scene.arguments(&copy);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let calls = record(PROGRAM, &arguments, &copy);
    let recording = Recording::new(&scene.copy("copy"), calls);
    let (points, boot) = if takes_all() {
        (POINTS_OF_ALL, BOOT_OF_ALL)
    } else {
        (POINTS, BOOT)
    };
    let mut random = Random(1);
    let (mut boots, mut missing, mut wrong) = (0, 0, Vec::new());
    for point in 0..points {
        let until = recording.point(point, points);
        let loss = Loss::of_point(point, &mut random);
        let disk = recording.disk(until, &loss, &mut random);
        missing += disk.missing;
        let found = scene.dir("found");
        disk.write(&found);
        let what = format!(
            "point {point}, {loss:?} behind call {until} of {}",
            recording.calls.len()
        );
        if point % boot == boot / 2 {
            boots += 1;
            wrong.extend(
                scene
                    .repaired_by_neo4j(&found)
                    .err()
                    .map(|error| format!("{what}: {error}")),
            );
        }
        wrong.extend(
            scene
                .repaired_by_next_run(&found)
                .err()
                .map(|error| format!("{what}: {error}")),
        );
    }
    eprintln!(
        "neo4j {}: {} calls, {points} points, {missing} writes lost, Neo4j started on {boots}, {} wrong",
        release.name(),
        recording.calls.len(),
        wrong.len()
    );
    assert!(missing > points, "only {missing} writes were lost");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Which of the writes that were not synced are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    All,
    /// All but the first of them, in percent.
    Behind(u64),
    /// Each with this probability, in percent; those that extend a file may leave zeros.
    Some(u64),
}

impl Loss {
    fn of_point(point: usize, random: &mut Random) -> Loss {
        match point % 4 {
            0 => Loss::All,
            1 => Loss::Behind(random.below(100)),
            2 => Loss::Some(80),
            _ => Loss::Some(30),
        }
    }
}

/// A file, whatever its name.
type Inode = usize;

/// What a run did to a directory.
struct Recording {
    /// Files of the directory before, by name.
    before: BTreeMap<PathBuf, Inode>,
    contents: Vec<Vec<u8>>,
    folders: BTreeSet<PathBuf>,
    calls: Vec<Call>,
    /// The file that each call is about.
    inodes: Vec<Option<Inode>>,
    /// The calls behind which a call of this index is surely on the disk.
    synced_by: Vec<usize>,
}

/// A directory as it is found afterwards.
struct Disk {
    names: BTreeMap<PathBuf, Inode>,
    contents: Vec<Vec<u8>>,
    folders: BTreeSet<PathBuf>,
    /// How many writes were lost.
    missing: usize,
}

impl Recording {
    fn new(dir: &Path, calls: Vec<Call>) -> Recording {
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
        let syncs: Vec<_> = (0..self.calls.len())
            .filter(|at| self.calls[*at].effect == Effect::Sync)
            .collect();
        for (at, call) in self.calls.iter().enumerate() {
            let of_name = matches!(
                call.effect,
                Effect::Create { .. }
                    | Effect::Rename { .. }
                    | Effect::Remove
                    | Effect::MakeFolder
                    | Effect::RemoveFolder
            );
            let folder = call.path.parent().unwrap_or(Path::new(""));
            let by = syncs.iter().find(|sync| {
                let synced = &self.calls[**sync];
                **sync > at
                    && if of_name {
                        self.inodes[**sync].is_none() && synced.path == folder
                    } else {
                        self.inodes[**sync].is_some() && self.inodes[**sync] == self.inodes[at]
                    }
            });
            self.synced_by.push(by.copied().unwrap_or(usize::MAX));
        }
    }

    /// How many calls there were when power is lost.
    fn point(&self, point: usize, points: usize) -> usize {
        point * (self.calls.len() + 1) / points
    }

    fn disk(&self, until: usize, loss: &Loss, random: &mut Random) -> Disk {
        let pending: Vec<usize> = (0..until).filter(|at| self.synced_by[*at] >= until).collect();
        let mut disk = Disk {
            names: self.before.clone(),
            contents: self.contents.clone(),
            folders: self.folders.clone(),
            missing: 0,
        };
        for at in 0..until {
            let place = pending.binary_search(&at);
            let dropped = place.is_ok_and(|place| match loss {
                Loss::All => true,
                Loss::Behind(percent) => place as u64 * 100 >= pending.len() as u64 * percent,
                Loss::Some(percent) => random.below(100) < *percent,
            });
            if !dropped {
                disk.take(&self.calls[at], self.inodes[at], place.is_ok(), random);
            } else if self.calls[at].effect != Effect::Sync {
                disk.missing += 1;
                disk.lose(&self.calls[at], self.inodes[at], loss, random);
            }
        }
        disk
    }
}

impl Disk {
    /// The call has reached the disk; one that was not synced perhaps only in part.
    fn take(&mut self, call: &Call, inode: Option<Inode>, unsynced: bool, random: &mut Random) {
        match &call.effect {
            Effect::Create { empties } => {
                self.names.insert(call.path.clone(), inode.unwrap());
                if *empties {
                    self.contents[inode.unwrap()].clear();
                }
            }
            Effect::Write { offset, bytes } => {
                let torn = unsynced && random.below(8) == 0;
                let length = if torn { random.index(bytes.len()) } else { bytes.len() };
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

    /// Of a lost write only the length of the file may be there.
    fn lose(&mut self, call: &Call, inode: Option<Inode>, loss: &Loss, random: &mut Random) {
        if let (Effect::Write { offset, bytes }, Loss::Some(_)) = (&call.effect, loss)
            && random.below(3) == 0
        {
            let content = &mut self.contents[inode.unwrap()];
            let length = content.len().max(offset + bytes.len());
            content.resize(length, 0);
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

    fn write(&self, dir: &Path) {
        remove(dir);
        fs::create_dir(dir).unwrap();
        for folder in &self.folders {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        for (name, inode) in &self.names {
            // a name whose folder is gone is gone
            if name.parent().is_none_or(|folder| dir.join(folder).is_dir()) {
                fs::write(dir.join(name), &self.contents[*inode]).unwrap();
            }
        }
    }
}

/// The generator known as `SplitMix64`.
struct Random(u64);

impl Random {
    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit.max(1)
    }
}
