//! What a sandbox database holds, in the words of `tests/peers/Dump.java`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::{Contents, Release};
use neo4j_format::store::index_config::IndexKind;
use neo4j_sandbox::{
    database::{Contents as Model, Entry, Properties},
    value::{Kind, Value},
};

/// What `release` shows of a database with these contents.
pub fn as_seen_by(release: Release, model: &Model) -> Contents {
    Contents::parse(&dump_of(release, model))
}

/// The same as the text that the driver would write, but for the digits of floating-point numbers.
pub fn dump_of(release: Release, model: &Model) -> String {
    let mut text = "SEQ 0\nINDEX-SEQ 0\n".to_owned();
    // 1.6 has properties of the graph, but the driver cannot get at them
    if release >= Release::V1_7_2 {
        let _ = writeln!(text, "G {}", properties(&model.graph));
    }
    for (id, node) in &model.nodes {
        let incoming: Vec<String> = model
            .relationships
            .iter()
            .filter(|(_, edge)| edge.end == *id)
            .map(|(id, _)| id.to_string())
            .collect();
        let _ = writeln!(text, "N {id} {} <- [{}]", properties(node), incoming.join(", "));
    }
    for (id, edge) in &model.relationships {
        let _ = writeln!(
            text,
            "R {id} {} {}->{} {}",
            edge.kind,
            edge.start,
            edge.end,
            properties(&edge.properties)
        );
    }
    let _ = writeln!(text, "COUNT {} {}", model.nodes.len(), model.relationships.len());
    for (index, entries) in model.indexes.entries() {
        let (label, exists): (_, &dyn Fn(i64) -> bool) = match index.kind {
            IndexKind::Node => ("IN", &|id| model.nodes.contains_key(&id.cast_unsigned())),
            IndexKind::Relationship => ("IR", &|id| model.relationships.contains_key(&id.cast_unsigned())),
        };
        for (query, ids) in hits(entries, exists) {
            let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
            let _ = writeln!(text, "{label} {} {query} [{}]", index.name, ids.join(", "));
        }
    }
    text
}

/// Hits of the prefix queries, of entities that exist.
fn hits(entries: &BTreeMap<i64, Entry>, exists: &dyn Fn(i64) -> bool) -> BTreeMap<String, BTreeSet<i64>> {
    let mut hits: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for (id, entry) in entries.iter().filter(|(id, _)| exists(**id)) {
        for (key, words) in entry {
            for word in words {
                for prefix in ["", word.get(..2).unwrap()] {
                    hits.entry(format!("{key}:{prefix}*")).or_default().insert(*id);
                }
            }
        }
    }
    hits
}

/// Properties as the driver writes them.
pub fn properties(properties: &Properties) -> String {
    let all: Vec<String> = properties
        .iter()
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect();
    format!("{{{}}}", all.join(", "))
}

fn text(value: &Value) -> String {
    match value {
        Value::Scalar(kind, bits) => format!("{}:{}", boxed(*kind), number(*kind, *bits)),
        Value::Text(text) => format!("String:{}", ascii(text.encode_utf16())),
        Value::Array(kind, elements) => {
            let all: Vec<String> = elements.iter().map(|bits| number(*kind, *bits)).collect();
            format!("{}[{}]", primitive(*kind), all.join(","))
        }
        Value::Texts(texts) => {
            let all: Vec<String> = texts.iter().map(|text| ascii(text.encode_utf16())).collect();
            format!("String[{}]", all.join(","))
        }
        Value::Utf16(units) => format!("String:{}", ascii(units.iter().copied())),
        Value::Utf16s(texts) => {
            let all: Vec<String> = texts.iter().map(|units| ascii(units.iter().copied())).collect();
            format!("String[{}]", all.join(","))
        }
    }
}

fn boxed(kind: Kind) -> &'static str {
    match kind {
        Kind::Boolean => "Boolean",
        Kind::Byte => "Byte",
        Kind::Short => "Short",
        Kind::Char => "Character",
        Kind::Int => "Integer",
        Kind::Long => "Long",
        Kind::Float => "Float",
        Kind::Double => "Double",
    }
}

fn primitive(kind: Kind) -> &'static str {
    match kind {
        Kind::Boolean => "boolean",
        Kind::Byte => "byte",
        Kind::Short => "short",
        Kind::Char => "char",
        Kind::Int => "int",
        Kind::Long => "long",
        Kind::Float => "float",
        Kind::Double => "double",
    }
}

fn number(kind: Kind, bits: u64) -> String {
    let low = |bits: u64| u32::try_from(bits).unwrap();
    match kind {
        Kind::Boolean => (bits == 1).to_string(),
        Kind::Byte => u8::try_from(bits).unwrap().cast_signed().to_string(),
        Kind::Short => u16::try_from(bits).unwrap().cast_signed().to_string(),
        Kind::Char => ascii([u16::try_from(bits).unwrap()]),
        Kind::Int => low(bits).cast_signed().to_string(),
        Kind::Long => bits.cast_signed().to_string(),
        Kind::Float => format!("{:?}", f32::from_bits(low(bits))),
        Kind::Double => format!("{:?}", f64::from_bits(bits)),
    }
}

/// Text as the driver writes it.
pub fn ascii(units: impl IntoIterator<Item = u16>) -> String {
    let mut text = String::new();
    for unit in units {
        match u8::try_from(unit) {
            Ok(byte @ b' '..=b'~') if byte != b'\\' => text.push(byte.into()),
            _ => {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}
