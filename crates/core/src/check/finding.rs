//! What was found, with both sides; how many there are is always known, how many are kept is bounded.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::rules::{Rule, Severity};

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RecordRef {
    /// File, relative to the store directory.
    pub file: Cow<'static, str>,
    /// Record in it, where it has records.
    pub record: Option<u64>,
    /// First byte of the record.
    pub offset: u64,
}

/// Where an inconsistent record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It was in the files that the source sent, or in the backup before this run.
    Files,
    /// A transaction of this run wrote it.
    Transactions,
}

/// One inconsistency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where.
    pub place: RecordRef,
    /// Which rule is broken.
    pub rule: Rule,
    /// What both sides say.
    pub message: String,
    /// The record on the other side, where there is one.
    pub other: Option<RecordRef>,
    /// Where the record came from, where it can be told.
    pub origin: Option<Origin>,
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut finding = serializer.serialize_struct("Finding", 8)?;
        finding.serialize_field("rule", &self.rule)?;
        finding.serialize_field("severity", &self.severity())?;
        finding.serialize_field("file", &self.place.file)?;
        finding.serialize_field("record", &self.place.record)?;
        finding.serialize_field("offset", &self.place.offset)?;
        finding.serialize_field("message", &self.message)?;
        finding.serialize_field("other", &self.other)?;
        finding.serialize_field("origin", &self.origin)?;
        finding.end()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity() {
            Severity::Error => "error",
            Severity::Ownership => "ownership",
            Severity::Warning => "warning",
        };
        write!(f, "{severity} {}: {}", self.rule, self.place.file)?;
        if let Some(record) = self.place.record {
            write!(f, " {record}")?;
        }
        write!(f, " (byte {}): {}", self.place.offset, self.message)?;
        match self.origin {
            None => Ok(()),
            Some(Origin::Files) => f.write_str(" [in the received files]"),
            Some(Origin::Transactions) => f.write_str(" [from applied transactions]"),
        }
    }
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.rule.severity()
    }
}

/// Hears of findings while a check is under way, from several threads and in no particular order.
pub trait Listener: fmt::Debug + Sync {
    /// This was found. Of each rule some findings more than the limit may be told: those that were kept until others
    /// came that stand further in front.
    fn found(&self, finding: &Finding);
}

/// Findings on their way into a report.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    pub(super) findings: Findings,
    listener: Option<&'a dyn Listener>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(limit: usize, listener: Option<&'a dyn Listener>) -> Collector<'a> {
        Collector {
            findings: Findings::new(limit),
            listener,
        }
    }

    /// Notes a finding; the text is made only if the finding is kept.
    pub(super) fn add(
        &mut self,
        rule: Rule,
        place: RecordRef,
        message: impl FnOnce() -> String,
        other: Option<RecordRef>,
    ) {
        let listener = self.listener;
        self.findings.add(rule, place, message, other, |finding| {
            if let Some(listener) = listener {
                listener.found(finding);
            }
        });
    }

    /// Counts more of the same without keeping them.
    pub(super) fn count(&mut self, rule: Rule, more: u64) {
        if more > 0 {
            self.findings.per_rule.entry(rule).or_default().total += more;
        }
    }
}

/// Findings per rule: the first ones by place, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    limit: usize,
    per_rule: BTreeMap<Rule, Kept>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kept {
    total: u64,
    first: BTreeSet<Finding>,
}

impl Findings {
    /// Keeps up to `limit` findings per rule, and counts all.
    pub fn new(limit: usize) -> Findings {
        Findings {
            limit,
            per_rule: BTreeMap::new(),
        }
    }

    fn add(
        &mut self,
        rule: Rule,
        place: RecordRef,
        message: impl FnOnce() -> String,
        other: Option<RecordRef>,
        tell: impl FnOnce(&Finding),
    ) {
        let kept = self.per_rule.entry(rule).or_default();
        kept.total += 1;
        if kept.first.len() >= self.limit {
            match kept.first.last() {
                Some(last) if place <= last.place => {}
                _ => return,
            }
        }
        let finding = Finding {
            place,
            rule,
            message: message(),
            other,
            origin: None,
        };
        // the same record may be met twice when only a part of a store is checked
        if kept.first.contains(&finding) {
            kept.total -= 1;
            return;
        }
        tell(&finding);
        kept.first.insert(finding);
        if kept.first.len() > self.limit {
            kept.first.pop_last();
        }
    }

    /// Adds what another thread found.
    pub(super) fn merge(&mut self, other: Findings) {
        for (rule, more) in other.per_rule {
            let kept = self.per_rule.entry(rule).or_default();
            kept.total += more.total;
            kept.first.extend(more.first);
            while kept.first.len() > self.limit {
                kept.first.pop_last();
            }
        }
    }

    /// Whether nothing at all was found.
    pub fn is_empty(&self) -> bool {
        self.per_rule.is_empty()
    }

    /// Findings per rule, kept or not.
    pub fn totals(&self) -> impl Iterator<Item = (Rule, u64)> {
        self.per_rule.iter().map(|(rule, kept)| (*rule, kept.total))
    }

    /// How many are of this severity.
    pub fn total(&self, severity: Severity) -> u64 {
        self.totals()
            .filter(|(rule, _)| rule.severity() == severity)
            .map(|(_, total)| total)
            .sum()
    }

    /// Those that were kept, by rule and place.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.per_rule.values().flat_map(|kept| &kept.first)
    }

    /// Says of each kept finding where it came from.
    pub fn trace(&mut self, origin: impl Fn(&RecordRef) -> Option<Origin>) {
        for kept in self.per_rule.values_mut() {
            kept.first = std::mem::take(&mut kept.first)
                .into_iter()
                .map(|mut finding| {
                    finding.origin = origin(&finding.place);
                    finding
                })
                .collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(record: u64) -> RecordRef {
        RecordRef {
            file: "neostore.nodestore.db".into(),
            record: Some(record),
            offset: 9 * record,
        }
    }

    fn found(findings: &Findings) -> Vec<Option<u64>> {
        findings.iter().map(|finding| finding.place.record).collect()
    }

    #[test]
    fn the_first_ones_by_place_are_kept_in_whichever_order_they_are_found() {
        let (mut forward, mut backward) = (Findings::new(2), Findings::new(2));
        let add = |findings: &mut Findings, id: u64| {
            // two of them at each place
            let message = || (id % 2).to_string();
            findings.add(Rule::RelationshipNotInUse, place(id / 2), message, None, |_| {});
        };
        for id in 1..11 {
            add(&mut forward, id);
            add(&mut backward, 11 - id);
        }
        assert_eq!(found(&forward), [Some(0), Some(1)]);
        assert_eq!(backward, forward);
        forward.merge(backward);
        assert_eq!(found(&forward), [Some(0), Some(1)]);
        assert_eq!(forward.total(Severity::Error), 20);
    }
}
