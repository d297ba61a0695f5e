//! The two files beside the CSV files: the command that imports them, and statements for new indexes.

use std::fmt::Write as _;

use super::Labels;
use crate::inspect::indexes::IndexSummary;

/// Smallest read buffer that is asked for, in MiB; a row has to fit.
const BUFFER_MIN: u64 = 64;

/// `import.sh`: the command for these files; no row is longer than `longest` bytes.
pub(super) fn script(nodes: &[String], relationships: &[String], longest: u64) -> String {
    let buffer = (longest.div_ceil(1 << 20) * 2).max(BUFFER_MIN);
    let mut text = format!(
        "#!/bin/sh
# Imports these files into a new database of Neo4j 5.26, with the neo4j-admin of the PATH.
# usage: import.sh [DATABASE [OPTION...]]    default: neo4j
#   --overwrite-destination=true replaces a database that exists
set -eu
cd \"$(dirname \"$0\")\"
database=neo4j
if [ $# -gt 0 ]; then
    database=$1
    shift
fi
exec neo4j-admin database import full \"$database\" \"$@\" \\
    --id-type=actual --normalize-types=false --multiline-fields=true --array-delimiter=U+001F \\
    --bad-tolerance=0 --read-buffer-size={buffer}m"
    );
    for (option, files) in [("nodes", nodes), ("relationships", relationships)] {
        for file in files {
            let _ = write!(text, " \\\n    --{option}={file}");
        }
    }
    text.push('\n');
    text
}

/// `indexes.cypher`: a template for each index of the old database. What its entries were, the application knows.
pub(super) fn indexes(indexes: &[IndexSummary], labels: &Labels) -> String {
    let mut text = "\
// Entries of the indexes of Neo4j 1.x are not exported: applications chose their keys and values.
// Replace KEY (and LABEL or TYPE) by what the application looks up, and remove the slashes.
"
    .to_owned();
    if indexes.is_empty() {
        text.push_str("// The database has no indexes.\n");
    }
    let label = match labels {
        Labels::Name(name) => format!("`{}`", name.replace('`', "``")),
        _ => "LABEL".to_owned(),
    };
    for index in indexes {
        let what = index.index_type.as_deref().unwrap_or("of no type");
        let name = index.name.replace('`', "``");
        let name: String = name.chars().filter(|one| !one.is_control()).collect();
        let (pattern, variable) = match index.kind {
            "node" => (format!("(n:{label})"), "n"),
            _ => ("()-[r:TYPE]-()".to_owned(), "r"),
        };
        let _ = writeln!(text, "\n// {} index {:?}, {what}", index.kind, index.name);
        let _ = if what == "fulltext" {
            writeln!(
                text,
                "// CREATE FULLTEXT INDEX `{name}` FOR {pattern} ON EACH [{variable}.KEY];"
            )
        } else {
            writeln!(text, "// CREATE INDEX `{name}` FOR {pattern} ON ({variable}.KEY);")
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_every_file_and_has_room_for_the_longest_row() {
        let script = script(&["nodes.csv".into()], &["a.csv".into(), "b.csv".into()], 100 << 20);
        assert!(script.contains("--nodes=nodes.csv \\\n    --relationships=a.csv \\\n    --relationships=b.csv\n"));
        assert!(script.contains("--read-buffer-size=200m"));
        assert!(super::script(&[], &[], 5).contains("--read-buffer-size=64m"));
    }

    #[test]
    fn each_index_has_a_template_of_its_kind() {
        let index = |kind, name: &str, of: &str| IndexSummary {
            kind,
            name: name.to_owned(),
            provider: None,
            index_type: Some(of.to_owned()),
            bytes: None,
        };
        let all = [
            index("node", "people", "exact"),
            index("relationship", "a`\nb", "fulltext"),
        ];
        let text = indexes(&all, &Labels::Name("P".into()));
        assert!(
            text.contains("\n// CREATE INDEX `people` FOR (n:`P`) ON (n.KEY);\n"),
            "{text}"
        );
        assert!(
            text.contains("\n// CREATE FULLTEXT INDEX `a``b` FOR ()-[r:TYPE]-() ON EACH [r.KEY];\n"),
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.is_empty() || line.starts_with("//")),
            "{text}"
        );
    }
}
