//! A cluster of the sandbox that runs beside a test.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdout, Stdio},
};

use serde_json::Value;

use super::program::program;

/// Killed when dropped.
pub(crate) struct Sandbox {
    child: Child,
    lines: BufReader<ChildStdout>,
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
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let started = serde_json::from_str(&line).unwrap();
        Sandbox { child, lines, started }
    }

    /// Types a line at its prompt; returns once the state of the cluster is shown, four lines.
    pub(crate) fn typed(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        for _ in 0..4 {
            let mut shown = String::new();
            assert_ne!(self.lines.read_line(&mut shown).unwrap(), 0, "the sandbox has ended");
        }
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
        // it stops its members and removes its files
        let _ = self.child.stdin.take().map(|mut input| input.write_all(b"quit\n"));
        let _ = self.child.wait();
    }
}
