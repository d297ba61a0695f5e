//! CSV for `neo4j-admin database import full` of Neo4j 5.26 (docs/migration.md).
//!
//! Strings are always quoted and numbers never, so that an empty string differs from no value. Arrays are joined by
//! U+001F, the separator of units, which import.sh names.

use std::io::Write as _;

use super::{
    chunk::Chunk,
    encoder::Encoder,
    layout::{Layout, Layouts},
    loss::LossKind,
    reader::{Edge, Entity, Graph, ValueType},
};
use neo4j_format::store::value::{Kind, Value};

/// Between the elements of an array.
pub(super) const DELIMITER: char = '\u{1f}';

/// Rows for the files of nodes and relationships.
pub(super) struct Csv<'a> {
    pub(super) graph: &'a Graph,
    pub(super) has_labels: bool,
    pub(super) nodes: Layouts,
    pub(super) relationships: Layouts,
    /// Numbers of the first file of each kind.
    pub(super) first_node_file: usize,
    pub(super) first_relationship_file: usize,
}

/// The type of a column that holds values of this type; the importer knows no `char[]`.
pub(super) fn column_type(of: ValueType) -> ValueType {
    match of {
        ValueType::Array(Kind::Char) => ValueType::Texts,
        other => other,
    }
}

/// The header of a file of nodes.
pub(super) fn node_header(graph: &Graph, layout: &Layout, has_labels: bool) -> Vec<u8> {
    header(graph, layout, if has_labels { ":ID,:LABEL" } else { ":ID" })
}

/// The header of a file of relationships.
pub(super) fn relationship_header(graph: &Graph, layout: &Layout) -> Vec<u8> {
    header(graph, layout, ":START_ID,:END_ID,:TYPE")
}

fn header(graph: &Graph, layout: &Layout, first: &str) -> Vec<u8> {
    let mut row = first.as_bytes().to_vec();
    for (key, of) in &layout.columns {
        let name = graph.keys.get((*key).into()).map_or("", |name| name.text.as_str());
        row.push(b',');
        quote(&mut row, &format!("{name}:{of}"));
    }
    row.push(b'\n');
    row
}

impl Csv<'_> {
    /// Appends the properties to the row that `begin` begins, in the file of their signature.
    fn row(
        &self,
        chunk: &mut Chunk,
        (entity, layouts, first_file): (Entity, &Layouts, usize),
        properties: &[(u32, Value)],
        begin: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut signature = std::mem::take(&mut chunk.signature);
        signature.clear();
        for (key, value) in properties {
            let Some(name) = self.graph.keys.get((*key).into()) else {
                continue;
            };
            if name.fits_header {
                signature.push((*key, column_type(ValueType::of(value))));
            } else {
                chunk.lose(LossKind::KeyName, entity, Some(&name.text));
            }
        }
        let file = match &chunk.last_file {
            Some((last, file)) if *last == signature => *file,
            _ => {
                let file = chunk.file_of(&signature, layouts);
                chunk.last_file = Some((signature.clone(), file));
                file
            }
        };
        chunk.signature = signature;
        let file = file.expect("the first pass added the signatures of all entities");
        let layout = layouts.get(file).expect("the file was found among these");
        let mut row = std::mem::take(chunk.text(first_file + file));
        let start = row.len();
        begin(&mut row);
        for (key, of) in &layout.columns {
            row.push(b',');
            let found = properties.binary_search_by_key(key, |(key, _)| *key).ok();
            let Some((_, value)) = found.and_then(|place| properties.get(place)) else {
                continue;
            };
            debug_assert_eq!(column_type(ValueType::of(value)), *of);
            if let Some(kind) = field(&mut row, value) {
                let name = self.graph.keys.get((*key).into()).map(|name| name.text.as_str());
                chunk.lose(kind, entity, name);
            } else {
                chunk.counts.properties += 1;
            }
        }
        row.push(b'\n');
        let length = row.len() - start;
        *chunk.text(first_file + file) = row;
        chunk.wrote(length);
    }
}

