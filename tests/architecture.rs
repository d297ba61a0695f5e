//! Which folder may know what, enforced by reading the sources: one row of [`RULES`] per rule.
//!
//! Tests inside the sources (`#[cfg(test)] mod tests`, files and folders named `tests`) may use anything.

#![expect(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Sources that may not name certain paths.
struct Rule {
    name: &'static str,
    /// Files and folders below `src`, without `.rs`; `""` is all of them.
    within: &'static [&'static str],
    except: &'static [&'static str],
    /// Paths as a `use` would spell them; all that is below them is meant too.
    forbidden: &'static [&'static str],
}

/// The codecs: bytes to values and back.
const CODECS: &[&str] = &[
    "uri",
    "wire",
    "log",
    "store/record",
    "discovery/znodes",
    "discovery/cluster",
    "discovery/ranking",
];

/// The part of `log` that reads and writes files.
const SLOTS: &[&str] = &[
    "log/slot",
    "log/files",
    "log/reader",
    "log/second_pass",
    "log/stretch",
    "log/writer",
];

const RULES: &[Rule] = &[
    Rule {
        name: "codecs know no files",
        within: CODECS,
        except: SLOTS,
        forbidden: &["std::fs", "std::os::fd", "std::os::unix::fs", "rustix"],
    },
    Rule {
        name: "codecs know no sockets, no runtime and no environment",
        within: CODECS,
        except: &[],
        forbidden: &[
            "std::net::TcpStream",
            "std::net::TcpListener",
            "std::net::UdpSocket",
            "std::net::ToSocketAddrs",
            "std::thread",
            "std::env",
            "tokio",
            "tokio_util",
            "tracing",
        ],
    },
    Rule {
        name: "codecs know no clock and no randomness",
        within: CODECS,
        except: &[],
        forbidden: &["std::time::Instant", "std::time::SystemTime", "rand"],
    },
    Rule {
        name: "codecs know none of those who use them",
        within: CODECS,
        except: &[],
        forbidden: &[
            "crate::client",
            "crate::transfer",
            "crate::check",
            "crate::server",
            "crate::sandbox",
            "crate::cli",
        ],
    },
    Rule {
        name: "the protocol and the URI know neither stores nor logs",
        within: &["uri", "wire"],
        except: &[],
        forbidden: &["crate::store", "crate::log"],
    },
    Rule {
        name: "stores, logs, checks and replay know no sockets and no runtime",
        within: &["store", "log", "check", "transfer/apply"],
        except: &[],
        forbidden: &[
            "std::net",
            "tokio",
            "tokio_util",
            "crate::client",
            "crate::discovery",
            "crate::server",
            "crate::sandbox",
            "crate::cli",
        ],
    },
    Rule {
        name: "stores say what bytes mean and leave changing them to others",
        within: &["store", "log"],
        except: &[],
        forbidden: &["crate::transfer", "crate::check"],
    },
    Rule {
        name: "what a backup says about itself is known without those who write it",
        within: &["manifest", "verify", "inspect"],
        except: &[],
        forbidden: &[
            "std::net",
            "tokio",
            "crate::client",
            "crate::discovery",
            "crate::server",
            "crate::sandbox",
            "crate::transfer",
        ],
    },
    Rule {
        name: "the client knows the peer and never the disk",
        within: &["client"],
        except: &[],
        forbidden: &[
            "std::fs",
            "rustix",
            "tokio::fs",
            "crate::transfer",
            "crate::store",
            "crate::check",
        ],
    },
    Rule {
        name: "the server reads what others write",
        within: &["server"],
        except: &[],
        forbidden: &[
            "crate::client",
            "crate::discovery",
            "crate::sandbox",
            "std::fs::OpenOptions",
            "tokio::fs",
        ],
    },
    Rule {
        name: "a transfer pulls from a stream it is given",
        within: &["transfer"],
        except: &[],
        forbidden: &["std::net", "tokio::net", "crate::discovery", "crate::server"],
    },
    Rule {
        name: "failover decides and leaves doing to others",
        within: &["failover"],
        except: &[],
        forbidden: &[
            "std::fs",
            "std::net",
            "rustix",
            "tokio",
            "crate::server",
            "crate::sandbox",
        ],
    },
    Rule {
        name: "blocking file work is not done through the runtime",
        within: &[""],
        except: &[],
        forbidden: &["tokio::fs"],
    },
    Rule {
        name: "the command line is known to itself only",
        within: &[""],
        except: &["cli", "main"],
        forbidden: &["clap", "indicatif", "tracing_subscriber", "crate::cli"],
    },
    Rule {
        name: "the terminal and the environment are known to the command line only",
        within: &[""],
        except: &["cli", "main"],
        forbidden: &[
            "std::env",
            "std::io::stdin",
            "std::io::stdout",
            "std::io::stderr",
            "std::io::IsTerminal",
            "std::process::exit",
        ],
    },
    Rule {
        name: "randomness is handed in",
        within: &[""],
        except: &["cli", "main"],
        forbidden: &["rand::rng", "rand::random", "rand::rngs::ThreadRng"],
    },
    Rule {
        name: "nothing of the product leans on the sandbox",
        within: &[""],
        except: &["sandbox", "cli"],
        forbidden: &["crate::sandbox"],
    },
    Rule {
        name: "one file retries with the retry crate",
        within: &[""],
        except: &["retry"],
        forbidden: &["backoff"],
    },
    Rule {
        name: "one folder speaks to the coordinators",
        within: &[""],
        except: &["discovery"],
        forbidden: &["zookeeper_client"],
    },
];

