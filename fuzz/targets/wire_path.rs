//! Any text as the name of a file that a server sends: what is accepted stays inside the backup and is sent on as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;

use neo4j_format::{directory::stays_inside, wire::PeerPath};

fuzz_target!(|bytes: &[u8]| {
    let (pairs, _) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    let texts = [
        String::from_utf16(&units).ok(),
        str::from_utf8(bytes).ok().map(str::to_owned),
    ];
    let judged = [PeerPath::new(&units).ok()]
        .into_iter()
        .chain(texts.into_iter().flatten().map(|text| PeerPath::to_send(&text).ok()));
    for path in judged.flatten() {
        let name = path.as_str();
        assert!(stays_inside(name), "{name:?}");
        assert!(name.split('/').all(|part| !matches!(part, "" | "." | "..")), "{name:?}");
        assert!(!name.contains('\0'), "{name:?}");
        assert_eq!(PeerPath::to_send(name).as_ref(), Ok(&path));
    }
});
