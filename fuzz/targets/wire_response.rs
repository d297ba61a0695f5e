//! Responses of every dialect, full and incremental: whatever arrives, the decoder ends with an event list or an error,
//! and both are the same however the bytes are split.
#![no_main]

use libfuzzer_sys::fuzz_target;

use neo4j_format::wire::{Decoder, Dialect, Event};

/// The events up to the end, the first error or the end of the input; bytes of one body are joined.
fn decode(mut decoder: Decoder, bytes: &[u8], step: usize) -> (Vec<Event<Vec<u8>>>, Option<String>) {
    let mut events: Vec<Event<Vec<u8>>> = Vec::new();
    for mut part in bytes.chunks(step) {
        loop {
            match decoder.next(&mut part) {
                Ok(None) => break,
                Ok(Some(Event::End)) => return (events, None),
                Ok(Some(event)) => match (events.last_mut(), event.map(<[u8]>::to_vec)) {
                    (Some(Event::Data(before)), Event::Data(piece)) => before.extend(piece),
                    (_, event) => events.push(event),
                },
                Err(error) => return (events, Some(error.to_string())),
            }
        }
    }
    let error = decoder.cut_off().to_string();
    (events, Some(error))
}

fuzz_target!(|bytes: &[u8]| {
    for dialect in Dialect::ALL {
        for start in [Decoder::full, Decoder::incremental] {
            let whole = decode(start(dialect), bytes, usize::MAX);
            assert_eq!(decode(start(dialect), bytes, 7), whole);
        }
    }
});
