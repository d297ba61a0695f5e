//! Conversions between lengths in memory and lengths in files, which are the same width on every supported platform.

const _: () = assert!(
    usize::BITS == 64,
    "lengths of files are held in memory: 64-bit platforms only"
);

/// A length or position in memory as one in a file.
pub const fn to_u64(length: usize) -> u64 {
    length as u64
}

/// A length or position in a file as one in memory.
#[expect(clippy::cast_possible_truncation, reason = "both have 64 bits")]
pub const fn to_usize(length: u64) -> usize {
    length as usize
}
