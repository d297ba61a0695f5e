//! Programs that a job starts before its backup and after it: without a shell, with the result on standard input, within
//! a time limit. What they do never changes the result of the backup.

use std::{
    env,
    fs::File,
    io::{self, Seek as _, Write as _},
    os::{
        fd::AsFd as _,
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    path::Path,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use rustix::fs::{Access, AtFlags, CWD, MemfdFlags, accessat, memfd_create};
use serde::Serialize;

use crate::{
    args::repository::PASSWORD_VARIABLE,
    process_group::{self, Ended},
};
use neo4j_backup_core::Cancel;

/// The hooks of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hooks {
    pub(crate) before: Option<Vec<String>>,
    pub(crate) on_success: Option<Vec<String>>,
    pub(crate) on_failure: Option<Vec<String>>,
    /// How long each may take.
    pub(crate) limit: Duration,
}

/// When a hook is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Event {
    /// Before the backup, which is not taken if the hook fails.
    Before,
    /// After a backup whose exit code is 0.
    OnSuccess,
    /// After every other one.
    OnFailure,
}

impl Event {
    const ALL: [Event; 3] = [Event::Before, Event::OnSuccess, Event::OnFailure];

    /// The key in the jobs file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Event::Before => "before",
            Event::OnSuccess => "on-success",
            Event::OnFailure => "on-failure",
        }
    }
}

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct HookRun {
    hook: Event,
    program: String,
    /// `None` if it was killed or not started.
    exit_code: Option<i32>,
    duration_seconds: f64,
    /// Why it failed.
    error: Option<String>,
}

impl HookRun {
    /// What went wrong, as a sentence.
    pub(crate) fn failure(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        Some(format!(
            "the hook {} failed: {} {error}",
            self.hook.name(),
            self.program
        ))
    }
}

impl Hooks {
    /// Starts the hook of this event, if there is one, and waits for it: it finds `document` on its standard input, and what
    /// it prints goes to standard error.
    pub(crate) fn run(&self, event: Event, document: &[u8], cancel: &Cancel) -> Option<HookRun> {
        let words = self.of(event)?;
        let (program, arguments) = words.split_first()?;
        let begun = Instant::now();
        let ended = start(program, arguments, document)
            .map_err(|error| format!("cannot be started: {error}"))
            .and_then(|child| wait(child, self.limit, cancel));
        let (exit_code, error) = match ended {
            Ok(status) => (status.code(), described(status)),
            Err(error) => (None, Some(error)),
        };
        Some(HookRun {
            hook: event,
            program: program.clone(),
            exit_code,
            duration_seconds: (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            error,
        })
    }

    /// The hooks that cannot be started, each with the reason; starts none.
    pub(crate) fn missing(&self) -> Vec<(Event, String)> {
        let hooks = Event::ALL
            .into_iter()
            .filter_map(|event| Some((event, self.of(event)?.first()?)));
        hooks
            .filter(|(_, program)| !is_program(program))
            .map(|(event, program)| (event, format!("the hook {} cannot be started: {program}", event.name())))
            .collect()
    }

    fn of(&self, event: Event) -> Option<&[String]> {
        match event {
            Event::Before => self.before.as_deref(),
            Event::OnSuccess => self.on_success.as_deref(),
            Event::OnFailure => self.on_failure.as_deref(),
        }
    }

    /// The events that have a hook.
    pub(crate) fn events(&self) -> Vec<&'static str> {
        let events = Event::ALL.into_iter().filter(|event| self.of(*event).is_some());
        events.map(Event::name).collect()
    }
}

/// Whether this user can execute it, found as the system finds it.
fn is_program(name: &str) -> bool {
    let is_executable = |path: &Path| path.is_file() && accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    if name.contains('/') {
        return is_executable(Path::new(name));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| is_executable(&dir.join(name)))
}

fn start(program: &str, arguments: &[String], document: &[u8]) -> io::Result<Child> {
    // a file in memory: the hook reads it or not, and no thread has to feed a pipe
    let mut input = File::from(memfd_create("result", MemfdFlags::CLOEXEC)?);
    input.write_all(document)?;
    input.rewind()?;
    // standard output belongs to the report
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    Command::new(program)
        .args(arguments)
        .env_remove(PASSWORD_VARIABLE)
        .stdin(input)
        .stdout(output)
        .process_group(0)
        .spawn()
}

