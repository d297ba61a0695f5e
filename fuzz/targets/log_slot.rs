//! Log files with whatever a crash left in them, of both formats and data sources: every transaction that is found can be
//! read, or is told to be malformed.
#![no_main]

use std::os::unix::fs::FileExt;

use libfuzzer_sys::fuzz_target;

use neo4j_format::{
    ids::DataSource,
    log::{Buffer, Layout, LogFormat, SlotReader, slot},
};

fuzz_target!(|bytes: &[u8]| {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    let (mut scan, mut read) = (Buffer::new(), Buffer::new());
    for format in [LogFormat::V1, LogFormat::V2] {
        for source in DataSource::ALL {
            let layout = Layout { format, source };
            let Ok(mut reader) = SlotReader::open(&file, layout, &mut scan) else {
                continue;
            };
            while let Ok(Some(found)) = reader.next() {
                assert!(found.start < found.end && found.end <= bytes.len() as u64);
                let _ = slot::transaction(&file, layout, &found, &mut read).fingerprint();
            }
            if let Ok(end) = reader.finish() {
                assert!(end.logical_end <= bytes.len() as u64);
            }
        }
    }
});
