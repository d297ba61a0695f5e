//! Judges received transactions before anything of the store changes, so that what cannot be applied, or can only be
//! damage, leaves the target as it was.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use crate::replay::apply::{ApplyError, DirtyChunks, Growth, Placement};
use neo4j_format::{
    DirHandle,
    log::{Change, Item},
    store::{
        StoreFile, StoreFormat,
        record::{DynamicHeader, RecordId},
    },
};

/// Judges the changes of graph transactions, in the order of the log.
#[derive(Debug)]
pub(crate) struct Inspector {
    placement: Placement,
    image: Vec<u8>,
    dirty: BTreeMap<StoreFile, DirtyChunks>,
    blocks: CommandBlocks,
}

impl Inspector {
    /// For transactions that will be applied to the store files in `dir`, which are only read.
    ///
    /// # Errors
    /// Disk errors; no block size.
    pub(crate) fn open(dir: &DirHandle, format: StoreFormat, growth: Growth) -> Result<Inspector, ApplyError> {
        Ok(Inspector {
            placement: Placement::open(dir, format, growth)?,
            image: Vec::new(),
            dirty: BTreeMap::new(),
            blocks: CommandBlocks::default(),
        })
    }

    /// Judges the next part of a transaction.
    ///
    /// # Errors
    /// Why the change cannot be applied; [`ApplyError::Chain`].
    pub(crate) fn look(&mut self, item: &Item<'_>) -> Result<(), ApplyError> {
        match item {
            Item::Change(Change::GraphProperty(_)) => {
                self.dirty.entry(StoreFile::Neostore).or_default();
                self.blocks.end()
            }
            Item::Change(change) => {
                let place = self.placement.place(change, &mut self.image)?;
                let dirty = self.dirty.entry(place.file).or_default();
                dirty.note(place.offset, self.image.len() as u64);
                match change {
                    Change::Dynamic(file, id, block) => self.blocks.add(*file, *id, block.map(|(header, _)| header)),
                    _ => self.blocks.end(),
                }
            }
            Item::Commit(_) => self.blocks.end(),
            Item::Start(_) | Item::Lucene(_) | Item::Prepare(_) | Item::Done => Ok(()),
        }
    }

    /// What the transactions will write, per store file; `neostore` only where the graph itself got its first property.
    pub(crate) fn dirty(&self) -> &BTreeMap<StoreFile, DirtyChunks> {
        &self.dirty
    }
}

/// A block of a dynamic store.
type BlockKey = (StoreFile, RecordId);

/// The dynamic records of one command. They form whole chains, in any order: releases before 1.6 write the name blocks of
/// a relationship type in the order of a hash table (`docs/formats/transaction-log.md` §9.1).
#[derive(Debug, Default)]
struct CommandBlocks {
    /// First blocks of the chains so far, each with the block that its chain awaits.
    heads: HashMap<BlockKey, Option<RecordId>>,
    /// Blocks that a chain leads to and that have not arrived.
    awaited: HashMap<BlockKey, Awaited>,
}

/// Which chain leads to a block.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    /// The block that points there.
    from: RecordId,
    /// The first block of the chain.
    head: RecordId,
}

impl CommandBlocks {
    /// Takes a block that is written with its next one, or deleted.
    fn add(&mut self, file: StoreFile, id: RecordId, written: Option<DynamicHeader>) -> Result<(), ApplyError> {
        let broken = |id, next| Err(ApplyError::Chain { file, id, next });
        let awaited = self.awaited.remove(&(file, id));
        let Some(DynamicHeader { next, .. }) = written else {
            return awaited.map_or(Ok(()), |awaited| broken(awaited.from, id));
        };
        if awaited.is_none() && self.heads.contains_key(&(file, id)) {
            return broken(id, id);
        }
        let head = awaited.map_or(id, |awaited| awaited.head);
        let Some(next) = next else {
            self.heads.insert((file, head), None);
            return Ok(());
        };
        if next == head {
            return broken(id, next);
        }
        // the chain that begins at `next` has arrived already, or is still to come
        let open_end = self.heads.remove(&(file, next)).unwrap_or(Some(next));
        self.heads.insert((file, head), open_end);
        let Some(open_end) = open_end else {
            return Ok(());
        };
        match self.awaited.entry((file, open_end)) {
            Entry::Occupied(_) if open_end == next => broken(id, next),
            Entry::Occupied(mut entry) => {
                entry.get_mut().head = head;
                Ok(())
            }
            Entry::Vacant(entry) => {
                entry.insert(Awaited { from: id, head });
                Ok(())
            }
        }
    }

