//! A server's failure: as much of Java's serialization as it takes to read class names and messages of an exception and
//! its causes (`docs/formats/wire-protocol.md` §6.2).

use std::{fmt, rc::Rc};

use super::{limits, modified_utf8};

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

/// Reads a serialized exception; whatever cannot be understood is still a failure.
pub fn read(object: &[u8]) -> ServerFailure {
    let mut walk = Walk {
        input: object,
        handles: Vec::new(),
    };
    let mut exceptions = match walk.stream() {
        Some(Value::Object(index)) => walk.chain(index),
        _ => walk.all(),
    };
    if exceptions.is_empty() {
        exceptions.push(fallback(object));
    }
    ServerFailure { exceptions }
}

/// The class name, which stands at a fixed place.
fn fallback(object: &[u8]) -> (String, Option<String>) {
    let mut walk = Walk {
        input: object,
        handles: Vec::new(),
    };
    match walk.outermost_class() {
        Some(name) if !name.is_empty() => (clean(&name), None),
        _ => (format!("an unreadable failure of {} bytes", object.len()), None),
    }
}

/// Text from a peer without control characters and of bounded length.
fn clean(text: &str) -> String {
    let flat = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    flat.take(limits::MESSAGE_CHARS).collect()
}

/// Texts and classes are shared: a hostile object refers back to a long one in five bytes.
#[derive(Debug)]
enum Value {
    Other,
    Text(Rc<str>),
    Object(usize),
}

#[derive(Debug)]
struct Class {
    name: String,
    flags: u8,
    fields: Vec<(u8, String)>,
    parent: Option<Rc<Class>>,
    /// How many classes are above it; bounded, or freeing a hostile line of them would use up the stack.
    above: usize,
}

#[derive(Debug)]
enum Handle {
    Other,
    Text(Rc<str>),
    Class(Rc<Class>),
    Object {
        class: Rc<Class>,
        message: Option<Rc<str>>,
        cause: Option<usize>,
    },
}

/// A class descriptor where one is expected.
enum Descriptor {
    Null,
    Class(Rc<Class>),
}

struct Walk<'a> {
    input: &'a [u8],
    handles: Vec<Handle>,
}

const FIRST_HANDLE: u32 = 0x7E_0000;

/// Flags of a class: it writes its own annotation, its fields are serialized, it is external and in block data.
const WRITES_MORE: u8 = 0x01;
const SERIALIZABLE: u8 = 0x02;
const EXTERNAL_BLOCKS: u8 = 0x0c;

