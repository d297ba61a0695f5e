//! The jobs file: TOML whose keys are the options of a backup. `reader` makes jobs of its tables, `values` knows which values
//! a key may have.

mod reader;
mod values;

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::process::geteuid;

use self::reader::parse;
use super::Job;
use crate::{args::environment::nearest, output::report::Failure};
use neo4j_backup_core::{Error, ErrorKind};

/// Where the file is unless it is named.
pub(crate) const DEFAULT_PATH: &str = "/etc/neo4j-backup/jobs.toml";

/// Longest file that is read.
const LENGTH_MAX: u64 = 1 << 20;

/// Anyone may write.
const OTHERS_WRITE: u32 = 0o002;

/// Reads the jobs of a file, in their order.
///
/// # Errors
/// The file cannot be read, others may change it, or something in it is wrong.
fn read(path: &Path) -> Result<Vec<Job>, Failure> {
    let text = text(path)?;
    Ok(parse(path, &text)?)
}

/// The jobs of a file that are meant, in the order of the names or else of the file.
///
/// # Errors
/// No job has such a name; as [`read`].
pub(crate) fn choose(path: &Path, names: &[String], all: bool) -> Result<Vec<Job>, Failure> {
    let usage = |text: &str, hint: &str| Error::new(ErrorKind::Usage, text.to_owned()).with_hint(hint);
    match (all, names) {
        (true, [_, ..]) => return Err(usage("either names of jobs or -all", "leave one of them out").into()),
        (false, []) => return Err(usage("no job is named", "name jobs, or run all with -all").into()),
        _ => {}
    }
    let mut found = read(path)?;
    if all {
        return Ok(found);
    }
    let known: Vec<String> = found.iter().map(|job| job.name.clone()).collect();
    let mut chosen = Vec::new();
    for (place, name) in names.iter().enumerate() {
        if names.iter().take(place).any(|earlier| earlier == name) {
            continue;
        }
        let Some(index) = found.iter().position(|job| job.name == *name) else {
            let text = format!("{}: no job {name:?}", path.display());
            let hint = format!("a job of a similar name exists: {}", nearest(name, &known));
            return Err(usage(&text, &hint).into());
        };
        chosen.push(found.swap_remove(index));
    }
    Ok(chosen)
}

/// Whoever may write the file says what this user runs.
fn text(path: &Path) -> Result<String, Error> {
    let refused =
        |what: &dyn std::fmt::Display| Error::new(ErrorKind::Configuration, format!("{}: {what}", path.display()));
    let unreadable = |error: io::Error| refused(&error).with_hint("name the jobs file with -jobs or NEO4J_BACKUP_JOBS");
    let file = File::open(path).map_err(unreadable)?;
    let status = file.metadata().map_err(unreadable)?;
    if status.mode() & OTHERS_WRITE != 0 {
        return Err(refused(&"every user can change it, and with it what this user runs").with_hint("chmod o-w"));
    }
    if ![0, geteuid().as_raw()].contains(&status.uid()) {
        let what = format!("belongs to user {}, who could change what this user runs", status.uid());
        return Err(refused(&what).with_hint("give it to root or to this user"));
    }
    let mut text = String::new();
    file.take(LENGTH_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > LENGTH_MAX {
        return Err(refused(&"too large for a jobs file"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