impl Encoder for Csv<'_> {
    fn node(&self, chunk: &mut Chunk, id: u64, labels: &[&str], properties: &[(u32, Value)]) {
        let to = (Entity::Node(id), &self.nodes, self.first_node_file);
        let (good, bad): (Vec<&str>, Vec<&str>) = labels.iter().partition(|label| !label.contains(DELIMITER));
        if !bad.is_empty() {
            chunk.lose(LossKind::Label, Entity::Node(id), None);
        }
        self.row(chunk, to, properties, |row| {
            number(row, id);
            if self.has_labels {
                row.push(b',');
                if !good.is_empty() {
                    quote(row, &good.join("\u{1f}"));
                }
            }
        });
    }

    fn relationship(&self, chunk: &mut Chunk, id: u64, edge: &Edge, properties: &[(u32, Value)]) {
        let entity = Entity::Relationship(id);
        let Some(name) = self.graph.types.get(edge.type_id.into()) else {
            return;
        };
        if name.text.is_empty() || !name.is_exact {
            chunk.lose(LossKind::TypeName, entity, None);
            return;
        }
        let to = (entity, &self.relationships, self.first_relationship_file);
        self.row(chunk, to, properties, |row| {
            number(row, edge.start);
            row.push(b',');
            number(row, edge.end);
            row.push(b',');
            quote(row, &name.text);
        });
    }
}

/// Appends a value; or the reason why it is missing or changed.
fn field(row: &mut Vec<u8>, value: &Value) -> Option<LossKind> {
    match value {
        Value::Scalar(Kind::Char, bits) => {
            let unit = u32::try_from(*bits).ok().and_then(char::from_u32);
            quote(
                row,
                unit.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut [0; 4]),
            );
            return unit.is_none().then_some(LossKind::LoneSurrogate);
        }
        Value::Scalar(kind, bits) => scalar(row, *kind, *bits),
        Value::Text(text) => quote(row, text),
        Value::Utf16(units) => {
            quote(row, &String::from_utf16_lossy(units));
            return Some(LossKind::LoneSurrogate);
        }
        Value::Array(_, elements) if elements.is_empty() => return Some(LossKind::EmptyArray),
        Value::Array(Kind::Char, elements) => {
            let units: Vec<char> = (elements.iter())
                .map(|bits| u32::try_from(*bits).ok().and_then(char::from_u32))
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect();
            let texts: Vec<String> = units.into_iter().map(String::from).collect();
            return Some(texts_field(row, &texts).unwrap_or(LossKind::CharArray));
        }
        Value::Array(kind, elements) => {
            for (place, bits) in elements.iter().enumerate() {
                if place > 0 {
                    row.extend_from_slice("\u{1f}".as_bytes());
                }
                scalar(row, *kind, *bits);
            }
        }
        Value::Texts(texts) => return texts_field(row, texts),
        Value::Utf16s(texts) => {
            let texts: Vec<String> = texts.iter().map(|units| String::from_utf16_lossy(units)).collect();
            return Some(texts_field(row, &texts).unwrap_or(LossKind::LoneSurrogate));
        }
    }
    None
}

fn texts_field(row: &mut Vec<u8>, texts: &[String]) -> Option<LossKind> {
    match texts {
        [] => return Some(LossKind::EmptyArray),
        [one] if one.is_empty() => return Some(LossKind::OneEmptyString),
        _ if texts.iter().any(|text| text.contains(DELIMITER)) => return Some(LossKind::Delimiter),
        _ => {}
    }
    row.push(b'"');
    for (place, text) in texts.iter().enumerate() {
        if place > 0 {
            row.extend_from_slice("\u{1f}".as_bytes());
        }
        doubled(row, text);
    }
    row.push(b'"');
    None
}

fn scalar(row: &mut Vec<u8>, kind: Kind, bits: u64) {
    match kind {
        Kind::Byte | Kind::Short | Kind::Int | Kind::Long => {
            let _ = write!(row, "{}", signed(kind, bits));
        }
        _ => row.extend_from_slice(number_text(kind, bits).as_bytes()),
    }
}

/// A boolean or number as Java reads it.
pub(super) fn number_text(kind: Kind, bits: u64) -> String {
    match kind {
        Kind::Boolean => (bits & 1 == 1).to_string(),
        Kind::Float => float(f32::from_bits(low(bits)), f32::is_nan, f32::is_infinite),
        Kind::Double => float(f64::from_bits(bits), f64::is_nan, f64::is_infinite),
        Kind::Char => low(bits).to_string(),
        Kind::Byte | Kind::Short | Kind::Int | Kind::Long => signed(kind, bits).to_string(),
    }
}

