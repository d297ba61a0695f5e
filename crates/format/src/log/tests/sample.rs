//! Bytes of transactions for the tests.

pub(super) use crate::hex::hex;
use crate::{
    ids::{DataSource, TxId},
    log::{
        Buffer, Item, Layout, LogError, LogFormat, TransactionReader,
        entry::{self, Commit, CommitKind, CommitStamp, Origin, Prepare, Start},
    },
};

pub(super) const V1: Layout = layout(LogFormat::V1, DataSource::Graph);
pub(super) const V2: Layout = layout(LogFormat::V2, DataSource::Graph);
pub(super) const LUCENE: Layout = layout(LogFormat::V2, DataSource::Lucene);

pub(super) const fn layout(format: LogFormat, source: DataSource) -> Layout {
    Layout { format, source }
}

pub(super) const TIME: i64 = 0x13A_49C2_4780;

/// Builds a transaction entry by entry.
pub(super) struct Builder {
    pub(super) bytes: Vec<u8>,
    layout: Layout,
    identifier: i32,
}

impl Builder {
    pub(super) fn new(layout: Layout, identifier: i32) -> Builder {
        Builder {
            bytes: Vec::new(),
            layout,
            identifier,
        }
    }

    pub(super) fn start(self) -> Builder {
        self.start_with(b"NEOKERNL\0\x11\x22\x33\x44\x55\x66\x77\x88\0\0\0\0\0\0\0\x07")
    }

    pub(super) fn start_with(mut self, global_id: &[u8]) -> Builder {
        let origin = Origin {
            master_id: -1,
            my_id: -1,
            time: TIME,
        };
        let start = Start {
            global_id,
            branch: self.layout.source.branch_qualifier(),
            identifier: self.identifier,
            origin: (self.layout.format == LogFormat::V2).then_some(origin),
        };
        start.encode(&mut self.bytes).unwrap();
        self
    }

    pub(super) fn command(mut self, command: &[u8]) -> Builder {
        self.bytes.extend_from_slice(&entry::command(self.identifier));
        self.bytes.extend_from_slice(command);
        self
    }

    pub(super) fn prepare(mut self) -> Builder {
        let prepare = Prepare {
            identifier: self.identifier,
            time: (self.layout.format == LogFormat::V2).then_some(TIME + 100),
        };
        prepare.encode(&mut self.bytes);
        self
    }

    pub(super) fn commit(self, tx: i64, kind: CommitKind) -> Builder {
        self.commit_at(tx, kind, TIME + 123)
    }

    /// Format 1 has no time.
    pub(super) fn commit_at(mut self, tx: i64, kind: CommitKind, time: i64) -> Builder {
        let commit = Commit {
            kind,
            identifier: self.identifier,
            tx: TxId(tx),
            stamp: match self.layout.format {
                LogFormat::V1 => CommitStamp::Master(-1),
                LogFormat::V2 => CommitStamp::Time(time),
            },
        };
        commit.encode(&mut self.bytes);
        self
    }

    pub(super) fn done(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&entry::done(self.identifier));
        self.bytes
    }
}

/// A whole transaction that commits in one phase.
pub(super) fn transaction(layout: Layout, identifier: i32, tx: i64, commands: &[Vec<u8>]) -> Vec<u8> {
    let start = Builder::new(layout, identifier).start();
    let builder = commands.iter().fold(start, |builder, command| builder.command(command));
    builder.commit(tx, CommitKind::OnePhase).done()
}

/// Reads a transaction to its end and gives what `look` makes of its items.
pub(super) fn read<T>(
    bytes: &[u8],
    layout: Layout,
    tx: i64,
    mut look: impl FnMut(Item<'_>) -> T,
) -> Result<Vec<T>, LogError> {
    let mut buffer = Buffer::new();
    let mut reader = TransactionReader::new(bytes, layout, TxId(tx), &mut buffer);
    let mut items = Vec::new();
    while let Some(item) = reader.next()? {
        items.push(look(item));
    }
    Ok(items)
}

/// Node `id` without relationships and properties.
pub(super) fn node(id: u64) -> Vec<u8> {
    [&[1][..], &id.to_be_bytes(), &[1], &[0xFF; 16]].concat()
}
