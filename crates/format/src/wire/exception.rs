//! A failure of ours as clients in Java understand it: the counterpart of [`super::failure`].
//!
//! A serialized `java.lang.RuntimeException` with a message, no cause and an empty stack trace
//! (`docs/formats/wire-protocol.md` §6.4).

/// Stream, object and class descriptors up to the fields of `java.lang.Throwable`; then the cause, which is none.
const BEFORE_MESSAGE: &[&[u8]] = &[
    b"\xac\xed\x00\x05\x73\x72\x00\x1ajava.lang.RuntimeException\x9e\x5f\x06\x47\x0a\x34\x83\xe5\x02\x00\x00\x78",
    b"\x72\x00\x13java.lang.Exception\xd0\xfd\x1f\x3e\x1a\x3b\x1c\xc4\x02\x00\x00\x78",
    b"\x72\x00\x13java.lang.Throwable\xd5\xc6\x35\x27\x39\x77\xb8\xcb\x03\x00\x03",
    b"L\x00\x05cause\x74\x00\x15Ljava/lang/Throwable;",
    b"L\x00\x0ddetailMessage\x74\x00\x12Ljava/lang/String;",
    b"[\x00\x0astackTrace\x74\x00\x1e[Ljava/lang/StackTraceElement;\x78\x70",
    b"\x70",
];

/// The stack trace, an empty array, and the end of the object.
const BEHIND_MESSAGE: &[u8] =
    b"\x75\x72\x00\x1e[Ljava.lang.StackTraceElement;\x02\x46\x2a\x3c\x3c\xfd\x22\x39\x02\x00\x00\x78\x70\x00\x00\x00\x00\x78";

/// Bytes of a message that are sent.
const MESSAGE_BYTES: usize = 4096;

/// Appends a serialized exception with this message; what Java's own encoding has no plain bytes for becomes `?`.
pub fn append(message: &str, out: &mut Vec<u8>) {
    for part in BEFORE_MESSAGE {
        out.extend_from_slice(part);
    }
    let mut text = String::new();
    for c in message.chars() {
        let plain = if c == '\0' || c > '\u{ffff}' { '?' } else { c };
        if text.len().saturating_add(plain.len_utf8()) > MESSAGE_BYTES {
            break;
        }
        text.push(plain);
    }
    out.push(0x74);
    out.extend(
        u16::try_from(text.len())
            .expect("MESSAGE_BYTES is below 64 KiB")
            .to_be_bytes(),
    );
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(BEHIND_MESSAGE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::failure;

    fn told(message: &str) -> String {
        let mut object = Vec::new();
        append(message, &mut object);
        let read = failure::read(&object);
        let [(class, Some(text))] = &read.exceptions[..] else {
            unreachable!("{read:?}")
        };
        assert_eq!(class, "java.lang.RuntimeException");
        text.clone()
    }

    #[test]
    fn what_is_said_is_what_our_own_client_reads() {
        for text in ["", "No data source 'x' found", "über, €"] {
            assert_eq!(told(text), text);
        }
        assert_eq!(told("a\0b\u{1f600}"), "a?b?");
        assert_eq!(told(&"x".repeat(1000)).len(), 1000);
        let mut object = Vec::new();
        append(&"€".repeat(70_000), &mut object);
        assert!(object.len() < 5000);
    }

    #[test]
    fn the_object_is_the_documented_template() {
        let mut object = Vec::new();
        append("m", &mut object);
        assert_eq!(object.len(), 231 + 3 + 1 + 52);
        assert_eq!(object[230..235], [0x70, 0x74, 0, 1, b'm']);
    }
}
