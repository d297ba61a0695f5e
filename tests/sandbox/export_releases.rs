//! Exports of databases of real releases: compared with what the release itself sees, and imported into a real Neo4j
//! 5.26.

#![expect(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use neo4j_backup_core::{
    Cancel, Export,
    export::{Format, Labels},
    progress::Quiet,
};

use crate::support::{
    Backup, Contents, Exported, Options, Peer, Release, as_cypher, as_imported, dump_of,
    imported::{assert_same, imported, lines_of, normalised, read, without_ids},
    importer, require_peers,
};

/// Transactions of the load.
const LOAD: u32 = 400;

/// Of one whose every node and relationship takes a statement.
const SMALL_LOAD: u32 = 100;

/// A closed database of a release with a random load, and its dump by the release.
fn loaded(release: Release, dir: &Path, transactions: u32) -> Contents {
    let options = Options {
        backup: Backup::Off,
        settings: Vec::new(),
    };
    let mut peer = Peer::start(release, dir, &options);
    peer.load(19, transactions);
    let dump = dir.with_extension("dump");
    peer.command(&format!("dump {}", dump.display()));
    peer.quit();
    Contents::parse(&normalised(&fs::read_to_string(dump).unwrap()))
}

fn export(dir: &Path, out: &Path, format: Format) -> Export {
    Export::new(dir, out).format(format)
}

