//! Exports read back into the model of a database, independently of the code that wrote them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use flate2::read::MultiGzDecoder;
use neo4j_sandbox::{
    database::{Contents as Model, Edge, Properties},
    value::{Kind, Value},
};
use serde_json::Value as Json;

/// What an export holds; relationships without ids are numbered from 0 in the order of the files.
#[derive(Debug, Default)]
pub struct Exported {
    pub model: Model,
    pub labels: BTreeMap<u64, Vec<String>>,
}

/// The text of a file, which may be compressed.
fn text(path: &Path) -> String {
    let mut text = String::new();
    let mut file = File::open(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        file.read_to_string(&mut text).unwrap();
    }
    text
}

/// The files whose names begin like this, in the order in which they were made.
fn files(dir: &Path, begin: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(begin))
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names.iter().map(|name| text(&dir.join(name))).collect()
}

impl Exported {
    /// Reads `-format jsonl`.
    pub fn from_jsonl(dir: &Path) -> Exported {
        let mut found = Exported::default();
        let lines = |begin: &str| -> Vec<Json> {
            let all = files(dir, begin);
            let lines = all.iter().flat_map(|text| text.lines());
            lines.map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        for line in lines("nodes") {
            let id = line["id"].as_u64().unwrap();
            let labels = line["labels"].as_array().unwrap().iter();
            let labels = labels.map(|label| label.as_str().unwrap().to_owned()).collect();
            found.labels.insert(id, labels);
            let before = found.model.nodes.insert(id, json_properties(&line["properties"]));
            assert!(before.is_none(), "node {id} twice");
        }
        for line in lines("relationships") {
            let edge = Edge {
                kind: line["type"].as_str().unwrap().to_owned(),
                start: line["start"].as_u64().unwrap(),
                end: line["end"].as_u64().unwrap(),
                properties: json_properties(&line["properties"]),
            };
            let id = line["id"].as_u64().unwrap();
            let before = found.model.relationships.insert(id, edge);
            assert!(before.is_none(), "relationship {id} twice");
        }
        found.model.graph = json_properties(&lines("graph")[0]["properties"]);
        found
    }

    /// Reads `-format neo4j-admin`.
    pub fn from_csv(dir: &Path) -> Exported {
        let mut found = Exported::default();
        for text in files(dir, "nodes") {
            for row in rows(&text) {
                let id = row[":ID"].parse().unwrap();
                if let Some(labels) = row.get(":LABEL") {
                    let labels = labels.split('\u{1f}').map(str::to_owned).collect();
                    found.labels.insert(id, labels);
                }
                let before = found.model.nodes.insert(id, csv_properties(&row));
                assert!(before.is_none(), "node {id} twice");
            }
        }
        for text in files(dir, "relationships") {
            for row in rows(&text) {
                let edge = Edge {
                    kind: row[":TYPE"].clone(),
                    start: row[":START_ID"].parse().unwrap(),
                    end: row[":END_ID"].parse().unwrap(),
                    properties: csv_properties(&row),
                };
                let id = found.model.relationships.len() as u64;
                found.model.relationships.insert(id, edge);
            }
        }
        found
    }
}

/// Rows by the names of their columns, without fields that have no value.
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut records = records(text).into_iter();
    let header = records.next().unwrap();
    records
        .map(|record| {
            assert_eq!(record.len(), header.len(), "{record:?}");
            let fields = header.iter().zip(record);
            let fields = fields.filter_map(|(name, field)| Some((name.clone()?, field?)));
            fields.collect()
        })
        .collect()
}

/// Fields; one that is empty and not quoted has no value.
fn records(text: &str) -> Vec<Vec<Option<String>>> {
    let (mut records, mut record) = (Vec::new(), Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        let mut field = None;
        if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut value = String::new();
            loop {
                let (part, behind) = quoted.split_once('"').unwrap();
                value.push_str(part);
                let Some(more) = behind.strip_prefix('"') else {
                    rest = behind;
                    break;
                };
                value.push('"');
                quoted = more;
            }
            field = Some(value);
        } else {
            let end = rest.find([',', '\n']).unwrap();
            if end > 0 {
                field = Some(rest[..end].to_owned());
            }
            rest = &rest[end..];
        }
        record.push(field);
        let is_end = rest.starts_with('\n');
        rest = &rest[1..];
        if is_end {
            records.push(std::mem::take(&mut record));
        }
    }
    records
}

