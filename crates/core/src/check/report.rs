//! One check from beginning to end, and its report.

use std::{collections::BTreeMap, io, path::Path};

use serde::{Serialize, Serializer};

use super::{
    CheckError, CheckOptions, Finding, Findings, Severity, What, finding::Collector, header, id_files, logs, part,
    stores::Stores, whole,
};
use crate::cancel::Cancel;
use neo4j_format::{
    DirHandle,
    store::{StoreFile, StoreFormat},
};

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

/// A report but for its findings: how much was checked, and how many findings there are.
#[derive(Debug, Serialize)]
pub struct Totals {
    store_format: &'static str,
    whole: bool,
    records: BTreeMap<&'static str, u64>,
    errors: u64,
    ownership: u64,
    warnings: u64,
    rules: BTreeMap<&'static str, u64>,
}

impl Serialize for CheckReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Report<'a> {
            #[serde(flatten)]
            totals: Totals,
            findings: Vec<&'a Finding>,
        }
        let (totals, findings) = (self.totals(), self.findings.iter().collect());
        Report { totals, findings }.serialize(serializer)
    }
}

impl CheckReport {
    /// All but the findings.
    pub fn totals(&self) -> Totals {
        let (records, rules) = (self.records.iter(), self.findings.totals());
        Totals {
            store_format: self.format.version(),
            whole: self.is_whole,
            records: records.map(|(kind, count)| (kind.name(), *count)).collect(),
            errors: self.findings.total(Severity::Error),
            ownership: self.findings.total(Severity::Ownership),
            warnings: self.findings.total(Severity::Warning),
            rules: rules.map(|(rule, count)| (rule.name(), count)).collect(),
        }
    }

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
    let opened = DirHandle::open(dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => CheckError::NoStore(dir.to_owned()),
        _ => CheckError::at(dir)(error),
    });
    check_handle(&opened?, options, cancel)
}

/// Checks the store in a directory that is open.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_handle(
    dir: &DirHandle,
    options: &CheckOptions<'_>,
    cancel: &Cancel,
) -> Result<CheckReport, CheckError> {
    let collector = || Collector::new(options.limit, options.listener);
    let mut findings = collector();
    let mut stores = Stores::open(dir, &mut findings)?;
    let found = header::check(&stores, &mut findings)?;
    stores.graph_property = found.graph_property;
    id_files::check(&stores, found.records, options.memory, &mut findings, cancel)?;
    let part = match options.what {
        What::Part(written) if !written.is_too_many() => part::check(&stores, written, options, collector(), cancel)?,
        _ => None,
    };
    let is_whole = part.is_none();
    let which = if is_whole {
        logs::Which::All
    } else {
        logs::Which::Newest
    };
    logs::check(dir, stores.format, &found, which, &mut findings, cancel)?;
    let (more, records) = match part {
        Some(part) => part,
        None => whole::check(&stores, options, collector, cancel)?,
    };
    let mut findings = findings.findings;
    findings.merge(more);
    Ok(CheckReport {
        format: stores.format,
        is_whole,
        records,
        findings,
    })
}
