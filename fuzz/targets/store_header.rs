//! `neostore` and `lucene-store.db`: numbers or an error, and setting one leaves it readable.
#![no_main]

use std::{fs, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

use neo4j_format::{
    DirHandle,
    ids::TxId,
    store::{Header, lucene_store::LuceneStore},
};

static DIR: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let _ = LuceneStore::decode(bytes);
    fs::write(DIR.path().join("neostore"), bytes).unwrap();
    let header = Header::open(&DirHandle::open(DIR.path()).unwrap()).unwrap();
    let _ = (header.store_id(), header.log_version(), header.records());
    let format = header.format();
    header.set_last_transaction(TxId(7)).unwrap();
    assert_eq!(header.last_transaction().unwrap(), TxId(7));
    if let Ok(format) = format
        && bytes.len() >= 36
    {
        assert_eq!(header.format().unwrap(), format);
    }
});
