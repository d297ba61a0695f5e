//! One transaction as in a backup stream, of both formats and data sources: what the reader takes, the writer writes, and
//! reading it back from the log gives the same transaction.
#![no_main]

use libfuzzer_sys::fuzz_target;

use neo4j_format::{
    ids::{DataSource, LogVersion, TxId},
    log::{Buffer, Layout, LogFormat, LogHeader, LogWriter, SlotReader, TransactionReader, slot},
};

/// The id in the COMMIT entry, so that the input decides it: the reader says which one it found.
fn committed(bytes: &[u8], layout: Layout, buffer: &mut Buffer) -> Option<TxId> {
    let mut entries = neo4j_format::log::Entries::new(bytes, layout, 0, buffer);
    while let Ok(Some(part)) = entries.next_part() {
        if let neo4j_format::log::Item::Commit(commit) = part.item {
            return Some(commit.tx);
        }
    }
    None
}

fuzz_target!(|bytes: &[u8]| {
    let (mut buffer, mut again) = (Buffer::new(), Buffer::new());
    for format in [LogFormat::V1, LogFormat::V2] {
        for source in DataSource::ALL {
            let layout = Layout { format, source };
            let Some(id) = committed(bytes, layout, &mut buffer) else {
                continue;
            };
            let file = tempfile::tempfile().unwrap();
            let header = LogHeader {
                format,
                version: LogVersion(1),
                previous_last_tx: id.previous(),
            };
            let mut writer = LogWriter::create(file.try_clone().unwrap(), header, layout).unwrap();
            let mut reader = TransactionReader::new(bytes, layout, id, &mut buffer);
            if writer.append(&mut reader).is_err() {
                continue;
            }
            let expected = TransactionReader::new(bytes, layout, id, &mut buffer).fingerprint();
            writer.flush().unwrap();
            let mut slot = SlotReader::open(&file, layout, &mut buffer).unwrap();
            let found = slot.next().unwrap().unwrap();
            assert_eq!(found.tx, id);
            assert_eq!(slot.next().unwrap(), None);
            let read = slot::transaction(&file, layout, &found, &mut again).fingerprint();
            assert_eq!(read.unwrap(), expected.unwrap());
        }
    }
});
