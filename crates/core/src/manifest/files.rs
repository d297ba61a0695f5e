//! Which files of a directory a manifest lists.
//!
//! It lists all files of a database, in any folder, except our own and the empty lock files. Neo4j's `messages.log` is
//! listed too: every start of Neo4j writes to it, so its digest shows whether there was one. Foreign files, which are not
//! part of the database, are not listed, and their loss is not an error.

use super::{MANIFEST, SUMS};
use neo4j_format::{
    DirHandle, DiskError, directory::EntryKind, ids::DataSource, log::files::archived_version, store::lucene_store,
};

/// Name of a new manifest until it is complete.
pub const NEW_MANIFEST: &str = "neo4j-backup.json.new";

/// Name of new checksums until they are complete.
pub const NEW_SUMS: &str = "neo4j-backup.sums.new";

/// Prefix of the names of our own files, in any folder.
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
    /// A file of the database: it belongs to the backup.
    Content,
    /// A name in an index that is not text, which no manifest can list.
    NotText,
    /// Any other file: it is not part of the database.
    Foreign,
}

impl Role {
    /// The role of this path relative to the directory, `/` between its parts.
    pub fn of(path: &str) -> Role {
        let name = path.rsplit('/').next().unwrap_or(path);
        match path {
            MANIFEST | SUMS => Role::Ledger,
            "lock" | "store_lock" => Role::Lock,
            _ if name.starts_with(OURS) => Role::Working,
            _ if is_content(path) => Role::Content,
            _ => Role::Foreign,
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
    let begins = [
        "neostore",
        "index/lucene/",
        "index/lucene.log.",
        "nioneo_logical.log.",
        "tm_tx_log.",
    ];
    let is_known = begins.iter().any(|start| path.starts_with(start))
        || matches!(path, "index.db" | lucene_store::PATH | "active_tx_log");
    is_known && !is_hidden(path)
}

/// Whether it is a hidden file, as file systems and desktops leave them: `.nfs…`, `.fuse_hidden…`, `.DS_Store`.
fn is_hidden(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with('.'))
}

/// Whether it belongs to a database, open or closed, or is the name of a folder of it.
fn is_content(path: &str) -> bool {
    let begins = ["messages.log", "upgrade/", "upgrade_backup/", "1.2-logs/"];
    let is_known = is_of_a_store(path)
        || begins.iter().any(|start| path.starts_with(start))
        || matches!(path, "index.db.old" | "index.db.tmp" | "index" | "index/lucene");
    is_known && !is_hidden(path)
}

/// Folders in which files of a database lie.
const FOLDERS: [&str; 4] = ["index", "upgrade", "upgrade_backup", "1.2-logs"];

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
    /// What it stands for.
    pub role: Role,
}

/// All entries below `dir` except the folders themselves, sorted. Links are not followed. A foreign folder is listed by its
/// name, followed by `/`; its contents are not.
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
        let mut path = format!("{prefix}{}", entry.name.to_string_lossy());
        let mut role = match entry.name.to_str() {
            Some(_) => Role::of(&path),
            None if prefix.starts_with("index/") => Role::NotText,
            None => Role::Foreign,
        };
        let length = match entry.status.kind() {
            EntryKind::Folder if role == Role::NotText => Some(0),
            EntryKind::Folder if prefix.is_empty() && !FOLDERS.contains(&path.as_str()) => {
                path.push('/');
                role = Role::Foreign;
                Some(0)
            }
            EntryKind::Folder => {
                let folder = dir.folder(&entry.name).map_err(DiskError::at(dir.join(&entry.name)))?;
                walk(&folder, &format!("{path}/"), found)?;
                continue;
            }
            EntryKind::File => Some(entry.status.length()),
            EntryKind::Other => None,
        };
        found.push(ListedFile { path, length, role });
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
        fs::create_dir_all(root.join("lost+found/deep")).unwrap();
        fs::write(root.join("neostore"), "12345").unwrap();
        fs::write(root.join("index/lucene/a"), "").unwrap();
        std::os::unix::fs::symlink("/", root.join("index/root")).unwrap();
        let found = list(&DirHandle::open(root).unwrap()).unwrap();
        let shown: Vec<_> = found.iter().map(|one| (one.path.as_str(), one.length)).collect();
        assert_eq!(
            shown,
            [
                ("index/lucene/a", Some(0)),
                ("index/root", None),
                ("lost+found/", Some(0)),
                ("neostore", Some(5))
            ]
        );
    }

    #[test]
    fn files_of_a_database_are_told_from_ours_and_from_those_of_others() {
        for (path, role) in [
            ("neo4j-backup.json", Role::Ledger),
            ("neo4j-backup.sums", Role::Ledger),
            ("neo4j-backup.sums.new", Role::Working),
            ("index/neo4j-backup.received", Role::Working),
            ("lock", Role::Lock),
            ("index/lock", Role::Foreign),
            ("index/lucene/node/people/_0.cfs", Role::Content),
            ("index/lucene/node/people/.nfs0001", Role::Foreign),
            ("index", Role::Content),
            (".DS_Store", Role::Foreign),
            ("notes.txt", Role::Foreign),
            ("index.db.old", Role::Content),
            ("upgrade_backup/neostore", Role::Content),
            ("messages.log", Role::Content),
            ("neostore", Role::Content),
            ("neo4j-backups", Role::Foreign),
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

    #[test]
    fn names_that_are_not_text_are_told_and_not_entered() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let dir = tempfile::tempdir().unwrap();
        let name = OsStr::from_bytes(b"caf\xe9");
        fs::create_dir_all(dir.path().join("index/lucene/node").join(name)).unwrap();
        fs::write(dir.path().join("index/lucene/node").join(name).join("_0.cfs"), "").unwrap();
        fs::write(dir.path().join(name), "").unwrap();
        let found = list(&DirHandle::open(dir.path()).unwrap()).unwrap();
        let shown: Vec<_> = found.iter().map(|one| (one.path.as_str(), one.role)).collect();
        assert_eq!(
            shown,
            [
                ("caf\u{fffd}", Role::Foreign),
                ("index/lucene/node/caf\u{fffd}", Role::NotText)
            ]
        );
    }
}
