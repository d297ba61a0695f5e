//! A cluster of the sandbox that runs beside a test.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Stdio},
};

use serde_json::Value;

use super::program::program;

/// Killed when dropped.
pub(crate) struct Sandbox {
    child: Child,
    /// The object that it prints at its start.
    pub(crate) started: Value,
}

impl Sandbox {
    pub(crate) fn start() -> Sandbox {
        let mut child = program()
            .args(["sandbox", "-transactions", "50", "-output", "json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let started = serde_json::from_str(&line).unwrap();
        Sandbox { child, started }
    }

    /// The cluster as a source.
    pub(crate) fn uri(&self) -> &str {
        self.started["result"]["uri"].as_str().unwrap()
    }

    /// A member as a source.
    pub(crate) fn server(&self) -> String {
        let address = self.started["result"]["members"][0]["backup_address"].as_str();
        format!("single://{}", address.unwrap())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // the end of its input ends it, and it removes its files
        let _ = self.child.stdin.take().map(|mut input| input.write_all(b"quit\n"));
        let _ = self.child.wait();
    }
}
