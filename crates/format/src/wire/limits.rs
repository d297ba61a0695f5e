//! Every length that a peer may name has its limit here, with the reason for it.

/// Largest frame of the one-byte dialects; 1.3 – 1.4.0 send chunks of 16 MiB (§2.1).
pub const FRAME_ONE_BYTE: u32 = 16 << 20;

/// Largest frame of the two-byte dialects (§2.1).
pub const FRAME_TWO_BYTE: u32 = 4 << 20;

/// Largest request: 127 data sources with the longest names, and what stands around them; the tools' own have 100 bytes.
pub const REQUEST: u32 = 68 << 10;

/// UTF-16 units in a path: as many as Linux takes bytes in one.
pub const PATH_UNITS: usize = 4096;

/// Bytes of a path, the limit of Linux without the final NUL.
pub const PATH_BYTES: usize = 4095;

/// Bytes of one component of a path, the limit of Linux file systems.
pub const COMPONENT_BYTES: usize = 255;

/// UTF-16 units in the name of a data source; the stock ones have 12.
pub const SOURCE_NAME_UNITS: usize = 255;

/// Bytes of a serialized exception that are looked at; real ones have a few KiB.
pub const FAILURE_BYTES: usize = 1 << 20;

/// Characters of a server's message that are shown.
pub const MESSAGE_CHARS: usize = 2000;

/// Names of files in one response, together, [`FILE_OVERHEAD`] added for each: room for 100 000 files of a long name.
pub const FILE_NAMES: usize = 16 << 20;

/// What remembering one file costs beside its name.
pub const FILE_OVERHEAD: usize = 64;

/// Causes of a failure that are shown; real ones have fewer than ten.
pub const FAILURE_CAUSES: usize = 16;

/// Bytes of the probe's answer that are read. The first eight tell all that matters, but a server whose answer, of at
/// most 2 600 bytes in the releases, is not read to its end logs a reset connection.
pub const PROBE_ANSWER: usize = 4096;

/// Bytes of an answer that are shown where it is none of Neo4j's.
pub const PROBE_SHOWN: usize = 64;

/// Nesting of a serialized exception that is followed; real ones stay below 20.
pub const FAILURE_DEPTH: usize = 64;
