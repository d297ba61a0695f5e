//! How a check is done.

use std::thread;

use super::{Listener, Memory, WrittenRecords};

/// Which records are checked.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// All.
    Whole,
    /// Those that transactions wrote, and their neighbours; all if there are too many, or if what the transactions changed
    /// could be wrong for records elsewhere.
    Part(&'a WrittenRecords),
}

/// More threads do not help: they wait for memory, and each has a cache of blocks of its own.
const THREADS_MAX: usize = 4;

/// How a check is done.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions<'a> {
    /// Which records.
    pub what: What<'a>,
    /// Memory it may take.
    pub memory: Memory,
    /// Threads that share a pass, at least one. What is found is the same with any number.
    pub threads: usize,
    /// Findings kept per rule; all are counted.
    pub limit: usize,
    /// Who hears of them at once.
    pub listener: Option<&'a dyn Listener>,
}

impl Default for CheckOptions<'_> {
    fn default() -> Self {
        CheckOptions {
            what: What::Whole,
            memory: Memory::default(),
            threads: thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX),
            limit: 100,
            listener: None,
        }
    }
}
