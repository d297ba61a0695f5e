//! Serialized exceptions: something is always told, and nothing of it can move a terminal's cursor.
#![no_main]

use libfuzzer_sys::fuzz_target;

use neo4j_format::wire::failure;

fuzz_target!(|object: &[u8]| {
    let failure = failure::read(object);
    assert!(!failure.exceptions.is_empty());
    assert!(!failure.to_string().contains(char::is_control));
});
