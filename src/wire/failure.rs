//! A server's failure: as much of Java's serialization as it takes to read class names and messages of an exception and
//! its causes (`docs/formats/wire-protocol.md` §6.2).

use std::fmt;

use super::limits;

/// An exception of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFailure {
    /// Class and message of the exception and of each of its causes, outermost first; never empty.
    pub exceptions: Vec<(String, Option<String>)>,
}

impl fmt::Display for ServerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server reports ")?;
        for (i, (class, message)) in self.exceptions.iter().enumerate() {
            if i > 0 {
                f.write_str(", caused by ")?;
            }
            f.write_str(class)?;
            if let Some(message) = message {
                write!(f, ": {message}")?;
            }
        }
        Ok(())
    }
}

/// Reads a serialized exception; whatever cannot be understood is still a failure.
pub fn read(object: &[u8]) -> ServerFailure {
    let mut walk = Walk { input: object, handles: Vec::new() };
    let exceptions = match walk.stream() {
        Some(Value::Object(index)) => walk.chain(index),
        _ => Vec::new(),
    };
    if exceptions.is_empty() { ServerFailure { exceptions: vec![fallback(object)] } } else { ServerFailure { exceptions } }
}

/// Class name at its fixed place, and the first text that looks like a message.
fn fallback(object: &[u8]) -> (String, Option<String>) {
    let class = object
        .get(6..8)
        .and_then(|length| object.get(8..8 + usize::from(u16::from_be_bytes([*length.first()?, *length.get(1)?]))))
        .map(|name| clean(&String::from_utf8_lossy(name)));
    match class {
        Some(class) if !class.is_empty() && object.starts_with(&[0xac, 0xed, 0, 5, 0x73, 0x72]) => (class, None),
        _ => (format!("an unreadable failure of {} bytes", object.len()), None),
    }
}

/// Text from a peer without control characters and of bounded length.
fn clean(text: &str) -> String {
    let flat = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    flat.take(limits::MESSAGE_CHARS).collect()
}

#[derive(Debug, Clone)]
enum Value {
    Other,
    Text(String),
    Object(usize),
}

#[derive(Debug, Clone)]
struct Class {
    name: String,
    flags: u8,
    fields: Vec<(u8, String)>,
    parent: Option<usize>,
}

#[derive(Debug, Clone)]
enum Handle {
    Other,
    Text(String),
    Class(Class),
    Object { class: usize, message: Option<String>, cause: Option<usize> },
}

struct Walk<'a> {
    input: &'a [u8],
    handles: Vec<Handle>,
}

const FIRST_HANDLE: u32 = 0x7E_0000;

impl Walk<'_> {
    fn stream(&mut self) -> Option<Value> {
        (self.u16()? == 0xaced && self.u16()? == 5).then_some(())?;
        self.content(0)
    }

    fn chain(&self, mut index: usize) -> Vec<(String, Option<String>)> {
        let (mut out, mut seen) = (Vec::new(), Vec::new());
        while let Some(Handle::Object { class, message, cause }) = self.handles.get(index) {
            let Some(Handle::Class(Class { name, .. })) = self.handles.get(*class) else { break };
            out.push((clean(name), message.as_deref().map(clean)));
            seen.push(index);
            match cause {
                Some(next) if !seen.contains(next) && seen.len() < limits::FAILURE_DEPTH => index = *next,
                _ => break,
            }
        }
        out
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
                self.push(Handle::Other);
                Some(Value::Other)
            }
            0x7e => {
                self.class(depth)?;
                self.push(Handle::Other);
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
            Handle::Text(text) => Value::Text(text.clone()),
            Handle::Object { .. } => Value::Object(index),
            _ => Value::Other,
        })
    }

    fn handle(&mut self) -> Option<usize> {
        let handle = self.i32()?.cast_unsigned();
        usize::try_from(handle.checked_sub(FIRST_HANDLE)?).ok()
    }

    fn text(&mut self, length: usize) -> Option<Value> {
        // modified UTF-8 differs from UTF-8 only in NUL and in what lies beyond the first plane
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Handle::Text(text.clone()));
        Some(Value::Text(text))
    }

    /// A class descriptor where one is expected; `None` inside for null.
    fn class(&mut self, depth: usize) -> Option<Option<usize>> {
        (depth < limits::FAILURE_DEPTH).then_some(())?;
        match self.u8()? {
            0x70 => Some(None),
            0x71 => {
                let index = self.handle()?;
                matches!(self.handles.get(index)?, Handle::Class(_)).then_some(Some(index))
            }
            0x72 => self.class_descriptor(depth).map(Some),
            _ => None,
        }
    }

    fn class_descriptor(&mut self, depth: usize) -> Option<usize> {
        let name = self.utf()?;
        self.i64()?;
        let index = self.push(Handle::Other);
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
        let parent = self.class(depth + 1)?;
        *self.handles.get_mut(index)? = Handle::Class(Class { name, flags, fields, parent });
        Some(index)
    }

    fn annotation(&mut self, depth: usize) -> Option<()> {
        while *self.input.first()? != 0x78 {
            self.content(depth + 1)?;
        }
        self.take(1).map(|_| ())
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let class = self.class(depth)??;
        let index = self.push(Handle::Object { class, message: None, cause: None });
        let mut line = vec![class];
        while let Handle::Class(Class { parent: Some(parent), .. }) = self.handles.get(*line.last()?)? {
            (line.len() < limits::FAILURE_DEPTH).then_some(())?;
            line.push(*parent);
        }
        for class in line.into_iter().rev() {
            let Handle::Class(Class { name, flags, fields, .. }) = self.handles.get(class)?.clone() else {
                return None;
            };
            if flags & 2 != 0 {
                for (kind, field) in fields {
                    let value = self.field(kind, depth)?;
                    if name == "java.lang.Throwable" {
                        self.note(index, &field, value);
                    }
                }
            }
            if flags & 1 != 0 || flags & 12 == 12 {
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
        let class = self.class(depth)??;
        let Handle::Class(Class { name, .. }) = self.handles.get(class)? else { return None };
        let kind = name.bytes().nth(1)?;
        self.push(Handle::Other);
        for _ in 0..self.i32()? {
            self.field(kind, depth)?;
        }
        Some(Value::Other)
    }

    fn push(&mut self, handle: Handle) -> usize {
        self.handles.push(handle);
        self.handles.len() - 1
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
        self.take(length).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
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
        for (name, signature) in [("cause", "Ljava/lang/Throwable;"), ("detailMessage", "Ljava/lang/String;")] {
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
        assert_eq!(failure.to_string(), "the server reports java.lang.RuntimeException: bad [31m thing");
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

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_still_a_failure(tail: Vec<u8>, cut in 0_usize..200) {
            let whole = sample("message");
            let object = [&whole[..cut.min(whole.len())], &tail].concat();
            proptest::prop_assert!(!read(&object).exceptions.is_empty());
        }
    }
}
