//! File names of a database directory and the role of each (`docs/formats/store-format.md` §2, §3.1).

use super::record::{DynamicHeader, LegacyProperty, Node, Property, PropertyKey, Relationship, RelationshipType};

/// The two store formats (`docs/formats/store-format.md` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreFormat {
    /// v0.9.9: Neo4j 1.3 and 1.4.
    Legacy,
    /// v0.A.0: Neo4j 1.5 – 1.9.
    Current,
}

impl StoreFormat {
    /// The version as trailers and manifest show it.
    pub fn version(self) -> &'static str {
        match self {
            StoreFormat::Legacy => "v0.9.9",
            StoreFormat::Current => "v0.A.0",
        }
    }

    /// The format of this version.
    pub fn from_version(version: &str) -> Option<StoreFormat> {
        [StoreFormat::Legacy, StoreFormat::Current]
            .into_iter()
            .find(|format| format.version() == version)
    }

    /// Bytes before the data of a dynamic block (§5.5).
    pub fn dynamic_header(self) -> usize {
        match self {
            StoreFormat::Legacy => DynamicHeader::LEGACY_SIZE,
            StoreFormat::Current => DynamicHeader::SIZE,
        }
    }
}

/// The ten files of a graph store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreFile {
    /// `neostore.nodestore.db`.
    Node,
    /// `neostore.relationshipstore.db`.
    Relationship,
    /// `neostore.relationshiptypestore.db`.
    RelationshipType,
    /// `neostore.relationshiptypestore.db.names`, dynamic.
    RelationshipTypeName,
    /// `neostore.propertystore.db`.
    Property,
    /// `neostore.propertystore.db.index`: property keys.
    PropertyKey,
    /// `neostore.propertystore.db.index.keys`, dynamic.
    PropertyKeyName,
    /// `neostore.propertystore.db.strings`, dynamic.
    String,
    /// `neostore.propertystore.db.arrays`, dynamic.
    Array,
    /// `neostore`: the header records; sealed last.
    Neostore,
}

impl StoreFile {
    /// All ten, `neostore` last.
    pub const ALL: [StoreFile; 10] = [
        StoreFile::Node,
        StoreFile::Relationship,
        StoreFile::RelationshipType,
        StoreFile::RelationshipTypeName,
        StoreFile::Property,
        StoreFile::PropertyKey,
        StoreFile::PropertyKeyName,
        StoreFile::String,
        StoreFile::Array,
        StoreFile::Neostore,
    ];

    /// Its name in the store directory; the id file is called the same with `.id` behind it.
    pub fn name(self) -> &'static str {
        match self {
            StoreFile::Node => "neostore.nodestore.db",
            StoreFile::Relationship => "neostore.relationshipstore.db",
            StoreFile::RelationshipType => "neostore.relationshiptypestore.db",
            StoreFile::RelationshipTypeName => "neostore.relationshiptypestore.db.names",
            StoreFile::Property => "neostore.propertystore.db",
            StoreFile::PropertyKey => "neostore.propertystore.db.index",
            StoreFile::PropertyKeyName => "neostore.propertystore.db.index.keys",
            StoreFile::String => "neostore.propertystore.db.strings",
            StoreFile::Array => "neostore.propertystore.db.arrays",
            StoreFile::Neostore => "neostore",
        }
    }

    /// Name of its id file.
    pub fn id_name(self) -> String {
        format!("{}.id", self.name())
    }

    /// The file of this name.
    pub fn from_name(name: &str) -> Option<StoreFile> {
        StoreFile::ALL.into_iter().find(|file| file.name() == name)
    }

    /// Type and version behind the last record of a cleanly closed file (§3.1).
    pub fn trailer(self, format: StoreFormat) -> String {
        let descriptor = match self {
            StoreFile::Node => "NodeStore",
            StoreFile::Relationship => "RelationshipStore",
            StoreFile::RelationshipType => "RelationshipTypeStore",
            StoreFile::Property => "PropertyStore",
            StoreFile::PropertyKey if format == StoreFormat::Legacy => "PropertyIndex",
            StoreFile::PropertyKey => "PropertyIndexStore",
            StoreFile::RelationshipTypeName | StoreFile::PropertyKeyName | StoreFile::String => "StringPropertyStore",
            StoreFile::Array => "ArrayPropertyStore",
            StoreFile::Neostore => "NeoStore",
        };
        format!("{descriptor} {}", format.version())
    }

    /// Bytes of a record; `None` for the dynamic stores, whose first block says it (§5.5).
    pub fn record_size(self, format: StoreFormat) -> Option<u64> {
        let size = match (self, format) {
            (StoreFile::Node, _) => Node::SIZE,
            (StoreFile::Relationship, _) => Relationship::SIZE,
            (StoreFile::RelationshipType, _) => RelationshipType::SIZE,
            (StoreFile::Property, StoreFormat::Legacy) => LegacyProperty::SIZE,
            (StoreFile::Property, StoreFormat::Current) => Property::SIZE,
            (StoreFile::PropertyKey, _) => PropertyKey::SIZE,
            (StoreFile::Neostore, _) => 9,
            _ => return None,
        };
        Some(size as u64)
    }

    /// Whether it consists of blocks whose first one holds the block size.
    pub fn is_dynamic(self) -> bool {
        self.record_size(StoreFormat::Current).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_found_by_its_name_and_four_are_dynamic() {
        for file in StoreFile::ALL {
            assert_eq!(StoreFile::from_name(file.name()), Some(file));
        }
        assert_eq!(StoreFile::ALL.into_iter().filter(|file| file.is_dynamic()).count(), 4);
        assert_eq!(StoreFile::from_name("neostore.id"), None);
    }

    #[test]
    fn the_trailer_of_property_keys_differs_between_the_formats() {
        assert_eq!(
            StoreFile::PropertyKey.trailer(StoreFormat::Legacy),
            "PropertyIndex v0.9.9"
        );
        assert_eq!(
            StoreFile::PropertyKey.trailer(StoreFormat::Current),
            "PropertyIndexStore v0.A.0"
        );
    }
}
