//! The dialects that a client has to tell apart (`docs/formats/wire-protocol.md` §1).

use std::{fmt, time::Duration};

use super::limits;

/// One of the incompatible forms of the protocol. 1.4.0 and 1.4.1 – 1.4.2 differ only in what they send at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Neo4j 1.3: no session id in the request.
    D13,
    /// Neo4j 1.4.
    D14,
    /// Neo4j 1.5.0 and 1.6.0: two-byte chunk header, internal version 1.
    D15,
    /// Neo4j 1.5.1 – 1.5.3, 1.6.1 – 1.9: internal version 2, master id and checksum in the request.
    D18,
}

impl Dialect {
    /// All of them, oldest first.
    pub const ALL: [Dialect; 4] = [Dialect::D13, Dialect::D14, Dialect::D15, Dialect::D18];

    /// Short name, as in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::D13 => "D13",
            Dialect::D14 => "D14",
            Dialect::D15 => "D15",
            Dialect::D18 => "D18",
        }
    }

    /// The dialect of this name.
    pub fn from_name(name: &str) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// The two-byte dialect of this internal protocol version.
    pub fn from_internal_version(version: u8) -> Option<Dialect> {
        Dialect::ALL
            .into_iter()
            .find(|dialect| dialect.internal_version() == Some(version))
    }

    /// The releases that speak it.
    pub fn releases(self) -> &'static str {
        match self {
            Dialect::D13 => "Neo4j 1.3",
            Dialect::D14 => "Neo4j 1.4",
            Dialect::D15 => "Neo4j 1.5.0 or 1.6.0",
            Dialect::D18 => "Neo4j 1.5.1 - 1.9",
        }
    }

    /// Internal protocol version of a two-byte dialect (§2.2).
    pub fn internal_version(self) -> Option<u8> {
        match self {
            Dialect::D13 | Dialect::D14 => None,
            Dialect::D15 => Some(1),
            Dialect::D18 => Some(2),
        }
    }

    /// Bytes of a chunk header.
    pub fn header_width(self) -> usize {
        if self.internal_version().is_some() { 2 } else { 1 }
    }

    /// Largest frame that is accepted.
    pub fn frame_limit(self) -> u32 {
        if self.internal_version().is_some() {
            limits::FRAME_TWO_BYTE
        } else {
            limits::FRAME_ONE_BYTE
        }
    }

    /// Whether chunk headers have one byte: servers that speak it report no failure, but keep silent or close the connection
    /// (§6.1), and their stores have the legacy format.
    pub fn is_one_byte(self) -> bool {
        self.internal_version().is_none()
    }

    /// Whether store ids carry the store version.
    pub fn has_store_version(self) -> bool {
        self.internal_version().is_some()
    }

    /// How long a connection may stay quiet by default: a server sends nothing until a chunk is full, and 1.3 looks for
    /// old transactions for minutes (`docs/formats/neo4j-1.3.md` §6.3).
    pub fn silence_limit(self) -> Duration {
        match self {
            Dialect::D13 => Duration::from_mins(10),
            _ => Duration::from_mins(1),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.releases())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_lead_back_to_their_dialect() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::from_name(dialect.name()), Some(dialect));
            if let Some(version) = dialect.internal_version() {
                assert_eq!(Dialect::from_internal_version(version), Some(dialect));
            }
        }
        assert_eq!(Dialect::from_name("D16"), None);
        assert_eq!(Dialect::from_internal_version(3), None);
    }
}
