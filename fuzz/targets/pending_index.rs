//! A pending Lucene log as it is found in a directory: told, rewritten for any release or refused, and rewriting what was
//! rewritten changes nothing more.
#![no_main]

use std::{fs, io, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

use neo4j_backup_core::replay::pending_index::{IndexRules, PendingIndex, prepare};
use neo4j_format::{DirHandle, log::LogFormat, store::record::RecordId};

static DIR: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let index = DIR.path().join("index");
    for format in [LogFormat::V1, LogFormat::V2] {
        let _ = fs::remove_dir_all(&index);
        fs::create_dir(&index).unwrap();
        fs::write(index.join("lucene.log.1"), bytes).unwrap();
        fs::write(index.join("lucene.log.active"), [0, b'1', 0, 0]).unwrap();
        if PendingIndex::inspect(&DirHandle::open(DIR.path()).unwrap(), format).is_err() {
            continue;
        }
        let mut ends = |_: RecordId| -> io::Result<Option<(i64, i64)>> { Ok(Some((1, 2))) };
        let mut rules = match format {
            LogFormat::V1 => IndexRules::Neo4j13 { ends: &mut ends },
            LogFormat::V2 => IndexRules::Later,
        };
        if let Ok(Some(update)) = prepare(&DirHandle::open(DIR.path()).unwrap(), format, &mut rules, &[]) {
            update.commit().unwrap();
            let first = PendingIndex::inspect(&DirHandle::open(DIR.path()).unwrap(), format).unwrap();
            if let Some(update) = prepare(&DirHandle::open(DIR.path()).unwrap(), format, &mut rules, &[]).unwrap() {
                update.commit().unwrap();
            }
            assert_eq!(
                PendingIndex::inspect(&DirHandle::open(DIR.path()).unwrap(), format)
                    .unwrap()
                    .last_tx,
                first.last_tx
            );
        }
    }
});
