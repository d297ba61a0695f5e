//! As much of Java's serialization as it takes to find the exceptions in an object (`docs/formats/wire-protocol.md` §6.2).

use std::rc::Rc;

use super::{limits, modified_utf8};

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

/// Reads a serialized object from its first byte on; `None` anywhere is something that it does not understand.
pub(super) struct Walk<'a> {
    input: &'a [u8],
    handles: Vec<Handle>,
}

const FIRST_HANDLE: u32 = 0x7E_0000;

/// Flags of a class: it writes its own annotation, its fields are serialized, it is external and in block data.
const WRITES_MORE: u8 = 0x01;
const SERIALIZABLE: u8 = 0x02;
const EXTERNAL_BLOCKS: u8 = 0x0c;

impl Walk<'_> {
    /// Class and message of the serialized exception and of each of its causes, outermost first, or of what was
    /// understood before the walk got stuck.
    pub(super) fn exceptions(object: &[u8]) -> Vec<(String, Option<String>)> {
        let mut walk = Walk {
            input: object,
            handles: Vec::new(),
        };
        match walk.stream() {
            Some(Value::Object(index)) => walk.chain(index),
            _ => walk.all(),
        }
    }

    /// The class of the serialized object, which stands at a fixed place.
    pub(super) fn outermost_class(object: &[u8]) -> Option<String> {
        let mut walk = Walk {
            input: object,
            handles: Vec::new(),
        };
        let begins = walk.number::<6>()? == [0xac, 0xed, 0, 5, 0x73, 0x72];
        begins.then(|| walk.utf()).flatten()
    }

    fn stream(&mut self) -> Option<Value> {
        (self.u16()? == 0xaced && self.u16()? == 5).then_some(())?;
        self.content(0)
    }

    /// The exception and its causes.
    fn chain(&self, mut index: usize) -> Vec<(String, Option<String>)> {
        let (mut out, mut seen) = (Vec::new(), Vec::new());
        while let Some(Handle::Object { class, message, cause }) = self.handles.get(index) {
            out.push((class.name.clone(), message.as_deref().map(str::to_owned)));
            seen.push(index);
            match cause {
                Some(next) if !seen.contains(next) && seen.len() < limits::FAILURE_CAUSES => index = *next,
                _ => break,
            }
        }
        out
    }

    /// What was understood before the walk got stuck: the outermost exception, and all that have a message.
    fn all(&self) -> Vec<(String, Option<String>)> {
        let objects = self.handles.iter().filter_map(|handle| match handle {
            Handle::Object { class, message, .. } => Some((class, message)),
            _ => None,
        });
        objects
            .enumerate()
            .filter(|(i, (_, message))| *i == 0 || message.is_some())
            .take(limits::FAILURE_CAUSES)
            .map(|(_, (class, message))| (class.name.clone(), message.as_deref().map(str::to_owned)))
            .collect()
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