    /// The command has ended: every chain must be whole.
    fn end(&mut self) -> Result<(), ApplyError> {
        self.heads.clear();
        match self.awaited.drain().next() {
            Some(((file, next), Awaited { from: id, .. })) => Err(ApplyError::Chain { file, id, next }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::apply::empty_store;
    use neo4j_format::store::record::Node;

    fn inspector() -> (tempfile::TempDir, Inspector) {
        let dir = empty_store(StoreFormat::Current);
        let inspector = Inspector::open(
            &DirHandle::open(dir.path()).unwrap(),
            StoreFormat::Current,
            Growth::Usual,
        )
        .unwrap();
        (dir, inspector)
    }

    fn block(id: u64, next: Option<u64>) -> Item<'static> {
        let header = DynamicHeader {
            previous: None,
            next: next.map(RecordId),
            length: 1,
        };
        Item::Change(Change::Dynamic(StoreFile::String, RecordId(id), Some((header, b"x"))))
    }

    fn node(id: u64) -> Item<'static> {
        let node = Node {
            first_relationship: None,
            first_property: None,
        };
        Item::Change(Change::Node(RecordId(id), Some(node)))
    }

    #[test]
    fn whole_chains_pass_and_the_touched_stores_are_known() {
        let (_dir, mut inspector) = inspector();
        for item in [
            block(4, Some(2)),
            block(2, None),
            block(9, None),
            Item::Change(Change::Dynamic(StoreFile::String, RecordId(1), None)),
            node(1),
            Item::Done,
        ] {
            inspector.look(&item).unwrap();
        }
        let dirty: Vec<_> = inspector.dirty().keys().copied().collect();
        assert_eq!(dirty, [StoreFile::Node, StoreFile::String]);
    }

    #[test]
    fn a_chain_that_leads_elsewhere_is_refused() {
        let deleted = Item::Change(Change::Dynamic(StoreFile::String, RecordId(2), None));
        let head = DynamicHeader {
            previous: None,
            next: None,
            length: 1,
        };
        let of_another_store = Item::Change(Change::Dynamic(StoreFile::Array, RecordId(2), Some((head, b"x"))));
        for wrong in [block(3, None), deleted, of_another_store, node(1)] {
            let (_dir, mut inspector) = inspector();
            inspector.look(&block(4, Some(2))).unwrap();
            let judged = inspector.look(&wrong).and_then(|()| inspector.look(&node(1)));
            assert!(matches!(judged, Err(ApplyError::Chain { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn the_blocks_of_a_command_may_come_in_any_order() {
        for order in [[16, 14, 15], [14, 15, 16], [15, 14, 16], [16, 15, 14]] {
            let (_dir, mut inspector) = inspector();
            for id in order {
                inspector.look(&block(id, (id < 16).then_some(id + 1))).unwrap();
            }
            inspector.look(&block(20, None)).unwrap();
            inspector.look(&node(1)).unwrap();
        }
    }

    #[test]
    fn rings_blocks_that_come_twice_and_blocks_with_two_predecessors_are_refused() {
        for blocks in [
            vec![(5, Some(6)), (6, Some(5))],
            vec![(9, None), (6, Some(7)), (5, Some(6)), (7, Some(5))],
            vec![(7, Some(5)), (6, Some(7)), (5, Some(6))],
            vec![(5, Some(5))],
            vec![(9, None), (9, None)],
            vec![(5, Some(9)), (6, Some(9)), (9, None)],
            vec![(9, None), (5, Some(9)), (6, Some(9))],
        ] {
            let (_dir, mut inspector) = inspector();
            let judged = blocks
                .iter()
                .try_for_each(|(id, next)| inspector.look(&block(*id, *next)))
                .and_then(|()| inspector.look(&node(1)));
            assert!(matches!(judged, Err(ApplyError::Chain { .. })), "{blocks:?}");
        }
    }

    #[test]
    fn what_could_not_be_applied_is_refused_and_nothing_is_written() {
        let (dir, mut inspector) = inspector();
        assert!(matches!(inspector.look(&node(1 << 34)), Err(ApplyError::TooFar { .. })));
        inspector.look(&node(7)).unwrap();
        assert!(
            std::fs::read(dir.path().join(StoreFile::Node.name()))
                .unwrap()
                .is_empty()
        );
    }
}
