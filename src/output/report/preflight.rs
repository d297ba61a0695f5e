//! What a backup would do.

use std::fmt::Write as _;

use indicatif::HumanBytes;

use super::{
    Outcome,
    backup::{HISTORY_HINT, behind, history, last, server},
};
use crate::output::{streams::printable, terminal::RunRecord};
use neo4j_backup_core::{
    backup::AskedMembers,
    outcome::HistoryProof,
    preflight::{Preflight, RepositoryAccess},
};

impl Outcome for Preflight {
    const IS_DRY_RUN: bool = true;

    fn exit_code(&self) -> u8 {
        Preflight::exit_code(self)
    }

    fn members(&self) -> Option<&AskedMembers> {
        self.members.as_ref()
    }

    fn remarks(&self) -> String {
        let mut text = String::new();
        if let Some(reason) = &self.fallback {
            let _ = writeln!(
                text,
                "warning: {}; a full backup would be taken instead",
                printable(reason)
            );
        }
        if self.history == HistoryProof::NotProven {
            text.push_str(HISTORY_HINT);
        }
        if let Some(RepositoryAccess::Failed { reason, hint }) = &self.repository {
            let _ = writeln!(text, "warning: the backup would not be archived: {}", printable(reason));
            if let Some(hint) = hint {
                let _ = writeln!(text, "hint: {}", printable(hint));
            }
        }
        text
    }

    fn rows(&self, _: &RunRecord) -> Vec<(&'static str, Option<String>)> {
        let existing = (!self.last_transactions.is_empty()).then(|| {
            let what = if self.replaces { "replaced" } else { "continued" };
            format!("{what}, ends with {}", last(&self.last_transactions))
        });
        let space = match self.needed_bytes {
            Some(needed) => format!("{} needed, {} free", HumanBytes(needed), HumanBytes(self.free_bytes)),
            None => format!("{} free", HumanBytes(self.free_bytes)),
        };
        let repository = self.repository.as_ref().map(|access| match access {
            RepositoryAccess::Usable => "usable",
            RepositoryAccess::Failed { .. } => "cannot be used",
        });
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
            ("target", Some(self.target.to_string_lossy().into_owned())),
            ("existing", existing),
            ("behind", behind(self.behind_master)),
            ("history", history(self.history)),
            ("space", Some(space)),
            ("archive", repository.map(str::to_owned)),
        ]
    }
}
