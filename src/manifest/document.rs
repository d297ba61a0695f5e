//! `neo4j-backup.json`: what a backup is, where it came from, and which files belong to it.
//!
//! Small and readable; Neo4j ignores it. The digests of the files' chunks are in [`super::sums`], whose own digest is
//! in here. Its last line but one is a BLAKE3 of the manifest itself, taken with zeros in that place, so that a byte
//! that flips anywhere in a backup is noticed.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    DiskError, Error, ErrorKind,
    ids::{DataSource, StoreId, TxId},
};

/// Name of the manifest in a backup.
pub const MANIFEST: &str = "neo4j-backup.json";

/// Name of the checksum file in a backup.
pub const SUMS: &str = "neo4j-backup.sums";

/// Version of the manifest's layout.
pub const SCHEMA_VERSION: u32 = 1;

/// Largest manifest that is read; a million file names fit.
const MAX_MANIFEST: u64 = 256 << 20;

/// Newest runs kept in [`Manifest::chain`].
const MAX_CHAIN: usize = 1000;

/// What stands before and behind the manifest's own checksum; nothing follows.
const CHECKSUM_FRAME: (&str, &str) = (",\n  \"checksum\": \"", "\"\n}\n");

/// In place of the checksum while it is taken.
const NO_CHECKSUM: [u8; 64] = [b'0'; 64];

/// Where a directory stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A full backup is being received into it; nothing in it is of use.
    Receiving,
    /// An incremental backup is changing it; the next run repairs it if it was interrupted.
    Updating,
    /// A backup.
    Complete,
}

/// How a run got its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// All store files.
    Full,
    /// Only the transactions since the last run.
    Incremental,
}

/// One run that led to the present state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Random id of the run.
    pub run_id: String,
    /// Full or incremental.
    pub mode: Mode,
    /// Milliseconds since 1970 at which it began.
    pub started: u64,
    /// The source as it was asked for.
    pub source: String,
    /// `host:port` of the server that served it.
    pub member: String,
    /// Wire dialect, which tells 1.3 from 1.4 where the files do not.
    pub dialect: String,
    /// Bytes received, framing not counted.
    pub bytes: u64,
    /// Transactions received.
    pub transactions: u64,
}

/// The newest transaction of one data source, kept to prove that a later source continues the same history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastTransaction {
    /// `nioneodb` or `lucene-index`.
    pub data_source: String,
    /// Its id; 1 where there never was one.
    pub id: i64,
    /// Fingerprint over what a transaction has in common on every member; absent where it was not received.
    pub fingerprint: Option<String>,
}

/// One file of the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path below the backup, `/` between its parts.
    pub path: String,
    /// Bytes.
    pub length: u64,
}

/// Store id as the manifest shows it; numbers as text, since JSON readers cut 64-bit integers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIdText {
    /// Milliseconds since 1970.
    pub creation_time: String,
    /// Random part.
    pub random: String,
}

impl From<StoreId> for StoreIdText {
    fn from(id: StoreId) -> StoreIdText {
        StoreIdText {
            creation_time: id.creation_time.to_string(),
            random: id.random.to_string(),
        }
    }
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of the tool that wrote it.
    pub tool_version: String,
    /// Where the directory stands.
    pub state: State,
    /// What this backup took the place of: a run id, or what [`crate::transfer::staging`] knows the directory by.
    pub replaces: Option<String>,
    /// Milliseconds since 1970 at which a backup of another tool was taken over as it stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<u64>,
    /// The runs that led here, oldest first; the last one made the present state.
    pub chain: Vec<Run>,
    /// Which database.
    pub store_id: Option<StoreIdText>,
    /// `v0.9.9` or `v0.A.0`.
    pub store_format: Option<String>,
    /// Milliseconds since 1970 at which the last run was complete.
    pub finished: Option<u64>,
    /// Newest transaction per data source.
    pub last_transactions: Vec<LastTransaction>,
    /// BLAKE3 of the checksum file.
    pub sums_checksum: Option<String>,
    /// Every file of the backup but the manifest and the checksums, in the order of the digests.
    pub files: Vec<FileEntry>,
}

impl Manifest {
    /// The manifest of a directory into which `run` begins to receive.
    pub fn receiving(run: Run, replaces: Option<String>) -> Manifest {
        Manifest {
            schema_version: SCHEMA_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            state: State::Receiving,
            replaces,
            adopted: None,
            chain: vec![run],
            store_id: None,
            store_format: None,
            finished: None,
            last_transactions: Vec::new(),
            sums_checksum: None,
            files: Vec::new(),
        }
    }

    /// The run that made the present state.
    pub fn run_id(&self) -> Option<&str> {
        self.chain.last().map(|run| run.run_id.as_str())
    }

    /// Whether it describes a backup that nothing is being done to.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Adds a run, forgetting the oldest incremental of a very long chain.
    pub fn add_run(&mut self, run: Run) {
        if self.chain.len() >= MAX_CHAIN {
            self.chain.remove(1);
        }
        self.chain.push(run);
    }

    /// The newest transaction kept of a data source.
    pub fn last_transaction(&self, source: DataSource) -> Option<(TxId, Option<&str>)> {
        let found = self
            .last_transactions
            .iter()
            .find(|last| last.data_source == source.name())?;
        Some((TxId(found.id), found.fingerprint.as_deref()))
    }

