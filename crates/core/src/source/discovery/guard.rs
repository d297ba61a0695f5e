//! What a coordinator may say to the client library (`docs/formats/zookeeper-discovery.md` §13): replies are checked,
//! frame by frame, before the library sees them.
//!
//! The library trusts its server: it buffers any length that a frame announces, and it panics on a reply that is
//! shorter than it must be. So a [`Guard`] follows the conversation and lets through only what answers a request of ours
//! and is whole. Only the requests that discovery makes are known to it.
//!
//! ```text
//! frame   = i32 length, body
//! request = i32 xid, i32 opcode, …              reply = i32 xid, i64 zxid, i32 error [, payload if the error is 0]
//! first reply = i32 protocol, i32 session timeout, i64 session, i32 16, 16 bytes password [, bool read-only]
//! ```

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::collections::VecDeque;

/// Body of a frame; servers send no more than 1 MiB unless told otherwise, clients take 4 MiB.
pub(super) const FRAME: usize = 4 << 20;
/// All replies of one session, together: 1000 members need less than 2 MiB.
pub(super) const SESSION: usize = 32 << 20;

/// A server answers in order and does not need more.
const MAX_PENDING: usize = 64;
/// Longest session timeout that makes sense, in milliseconds: servers give 20 of their ticks, 40 s by default.
const MAX_SESSION_TIMEOUT: i32 = 3_600_000;
const PASSWORD: usize = 16;
const STAT: usize = 68;

const PING_XID: i32 = -2;
const EXISTS: i32 = 3;
const GET_DATA: i32 = 4;
const GET_CHILDREN: i32 = 8;
const SYNC: i32 = 9;
const CLOSE: i32 = -11;

/// Why a conversation is ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum GuardError {
    /// A frame of impossible length.
    #[error("it announces a reply of {0} bytes")]
    Length(i32),
    /// More than a session needs.
    #[error("it sent more than {SESSION} bytes")]
    Endless,
    /// A reply shorter or longer than its kind is.
    #[error("a reply of {length} bytes is no {what}")]
    Shape {
        /// Its kind.
        what: &'static str,
        /// Its length.
        length: usize,
    },
    /// A reply to something that was not asked.
    #[error("it answers request {found}, which is not the next one that was asked")]
    Xid {
        /// The number in the reply.
        found: i32,
    },
    /// The session could not be opened.
    #[error("it refused the session")]
    Refused,
    /// The library asked for something that discovery never does.
    #[error("request {0} is not one that discovery makes")]
    Request(i32),
}

/// Follows one conversation.
#[derive(Debug, Default)]
pub(super) struct Guard {
    pending: VecDeque<(i32, i32)>,
    is_open: bool,
    asked_to_open: bool,
    pings: u32,
    received: usize,
}

impl Guard {
    /// The length of the next frame's body, from its first four bytes.
    pub(super) fn length(bytes: [u8; 4]) -> Result<usize, GuardError> {
        let length = i32::from_be_bytes(bytes);
        let found = usize::try_from(length).ok().filter(|length| *length <= FRAME);
        found.ok_or(GuardError::Length(length))
    }

    /// Whether the coordinator has answered the request for a session.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Notes the body of a request.
    pub(super) fn request(&mut self, body: &[u8]) -> Result<(), GuardError> {
        if !self.asked_to_open {
            self.asked_to_open = true;
            return Ok(());
        }
        let mut rest = body;
        let (Some(xid), Some(opcode)) = (take_i32(&mut rest), take_i32(&mut rest)) else {
            return Err(GuardError::Request(0));
        };
        if xid == PING_XID {
            self.pings = self.pings.saturating_add(1);
            return Ok(());
        }
        let is_known = matches!(opcode, EXISTS | GET_DATA | GET_CHILDREN | SYNC | CLOSE);
        if !is_known || self.pending.len() >= MAX_PENDING {
            return Err(GuardError::Request(opcode));
        }
        self.pending.push_back((xid, opcode));
        Ok(())
    }

