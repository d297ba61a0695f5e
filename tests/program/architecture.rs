//! Borders that Cargo cannot guard, because they run inside a crate: one row of [`RULES`] each.
//!
//! A rule is judged on the text of the sources, without comments and `#[cfg(test)]` items at the end of a file.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    fs,
    path::{Path, PathBuf},
};

struct Rule {
    name: &'static str,
    /// Folders and files below the repository, without `.rs`.
    within: &'static [&'static str],
    except: &'static [&'static str],
    /// Words that may not occur there.
    forbidden: &'static [&'static str],
}

const FORMAT: &str = "crates/format/src";
const CORE: &str = "crates/core/src";
const SANDBOX: &str = "crates/sandbox/src";
const SOURCE: &str = "crates/core/src/source";

const RULES: &[Rule] = &[
    Rule {
        name: "codecs know no files",
        within: &[
            "crates/format/src/wire",
            "crates/format/src/store/record",
            "crates/core/src/source/uri",
            "crates/core/src/source/discovery/znodes",
            "crates/core/src/source/discovery/cluster",
            "crates/core/src/source/discovery/ranking",
        ],
        except: &[],
        forbidden: &["std::fs", "fs::", "rustix", "Instant", "SystemTime"],
    },
    Rule {
        name: "formats know no clock, no socket and no environment",
        within: &[FORMAT],
        except: &[],
        forbidden: &[
            "Instant::now",
            "SystemTime::now",
            "TcpStream",
            "TcpListener",
            "std::env",
        ],
    },
    Rule {
        name: "the source never touches the disk",
        within: &[SOURCE],
        except: &[],
        forbidden: &[
            "std::fs",
            "fs::",
            "rustix",
            "crate::target",
            "crate::receive",
            "crate::replay",
        ],
    },
    Rule {
        name: "what touches the disk knows no socket",
        within: &[
            "crates/core/src/target",
            "crates/core/src/replay",
            "crates/core/src/manifest",
            "crates/core/src/verify",
            "crates/core/src/inspect",
            "crates/core/src/check",
            "crates/core/src/export",
            "crates/core/src/diff",
            "crates/core/src/stats",
            "crates/core/src/restore",
            "crates/core/src/repository",
        ],
        // repositories in object stores
        except: &["crates/core/src/repository/objects"],
        forbidden: &["std::net", "tokio", "crate::source", "crate::serve"],
    },
    Rule {
        name: "what arrives is pulled from a stream, whoever sends it",
        within: &["crates/core/src/receive"],
        except: &[],
        forbidden: &["std::net", "tokio", "discovery", "crate::serve"],
    },
    Rule {
        name: "the server reads what others write",
        within: &["crates/core/src/serve"],
        except: &[],
        forbidden: &["crate::source", "crate::receive", "crate::replay", "OpenOptions"],
    },
    Rule {
        name: "files of a directory are reached through its handle",
        within: &[CORE, FORMAT],
        except: &[
            // the paths that a user names are resolved here
            "crates/core/src/target/staging",
            "crates/core/src/serve/directory",
            // the name of this machine
            "crates/core/src/target/lock",
            // modes of a path, for messages
            "crates/core/src/file_system",
            // files of the kernel that show this process's sockets, and what other processes have open
            "crates/core/src/own_socket",
            "crates/core/src/target/open_files",
        ],
        forbidden: &[
            "fs::read",
            "fs::read_dir",
            "fs::read_to_string",
            "fs::write",
            "fs::create_dir",
            "fs::create_dir_all",
            "fs::remove_file",
            "fs::remove_dir",
            "fs::remove_dir_all",
            "fs::rename",
            "fs::metadata",
            "fs::symlink_metadata",
            "fs::canonicalize",
            "File::open",
            "File::create",
            "File::options",
            "OpenOptions",
        ],
    },
    Rule {
        name: "the terminal and the environment are known to the program only",
        within: &[CORE, FORMAT, SANDBOX],
        except: &[],
        forbidden: &["env::var", "stdout", "stderr", "stdin", "IsTerminal", "process::exit"],
    },
    Rule {
        name: "blocking file work is not done through the runtime",
        within: &[CORE, FORMAT, SANDBOX, "src"],
        except: &[],
        forbidden: &["tokio::fs"],
    },
    Rule {
        name: "randomness is handed in",
        within: &[CORE, FORMAT, SANDBOX],
        except: &[],
        forbidden: &["rand::rng", "rand::random", "ThreadRng"],
    },
    Rule {
        name: "one file knows the retry crate",
        within: &[CORE, FORMAT, SANDBOX, "src"],
        except: &["crates/core/src/retry"],
        forbidden: &["backoff::"],
    },
    Rule {
        name: "one folder knows the repository crates",
        within: &[CORE, FORMAT, SANDBOX, "src"],
        except: &["crates/core/src/repository"],
        forbidden: &["rustic_core", "rustic_backend", "object_store"],
    },
    Rule {
        name: "one folder speaks to ZooKeeper",
        within: &[CORE, FORMAT, SANDBOX, "src"],
        except: &["crates/core/src/source/discovery"],
        forbidden: &["zookeeper_client"],
    },
];

#[test]
fn every_folder_knows_only_what_it_may() {
    let mut violations = Vec::new();
    for rule in RULES {
        for place in rule.within.iter().chain(rule.except) {
            let files = sources(place);
            assert!(!files.is_empty(), "{}: {place} is gone", rule.name);
        }
        let excepted: Vec<PathBuf> = rule.except.iter().flat_map(|place| sources(place)).collect();
        for file in rule.within.iter().flat_map(|place| sources(place)) {
            if !excepted.contains(&file) {
                let found = violation(rule, &fs::read_to_string(&file).unwrap());
                violations.extend(found.map(|word| format!("{} has {word}: {}", file.display(), rule.name)));
            }
        }
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn planted_violations_are_found_and_tests_are_left_out() {
    let rule = &RULES[2];
    assert_eq!(violation(rule, "use std::fs;"), Some("std::fs"));
    assert_eq!(violation(rule, "use std::{\n    fs::File,\n};"), Some("fs::"));
    assert_eq!(
        violation(rule, "// std::fs\n/// [`crate::target`]\nuse std::net;"),
        None
    );
    assert_eq!(
        violation(rule, "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}"),
        None
    );
    assert_eq!(violation(rule, "offsets::of(1)"), None);
}

/// The first forbidden word in a source.
fn violation(rule: &Rule, source: &str) -> Option<&'static str> {
    let product = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: Vec<&str> = product
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    rule.forbidden
        .iter()
        .copied()
        .find(|word| code.iter().any(|line| has_word(line, word)))
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let ends_open = word.ends_with(':');
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && (ends_open || !after.is_some_and(is_part))
    })
}

/// The Rust files of a folder, or the one file of that name; without those of tests.
fn sources(place: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
    let file = path.with_extension("rs");
    if file.is_file() {
        return vec![file];
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(&path).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            let below = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
            files.extend(sources(below.to_str().unwrap()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
