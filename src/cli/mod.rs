//! The command line: the only folder that knows clap, the terminal and the environment.
//!
//! Arguments go from what was typed (`args`, after `legacy_dashes`) to what it means (`request`, `quantity`);
//! `invocation` decides what to do with them, one file per command does it, `terminal` shows it while it happens and
//! `report` tells how it ended, through `output`. Results go to standard output, everything else to standard error.

mod args;
mod backup;
mod calendar;
mod check;
mod cluster;
mod demo;
mod generate;
mod inspect;
mod invocation;
mod job;
mod legacy_dashes;
mod members;
mod output;
mod quantity;
mod report;
mod request;
mod sandbox;
mod scratch;
mod serve;
mod signals;
mod terminal;
mod verify;

pub use invocation::run;
