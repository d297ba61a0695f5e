//! The rules between two records, pointer by pointer.

use super::{
    claim::{Claim, End, Pointing, Side},
    error::CheckError,
    judge::{Judge, Scope, shown},
    rules::Rule,
};
use neo4j_format::store::{
    StoreFile,
    record::{Pointer, RecordId, Relationship},
};

/// The rules for both sides of a relationship.
struct ChainRules {
    no_back_reference: Rule,
    previous: [Rule; 3],
    next: [Rule; 3],
}

fn rules(side: Side) -> ChainRules {
    match side {
        Side::Source => ChainRules {
            no_back_reference: Rule::SourceNodeDoesNotReferenceBack,
            previous: [
                Rule::SourcePrevNotInUse,
                Rule::SourcePrevReferencesOtherNodes,
                Rule::SourcePrevDoesNotReferenceBack,
            ],
            next: [
                Rule::SourceNextNotInUse,
                Rule::SourceNextReferencesOtherNodes,
                Rule::SourceNextDoesNotReferenceBack,
            ],
        },
        Side::Target => ChainRules {
            no_back_reference: Rule::TargetNodeDoesNotReferenceBack,
            previous: [
                Rule::TargetPrevNotInUse,
                Rule::TargetPrevReferencesOtherNodes,
                Rule::TargetPrevDoesNotReferenceBack,
            ],
            next: [
                Rule::TargetNextNotInUse,
                Rule::TargetNextReferencesOtherNodes,
                Rule::TargetNextDoesNotReferenceBack,
            ],
        },
    }
}

