//! What Neo4j leaves in a directory that it opens (`docs/formats/store-format.md` §2, §8).
//!
//! Any one trace can have another reason, so that a directory counts as opened only where all agree:
//!
//! | trace | left by |
//! |---|---|
//! | `messages.log` is new or has grown, or was set aside and started again | every start writes into it |
//! | `nioneo_logical.log.active` is a marker | every start makes one, and no run of this tool leaves one |
//! | `active_tx_log` names a file that is there | every start makes both |
//! | `neostore` is of the same database and not behind the backup | every change to a store raises its last transaction |

use serde::Serialize;

use crate::manifest::Manifest;
use neo4j_format::{
    DirHandle,
    ids::{DataSource, StoreId, TxId},
    log::files::{self, Marker},
    store::{
        Header, StoreFile, StoreFormat, index_config,
        lucene_store::{self, LuceneStore},
    },
};

/// The text that every start writes into.
const MESSAGES: &str = "messages.log";

/// Names the transaction manager's log.
pub(crate) const ACTIVE_TX_LOG: &str = "active_tx_log";

/// Larger than any file that is read here as a whole.
const SMALL: u64 = 4096;

/// What the traces come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opened {
    /// There are none.
    No,
    /// Some are there and others are not, which no release leaves.
    Contradictory,
    /// Neo4j opened it and shut down.
    Closed,
    /// Neo4j opened it and has it open still, or was killed.
    NotClosed,
}

/// What became of a directory since its manifest was written, as far as checksums are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Nothing: its checksums are what its bytes ought to be.
    Untouched,
    /// Neo4j opened it, or somebody took the traces away by which that would show.
    Opened,
    /// There is no manifest, or it says that the directory was being changed.
    Unknown,
}

/// Tells [`Since`] from names and lengths. A single trace is enough here, unlike in [`Traces::opened`]: to take checksums
/// again without need costs time, to keep ones that are out of date would make a good backup look damaged.
pub fn since(dir: &DirHandle, manifest: Option<&Manifest>) -> Since {
    let Some(manifest) = manifest.filter(|manifest| manifest.is_complete()) else {
        return Since::Unknown;
    };
    let listed = manifest.files.iter().find(|file| file.path == MESSAGES);
    let found = dir.status_of(MESSAGES).map(|found| found.length());
    let same_messages = found.ok() == listed.map(|file| file.length);
    if same_messages && !Traces::read(dir, manifest).is_new(manifest) {
        Since::Untouched
    } else {
        Since::Opened
    }
}

/// The traces of Neo4j in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// Whether something was written into `messages.log` since the manifest.
    pub messages: bool,
    /// The marker of the graph's active log.
    pub marker: Option<Marker>,
    /// Whether `active_tx_log` names a file that is there.
    pub transaction_manager: bool,
    /// `neostore`, where it can be read.
    pub records: Option<Records>,
    /// Last transaction of the indexes, where it can be read.
    pub index_transaction: Option<TxId>,
}

/// What `neostore` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// Which database.
    pub store_id: StoreId,
    /// Its format.
    pub format: StoreFormat,
    /// Last transaction of the graph.
    pub last: TxId,
    /// Version of the next log.
    pub log_version: u64,
}

impl Traces {
    /// Looks for traces in `dir`, which may lack any file.
    pub fn read(dir: &DirHandle, manifest: &Manifest) -> Traces {
        let marker = small(dir, files::marker(DataSource::Graph)).and_then(|bytes| Marker::decode(&bytes));
        let named = small(dir, ACTIVE_TX_LOG).and_then(|bytes| String::from_utf8(bytes).ok());
        let named = named.filter(|name| matches!(name.as_str(), "tm_tx_log.1" | "tm_tx_log.2"));
        let index = small(dir, lucene_store::PATH).and_then(|bytes| LuceneStore::decode(&bytes).ok());
        Traces {
            messages: has_new_messages(dir, manifest),
            marker,
            transaction_manager: named.is_some_and(|name| dir.has_file(name)),
            records: records(dir),
            index_transaction: index.map(|store| store.last_tx),
        }
    }

    /// What they come to.
    pub fn opened(&self, manifest: &Manifest) -> Opened {
        match (self.messages, self.marker, self.transaction_manager) {
            (false, _, _) if !self.is_new(manifest) => Opened::No,
            (true, Some(marker), true) if self.continues(manifest) => match marker {
                Marker::Clean => Opened::Closed,
                Marker::Active(_) => Opened::NotClosed,
            },
            _ => Opened::Contradictory,
        }
    }

