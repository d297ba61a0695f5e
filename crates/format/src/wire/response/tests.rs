//! Responses put together byte by byte.

use super::*;

fn text(name: &str) -> Vec<u8> {
    name.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// One D18 frame around a payload.
pub(crate) fn framed(header: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 2).unwrap();
    [&length.to_be_bytes()[..], &header, payload].concat()
}

fn store_id() -> Vec<u8> {
    [[0; 8], [1; 8], [0, 0x30, 0x2e, 0x41, 0x2e, 0x30, 0x76, 6]].concat()
}

/// A response with a 300-byte file, an empty file and two transactions.
fn sample() -> Vec<u8> {
    let data: Vec<u8> = (0..=255).cycle().take(300).collect();
    let mut p = [
        &[0, 10][..],
        &text("neostore.a"),
        &[1, 0],
        &data[..255],
        &[45],
        &data[255..],
    ]
    .concat();
    p.extend([&[0, 10][..], &text("neostore.b"), &[0], &[0, 0]].concat());
    p.extend(store_id());
    p.extend([&[1, 0, 0, 0, 8][..], &text("nioneodb")].concat());
    for id in [5_i64, 6] {
        p.extend([&[1][..], &id.to_be_bytes(), &[3, 7, 8, 9]].concat());
    }
    p.push(0);
    p
}

fn decode(mut decoder: Decoder, bytes: &[u8], step: usize) -> Result<Vec<String>, WireError> {
    let mut out: Vec<String> = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    for mut part in bytes.chunks(step.max(1)) {
        while let Some(event) = decoder.next(&mut part)? {
            match event {
                Event::Data(piece) => data.extend(piece),
                event => {
                    if !data.is_empty() {
                        out.push(format!("{} bytes {}", data.len(), blake3::hash(&data)));
                        data.clear();
                    }
                    out.push(format!("{event:?}"));
                    if event == Event::End {
                        return Ok(out);
                    }
                }
            }
        }
    }
    Err(WireError::Short(decoder.place()))
}

#[test]
fn every_split_and_every_framing_of_a_response_gives_the_same_events() {
    let payload = sample();
    let whole = framed([8, 1], &payload);
    let events = decode(Decoder::full(Dialect::D18), &whole, whole.len()).unwrap();
    assert_eq!(events.len(), 13);
    for step in 1..whole.len() {
        assert_eq!(decode(Decoder::full(Dialect::D18), &whole, step).unwrap(), events);
    }
    for cut in 0..payload.len() {
        let two = [framed([9, 1], &payload[..cut]), framed([8, 1], &payload[cut..])].concat();
        assert_eq!(
            decode(Decoder::full(Dialect::D18), &two, 64).unwrap(),
            events,
            "cut at {cut}"
        );
    }
}

#[test]
fn a_response_cut_anywhere_is_short() {
    let payload = sample();
    for cut in 0..payload.len() {
        let ended = framed([8, 1], &payload[..cut]);
        let result = decode(Decoder::full(Dialect::D18), &ended, 100);
        assert!(matches!(result, Err(WireError::Short(_))), "cut at {cut}: {result:?}");
    }
}

#[test]
fn one_byte_dialects_have_a_short_store_id() {
    let mut bytes = vec![0, 0, 0, 18, 0];
    bytes.extend([7; 16]);
    bytes.push(0);
    let events = decode(Decoder::incremental(Dialect::D13), &bytes, 5).unwrap();
    assert!(events[0].contains("store_version: None"));
    assert_eq!(events[1], "End");
}

#[test]
fn transactions_out_of_order_repeated_or_of_no_source_are_errors() {
    let names = [&[2, 0, 0, 0, 1][..], &text("a"), &[0, 0, 0, 1], &text("b")].concat();
    let tx = |source: u8, id: i64| [&[source][..], &id.to_be_bytes(), &[1, 0]].concat();
    let run = |list: &[Vec<u8>]| {
        let payload = [store_id(), names.clone(), list.concat(), vec![0]].concat();
        decode(Decoder::incremental(Dialect::D18), &framed([8, 1], &payload), 1000)
    };
    assert!(run(&[tx(2, 9), tx(1, 5), tx(1, 6)]).is_ok());
    assert!(matches!(run(&[tx(1, 5), tx(1, 7)]), Err(WireError::Order { .. })));
    assert!(matches!(run(&[tx(1, 5), tx(1, 5)]), Err(WireError::Order { .. })));
    assert!(matches!(run(&[tx(1, 0)]), Err(WireError::Order { .. })));
    assert!(matches!(
        run(&[tx(1, 5), tx(2, 5), tx(1, 6)]),
        Err(WireError::Regrouped(_))
    ));
    assert!(matches!(
        run(&[tx(3, 5)]),
        Err(WireError::SourceNumber { number: 3, count: 2 })
    ));
}

