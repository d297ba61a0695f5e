//! One JSON object a line, with explicit types, for any other tool (docs/migration.md).
//!
//! ```text
//! nodes.jsonl          {"id":7,"labels":["A"],"properties":{"age":{"type":"int","value":42}}}
//! relationships.jsonl  {"id":3,"type":"KNOWS","start":7,"end":0,"properties":{}}
//! graph.jsonl          {"properties":{}}
//! ```
//!
//! A `long` is a string, since many readers of JSON have 53 bits, and so are NaN and the infinities. A text that is not
//! Unicode is an array of its UTF-16 units, as `utf16`.

use std::fmt::Write as _;

use super::{
    chunk::Chunk,
    csv::number_text,
    encoder::{Encoder, key_name},
    loss::LossKind,
    reader::{Edge, Entity, Graph, ValueType},
};
use neo4j_format::store::value::{Kind, Value};

/// Lines for the two files.
pub(super) struct Jsonl<'a> {
    pub(super) graph: &'a Graph,
    pub(super) node_file: usize,
    pub(super) relationship_file: usize,
}

impl Encoder for Jsonl<'_> {
    fn node(&self, chunk: &mut Chunk, id: u64, labels: &[&str], properties: &[(u32, Value)]) {
        let mut line = format!("{{\"id\":{id},\"labels\":[");
        for (place, label) in labels.iter().enumerate() {
            if place > 0 {
                line.push(',');
            }
            string(&mut line, label);
        }
        line.push_str("],\"properties\":");
        self.end(chunk, (Entity::Node(id), self.node_file), line, properties);
    }

    fn relationship(&self, chunk: &mut Chunk, id: u64, edge: &Edge, properties: &[(u32, Value)]) {
        let entity = Entity::Relationship(id);
        let Some(name) = self.graph.types.get(edge.type_id.into()) else {
            return;
        };
        if !name.is_exact {
            chunk.lose(LossKind::TypeName, entity, None);
        }
        let mut line = format!("{{\"id\":{id},\"type\":");
        string(&mut line, &name.text);
        let _ = write!(line, ",\"start\":{},\"end\":{},\"properties\":", edge.start, edge.end);
        self.end(chunk, (entity, self.relationship_file), line, properties);
    }
}

impl Jsonl<'_> {
    fn end(&self, chunk: &mut Chunk, (entity, file): (Entity, usize), mut line: String, properties: &[(u32, Value)]) {
        for (key, _) in properties {
            let is_exact = self.graph.keys.get((*key).into()).is_some_and(|name| name.is_exact);
            if is_exact {
                chunk.counts.properties += 1;
            } else {
                chunk.lose(LossKind::KeyName, entity, Some(key_name(self.graph, *key)));
            }
        }
        object(&mut line, self.graph, properties);
        line.push_str("}\n");
        chunk.text(file).extend_from_slice(line.as_bytes());
        chunk.wrote(line.len());
    }
}

/// The line of the properties of the graph itself.
pub(super) fn graph_line(graph: &Graph, properties: &[(u32, Value)]) -> String {
    let mut line = "{\"properties\":".to_owned();
    object(&mut line, graph, properties);
    line.push_str("}\n");
    line
}

fn object(line: &mut String, graph: &Graph, properties: &[(u32, Value)]) {
    line.push('{');
    for (place, (key, value)) in properties.iter().enumerate() {
        if place > 0 {
            line.push(',');
        }
        string(line, key_name(graph, *key));
        line.push(':');
        typed(line, value);
    }
    line.push('}');
}

