//! The touched records as commands of a logical log (`docs/formats/transaction-log.md` §9).

use super::{Records, properties::blocks_of};
use crate::value::legacy;
use neo4j_format::{
    log::encode::{Block, Command, DynamicRecord, Owner},
    store::{
        StoreFile, StoreFormat,
        record::{Pointer, RecordId},
    },
};

impl Records<'_> {
    /// Hands each command of the transaction to `put`, in the order in which the releases log them.
    pub(in crate::database) fn commands(&self, mut put: impl FnMut(&Command<'_>)) {
        if self.graph_property {
            put(&Command::GraphProperty(self.image.graph_property));
        }
        let image = &*self.image;
        for id in self.touched_of(StoreFile::RelationshipType) {
            let found = image.types.get(&id).copied();
            let names = self.new_chain(StoreFile::RelationshipTypeName, found.and_then(|t| t.name_block));
            put(&Command::RelationshipType(id, found, &names));
        }
        for id in self.touched_of(StoreFile::Node) {
            put(&Command::Node(id, image.nodes.get(&id).copied()));
        }
        for id in self.touched_of(StoreFile::Relationship) {
            put(&Command::Relationship(id, image.relationships.get(&id).copied()));
        }
        for id in self.touched_of(StoreFile::PropertyKey) {
            let found = image.keys.get(&id).copied();
            let names = self.new_chain(StoreFile::PropertyKeyName, found.and_then(|k| k.name_block));
            put(&Command::PropertyKey(id, found, &names));
        }
        for id in self.touched_of(StoreFile::Property) {
            self.property_command(id, &mut put);
        }
    }

    fn property_command(&self, id: RecordId, put: &mut impl FnMut(&Command<'_>)) {
        let owner = self.owners.get(&id).copied().unwrap_or(Owner::None);
        let freed: Vec<DynamicRecord<'_>> = self
            .freed
            .get(&id)
            .into_iter()
            .flatten()
            .map(|(store, id)| DynamicRecord {
                store: *store,
                id: *id,
                content: None,
            })
            .collect();
        if self.image.format == StoreFormat::Legacy {
            let found = self.image.legacy_properties.get(&id).copied();
            let chain = found.and_then(|p| legacy::chain_of(p.type_code, p.value));
            let mut records = freed;
            if let Some((store, first)) = chain {
                records.extend(self.new_chain(store, Some(RecordId(first))));
            }
            put(&Command::LegacyProperty(id, owner, found, &records));
            return;
        }
        let found = self.image.properties.get(&id);
        let blocks = blocks_of(found);
        let chains: Vec<Vec<DynamicRecord<'_>>> = blocks
            .iter()
            .map(|(_, chain)| chain.map_or_else(Vec::new, |(store, first)| self.new_chain(store, Some(first))))
            .collect();
        let blocks: Vec<Block<'_>> = blocks
            .iter()
            .zip(&chains)
            .map(|((longs, _), records)| Block { longs, records })
            .collect();
        put(&Command::Property {
            id,
            owner,
            previous: found.and_then(|p| p.previous),
            next: found.and_then(|p| p.next),
            blocks: &blocks,
            deleted: &freed,
        });
    }

    fn touched_of(&self, file: StoreFile) -> impl Iterator<Item = RecordId> {
        self.touched
            .iter()
            .filter(move |(other, _)| *other == file)
            .map(|(_, id)| *id)
    }

    /// The blocks of a chain that this transaction wrote, nothing of an older one.
    fn new_chain(&self, store: StoreFile, first: Pointer) -> Vec<DynamicRecord<'_>> {
        let ids = first.and_then(|first| self.created.get(&(store, first)));
        let block = |id: &RecordId| {
            let (header, data) = self.image.blocks.get(&(store, *id))?;
            Some(DynamicRecord {
                store,
                id: *id,
                content: Some((*header, data.as_slice())),
            })
        };
        ids.into_iter().flatten().filter_map(block).collect()
    }
}
