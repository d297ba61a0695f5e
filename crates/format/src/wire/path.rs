//! File names from a peer, judged as a whole before anything is created (`docs/formats/wire-protocol.md` §9.2).

use std::fmt;

use super::limits;

/// A relative path that a real server sends: `neostore…`, `index.db` or something below `index/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerPath(String);

/// Below these, folders have the names of indexes.
const INDEXES: [&str; 2] = ["index/lucene/node/", "index/lucene/relationship/"];

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server sent the file name {name:?}, which {why}")]
pub struct PathError {
    /// The name, control characters escaped by its debug form.
    pub name: String,
    /// Why.
    pub why: &'static str,
}

impl PeerPath {
    /// Judges a name. One with `\` and no `/` comes from Windows and is translated.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn new(units: &[u16]) -> Result<PeerPath, PathError> {
        let refuse = |name: &str, why| {
            Err(PathError {
                name: name.chars().take(200).collect(),
                why,
            })
        };
        let Ok(mut name) = String::from_utf16(units) else {
            return refuse(&String::from_utf16_lossy(units), "is not valid UTF-16");
        };
        if name.contains('\\') && !name.contains('/') {
            name = name.replace('\\', "/");
        }
        let why = judge(&name);
        match why {
            None => Ok(PeerPath(name)),
            Some(why) => refuse(&name, why),
        }
    }

    /// Judges a name of our own, to be sent to a peer.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn to_send(name: &str) -> Result<PeerPath, PathError> {
        PeerPath::new(&name.encode_utf16().collect::<Vec<_>>())
    }

    /// The path, `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn judge(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.starts_with('/') || name.chars().nth(1) == Some(':') {
        return Some("is not a relative path");
    }
    // index names may have any but this one
    let is_of_an_index = INDEXES.iter().any(|folder| name.starts_with(folder));
    if name.contains('\0') || !is_of_an_index && name.chars().any(char::is_control) {
        return Some("contains control characters");
    }
    if name
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Some("has empty or dot components");
    }
    if name.len() > limits::PATH_BYTES {
        return Some("is too long");
    }
    if name.split('/').any(|part| part.len() > limits::COMPONENT_BYTES) {
        return Some("has a component of more than 255 bytes");
    }
    let store = !name.contains('/') && !name.contains('\\') && (name.starts_with("neostore") || name == "index.db");
    let index = name.starts_with("index/") && !name.starts_with("index/lucene.log");
    if !(store || index) || has_id_suffix(name) {
        return Some("is not a name that Neo4j uses");
    }
    None
}

/// Whether it is an id file, in any case: a target on a file system that folds case must not lose one either.
fn has_id_suffix(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> Result<PeerPath, PathError> {
        PeerPath::new(&name.encode_utf16().collect::<Vec<_>>())
    }

    #[test]
    fn names_of_real_servers_are_taken() {
        for name in [
            "neostore",
            "neostore.propertystore.db.index.keys",
            "index.db",
            "index/lucene-store.db",
            "index/lucene/node/über people/_0.cfs",
            "index/lucene/relationship/a\\b/segments_2",
            "index/lucene/node/tab\there/new\nline/_0.cfs",
        ] {
            assert_eq!(path(name).unwrap().as_str(), name);
        }
        assert_eq!(
            path("index\\lucene\\node\\x\\_0.cfs").unwrap().as_str(),
            "index/lucene/node/x/_0.cfs"
        );
    }

    #[test]
    fn every_other_name_is_refused() {
        for name in [
            "",
            "/neostore",
            "c:neostore",
            "../neostore",
            "index/../../x",
            "index/./x",
            "index//x",
            "index/",
            "neostore\0",
            "index/a\nb",
            "index/lucene/node/a\0b/_0.cfs",
            "neostore\nx",
            "neostore.id",
            "neostore.ID",
            "index/lucene/node/x/_0.id",
            "neostore.nodestore.db.id",
            "nioneo_logical.log.1",
            "nioneo_logical.log.active",
            "index/lucene.log.v3",
            "tm_tx_log.1",
            "active_tx_log",
            "lock",
            "store_lock",
            "neo4j-backup.json",
            "neo4j-backup.sums",
            "..\\neostore",
            "neostore/x",
            "etc/passwd",
            &format!("index/{}", "x".repeat(256)),
        ] {
            assert!(path(name).is_err(), "{name:?}");
        }
        assert!(PeerPath::new(&[0xD800]).is_err());
    }
}