/// The number that these bits of an integer type are.
pub(super) fn signed(kind: Kind, bits: u64) -> i64 {
    let unused = 64 - kind.width();
    (bits << unused).cast_signed() >> unused
}

fn low(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default()
}

fn float<T: Copy + PartialOrd + Default + std::fmt::Debug>(
    value: T,
    is_nan: fn(T) -> bool,
    is_infinite: fn(T) -> bool,
) -> String {
    if is_nan(value) {
        return "NaN".to_owned();
    }
    if is_infinite(value) {
        return if value < T::default() { "-Infinity" } else { "Infinity" }.to_owned();
    }
    // the shortest digits that give the same bits, with an exponent where they would be many
    format!("{value:?}")
}

fn number(row: &mut Vec<u8>, number: u64) {
    // a vector takes everything
    let _ = write!(row, "{number}");
}

/// Appends a quoted text.
pub(super) fn quote(row: &mut Vec<u8>, text: &str) {
    row.push(b'"');
    doubled(row, text);
    row.push(b'"');
}

/// Appends text with its quotes doubled.
fn doubled(row: &mut Vec<u8>, text: &str) {
    let mut parts = text.split('"');
    row.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        row.extend_from_slice(b"\"\"");
        row.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(value: &Value) -> (String, Option<LossKind>) {
        let mut row = Vec::new();
        let loss = field(&mut row, value);
        (String::from_utf8(row).unwrap(), loss)
    }

    #[test]
    fn values_are_written_as_the_importer_reads_them() {
        let float = |value: f32| Value::scalar(Kind::Float, value.to_bits().into());
        let double = |value: f64| Value::scalar(Kind::Double, value.to_bits());
        for (value, text) in [
            (Value::scalar(Kind::Boolean, 1), "true"),
            (Value::scalar(Kind::Byte, 0x80), "-128"),
            (Value::scalar(Kind::Short, 0xFFFF), "-1"),
            (Value::int(i32::MIN), "-2147483648"),
            (Value::long(i64::MIN), "-9223372036854775808"),
            (Value::scalar(Kind::Char, 0x22), "\"\"\"\""),
            (float(0.1), "0.1"),
            (float(-0.0), "-0.0"),
            (float(f32::MIN_POSITIVE), "1.1754944e-38"),
            (double(f64::MAX), "1.7976931348623157e308"),
            (double(f64::NAN), "NaN"),
            (double(f64::NEG_INFINITY), "-Infinity"),
            (float(f32::INFINITY), "Infinity"),
            (Value::text("a \"b\"\n,"), "\"a \"\"b\"\"\n,\""),
            (Value::text(""), "\"\""),
            (Value::array(Kind::Boolean, [1, 0]), "true\u{1f}false"),
            (Value::array(Kind::Byte, [1, 0xFF]), "1\u{1f}-1"),
            (Value::Texts(vec!["\"".into(), String::new()]), "\"\"\"\u{1f}\""),
        ] {
            assert_eq!(text_of(&value), (text.to_owned(), None), "{value:?}");
        }
    }

    #[test]
    fn what_the_importer_cannot_hold_is_a_loss() {
        for (value, text, loss) in [
            (Value::array(Kind::Int, []), "", LossKind::EmptyArray),
            (Value::Texts(vec![]), "", LossKind::EmptyArray),
            (Value::Texts(vec![String::new()]), "", LossKind::OneEmptyString),
            (Value::Texts(vec!["a\u{1f}".into()]), "", LossKind::Delimiter),
            (Value::array(Kind::Char, [0x1F]), "", LossKind::Delimiter),
            (
                Value::array(Kind::Char, [0x61, 0x62]),
                "\"a\u{1f}b\"",
                LossKind::CharArray,
            ),
            (Value::Utf16(vec![0xD800]), "\"\u{fffd}\"", LossKind::LoneSurrogate),
            (
                Value::Utf16s(vec![vec![0xD800]]),
                "\"\u{fffd}\"",
                LossKind::LoneSurrogate,
            ),
            (
                Value::scalar(Kind::Char, 0xDC00),
                "\"\u{fffd}\"",
                LossKind::LoneSurrogate,
            ),
        ] {
            assert_eq!(text_of(&value), (text.to_owned(), Some(loss)), "{value:?}");
        }
    }
}
