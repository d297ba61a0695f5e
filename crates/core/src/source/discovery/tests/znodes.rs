//! Names and data of single nodes.

use proptest::prelude::*;

use crate::source::discovery::znodes::{self, MemberName, MemberRecord, RootName, ServerRecord, ZnodeError};
use neo4j_format::ids::{MemberId, StoreId};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn the_documented_cluster_node_is_read() {
    let data = hex("00000137fe395800 eeddef0b82167eeb 00302e412e307606");
    let expected = StoreId {
        creation_time: 1_340_000_000_000,
        random: -1_234_567_890_123_456_789,
        store_version: Some(13_561_656_364_791_302),
    };
    assert_eq!(znodes::store_id(&data), Ok(expected));
    let old = StoreId {
        store_version: None,
        ..expected
    };
    assert_eq!(znodes::store_id(&data[..16]), Ok(old));
    for length in (0..16).chain(17..24) {
        assert!(znodes::store_id(&data[..length]).is_err(), "{length} bytes");
    }
    assert!(znodes::store_id(&[data, vec![0]].concat()).is_err());
    let root = RootName::parse("1340000000000_-1234567890123456789").unwrap();
    assert_eq!((RootName::from(expected), RootName::from(old)), (root, root));
}

#[test]
fn documented_member_records_are_read_and_written() {
    let table = [
        ("000000000000002a", 42, None),
        ("000000000000002a 00000002", 42, Some(2)),
        ("0000000000000001 ffffffff", 1, Some(-1)),
        ("fffffffffffffffe fffffffe", -2, Some(-2)),
        ("0000000000000000 ffffffff", 0, Some(-1)),
    ];
    for (text, last, master) in table {
        let record = MemberRecord { last, master };
        assert_eq!(MemberRecord::decode(&hex(text)), Ok(record), "{text}");
        assert_eq!(record.encode(), hex(text), "{text}");
    }
    for length in (0..8).chain(9..12).chain(13..32) {
        assert!(MemberRecord::decode(&vec![0; length]).is_err(), "{length} bytes");
    }
}

#[test]
fn documented_server_records_are_read_and_written() {
    let table = [
        (
            "10.0.0.1:6361",
            6362,
            "000018da 0d 00310030002e0030002e0030002e0031003a0036003300360031",
            126,
        ),
        ("db1:6361", 0, "00000000 08 006400620031003a0036003300360031", 116),
    ];
    for (address, backup_port, text, length) in table {
        let record = ServerRecord {
            backup_port,
            address: address.into(),
        };
        let data = [hex(text), vec![0; 95]].concat();
        assert_eq!(data.len(), length);
        assert_eq!(ServerRecord::decode(&data), Ok(record.clone()));
        assert_eq!(record.encode(), Some(data));
        assert_eq!(
            ServerRecord::decode(&hex(text)),
            Ok(record),
            "the padding does not matter"
        );
        for cut in 0..hex(text).len() {
            assert!(matches!(
                ServerRecord::decode(&hex(text)[..cut]),
                Err(ZnodeError::Cut(_))
            ));
        }
    }
}

#[test]
fn hosts_are_found_in_every_kind_of_address() {
    let hosts = |address: &str| {
        let record = ServerRecord {
            backup_port: 1,
            address: address.into(),
        };
        record.hosts()
    };
    let table: [(&str, &[&str]); 8] = [
        ("10.0.0.1:6361", &["10.0.0.1"]),
        ("DB1.example.com:6361", &["db1.example.com"]),
        ("db1:", &["db1"]),
        ("db1/10.0.0.1:6361", &["db1", "10.0.0.1"]),
        ("db1/fe80::1:6361", &["db1", "fe80::1"]),
        ("[::1]:6361", &["::1"]),
        ("::1:6361", &["::1"]),
        ("my_db:6361", &["my_db"]),
    ];
    for (address, expected) in table {
        assert_eq!(hosts(address).unwrap(), expected, "{address}");
    }
    for wrong in [
        "",
        ":",
        ":6361",
        "db1",
        "db 1:6361",
        "/10.0.0.1:6361",
        "a/b/c:1",
        "db\0:1",
        "é:1",
        "a@b:1",
        "::g:1",
    ] {
        assert_eq!(hosts(wrong), Err(ZnodeError::Address(wrong.into())));
    }
}

