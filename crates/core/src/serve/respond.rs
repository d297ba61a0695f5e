//! One response: from a [`Source`] through the encoder to the sender of the chunks.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{Content, Copy, Moment, Offered, Refusal, Source};
use neo4j_format::{
    ids::{DataSource, TxId},
    log::{LogError, TransactionRange, TransactionRangeError, TransactionReader, slot::FileRange},
    width::{to_u64, to_usize},
    wire::{
        Encoder, Follows,
        request::{Request, RequestKind},
    },
};

/// Bytes of a file that are read at once: they stay in the processor's cache until they are framed.
const READ: usize = 128 * 1024;

/// Takes the chunks of a response.
pub(super) trait Send {
    /// Sends a whole frame, however long the peer takes within its limits.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;
}

/// What a response was made of, for the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) files: u64,
    pub(super) transactions: u64,
    /// Bytes handed to the network.
    pub(super) bytes: u64,
}

/// Why a response is not complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfinished {
    /// It is refused, or its source failed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing more can be sent.
    #[error(transparent)]
    Lost(#[from] io::Error),
}

impl From<TransactionRangeError> for Unfinished {
    fn from(error: TransactionRangeError) -> Unfinished {
        Unfinished::Refused(error.into())
    }
}

impl From<LogError> for Unfinished {
    fn from(error: LogError) -> Unfinished {
        Unfinished::Refused(Refusal::Failed(error.to_string()))
    }
}

/// Answers a request, in the memory of `encoder`; `sent` is kept up to date also where it ends early.
pub(super) fn respond(
    source: &dyn Source,
    request: &Request,
    encoder: &mut Encoder,
    out: &mut dyn Send,
    sent: &mut Sent,
) -> Result<(), Unfinished> {
    let mut response = Response {
        source,
        encoder,
        out,
        sent,
    };
    response.encoder.next_chunk();
    let result = match &request.wanted {
        RequestKind::Full => response.full(),
        RequestKind::Incremental(asked) => response.incremental(asked),
    };
    let Err(Unfinished::Refused(refusal)) = &result else {
        return result;
    };
    if let Some(frame) = response.encoder.failure(&refusal.to_string()) {
        response.out.send(frame)?;
    }
    result
}

struct Response<'a> {
    source: &'a dyn Source,
    encoder: &'a mut Encoder,
    out: &'a mut dyn Send,
    sent: &'a mut Sent,
}