fn a_release_sees_what_is_exported(release: Release) {
    if !require_peers(release) {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let (dir, out) = (work.path().join("database"), work.path().join("out"));
    let seen = loaded(release, &dir, LOAD);
    let outcome = export(&dir, &out, Format::Jsonl)
        .run(&Quiet, &Cancel::default())
        .unwrap();
    assert_eq!(outcome.verdict.exit_code(), 0, "{outcome:#?}");
    let model = Exported::from_jsonl(&out).model;
    let exported = Contents::parse(&normalised(&dump_of(release, &model)));
    if let Some(difference) = seen.graph_difference(&exported) {
        panic!("neo4j {}:\n{difference}", release.name());
    }
}

#[test]
#[ignore = "1.8 stands for it; tests/run full"]
fn what_1_4_2_sees_is_exported() {
    a_release_sees_what_is_exported(Release::V1_4_2);
}

#[test]
fn what_1_8_sees_is_exported() {
    a_release_sees_what_is_exported(Release::V1_8);
}

/// The releases that CI leaves out.
#[test]
#[ignore = "other releases; tests/run full"]
fn what_the_other_releases_see_is_exported() {
    for release in [
        Release::V1_3,
        Release::V1_5,
        Release::V1_6_1,
        Release::V1_7_2,
        Release::V1_9_9,
    ] {
        a_release_sees_what_is_exported(release);
    }
}

fn neo4j_5_imports_a_release(release: Release) {
    let Some(jars) = importer() else { return };
    if !require_peers(release) {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("database");
    loaded(release, &dir, LOAD);
    let lines = work.path().join("lines");
    let all = export(&dir, &lines, Format::Jsonl).labels(Labels::Name("Old `one`".into()));
    all.run(&Quiet, &Cancel::default()).unwrap();
    let mut exported = Exported::from_jsonl(&lines);
    let (model, losses) = as_imported(&exported.model);
    exported.model = model;
    let expected = lines_of(&exported);
    for is_compressed in [false, true] {
        let place = work.path().join(format!("compressed-{is_compressed}"));
        let out = place.join("out");
        fs::create_dir(&place).unwrap();
        let outcome = Export::new(&dir, &out)
            .labels(Labels::Name("Old `one`".into()))
            .compress(is_compressed)
            .lossy(true)
            .run(&Quiet, &Cancel::default())
            .unwrap();
        assert_eq!(outcome.losses.total, losses);
        assert_same(&imported(&place, &out, &jars), &expected);
    }
}

macro_rules! neo4j_5_imports {
    ($($name:ident: $release:ident,)*) => {$(
        #[test]
        #[ignore = "takes minutes; tests/run full"]
        fn $name() {
            neo4j_5_imports_a_release(Release::$release);
        }
    )*};
}

neo4j_5_imports! {
    neo4j_5_imports_what_1_3_had: V1_3,
    neo4j_5_imports_what_1_4_2_had: V1_4_2,
    neo4j_5_imports_what_1_5_had: V1_5,
    neo4j_5_imports_what_1_6_1_had: V1_6_1,
    neo4j_5_imports_what_1_7_2_had: V1_7_2,
    neo4j_5_imports_what_1_8_had: V1_8,
    neo4j_5_imports_what_1_9_9_had: V1_9_9,
}

/// Runs the statements of `-format cypher` in an empty database of Neo4j 5.26 and compares what it has then.
fn neo4j_5_runs_the_statements_for(dir: &Path, work: &Path, jars: &Path) {
    let (lines, out, home) = (work.join("lines"), work.join("statements"), work.join("home"));
    let labels = Labels::Name("Old `one` \\u0041".into());
    let all = export(dir, &lines, Format::Jsonl).labels(labels.clone());
    all.run(&Quiet, &Cancel::default()).unwrap();
    let mut exported = Exported::from_jsonl(&lines);
    let (model, losses) = as_cypher(&exported.model);
    exported.model = model;
    let statements = export(dir, &out, Format::Cypher).labels(labels).lossy(true);
    let outcome = statements.run(&Quiet, &Cancel::default()).unwrap();
    assert_eq!(outcome.losses.total, losses);
    fs::create_dir_all(home.join("conf")).unwrap();
    let found = read(work, &home, jars, Some(&out.join("graph.cypher")));
    assert_same(&without_ids(&found), &without_ids(&lines_of(&exported)));
}

#[test]
#[ignore = "thousands of statements; tests/run full"]
fn neo4j_5_runs_the_statements_for_what_1_8_had() {
    let Some(jars) = importer() else { return };
    if !require_peers(Release::V1_8) {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("database");
    loaded(Release::V1_8, &dir, SMALL_LOAD);
    neo4j_5_runs_the_statements_for(&dir, work.path(), &jars);
}

#[test]
#[ignore = "starts Neo4j 5.26; tests/run full"]
fn neo4j_5_runs_the_statements_for_values_at_the_limits() {
    let Some(jars) = importer() else { return };
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("database");
    fs::create_dir(&dir).unwrap();
    limits::database(&dir);
    neo4j_5_runs_the_statements_for(&dir, work.path(), &jars);
}

#[test]
fn values_at_the_limits_are_imported_unchanged() {
    let Some(jars) = importer() else { return };
    let work = tempfile::tempdir().unwrap();
    let (dir, out, lines): (PathBuf, PathBuf, PathBuf) = (
        work.path().join("database"),
        work.path().join("out"),
        work.path().join("lines"),
    );
    fs::create_dir(&dir).unwrap();
    limits::database(&dir);
    export(&dir, &lines, Format::Jsonl)
        .run(&Quiet, &Cancel::default())
        .unwrap();
    let mut exported = Exported::from_jsonl(&lines);
    let (model, losses) = as_imported(&exported.model);
    assert_eq!(losses, 0);
    exported.model = model;
    exported.labels.clear();
    Export::new(&dir, &out).run(&Quiet, &Cancel::default()).unwrap();
    assert_same(&imported(work.path(), &out, &jars), &lines_of(&exported));
}

/// Values that a careless export changes, in the keys that the importer takes.
mod limits {
    use std::path::Path;

    use neo4j_format::{
        ids::StoreId,
        store::{StoreFormat, header::CURRENT_VERSION},
    };
    use neo4j_sandbox::{
        database::{Database, Element},
        value::{Kind, Value},
    };

    fn values() -> Vec<Value> {
        let float = |value: f32| Value::scalar(Kind::Float, value.to_bits().into());
        let double = |value: f64| Value::scalar(Kind::Double, value.to_bits());
        let mut all = vec![
            Value::scalar(Kind::Boolean, 0),
            Value::scalar(Kind::Byte, 0x80),
            Value::scalar(Kind::Short, 0x8000),
            Value::int(i32::MIN),
            Value::long(i64::MIN),
            Value::long(i64::MAX),
            Value::Texts(vec!["a".into(), String::new()]),
            Value::Texts(vec![String::new(), String::new()]),
            Value::Texts(vec![" \"a\" ".into(), ",;|\t\n\r\n'".into()]),
            Value::array(Kind::Boolean, [1, 0]),
            Value::array(Kind::Byte, [0x80, 0x7F]),
            Value::array(Kind::Long, [1 << 63, u64::MAX]),
            Value::array(Kind::Double, [f64::MIN_POSITIVE.to_bits(), f64::INFINITY.to_bits()]),
        ];
        for value in [
            0.1,
            -0.0,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
            f32::NAN,
            f32::NEG_INFINITY,
        ] {
            all.push(float(value));
        }
        for value in [0.1, -0.0, f64::MAX, 5e-324, 1e21, 1e-7, f64::NAN, f64::INFINITY] {
            all.push(double(value));
        }
        for character in [
            "\0", "\n", "\r", " ", "\"", "'", ",", "\\", "\u{1f}", "\u{feff}", "\u{ffff}",
        ] {
            let unit = u64::from(u32::from(character.chars().next().unwrap()));
            all.push(Value::scalar(Kind::Char, unit));
            all.push(Value::text(character));
            all.push(Value::text(format!("a{character}")));
            all.push(Value::text(format!("{character}a")));
        }
        for text in [
            "",
            "  ",
            "\"\"",
            "a\r\nb\nc\rd",
            "NaN",
            "null",
            "\u{1F600}\u{10FFFF}",
            "\\N",
            "true",
            "\u{2028}",
            "\\u0041 \\\\u0041 \\u005Cu0041",
            "'; // /* \"",
        ] {
            all.push(Value::text(text));
        }
        all.push(Value::text("long \" , \n ".repeat(100_000)));
        all.push(Value::Texts(vec!["x".repeat(70_000), "\u{e9}".repeat(70_000)]));
        all
    }

    /// Names of keys that look like something else.
    const KEYS: [&str; 17] = [
        "v",
        "a:b",
        "a:int",
        ":x",
        ":ID",
        "ID",
        " a ",
        "a,b",
        "a\"b",
        "a\tb",
        "a)b",
        "a}b",
        "\u{43a}\u{1F600}",
        "a\\b",
        "a\\u0041",
        "`a``",
        "a;//b",
    ];

    pub(super) fn database(dir: &Path) {
        let id = StoreId {
            creation_time: 1_350_000_000_000,
            random: 5,
            store_version: Some(CURRENT_VERSION),
        };
        let mut database = Database::create(dir, StoreFormat::Current, id).unwrap();
        let mut transaction = database.begin(1_350_000_000_000);
        let mut last = None;
        for (place, value) in values().into_iter().enumerate() {
            let node = transaction.create_node();
            let key = KEYS[place % KEYS.len()];
            let number = Value::long(i64::try_from(place).unwrap());
            transaction.set_property(Element::Node(node), "n", &number).unwrap();
            transaction.set_property(Element::Node(node), "v", &value).unwrap();
            transaction.set_property(Element::Node(node), key, &value).unwrap();
            if let Some(last) = last {
                let kind = ["KNOWS", "a \"b\",\nc", " ", ":TYPE", "\u{436}"][place % 5];
                let edge = transaction.create_relationship(kind, last, node).unwrap();
                transaction
                    .set_property(Element::Relationship(edge), key, &value)
                    .unwrap();
            }
            last = Some(node);
        }
        transaction.commit().unwrap();
        database.close().unwrap();
    }
}
