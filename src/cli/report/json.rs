//! The objects that `-output json` prints.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::causes;
use crate::{
    Error,
    cli::{job::Members, output::printable},
    transfer::BackupOutcome,
};

/// Counted up whenever a field of the JSON object changes its meaning or goes away; new fields may come at any time.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// How a backup ended, as one object.
#[derive(Serialize)]
pub(super) struct JsonReport<'a> {
    pub(super) schema_version: u32,
    pub(super) version: &'static str,
    pub(super) exit_code: u8,
    pub(super) mode: Option<&'static str>,
    pub(super) source: Option<&'a str>,
    pub(super) target: Option<String>,
    pub(super) result: Option<&'a BackupOutcome>,
    pub(super) members: Option<&'a Members>,
    pub(super) seconds: BTreeMap<&'static str, f64>,
    pub(super) warnings: &'a [String],
    pub(super) error: Option<JsonError>,
}

/// How a command that takes no backup ended, as one object.
#[derive(Serialize)]
pub(super) struct JsonCommand<'a, T> {
    pub(super) schema_version: u32,
    pub(super) version: &'static str,
    pub(super) exit_code: u8,
    pub(super) command: &'static str,
    pub(super) result: Option<&'a T>,
    pub(super) error: Option<JsonError>,
}

/// Something that a command finds before it ends, as a line of its own.
#[derive(Serialize)]
pub(super) struct JsonFinding<'a, T> {
    pub(super) schema_version: u32,
    pub(super) command: &'static str,
    pub(super) finding: &'a T,
}

/// What went wrong, in any of them.
#[derive(Serialize)]
pub(super) struct JsonError {
    kind: &'static str,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl JsonError {
    pub(super) fn new(error: &Error) -> JsonError {
        JsonError {
            kind: error.kind().name(),
            message: printable(&error.to_string()),
            causes: causes(error),
            hint: error.hint().map(printable),
        }
    }
}

/// Enough digits for any use, and few enough to read.
pub(super) fn to_milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// As one line.
pub(super) fn to_line(report: &impl Serialize) -> String {
    match serde_json::to_string(report) {
        Ok(json) => json + "\n",
        // Only a map with keys that are no text, or a number that is none, could do this.
        Err(error) => format!("{{\"schema_version\":{SCHEMA_VERSION},\"error\":{{\"message\":\"{error}\"}}}}\n"),
    }
}
