//! Names of log files, and the marker that says which is active (`docs/formats/transaction-log.md` §2, §3.1).

use std::io;

use crate::{
    DirHandle,
    ids::{DataSource, LogVersion},
};

/// One of the two files that take turns as the active log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// `.1`
    One,
    /// `.2`
    Two,
}

impl Slot {
    /// The one that is not active when this one is.
    #[must_use]
    pub fn other(self) -> Slot {
        match self {
            Slot::One => Slot::Two,
            Slot::Two => Slot::One,
        }
    }
}

/// Content of the marker file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Marker {
    /// `C`: closed cleanly.
    Clean,
    /// `1` or `2`: that slot is open, or was when the server crashed.
    Active(Slot),
}

impl Marker {
    /// Bytes of the file.
    pub const SIZE: usize = 4;

    /// Bytes up to which a marker file is read; a damaged one may have more than it should.
    pub const FILE_MAX: u64 = 4096;

    /// Reads the file's content; `None` for any other, with which no release starts.
    pub fn decode(bytes: &[u8]) -> Option<Marker> {
        match bytes {
            [0, b'C', 0, 0] => Some(Marker::Clean),
            [0, b'1', 0, 0] => Some(Marker::Active(Slot::One)),
            [0, b'2', 0, 0] => Some(Marker::Active(Slot::Two)),
            _ => None,
        }
    }

    /// The file's content.
    pub fn encode(self) -> [u8; Marker::SIZE] {
        let marker = match self {
            Marker::Clean => b'C',
            Marker::Active(Slot::One) => b'1',
            Marker::Active(Slot::Two) => b'2',
        };
        [0, marker, 0, 0]
    }
}

/// Path of the source's logs relative to the store directory, without suffix.
pub fn base(source: DataSource) -> &'static str {
    match source {
        DataSource::Graph => "nioneo_logical.log",
        DataSource::Lucene => "index/lucene.log",
    }
}

/// Path of a slot relative to the store directory.
pub fn slot(source: DataSource, slot: Slot) -> &'static str {
    match (source, slot) {
        (DataSource::Graph, Slot::One) => "nioneo_logical.log.1",
        (DataSource::Graph, Slot::Two) => "nioneo_logical.log.2",
        (DataSource::Lucene, Slot::One) => "index/lucene.log.1",
        (DataSource::Lucene, Slot::Two) => "index/lucene.log.2",
    }
}

/// Path of the marker relative to the store directory.
pub fn marker(source: DataSource) -> &'static str {
    match source {
        DataSource::Graph => "nioneo_logical.log.active",
        DataSource::Lucene => "index/lucene.log.active",
    }
}

/// Path of an archived log relative to the store directory.
pub fn archived(source: DataSource, version: LogVersion) -> String {
    format!("{}.v{version}", base(source))
}

/// Version of the archived log with this path relative to the store directory, `None` if it is none.
pub fn archived_version(source: DataSource, path: &str) -> Option<LogVersion> {
    let digits = path.strip_prefix(base(source))?.strip_prefix(".v")?;
    let padded = digits.len() > 1 && digits.starts_with('0');
    if padded || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(LogVersion)
}

/// Whether marker and logs of the graph say that the database in `dir` was closed cleanly. A marker that is damaged or
/// cannot be read says that it was not.
pub fn is_closed_cleanly(dir: &DirHandle) -> bool {
    match dir.read(marker(DataSource::Graph), Marker::FILE_MAX) {
        Ok(bytes) => Marker::decode(&bytes) == Some(Marker::Clean),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pending = dir.status_of(slot(DataSource::Graph, Slot::One));
            !pending.is_ok_and(|found| found.length() > 0)
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_those_of_the_format_document() {
        for (marker, bytes) in [
            (Marker::Clean, [0, 0x43, 0, 0]),
            (Marker::Active(Slot::One), [0, 0x31, 0, 0]),
            (Marker::Active(Slot::Two), [0, 0x32, 0, 0]),
        ] {
            assert_eq!(marker.encode(), bytes);
            assert_eq!(Marker::decode(&bytes), Some(marker));
        }
        for wrong in [
            &[][..],
            &[0, 0x31, 0],
            &[0, 0x31, 0, 0, 0],
            &[0, 0x33, 0, 0],
            &[0x31, 0, 0, 0],
        ] {
            assert_eq!(Marker::decode(wrong), None);
        }
    }

    #[test]
    fn names_of_archived_logs_give_their_version_back() {
        for source in DataSource::ALL {
            for version in [0, 7, 120, u64::MAX] {
                let path = archived(source, LogVersion(version));
                assert_eq!(archived_version(source, &path), Some(LogVersion(version)));
            }
        }
        assert_eq!(archived(DataSource::Lucene, LogVersion(3)), "index/lucene.log.v3");
        for wrong in ["", "01", "-1", "+1", "1x", "18446744073709551616"] {
            let path = format!("nioneo_logical.log.v{wrong}");
            assert_eq!(archived_version(DataSource::Graph, &path), None, "{path}");
        }
        assert_eq!(archived_version(DataSource::Graph, "nioneo_logical.log.1"), None);
    }

    #[test]
    fn slots_begin_with_the_base() {
        for source in DataSource::ALL {
            assert_eq!(slot(source, Slot::One), format!("{}.1", base(source)));
            assert_eq!(slot(source, Slot::Two), format!("{}.2", base(source)));
            assert_eq!(marker(source), format!("{}.active", base(source)));
        }
        assert_eq!(Slot::One.other().other(), Slot::One);
    }
}
