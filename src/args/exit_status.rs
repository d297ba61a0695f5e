//! The exit codes as the help, the manual page, the README and `docs/exit-codes.md` show them.

use std::fmt::Write as _;

use neo4j_backup_core::error::EXIT_STATUSES;

/// The table, one code a line.
pub(crate) fn table() -> String {
    let mut text = String::new();
    for status in EXIT_STATUSES {
        let _ = writeln!(text, "{:>5}  {}", status.code, status.meaning);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;

    #[test]
    fn the_readme_has_the_same_table() {
        let readme = include_str!("../../README.md");
        let rows: Vec<&str> = readme
            .lines()
            .skip_while(|line| *line != "| exit code | meaning |")
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect();
        let expected = EXIT_STATUSES.iter();
        let expected: Vec<String> = expected
            .map(|status| format!("| {} | {} |", status.code, status.meaning))
            .collect();
        assert_eq!(rows, expected);
    }

    /// `docs/exit-codes.md`.
    fn page() -> String {
        let mut page = String::from(
            "<!-- generated from crates/core/src/error.rs: UPDATE=1 cargo test --bin neo4j-backup exit_codes -->\n\
             # Exit codes\n\n\
             Every command ends with one of these codes. With `-output json`, `exit_code` has the code, after a failure too,\n\
             and `error.kind` has the name; for 12 it says which: `no-zookeeper`, `not-authorized`, `unknown-cluster` or\n\
             `no-member`. The [runbook](runbook.md) has a procedure for each code.\n\n\
             * **2 to 5**: the backup or the restored database is complete and in place.\n\
             * **1 and 10 to 25**: the target holds what it held before, or a newer complete backup. The same command can be\n  \
               run again at any time.\n\
             * **64**: nothing was changed.\n\n\
             | code | name | meaning |\n|---|---|---|\n",
        );
        for status in EXIT_STATUSES {
            let _ = writeln!(page, "| {} | `{}` | {} |", status.code, status.name, status.meaning);
        }
        page
    }

    #[test]
    fn the_page_of_exit_codes_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/exit-codes.md");
        if env::var_os("UPDATE").is_some() {
            fs::write(path, page()).unwrap();
        }
        let current = fs::read_to_string(path).unwrap();
        assert_eq!(current, page(), "run this test with UPDATE=1");
    }
}
