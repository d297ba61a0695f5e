//! The connections that are open, so that they can be ended from outside: a blocked read or write of a connection ends
//! when its socket is shut down.

use std::{
    collections::HashMap,
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// All open connections of a service.
#[derive(Debug, Default)]
pub(super) struct Lines {
    ending: AtomicBool,
    open: Mutex<(u64, HashMap<u64, Arc<Line>>)>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) stream: TcpStream,
    number: u64,
    /// Whether it waits for a request, and may be ended without harm.
    waiting: AtomicBool,
    ended: AtomicBool,
}

impl Lines {
    pub(super) fn add(&self, stream: TcpStream) -> Arc<Line> {
        let mut open = self.open();
        open.0 = open.0.wrapping_add(1);
        let line = Arc::new(Line {
            stream,
            number: open.0,
            waiting: AtomicBool::new(true),
            ended: AtomicBool::new(false),
        });
        open.1.insert(line.number, Arc::clone(&line));
        line
    }

    pub(super) fn remove(&self, line: &Line) {
        self.open().1.remove(&line.number);
    }

    /// Ends those that wait for a request; the others end with their response.
    pub(super) fn drain(&self) {
        self.ending.store(true, Ordering::SeqCst);
        for line in self.open().1.values() {
            if line.waiting.load(Ordering::SeqCst) {
                line.end();
            }
        }
    }

    /// Ends all at once.
    pub(super) fn abort(&self) {
        self.ending.store(true, Ordering::SeqCst);
        for line in self.open().1.values() {
            line.end();
        }
    }

    /// Says that a line waits for a request; false if it need not, since the service ends.
    pub(super) fn wait(&self, line: &Line) -> bool {
        // in this order: a thread that drains either sees that it waits, or is seen
        line.waiting.store(true, Ordering::SeqCst);
        !self.ending.load(Ordering::SeqCst)
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.open().1.len()
    }

    fn open(&self) -> MutexGuard<'_, (u64, HashMap<u64, Arc<Line>>)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Says that it has a request to answer.
    pub(super) fn work(&self) {
        self.waiting.store(false, Ordering::SeqCst);
    }

    /// Whether it was ended from outside.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        // one that the peer has closed meanwhile needs no end
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