    /// Judges the body of a reply.
    pub(super) fn reply(&mut self, body: &[u8]) -> Result<(), GuardError> {
        self.received = self.received.saturating_add(body.len());
        if self.received > SESSION {
            return Err(GuardError::Endless);
        }
        if !self.is_open {
            self.is_open = true;
            return opened(body);
        }
        let shape = |what| GuardError::Shape {
            what,
            length: body.len(),
        };
        let mut rest = body;
        let (Some(xid), Some(_zxid), Some(error)) = (take_i32(&mut rest), take(&mut rest, 8), take_i32(&mut rest))
        else {
            return Err(shape("reply"));
        };
        if xid == PING_XID && self.pings > 0 && rest.is_empty() {
            self.pings = self.pings.saturating_sub(1);
            return Ok(());
        }
        let opcode = match self.pending.pop_front() {
            Some((asked, opcode)) if asked == xid => opcode,
            _ => return Err(GuardError::Xid { found: xid }),
        };
        if error != 0 {
            return Ok(());
        }
        let (what, is_whole) = match opcode {
            GET_DATA => ("node's data", take_buffer(&mut rest).is_some() && rest.len() == STAT),
            GET_CHILDREN => ("list of nodes", is_list(&mut rest) && rest.is_empty()),
            EXISTS => ("node's state", rest.len() == STAT),
            SYNC => ("path", take_buffer(&mut rest).is_some() && rest.is_empty()),
            _ => ("end of a session", rest.is_empty()),
        };
        if is_whole { Ok(()) } else { Err(shape(what)) }
    }
}

fn opened(body: &[u8]) -> Result<(), GuardError> {
    let mut rest = body;
    let fields = (
        take_i32(&mut rest),
        take_i32(&mut rest),
        take(&mut rest, 8),
        take_buffer(&mut rest),
    );
    match fields {
        (Some(_), Some(timeout), Some(session), Some(password)) if rest.len() <= 1 => {
            if timeout <= 0 || session.iter().all(|byte| *byte == 0) {
                Err(GuardError::Refused)
            } else if timeout > MAX_SESSION_TIMEOUT || password.len() != PASSWORD {
                Err(GuardError::Shape {
                    what: "new session",
                    length: body.len(),
                })
            } else {
                Ok(())
            }
        }
        _ => Err(GuardError::Shape {
            what: "new session",
            length: body.len(),
        }),
    }
}

/// A count and that many strings; none of them is looked into.
fn is_list(rest: &mut &[u8]) -> bool {
    let Some(count) = take_i32(rest) else { return false };
    (0..count).all(|_| take_buffer(rest).is_some())
}

