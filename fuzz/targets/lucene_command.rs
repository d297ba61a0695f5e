//! Index commands: a command that is taken uses no more bytes than there are, and its configuration can be walked.
#![no_main]

use libfuzzer_sys::fuzz_target;

use neo4j_format::log::{LuceneCommand, lucene::LuceneAction};

fuzz_target!(|bytes: &[u8]| {
    if let Ok((command, used)) = LuceneCommand::decode_from(bytes) {
        assert!(0 < used && used <= bytes.len());
        assert!(!command.key().to_string().contains(char::is_control));
        if let LuceneAction::Create(properties) = command.action {
            assert_eq!(properties.entries().count() as u32, properties.count);
        }
    }
});