impl Judge<'_> {
    pub(super) fn first_relationship(&mut self, node: RecordId, first: RecordId) -> Result<(), CheckError> {
        let at = (StoreFile::Node, node.0);
        let other = Some((StoreFile::Relationship, first));
        let Some(relationship) = self.lookup.relationship(first)? else {
            let absent = self.lookup.absent(StoreFile::Relationship, first);
            let message = || format!("its first relationship {first} {absent}");
            self.add(Rule::RelationshipNotInUse, at, message, other);
            return Ok(());
        };
        if Side::with(node, &relationship).is_none() {
            let (source, target) = (shown(relationship.first_node), shown(relationship.second_node));
            let message = || format!("its first relationship {first} connects other nodes: {source} to {target}");
            self.add(Rule::RelationshipForOtherNode, at, message, other);
        }
        for side in Side::distinct(&relationship) {
            let end = side.of(&relationship);
            if end.node == Some(node)
                && let Some(previous) = end.previous
            {
                let rule = match side {
                    Side::Source => Rule::RelationshipNotFirstInSourceChain,
                    Side::Target => Rule::RelationshipNotFirstInTargetChain,
                };
                let message =
                    || format!("first relationship {first} is not the head of its chain (previous = {previous})");
                self.add(rule, at, message, other);
            }
        }
        Ok(())
    }

    pub(super) fn previous_relationship(&mut self, id: RecordId, side: Side) -> Result<(), CheckError> {
        let Some(end) = self.end_of(id, side)? else {
            return Ok(());
        };
        let (Some(node), rules) = (end.node, rules(side)) else {
            return Ok(());
        };
        let at = (StoreFile::Relationship, id.0);
        let Some(previous) = end.previous else {
            let first = match self.lookup.node(node)? {
                Some(found) => found.first_relationship,
                // a rule of its own
                None => return Ok(()),
            };
            if first != Some(id) {
                let message = || {
                    format!(
                        "is the head of a chain at node {node}, but the first relationship of that node is {}",
                        shown(first)
                    )
                };
                self.add(rules.no_back_reference, at, message, Some((StoreFile::Node, node)));
            }
            return Ok(());
        };
        self.neighbour(
            id,
            node,
            previous,
            ("previous", "next"),
            rules.previous,
            |side, other| side.of(other).next,
        )
    }

    pub(super) fn next_relationship(&mut self, id: RecordId, side: Side) -> Result<(), CheckError> {
        let Some(end) = self.end_of(id, side)? else {
            return Ok(());
        };
        let (Some(node), Some(next)) = (end.node, end.next) else {
            return Ok(());
        };
        self.neighbour(id, node, next, ("next", "previous"), rules(side).next, |side, other| {
            side.of(other).previous
        })
    }

    fn end_of(&mut self, id: RecordId, side: Side) -> Result<Option<End>, CheckError> {
        Ok(self.lookup.relationship(id)?.map(|relationship| side.of(&relationship)))
    }

    fn neighbour(
        &mut self,
        id: RecordId,
        node: RecordId,
        neighbour: RecordId,
        (forth, back): (&str, &str),
        [not_in_use, other_nodes, no_back_reference]: [Rule; 3],
        back_of: impl Fn(Side, &Relationship) -> Pointer,
    ) -> Result<(), CheckError> {
        let at = (StoreFile::Relationship, id.0);
        let other = Some((StoreFile::Relationship, neighbour));
        let Some(found) = self.lookup.relationship(neighbour)? else {
            let absent = self.lookup.absent(StoreFile::Relationship, neighbour);
            let message = || format!("its {forth} relationship {neighbour} at node {node} {absent}");
            self.add(not_in_use, at, message, other);
            return Ok(());
        };
        let Some(side) = Side::with(node, &found) else {
            let (source, target) = (shown(found.first_node), shown(found.second_node));
            let message = || {
                format!(
                    "its {forth} relationship {neighbour} at node {node} connects other nodes: {source} to {target}"
                )
            };
            self.add(other_nodes, at, message, other);
            return Ok(());
        };
        let reference = back_of(side, &found);
        if reference != Some(id) {
            let message = || {
                format!(
                    "its {forth} relationship {neighbour} at node {node} does not refer back ({back} = {})",
                    shown(reference)
                )
            };
            self.add(no_back_reference, at, message, other);
        }
        Ok(())
    }

    pub(super) fn first_property(&mut self, at: (StoreFile, u64), first: RecordId) -> Result<(), CheckError> {
        let other = Some((StoreFile::Property, first));
        let Some(found) = self.lookup.property(first)? else {
            let absent = self.lookup.absent(StoreFile::Property, first);
            let message = || format!("its first property {first} {absent}");
            self.add(Rule::PropertyNotInUse, at, message, other);
            return Ok(());
        };
        if let Some(previous) = found.previous {
            let message = || format!("first property {first} is not the head of its chain (previous = {previous})");
            self.add(Rule::PropertyNotFirstInChain, at, message, other);
        }
        Ok(())
    }

    pub(super) fn previous_property(&mut self, id: RecordId) -> Result<(), CheckError> {
        let Some(record) = self.lookup.property(id)? else {
            return Ok(());
        };
        let at = (StoreFile::Property, id.0);
        let Some(previous) = record.previous else {
            if self.scope == Scope::Whole {
                let message = || "is the head of a chain that nothing refers to".to_owned();
                self.add(Rule::OrphanPropertyChain, at, message, None);
            }
            return Ok(());
        };
        let other = Some((StoreFile::Property, previous));
        match self.lookup.property(previous)? {
            None => {
                let absent = self.lookup.absent(StoreFile::Property, previous);
                let message = || format!("its previous record {previous} {absent}");
                self.add(Rule::PrevNotInUse, at, message, other);
            }
            Some(found) if found.next != Some(id) => {
                let message = || {
                    format!(
                        "its previous record {previous} does not refer back (next = {})",
                        shown(found.next)
                    )
                };
                self.add(Rule::PreviousDoesNotReferenceBack, at, message, other);
            }
            Some(_) => {}
        }
        Ok(())
    }

    pub(super) fn next_property(&mut self, id: RecordId, next: RecordId) -> Result<(), CheckError> {
        let at = (StoreFile::Property, id.0);
        let other = Some((StoreFile::Property, next));
        match self.lookup.property(next)? {
            None => {
                let absent = self.lookup.absent(StoreFile::Property, next);
                let message = || format!("its next record {next} {absent}");
                self.add(Rule::NextNotInUse, at, message, other);
            }
            Some(found) if found.previous != Some(id) => {
                let message = || {
                    format!(
                        "its next record {next} does not refer back (previous = {})",
                        shown(found.previous)
                    )
                };
                self.add(Rule::NextDoesNotReferenceBack, at, message, other);
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// A reference to a block, which comes behind `previous` or is the first of its value.
    pub(super) fn block_reference(
        &mut self,
        at: (StoreFile, u64),
        (file, block): (StoreFile, RecordId),
        previous: Pointer,
        [not_in_use, empty]: [Rule; 2],
    ) -> Result<(), CheckError> {
        if previous == Some(block) {
            // a rule of its own
            return Ok(());
        }
        let what = if previous.is_some() { "next" } else { "first" };
        let other = Some((file, block));
        let found = self.lookup.block(file, block)?.map(|(header, _)| header.length);
        match found {
            None => {
                let absent = self.lookup.absent(file, block);
                let message = || format!("its {what} block {block} in {} {absent}", file.name());
                self.add(not_in_use, at, message, other);
            }
            Some(0) => {
                let message = || format!("its {what} block {block} in {} is empty", file.name());
                self.add(empty, at, message, other);
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// A reference to a block of the old format, which has to name the block that leads to it.
    pub(super) fn block_order(&mut self, claim: &Claim, block: RecordId) -> Result<(), CheckError> {
        let (file, previous) = match claim.pointing {
            // the record that leads here says it
            Pointing::BlockPrevious(_) => return Ok(()),
            Pointing::BlockNext(file) => (file, Some(RecordId(claim.id))),
            Pointing::PropertyValue(file) => (file, None),
            Pointing::TypeName => (StoreFile::RelationshipTypeName, None),
            _ => (StoreFile::PropertyKeyName, None),
        };
        let found = self.lookup.block(file, block)?.map(|(header, _)| header);
        if let Some(header) = found.filter(|header| header.length > 0 && header.previous != previous) {
            let store = claim.pointing.store();
            let message = || {
                let leads = format!("{} {}", store.name(), claim.id);
                format!(
                    "its previous block is {}, but {leads} refers to it",
                    shown(header.previous)
                )
            };
            let at = (file, block.0);
            self.add(
                Rule::PreviousBlockDiffers,
                at,
                message,
                Some((store, RecordId(claim.id))),
            );
        }
        Ok(())
    }
}
