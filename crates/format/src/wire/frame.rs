//! Frames and chunk headers (`docs/formats/wire-protocol.md` §2), taken apart wherever the input happens to be split.
//!
//! ```text
//! 0  u32  length of what follows
//! 4  u8   one-byte dialects: 00 last chunk, 01 more follow
//!         two-byte dialects: bit 0 more follow, bit 1 failure, bits 2–6 internal version; then u8 application version
//! …       payload
//! ```

use super::Dialect;
use crate::width::to_usize;

/// Application version of the backup protocol (§2.2).
pub const APPLICATION: u8 = 1;

/// What a chunk header says of its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseStatus {
    /// Payload of the response.
    Success,
    /// A serialized exception; ends the response.
    Failure,
}

/// Takes frames apart.
#[derive(Debug)]
pub struct Frames {
    dialect: Dialect,
    /// Bytes of the frame's length and chunk header so far.
    head: [u8; 6],
    filled: usize,
    /// Payload bytes left in this chunk.
    left: usize,
    more: bool,
    outcome: ResponseStatus,
}

/// A frame that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Its length is impossible.
    #[error("frame length {length} is out of range ({least} to {limit} bytes)")]
    Length {
        /// As announced.
        length: u32,
        /// Bytes of a chunk header.
        least: usize,
        /// Limit of the dialect.
        limit: u32,
    },
    /// Its header is none of a one-byte dialect.
    #[error("chunk header {first:02x} is not of dialect {dialect}")]
    Header {
        /// The byte.
        first: u8,
        /// The dialect in use.
        dialect: Dialect,
    },
    /// Its header names other versions than the dialect's (§7.1): the server was replaced by another release.
    #[error("the server speaks protocol version {internal}.{application}{}, not dialect {dialect}", releases(*.internal))]
    Version {
        /// Internal version.
        internal: u8,
        /// Application version.
        application: u8,
        /// The dialect in use.
        dialect: Dialect,
    },
}

fn releases(internal: u8) -> String {
    Dialect::from_internal_version(internal).map_or(String::new(), |dialect| format!(" ({})", dialect.releases()))
}

/// A piece of payload, as long as both the chunk and the input last.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Payload of a chunk.
    Payload(ResponseStatus, &'a [u8]),
    /// The last chunk of the message has ended.
    End,
    /// The input is used up.
    NeedInput,
}

impl Frames {
    /// Begins a response.
    pub fn new(dialect: Dialect) -> Frames {
        Frames {
            dialect,
            head: [0; 6],
            filled: 0,
            left: 0,
            more: true,
            outcome: ResponseStatus::Success,
        }
    }

