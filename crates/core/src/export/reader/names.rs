//! Names of relationship types and property keys, all of them in memory.

use std::collections::HashMap;

use super::{Damage, Entity, read_error};
use crate::{
    Error,
    check::{lookup::Lookup, stores::Stores},
};
use neo4j_format::{
    store::{
        StoreFile, StoreFormat,
        record::{PropertyKey, RecordId, RelationshipType},
    },
    width::to_usize,
};

/// Records read at once.
const BATCH: u64 = 4096;

/// Longest name that is read, in bytes; Neo4j 1.x has no limit.
const LENGTH_MAX: usize = 1 << 20;

/// The name of a relationship type or property key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// With U+FFFD for surrogates that have no partner.
    pub(crate) text: String,
    /// Whether the text is the whole truth.
    pub(crate) is_exact: bool,
    /// Whether the header of a CSV file can name a property like this (docs/migration.md).
    pub(crate) fits_header: bool,
    /// The lowest id of this name. Several ids may have one.
    pub(crate) first: u32,
}

/// Names by id.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<Option<Name>>);

impl Names {
    /// Reads all names of `kind`.
    pub(super) fn read(stores: &Stores, kind: StoreFile, damage: &mut Vec<Damage>) -> Result<Names, Error> {
        let store = stores.get(kind);
        let file = match kind {
            StoreFile::RelationshipType => StoreFile::RelationshipTypeName,
            _ => StoreFile::PropertyKeyName,
        };
        let mut lookup = Lookup::new(stores);
        let mut names = Vec::new();
        let mut first_of: HashMap<String, u32> = HashMap::new();
        let mut buffer = Vec::new();
        for first in (0..store.records).step_by(to_usize(BATCH)) {
            let count = to_usize(BATCH.min(store.records - first));
            buffer.resize(count.saturating_mul(store.width()), 0);
            store.read(first, &mut buffer).map_err(read_error)?;
            for (id, bytes) in (first..).zip(buffer.chunks_exact(store.width())) {
                let block = if kind == StoreFile::RelationshipType {
                    let found = bytes.first_chunk().and_then(RelationshipType::decode);
                    found.and_then(|found| found.name_block)
                } else {
                    let found = bytes.first_chunk().and_then(PropertyKey::decode);
                    found.and_then(|found| found.name_block)
                };
                let Some(block) = block else {
                    names.push(None);
                    continue;
                };
                let text = name(&mut lookup, file, block, stores.format)?;
                if text.is_none() {
                    damage.push(Damage {
                        file: kind.name(),
                        record: id,
                        entity: Entity::Graph,
                        problem: "its name cannot be read".to_owned(),
                    });
                }
                let id = u32::try_from(id).unwrap_or(u32::MAX);
                names.push(text.map(|(text, is_exact)| Name {
                    first: *first_of.entry(text.clone()).or_insert(id),
                    fits_header: is_exact && fits_header(&text),
                    text,
                    is_exact,
                }));
            }
        }
        Ok(Names(names))
    }

    /// The name of this id.
    pub(crate) fn get(&self, id: u64) -> Option<&Name> {
        self.0.get(to_usize(id))?.as_ref()
    }

    /// All names, each once, by their lowest ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Name> {
        let names = self.0.iter().enumerate();
        names.filter_map(|(id, name)| name.as_ref().filter(|name| u64::from(name.first) == id as u64))
    }

    /// The lowest id of a name.
    pub(crate) fn id_of(&self, text: &str) -> Option<u32> {
        self.iter().find(|name| name.text == text).map(|name| name.first)
    }
}

/// The importer ignores what follows these characters, or ends a row there.
fn fits_header(name: &str) -> bool {
    !name.is_empty() && !name.contains(['{', '(', '\n', '\r'])
}

/// The text of a name, and whether it is exact; `None` where it is damaged.
fn name(
    lookup: &mut Lookup<'_>,
    file: StoreFile,
    first: RecordId,
    format: StoreFormat,
) -> Result<Option<(String, bool)>, Error> {
    let mut bytes = Vec::new();
    let mut next = Some(first);
    while let Some(id) = next {
        let Some((header, data)) = lookup.block(file, id).map_err(read_error)? else {
            return Ok(None);
        };
        if data.is_empty() && header.next.is_some() || bytes.len() > LENGTH_MAX {
            return Ok(None);
        }
        bytes.extend_from_slice(data);
        next = header.next;
    }
    Ok(match format {
        StoreFormat::Current => String::from_utf8(bytes).ok().map(|text| (text, true)),
        StoreFormat::Legacy => {
            let (units, rest) = bytes.as_chunks();
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            rest.is_empty().then(|| match String::from_utf16(&units) {
                Ok(text) => (text, true),
                Err(_) => (String::from_utf16_lossy(&units), false),
            })
        }
    })
}
