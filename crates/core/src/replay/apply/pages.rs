//! The pages of one store file that were changed and are not written yet.
//!
//! Transactions change records here and there, many of them next to each other, and some of them only in part, so that
//! what lies between has to be read before it can be written with them. A file never becomes longer than the changes make
//! it, so it ends up with the bytes that a write for each change would have left.

use std::{collections::BTreeMap, fs::File, io, ops::Range, os::unix::fs::FileExt};

use neo4j_format::width::to_usize;

/// Bytes of a page, at multiples of it: as the kernel caches files.
const PAGE: usize = 4096;

/// Pages of a file that are held: new records and the older ones around them stay for long, and all ten files together
/// cannot take more than a few megabytes.
const PAGES: usize = 128;

/// The changed pages, written in the order of the file once there are too many.
#[derive(Debug, Default)]
pub(super) struct Pages {
    held: BTreeMap<u64, Page>,
}

#[derive(Debug)]
struct Page {
    /// As in the file, with the changes; zero behind the end of the file, as if it were there.
    bytes: Box<[u8; PAGE]>,
    /// From the first changed byte to the last.
    changed: Range<usize>,
}

impl Page {
    /// Reads a page in which `within` is the first place to change.
    fn read(file: &File, number: u64, within: usize) -> io::Result<Page> {
        let mut bytes = Box::new([0; PAGE]);
        let (mut rest, mut at) = (&mut bytes[..], number * PAGE as u64);
        while !rest.is_empty() {
            match file.read_at(rest, at) {
                Ok(0) => break,
                Ok(read) => {
                    rest = &mut rest[read..];
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Page {
            bytes,
            changed: within..within,
        })
    }

    fn change(&mut self, within: usize, bytes: &[u8]) {
        let end = within + bytes.len();
        if let Some(place) = self.bytes.get_mut(within..end) {
            place.copy_from_slice(bytes);
        }
        self.changed = self.changed.start.min(within)..self.changed.end.max(end);
    }
}

impl Pages {
    /// Changes bytes of the file.
    ///
    /// # Errors
    /// Of reading pages or of writing those that have to make room.
    pub(super) fn write(&mut self, file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let number = offset / PAGE as u64;
            let within = to_usize(offset % PAGE as u64);
            let (now, later) = bytes.split_at(bytes.len().min(PAGE - within));
            if let Some(page) = self.held.get_mut(&number) {
                page.change(within, now);
            } else {
                if self.held.len() == PAGES {
                    self.flush(file)?;
                }
                let mut page = Page::read(file, number, within)?;
                page.change(within, now);
                self.held.insert(number, page);
            }
            offset += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Writes all that is held.
    ///
    /// # Errors
    /// Of writing.
    pub(super) fn flush(&mut self, file: &File) -> io::Result<()> {
        while let Some((number, page)) = self.held.pop_first() {
            let changed = &page.bytes[page.changed.clone()];
            file.write_all_at(changed, number * PAGE as u64 + page.changed.start as u64)?;
        }
        Ok(())
    }
}
