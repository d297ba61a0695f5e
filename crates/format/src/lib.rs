//! What the bytes and directories of Neo4j 1.3 – 1.9 mean: the wire protocol, transaction logs and store files.
//!
//! Nothing here knows a socket, a clock or a command line. [`wire`], the entries and commands of [`log`], and
//! [`store::record`] turn bytes into values and back; the rest reads and writes the files they lie in.

pub mod directory;
mod disk_error;
#[cfg(test)]
mod hex;
pub mod ids;
pub mod log;
pub mod store;
pub mod width;
pub mod wire;

pub use directory::DirHandle;
pub use disk_error::DiskError;