/// A value with its type.
fn typed(line: &mut String, value: &Value) {
    line.push_str("{\"type\":\"");
    line.push_str(ValueType::of(value).name());
    let name = match value {
        Value::Utf16(_) | Value::Utf16s(_) => "utf16",
        Value::Scalar(Kind::Char, bits) if character(*bits).is_none() => "utf16",
        Value::Array(Kind::Char, elements) if elements.iter().any(|bits| character(*bits).is_none()) => "utf16",
        _ => "value",
    };
    line.push_str("\",\"");
    line.push_str(name);
    line.push_str("\":");
    match value {
        Value::Scalar(Kind::Char, bits) if name == "utf16" => list(line, &[*bits], |line, bits| push(line, *bits)),
        Value::Array(Kind::Char, elements) if name == "utf16" => list(line, elements, |line, bits| push(line, *bits)),
        Value::Scalar(kind, bits) => scalar(line, *kind, *bits),
        Value::Array(kind, elements) => list(line, elements, |line, bits| scalar(line, *kind, *bits)),
        Value::Text(text) => string(line, text),
        Value::Texts(texts) => list(line, texts, |line, text| string(line, text)),
        Value::Utf16(units) => list(line, units, |line, unit| push(line, u64::from(*unit))),
        Value::Utf16s(texts) => list(line, texts, |line, units| {
            list(line, units, |line, unit| push(line, u64::from(*unit)));
        }),
    }
    line.push('}');
}

/// The same as a document.
pub(crate) fn typed_json(value: &Value) -> serde_json::Value {
    let mut line = String::new();
    typed(&mut line, value);
    serde_json::from_str(&line).expect("what was just written is JSON")
}

fn push(line: &mut String, number: u64) {
    line.push_str(&number.to_string());
}

fn list<T>(line: &mut String, elements: &[T], one: impl Fn(&mut String, &T)) {
    line.push('[');
    for (place, element) in elements.iter().enumerate() {
        if place > 0 {
            line.push(',');
        }
        one(line, element);
    }
    line.push(']');
}

fn character(bits: u64) -> Option<char> {
    u32::try_from(bits).ok().and_then(char::from_u32)
}

fn scalar(line: &mut String, kind: Kind, bits: u64) {
    let text = match kind {
        Kind::Char => return string(line, character(bits).unwrap_or_default().encode_utf8(&mut [0; 4])),
        _ => number_text(kind, bits),
    };
    let is_json = kind != Kind::Long && !text.ends_with(['N', 'y']);
    if is_json {
        line.push_str(&text);
    } else {
        string(line, &text);
    }
}

/// Appends a string of JSON.
fn string(line: &mut String, text: &str) {
    line.push('"');
    for one in text.chars() {
        match one {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            // line separators of some readers, besides the control characters
            '\0'..='\u{1f}' | '\u{7f}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(line, "\\u{:04x}", u32::from(one));
            }
            _ => line.push(one),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_types() {
        for (value, text) in [
            (Value::int(-1), r#"{"type":"int","value":-1}"#),
            (Value::long(1), r#"{"type":"long","value":"1"}"#),
            (Value::scalar(Kind::Boolean, 1), r#"{"type":"boolean","value":true}"#),
            (Value::scalar(Kind::Char, 0x22), r#"{"type":"char","value":"\""}"#),
            (Value::scalar(Kind::Char, 0xD800), r#"{"type":"char","utf16":[55296]}"#),
            (
                Value::scalar(Kind::Double, f64::INFINITY.to_bits()),
                r#"{"type":"double","value":"Infinity"}"#,
            ),
            (
                Value::scalar(Kind::Float, 1.5_f32.to_bits().into()),
                r#"{"type":"float","value":1.5}"#,
            ),
            (
                Value::array(Kind::Double, [f64::NAN.to_bits()]),
                r#"{"type":"double[]","value":["NaN"]}"#,
            ),
            (Value::array(Kind::Int, []), r#"{"type":"int[]","value":[]}"#),
            (Value::text("a\n\u{1}\\"), r#"{"type":"string","value":"a\n\u0001\\"}"#),
            (
                Value::Utf16s(vec![vec![0x61], vec![0xDC00]]),
                r#"{"type":"string[]","utf16":[[97],[56320]]}"#,
            ),
        ] {
            let mut line = String::new();
            typed(&mut line, &value);
            assert_eq!(line, text);
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    }
}
