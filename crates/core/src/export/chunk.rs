//! What one thread has made of some records: text for each file, and what is to be reported.

use std::collections::{BTreeMap, HashMap};

use super::{
    files::gzip,
    layout::{Layouts, Signature},
    loss::{Loss, LossKind},
    reader::{Damage, Entity},
};

/// Bytes after which a chunk is handed on.
const FULL: usize = 1 << 20;

/// Signatures whose files are remembered.
const REMEMBERED: usize = 1 << 16;

/// What a loss or a damaged record counts for.
const REPORTED: usize = 128;

/// Output on its way from a thread to the files.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    files: BTreeMap<usize, Vec<u8>>,
    pub(super) losses: Vec<Loss>,
    pub(super) damage: Vec<Damage>,
    pub(super) counts: Counts,
    /// Bytes of records that were read.
    pub(super) read: u64,
    /// Bytes of text.
    size: usize,
    /// What is kept from chunk to chunk by the encoder that divides records among files.
    pub(super) signature: Signature,
    /// The last signature, and its file.
    pub(super) last_file: Option<(Signature, Option<usize>)>,
    files_of: HashMap<Signature, Option<usize>>,
}

/// What is exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) nodes: u64,
    pub(super) relationships: u64,
    pub(super) properties: u64,
    /// Nodes without a label although labels are taken from a key.
    pub(super) unlabelled: u64,
    /// Longest row.
    pub(super) longest: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        self.nodes += other.nodes;
        self.relationships += other.relationships;
        self.properties += other.properties;
        self.unlabelled += other.unlabelled;
        self.longest = self.longest.max(other.longest);
    }
}

impl Chunk {
    /// The text for a file, to append to.
    pub(super) fn text(&mut self, file: usize) -> &mut Vec<u8> {
        self.files.entry(file).or_default()
    }

    pub(super) fn lose(&mut self, kind: LossKind, entity: Entity, key: Option<&str>) {
        self.losses.push(Loss {
            kind,
            entity,
            key: key.map(str::to_owned),
        });
    }

    /// Notes that a row or line of this length was appended.
    pub(super) fn wrote(&mut self, length: usize) {
        self.size += length;
        self.counts.longest = self.counts.longest.max(length as u64);
    }

    pub(super) fn is_full(&self) -> bool {
        self.size + (self.losses.len() + self.damage.len()) * REPORTED >= FULL
    }

    /// The file of a signature, which is looked for once.
    pub(super) fn file_of(&mut self, signature: &Signature, layouts: &Layouts) -> Option<usize> {
        if let Some(file) = self.files_of.get(signature) {
            return *file;
        }
        if self.files_of.len() >= REMEMBERED {
            self.files_of.clear();
        }
        let file = layouts.find(signature);
        self.files_of.insert(signature.clone(), file);
        file
    }

    /// What is there, for the files; the chunk is empty then.
    pub(super) fn take(&mut self, is_compressed: bool) -> Chunk {
        let kept = Chunk {
            signature: std::mem::take(&mut self.signature),
            last_file: self.last_file.take(),
            files_of: std::mem::take(&mut self.files_of),
            ..Chunk::default()
        };
        let mut full = std::mem::replace(self, kept);
        if is_compressed {
            for text in full.files.values_mut() {
                *text = gzip(text);
            }
        }
        full
    }

    /// The bytes for each file.
    pub(super) fn into_files(self) -> impl Iterator<Item = (usize, Vec<u8>)> {
        self.files.into_iter()
    }
}
