//! Properties of nodes, relationships and the graph: their chains, and the chains of long values.

use super::{Link, NotPossible, Records};
use crate::value::{Encoded, Value, current, legacy};
use neo4j_format::{
    log::encode::Owner,
    store::{
        StoreFile, StoreFormat,
        record::{LegacyProperty, Node, Pointer, Property, RecordId, Relationship, property::longs_of_block},
    },
};

/// Longs of a current property record.
const RECORD_LONGS: usize = 4;

impl Records<'_> {
    pub(in crate::database) fn set_property(
        &mut self,
        owner: Owner,
        key: RecordId,
        value: &Value,
    ) -> Result<(), NotPossible> {
        match self.image.format {
            StoreFormat::Current => self.set_current(owner, key, value),
            StoreFormat::Legacy => self.set_legacy(owner, key, value),
        }
    }

    /// Says whether there was such a property.
    pub(in crate::database) fn remove_property(&mut self, owner: Owner, key: RecordId) -> Result<bool, NotPossible> {
        for id in self.property_ids(owner)? {
            let found = match self.image.format {
                StoreFormat::Current => self.take_block(id, key),
                StoreFormat::Legacy => self
                    .image
                    .legacy_properties
                    .get(&id)
                    .is_some_and(|p| is_key(p.key, key)),
            };
            if found {
                self.owners.insert(id, owner);
                if self.image.properties.get(&id).is_none_or(|p| p.used == 0) {
                    self.delete_property_record(owner, id)?;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn set_current(&mut self, owner: Owner, key: RecordId, value: &Value) -> Result<(), NotPossible> {
        let key_id = u32::try_from(key.0).unwrap_or(u32::MAX);
        let ids = self.property_ids(owner)?;
        let before = ids.iter().copied().find(|id| self.take_block(*id, key));
        let longs = match current::encode(value, key_id) {
            Encoded::Inline(longs) => longs,
            Encoded::Chain(store, data) => {
                let first = self.write_chain(store, &data).map_or(0, |id| id.0);
                vec![current::reference(key_id, store, first)]
            }
        };
        // where it was if it fits there, else in the first record of the chain, else in a new one
        let mut candidates = before.into_iter().chain(ids.first().copied());
        let placed = candidates.find(|id| self.put_block(*id, &longs));
        if let Some(before) = before
            && self.image.properties.get(&before).is_some_and(|p| p.used == 0)
        {
            self.delete_property_record(owner, before)?;
        }
        if let Some(id) = placed {
            self.owners.insert(id, owner);
            return Ok(());
        }
        let id = self.take(StoreFile::Property);
        let property = Property {
            previous: None,
            next: self.first_property(owner)?,
            payload: [0; RECORD_LONGS],
            used: 0,
        };
        self.image.properties.insert(id, property);
        self.put_block(id, &longs);
        self.add_property_record(owner, id, property.next)
    }

    fn set_legacy(&mut self, owner: Owner, key: RecordId, value: &Value) -> Result<(), NotPossible> {
        let ids = self.property_ids(owner)?;
        let of_key = |id: &RecordId| self.image.legacy_properties.get(id).is_some_and(|p| is_key(p.key, key));
        let before = ids.iter().copied().find(of_key);
        if let Some(id) = before {
            self.free_legacy_chain(id);
        }
        let (type_code, encoded) = legacy::encode(value);
        let value = match encoded {
            Encoded::Inline(longs) => longs.first().copied().unwrap_or_default(),
            Encoded::Chain(store, data) => self.write_chain(store, &data).map_or(0, |id| id.0),
        };
        if let Some(id) = before {
            if let Some(property) = self.image.legacy_properties.get_mut(&id) {
                (property.type_code, property.value) = (type_code, value);
            }
            self.touch(StoreFile::Property, id);
            self.owners.insert(id, owner);
            return Ok(());
        }
        let id = self.take(StoreFile::Property);
        let next = self.first_property(owner)?;
        let property = LegacyProperty {
            type_code,
            key: u32::try_from(key.0).unwrap_or(u32::MAX),
            value,
            previous: None,
            next,
        };
        self.image.legacy_properties.insert(id, property);
        self.add_property_record(owner, id, next)
    }

    /// Puts a new record, which refers to the old head already, at the head of the owner's chain.
    fn add_property_record(&mut self, owner: Owner, id: RecordId, next: Pointer) -> Result<(), NotPossible> {
        if let Some(next) = next {
            self.set_property_link(next, Link::Previous, Some(id));
        }
        self.owners.insert(id, owner);
        self.set_first_property(owner, Some(id))
    }

    pub(super) fn delete_properties(&mut self, owner: Owner) -> Result<(), NotPossible> {
        for id in self.property_ids(owner)? {
            self.delete_property_record(owner, id)?;
        }
        Ok(())
    }

    /// Takes a record out of the owner's chain and frees it with all that it refers to.
    fn delete_property_record(&mut self, owner: Owner, id: RecordId) -> Result<(), NotPossible> {
        let (previous, next) = match self.image.format {
            StoreFormat::Current => {
                for (_, chain) in blocks_of(self.image.properties.get(&id)) {
                    self.free_chain(id, chain);
                }
                let found = self.image.properties.remove(&id);
                found.map_or((None, None), |p| (p.previous, p.next))
            }
            StoreFormat::Legacy => {
                self.free_legacy_chain(id);
                let found = self.image.legacy_properties.remove(&id);
                found.map_or((None, None), |p| (p.previous, p.next))
            }
        };
        match previous {
            Some(previous) => self.set_property_link(previous, Link::Next, next),
            None => self.set_first_property(owner, next)?,
        }
        if let Some(next) = next {
            self.set_property_link(next, Link::Previous, previous);
        }
        self.owners.insert(id, owner);
        self.touch(StoreFile::Property, id);
        Ok(())
    }

    /// Takes the block of a key out of a record and frees what it refers to; says whether there was one.
    fn take_block(&mut self, id: RecordId, key: RecordId) -> bool {
        let blocks = blocks_of(self.image.properties.get(&id));
        let is_it = |longs: &[u64]| longs.first().is_some_and(|first| current::key_of(*first) == key.0);
        let Some((_, chain)) = blocks.iter().find(|(longs, _)| is_it(longs)) else {
            return false;
        };
        self.free_chain(id, *chain);
        let rest: Vec<u64> = blocks
            .iter()
            .filter(|(longs, _)| !is_it(longs))
            .flat_map(|(longs, _)| longs.iter().copied())
            .collect();
        if let Some(property) = self.image.properties.get_mut(&id) {
            property.payload = [0; RECORD_LONGS];
            property
                .payload
                .iter_mut()
                .zip(&rest)
                .for_each(|(to, from)| *to = *from);
            property.used = u8::try_from(rest.len()).unwrap_or(u8::MAX);
        }
        self.touch(StoreFile::Property, id);
        true
    }

    /// Adds a block to a record if it has room.
    fn put_block(&mut self, id: RecordId, longs: &[u64]) -> bool {
        let Some(property) = self.image.properties.get_mut(&id) else {
            return false;
        };
        let used = usize::from(property.used);
        let Some(room) = property.payload.get_mut(used..used + longs.len()) else {
            return false;
        };
        room.copy_from_slice(longs);
        property.used = u8::try_from(used + longs.len()).unwrap_or(u8::MAX);
        self.touch(StoreFile::Property, id);
        true
    }

    fn free_legacy_chain(&mut self, id: RecordId) {
        let chain = self.image.legacy_properties.get(&id);
        let chain = chain.and_then(|p| legacy::chain_of(p.type_code, p.value));
        self.free_chain(id, chain.map(|(store, first)| (store, RecordId(first))));
    }

    fn free_chain(&mut self, property: RecordId, chain: Option<(StoreFile, RecordId)>) {
        let Some((store, first)) = chain else { return };
        self.created.remove(&(store, first));
        for id in self.image.chain_ids(store, Some(first)) {
            self.image.blocks.remove(&(store, id));
            self.freed.entry(property).or_default().push((store, id));
        }
    }

    /// The records of the owner's property chain in their order.
    fn property_ids(&self, owner: Owner) -> Result<Vec<RecordId>, NotPossible> {
        let mut ids = Vec::new();
        let mut next = self.first_property(owner)?;
        while let Some(id) = next {
            ids.push(id);
            next = match self.image.format {
                StoreFormat::Current => self.image.properties.get(&id).and_then(|p| p.next),
                StoreFormat::Legacy => self.image.legacy_properties.get(&id).and_then(|p| p.next),
            };
        }
        Ok(ids)
    }

    fn first_property(&self, owner: Owner) -> Result<Pointer, NotPossible> {
        match owner {
            Owner::Node(id) => Ok(self.node(id)?.first_property),
            Owner::Relationship(id) => Ok(self.relationship(id)?.first_property),
            Owner::None if self.image.format == StoreFormat::Legacy => Err(NotPossible::GraphProperties),
            Owner::None => Ok(self.image.graph_property),
        }
    }

    fn set_first_property(&mut self, owner: Owner, first: Pointer) -> Result<(), NotPossible> {
        match owner {
            Owner::Node(id) => {
                let node = Node {
                    first_property: first,
                    ..self.node(id)?
                };
                self.image.nodes.insert(id, node);
                self.touch(StoreFile::Node, id);
            }
            Owner::Relationship(id) => {
                let relationship = Relationship {
                    first_property: first,
                    ..self.relationship(id)?
                };
                self.image.relationships.insert(id, relationship);
                self.touch(StoreFile::Relationship, id);
            }
            Owner::None => {
                self.image.graph_property = first;
                self.graph_property = true;
            }
        }
        Ok(())
    }

    fn set_property_link(&mut self, id: RecordId, link: Link, target: Pointer) {
        let links = match self.image.format {
            StoreFormat::Current => self
                .image
                .properties
                .get_mut(&id)
                .map(|p| (&mut p.previous, &mut p.next)),
            StoreFormat::Legacy => self
                .image
                .legacy_properties
                .get_mut(&id)
                .map(|p| (&mut p.previous, &mut p.next)),
        };
        if let Some((previous, next)) = links {
            match link {
                Link::Previous => *previous = target,
                Link::Next => *next = target,
            }
        }
        self.touch(StoreFile::Property, id);
    }
}

fn is_key(key: u32, id: RecordId) -> bool {
    u64::from(key) == id.0
}

/// The longs of a property block, and the chain it refers to, if it does.
pub(in crate::database) type PropertyBlock = (Vec<u64>, Option<(StoreFile, RecordId)>);

/// The blocks of a record.
pub(in crate::database) fn blocks_of(property: Option<&Property>) -> Vec<PropertyBlock> {
    let mut blocks = Vec::new();
    let Some(property) = property else { return blocks };
    let mut rest = property.payload.get(..usize::from(property.used)).unwrap_or_default();
    while let Some(first) = rest.first() {
        let (block, behind) = rest.split_at(usize::from(longs_of_block(*first)).clamp(1, rest.len()));
        let chain = current::chain_of(*first).map(|(store, id)| (store, RecordId(id)));
        blocks.push((block.to_vec(), chain));
        rest = behind;
    }
    blocks
}
