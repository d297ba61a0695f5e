//! One check from beginning to end, and what it tells.

use std::{collections::BTreeMap, path::Path};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{CheckError, Findings, Memory, Severity, Written, header, id_files, logs, part, stores::Stores, whole};
use crate::{
    cancel::Cancel,
    store::{StoreFile, StoreFormat},
};

/// Which records are checked.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// All.
    Whole,
    /// Those that transactions wrote, and their neighbours; all if there are too many.
    Part(&'a Written),
}

/// How a check is done.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions<'a> {
    /// Which records.
    pub what: What<'a>,
    /// Memory it may take.
    pub memory: Memory,
    /// Findings kept per rule; all are counted.
    pub limit: usize,
}

impl Default for CheckOptions<'_> {
    fn default() -> Self {
        CheckOptions {
            what: What::Whole,
            memory: Memory::default(),
            limit: 100,
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// Format of the store.
    pub format: StoreFormat,
    /// Whether every record was checked.
    pub is_whole: bool,
    /// Records in use that were checked, per store.
    pub records: BTreeMap<StoreFile, u64>,
    /// What breaks a rule.
    pub findings: Findings,
}

impl Serialize for CheckReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Each<'a>(&'a Findings);
        impl Serialize for Each<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.iter())
            }
        }
        let records: BTreeMap<&str, u64> = self.records.iter().map(|(kind, count)| (kind.name(), *count)).collect();
        let rules: BTreeMap<&str, u64> = self
            .findings
            .totals()
            .map(|(rule, count)| (rule.name(), count))
            .collect();
        let mut report = serializer.serialize_struct("CheckReport", 8)?;
        report.serialize_field("store_format", self.format.version())?;
        report.serialize_field("whole", &self.is_whole)?;
        report.serialize_field("records", &records)?;
        report.serialize_field("errors", &self.findings.total(Severity::Error))?;
        report.serialize_field("ownership", &self.findings.total(Severity::Ownership))?;
        report.serialize_field("warnings", &self.findings.total(Severity::Warning))?;
        report.serialize_field("rules", &rules)?;
        report.serialize_field("findings", &Each(&self.findings))?;
        report.end()
    }
}

impl CheckReport {
    /// Whether the graph and its files are as they have to be; warnings do not count.
    pub fn is_consistent(&self) -> bool {
        self.findings.total(Severity::Error) == 0 && self.findings.total(Severity::Ownership) == 0
    }
}

/// Checks the store in `dir`.
///
/// # Errors
/// Files that cannot be read, no store, or cancelled; inconsistencies are no errors.
pub fn check(dir: &Path, options: &CheckOptions<'_>, cancel: &Cancel) -> Result<CheckReport, CheckError> {
    let mut findings = Findings::new(options.limit);
    let mut stores = Stores::open(dir, &mut findings)?;
    let found = header::check(&stores, &mut findings)?;
    stores.graph_property = found.graph_property;
    id_files::check(&stores, found.records, options.memory, &mut findings, cancel)?;
    let part = match options.what {
        What::Part(written) if !written.is_too_many() => Some(written),
        _ => None,
    };
    let which = match part {
        Some(_) => logs::Which::Newest,
        None => logs::Which::All,
    };
    logs::check(dir, stores.format, &found, which, &mut findings, cancel)?;
    let (more, records) = match part {
        Some(written) => part::check(&stores, written, options.limit, cancel)?,
        None => whole::check(&stores, options.memory, options.limit, cancel)?,
    };
    findings.merge(more);
    Ok(CheckReport {
        format: stores.format,
        is_whole: part.is_none(),
        records,
        findings,
    })
}
