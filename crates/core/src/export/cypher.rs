//! Cypher statements, for small graphs: readable, and slow to run (docs/migration.md).
//!
//! Each node is created with a label and a property of its own, by which relationships find it; the last statements
//! remove both. Cypher has 64-bit numbers and no characters, so other types become wider ones.

use std::fmt::Write as _;

use super::{
    chunk::Chunk,
    csv::{number_text, signed},
    encoder::{Encoder, key_name},
    loss::LossKind,
    reader::{Edge, Entity, Graph},
};
use neo4j_format::store::value::{Kind, Value};

/// Label and property by which relationships find nodes.
const MARK: &str = "`neo4j-backup import`";

/// Whether the last statements would remove it.
fn is_mark(name: &str) -> bool {
    MARK.trim_matches('`') == name
}

/// Statements before the nodes.
pub(super) const BEGIN: &str = "\
// cypher-shell -f graph.cypher
CREATE CONSTRAINT `neo4j-backup import` FOR (n:`neo4j-backup import`) REQUIRE n.`neo4j-backup import` IS UNIQUE;
";

/// Statements after the relationships.
pub(super) const END: &str = "\
DROP CONSTRAINT `neo4j-backup import`;
MATCH (n:`neo4j-backup import`) CALL { WITH n REMOVE n:`neo4j-backup import`, n.`neo4j-backup import` } IN TRANSACTIONS OF 1000 ROWS;
";

/// Statements for one file.
pub(super) struct Cypher<'a> {
    pub(super) graph: &'a Graph,
    pub(super) file: usize,
}

impl Encoder for Cypher<'_> {
    fn node(&self, chunk: &mut Chunk, id: u64, labels: &[&str], properties: &[(u32, Value)]) {
        let mut line = format!("CREATE (:{MARK}");
        for label in labels {
            if is_mark(label) {
                chunk.lose(LossKind::Label, Entity::Node(id), None);
                continue;
            }
            line.push(':');
            name(&mut line, label);
        }
        let _ = write!(line, " {{{MARK}: {id}");
        self.properties(chunk, Entity::Node(id), &mut line, ", ", properties);
        line.push_str("});\n");
        chunk.text(self.file).extend_from_slice(line.as_bytes());
        chunk.wrote(line.len());
    }

    fn relationship(&self, chunk: &mut Chunk, id: u64, edge: &Edge, properties: &[(u32, Value)]) {
        let entity = Entity::Relationship(id);
        let Some(of) = self.graph.types.get(edge.type_id.into()) else {
            return;
        };
        if of.text.is_empty() || !of.is_exact {
            chunk.lose(LossKind::TypeName, entity, None);
            return;
        }
        let mut line = format!(
            "MATCH (a:{MARK} {{{MARK}: {}}}), (b:{MARK} {{{MARK}: {}}}) CREATE (a)-[:",
            edge.start, edge.end
        );
        name(&mut line, &of.text);
        line.push_str(" {");
        self.properties(chunk, entity, &mut line, "", properties);
        line.push_str("}]->(b);\n");
        chunk.text(self.file).extend_from_slice(line.as_bytes());
        chunk.wrote(line.len());
    }
}

impl Cypher<'_> {
    fn properties(
        &self,
        chunk: &mut Chunk,
        entity: Entity,
        line: &mut String,
        before: &str,
        properties: &[(u32, Value)],
    ) {
        let mut separator = before;
        for (key, value) in properties {
            let text = key_name(self.graph, *key);
            let is_exact = self.graph.keys.get((*key).into()).is_some_and(|name| name.is_exact);
            if text.is_empty() || !is_exact || is_mark(text) {
                chunk.lose(LossKind::KeyName, entity, Some(text));
                continue;
            }
            let (literal, loss) = literal(value);
            match loss {
                Some(kind) => chunk.lose(kind, entity, Some(text)),
                None => chunk.counts.properties += 1,
            }
            if let Some(literal) = literal {
                line.push_str(separator);
                name(line, text);
                line.push_str(": ");
                line.push_str(&literal);
                separator = ", ";
            }
        }
    }
}