#[test]
fn impossible_names_lengths_and_flags_are_errors() {
    let full = |payload: &[u8]| decode(Decoder::full(Dialect::D18), &framed([8, 1], payload), 999);
    assert!(matches!(full(&[0xff, 0xff]), Err(WireError::TooLong { .. })));
    assert!(matches!(
        full(&[&[0, 2][..], &text("..")].concat()),
        Err(WireError::Path(_))
    ));
    let file = [&[0, 8][..], &text("neostore")].concat();
    assert!(matches!(full(&[&file[..], &[2]].concat()), Err(WireError::HasData(2))));
    assert!(matches!(
        full(&[&file[..], &[0], &file[..]].concat()),
        Err(WireError::Twice(_))
    ));
    let incremental = |tail: &[u8]| {
        decode(
            Decoder::incremental(Dialect::D18),
            &framed([8, 1], &[&store_id()[..], tail].concat()),
            999,
        )
    };
    assert!(matches!(
        incremental(&[1, 0x80, 0, 0, 0]),
        Err(WireError::TooLong { .. })
    ));
    assert!(matches!(incremental(&[1, 0, 0, 1, 0]), Err(WireError::TooLong { .. })));
    let twice = [&[2, 0, 0, 0, 1][..], &text("a"), &[0, 0, 0, 1], &text("a")].concat();
    assert!(matches!(incremental(&twice), Err(WireError::SourceName(_))));
}

#[test]
fn a_failure_chunk_anywhere_replaces_what_would_have_followed() {
    let object = failure::tests::sample("No such log version:3");
    let payload = sample();
    for cut in [0, 1, 20, 40, 200, 330, payload.len() - 1] {
        let bytes = [framed([9, 1], &payload[..cut]), framed([10, 1], &object)].concat();
        let result = decode(Decoder::full(Dialect::D18), &bytes, 77);
        assert!(
            matches!(&result, Err(WireError::Server(f)) if f.to_string().contains("No such log version:3")),
            "{result:?}"
        );
        let split = [framed([11, 1], &[]), framed([8, 1], &object)].concat();
        let result = decode(Decoder::full(Dialect::D18), &split, 13);
        assert!(matches!(result, Err(WireError::Server(_))), "{result:?}");
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_end_in_an_error_or_an_end(bytes: Vec<u8>, step in 1_usize..50) {
        for dialect in Dialect::ALL {
            let _ = decode(Decoder::full(dialect), &bytes, step);
            let _ = decode(Decoder::incremental(dialect), &framed([8, 1], &bytes), step);
        }
    }
}

#[test]
fn bytes_behind_the_end_are_an_error_and_an_empty_last_chunk_is_none() {
    let payload = sample();
    let run = |bytes: &[u8]| decode(Decoder::full(Dialect::D18), bytes, 50);
    let events = run(&framed([8, 1], &payload)).unwrap();
    let rest = framed([8, 1], &[&payload[..], b"rest"].concat());
    assert_eq!(run(&rest), Err(WireError::Trailing));
    assert_eq!(
        run(&[framed([9, 1], &payload), framed([8, 1], &[])].concat()).unwrap(),
        events
    );
    let more = [framed([9, 1], &payload), framed([9, 1], b"more")].concat();
    assert_eq!(run(&more), Err(WireError::Trailing));
    assert_eq!(run(&framed([9, 1], &payload)), Err(WireError::Short(MessagePart::Tail)));
}

#[test]
fn a_failure_behind_the_last_transaction_is_a_failure() {
    let object = failure::tests::sample("too late");
    let bytes = [framed([9, 1], &sample()), framed([10, 1], &object)].concat();
    assert!(matches!(
        decode(Decoder::full(Dialect::D18), &bytes, 50),
        Err(WireError::Server(_))
    ));
}

#[test]
fn a_failure_that_is_cut_off_or_never_ends_is_a_failure() {
    let object = failure::tests::sample("message");
    let cut = framed([10, 1], &object);
    let mut decoder = Decoder::incremental(Dialect::D18);
    assert_eq!(decoder.next(&mut &cut[..cut.len() - 1]), Ok(None));
    assert!(matches!(decoder.cut_off(), WireError::Server(_)));
    let endless = framed([11, 1], &vec![0; 700_000]).repeat(3);
    assert!(matches!(
        decode(Decoder::full(Dialect::D18), &endless, 5000),
        Err(WireError::Server(_))
    ));
}

#[test]
fn more_names_of_files_than_a_database_has_are_an_error() {
    let mut payload = Vec::new();
    for i in 0..200_000 {
        let name = format!("index/lucene/node/{i}");
        payload.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        payload.extend([&text(&name)[..], &[0]].concat());
    }
    let chunks: Vec<u8> = payload.chunks(1 << 20).flat_map(|part| framed([9, 1], part)).collect();
    assert_eq!(
        decode(Decoder::full(Dialect::D18), &chunks, 1 << 16),
        Err(WireError::TooManyFiles)
    );
}

#[test]
fn places_name_the_file_or_the_transaction() {
    let payload = sample();
    let cut = |at: usize| {
        decode(Decoder::full(Dialect::D18), &framed([8, 1], &payload[..at]), 50)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(cut(1), "the response ends within the list of files");
    assert_eq!(cut(5), "the response ends within a file name");
    assert_eq!(cut(100), "the response ends within file neostore.a");
    assert_eq!(
        cut(payload.len() - 3),
        "the response ends within transaction 6 of nioneodb"
    );
    assert_eq!(
        cut(payload.len() - 1),
        "the response ends within the list of transactions"
    );
}