    /// Takes the next piece, of at most `most` bytes, off `input`.
    ///
    /// # Errors
    /// [`FrameError`]; the stream cannot be read on.
    pub fn next_at_most<'a>(&mut self, input: &mut &'a [u8], most: usize) -> Result<Piece<'a>, FrameError> {
        loop {
            if self.left > 0 {
                if input.is_empty() {
                    return Ok(Piece::NeedInput);
                }
                let (now, later) = input.split_at(self.left.min(input.len()).min(most));
                *input = later;
                self.left -= now.len();
                return Ok(Piece::Payload(self.outcome, now));
            }
            if !self.more {
                return Ok(Piece::End);
            }
            let width = 4 + self.dialect.header_width();
            while self.filled < width {
                let Some((byte, later)) = input.split_first() else {
                    return Ok(Piece::NeedInput);
                };
                *input = later;
                if let Some(slot) = self.head.get_mut(self.filled) {
                    *slot = *byte;
                }
                self.filled += 1;
                if self.filled == 4 {
                    self.check_length()?;
                }
            }
            self.begin_chunk()?;
            if self.outcome == ResponseStatus::Failure && self.left == 0 {
                // a long exception is announced by an empty failure chunk (§6.1)
                return Ok(Piece::Payload(ResponseStatus::Failure, &[]));
            }
        }
    }

    fn length(&self) -> u32 {
        let [a, b, c, d, ..] = self.head;
        u32::from_be_bytes([a, b, c, d])
    }

    fn check_length(&self) -> Result<(), FrameError> {
        let (length, least, limit) = (self.length(), self.dialect.header_width(), self.dialect.frame_limit());
        let possible = usize::try_from(length).is_ok_and(|length| length >= least) && length <= limit;
        if possible {
            Ok(())
        } else {
            Err(FrameError::Length { length, least, limit })
        }
    }

    fn begin_chunk(&mut self) -> Result<(), FrameError> {
        let [.., first, second] = self.head;
        self.more = first & 1 == 1;
        self.outcome = ResponseStatus::Success;
        let dialect = self.dialect;
        match dialect.internal_version() {
            None if first > 1 => return Err(FrameError::Header { first, dialect }),
            None => {}
            Some(version) => {
                let internal = first >> 2 & 0x1f;
                if internal != version || second != APPLICATION {
                    return Err(FrameError::Version {
                        internal,
                        application: second,
                        dialect,
                    });
                }
                if first & 2 == 2 {
                    self.outcome = ResponseStatus::Failure;
                }
            }
        }
        self.left = to_usize(u64::from(self.length())).saturating_sub(self.dialect.header_width());
        self.filled = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(dialect: Dialect, bytes: &[u8], step: usize) -> Result<(Vec<u8>, bool), FrameError> {
        let (mut frames, mut out) = (Frames::new(dialect), Vec::new());
        for mut part in bytes.chunks(step) {
            loop {
                match frames.next_at_most(&mut part, usize::MAX)? {
                    Piece::Payload(_, piece) => out.extend(piece),
                    Piece::End => return Ok((out, true)),
                    Piece::NeedInput => break,
                }
            }
        }
        Ok((out, false))
    }

    #[test]
    fn chunks_are_joined_wherever_the_input_is_split() {
        let two = [0, 0, 0, 4, 9, 1, 10, 11, 0, 0, 0, 3, 8, 1, 12];
        let one = [0, 0, 0, 3, 1, 10, 11, 0, 0, 0, 2, 0, 12];
        for step in 1..=two.len() {
            assert_eq!(payload(Dialect::D18, &two, step), Ok((vec![10, 11, 12], true)));
            assert_eq!(payload(Dialect::D13, &one, step), Ok((vec![10, 11, 12], true)));
        }
        assert_eq!(payload(Dialect::D18, &two[..8], 3), Ok((vec![10, 11], false)));
    }

    #[test]
    fn frames_up_to_the_limit_of_the_dialect_are_taken() {
        for (dialect, limit) in [(Dialect::D14, 16_u32 << 20), (Dialect::D15, 4 << 20)] {
            let header: &[u8] = if dialect == Dialect::D14 { &[0] } else { &[4, 1] };
            let whole = [&limit.to_be_bytes()[..], header].concat();
            assert_eq!(payload(dialect, &whole, 64), Ok((vec![], false)));
            let over = (limit + 1).to_be_bytes();
            assert!(matches!(payload(dialect, &over, 4), Err(FrameError::Length { .. })));
        }
    }

    #[test]
    fn impossible_lengths_and_foreign_headers_are_errors() {
        for length in [0_u32, 1, 0x0040_0001, 0x8000_0000, u32::MAX] {
            assert!(payload(Dialect::D18, &length.to_be_bytes(), 4).is_err(), "{length}");
        }
        for header in [[4, 1], [8, 2], [0xff, 0xff]] {
            let error = payload(Dialect::D18, &[&[0, 0, 0, 9], &header[..]].concat(), 6);
            assert!(matches!(error, Err(FrameError::Version { .. })), "{header:?}");
        }
        let error = payload(Dialect::D18, &[0, 0, 0, 9, 4, 1], 6).unwrap_err();
        assert!(error.to_string().contains("Neo4j 1.5.0 or 1.6.0"), "{error}");
        assert!(payload(Dialect::D14, &[0, 0, 0, 9, 2], 5).is_err());
    }
}
