//! Progress reports, without a user interface.

/// What a run is doing right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Finding the member and its dialect.
    Connecting,
    /// Store files are arriving.
    Receiving,
    /// Transactions are arriving.
    Transactions,
    /// Transactions are being applied to the store files.
    Applying,
    /// Trailers, id files, manifest.
    Sealing,
    /// Making everything durable.
    Syncing,
    /// Looking for inconsistencies.
    Checking,
    /// Reading a store before something is made of it.
    Reading,
    /// Writing what is read from a store.
    Exporting,
    /// Renaming the new backup into place.
    Publishing,
    /// Adding the backup to the repository.
    Archiving,
}

/// How much will come, by what is known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// Bytes of files and transactions: as many as the last full backup had.
    Bytes(u64),
    /// Transactions of the graph: those that the source has and the backup lacks.
    Transactions(u64),
}

/// Receives what happens; every method may be called from the thread that does the disk work.
pub trait Progress: Send + Sync {
    /// A new phase has begun.
    fn phase(&self, phase: Phase) {
        let _ = phase;
    }
    /// So much is expected of what is about to be received, as far as that is known.
    fn expected(&self, total: Total) {
        let _ = total;
    }
    /// A file of the store begins to arrive.
    fn file(&self, path: &str) {
        let _ = path;
    }
    /// That many more bytes of store files or transactions were received.
    fn bytes(&self, count: u64) {
        let _ = count;
    }
    /// That many more transactions were received or applied.
    fn transactions(&self, count: u64) {
        let _ = count;
    }
    /// Something the operator should know, though the run goes on.
    fn warning(&self, text: &str) {
        let _ = text;
    }
}

/// Discards all events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {}
