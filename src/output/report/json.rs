//! The objects that `-output json` prints.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::causes;
use crate::output::{
    hint,
    streams::{printable, printable_json},
};
use neo4j_backup_core::{Error, backup::AskedMembers};

/// Counted up whenever a field of the JSON object changes its meaning or goes away; new fields may come at any time.
pub(crate) const SCHEMA_VERSION: u32 = 2;

/// How a backup ended, or what it would do, as one object.
#[derive(Serialize)]
pub(crate) struct JsonReport<'a, T> {
    pub(crate) schema_version: u32,
    pub(crate) version: &'static str,
    pub(crate) exit_code: u8,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) dry_run: bool,
    pub(crate) mode: Option<&'static str>,
    pub(crate) source: Option<&'a str>,
    pub(crate) target: Option<String>,
    pub(crate) result: Option<&'a T>,
    pub(crate) members: Option<&'a AskedMembers>,
    /// Of the run, as RFC 3339 has it; `None` where it did not start.
    pub(crate) started: Option<String>,
    pub(crate) finished: Option<String>,
    pub(crate) duration_seconds: Option<f64>,
    pub(crate) seconds: BTreeMap<&'static str, f64>,
    pub(crate) warnings: &'a [String],
    pub(crate) error: Option<JsonError>,
}

/// How a command that takes no backup ended, as one object.
#[derive(Serialize)]
pub(crate) struct JsonCommand<'a, T> {
    pub(crate) schema_version: u32,
    pub(crate) version: &'static str,
    pub(crate) exit_code: u8,
    pub(crate) command: &'static str,
    pub(crate) result: Option<&'a T>,
    pub(crate) error: Option<JsonError>,
}

/// Something that a command finds before it ends, as a line of its own.
#[derive(Serialize)]
pub(crate) struct JsonFinding<'a, T> {
    pub(crate) schema_version: u32,
    pub(crate) command: &'static str,
    pub(crate) finding: &'a T,
}

/// What went wrong, in any of them.
#[derive(Serialize)]
pub(crate) struct JsonError {
    kind: &'static str,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl JsonError {
    pub(crate) fn new(error: &Error) -> JsonError {
        JsonError {
            kind: error.kind().name(),
            message: printable(&error.to_string()),
            causes: causes(error),
            hint: hint::of(error).map(|hint| printable(&hint)),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Enough digits for any use, and few enough to read.
pub(crate) fn to_milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// As one line.
pub(crate) fn to_line(report: &impl Serialize) -> String {
    match serde_json::to_string(report) {
        Ok(json) => printable_json(&json) + "\n",
        // Only a map with keys that are no text, or a number that is none, could do this.
        Err(error) => format!("{{\"schema_version\":{SCHEMA_VERSION},\"error\":{{\"message\":\"{error}\"}}}}\n"),
    }
}
