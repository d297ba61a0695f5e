//! Looks at received transactions before anything of the store may change, so that what cannot be applied, or can only be
//! damage, leaves the target as it was.

use std::{collections::BTreeSet, path::Path};

use crate::replay::apply::{ApplyError, Growth, Placement};
use neo4j_format::{
    log::{Change, Item},
    store::{StoreFile, StoreFormat, record::RecordId},
};

/// Judges the changes of transactions of the graph, in the order of the log.
#[derive(Debug)]
pub(crate) struct Inspector {
    placement: Placement,
    image: Vec<u8>,
    touched: BTreeSet<StoreFile>,
    chain: Option<Link>,
}

/// A block of a dynamic store that says where its value goes on.
#[derive(Debug, Clone, Copy)]
struct Link {
    file: StoreFile,
    id: RecordId,
    next: RecordId,
}

impl From<Link> for ApplyError {
    fn from(Link { file, id, next }: Link) -> ApplyError {
        ApplyError::Chain { file, id, next }
    }
}

impl Inspector {
    /// For transactions that will be applied to the store files in `dir`, which are only read.
    ///
    /// # Errors
    /// Disk errors; no block size.
    pub(crate) fn open(dir: &Path, format: StoreFormat, growth: Growth) -> Result<Inspector, ApplyError> {
        Ok(Inspector {
            placement: Placement::open(dir, format, growth)?,
            image: Vec::new(),
            touched: BTreeSet::new(),
            chain: None,
        })
    }

    /// Judges the next part of a transaction.
    ///
    /// # Errors
    /// Why the change cannot be applied; [`ApplyError::Chain`].
    pub(crate) fn look(&mut self, item: &Item<'_>) -> Result<(), ApplyError> {
        match item {
            Item::Change(Change::GraphProperty(_)) => {
                self.touched.insert(StoreFile::Neostore);
                self.follow(None)
            }
            Item::Change(change) => {
                let place = self.placement.place(change, &mut self.image)?;
                self.touched.insert(place.file);
                self.follow(Some(change))
            }
            Item::Commit(_) => self.follow(None),
            Item::Start(_) | Item::Lucene(_) | Item::Prepare(_) | Item::Done => Ok(()),
        }
    }

    /// Store files that have to change; `neostore` only where the graph itself got its first property.
    pub(crate) fn touched(&self) -> &BTreeSet<StoreFile> {
        &self.touched
    }

    /// The blocks of a value stand one behind the other, each naming the next.
    fn follow(&mut self, change: Option<&Change<'_>>) -> Result<(), ApplyError> {
        let awaited = self.chain.take();
        let Some(Change::Dynamic(file, id, Some((header, _)))) = change else {
            return awaited.map_or(Ok(()), |link| Err(link.into()));
        };
        if let Some(link) = awaited.filter(|link| (link.file, link.next) != (*file, *id)) {
            return Err(link.into());
        }
        self.chain = header.next.map(|next| Link {
            file: *file,
            id: *id,
            next,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::apply::empty_store;
    use neo4j_format::store::record::{DynamicHeader, Node};

    fn inspector() -> (tempfile::TempDir, Inspector) {
        let dir = empty_store(StoreFormat::Current);
        let inspector = Inspector::open(dir.path(), StoreFormat::Current, Growth::Usual).unwrap();
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
        let touched: Vec<_> = inspector.touched().iter().copied().collect();
        assert_eq!(touched, [StoreFile::Node, StoreFile::String]);
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
            assert!(
                matches!(inspector.look(&wrong), Err(ApplyError::Chain { .. })),
                "{wrong:?}"
            );
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
