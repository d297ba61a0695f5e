//! Databases of random bytes in the shape of real ones, and random damage to them.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "panicking is how tests report")]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use neo4j_backup_core::manifest::files;
use neo4j_format::DirHandle;
use neo4j_format::store::{StoreFile, StoreFormat};

/// Damages of a usual run of the tests, for each store format.
const SAMPLE: u64 = 300;

/// Which damage is done, `VERIFY_SEED`, and how much of it, `VERIFY_DAMAGES`.
pub(crate) fn chosen() -> (Rng, u64) {
    let number = |name, default| env::var(name).map_or(default, |text| text.parse().unwrap());
    let (seed, count) = (number("VERIFY_SEED", 1), number("VERIFY_DAMAGES", SAMPLE));
    eprintln!("VERIFY_SEED={seed} VERIFY_DAMAGES={count}");
    (Rng(seed), count)
}

/// The files of a database with their lengths.
pub(crate) fn files_of(dir: &Path) -> Vec<(String, u64)> {
    let found = files::list(&DirHandle::open(dir).unwrap()).unwrap().into_iter();
    found.map(|found| (found.path, found.length.unwrap())).collect()
}

/// A generator that a seed determines (`SplitMix64`).
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn bytes(&mut self, count: u64) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(usize::try_from(count).unwrap());
        bytes
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// Writes the files of a cleanly closed database, records of random bytes; some files are longer than a chunk.
pub(crate) fn database(dir: &Path, format: StoreFormat, rng: &mut Rng) {
    fs::create_dir_all(dir.join("index/lucene/node/people")).unwrap();
    for store in StoreFile::ALL {
        let length = match store {
            StoreFile::Neostore => 0,
            StoreFile::Node | StoreFile::Property | StoreFile::String => 100_000 + rng.below(200_000),
            _ => rng.below(2000),
        };
        let mut bytes = rng.bytes(length);
        if store.is_dynamic() {
            let size: u32 = if bytes.len() < 128 { 128 } else { 38 };
            bytes.resize(bytes.len().max(128), 0);
            bytes[..4].copy_from_slice(&size.to_be_bytes());
        }
        if store == StoreFile::Neostore {
            let mut values = vec![1_350_000_000_000, rng.next(), 3, 17];
            if format == StoreFormat::Current {
                values.extend([0x0030_2E41_2E30_7606, u64::MAX]);
            }
            for value in values {
                bytes.push(1);
                bytes.extend(value.to_be_bytes());
            }
        }
        let records = store.record_size(format).unwrap_or(38).min(bytes.len().max(1) as u64);
        bytes.truncate(bytes.len() - bytes.len() % usize::try_from(records).unwrap());
        let high = bytes.len() as u64 / records;
        bytes.extend(store.trailer(format).as_bytes());
        fs::write(dir.join(store.name()), bytes).unwrap();
        fs::write(dir.join(store.id_name()), [&[0][..], &high.to_be_bytes()].concat()).unwrap();
    }
    let log_format = if format == StoreFormat::Current { 2 } else { 1 };
    for version in 1..3_u64 {
        let mut log = version.to_be_bytes().to_vec();
        log[0] = log_format;
        log.extend((version * 5).to_be_bytes());
        fs::write(dir.join(format!("nioneo_logical.log.v{version}")), log).unwrap();
    }
    for (path, length) in [
        ("index.db", 60),
        ("index/lucene/node/people/_0.cfs", 70_000),
        ("index/lucene/node/people/segments.gen", 20),
        ("index/lucene/node/people/segments_2", 300),
        ("messages.log", 5000),
        ("tm_tx_log.1", 0),
    ] {
        fs::write(dir.join(path), rng.bytes(length)).unwrap();
    }
    fs::write(dir.join("active_tx_log"), "tm_tx_log.1").unwrap();
    fs::write(dir.join("nioneo_logical.log.active"), [0, b'C', 0, 0]).unwrap();
    let index_store: Vec<u8> = [1_350_000_000_000, rng.next(), 0, 1, 0x352E_3303]
        .into_iter()
        .flat_map(u64::to_be_bytes)
        .collect();
    fs::write(dir.join("index/lucene-store.db"), index_store).unwrap();
}

/// Something done to a directory that can be undone.
#[derive(Debug)]
pub(crate) enum Damage {
    Flip { path: String, at: u64, bit: u8 },
    Cut { path: String, length: u64 },
    Removal { path: String },
    Addition { path: String },
}

impl Damage {
    /// A random one; `files` are the regular files of the directory with their lengths.
    pub(crate) fn random(rng: &mut Rng, files: &[(String, u64)]) -> Damage {
        loop {
            let (path, length) = rng.pick(files);
            let path = path.clone();
            return match rng.below(10) {
                0..6 if *length > 0 => Damage::Flip {
                    path,
                    at: rng.below(*length),
                    bit: u8::try_from(rng.below(8)).unwrap(),
                },
                6 if *length > 0 => Damage::Cut {
                    path,
                    length: rng.below(*length),
                },
                7 => Damage::Removal { path },
                8 => {
                    let folder = ["", "index/", "index/lucene/node/people/"];
                    let names = [
                        "stray",
                        "neostore.nodestore.db.old",
                        "_9.cfs",
                        "nioneo_logical.log.v77",
                        "ü",
                    ];
                    let path = format!("{}{}", rng.pick(&folder), rng.pick(&names));
                    Damage::Addition { path }
                }
                _ => continue,
            };
        }
    }

    pub(crate) fn path(&self) -> &str {
        let (Damage::Flip { path, .. }
        | Damage::Cut { path, .. }
        | Damage::Removal { path }
        | Damage::Addition { path }) = self;
        path
    }

    /// Whether it is no damage: a file that is not of a database was added.
    pub(crate) fn is_foreign(&self) -> bool {
        let of_a_store = ["neostore", "nioneo_logical.log.", "index/lucene/"];
        matches!(self, Damage::Addition { path } if !of_a_store.iter().any(|start| path.starts_with(start)))
    }

    /// Does it; dropping what is returned undoes it.
    pub(crate) fn inflict(&self, dir: &Path) -> Undo {
        let path = dir.join(self.path());
        let before = fs::read(&path).ok();
        match self {
            Damage::Flip { at, bit, .. } => {
                let mut bytes = before.clone().unwrap();
                bytes[usize::try_from(*at).unwrap()] ^= 1 << bit;
                fs::write(&path, bytes).unwrap();
            }
            Damage::Cut { length, .. } => {
                let length = usize::try_from(*length).unwrap();
                fs::write(&path, &before.as_ref().unwrap()[..length]).unwrap();
            }
            Damage::Removal { .. } => fs::remove_file(&path).unwrap(),
            Damage::Addition { .. } => {
                assert_eq!(before, None);
                fs::write(&path, "what is this?").unwrap();
            }
        }
        Undo { path, before }
    }
}

/// Puts a file back as it was.
#[derive(Debug)]
pub(crate) struct Undo {
    path: PathBuf,
    before: Option<Vec<u8>>,
}

impl Drop for Undo {
    fn drop(&mut self) {
        match &self.before {
            Some(bytes) => fs::write(&self.path, bytes).unwrap(),
            None => fs::remove_file(&self.path).unwrap(),
        }
    }
}
