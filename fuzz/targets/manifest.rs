//! `neo4j-backup.json` and `neo4j-backup.sums`: a manifest that is read survives being written.
#![no_main]

use neo4j_format::DirHandle;
use std::{fs, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

use neo4j_backup_core::manifest::{MANIFEST, Manifest, SCHEMA_VERSION, SUMS, sums::SumsReader};

static DIR: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let (manifest, sums) = (DIR.path().join(MANIFEST), DIR.path().join(SUMS));
    fs::write(&manifest, bytes).unwrap();
    let _ = Manifest::read(&DirHandle::open(DIR.path()).unwrap());
    // a manifest ends with its own checksum, which no input would find
    if let Ok(found) = serde_json::from_slice::<Manifest>(bytes)
        && found.schema_version == SCHEMA_VERSION
    {
        found.write(&manifest).unwrap();
        assert_eq!(
            Manifest::read(&DirHandle::open(DIR.path()).unwrap()).unwrap(),
            Some(found)
        );
    }
    fs::write(&sums, bytes).unwrap();
    if let Ok(mut reader) = SumsReader::open(&sums) {
        while reader.next_digest().is_ok() {}
        reader.finish().unwrap();
    }
});
