//! Jobs one after the other, or several side by side; none stops another one.

use std::{
    any::Any,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tracing::level_filters::LevelFilter;

use super::{
    Job,
    hooks::{Event, HookRun},
};
use crate::output::{
    report::{
        Outcome, Report,
        jobs::{self, JobReport},
    },
    terminal::{Terminal, Verbosity},
};
use neo4j_backup_core::{Backup, Cancel, Error, ErrorKind, backup::BackupFailure, progress::Progress};

/// How jobs are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// How many at the same time.
    pub(crate) parallel: NonZeroUsize,
    /// Whether they only say what they would do: no hook is started and nothing written.
    pub(crate) dry_run: bool,
    pub(crate) loudness: Verbosity,
    pub(crate) logs: LevelFilter,
}

/// What is done with the backup of a job.
type Work<T> = fn(&Backup, &dyn Progress, &Cancel) -> Result<T, BackupFailure>;

/// Runs all jobs with their hooks; `ended` is called as each ends. The reports are in the order of the jobs.
pub(crate) fn run(
    jobs: &[Job],
    settings: Settings,
    cancel: &Cancel,
    ended: impl Fn(&JobReport) + Sync,
) -> Vec<JobReport> {
    each(jobs, settings.parallel, |job| {
        let report = if settings.dry_run {
            take(job, settings, cancel, Backup::preflight)
        } else {
            take(job, settings, cancel, Backup::run)
        };
        ended(&report);
        report
    })
}

fn take<T: Outcome>(job: &Job, settings: Settings, cancel: &Cancel, work: Work<T>) -> JobReport {
    let terminal = Terminal::of_job(
        settings.loudness,
        settings.logs,
        &job.name,
        settings.parallel.get() == 1,
    );
    let mut hooks = Vec::new();
    let is_over = cancel.check();
    let has_begun = is_over.is_ok();
    let taken = is_over.map_err(BackupFailure::from).and_then(|()| {
        let work = || {
            if T::IS_DRY_RUN {
                require_hooks(job, &terminal)?;
            } else {
                before(job, cancel, &mut hooks)?;
            }
            let request = job.request()?;
            work(&request.backup, &terminal, cancel)
        };
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panicked| Err(unexpected(&*panicked).into()))
    });
    let report = Report {
        request: job.described(),
        record: terminal.finish(),
        result: taken,
    };
    if !T::IS_DRY_RUN {
        job.write_metrics();
    }
    if !T::IS_DRY_RUN && has_begun {
        let event = match report.exit_code() {
            0 => Event::OnSuccess,
            _ => Event::OnFailure,
        };
        let document = jobs::hook_document(event, &job.name, &report);
        // that the run is cancelled is what such a hook may be there for
        hooks.extend(job.hooks.run(event, &document, &Cancel::default()));
    }
    JobReport::new(&job.name, &report, hooks)
}

/// Starts the hook before the backup; the job ends if it fails.
fn before(job: &Job, cancel: &Cancel, hooks: &mut Vec<HookRun>) -> Result<(), Error> {
    let document = jobs::announcement(&job.name, job.described());
    let Some(done) = job.hooks.run(Event::Before, &document, cancel) else {
        return Ok(());
    };
    let failure = done.failure();
    hooks.push(done);
    cancel.check()?;
    match failure {
        Some(failure) => Err(Error::new(ErrorKind::Failed, failure).with_hint("no backup was taken")),
        None => Ok(()),
    }
}

/// What is to be started must be there.
fn require_hooks(job: &Job, progress: &dyn Progress) -> Result<(), Error> {
    for (event, problem) in job.hooks.missing() {
        match event {
            Event::Before => return Err(Error::new(ErrorKind::Failed, problem)),
            Event::OnSuccess | Event::OnFailure => progress.warning(&problem),
        }
    }
    Ok(())
}

/// The error of a job that panicked.
fn unexpected(panicked: &(dyn Any + Send)) -> Error {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panicked.downcast_ref::<&str>().copied());
    let text = format!("the job ended unexpectedly: {}", text.unwrap_or("no reason is known"));
    Error::new(ErrorKind::Failed, text).with_hint("this is a defect of the program: report it")
}

/// Does `work` for each, `parallel` at a time; the results are in the order of `items`.
fn each<I: Sync, T: Send>(items: &[I], parallel: NonZeroUsize, work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::default();
    let take_all = || {
        while let Some((index, item)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).map(|item| (index, item))
        } {
            let result = work(item);
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..parallel.get().min(items.len()) {
            // without a thread, the others do its share
            let _ = thread::Builder::new()
                .name("job".to_owned())
                .spawn_scoped(scope, take_all);
        }
        take_all();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, time::Duration};

    use super::*;
    use crate::{args::definitions::Args, args::request::BackupRequest};
    use neo4j_backup_core::{outcome::BackupOutcome, preflight::Preflight};

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..50).collect();
        for parallel in [1, 4, 100] {
            let parallel = NonZeroUsize::new(parallel).unwrap();
            assert_eq!(
                each(&items, parallel, |item| item * 2),
                items.iter().map(|item| item * 2).collect::<Vec<_>>()
            );
        }
        assert!(each(&[], NonZeroUsize::MIN, |item: &u8| *item).is_empty());
    }

    #[test]
    fn as_many_as_allowed_run_at_the_same_time() {
        // passes only once three are there
        let three = Barrier::new(3);
        let items = [(); 6];
        each(&items, NonZeroUsize::new(3).unwrap(), |()| three.wait());
    }

    fn job(name: &str) -> Job {
        let words: Vec<_> = ["neo4j-backup", "--auto", "--from=h", "--to=/b"]
            .map(std::ffi::OsString::from)
            .to_vec();
        let (args, modes) = Args::read_without_environment(&words).unwrap();
        Job {
            name: name.to_owned(),
            request: BackupRequest::from_args(&args, modes).unwrap(),
            repository: args.of_repository,
            keep: None,
            metrics: args.metrics,
            hooks: super::super::hooks::Hooks {
                limit: Duration::from_mins(1),
                ..super::super::hooks::Hooks::default()
            },
        }
    }

    const SETTINGS: Settings = Settings {
        parallel: NonZeroUsize::MIN,
        dry_run: false,
        loudness: Verbosity::Quiet,
        logs: LevelFilter::OFF,
    };

    #[test]
    fn a_job_that_panics_has_a_report() {
        let panics: Work<BackupOutcome> = |_, _, _| panic!("out of order");
        let report = take(&job("a"), SETTINGS, &Cancel::default(), panics);
        assert_eq!(report.exit_code(), 1);
        let text = report.to_json().to_string();
        assert!(text.contains("the job ended unexpectedly: out of order"), "{text}");
    }

    #[test]
    fn no_job_begins_after_the_end_of_the_run() {
        let cancel = Cancel::default();
        cancel.cancel(ErrorKind::Terminated);
        let begins: Work<Preflight> = |_, _, _| panic!("it was begun");
        let report = take(&job("a"), SETTINGS, &cancel, begins);
        assert_eq!(report.exit_code(), 143);
    }
}