    /// What is missing where the traces contradict each other.
    pub fn missing(&self, manifest: &Manifest) -> Vec<&'static str> {
        let all = [
            (self.messages, "messages.log is missing or has not grown"),
            (
                self.marker.is_some(),
                "nioneo_logical.log.active is missing or not a valid marker",
            ),
            (self.transaction_manager, "active_tx_log does not name an existing file"),
            (
                self.continues(manifest),
                "neostore is unreadable, of another database, or older than the backup",
            ),
        ];
        all.into_iter()
            .filter_map(|(there, text)| (!there).then_some(text))
            .collect()
    }

    /// Whether the graph's last transaction is the one of the backup, so that no record can have changed since.
    pub fn same_graph(&self, manifest: &Manifest) -> bool {
        let then = manifest.last_transaction(DataSource::Graph).map(|(id, _)| id);
        let format = manifest.store_format.as_deref().and_then(StoreFormat::from_version);
        self.records
            .is_some_and(|now| Some(now.last) == then && Some(now.format) == format)
    }

    /// Whether the last transaction of the indexes is the one of the backup.
    pub fn same_index(&self, manifest: &Manifest) -> bool {
        let then = manifest.last_transaction(DataSource::Lucene).map(|(id, _)| id);
        self.index_transaction.is_none() || self.index_transaction == then
    }

    /// Whether a marker or a transaction manager is there that the manifest does not list.
    fn is_new(&self, manifest: &Manifest) -> bool {
        let listed = |name: &str| manifest.files.iter().any(|file| file.path == name);
        (self.marker.is_some() && !listed(files::marker(DataSource::Graph)))
            || (self.transaction_manager && !listed(ACTIVE_TX_LOG))
    }

    fn continues(&self, manifest: &Manifest) -> bool {
        let then = manifest.last_transaction(DataSource::Graph).map(|(id, _)| id);
        self.records.is_some_and(|now| {
            manifest.store_id.as_ref() == Some(&now.store_id.into()) && then.is_none_or(|then| now.last >= then)
        })
    }
}

/// Whether `messages.log` is new or has grown, or was set aside under another name and started again.
fn has_new_messages(dir: &DirHandle, manifest: &Manifest) -> bool {
    let length_of = |path: &str| {
        manifest
            .files
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.length)
    };
    let before = length_of(MESSAGES).unwrap_or_default();
    let Ok(entries) = dir.entries() else { return false };
    entries.iter().any(|entry| {
        let Some(name) = entry.name.to_str().filter(|name| name.starts_with(MESSAGES)) else {
            return false;
        };
        let length = entry.status.length();
        let continued = name == MESSAGES && length > before;
        let set_aside = name != MESSAGES && length_of(name).is_none() && length > 0 && length >= before;
        continued || set_aside
    })
}

fn records(dir: &DirHandle) -> Option<Records> {
    let header = Header::open_read_only(dir).ok()?;
    Some(Records {
        store_id: header.store_id().ok()?,
        format: header.format().ok()?,
        last: header.last_transaction().ok()?,
        log_version: header.log_version().ok()?.0,
    })
}

/// The content of a small regular file.
fn small(dir: &DirHandle, name: &str) -> Option<Vec<u8>> {
    dir.read(name, SMALL).ok()
}

/// Whether Neo4j makes or changes files of this name when it has a database open.
pub fn is_written_by_neo4j(path: &str) -> bool {
    let of_a_log = DataSource::ALL.into_iter().any(|source| {
        path.strip_prefix(files::base(source))
            .is_some_and(|suffix| matches!(suffix, ".active" | ".1" | ".2"))
            || files::archived_version(source, path).is_some()
    });
    let of_a_store = StoreFile::ALL
        .into_iter()
        .any(|store| path == store.name() || path == store.id_name());
    let folders = ["index/lucene/", "upgrade/", "upgrade_backup/", "1.2-logs/"];
    of_a_log
        || of_a_store
        || path.starts_with(MESSAGES)
        || folders.iter().any(|folder| path.starts_with(folder))
        || matches!(
            path,
            ACTIVE_TX_LOG
                | "tm_tx_log.1"
                | "tm_tx_log.2"
                | lucene_store::PATH
                | index_config::PATH
                | "index.db.tmp"
                | index_config::OLD_PATH
        )
}