    /// Reads the manifest of the directory `dir`; `None` where there is none.
    ///
    /// # Errors
    /// [`ManifestError`]: it cannot be read, or it is not one that this version understands.
    pub fn read(dir: &Path) -> Result<Option<Manifest>, ManifestError> {
        let path = dir.join(MANIFEST);
        let io = |source| ManifestError::Io {
            path: path.clone(),
            source,
        };
        let length = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => found.len(),
            Ok(_) => {
                return Err(ManifestError::NotUnderstood {
                    path,
                    what: "it is not a regular file".to_owned(),
                });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(e)),
        };
        if length > MAX_MANIFEST {
            return Err(ManifestError::NotUnderstood {
                path,
                what: format!("it has {length} bytes"),
            });
        }
        let text = fs::read(&path).map_err(io)?;
        if !has_its_checksum(&text) {
            return Err(ManifestError::Damaged { path });
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| ManifestError::NotUnderstood {
            path: path.clone(),
            what: e.to_string(),
        })?;
        if manifest.schema_version == SCHEMA_VERSION {
            Ok(Some(manifest))
        } else {
            let what = format!(
                "its schema_version is {}, this tool knows {SCHEMA_VERSION}",
                manifest.schema_version
            );
            Err(ManifestError::NotUnderstood { path, what })
        }
    }

    /// Writes it to `path`, durably but for the name.
    ///
    /// # Errors
    /// Of the disk.
    pub fn write(&self, path: &Path) -> Result<(), DiskError> {
        let write = || {
            let text = self.to_bytes()?;
            let mut file = File::create(path)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(DiskError::at(path))
    }

    /// The bytes to write.
    fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let text = serde_json::to_vec_pretty(self)?;
        let body = text.strip_suffix(b"\n}").unwrap_or(&text);
        let (before, behind) = CHECKSUM_FRAME;
        let frame = |checksum: &[u8]| [body, before.as_bytes(), checksum, behind.as_bytes()].concat();
        let checksum = blake3::hash(&frame(&NO_CHECKSUM)).to_hex();
        Ok(frame(checksum.as_bytes()))
    }
}

/// Whether the text ends with the right checksum of itself.
fn has_its_checksum(text: &[u8]) -> bool {
    let (before, behind) = CHECKSUM_FRAME;
    let Some((body, found)) = text
        .strip_suffix(behind.as_bytes())
        .and_then(|text| text.split_last_chunk::<64>())
    else {
        return false;
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(body).update(&NO_CHECKSUM).update(behind.as_bytes());
    body.ends_with(before.as_bytes()) && hasher.finalize().to_hex().as_bytes() == found
}

/// What can be wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The manifest.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Cut short or changed since it was written.
    #[error("{}: is damaged: its own checksum does not match", path.display())]
    Damaged {
        /// The manifest.
        path: PathBuf,
    },
    /// Not a manifest of this version.
    #[error("{}: not understood: {what}", path.display())]
    NotUnderstood {
        /// The manifest.
        path: PathBuf,
        /// Why.
        what: String,
    },
}

impl From<ManifestError> for Error {
    fn from(error: ManifestError) -> Error {
        match error {
            ManifestError::Io { .. } => Error::new(ErrorKind::Disk, error),
            ManifestError::Damaged { .. } => {
                Error::new(ErrorKind::FullNeeded, error).with_hint("take a full backup into another directory")
            }
            ManifestError::NotUnderstood { .. } => Error::new(ErrorKind::FullNeeded, error)
                .with_hint("use the version that wrote it, or take a full backup into another directory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str) -> Run {
        Run {
            run_id: id.to_owned(),
            mode: Mode::Full,
            started: 1,
            source: "single://h".to_owned(),
            member: "h:6362".to_owned(),
            dialect: "D18".to_owned(),
            bytes: 2,
            transactions: 3,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), None);
        let mut manifest = Manifest::receiving(run("a"), None);
        manifest.store_id = Some(
            StoreId {
                creation_time: 1,
                random: i64::MIN,
                store_version: None,
            }
            .into(),
        );
        manifest.write(&dir.path().join(MANIFEST)).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), Some(manifest));
    }

    #[test]
    fn another_schema_and_a_directory_are_not_understood() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::receiving(run("a"), None);
        manifest.schema_version = 9;
        manifest.write(&dir.path().join(MANIFEST)).unwrap();
        assert!(matches!(
            Manifest::read(dir.path()),
            Err(ManifestError::NotUnderstood { .. })
        ));
        fs::remove_file(dir.path().join(MANIFEST)).unwrap();
        fs::create_dir(dir.path().join(MANIFEST)).unwrap();
        assert!(matches!(
            Manifest::read(dir.path()),
            Err(ManifestError::NotUnderstood { .. })
        ));
    }

    #[test]
    fn a_flip_of_any_bit_and_a_cut_at_any_byte_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MANIFEST);
        let bytes = Manifest::receiving(run("a"), None).to_bytes().unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        let mut wrong: Vec<Vec<u8>> = (0..bytes.len()).map(|length| bytes[..length].to_vec()).collect();
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            wrong.push(flipped);
        }
        wrong.push([&bytes[..], b"\n"].concat());
        for bytes in wrong {
            fs::write(&path, &bytes).unwrap();
            assert!(
                matches!(Manifest::read(dir.path()), Err(ManifestError::Damaged { .. })),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    #[test]
    fn a_long_chain_keeps_its_full_backup_and_the_newest_runs() {
        let mut manifest = Manifest::receiving(run("full"), None);
        for i in 0..1500 {
            manifest.add_run(run(&i.to_string()));
        }
        assert_eq!(manifest.chain.len(), MAX_CHAIN);
        assert_eq!(manifest.chain[0].run_id, "full");
        assert_eq!(manifest.run_id(), Some("1499"));
    }
}
