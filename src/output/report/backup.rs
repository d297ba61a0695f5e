//! What a backup ends with.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use indicatif::HumanBytes;

use super::{Outcome, check_lines, counted};
use crate::{
    commands::check,
    output::{streams::printable, terminal::RunRecord},
};
use neo4j_backup_core::{
    backup::AskedMembers,
    consistency::Checked,
    manifest::BackupKind,
    outcome::{BackupOutcome, HistoryProof, Verdict},
    repository::Archived,
};
use neo4j_format::ids::{DataSource, TxId};

impl Outcome for BackupOutcome {
    const IS_DRY_RUN: bool = false;

    fn exit_code(&self) -> u8 {
        BackupOutcome::exit_code(self)
    }

    fn members(&self) -> Option<&AskedMembers> {
        self.members.as_ref()
    }

    fn remarks(&self) -> String {
        let mut text = String::new();
        if let Some(warning) = verdict_warning(self.verdict) {
            let _ = writeln!(text, "warning: {warning}");
        }
        text.push_str(&check_lines(self.check.as_ref()));
        if self.history == HistoryProof::NotProven {
            text.push_str(HISTORY_HINT);
        }
        if let Some(Archived::Failed { hint: Some(hint), .. }) = &self.archive {
            let _ = writeln!(text, "hint: {}", printable(hint));
        }
        if self.verdict == Verdict::Inconsistent {
            let _ = writeln!(text, "hint: {INCONSISTENT_HINT}");
        }
        text
    }

    fn rows(&self, record: &RunRecord) -> Vec<(&'static str, Option<String>)> {
        let index_log = (self.pending_index_log_bytes > 0).then(|| {
            format!(
                "{}, applied at the first start of Neo4j",
                HumanBytes(self.pending_index_log_bytes)
            )
        });
        let logs = (self.history_log_bytes > 0).then(|| HumanBytes(self.history_log_bytes).to_string());
        let received = format!(
            "{}, {}, {}",
            counted(self.files, "file"),
            counted(self.transactions, "transaction"),
            HumanBytes(self.bytes)
        );
        let stored = match self.mode {
            BackupKind::Full if self.stored_bytes < self.bytes => {
                format!(
                    "{}, without the unused space of store files",
                    HumanBytes(self.stored_bytes)
                )
            }
            _ => HumanBytes(self.stored_bytes).to_string(),
        };
        vec![
            ("mode", Some(self.mode.name().to_owned())),
            (
                "member",
                Some(server(
                    self.members.as_ref(),
                    &self.member,
                    &self.releases,
                    &self.dialect,
                )),
            ),
            ("store id", Some(self.store_id.to_string())),
            ("received", Some(received)),
            ("stored", Some(stored)),
            ("last", Some(last(&self.last_transactions))),
            ("behind", behind(self.behind_master)),
            ("history", history(self.history)),
            ("pending", index_log),
            ("archived", logs),
            ("check", self.check.as_ref().map(check_summary)),
            ("seconds", seconds(record)),
            ("target", Some(self.target.to_string_lossy().into_owned())),
            ("snapshot", self.archive.as_ref().map(snapshot)),
            (
                "forgotten",
                (self.forgotten > 0).then(|| counted(self.forgotten, "generation")),
            ),
        ]
    }
}

/// What to do where the history could not be proven.
pub(super) const HISTORY_HINT: &str = "hint: -require-history refuses backups whose history cannot be proven\n";

/// Who serves a backup.
pub(super) fn server(members: Option<&AskedMembers>, address: &str, releases: &str, dialect: &str) -> String {
    let served = members.and_then(|members| members.served);
    let served = served.map_or(String::new(), |member| {
        format!("{} ({}) at ", member.id, member.role.name())
    });
    format!("{served}{address}, {releases} ({dialect})")
}

/// The last transaction of each data source.
pub(super) fn last(transactions: &BTreeMap<DataSource, TxId>) -> String {
    let last: Vec<String> = transactions
        .iter()
        .map(|(source, id)| format!("{source} {id}"))
        .collect();
    last.join(", ")
}

/// How far the server is behind the master.
pub(super) fn behind(transactions: Option<u64>) -> Option<String> {
    let behind = transactions.filter(|behind| *behind > 0);
    behind.map(|count| format!("{} behind the master", counted(count, "transaction")))
}

/// Whether the history was proven; `None` where there is none.
pub(super) fn history(proof: HistoryProof) -> Option<String> {
    match proof {
        HistoryProof::NotNeeded => None,
        HistoryProof::Proven => Some("verified: the source continues this backup".to_owned()),
        HistoryProof::Unchanged => Some("verified when the last transaction arrived: nothing is new".to_owned()),
        HistoryProof::NotProven => Some("not verified: nothing to compare with".to_owned()),
    }
}

/// Total and phases; `None` if all of them round to zero.
pub(super) fn seconds(record: &RunRecord) -> Option<String> {
    let shown = |time: Duration| (time.as_millis() >= 5).then(|| format!("{:.2}", time.as_secs_f64()));
    let total = shown(record.total)?;
    let phases: Vec<String> = (record.phases.iter())
        .filter_map(|(name, time)| Some(format!("{name} {}", shown(*time)?)))
        .collect();
    Some(match phases.as_slice() {
        [] => total,
        phases => format!("{total} ({})", phases.join(", ")),
    })
}

/// What became of the backup in the repository.
fn snapshot(archived: &Archived) -> String {
    match archived {
        Archived::New { snapshot, added_bytes } => {
            let id = snapshot.get(..8).unwrap_or(snapshot);
            format!("{id}, {} added", HumanBytes(*added_bytes))
        }
        Archived::Unchanged => "nothing new since the last generation".to_owned(),
        Archived::Refused => "not archived, because the check found inconsistencies".to_owned(),
        Archived::Failed { reason, .. } => format!("failed, the next backup tries again: {reason}"),
    }
}

fn check_summary(check: &Checked) -> String {
    match check {
        Checked::Report(report) if report.is_whole => check::summary(report),
        Checked::Report(report) => format!("{} in what changed", check::summary(report)),
        Checked::NotRun { .. } => "could not run".to_owned(),
    }
}

/// What to do about a copy that is inconsistent although it was received whole and every transaction was applied: servers
/// write store files wrongly at times, and write them again for the next full backup (`docs/formats/wire-protocol.md` §9.4).
const INCONSISTENT_HINT: &str = "take another full backup into a directory of its own: what it does not show was written wrongly by \
     the server only this once (known of 1.3 - 1.8 with use_memory_mapped_buffers=false), what it shows again is in the \
     server's database too";

pub(super) fn verdict_warning(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Good => None,
        Verdict::NotChecked => Some("the backup is complete, but the consistency check could not run"),
        Verdict::Inconsistent => Some("the backup is complete, but the consistency check found inconsistencies"),
        Verdict::IndexesMissing => Some("the backup is complete except for indexes that the server did not send"),
        Verdict::SourceDemoted => Some(
            "the backup is complete, but its source lost the master role during the backup: the cluster may discard the last \
             transactions in it",
        ),
    }
}
