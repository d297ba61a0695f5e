//! Transactions applied to a small store, of both formats: applied or refused, and no file grows past its limit.
#![no_main]

use std::{fs, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

use neo4j_backup_core::replay::apply::{Applier, Growth};
use neo4j_format::{
    DirHandle,
    ids::DataSource,
    log::{Buffer, Entries, Item, Layout, LogFormat},
    store::{StoreFile, StoreFormat},
};

/// Bytes of each record file before: a few records in use.
const FILLED: usize = 32 * 33;

/// By how much a file may grow.
const GROWTH: u64 = 1 << 20;

static DIR: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

/// A store of this format whose dynamic files have a first block.
fn lay_out(format: StoreFormat) {
    for kind in StoreFile::ALL {
        let mut bytes = vec![1; FILLED];
        if kind.is_dynamic() {
            let block = 120 + u32::try_from(format.dynamic_header()).unwrap();
            bytes[..4].copy_from_slice(&block.to_be_bytes());
        }
        fs::write(DIR.path().join(kind.name()), bytes).unwrap();
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut buffer = Buffer::new();
    for format in [StoreFormat::Legacy, StoreFormat::Current] {
        let layout = Layout {
            format: LogFormat::from(format),
            source: DataSource::Graph,
        };
        lay_out(format);
        let mut applier = Applier::open(&DirHandle::open(DIR.path()).unwrap(), format, Growth::Bytes(GROWTH)).unwrap();
        let mut entries = Entries::new(bytes, layout, 0, &mut buffer);
        while let Ok(Some(part)) = entries.next_part() {
            if let Item::Change(change) = part.item
                && applier.apply(&change).is_err()
            {
                break;
            }
        }
        applier.finish().unwrap();
        for kind in StoreFile::ALL {
            let length = fs::metadata(DIR.path().join(kind.name())).unwrap().len();
            assert!(length <= GROWTH + FILLED as u64 + 65_536);
        }
    }
});