/// Waits for a hook, within its limit.
fn wait(mut child: Child, limit: Duration, cancel: &Cancel) -> Result<ExitStatus, String> {
    match process_group::wait(&mut child, limit, cancel) {
        Ok(Ended::Exited(status)) => Ok(status),
        Ok(Ended::TimedOut) => Err(format!(
            "was killed after {} s, the limit of hook-timeout",
            limit.as_secs()
        )),
        Ok(Ended::Cancelled(cancelled)) => Err(format!("was killed: {cancelled}")),
        Err(error) => Err(format!("cannot be waited for: {error}")),
    }
}

/// What is wrong with how a program ended.
fn described(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("ended with exit code {code}")),
        (None, Some(signal)) => Some(format!("was killed by signal {signal}")),
        (None, None) => Some("did not end by itself".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use neo4j_backup_core::ErrorKind;

    fn hooks(script: &str, limit: Duration) -> Hooks {
        Hooks {
            before: Some(["/bin/sh", "-c", script].map(str::to_owned).to_vec()),
            limit,
            ..Hooks::default()
        }
    }

    fn run(script: &str, limit: Duration, document: &[u8]) -> HookRun {
        let hooks = hooks(script, limit);
        hooks.run(Event::Before, document, &Cancel::default()).unwrap()
    }

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_hook_reads_the_document_and_its_exit_code_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy");
        let document = vec![b'x'; 1 << 20];
        let done = run(&format!("cat > {}; exit 3", copy.display()), MINUTE, &document);
        assert_eq!(fs::read(copy).unwrap(), document);
        assert_eq!(done.exit_code, Some(3));
        assert_eq!(
            done.failure().unwrap(),
            "the hook before failed: /bin/sh ended with exit code 3"
        );
        // one that reads nothing is not waited for
        assert_eq!(run("exit 0", MINUTE, &document).failure(), None);
        assert_eq!(
            run("kill -TERM $$", MINUTE, b"").error.unwrap(),
            "was killed by signal 15"
        );
    }

    #[test]
    fn all_that_a_hook_started_is_killed_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 300 & echo $! > {}; wait", pid.display());
        let begun = Instant::now();
        let done = run(&script, Duration::from_secs(1), b"");
        assert_eq!(
            done.error.as_deref(),
            Some("was killed after 1 s, the limit of hook-timeout")
        );
        assert!(begun.elapsed() < MINUTE);
        let pid = fs::read_to_string(pid).unwrap();
        // a killed process that nobody has waited for yet is a zombie
        let state = || fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        let is_gone = || state().map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "));
        while !is_gone() {
            assert!(begun.elapsed() < MINUTE, "{:?}", state());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_end_of_the_run_ends_a_hook() {
        let cancel = Cancel::default();
        let other = cancel.clone();
        let waiting = std::thread::spawn(move || hooks("sleep 300", MINUTE).run(Event::Before, b"", &other));
        cancel.cancel(ErrorKind::Terminated);
        let done = waiting.join().unwrap().unwrap();
        assert_eq!(done.error.unwrap(), "was killed: terminated by a signal");
    }

    #[test]
    fn a_program_that_is_missing_is_known_without_starting_it() {
        let missing = Hooks {
            before: Some(vec!["/nonexistent".to_owned()]),
            on_success: Some(vec!["sh".to_owned()]),
            on_failure: Some(vec!["/etc/passwd".to_owned()]),
            limit: MINUTE,
        };
        let events: Vec<Event> = missing.missing().into_iter().map(|(event, _)| event).collect();
        assert_eq!(events, [Event::Before, Event::OnFailure]);
        let done = missing.run(Event::Before, b"", &Cancel::default()).unwrap();
        assert!(done.error.unwrap().starts_with("cannot be started: "));
        assert_eq!(missing.events(), ["before", "on-success", "on-failure"]);
    }
}