/// A length and that many bytes; a length of -1 stands for none.
fn take_buffer<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    match take_i32(rest)? {
        -1 => Some(&[]),
        length => take(rest, usize::try_from(length).ok()?),
    }
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(i32::from_be_bytes(*bytes))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (bytes, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests count small things")]

    use proptest::prelude::*;

    use super::*;

    /// A conversation in which the session is open and these requests were made.
    fn asked(requests: &[(i32, i32)]) -> Guard {
        let mut guard = Guard::default();
        guard.request(&[0; 45]).unwrap();
        guard.reply(&new_session(4000, 7, 16)).unwrap();
        for (xid, opcode) in requests {
            guard
                .request(&[xid.to_be_bytes(), opcode.to_be_bytes()].concat())
                .unwrap();
        }
        guard
    }

    fn new_session(timeout: i32, session: i64, password: i32) -> Vec<u8> {
        let mut body = 0_i32.to_be_bytes().to_vec();
        body.extend(timeout.to_be_bytes());
        body.extend(session.to_be_bytes());
        body.extend(password.to_be_bytes());
        body.extend(vec![1; usize::try_from(password).unwrap()]);
        body
    }

    fn reply(xid: i32, error: i32, payload: &[u8]) -> Vec<u8> {
        let mut body = xid.to_be_bytes().to_vec();
        body.extend(5_i64.to_be_bytes());
        body.extend(error.to_be_bytes());
        body.extend(payload);
        body
    }

    /// The payload with which a server answers a request of this kind.
    fn payload(opcode: i32) -> Vec<u8> {
        match opcode {
            EXISTS => vec![0; STAT],
            GET_DATA => [&[0, 0, 0, 2, 8, 9][..], &[0; STAT]].concat(),
            GET_CHILDREN => vec![0, 0, 0, 2, 0, 0, 0, 1, b'a', 0, 0, 0, 0],
            SYNC => vec![0, 0, 0, 1, b'/'],
            _ => Vec::new(),
        }
    }

    fn ping() -> Vec<u8> {
        [PING_XID.to_be_bytes(), 11_i32.to_be_bytes()].concat()
    }

    const ALL: [i32; 5] = [EXISTS, GET_DATA, GET_CHILDREN, SYNC, CLOSE];

    #[test]
    fn whole_replies_in_order_go_through() {
        let requests: Vec<(i32, i32)> = (1..).zip(ALL).collect();
        let mut guard = asked(&requests);
        for (xid, opcode) in requests {
            guard.request(&ping()).unwrap();
            assert_eq!(guard.reply(&reply(PING_XID, 0, &[])), Ok(()));
            assert_eq!(guard.reply(&reply(xid, 0, &payload(opcode))), Ok(()), "opcode {opcode}");
        }
        let mut guard = asked(&[(1, GET_DATA), (2, GET_DATA)]);
        assert_eq!(guard.reply(&reply(1, -101, &[])), Ok(()), "no such node");
        let no_data = [&[0xff; 4][..], &[0; STAT]].concat();
        assert_eq!(guard.reply(&reply(2, 0, &no_data)), Ok(()));
    }

    #[test]
    fn replies_cut_short_or_grown_are_stopped() {
        for opcode in ALL {
            let whole = payload(opcode);
            for length in 0..whole.len() {
                let mut guard = asked(&[(1, opcode)]);
                let cut = guard.reply(&reply(1, 0, &whole[..length]));
                assert!(
                    matches!(cut, Err(GuardError::Shape { .. })),
                    "opcode {opcode}, {length} bytes"
                );
            }
            let mut guard = asked(&[(1, opcode)]);
            assert!(guard.reply(&reply(1, 0, &[whole, vec![0]].concat())).is_err());
        }
        assert!(asked(&[]).reply(&[0; 15]).is_err());
    }

    #[test]
    fn replies_to_nothing_that_was_asked_are_stopped() {
        for xid in [0, 2, -1, i32::MAX] {
            assert_eq!(
                asked(&[(1, SYNC), (2, SYNC)]).reply(&reply(xid, 0, &payload(SYNC))),
                Err(GuardError::Xid { found: xid })
            );
        }
        for xid in [1, PING_XID] {
            assert_eq!(
                asked(&[]).reply(&reply(xid, 0, &[])),
                Err(GuardError::Xid { found: xid })
            );
        }
    }

    #[test]
    fn counts_and_lengths_beyond_the_frame_are_stopped() {
        for count in [3, i32::MAX] {
            let mut list = payload(GET_CHILDREN);
            list[..4].copy_from_slice(&count.to_be_bytes());
            assert!(asked(&[(1, GET_CHILDREN)]).reply(&reply(1, 0, &list)).is_err());
        }
        for length in [-2, i32::MIN, 3, i32::MAX] {
            let mut data = payload(GET_DATA);
            data[..4].copy_from_slice(&length.to_be_bytes());
            assert!(asked(&[(1, GET_DATA)]).reply(&reply(1, 0, &data)).is_err());
        }
        for length in [-1, i32::MIN, i32::MAX] {
            assert_eq!(Guard::length(length.to_be_bytes()), Err(GuardError::Length(length)));
        }
        assert_eq!(Guard::length([0, 0, 1, 0]), Ok(256));
    }

    #[test]
    fn a_session_needs_an_id_a_timeout_and_a_password() {
        let opened = |body: &[u8]| Guard::default().reply(body);
        assert_eq!(opened(&new_session(4000, -7, 16)), Ok(()), "ids of 3.3.2 are negative");
        assert_eq!(opened(&[new_session(4000, 7, 16), vec![0]].concat()), Ok(()));
        assert_eq!(opened(&new_session(0, 7, 16)), Err(GuardError::Refused));
        assert_eq!(opened(&new_session(4000, 0, 16)), Err(GuardError::Refused));
        for wrong in [
            new_session(i32::MAX, 7, 16),
            new_session(4000, 7, 15),
            vec![],
            vec![1; 20],
        ] {
            assert!(matches!(opened(&wrong), Err(GuardError::Shape { .. })));
        }
    }

    #[test]
    fn a_session_does_not_last_for_ever() {
        let mut guard = asked(&[]);
        let mut garbage = vec![0, 0x10, 0, 0];
        garbage.extend(vec![0; (1 << 20) + STAT]);
        let sent = (0..100_i32).find(|xid| {
            guard
                .request(&[xid.to_be_bytes(), GET_DATA.to_be_bytes()].concat())
                .unwrap();
            guard.reply(&reply(*xid, 0, &garbage)).is_err()
        });
        assert_eq!(sent, Some(31));
    }

    #[test]
    fn requests_that_discovery_does_not_make_are_stopped() {
        let create = [1_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat();
        assert_eq!(asked(&[]).request(&create), Err(GuardError::Request(1)));
        assert!(asked(&[]).request(&[]).is_err());
    }

    proptest! {
        #[test]
        fn any_reply_is_let_through_or_stopped(opcode in prop::sample::select(ALL.to_vec()), body: Vec<u8>, tail: Vec<u8>) {
            let _ = Guard::default().reply(&body);
            let _ = asked(&[(1, opcode)]).reply(&body);
            let _ = asked(&[(1, opcode)]).reply(&reply(1, 0, &tail));
        }
    }
}
