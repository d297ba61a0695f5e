//! README and runbook: their exit codes are those of the program, their links lead somewhere.

use std::path::Path;

use super::program::stdout_of;

const README: &str = include_str!("../../README.md");

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_program() {
    let of_readme: Vec<(String, String)> = README
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.splitn(2, " | ");
            let code = cells.next()?;
            code.parse::<u8>().ok()?;
            Some((code.to_owned(), cells.next()?.to_owned()))
        })
        .collect();
    let of_program: Vec<(String, String)> = stdout_of(&["help", "exit-status"])
        .lines()
        .map(|line| {
            let (code, meaning) = line.trim_start().split_once("  ").unwrap();
            (code.to_owned(), meaning.to_owned())
        })
        .collect();
    assert_eq!(of_readme, of_program);
}

#[test]
fn the_runbook_has_a_procedure_for_every_exit_code() {
    let runbook = include_str!("../../docs/runbook.md");
    for line in stdout_of(&["help", "exit-status"]).lines() {
        let code = line.split_whitespace().next().unwrap();
        let is_there = runbook.lines().any(|line| {
            let cell = line
                .strip_prefix("| ")
                .and_then(|line| line.split(" |").next())
                .unwrap_or_default();
            cell.split(", ").any(|cell| cell == code)
        });
        assert!(is_there, "exit code {code}");
    }
}

#[test]
fn the_readme_is_short() {
    assert!(README.lines().count() <= 150);
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for document in [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/operations.md",
        "docs/runbook.md",
        "docs/exit-codes.md",
        "docs/security.md",
        "docs/architecture.md",
    ] {
        let path = root.join(document);
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.starts_with("https:") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{document}: {link}");
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                assert!(anchors(&text).any(|anchor| anchor == heading), "{document}: {link}");
            }
            count += 1;
        }
    }
    assert!(count >= 40, "{count} links");
}

/// What a link to each heading is called.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
