//! The id of a run: what tells its leftovers and its entry in the manifest from those of every other run.

use std::{fmt, io};

use rustix::{
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};

use crate::{Error, ErrorKind};

/// 128 random bits, written as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunId([u8; 16]);

impl RunId {
    /// Draws an id from the system's random numbers.
    ///
    /// # Errors
    /// The system has none: a kernel older than 3.17, or a filter on system calls.
    pub(crate) fn random() -> Result<RunId, Error> {
        let mut bytes = [0; 16];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match getrandom(rest, GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => {
                    let text = format!("no random numbers from the system: {}", io::Error::from(error));
                    return Err(Error::new(ErrorKind::Failed, text));
                }
            }
        }
        Ok(RunId(bytes))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn runs_that_begin_in_the_same_process_at_the_same_time_differ() {
        let ids: BTreeSet<String> = (0..1000).map(|_| RunId::random().unwrap().to_string()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 32));
        // every byte is drawn: each position takes more than one value
        for at in 0..32 {
            let values: BTreeSet<_> = ids.iter().map(|id| id.as_bytes()[at]).collect();
            assert!(values.len() > 1, "position {at}");
        }
    }
}
