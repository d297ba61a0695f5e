//! A manifest on the disk: its text, which tells whether a byte of it changed, read and written.
//!
//! The last line but one is a BLAKE3 of the text itself, taken with zeros in that place, so that a byte that flips
//! anywhere in a backup is noticed.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    document::{MANIFEST, Manifest, SCHEMA_VERSION},
    files::NEW_MANIFEST,
};
use crate::{Error, ErrorKind, target::durable};
use neo4j_format::{
    DirHandle, DiskError,
    directory::{self, NotUsable},
};

/// Largest manifest that is read; a million file names fit.
const MAX_MANIFEST: u64 = 256 << 20;

/// What stands before and behind the manifest's own checksum; nothing follows.
const CHECKSUM_FRAME: (&str, &str) = (",\n  \"checksum\": \"", "\"\n}\n");

/// Stands where the checksum goes while it is computed.
const NO_CHECKSUM: [u8; 64] = [b'0'; 64];

impl Manifest {
    /// Reads the manifest of the directory `dir`; `None` where there is none.
    ///
    /// # Errors
    /// [`ManifestError`]: it cannot be read, or it is not one that this version understands.
    pub fn read(dir: &DirHandle) -> Result<Option<Manifest>, ManifestError> {
        let path = dir.join(MANIFEST);
        let io = |source| ManifestError::Io {
            path: path.clone(),
            source,
        };
        let text = match dir.read(MANIFEST, MAX_MANIFEST) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::InvalidData || NotUsable::of(&e).is_some() => {
                let what = e.to_string();
                return Err(ManifestError::NotUnderstood { path, what });
            }
            Err(e) => return Err(io(e)),
        };
        Manifest::parse(&text, &path).map(Some)
    }

    /// The manifest with this text, which is at `path`.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub(crate) fn parse(text: &[u8], path: &Path) -> Result<Manifest, ManifestError> {
        let path = path.to_owned();
        if !has_its_checksum(text) {
            return Err(ManifestError::Damaged { path });
        }
        let manifest: Manifest = serde_json::from_slice(text).map_err(|e| ManifestError::NotUnderstood {
            path: path.clone(),
            what: e.to_string(),
        })?;
        if manifest.schema_version != SCHEMA_VERSION {
            let what = format!(
                "unsupported schema_version {}, expected {SCHEMA_VERSION}",
                manifest.schema_version
            );
            return Err(ManifestError::NotUnderstood { path, what });
        }
        if let Some(outside) = manifest.files.iter().find(|file| !directory::stays_inside(&file.path)) {
            let what = format!("{:?} is not the name of a file in the backup", outside.path);
            return Err(ManifestError::NotUnderstood { path, what });
        }
        Ok(manifest)
    }

    /// Writes it to the file `name` of `dir`, durably but for the name.
    ///
    /// # Errors
    /// Of the disk.
    pub fn write(&self, dir: &DirHandle, name: &str) -> Result<(), DiskError> {
        let write = || {
            let text = self.to_bytes()?;
            let mut file = dir.create(name)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(DiskError::at(dir.join(name)))
    }

    /// Replaces the manifest of `dir` by this one, durably.
    ///
    /// # Errors
    /// Of the disk.
    pub(crate) fn publish(&self, dir: &DirHandle) -> Result<(), DiskError> {
        self.write(dir, NEW_MANIFEST)?;
        durable::rename(dir, NEW_MANIFEST, MANIFEST)
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
    #[error("{}: checksum mismatch in the manifest", path.display())]
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
            ManifestError::Io { path, source } => DiskError::new(path, source).into(),
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
    use std::fs;

    use super::*;
    use crate::manifest::document::tests::run;
    use neo4j_format::ids::StoreId;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(&DirHandle::open(dir.path()).unwrap()).unwrap(), None);
        let mut manifest = Manifest::receiving(run("a"), None);
        manifest.store_id = Some(
            StoreId {
                creation_time: 1,
                random: i64::MIN,
                store_version: None,
            }
            .into(),
        );
        manifest.write(&DirHandle::open(dir.path()).unwrap(), MANIFEST).unwrap();
        assert_eq!(
            Manifest::read(&DirHandle::open(dir.path()).unwrap()).unwrap(),
            Some(manifest)
        );
    }

    #[test]
    fn another_schema_and_a_directory_are_not_understood() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::receiving(run("a"), None);
        manifest.schema_version = 9;
        manifest.write(&DirHandle::open(dir.path()).unwrap(), MANIFEST).unwrap();
        assert!(matches!(
            Manifest::read(&DirHandle::open(dir.path()).unwrap()),
            Err(ManifestError::NotUnderstood { .. })
        ));
        fs::remove_file(dir.path().join(MANIFEST)).unwrap();
        fs::create_dir(dir.path().join(MANIFEST)).unwrap();
        assert!(matches!(
            Manifest::read(&DirHandle::open(dir.path()).unwrap()),
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
                matches!(
                    Manifest::read(&DirHandle::open(dir.path()).unwrap()),
                    Err(ManifestError::Damaged { .. })
                ),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}
