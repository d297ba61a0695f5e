//! What earlier verifications of a backup came to, as its manifest keeps it.
//!
//! An incremental backup keeps these records, so that it cannot make a backup look better than it is: the transactions that
//! it added are those after [`Verification::last_transactions`]. A full backup begins without any.

use serde::{Deserialize, Serialize};

use super::{LastTransaction, Manifest};
use neo4j_format::ids::{DataSource, TxId};

/// What verified a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifiedBy {
    /// `verify`, which compares every byte with its checksum.
    Verify,
    /// A backup whose graph was checked as a whole at its end.
    Backup,
    /// A restore for practice, which compares every byte and checks the whole graph.
    Drill,
}

impl VerifiedBy {
    /// The command.
    pub const fn name(self) -> &'static str {
        match self {
            VerifiedBy::Verify => "verify",
            VerifiedBy::Backup => "backup",
            VerifiedBy::Drill => "drill",
        }
    }
}

/// What a verification came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerificationResult {
    /// Every byte is as it was written.
    Intact,
    /// The graph has no errors; bytes were not compared.
    Consistent,
    /// Neo4j changed it, and nothing else did.
    ChangedByNeo4j,
    /// An incremental backup did not end.
    InterruptedUpdate,
    /// Bytes differ, and nothing explains it.
    Damaged,
    /// The graph has errors.
    Inconsistent,
}

impl VerificationResult {
    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            VerificationResult::Intact => "intact",
            VerificationResult::Consistent => "consistent",
            VerificationResult::ChangedByNeo4j => "changed-by-neo4j",
            VerificationResult::InterruptedUpdate => "interrupted-update",
            VerificationResult::Damaged => "damaged",
            VerificationResult::Inconsistent => "inconsistent",
        }
    }
}

/// One verification of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// What verified it.
    pub by: VerifiedBy,
    /// Milliseconds since 1970 at which it ended.
    pub finished: u64,
    /// What it came to.
    pub result: VerificationResult,
    /// Bytes that were compared with their checksums, if all were.
    pub bytes: Option<u64>,
    /// Records of the graph that were checked, if all were.
    pub records: Option<u64>,
    /// Newest transaction per data source at that time.
    pub last_transactions: Vec<LastTransaction>,
}

impl Manifest {
    /// Adds a verification of the present state; only the newest one by each command is kept.
    pub fn add_verification(&mut self, mut verification: Verification) {
        verification.last_transactions.clone_from(&self.last_transactions);
        self.verifications.retain(|earlier| earlier.by != verification.by);
        self.verifications.push(verification);
    }

    /// The newest verification, whatever it read.
    pub fn last_verification(&self) -> Option<&Verification> {
        self.verifications.last()
    }

    /// The newest verification that compared bytes with their checksums, if it found damage.
    pub fn known_damage(&self) -> Option<&Verification> {
        let mut compared = self.verifications.iter().rev();
        let newest = compared.find(|verification| verification.by != VerifiedBy::Backup)?;
        (newest.result == VerificationResult::Damaged).then_some(newest)
    }

    /// First and last transaction of the graph that a verification did not see.
    pub fn transactions_after(&self, verification: &Verification) -> Option<(TxId, TxId)> {
        let (last, _) = self.last_transaction(DataSource::Graph)?;
        let seen = verification.last_transactions.iter();
        let seen = seen
            .filter(|seen| seen.data_source == DataSource::Graph.name())
            .map(|seen| TxId(seen.id))
            .next()?;
        (seen < last).then_some((seen.next(), last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::document::tests::run;

    fn verification(by: VerifiedBy, result: VerificationResult) -> Verification {
        Verification {
            by,
            finished: 1,
            result,
            bytes: None,
            records: None,
            last_transactions: Vec::new(),
        }
    }

    fn graph(id: i64) -> Vec<LastTransaction> {
        vec![LastTransaction {
            data_source: DataSource::Graph.name().to_owned(),
            id,
            fingerprint: None,
        }]
    }

    #[test]
    fn damage_is_known_until_all_bytes_were_compared_again() {
        let mut manifest = Manifest::receiving(run("a"), None);
        let mut add = |by, result| {
            manifest.add_verification(verification(by, result));
            manifest.known_damage().is_some()
        };
        assert!(!add(VerifiedBy::Backup, VerificationResult::Consistent));
        assert!(add(VerifiedBy::Verify, VerificationResult::Damaged));
        assert!(add(VerifiedBy::Backup, VerificationResult::Consistent));
        assert!(!add(VerifiedBy::Drill, VerificationResult::Intact));
        assert!(add(VerifiedBy::Drill, VerificationResult::Damaged));
        assert!(!add(VerifiedBy::Verify, VerificationResult::ChangedByNeo4j));
        assert_eq!(manifest.verifications.len(), 3);
        assert_eq!(manifest.last_verification().unwrap().by, VerifiedBy::Verify);
    }

    #[test]
    fn an_incremental_adds_transactions_that_no_verification_saw() {
        let mut manifest = Manifest::receiving(run("a"), None);
        manifest.last_transactions = graph(7);
        manifest.add_verification(verification(VerifiedBy::Verify, VerificationResult::Intact));
        let seen = manifest.verifications[0].clone();
        assert_eq!(manifest.transactions_after(&seen), None);
        manifest.last_transactions = graph(9);
        assert_eq!(manifest.transactions_after(&seen), Some((TxId(8), TxId(9))));
    }
}