#[test]
fn every_folder_knows_only_what_its_layer_may() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut violations = Vec::new();
    for file in sources(&src) {
        let text = fs::read_to_string(&file).unwrap();
        let place = file.strip_prefix(&src).unwrap().with_extension("");
        violations.extend(judge(place.to_str().unwrap(), &text));
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

/// A row for a folder that was renamed would hold nothing back.
#[test]
fn every_rule_for_an_existing_layer_finds_its_sources() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for place in [
        "uri",
        "wire",
        "log",
        "store/record",
        "store",
        "client",
        "discovery",
        "manifest",
        "verify",
        "inspect",
        "transfer",
        "sandbox",
        "cli",
    ] {
        assert!(
            src.join(place).is_dir(),
            "src/{place} is gone: change the rules that name it"
        );
    }
    let files = CODECS.iter().filter(|place| place.starts_with("discovery/"));
    for place in SLOTS.iter().chain(files) {
        assert!(
            src.join(place).with_extension("rs").is_file(),
            "src/{place}.rs is gone: change the rules that name it"
        );
    }
}

#[test]
fn planted_violations_are_found() {
    let cases = [
        ("wire/frame", "use std::fs;"),
        ("wire/frame", "use std::{\n    io,\n    fs::{self, File},\n};"),
        ("wire/frame", "fn read() { std::fs::read(\"x\"); }"),
        ("wire/frame", "pub(crate) use ::std::fs as disk;"),
        ("log/entry", "use rustix::fs::openat;"),
        ("uri/source", "fn now() { let at = std::time::Instant::now(); }"),
        ("store/names", "use tokio::sync::mpsc;"),
        ("log/slot", "use tokio::sync::mpsc;"),
        ("transfer/apply", "use std::net::Ipv4Addr;"),
        ("transfer/full", "use tokio::{io::AsyncRead, net::TcpStream};"),
        ("client/connect", "use crate::{error::Error, transfer::full};"),
        ("client/connect", "use super::super::transfer::full;"),
        ("client/mod", "use super::transfer::{self, full};"),
        ("verify/outcome", "use crate::transfer::staging;"),
        ("store/record/node", "fn f() { super::super::super::transfer::seal(); }"),
        ("wire/frame", "use crate::store::record;"),
        ("client/connect", "use clap::Parser;"),
        ("server/mod", "use crate::sandbox::database::Database;"),
        ("error", "use std::io::{self, IsTerminal as _};"),
        (
            "wire/frame",
            "fn rows<'a>() -> impl Rows + use<'a> { std::fs::read(\"x\"); }",
        ),
        (
            "client/connect",
            "fn later() { backoff::ExponentialBackoff::default(); }",
        ),
    ];
    for (place, text) in cases {
        assert!(!judge(place, text).is_empty(), "{place}: {text}");
    }
}

#[test]
fn what_a_layer_may_know_is_not_held_against_it() {
    let cases = [
        (
            "wire/frame",
            "//! Not even std::fs.\nuse std::{fmt, net::Ipv4Addr, time::Duration};",
        ),
        (
            "wire/frame",
            "/* std::fs */ const TEXT: &str = \"std::fs \\\" tokio::net\"; const C: char = '\"';",
        ),
        (
            "wire/frame",
            "fn f<'a>(a: &'a str) {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n    fn g() {}\n}",
        ),
        ("wire/response/tests", "use std::fs;"),
        ("log/tests/slots", "use tokio::runtime;"),
        ("log/slot", "use std::fs::File;"),
        ("client/connect", "use tokio::net::TcpStream;"),
        ("transfer/full", "use crate::client::Incoming; use std::fs;"),
        ("cli/terminal", "use std::io::IsTerminal; use clap::Parser;"),
        ("transfer/full", "use super::{seal, server_side::Rows};"),
        ("store/mod", "use self::record::Node; use super::ids::TxId;"),
        ("retry", "use backoff::ExponentialBackoff;"),
        ("wirework/frame", "use std::fs;"),
        (
            "wire/frame",
            "fn rows<'a, T>() -> impl Rows + use<'a, T> { Rows { of: T } }\nfn next() {}",
        ),
    ];
    for (place, text) in cases {
        assert_eq!(judge(place, text), Vec::<String>::new(), "{place}: {text}");
    }
}

