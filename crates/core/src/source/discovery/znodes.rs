//! Names and data of the znodes in which a cluster of Neo4j 1.3 – 1.8 keeps its membership, as values
//! (`docs/formats/zookeeper-discovery.md` §2 – §3). All integers are big-endian, all text is UTF-16BE.
//!
//! ```text
//! /<cluster>                          i64 creation time, i64 random id [, i64 store version]     ClusterNode
//! /<creation time>_<random id>        empty                                                      RootName
//!   <member>_<sequence>               i64 last transaction [, i32 master that committed it]      MemberName, MemberRecord
//!   ha-servers/<member>               i32 backup port, u8 n, n UTF-16 units of address, zeros    ServerRecord
//!   master-notify, master-rebound     i32 member                                                 number
//!   flush-requested                   i32 member that wants a flush, -6 for none                 number
//!   compatibility-1.8/<member>        empty
//! ```
//!
//! Anyone with access to the ZooKeeper servers can write all of this, so nothing is trusted: a node that is not
//! understood is an error about that node, and its caller goes on without it.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::fmt;

use crate::source::uri::HostPort;
use neo4j_format::ids::{MemberId, StoreId};

/// Path below a root of the addresses of all members.
pub const SERVERS: &str = "ha-servers";
/// Path below a root of the marks of members that speak the layout of 1.8.
pub const MARKS_OF_1_8: &str = "compatibility-1.8";
/// Path below a root of the id that a slave last elected.
pub const MASTER_NOTIFY: &str = "master-notify";
/// Path below a root of the id that last took the master's role.
pub const MASTER_REBOUND: &str = "master-rebound";
/// Path below a root of the id that wants members of 1.8 to publish their last transactions.
pub const FLUSH_REQUESTED: &str = "flush-requested";

/// What [`FLUSH_REQUESTED`] holds while nobody wants a flush.
pub const NO_FLUSH: i32 = -6;

/// Data that is looked at: the longest record, an address of 255 units in 1.9's padding, has 620 bytes.
pub const RECORD_BYTES: usize = 1024;

/// Where members listen for each other unless told otherwise; only used to judge an address.
const DEFAULT_CLUSTER_PORT: u16 = 6361;

/// Zeros that 1.3 – 1.8 write behind an address.
const PADDING: usize = 95;

/// Why the data of a node is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZnodeError {
    /// Neither of the sizes that releases write.
    #[error("{expected} bytes are expected and {} are there{}", .found.length, .found)]
    Size {
        /// The sizes.
        expected: &'static str,
        /// The data.
        found: Excerpt,
    },
    /// Shorter than its own length says.
    #[error("the address is cut off{0}")]
    Cut(Excerpt),
    /// An address that no resolver takes.
    #[error("{0:?} is not HOST:PORT")]
    Address(String),
    /// A port outside 0 – 65535.
    #[error("{0} is not a port")]
    Port(i32),
}

/// The length of some data and its first bytes, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    length: usize,
    first: Vec<u8>,
}

impl Excerpt {
    const SHOWN: usize = 32;

    fn of(data: &[u8]) -> Excerpt {
        Excerpt {
            length: data.len(),
            first: data.iter().copied().take(Excerpt::SHOWN).collect(),
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length > 0 {
            f.write_str(": ")?;
        }
        self.first.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(if self.length > self.first.len() { "…" } else { "" })
    }
}

/// The name of a node that holds a cluster: the two numbers of its members' store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootName {
    /// Milliseconds since 1970.
    pub creation_time: i64,
    /// Drawn when the store was created.
    pub random: i64,
}

impl RootName {
    /// `None` for the name of any other node.
    pub fn parse(name: &str) -> Option<RootName> {
        let (creation_time, random) = name.split_once('_')?;
        Some(RootName {
            creation_time: number_in(creation_time)?,
            random: number_in(random)?,
        })
    }
}

impl From<StoreId> for RootName {
    fn from(id: StoreId) -> RootName {
        RootName {
            creation_time: id.creation_time,
            random: id.random,
        }
    }
}

impl fmt::Display for RootName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.creation_time, self.random)
    }
}

/// The name of a member's node: each new session of a member gets a new, higher sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberName {
    /// Whose it is.
    pub id: MemberId,
    /// Drawn by the coordinators.
    pub sequence: i32,
}

impl MemberName {
    /// `None` for the name of any other node.
    pub fn parse(name: &str) -> Option<MemberName> {
        let (id, sequence) = name.split_once('_')?;
        Some(MemberName {
            id: MemberId(number_in(id)?),
            sequence: number_in(sequence)?,
        })
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{:010}", self.id, self.sequence)
    }
}

/// The member in the name of a node below [`SERVERS`] or [`MARKS_OF_1_8`]; `None` for others, as `1-jmx`.
pub fn member_in(name: &str) -> Option<MemberId> {
    number_in(name).map(MemberId)
}

/// A decimal number without a plus sign, which `parse` would take.
fn number_in<N: std::str::FromStr>(text: &str) -> Option<N> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().ok()).flatten()
}

