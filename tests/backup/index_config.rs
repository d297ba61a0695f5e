//! `index.db` of a real server, which is no part of any transaction (`docs/formats/transaction-log.md` §10.2): what it
//! knows and no transaction tells, and the moment at which there is none.
//!
//! One test per question and release; those of 1.4.2 and 1.8 run always, the others with `--include-ignored`.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::support::{
    Finished, Options, Peer, Release, copy_dir, has_a_store, our_tool, questions, require_peers, snapshot, wait_until,
};
use tempfile::TempDir;

questions! {
    release => Scene::new(release);
    always [of_1_4_2 = V1_4_2, of_1_8 = V1_8];
    others [of_1_3 = V1_3, of_1_5 = V1_5, of_1_6_1 = V1_6_1, of_1_7_2 = V1_7_2, of_1_9_9 = V1_9_9];
    a_full_backup_that_meets_the_moment_without_it_begins_again,
    a_server_that_has_lost_it_gives_no_backup,
    an_index_that_no_transaction_created_needs_a_full_backup,
}

// later ones do not start
questions! {
    release => Scene::new(release);
    always [of_1_4_2 = V1_4_2];
    others [of_1_3 = V1_3, of_1_5 = V1_5, of_1_6_1 = V1_6_1];
    a_server_that_could_not_open_its_indexes_is_told,
}

/// A server with indexes.
struct Scene {
    work: TempDir,
    source: Peer,
}

impl Scene {
    fn new(release: Release) -> Scene {
        let work = TempDir::new().unwrap();
        let mut source = Peer::start(release, &work.path().join("source"), &Options::source(release));
        source.command("gen 300 100");
        Scene { work, source }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn run(&self, mode: &str, options: &[&str]) -> Finished {
        let (from, to) = (self.source.uri(), self.dir("copy"));
        our_tool(&[&[mode, "-from", &from, "-to", to.to_str().unwrap()], options].concat())
    }

    /// The copy has what the source has.
    #[track_caller]
    fn is_level(&mut self) {
        let expected = self.source.contents();
        let difference = Peer::contents_of_copy(self.source.release(), &self.dir("copy")).difference(&expected);
        assert!(difference.is_none(), "{}", difference.unwrap_or_default());
    }
}

#[track_caller]
fn assert_done(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
}

/// The server is asked for its files while `index.db` is away, and has it again before they have all been sent.
fn a_full_backup_that_meets_the_moment_without_it_begins_again(mut scene: Scene) {
    let (config, away) = (scene.dir("source/index.db"), scene.dir("index.db"));
    fs::rename(&config, &away).unwrap();
    let mut child = start_slowly(&scene.source, &scene.dir("copy"));
    let partial = scene.dir("copy.partial");
    wait_until(|| has_a_store(&partial));
    fs::rename(&away, &config).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("not index.db"), "{said}");
    assert!(said.contains("starting again from the beginning"), "{said}");
    scene.is_level();
}

fn a_server_that_has_lost_it_gives_no_backup(mut scene: Scene) {
    fs::remove_file(scene.dir("source/index.db")).unwrap();
    let finished = scene.run("-full", &[]);
    assert_eq!(finished.code, Some(15), "{}", finished.stderr);
    for words in ["not index.db", "create an index there"] {
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    assert!(!scene.dir("copy").exists());
    scene.source.command("index another");
    assert_done(&scene.run("-full", &[]));
    scene.is_level();
}

fn a_server_that_could_not_open_its_indexes_is_told(mut scene: Scene) {
    let expected = scene.source.contents();
    assert_done(&scene.run("-full", &[]));
    let (release, state) = (scene.source.release(), "index/lucene-store.db");
    let mut options = Options::source(release);
    options.settings.push("open-indexes=false".to_owned());
    let mut good = Vec::new();
    scene.source = scene.source.restarted(&options, |dir| {
        good = fs::read(dir.join(state)).unwrap();
        fs::write(dir.join(state), [0; 20]).unwrap();
    });

    let whole = scene.dir("copy");
    let before = snapshot(&whole);
    let finished = scene.run("-full", &["-overwrite"]);
    assert_eq!(finished.code, Some(13), "{}", finished.stderr);
    assert!(finished.stderr.contains("sent no index data"), "{}", finished.stderr);
    assert!(before == snapshot(&whole), "something changed");
    fs::rename(&whole, scene.dir("whole")).unwrap();
    let finished = scene.run("-full", &[]);
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("could not open its indexes"),
        "{}",
        finished.stderr
    );
    let found = Peer::contents_of_copy(release, &whole);
    assert_eq!(found.graph_difference(&expected), None);

    let repaired = |dir: &Path| fs::write(dir.join(state), &good).unwrap();
    scene.source = scene.source.restarted(&Options::source(release), repaired);
    let finished = scene.run("-incremental", &[]);
    assert_eq!(finished.code, Some(14), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("lucene-store.db is missing"),
        "{}",
        finished.stderr
    );
    assert_done(&scene.run("-incremental", &["-fallback-full"]));
    scene.is_level();
}

/// As after a crash between the two: 1.3 – 1.7 write a new index to `index.db` before they write it to their log.
fn an_index_that_no_transaction_created_needs_a_full_backup(mut scene: Scene) {
    let (release, elsewhere) = (scene.source.release(), scene.dir("elsewhere"));
    let options = Options::source(release);
    scene.source = scene.source.restarted(&options, |dir| {
        copy_dir(dir, &elsewhere);
        let mut other = Peer::boot(release, &elsewhere);
        other.command("index late");
        other.quit();
    });
    assert_done(&scene.run("-full", &[]));

    scene.source = scene.source.restarted(&options, |dir| {
        fs::copy(elsewhere.join("index.db"), dir.join("index.db")).unwrap();
    });
    scene.source.command("index late");
    let before = snapshot(&scene.dir("copy"));
    let finished = scene.run("-incremental", &[]);
    assert_eq!(finished.code, Some(14), "{}", finished.stderr);
    for words in ["node index \"late\"", "take a full backup"] {
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    assert!(before == snapshot(&scene.dir("copy")), "something changed");
    assert_done(&scene.run("-incremental", &["-fallback-full"]));
    scene.is_level();
    scene.source.command("index later");
    assert_done(&scene.run("-incremental", &[]));
    scene.is_level();
}

fn start_slowly(source: &Peer, to: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
        .args(["-full", "-from", &source.uri(), "-max-rate=10m", "-to"])
        .arg(to)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}
