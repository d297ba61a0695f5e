//! The bytes of one transaction of a response, as a reader that ends with it.

use std::io::{self, Read};

use crate::{Error, source::client::Incoming};
use neo4j_format::wire::Event;

/// What is left of a transaction whose header was read.
pub(crate) struct Body<'a> {
    incoming: &'a mut Incoming,
    pending: Vec<u8>,
    at: usize,
    ended: bool,
    /// Bytes that have arrived.
    pub(crate) received: u64,
    /// What the response failed with; a reader can only tell its text.
    pub(crate) error: Option<Error>,
}

impl<'a> Body<'a> {
    pub(crate) fn new(incoming: &'a mut Incoming) -> Body<'a> {
        Body {
            incoming,
            pending: Vec::new(),
            at: 0,
            ended: false,
            received: 0,
            error: None,
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.pending.len() && !self.ended {
            (self.at, self.ended) = match self.incoming.next() {
                Ok(Event::Data(bytes)) => {
                    self.received += bytes.len() as u64;
                    let now = bytes.len().min(out.len());
                    let (now, later) = bytes.split_at(now);
                    if let Some(place) = out.get_mut(..now.len()) {
                        place.copy_from_slice(now);
                    }
                    self.pending.clear();
                    self.pending.extend_from_slice(later);
                    self.at = 0;
                    return Ok(now.len());
                }
                Ok(_) => (self.at, true),
                Err(error) => {
                    let text = error.to_string();
                    self.error = Some(error);
                    return Err(io::Error::other(text));
                }
            };
        }
        let rest = &self.pending[self.at..];
        let n = rest.len().min(out.len());
        if let (Some(place), Some(bytes)) = (out.get_mut(..n), rest.get(..n)) {
            place.copy_from_slice(bytes);
        }
        self.at += n;
        Ok(n)
    }
}
