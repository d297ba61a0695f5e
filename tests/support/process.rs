//! Children with a time limit; nothing but our own child is ever killed.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    /// `None`: ended by a signal, or by us at the limit.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Finished {
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs a program to its end, or kills it after `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Finished {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    // Pipes close when the child ends, so waiting for their ends is waiting for the child.
    let early = (
        stdout.recv_timeout(limit),
        stderr.recv_timeout(limit.saturating_sub(start.elapsed())),
    );
    let (code, stdout, stderr) = if let (Ok(out), Ok(err)) = early {
        (child.wait().unwrap().code(), out, err)
    } else {
        end(&mut child);
        let rest = |early: Result<String, _>, pipe: &mpsc::Receiver<String>| {
            early
                .or_else(|_| pipe.recv_timeout(Duration::from_secs(5)))
                .unwrap_or_default()
        };
        (None, rest(early.0, &stdout), rest(early.1, &stderr))
    };
    Finished {
        code,
        stdout,
        stderr,
        took: start.elapsed(),
    }
}

/// Kills and reaps our own child.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
