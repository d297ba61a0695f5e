//! Source URIs: what is understood can be written and is understood the same again; what is not is pointed at.
#![no_main]

use libfuzzer_sys::fuzz_target;

use neo4j_backup_core::source::uri::Source;

fuzz_target!(|text: &str| {
    match Source::parse(text) {
        Ok(source) => assert_eq!(Source::parse(&source.to_string()), Ok(source)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
