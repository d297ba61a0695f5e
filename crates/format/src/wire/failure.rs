//! A server's failure: class names and messages of an exception and its causes (`docs/formats/wire-protocol.md` §6).

use std::fmt;

use super::{limits, serialized::Walk};

/// An exception of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFailure {
    /// Class and message of the exception and of each of its causes, outermost first; never empty.
    pub exceptions: Vec<(String, Option<String>)>,
}

impl fmt::Display for ServerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server reports ")?;
        let mut before = String::new();
        for (class, message) in &self.exceptions {
            let text = match message {
                Some(message) => format!("{class}: {message}"),
                None => class.clone(),
            };
            // Java repeats a cause in the message of what it caused
            if before.is_empty() {
                f.write_str(&text)?;
            } else if !before.ends_with(&text) {
                write!(f, ", caused by {text}")?;
            }
            before = text;
        }
        Ok(())
    }
}

/// Reads a serialized exception. One that cannot be decoded is still a failure.
pub fn read(object: &[u8]) -> ServerFailure {
    let cleaned = Walk::exceptions(object).into_iter();
    let mut exceptions: Vec<_> = cleaned
        .map(|(class, message)| (clean(&class), message.as_deref().map(clean)))
        .collect();
    if exceptions.is_empty() {
        exceptions.push(fallback(object));
    }
    ServerFailure { exceptions }
}

/// The class name, which stands at a fixed place.
fn fallback(object: &[u8]) -> (String, Option<String>) {
    match Walk::outermost_class(object) {
        Some(name) if !name.is_empty() => (clean(&name), None),
        _ => (format!("a malformed exception ({} bytes)", object.len()), None),
    }
}

/// Text from a peer without control characters and of bounded length.
fn clean(text: &str) -> String {
    let flat = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    flat.take(limits::MESSAGE_CHARS).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The template of §6.4: a `RuntimeException` without cause.
    pub(crate) fn sample(message: &str) -> Vec<u8> {
        let mut object = vec![0xac, 0xed, 0, 5, 0x73];
        let mut class = |name: &str, uid: u64, flags: u8, fields: &[u8]| {
            object.push(0x72);
            object.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
            object.extend(name.bytes());
            object.extend(uid.to_be_bytes());
            object.push(flags);
            object.extend(fields);
            object.push(0x78);
        };
        class("java.lang.RuntimeException", 0x9e5f_0647_0a34_83e5, 2, &[0, 0]);
        class("java.lang.Exception", 0xd0fd_1f3e_1a3b_1cc4, 2, &[0, 0]);
        let mut fields = vec![0, 2];
        for (name, signature) in [
            ("cause", "Ljava/lang/Throwable;"),
            ("detailMessage", "Ljava/lang/String;"),
        ] {
            fields.push(b'L');
            fields.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
            fields.extend(name.bytes());
            fields.push(0x74);
            fields.extend(u16::try_from(signature.len()).unwrap().to_be_bytes());
            fields.extend(signature.bytes());
        }
        class("java.lang.Throwable", 0xd5c6_3527_3977_b8cb, 3, &fields);
        object.extend([0x70, 0x70, 0x74]);
        object.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        object.extend(message.bytes());
        object.push(0x78);
        object
    }

    #[test]
    fn class_and_message_are_read_and_control_characters_removed() {
        let failure = read(&sample("bad\x1b[31m\nthing"));
        assert_eq!(
            failure.to_string(),
            "the server reports java.lang.RuntimeException: bad [31m thing"
        );
    }

    #[test]
    fn the_message_is_text_as_java_serializes_it() {
        let mut object = sample("index ?????? gone");
        let at = object.windows(6).position(|bytes| bytes == b"??????").unwrap();
        // U+1F600 as its two surrogates
        object[at..at + 6].copy_from_slice(&[0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]);
        assert_eq!(read(&object).exceptions[0].1.as_deref(), Some("index \u{1f600} gone"));
    }

    #[test]
    fn a_cause_is_told_unless_the_message_before_ends_with_it() {
        let failure = |outer: &str| ServerFailure {
            exceptions: vec![
                ("A".into(), Some(outer.into())),
                ("B".into(), Some("why".into())),
                ("C".into(), None),
            ],
        };
        assert_eq!(
            failure("what").to_string(),
            "the server reports A: what, caused by B: why, caused by C"
        );
        assert_eq!(
            failure("B: why").to_string(),
            "the server reports A: B: why, caused by C"
        );
    }

    #[test]
    fn a_truncated_object_is_still_a_failure() {
        let whole = sample("message");
        for cut in 0..whole.len() {
            let failure = read(&whole[..cut]);
            assert!(!failure.exceptions.is_empty());
            if cut > 40 {
                assert_eq!(failure.exceptions[0].0, "java.lang.RuntimeException", "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_message_that_was_read_survives_a_truncated_rest() {
        let mut whole = sample("message");
        whole.pop();
        assert_eq!(
            read(&whole).to_string(),
            "the server reports java.lang.RuntimeException: message"
        );
    }

    #[test]
    fn a_hostile_line_of_classes_is_no_burden() {
        let mut line = vec![
            0xac, 0xed, 0, 5, 0x73, 0x72, 0, 1, b'x', 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0,
        ];
        for handle in 0x7e_0000_u32..0x7e_8000 {
            let parent: &[u8] = if handle == 0x7e_0000 { &[0x70] } else { &[0x71] };
            line.extend([0x72, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0x78]);
            line.extend(parent);
            if handle > 0x7e_0000 {
                line.extend(handle.to_be_bytes());
            }
        }
        assert_eq!(read(&line).exceptions[0].0, "x");
    }

    #[test]
    fn a_long_text_referred_to_many_times_is_kept_once() {
        // annotation of a class descriptor: one text of 60 000 bytes, then 100 000 references to it
        let mut object = vec![
            0xac, 0xed, 0, 5, 0x73, 0x72, 0, 1, b'x', 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0,
        ];
        object.extend([0x74, 0xea, 0x60]);
        object.extend(vec![b'm'; 60_000]);
        for _ in 0..100_000 {
            object.extend([0x71, 0, 0x7e, 0, 1]);
        }
        assert_eq!(read(&object).exceptions[0].0, "x");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_still_a_failure(tail: Vec<u8>, cut in 0_usize..200) {
            let whole = sample("message");
            let object = [&whole[..cut.min(whole.len())], &tail].concat();
            proptest::prop_assert!(!read(&object).exceptions.is_empty());
        }
    }
}
