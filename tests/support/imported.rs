//! What a database of Neo4j 5.26 holds after an import, beside what was exported.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use neo4j_sandbox::database::Properties;

use super::{Exported, ascii, process, properties};

/// An import may take long on two busy cores.
const LIMIT: Duration = Duration::from_mins(30);

/// Lines with their numbers.
pub type Lines = BTreeMap<String, usize>;

/// A dump with the bits of floating-point numbers, whose digits differ between Java and Rust.
pub fn normalised(dump: &str) -> String {
    let mut text = String::new();
    let mut rest = dump;
    while let Some((begin, name, is_double)) = [
        ("Float:", false),
        ("Double:", true),
        ("float[", false),
        ("double[", true),
    ]
    .into_iter()
    .filter_map(|(name, is_double)| Some((rest.find(name)?, name, is_double)))
    .min()
    {
        let (before, behind) = rest.split_at(begin + name.len());
        text.push_str(before);
        let is_array = name.ends_with('[');
        let end = behind
            .find(if is_array { &[']'][..] } else { &[',', '}'][..] })
            .unwrap();
        for (place, number) in behind[..end].split(',').filter(|number| !number.is_empty()).enumerate() {
            if place > 0 {
                text.push(',');
            }
            let bits = if is_double {
                number.parse::<f64>().unwrap().to_bits()
            } else {
                number.parse::<f32>().unwrap().to_bits().into()
            };
            let _ = write!(text, "{bits:x}");
        }
        rest = &behind[end..];
    }
    text + rest
}

/// Nodes by their ids, relationships by what they are: the lines of `tests/peers/import/Read.java`.
pub fn lines_of(exported: &Exported) -> Lines {
    let mut lines = BTreeMap::new();
    let mut add = |line: String| *lines.entry(normalised(&line)).or_default() += 1;
    let properties = |all: &Properties| {
        let all = all
            .iter()
            .map(|(key, value)| (ascii(key.encode_utf16()), value.clone()));
        properties(&all.collect())
    };
    for (id, all) in &exported.model.nodes {
        let mut labels = exported.labels.get(id).cloned().unwrap_or_default();
        labels.sort_unstable();
        let labels: Vec<String> = labels.iter().map(|label| ascii(label.encode_utf16())).collect();
        add(format!("N {id} {} [{}]", properties(all), labels.join(", ")));
    }
    for edge in exported.model.relationships.values() {
        add(format!(
            "R {} {}->{} {}",
            ascii(edge.kind.encode_utf16()),
            edge.start,
            edge.end,
            properties(&edge.properties)
        ));
    }
    lines
}

/// Runs import.sh with the importer as neo4j-admin, and reads the database.
pub fn imported(work: &Path, out: &Path, jars: &Path) -> Lines {
    let home = work.join("home");
    let bin = neo4j_admin(work, &home, jars);
    let mut import = Command::new(out.join("import.sh"));
    let finished = process::run(import.env("PATH", path_with(&bin)), LIMIT);
    assert!(finished.success(), "{finished:?}");
    read(work, &home, jars, None)
}

/// A folder in `work` with a `neo4j-admin` for the databases in `home`.
pub fn neo4j_admin(work: &Path, home: &Path, jars: &Path) -> PathBuf {
    let bin = work.join("bin");
    fs::create_dir_all(home.join("conf")).unwrap();
    fs::create_dir_all(&bin).unwrap();
    let admin = bin.join("neo4j-admin");
    let script = format!(
        "#!/bin/sh\nNEO4J_HOME={home} NEO4J_CONF={home}/conf exec java -cp '{jars}/lib/*' org.neo4j.cli.AdminTool \"$@\"\n",
        home = home.display(),
        jars = jars.display()
    );
    fs::write(&admin, script).unwrap();
    fs::set_permissions(&admin, fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

/// `PATH` with this folder first.
pub fn path_with(bin: &Path) -> String {
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

/// What the database in `home` holds after these statements.
pub fn read(work: &Path, home: &Path, jars: &Path, statements: Option<&Path>) -> Lines {
    let file = work.join("read");
    let mut java = Command::new("java");
    java.arg("-cp")
        .arg(format!("{0}/classes:{0}/lib/*", jars.display()))
        .arg("Read")
        .args([home, &file])
        .args(statements);
    let finished = process::run(&mut java, LIMIT);
    assert!(finished.success(), "{finished:?}");
    let mut lines = BTreeMap::new();
    for line in fs::read_to_string(file).unwrap().lines() {
        *lines.entry(normalised(line)).or_default() += 1;
    }
    lines
}

#[track_caller]
pub fn assert_same(found: &Lines, expected: &Lines) {
    let missing: Vec<_> = expected
        .iter()
        .filter(|(line, count)| found.get(*line) != Some(count))
        .take(5)
        .collect();
    let extra: Vec<_> = found
        .iter()
        .filter(|(line, count)| expected.get(*line) != Some(count))
        .take(5)
        .collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {missing:#?}\nextra {extra:#?}"
    );
}

/// Lines of a graph whose nodes have other ids: an end of a relationship is what its node is.
pub fn without_ids(lines: &Lines) -> Lines {
    let nodes: BTreeMap<&str, &str> = lines
        .keys()
        .filter_map(|line| line.strip_prefix("N ")?.split_once(' '))
        .collect();
    let mut all = BTreeMap::new();
    for (line, count) in lines {
        let text = if let Some(edge) = line.strip_prefix("R ") {
            let (head, properties) = edge.split_once(" {").unwrap();
            let (of, ends) = head.rsplit_once(' ').unwrap();
            let (start, end) = ends.split_once("->").unwrap();
            format!("R {of} {{{properties} {} -> {}", nodes[start], nodes[end])
        } else {
            line.strip_prefix("N ").unwrap().split_once(' ').unwrap().1.to_owned()
        };
        *all.entry(text).or_default() += count;
    }
    all
}