fn csv_properties(row: &BTreeMap<String, String>) -> Properties {
    let columns = row
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), ":ID" | ":LABEL" | ":TYPE" | ":START_ID" | ":END_ID"));
    columns
        .map(|(name, text)| {
            let (key, of) = name.rsplit_once(':').unwrap();
            let value = match of.strip_suffix("[]") {
                Some("string") => Value::Texts(text.split('\u{1f}').map(str::to_owned).collect()),
                Some(of) => {
                    let kind = kind(of);
                    Value::array(kind, text.split('\u{1f}').map(|text| bits(kind, text)))
                }
                None if of == "string" => Value::text(text),
                None => Value::scalar(kind(of), bits(kind(of), text)),
            };
            (key.to_owned(), value)
        })
        .collect()
}

fn json_properties(properties: &Json) -> Properties {
    let properties = properties.as_object().unwrap();
    properties
        .iter()
        .map(|(key, typed)| {
            let (of, value) = (typed["type"].as_str().unwrap(), &typed["value"]);
            if let Some(units) = typed.get("utf16") {
                return (key.clone(), utf16(of, units));
            }
            let list = || value.as_array().unwrap().iter();
            let value = match of.strip_suffix("[]") {
                Some("string") => Value::Texts(list().map(|text| text.as_str().unwrap().to_owned()).collect()),
                Some(of) => Value::array(kind(of), list().map(|value| json_bits(kind(of), value))),
                None if of == "string" => Value::text(value.as_str().unwrap()),
                None => Value::scalar(kind(of), json_bits(kind(of), value)),
            };
            (key.clone(), value)
        })
        .collect()
}

/// A value that is not Unicode text.
fn utf16(of: &str, list: &Json) -> Value {
    let units = |list: &Json| -> Vec<u16> {
        let list = list.as_array().unwrap().iter();
        list.map(|unit| u16::try_from(unit.as_u64().unwrap()).unwrap())
            .collect()
    };
    match of {
        "string" => Value::Utf16(units(list)),
        "string[]" => Value::Utf16s(list.as_array().unwrap().iter().map(units).collect()),
        "char" => Value::scalar(Kind::Char, units(list)[0].into()),
        "char[]" => Value::array(Kind::Char, units(list).into_iter().map(u64::from)),
        _ => panic!("utf16 of {of}"),
    }
}

fn json_bits(kind: Kind, value: &Json) -> u64 {
    match value {
        Json::String(text) => bits(kind, text),
        other => bits(kind, &other.to_string()),
    }
}

fn bits(kind: Kind, text: &str) -> u64 {
    match kind {
        Kind::Boolean => text.parse::<bool>().unwrap().into(),
        Kind::Char => {
            let mut characters = text.chars();
            let found = characters.next().unwrap();
            assert_eq!(characters.next(), None, "{text:?}");
            u32::from(found).into()
        }
        Kind::Float => text.parse::<f32>().unwrap().to_bits().into(),
        Kind::Double => text.parse::<f64>().unwrap().to_bits(),
        Kind::Byte | Kind::Short | Kind::Int | Kind::Long => {
            let number: i64 = text.parse().unwrap();
            let unused = 64 - kind.width();
            assert_eq!(number << unused >> unused, number, "{text} for {kind:?}");
            number.cast_unsigned()
        }
    }
}

fn kind(name: &str) -> Kind {
    match name {
        "boolean" => Kind::Boolean,
        "byte" => Kind::Byte,
        "short" => Kind::Short,
        "char" => Kind::Char,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        _ => panic!("type {name}"),
    }
}

/// What is left of a database after `-format neo4j-admin -lossy` (`docs/migration.md`), and how many losses there are.
pub fn as_imported(model: &Model) -> (Model, u64) {
    kept(model, |_, value| imported_value(value))
}