impl Response<'_> {
    fn full(&mut self) -> Result<(), Unfinished> {
        let Copy { files, moment } = self.source.copy()?;
        let mut buffer = vec![0; READ];
        for file in files {
            self.file(file, &mut buffer)?;
            self.sent.files += 1;
        }
        drop(buffer);
        self.encoder.files_end();
        let names: Vec<_> = moment.after.iter().map(|(source, _)| *source).collect();
        self.rest(&names, &self.source.since(&moment)?)
    }

    fn incremental(&mut self, asked: &[(String, TxId)]) -> Result<(), Unfinished> {
        let mut after = Vec::new();
        for (name, last) in asked {
            let source = DataSource::from_name(name)
                .filter(|source| !after.iter().any(|(known, _)| known == source))
                .ok_or_else(|| Refusal::Failed(format!("No data source '{name}' found")))?;
            after.push((source, *last));
        }
        let names: Vec<_> = after.iter().map(|(source, _)| *source).collect();
        let ranges = if after.is_empty() {
            self.source.require_identity()?;
            Vec::new()
        } else {
            self.source.since(&Moment { after, copy: None })?
        };
        self.rest(&names, &ranges)
    }

    /// Store id and transactions, then the last chunk.
    fn rest(&mut self, names: &[DataSource], ranges: &[TransactionRange]) -> Result<(), Unfinished> {
        self.encoder.store_id(self.source.identity().store_id);
        if ranges.iter().any(|range| !range.is_empty()) {
            self.encoder.sources(names.iter().map(|source| source.name()));
            for range in ranges {
                let place = names.iter().position(|source| *source == range.layout.source);
                let number = place.and_then(|place| u8::try_from(place + 1).ok());
                let number = number.ok_or_else(|| Refusal::Failed("transactions that were not requested".into()))?;
                range.read(|transaction| self.transaction(number, transaction))?;
            }
        }
        self.encoder.transactions_end();
        self.flush(Follows::Nothing)
    }

    fn file(&mut self, Offered { path, content }: Offered, buffer: &mut [u8]) -> Result<(), Unfinished> {
        let failed = |cause: io::Error| Refusal::Failed(format!("{path}: {cause}"));
        let (file, length, trailer) = match content {
            Content::Bytes(bytes) => {
                self.encoder.file(&path, to_u64(bytes.len()));
                self.data(&bytes)?;
                return self.end_of_item();
            }
            Content::Open(file, length) => (file, length, String::new()),
            Content::Records { file, length, trailer } => (file, length, trailer),
            Content::Unchanging(dir, name) => {
                let file = dir.open_file(name).map_err(failed)?;
                let length = file.metadata().map_err(failed)?.len();
                (file, length, String::new())
            }
        };
        self.encoder.file(&path, length);
        let mut at = 0;
        while at < length {
            let room = to_usize(length - at).min(READ);
            let room = &mut buffer[..room];
            let n = match file.read_at(room, at) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(failed(e).into()),
            };
            at += to_u64(n);
            if n == 0 || is_cut(&file, at, &trailer).map_err(failed)? {
                return Err(Refusal::Busy(format!("{path} was truncated during this backup")).into());
            }
            self.data(&room[..n])?;
        }
        self.end_of_item()
    }

    fn transaction(
        &mut self,
        number: u8,
        transaction: &mut TransactionReader<'_, FileRange<'_>>,
    ) -> Result<(), Unfinished> {
        self.encoder.transaction(number, transaction.tx());
        while let Some(part) = transaction.next_part()? {
            self.data(part.raw)?;
        }
        self.sent.transactions += 1;
        self.end_of_item()
    }

    fn data(&mut self, mut bytes: &[u8]) -> Result<(), Unfinished> {
        loop {
            self.encoder.data(&mut bytes);
            if bytes.is_empty() {
                return Ok(());
            }
            self.flush(Follows::More)?;
        }
    }

    fn end_of_item(&mut self) -> Result<(), Unfinished> {
        self.encoder.end();
        if self.encoder.is_full() {
            self.flush(Follows::More)?;
        }
        Ok(())
    }

    fn flush(&mut self, follows: Follows) -> Result<(), Unfinished> {
        let frame = self.encoder.frame(follows);
        self.out.send(frame)?;
        self.sent.bytes += to_u64(frame.len());
        self.encoder.next_chunk();
        Ok(())
    }
}

/// Whether a file no longer has records up to `end`: then what was read may have been its trailer.
fn is_cut(file: &File, end: u64, trailer: &str) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let width = to_u64(trailer.len());
    if length >= end.saturating_add(width) {
        return Ok(false);
    }
    if length < end {
        return Ok(true);
    }
    // a few records of a running database are shorter than a trailer
    let Some(at) = length.checked_sub(width) else {
        return Ok(false);
    };
    let mut found = vec![0; trailer.len()];
    file.read_exact_at(&mut found, at)?;
    Ok(found == trailer.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_trailer_moved_before_the_end_is_cut() {
        let file = tempfile::tempfile().unwrap();
        let holds = |bytes: &[u8]| {
            file.set_len(0).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            !is_cut(&file, 20, "TRAILER").unwrap()
        };
        assert!(holds(&[1; 20]), "open, nothing behind the records");
        assert!(holds(&[1; 40]), "grown");
        assert!(holds(&[&[1; 20][..], b"TRAILER"].concat()), "closed as it was");
        assert!(!holds(&[&[1; 18][..], b"TRAILER"].concat()), "closed, and shorter");
        assert!(!holds(&[1; 19]), "open, and shorter");
        assert!(!holds(&[]));
        assert!(!is_cut(&file, 0, "").unwrap());
        file.set_len(5).unwrap();
        assert!(
            !is_cut(&file, 5, "TRAILER").unwrap(),
            "open, and shorter than a trailer"
        );
    }
}
