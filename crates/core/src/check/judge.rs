//! The rules between two records, one pointer at a time: reads both sides and says what is wrong, if anything is.
//!
//! A whole check comes here only with pointers that are known not to match; the check of what some transactions
//! touched comes with every pointer of those records. Rules within one record are in [`super::record`].

use super::{
    claim::{Claim, Entry, Pointing},
    error::CheckError,
    finding::{Collector, RecordRef},
    ledger::Group,
    lookup::Lookup,
    rules::Rule,
    stores::Stores,
};
use neo4j_format::store::{
    StoreFile,
    record::{Pointer, RecordId},
};

/// How much of a store is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of it: what nothing refers to is known.
    Whole,
    /// Some records.
    Part,
}

/// Judges pointers.
pub(super) struct Judge<'a> {
    pub(super) lookup: Lookup<'a>,
    pub(super) found: Collector<'a>,
    pub(super) scope: Scope,
}

/// A pointer as messages show it.
pub(super) fn shown(pointer: Pointer) -> String {
    pointer.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

impl<'a> Judge<'a> {
    pub(super) fn new(stores: &'a Stores, found: Collector<'a>, scope: Scope) -> Judge<'a> {
        Judge {
            lookup: Lookup::new(stores),
            found,
            scope,
        }
    }

    /// Whether this rule was broken.
    pub(super) fn has_found(&self, rule: Rule) -> bool {
        self.found.findings.totals().any(|(found, _)| found == rule)
    }

    /// Judges claims about the same thing that do not match.
    pub(super) fn group(&mut self, group: &Group) -> Result<(), CheckError> {
        for claim in &group.claims {
            let before: u64 = self.count_of(claim);
            self.claim(claim)?;
            let is_last_credit = group.claims.iter().rfind(|other| other.entry == Entry::Credit) == Some(claim);
            if is_last_credit && group.more > 0 && self.count_of(claim) > before {
                self.count_like(claim, group.more);
            }
        }
        let mut credits = group.claims.iter().filter(|claim| claim.entry == Entry::Credit);
        if let (Some(first), Some(second)) = (credits.next(), credits.next()) {
            let more = credits.count() as u64 + group.more;
            self.several(first, second, more);
        }
        Ok(())
    }

    /// Findings of the rules that this kind of pointer can break.
    fn count_of(&self, claim: &Claim) -> u64 {
        let possible = Self::breakable(claim.pointing);
        let totals = self.found.findings.totals().filter(|(rule, _)| possible.contains(rule));
        totals.map(|(_, total)| total).sum()
    }

    fn count_like(&mut self, claim: &Claim, more: u64) {
        // many pointers to one record break the same rule: that the record is not what they want
        if let Some(rule) = Self::breakable(claim.pointing).first() {
            self.found.count(*rule, more);
        }
    }

    fn breakable(pointing: Pointing) -> &'static [Rule] {
        match pointing {
            Pointing::NodeProperty | Pointing::RelationshipProperty | Pointing::GraphProperty => {
                &[Rule::PropertyNotInUse, Rule::PropertyNotFirstInChain]
            }
            Pointing::PropertyValue(StoreFile::Array) => &[Rule::ArrayNotInUse, Rule::ArrayEmpty],
            Pointing::PropertyValue(_) => &[Rule::StringNotInUse, Rule::StringEmpty],
            Pointing::TypeName | Pointing::KeyName => &[Rule::NameBlockNotInUse, Rule::EmptyName],
            Pointing::BlockNext(_) => &[Rule::NextBlockNotInUse, Rule::EmptyNextBlock],
            _ => &[],
        }
    }

    /// Several records refer to one that may have one owner only.
    fn several(&mut self, first: &Claim, second: &Claim, more: u64) {
        let record = first.key.record;
        let (rule, kind) = match first.key.block() {
            Some(file) => {
                let pointings = [first.pointing, second.pointing];
                let rule = if pointings
                    .iter()
                    .any(|p| matches!(p, Pointing::TypeName | Pointing::KeyName))
                {
                    Rule::NameMultipleOwners
                } else if file == StoreFile::Array {
                    Rule::ArrayMultipleOwners
                } else {
                    Rule::StringMultipleOwners
                };
                (rule, file)
            }
            None if first.key.is_first_property() => (Rule::MultipleOwners, StoreFile::Property),
            None => return,
        };
        if record >= self.lookup.stores.get(kind).records {
            return;
        }
        let name = |claim: &Claim| format!("{} {}", claim.pointing.store().name(), claim.id);
        let message = || {
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("referred to by {} and {}{more}", name(first), name(second))
        };
        let other = self.place(first.pointing.store(), RecordId(second.id));
        let place = self.place(kind, RecordId(record));
        self.found.add(rule, place, message, Some(other));
    }

    pub(super) fn place(&self, kind: StoreFile, RecordId(id): RecordId) -> RecordRef {
        self.lookup.stores.get(kind).place(id)
    }

    pub(super) fn add(
        &mut self,
        rule: Rule,
        (kind, id): (StoreFile, u64),
        message: impl FnOnce() -> String,
        other: Option<(StoreFile, RecordId)>,
    ) {
        let other = other.map(|(kind, id)| self.place(kind, id));
        let place = self.place(kind, RecordId(id));
        self.found.add(rule, place, message, other);
    }

    /// Judges the pointer that makes this claim.
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<(), CheckError> {
        let (id, target) = (claim.id, RecordId(claim.key.record));
        if claim.key.is_order() {
            return self.block_order(claim, target);
        }
        match claim.pointing {
            Pointing::NodeRelationship => self.first_relationship(RecordId(id), target),
            Pointing::RelationshipPrevious(side) => self.previous_relationship(RecordId(id), side),
            Pointing::RelationshipNext(side) => self.next_relationship(RecordId(id), side),
            Pointing::NodeProperty | Pointing::RelationshipProperty | Pointing::GraphProperty => {
                self.first_property((claim.pointing.store(), id), target)
            }
            Pointing::PropertyPrevious => self.previous_property(RecordId(id)),
            Pointing::PropertyNext => self.next_property(RecordId(id), target),
            Pointing::PropertyValue(file) => {
                let rules = match file {
                    StoreFile::Array => [Rule::ArrayNotInUse, Rule::ArrayEmpty],
                    _ => [Rule::StringNotInUse, Rule::StringEmpty],
                };
                self.block_reference((StoreFile::Property, id), (file, target), None, rules)
            }
            Pointing::TypeName | Pointing::KeyName => {
                let file = match claim.pointing {
                    Pointing::TypeName => StoreFile::RelationshipTypeName,
                    _ => StoreFile::PropertyKeyName,
                };
                let rules = [Rule::NameBlockNotInUse, Rule::EmptyName];
                self.block_reference((claim.pointing.store(), id), (file, target), None, rules)
            }
            Pointing::BlockNext(file) => {
                let rules = [Rule::NextBlockNotInUse, Rule::EmptyNextBlock];
                self.block_reference((file, id), (file, target), Some(RecordId(id)), rules)
            }
            Pointing::Block(file) => {
                if self.scope == Scope::Whole {
                    let message = || "in use, but nothing refers to it".to_owned();
                    self.add(Rule::OrphanDynamicRecord, (file, id), message, None);
                }
                Ok(())
            }
            // the record that leads here says it
            Pointing::BlockPrevious(_) => Ok(()),
        }
    }
}
