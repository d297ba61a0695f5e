//! Requests of hostile clients: none may panic, and what is understood is encoded to the same request again.

#![no_main]

use libfuzzer_sys::fuzz_target;

use neo4j_format::wire::{Request, RequestKind, request};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Request { dialect, wanted }) = Request::decode(bytes) else {
        return;
    };
    let frame = match &wanted {
        RequestKind::Full => request::full(dialect),
        RequestKind::Incremental(asked) => {
            let asked: Vec<_> = asked.iter().map(|(name, last)| (name.as_str(), *last)).collect();
            request::incremental(dialect, &asked)
        }
    };
    let again = Request::decode(&frame[4..]).expect("a request of ours");
    // one-byte layouts are told apart by their lengths, which empty names can make equal
    if again.dialect == dialect {
        assert_eq!(again.wanted, wanted);
    }
});
