//! `neo4j-backup.json` and `neo4j-backup.sums`: a manifest that is read survives being written.
#![no_main]

use std::{fs, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

use neo4j_backup_core::manifest::{MANIFEST, Manifest, SCHEMA_VERSION, SUMS, sums::SumsReader};
use neo4j_format::{DirHandle, directory::stays_inside};

static DIR: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let dir = DirHandle::open(DIR.path()).unwrap();
    fs::write(DIR.path().join(MANIFEST), bytes).unwrap();
    let _ = Manifest::read(&dir);
    // a manifest ends with its own checksum, which no input would find
    if let Ok(found) = serde_json::from_slice::<Manifest>(bytes)
        && found.schema_version == SCHEMA_VERSION
        && found.files.iter().all(|file| stays_inside(&file.path))
    {
        found.write(&dir, MANIFEST).unwrap();
        assert_eq!(Manifest::read(&dir).unwrap(), Some(found));
    }
    fs::write(DIR.path().join(SUMS), bytes).unwrap();
    if let Ok(mut reader) = SumsReader::open(&dir, SUMS) {
        while reader.next_digest().is_ok() {}
        reader.finish().unwrap();
    }
});