/// What `-format cypher -lossy` makes of a database (`docs/migration.md`), and how many losses there are.
pub fn as_cypher(model: &Model) -> (Model, u64) {
    kept(model, |key, value| {
        (!key.is_empty()).then(|| cypher_value(value)).flatten()
    })
}

/// The model of which `keep` says what becomes of each property, and how many losses there are; properties of the graph
/// are lost.
fn kept(model: &Model, keep: impl Fn(&str, &Value) -> Option<Value>) -> (Model, u64) {
    let mut losses = model.graph.len() as u64;
    let mut properties = |properties: &Properties| -> Properties {
        let kept = properties.iter().filter_map(|(key, value)| {
            let kept = keep(key, value);
            if kept.as_ref() != Some(value) {
                losses += 1;
            }
            Some((key.clone(), kept?))
        });
        kept.collect()
    };
    let nodes = model.nodes.iter().map(|(id, all)| (*id, properties(all))).collect();
    let relationships = model.relationships.iter().map(|(id, edge)| {
        let edge = Edge {
            properties: properties(&edge.properties),
            ..edge.clone()
        };
        (*id, edge)
    });
    let kept = Model {
        relationships: relationships.collect(),
        nodes,
        ..Model::default()
    };
    (kept, losses)
}

/// The importer has no arrays that are empty or have one empty string, and no arrays of characters.
fn imported_value(value: &Value) -> Option<Value> {
    let texts = |texts: &[String]| {
        let is_lost = texts.is_empty() || texts == [String::new()] || texts.iter().any(|text| text.contains('\u{1f}'));
        (!is_lost).then(|| Value::Texts(texts.to_vec()))
    };
    match value {
        Value::Array(_, elements) if elements.is_empty() => None,
        Value::Array(Kind::Char, elements) => {
            let characters = elements.iter().map(|bits| u16::try_from(*bits).unwrap());
            texts(
                &characters
                    .map(|unit| String::from_utf16_lossy(&[unit]))
                    .collect::<Vec<_>>(),
            )
        }
        Value::Texts(all) => texts(all),
        Value::Utf16(units) => Some(Value::Text(String::from_utf16_lossy(units))),
        Value::Utf16s(all) => {
            let all: Vec<String> = all.iter().map(|units| String::from_utf16_lossy(units)).collect();
            texts(&all)
        }
        Value::Scalar(Kind::Char, bits) => {
            let unit = u32::try_from(*bits).unwrap();
            let text = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
            Some(Value::scalar(Kind::Char, u32::from(text).into()))
        }
        other => Some(other.clone()),
    }
}

/// Cypher has 64-bit numbers, strings and lists of one of them.
fn cypher_value(value: &Value) -> Option<Value> {
    let text = |bits: u64| String::from_utf16_lossy(&[u16::try_from(bits).unwrap()]);
    let wider = |kind: Kind, bits: u64| match kind {
        Kind::Float => (
            Kind::Double,
            f64::from(f32::from_bits(u32::try_from(bits).unwrap())).to_bits(),
        ),
        Kind::Byte | Kind::Short | Kind::Int => {
            let unused = 64 - kind.width();
            (Kind::Long, ((bits << unused).cast_signed() >> unused).cast_unsigned())
        }
        other => (other, bits),
    };
    Some(match value {
        Value::Array(_, elements) if elements.is_empty() => return None,
        Value::Texts(texts) if texts.is_empty() => return None,
        Value::Utf16s(texts) => Value::Texts(texts.iter().map(|units| String::from_utf16_lossy(units)).collect()),
        Value::Utf16(units) => Value::Text(String::from_utf16_lossy(units)),
        Value::Scalar(Kind::Char, bits) => Value::Text(text(*bits)),
        Value::Array(Kind::Char, elements) => Value::Texts(elements.iter().map(|bits| text(*bits)).collect()),
        Value::Scalar(kind, bits) => {
            let (kind, bits) = wider(*kind, *bits);
            Value::scalar(kind, bits)
        }
        Value::Array(kind, elements) => {
            let wide = wider(*kind, 0).0;
            Value::array(wide, elements.iter().map(|bits| wider(*kind, *bits).1))
        }
        same @ (Value::Text(_) | Value::Texts(_)) => same.clone(),
    })
}
