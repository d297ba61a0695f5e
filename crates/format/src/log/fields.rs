//! Checked big-endian getters over a slice; the only arithmetic on a peer's bytes in this folder.

use super::error::LogProblem;

/// Why decoding stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end here; with more of them it might go on.
    Short,
    /// They are wrong.
    Bad(LogProblem),
}

impl From<LogProblem> for Stop {
    fn from(problem: LogProblem) -> Stop {
        Stop::Bad(problem)
    }
}

pub(super) type Decoded<T> = Result<T, Stop>;

/// The bytes that are still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    #[inline]
    pub(super) fn bytes(&mut self, length: usize) -> Decoded<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(head)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Decoded<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn i32(&mut self) -> Decoded<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn i64(&mut self) -> Decoded<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Decoded<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// An `i32` that counts or measures something, 0 … `limit`.
    #[inline]
    pub(super) fn size(&mut self, field: &'static str, limit: u32) -> Decoded<u32> {
        let value = self.i32()?;
        match u32::try_from(value) {
            Ok(size) if size <= limit => Ok(size),
            Ok(_) => Err(LogProblem::Limit {
                field,
                value: value.into(),
                limit: limit.into(),
            }
            .into()),
            Err(_) => Err(LogProblem::Value {
                field,
                value: value.into(),
            }
            .into()),
        }
    }
}