/// The expression for a value, and why it is missing or changed.
fn literal(value: &Value) -> (Option<String>, Option<LossKind>) {
    let is_narrow = |kind: Kind| !matches!(kind, Kind::Boolean | Kind::Long | Kind::Double);
    let narrow = |kind: Kind| is_narrow(kind).then_some(LossKind::WiderType);
    match value {
        Value::Scalar(Kind::Char, bits) => {
            let one = character(*bits);
            let loss = one.map_or(LossKind::LoneSurrogate, |_| LossKind::WiderType);
            let text = one.unwrap_or(char::REPLACEMENT_CHARACTER).to_string();
            (Some(string(&text)), Some(loss))
        }
        Value::Scalar(kind, bits) => (Some(scalar(*kind, *bits)), narrow(*kind)),
        Value::Text(text) => (Some(string(text)), None),
        Value::Utf16(units) => (
            Some(string(&String::from_utf16_lossy(units))),
            Some(LossKind::LoneSurrogate),
        ),
        Value::Array(_, elements) if elements.is_empty() => (None, Some(LossKind::EmptyArray)),
        Value::Array(Kind::Char, elements) => {
            let is_text = elements.iter().all(|bits| character(*bits).is_some());
            let texts = elements
                .iter()
                .map(|bits| string(&character(*bits).unwrap_or(char::REPLACEMENT_CHARACTER).to_string()));
            let loss = if is_text {
                LossKind::CharArray
            } else {
                LossKind::LoneSurrogate
            };
            (Some(list(texts)), Some(loss))
        }
        Value::Array(kind, elements) => {
            let elements = elements.iter().map(|bits| scalar(*kind, *bits));
            (Some(list(elements)), narrow(*kind))
        }
        Value::Texts(texts) if texts.is_empty() => (None, Some(LossKind::EmptyArray)),
        Value::Texts(texts) => (Some(list(texts.iter().map(|text| string(text)))), None),
        Value::Utf16s(texts) => {
            let texts = texts.iter().map(|units| string(&String::from_utf16_lossy(units)));
            (Some(list(texts)), Some(LossKind::LoneSurrogate))
        }
    }
}

fn list(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(", "))
}

fn character(bits: u64) -> Option<char> {
    u32::try_from(bits).ok().and_then(char::from_u32)
}

fn scalar(kind: Kind, bits: u64) -> String {
    let value = match kind {
        Kind::Float => f64::from(f32::from_bits(u32::try_from(bits).unwrap_or_default())),
        Kind::Double => f64::from_bits(bits),
        // its absolute value is not a literal
        Kind::Long if signed(kind, bits) == i64::MIN => return "(-9223372036854775807 - 1)".to_owned(),
        _ => return number_text(kind, bits),
    };
    match value {
        _ if value.is_nan() => "(0.0 / 0.0)".to_owned(),
        _ if value == f64::INFINITY => "(1.0 / 0.0)".to_owned(),
        _ if value == f64::NEG_INFINITY => "(-1.0 / 0.0)".to_owned(),
        _ => format!("{value:?}"),
    }
}

/// A name in backticks. Cypher decodes `\uXXXX` there too, and no other escape.
fn name(line: &mut String, text: &str) {
    line.push('`');
    for one in text.chars() {
        match one {
            '`' => line.push_str("``"),
            one if one == '\\' || one.is_control() => unicode(line, one),
            one => line.push(one),
        }
    }
    line.push('`');
}

fn unicode(text: &mut String, one: char) {
    let _ = write!(text, "\\u{:04X}", u32::from(one));
}

fn string(text: &str) -> String {
    let mut all = "'".to_owned();
    for one in text.chars() {
        match one {
            '\'' => all.push_str("\\'"),
            '\\' => all.push_str("\\\\"),
            '\n' => all.push_str("\\n"),
            '\r' => all.push_str("\\r"),
            '\t' => all.push_str("\\t"),
            one if one.is_control() => unicode(&mut all, one),
            one => all.push(one),
        }
    }
    all.push('\'');
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_expressions_and_narrow_types_are_losses() {
        for (value, text, loss) in [
            (Value::long(-5), Some("-5"), None),
            (Value::long(i64::MIN), Some("(-9223372036854775807 - 1)"), None),
            (Value::int(1), Some("1"), Some(LossKind::WiderType)),
            (
                Value::scalar(Kind::Float, 0.1_f32.to_bits().into()),
                Some("0.10000000149011612"),
                Some(LossKind::WiderType),
            ),
            (Value::text("it's\n\u{1}"), Some("'it\\'s\\n\\u0001'"), None),
            (Value::Texts(vec!["a".into(), String::new()]), Some("['a', '']"), None),
            (Value::Texts(vec![]), None, Some(LossKind::EmptyArray)),
            (Value::scalar(Kind::Char, 0x61), Some("'a'"), Some(LossKind::WiderType)),
        ] {
            assert_eq!(literal(&value), (text.map(str::to_owned), loss), "{value:?}");
        }
        let mut line = String::new();
        name(&mut line, "a`b\\u0041\n");
        assert_eq!(line, "`a``b\\u005Cu0041\\u000A`");
    }
}
