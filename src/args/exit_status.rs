//! The exit codes as the help, the manual page and the README show them.

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
}
