//! Small real database directories of both formats, and the damage that an input does to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use tempfile::TempDir;

/// A copy of each of the directories in `tests/vectors/stores`.
pub struct Directories(Vec<Directory>);

/// One copy, which is put back as it was before each input.
pub struct Directory {
    dir: TempDir,
    /// Its files as they were.
    files: BTreeMap<String, Vec<u8>>,
    /// Files that are not as they were.
    changed: BTreeSet<String>,
}

/// A few more names, for files that were not there.
const NEW: [&str; 4] = [
    "nioneo_logical.log.1",
    "index/lucene.log.1",
    "nioneo_logical.log.v7",
    "stray",
];

impl Directories {
    /// Makes the copies and lets `prepare` add to them.
    pub fn new(prepare: impl Fn(&Path)) -> Directories {
        let stores = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/stores");
        let copy = |release| {
            let (from, dir) = (stores.join(release), TempDir::new().unwrap());
            for folder in ["", "index/"] {
                fs::create_dir_all(dir.path().join(folder)).unwrap();
                for name in names(&from, folder) {
                    fs::copy(from.join(&name), dir.path().join(&name)).unwrap();
                }
            }
            prepare(dir.path());
            let all = ["", "index/"].into_iter().flat_map(|folder| names(dir.path(), folder));
            let files = all.map(|name| {
                let bytes = fs::read(dir.path().join(&name)).unwrap();
                (name, bytes)
            });
            Directory {
                files: files.collect(),
                changed: BTreeSet::new(),
                dir,
            }
        };
        Directories(["1.4.2", "1.8"].map(copy).into())
    }

    /// The directory that the input chooses, with the damage it describes.
    pub fn damaged(&mut self, input: &[u8]) -> Option<&Directory> {
        let (which, input) = input.split_first()?;
        let count = self.0.len();
        let directory = self.0.get_mut(usize::from(*which) % count)?;
        directory.restore();
        directory.damage(input);
        Some(directory)
    }
}

/// Regular files of a folder, relative to the directory.
fn names(dir: &Path, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(dir.join(folder)).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| format!("{folder}{}", entry.file_name().into_string().unwrap()))
        .collect()
}

impl Directory {
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Whether any file is not as it was.
    #[allow(dead_code, reason = "one of the targets asks")]
    pub fn is_changed(&self) -> bool {
        let differs = |name: &String| fs::read(self.dir.path().join(name)).ok().as_ref() != self.files.get(name);
        self.changed.iter().any(differs)
    }

    fn restore(&mut self) {
        for name in std::mem::take(&mut self.changed) {
            let path = self.dir.path().join(&name);
            let _ = fs::remove_dir(&path);
            match self.files.get(&name) {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => drop(fs::remove_file(&path)),
            }
        }
    }

    /// Each damage is a kind, a file, two places and up to sixteen bytes.
    fn damage(&mut self, mut input: &[u8]) {
        let names: Vec<String> = self.files.keys().cloned().chain(NEW.map(str::to_owned)).collect();
        while let Some(([kind, file, at @ ..], rest)) = input.split_first_chunk::<6>() {
            input = rest;
            let name = &names[usize::from(*file) % names.len()];
            let path = self.dir.path().join(name);
            self.changed.insert(name.clone());
            let mut bytes = fs::read(&path).unwrap_or_default();
            let place = |at: [u8; 2]| {
                usize::from(u16::from_le_bytes(at))
                    .checked_rem(bytes.len())
                    .unwrap_or(0)
            };
            let (first, second) = (place([at[0], at[1]]), place([at[2], at[3]]));
            let count = usize::from(kind >> 4) + 1;
            match kind & 15 {
                0..8 => {
                    let with;
                    (with, input) = input.split_at(count.min(input.len()));
                    for (byte, with) in bytes[first..].iter_mut().zip(with) {
                        *byte = *with;
                    }
                }
                8 | 9 => {
                    let count = (8 * count).min(bytes.len() - first.max(second));
                    bytes.copy_within(first..first + count, second);
                }
                10 => bytes.truncate(first),
                11 => {
                    let with;
                    (with, input) = input.split_at((64 * count).min(input.len()));
                    bytes.extend_from_slice(with);
                }
                12 => {
                    let other = &names[second % names.len()];
                    bytes = fs::read(self.dir.path().join(other)).unwrap_or_default();
                }
                13 => {
                    let _ = fs::remove_file(&path);
                    let _ = fs::remove_dir(&path);
                    continue;
                }
                14 => {
                    let _ = fs::remove_file(&path);
                    let _ = fs::create_dir(&path);
                    continue;
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(first) {
                        *byte ^= 1 << (second % 8);
                    }
                }
            }
            // fails where a directory has taken its place
            let _ = fs::write(&path, bytes);
        }
    }
}
