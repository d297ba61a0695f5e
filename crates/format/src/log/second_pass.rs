//! Reading the transactions that a first pass over a log found, one after the other.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use crate::width::{to_u64, to_usize};

use super::{entries::Buffer, format::Layout, reader::TransactionReader, slot::Committed};

/// Bytes read at once: many small transactions, and little beside the buffer of one reader.
const WINDOW: usize = 64 * 1024;

/// Reads committed transactions of one log file. A window of the file is kept from one to the next, so that small ones
/// that follow each other cost no system call each. What the window holds must not change meanwhile; the file may grow.
#[derive(Debug)]
pub struct SecondPass<'f> {
    layout: Layout,
    window: Window<'f>,
    buffer: Buffer,
}

impl<'f> SecondPass<'f> {
    /// Of the log in `file`.
    pub fn new(file: &'f File, layout: Layout) -> SecondPass<'f> {
        SecondPass {
            layout,
            window: Window::of(file),
            buffer: Buffer::new(),
        }
    }

    /// Reads a transaction, in the form of a stream and without the entries of others.
    pub fn transaction(&mut self, committed: &Committed) -> TransactionReader<'_, InWindow<'_, 'f>> {
        let range = InWindow {
            window: &mut self.window,
            at: committed.start,
            end: committed.end,
        };
        let (tx, identifier, start) = (committed.tx, committed.identifier, committed.start);
        TransactionReader::in_log(range, self.layout, tx, identifier, start, &mut self.buffer)
    }
}

/// A part of the file in memory.
#[derive(Debug)]
struct Window<'f> {
    file: &'f File,
    bytes: Vec<u8>,
    /// Where in the file the first of them stands.
    at: u64,
    filled: usize,
}

impl<'f> Window<'f> {
    /// Of a file, with nothing read yet.
    fn of(file: &'f File) -> Window<'f> {
        Window {
            file,
            bytes: vec![0; WINDOW],
            at: 0,
            filled: 0,
        }
    }

    /// The bytes that it has from `at` on, after reading them where it has none; empty at the end of the file.
    fn from(&mut self, at: u64) -> io::Result<&[u8]> {
        let end = self.at.saturating_add(to_u64(self.filled));
        if !(self.at..end).contains(&at) {
            self.filled = 0;
            self.filled = self.file.read_at(&mut self.bytes, at)?;
            self.at = at;
        }
        let skipped = to_usize(at.saturating_sub(self.at));
        Ok(self
            .bytes
            .get(skipped..self.filled)
            .expect("the window holds this position"))
    }
}

/// Reads a part of a file through a window of it.
#[derive(Debug)]
pub struct InWindow<'w, 'f> {
    window: &'w mut Window<'f>,
    at: u64,
    end: u64,
}

impl Read for InWindow<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = to_usize(self.end.saturating_sub(self.at));
        let wanted = buffer.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let mut there = self.window.from(self.at)?;
        let count = there.read(buffer.get_mut(..wanted).expect("no more is wanted than there is room"))?;
        self.at = self.at.saturating_add(to_u64(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn any_ranges_in_any_order_are_what_the_file_has() {
        let content: Vec<u8> = (0..3 * WINDOW + 17).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let mut window = Window::of(&file);
        let whole = content.len();
        for (at, end) in [
            (0, 10),
            (10, 500),
            (WINDOW - 3, WINDOW + 3),
            (WINDOW + 3, WINDOW + 4),
            (5, 6),
            (100, 2 * WINDOW + 100),
            (whole - 1, whole),
            (whole - 5, whole + 100),
            (whole, whole + 1),
        ] {
            let mut range = InWindow {
                window: &mut window,
                at: at as u64,
                end: end as u64,
            };
            let mut read = Vec::new();
            range.read_to_end(&mut read).unwrap();
            assert!(read == content[at..end.min(whole)], "{at}..{end}");
        }
    }

    #[test]
    fn what_was_appended_since_is_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"first").unwrap();
        let other = file.try_clone().unwrap();
        let mut window = Window::of(&other);
        let mut read = |at, end| {
            let mut text = String::new();
            let window = &mut window;
            let range = &mut InWindow { window, at, end };
            range.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(read(0, 5), "first");
        file.write_all(b"second").unwrap();
        assert_eq!(read(3, 11), "stsecond");
    }
}