impl Walk<'_> {
    fn stream(&mut self) -> Option<Value> {
        (self.u16()? == 0xaced && self.u16()? == 5).then_some(())?;
        self.content(0)
    }

    /// The exception and its causes.
    fn chain(&self, mut index: usize) -> Vec<(String, Option<String>)> {
        let (mut out, mut seen) = (Vec::new(), Vec::new());
        while let Some(Handle::Object { class, message, cause }) = self.handles.get(index) {
            out.push((clean(&class.name), message.as_deref().map(clean)));
            seen.push(index);
            match cause {
                Some(next) if !seen.contains(next) && seen.len() < limits::FAILURE_CAUSES => index = *next,
                _ => break,
            }
        }
        out
    }

    /// What was understood before the walk got stuck: the outermost exception, and whatever has a message.
    fn all(&self) -> Vec<(String, Option<String>)> {
        let objects = self.handles.iter().filter_map(|handle| match handle {
            Handle::Object { class, message, .. } => Some((class, message)),
            _ => None,
        });
        objects
            .enumerate()
            .filter(|(i, (_, message))| *i == 0 || message.is_some())
            .take(limits::FAILURE_CAUSES)
            .map(|(_, (class, message))| (clean(&class.name), message.as_deref().map(clean)))
            .collect()
    }

    fn outermost_class(&mut self) -> Option<String> {
        let begins = self.number::<6>()? == [0xac, 0xed, 0, 5, 0x73, 0x72];
        begins.then(|| self.utf()).flatten()
    }

    fn content(&mut self, depth: usize) -> Option<Value> {
        (depth < limits::FAILURE_DEPTH).then_some(())?;
        match self.u8()? {
            0x70 => Some(Value::Other),
            0x71 => self.reference(),
            0x72 => self.class_descriptor(depth).map(|_| Value::Other),
            0x73 => self.object(depth),
            0x74 => {
                let length = usize::from(self.u16()?);
                self.text(length)
            }
            0x7c => {
                let length = usize::try_from(self.i64()?).ok()?;
                self.text(length)
            }
            0x75 => self.array(depth),
            0x76 => {
                self.class(depth)?;
                self.handles.push(Handle::Other);
                Some(Value::Other)
            }
            0x7e => {
                self.class(depth)?;
                self.handles.push(Handle::Other);
                self.content(depth + 1)?;
                Some(Value::Other)
            }
            0x77 => {
                let length = usize::from(self.u8()?);
                self.take(length).map(|_| Value::Other)
            }
            0x7a => {
                let length = usize::try_from(self.i32()?).ok()?;
                self.take(length).map(|_| Value::Other)
            }
            _ => None,
        }
    }

    fn reference(&mut self) -> Option<Value> {
        let index = self.handle()?;
        Some(match self.handles.get(index)? {
            Handle::Text(text) => Value::Text(Rc::clone(text)),
            Handle::Object { .. } => Value::Object(index),
            _ => Value::Other,
        })
    }

    fn handle(&mut self) -> Option<usize> {
        let handle = self.i32()?.cast_unsigned();
        usize::try_from(handle.checked_sub(FIRST_HANDLE)?).ok()
    }

    fn text(&mut self, length: usize) -> Option<Value> {
        let text: Rc<str> = modified_utf8::decode(self.take(length)?).into();
        self.handles.push(Handle::Text(Rc::clone(&text)));
        Some(Value::Text(text))
    }

    fn class(&mut self, depth: usize) -> Option<Descriptor> {
        (depth < limits::FAILURE_DEPTH).then_some(())?;
        match self.u8()? {
            0x70 => Some(Descriptor::Null),
            0x71 => {
                let index = self.handle()?;
                match self.handles.get(index)? {
                    Handle::Class(class) => Some(Descriptor::Class(Rc::clone(class))),
                    _ => None,
                }
            }
            0x72 => self.class_descriptor(depth).map(Descriptor::Class),
            _ => None,
        }
    }

    fn known_class(&mut self, depth: usize) -> Option<Rc<Class>> {
        match self.class(depth)? {
            Descriptor::Null => None,
            Descriptor::Class(class) => Some(class),
        }
    }

    fn class_descriptor(&mut self, depth: usize) -> Option<Rc<Class>> {
        let name = self.utf()?;
        self.i64()?;
        let index = self.handles.len();
        self.handles.push(Handle::Other);
        let flags = self.u8()?;
        let mut fields = Vec::new();
        for _ in 0..self.u16()? {
            let kind = self.u8()?;
            let field = self.utf()?;
            if matches!(kind, b'L' | b'[') {
                self.content(depth + 1)?;
            }
            fields.push((kind, field));
        }
        self.annotation(depth)?;
        let parent = match self.class(depth + 1)? {
            Descriptor::Null => None,
            Descriptor::Class(parent) => Some(parent),
        };
        let above = parent.as_ref().map_or(0, |parent| parent.above + 1);
        (above < limits::FAILURE_DEPTH).then_some(())?;
        let class = Rc::new(Class {
            name,
            flags,
            fields,
            parent,
            above,
        });
        *self.handles.get_mut(index)? = Handle::Class(Rc::clone(&class));
        Some(class)
    }

    fn annotation(&mut self, depth: usize) -> Option<()> {
        while *self.input.first()? != 0x78 {
            self.content(depth + 1)?;
        }
        self.take(1).map(|_| ())
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let class = self.known_class(depth)?;
        let index = self.handles.len();
        self.handles.push(Handle::Object {
            class: Rc::clone(&class),
            message: None,
            cause: None,
        });
        let mut line = vec![class];
        while let Some(parent) = &line.last()?.parent {
            line.push(Rc::clone(parent));
        }
        for class in line.into_iter().rev() {
            if class.flags & SERIALIZABLE != 0 {
                for (kind, field) in &class.fields {
                    let value = self.field(*kind, depth)?;
                    if class.name == "java.lang.Throwable" {
                        self.note(index, field, value);
                    }
                }
            }
            if class.flags & WRITES_MORE != 0 || class.flags & EXTERNAL_BLOCKS == EXTERNAL_BLOCKS {
                self.annotation(depth)?;
            }
        }
        Some(Value::Object(index))
    }

    fn note(&mut self, index: usize, field: &str, value: Value) {
        if let Some(Handle::Object { message, cause, .. }) = self.handles.get_mut(index) {
            match (field, value) {
                ("detailMessage", Value::Text(text)) => *message = Some(text),
                ("cause", Value::Object(object)) if object != index => *cause = Some(object),
                _ => {}
            }
        }
    }

    fn field(&mut self, kind: u8, depth: usize) -> Option<Value> {
        let width = match kind {
            b'B' | b'Z' => 1,
            b'C' | b'S' => 2,
            b'F' | b'I' => 4,
            b'D' | b'J' => 8,
            b'L' | b'[' => return self.content(depth + 1),
            _ => return None,
        };
        self.take(width).map(|_| Value::Other)
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let kind = *self.known_class(depth)?.name.as_bytes().get(1)?;
        self.handles.push(Handle::Other);
        for _ in 0..self.i32()? {
            self.field(kind, depth)?;
        }
        Some(Value::Other)
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let (taken, rest) = self.input.split_at_checked(length)?;
        self.input = rest;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.input.split_first_chunk()?;
        self.input = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.number().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.number().map(u16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.number().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.number().map(i64::from_be_bytes)
    }

    fn utf(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        self.take(length).map(modified_utf8::decode)
    }
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
