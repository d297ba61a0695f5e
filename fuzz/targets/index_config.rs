//! `index.db`: what is read is written back to bytes that read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

use neo4j_format::store::IndexConfig;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = IndexConfig::decode(bytes) {
        assert_eq!(IndexConfig::decode(&config.encode()).unwrap(), config);
    }
});