/// The data of `/<cluster name>`: the store that the cluster was created with. Only clusters from 1.5.1 on are found
/// through it; older ones leave numbers in it that lead nowhere (§3.1).
///
/// # Errors
/// Any size but 16 and 24 bytes.
pub fn store_id(data: &[u8]) -> Result<StoreId, ZnodeError> {
    let mut rest = data;
    let (creation_time, random) = (take_i64(&mut rest), take_i64(&mut rest));
    let store_version = if rest.is_empty() { None } else { take_i64(&mut rest) };
    match (creation_time, random, data.len()) {
        (Some(creation_time), Some(random), 16 | 24) => Ok(StoreId {
            creation_time,
            random,
            store_version,
        }),
        _ => Err(size("16 or 24", data)),
    }
}

/// The data of [`MASTER_NOTIFY`], [`MASTER_REBOUND`] and [`FLUSH_REQUESTED`].
///
/// # Errors
/// Any size but 4 bytes.
pub fn number(data: &[u8]) -> Result<i32, ZnodeError> {
    let number = data.try_into().map(i32::from_be_bytes);
    number.map_err(|_| size("4", data))
}

/// The data of a member's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberRecord {
    /// Last transaction of the graph; for values below 1 see §3.3.
    pub last: i64,
    /// The master that committed it, -1 if that is not known; `None` in 1.3, which leaves it out.
    pub master: Option<i32>,
}

impl MemberRecord {
    /// # Errors
    /// Any size but 8 and 12 bytes.
    pub fn decode(data: &[u8]) -> Result<MemberRecord, ZnodeError> {
        let record = data.split_first_chunk().and_then(|(last, rest)| {
            let last = i64::from_be_bytes(*last);
            match rest {
                [] => Some(MemberRecord { last, master: None }),
                _ => rest.try_into().ok().map(|master| MemberRecord {
                    last,
                    master: Some(i32::from_be_bytes(master)),
                }),
            }
        });
        record.ok_or_else(|| size("8 or 12", data))
    }

    /// As a member writes it.
    pub fn encode(&self) -> Vec<u8> {
        let master = self.master.map(i32::to_be_bytes);
        self.last
            .to_be_bytes()
            .into_iter()
            .chain(master.into_iter().flatten())
            .collect()
    }
}

/// The data of a node below [`SERVERS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRecord {
    /// Where the backup service listens; 0 if it is off, which 1.7 and 1.8 never say (§3.4).
    pub backup_port: i32,
    /// The setting `ha.server`: host and port for other members.
    pub address: String,
}

impl ServerRecord {
    /// # Errors
    /// Data that ends before the address does, or has more bytes than any record; an address that is not text.
    pub fn decode(data: &[u8]) -> Result<ServerRecord, ZnodeError> {
        let cut = || ZnodeError::Cut(Excerpt::of(data));
        if data.len() > RECORD_BYTES {
            return Err(size("at most 1024", data));
        }
        let (port, rest) = data.split_first_chunk().ok_or_else(cut)?;
        let (length, rest) = rest.split_first().ok_or_else(cut)?;
        let address = rest
            .get(..usize::from(*length).saturating_mul(2))
            .ok_or_else(cut)?
            .as_chunks()
            .0
            .iter()
            .map(|unit| u16::from_be_bytes(*unit));
        Ok(ServerRecord {
            backup_port: i32::from_be_bytes(*port),
            address: char::decode_utf16(address)
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect(),
        })
    }

    /// As 1.3 – 1.8 write it; `None` if the address is longer than its length byte can say.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let units: Vec<u16> = self.address.encode_utf16().collect();
        let mut data = self.backup_port.to_be_bytes().to_vec();
        data.push(u8::try_from(units.len()).ok()?);
        data.extend(units.into_iter().flat_map(u16::to_be_bytes));
        data.extend([0; PADDING]);
        Some(data)
    }

    /// The hosts to try, best first: 1.3 writes `name/address` where `ha.server` is not set.
    ///
    /// # Errors
    /// [`ZnodeError::Address`] when a resolver would not take it.
    pub fn hosts(&self) -> Result<Vec<String>, ZnodeError> {
        let wrong = || ZnodeError::Address(self.address.clone());
        // an IPv6 address may come with or without its brackets, so the last colon is the one before the port
        let (hosts, _) = self.address.rsplit_once(':').ok_or_else(wrong)?;
        let hosts: Option<Vec<String>> = hosts.splitn(2, '/').map(judged).collect();
        hosts.ok_or_else(wrong)
    }

    /// The port of the backup service; `None` if it is off.
    ///
    /// # Errors
    /// [`ZnodeError::Port`] when it is not a port.
    pub fn port(&self) -> Result<Option<u16>, ZnodeError> {
        match u16::try_from(self.backup_port) {
            Ok(0) => Ok(None),
            Ok(port) => Ok(Some(port)),
            Err(_) => Err(ZnodeError::Port(self.backup_port)),
        }
    }
}

/// A host as a resolver takes it, judged like one in a source URI. What `url` would cut off or trim is refused before.
fn judged(host: &str) -> Option<String> {
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if !host.bytes().all(is_plain) {
        return None;
    }
    let text = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    HostPort::parse(&text, DEFAULT_CLUSTER_PORT)
        .ok()
        .map(|member| member.host)
}

fn take_i64(rest: &mut &[u8]) -> Option<i64> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(i64::from_be_bytes(*bytes))
}

fn size(expected: &'static str, data: &[u8]) -> ZnodeError {
    ZnodeError::Size {
        expected,
        found: Excerpt::of(data),
    }
}
