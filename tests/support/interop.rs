//! What the tests of interoperation share: a seeded load, both tools, and the boot of a copy that tells whether it is
//! what its source was.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{Contents, Finished, Options, Peer, Release, copy_dir, original_tool, our_tool, require_peers};

const DEFAULT_SEED: u64 = 7;

/// Which program takes a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Ours,
    Original,
}

impl Tool {
    /// Takes a backup, `-full` or `-incremental`, however that ends.
    pub fn take(self, release: Release, mode: &str, uri: &str, to: &Path) -> Finished {
        let args = [mode, "-from", uri, "-to", to.to_str().unwrap()];
        match self {
            Tool::Ours => our_tool(&[&args[..], &["-verify=false", "-output=json"]].concat()),
            Tool::Original => original_tool(release, &args),
        }
    }
}

/// Where a test with a release plays.
#[derive(Debug)]
pub struct Stage {
    release: Release,
    work: TempDir,
}

impl Stage {
    /// An empty one, which says the seed; none where the release is not there, as [`require_peers`] has it.
    #[expect(clippy::print_stderr, reason = "whoever repeats a failure needs the seed")]
    pub fn of(release: Release) -> Option<Self> {
        require_peers(release).then(|| {
            eprintln!("neo4j {}: INTEROP_SEED={}", release.name(), seed());
            Self {
                release,
                work: TempDir::new().unwrap(),
            }
        })
    }

    pub fn release(&self) -> Release {
        self.release
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// A server in `source`, whose load deletes no index.
    pub fn source_that_keeps_its_indexes(&self) -> Peer {
        let options = Options {
            settings: vec!["delete-indexes=false".to_owned()],
            ..Options::source(self.release)
        };
        Peer::start(self.release, &self.dir("source"), &options)
    }
}

/// `INTEROP_SEED`, which chooses the load.
pub fn seed() -> u64 {
    env::var("INTEROP_SEED").map_or(DEFAULT_SEED, |seed| seed.parse().unwrap())
}

/// Boots a copy of the copy, since booting changes it.
pub fn assert_boots_as(expected: &Contents, release: Release, copy: &Path, booted: &Path) {
    assert_same(expected, &boot(release, copy, booted), release, copy);
}

/// The same after an incremental by the original of 1.8, which leaves the old entries of an index that was deleted since
/// the last backup in its copy.
pub fn assert_original_continued(expected: &Contents, release: Release, copy: &Path, booted: &Path) {
    let mut found = boot(release, copy, booted);
    let mut expected = expected.clone();
    if release == Release::V1_8 {
        expected.forget_index("temp");
        found.forget_index("temp");
    }
    assert_same(&expected, &found, release, copy);
}

fn assert_same(expected: &Contents, found: &Contents, release: Release, copy: &Path) {
    if let Some(difference) = expected.difference(found) {
        panic!("neo4j {}, {}:\n{difference}", release.name(), copy.display());
    }
}

/// What a copy holds, which nothing has to be recovered for but indexes.
pub fn boot(release: Release, copy: &Path, booted: &Path) -> Contents {
    copy_dir(copy, booted);
    // The original tool leaves its own log of the copying there.
    let _ = fs::remove_file(booted.join("messages.log"));
    let mut peer = Peer::boot(release, booted);
    let contents = peer.contents();
    peer.quit();
    assert_no_recovery(&booted.join("messages.log"));
    assert_sealed(copy, booted);
    contents
}

/// 1.9.9 rebuilds an unclean store without a word, so the files are looked at too: each ends as the one that Neo4j closed
/// (`docs/formats/store-format.md` §3.1), and no `.id` file says "in use" (§6).
fn assert_sealed(copy: &Path, closed: &Path) {
    const VERSION: usize = " v0.A.0".len();
    let mut stores = 0;
    for entry in fs::read_dir(copy).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("neostore") {
            continue;
        }
        let bytes = fs::read(copy.join(&name)).unwrap();
        if Path::new(&name).extension().is_some_and(|extension| extension == "id") {
            assert_eq!(bytes.first(), Some(&0), "{name} of the copy is in use");
            continue;
        }
        let closed = fs::read(closed.join(&name)).unwrap();
        let end = &closed[closed.len() - VERSION..];
        assert!(
            bytes.ends_with(end),
            "{name} of the copy does not end with {:?}",
            String::from_utf8_lossy(end)
        );
        assert!(
            copy.join(format!("{name}.id")).exists(),
            "{name} of the copy has no .id file"
        );
        stores += 1;
    }
    assert!(stores >= 10, "the copy has {stores} stores");
}

/// A pending Lucene log is replayed by the first start; nothing else may look like a crash.
fn assert_no_recovery(messages: &Path) {
    let text = fs::read_to_string(messages).unwrap();
    for line in text.lines().filter(|line| !line.contains("lucene.log")) {
        let line = line.to_lowercase();
        assert!(!line.contains("non clean shutdown"), "{line}");
        assert!(!line.contains("recovery started"), "{line}");
    }
}