#[test]
fn a_backup_port_is_a_port_or_off() {
    let port = |backup_port| {
        let record = ServerRecord {
            backup_port,
            address: String::new(),
        };
        record.port()
    };
    assert_eq!(port(0), Ok(None));
    assert_eq!(port(65535), Ok(Some(65535)));
    for wrong in [-1, 65536, i32::MIN, i32::MAX] {
        assert_eq!(port(wrong), Err(ZnodeError::Port(wrong)));
    }
}

#[test]
fn only_names_of_the_grammar_are_understood() {
    let root = RootName {
        creation_time: 1_340_000_000_000,
        random: -12,
    };
    assert_eq!(RootName::parse("1340000000000_-12"), Some(root));
    assert_eq!(root.to_string(), "1340000000000_-12");
    let member = MemberName {
        id: MemberId(3),
        sequence: 2,
    };
    assert_eq!(MemberName::parse("3_0000000002"), Some(member));
    assert_eq!(member.to_string(), "3_0000000002");
    assert_eq!(znodes::member_in("17"), Some(MemberId(17)));
    for wrong in [
        "",
        "_",
        "1",
        "1_",
        "_1",
        "1_2_3",
        "1_+2",
        "+1_2",
        "1_ 2",
        "x_y",
        "1_x",
        "-_1",
        "--1_1",
        "1_9999999999999999999",
    ] {
        assert_eq!(RootName::parse(wrong), None, "{wrong}");
        assert_eq!(MemberName::parse(wrong), None, "{wrong}");
    }
    assert_eq!(MemberName::parse("1_2147483648"), None);
    for wrong in ["", "1-jmx", "+1", "2147483648", "１"] {
        assert_eq!(znodes::member_in(wrong), None, "{wrong}");
    }
}

#[test]
fn errors_show_length_and_first_bytes_only() {
    let error = MemberRecord::decode(&vec![0xab; 1 << 20]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("8 or 12 bytes are expected and 1048576 are there: {}…", "ab".repeat(32))
    );
    assert_eq!(
        ServerRecord::decode(&[]).unwrap_err().to_string(),
        "the address is cut off"
    );
    assert!(ServerRecord::decode(&vec![0; 1 << 20]).is_err());
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(last: i64, master: Option<i32>, backup_port: i32, address in "\\PC{0,100}") {
        let record = MemberRecord { last, master };
        prop_assert_eq!(MemberRecord::decode(&record.encode()), Ok(record));
        let record = ServerRecord { backup_port, address };
        match record.encode() {
            Some(data) => prop_assert_eq!(ServerRecord::decode(&data), Ok(record)),
            None => prop_assert!(record.address.encode_utf16().count() > 255),
        }
    }

    #[test]
    fn names_come_back_as_they_were(creation_time: i64, random: i64, id: i32, sequence in 0..=i32::MAX) {
        let root = RootName { creation_time, random };
        prop_assert_eq!(RootName::parse(&root.to_string()), Some(root));
        let member = MemberName { id: MemberId(id), sequence };
        prop_assert_eq!(MemberName::parse(&member.to_string()), Some(member));
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(data: Vec<u8>, name in "\\PC{0,12}|-?[0-9]{0,20}_-?[0-9]{0,20}") {
        let _ = (znodes::store_id(&data), znodes::number(&data), MemberRecord::decode(&data));
        if let Ok(record) = ServerRecord::decode(&data) {
            let _ = (record.hosts(), record.port());
        }
        let _ = (RootName::parse(&name), MemberName::parse(&name), znodes::member_in(&name));
    }
}
