//! Which files of a directory a manifest lists.
//!
//! All regular files, in any folder, but for our own and for those that are empty and only there to be locked. Neo4j's
//! `messages.log` is listed too: every start of Neo4j writes into it, so its digest tells whether there was one.

use super::{MANIFEST, SUMS};
use neo4j_format::{DirHandle, DiskError, directory::EntryKind, ids::DataSource, log::files::archived_version};

/// Name of a new manifest until it is complete.
pub const NEW_MANIFEST: &str = "neo4j-backup.json.new";

/// Name of new checksums until they are complete.
pub const NEW_SUMS: &str = "neo4j-backup.sums.new";

/// What the name of a file of ours begins with, in whatever folder.
const OURS: &str = "neo4j-backup.";

/// What a path in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The manifest or the checksums.
    Ledger,
    /// A name that only a run at work uses.
    Working,
    /// A file that is there to be locked.
    Lock,
    /// Whatever else there is: it belongs to the backup.
    Content,
}

impl Role {
    /// The role of this path relative to the directory, `/` between its parts.
    pub fn of(path: &str) -> Role {
        let name = path.rsplit('/').next().unwrap_or(path);
        match path {
            MANIFEST | SUMS => Role::Ledger,
            "lock" | "store_lock" => Role::Lock,
            _ if name.starts_with(OURS) => Role::Working,
            _ => Role::Content,
        }
    }
}

/// Whether no release changes a file of this name once it is complete: archived logs, and Lucene's files but for the one
/// that it rewrites with every commit.
pub fn is_written_once(path: &str) -> bool {
    let in_an_index = path.starts_with("index/lucene/") && !path.ends_with("/segments.gen");
    in_an_index || is_archived_log(path)
}

/// Whether Neo4j has a file of this name in a closed database, or this tool leaves one there. `messages.log`, which is
/// only read by people, does not count.
pub fn is_of_a_store(path: &str) -> bool {
    let begins = ["neostore", "index/", "nioneo_logical.log.", "tm_tx_log."];
    begins.iter().any(|start| path.starts_with(start)) || matches!(path, "index.db" | "active_tx_log")
}

/// Whether a file of this name holds history alone.
pub fn is_archived_log(path: &str) -> bool {
    DataSource::ALL
        .into_iter()
        .any(|source| archived_version(source, path).is_some())
}

/// A name found in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Path relative to the directory, `/` between its parts.
    pub path: String,
    /// Bytes; `None` where it is neither a regular file nor a folder.
    pub length: Option<u64>,
}

/// Everything below `dir` but the folders themselves, sorted. Links are not followed.
///
/// # Errors
/// A folder that cannot be read.
pub fn list(dir: &DirHandle) -> Result<Vec<ListedFile>, DiskError> {
    let mut found = Vec::new();
    walk(dir, "", &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(dir: &DirHandle, prefix: &str, found: &mut Vec<ListedFile>) -> Result<(), DiskError> {
    for entry in dir.entries().map_err(DiskError::at(dir.path()))? {
        let path = format!("{prefix}{}", entry.name.to_string_lossy());
        let length = match entry.status.kind() {
            EntryKind::Folder => {
                let folder = dir.folder(&entry.name).map_err(DiskError::at(dir.join(&entry.name)))?;
                walk(&folder, &format!("{path}/"), found)?;
                continue;
            }
            EntryKind::File => Some(entry.status.length()),
            EntryKind::Other => None,
        };
        found.push(ListedFile { path, length });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn folders_are_walked_and_links_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("index/lucene")).unwrap();
        fs::write(root.join("neostore"), "12345").unwrap();
        fs::write(root.join("index/lucene/a"), "").unwrap();
        std::os::unix::fs::symlink("/", root.join("index/root")).unwrap();
        let found = list(&DirHandle::open(root).unwrap()).unwrap();
        let shown: Vec<_> = found.iter().map(|one| (one.path.as_str(), one.length)).collect();
        assert_eq!(
            shown,
            [("index/lucene/a", Some(0)), ("index/root", None), ("neostore", Some(5))]
        );
    }

    #[test]
    fn only_the_names_of_this_tool_and_the_locks_are_no_content() {
        for (path, role) in [
            ("neo4j-backup.json", Role::Ledger),
            ("neo4j-backup.sums", Role::Ledger),
            ("neo4j-backup.sums.new", Role::Working),
            ("index/neo4j-backup.received", Role::Working),
            ("lock", Role::Lock),
            ("index/lock", Role::Content),
            ("messages.log", Role::Content),
            ("neostore", Role::Content),
            ("neo4j-backups", Role::Content),
        ] {
            assert_eq!(Role::of(path), role, "{path}");
        }
    }

    #[test]
    fn archived_logs_and_files_of_an_index_are_written_once() {
        for (path, once) in [
            ("nioneo_logical.log.v3", true),
            ("index/lucene.log.v0", true),
            ("index/lucene/node/people/_0.cfs", true),
            ("index/lucene/node/people/segments.gen", false),
            ("index/lucene.log.1", false),
            ("neostore", false),
        ] {
            assert_eq!(is_written_once(path), once, "{path}");
        }
    }
}