/// What is wrong with a source file; `place` is its path below `src` without `.rs`.
fn judge(place: &str, text: &str) -> Vec<String> {
    if place.split('/').any(|part| part == "tests") {
        return Vec::new();
    }
    let paths: Vec<String> = paths(&without_tests(&without_text(text)))
        .iter()
        .map(|path| from_the_crate(place, path))
        .collect();
    let mut violations = Vec::new();
    for rule in RULES {
        if !lies_in(place, rule.within) || lies_in(place, rule.except) {
            continue;
        }
        for forbidden in rule.forbidden {
            if let Some(path) = paths.iter().find(|path| starts_with(path, forbidden)) {
                violations.push(format!("src/{place}.rs names {path}: {}", rule.name));
            }
        }
    }
    violations
}

/// `super::x` and `self::x` as a path that begins at `crate`. A module inside a file counts as the file itself, so paths
/// out of one are taken to lead one step further up than they do.
fn from_the_crate(place: &str, path: &str) -> String {
    let mut module: Vec<&str> = place.split('/').filter(|part| *part != "mod").collect();
    let mut rest = path;
    let mut relative = false;
    loop {
        if let Some(below) = rest.strip_prefix("super::") {
            module.pop();
            rest = below;
        } else if let Some(below) = rest.strip_prefix("self::") {
            rest = below;
        } else {
            break;
        }
        relative = true;
    }
    if !relative {
        return path.to_owned();
    }
    module.insert(0, "crate");
    module.push(rest);
    module.join("::")
}

fn lies_in(place: &str, folders: &[&str]) -> bool {
    folders.iter().any(|folder| {
        folder.is_empty()
            || place
                .strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn starts_with(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// All Rust files below a folder.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The source without comments and without what is inside string and character literals.
fn without_text(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if c == '"' {
            quoted(rest, '"')
        } else if c == '\'' && is_character(rest) {
            quoted(rest, '\'')
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

/// Length of `r"…"` or `r#"…"#` at the start.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", &after[..hashes]);
    let body = hashes + 2;
    Some(body + text[body..].find(&end)? + end.len())
}

/// Length of a literal with its quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// Tells `'a'` from the lifetime `'a`.
fn is_character(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

/// The code without its `#[cfg(test)]` items.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = &rest[end_of_item(rest)..];
    }
    kept + rest
}

/// Where an item ends: at its semicolon or its last closing brace.
fn end_of_item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// All paths that the code names: those of `use` trees spelled out, and those written in place.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = code;
    while !rest.is_empty() {
        let length = rest.find(|c: char| !is_path(c)).unwrap_or(rest.len());
        let word = &rest[..length];
        rest = &rest[length..];
        // `use<'a>` is what an `impl` captures
        if word == "use" && !rest.trim_start().starts_with('<') {
            let end = rest.find(';').unwrap_or(rest.len());
            let tree: String = rest[..end].split_whitespace().collect::<Vec<_>>().join(" ");
            expand("", &tree, &mut paths);
            rest = &rest[end..];
        } else if word.contains("::") {
            paths.push(word.trim_start_matches("::").to_owned());
        }
        if let Some(c) = rest.chars().next().filter(|c| !is_path(*c)) {
            rest = &rest[c.len_utf8()..];
        }
    }
    paths
}

fn is_path(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == ':'
}

/// Spells out `a::{b, c::{self, d}}`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    if let Some((head, group)) = tree.split_once('{') {
        let inner = group.strip_suffix('}').unwrap_or_else(|| panic!("use tree {tree}"));
        let prefix = format!("{prefix}{}", head.trim_start_matches("::"));
        for branch in branches(inner) {
            expand(&prefix, branch, paths);
        }
    } else if !tree.is_empty() {
        let name = tree.split(" as ").next().unwrap_or(tree).trim_start_matches("::");
        let path = format!("{prefix}{name}");
        paths.push(path.trim_end_matches("::self").to_owned());
    }
}

/// Splits at the commas that no brace encloses.
fn branches(group: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let is_border = |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    };
    group.split(is_border).collect()
}
