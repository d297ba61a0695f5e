//! What a run shows on standard error while it goes on: a bar on a terminal, warnings, and logs where they are asked
//! for. Elsewhere, such as in a journal, it prints one line per minute instead. It never prints colour codes.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::{
    log::{self, LogFormat},
    streams::{printable, to_stderr},
};
use neo4j_backup_core::progress::{Phase, Progress, Total};

/// Often enough to look alive, seldom enough to cost nothing.
const TICK: Duration = Duration::from_millis(250);

/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_mins(1);

/// The bar, with and without a total.
const BAR: &str = "{prefix:<12} {bytes:>12} {bytes_per_sec:>14} {elapsed:>5}  {wide_msg}";
const BAR_OF_TOTAL: &str =
    "{prefix:<12} {bytes:>12} of {total_bytes} ({percent}%) {bytes_per_sec:>14} {elapsed:>5}, {eta} left  {wide_msg}";

/// How much is shown beside warnings, errors and the logs that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Nothing.
    Quiet,
    /// Progress, and the result as text.
    Normal,
}

/// What so many `-v` ask for.
pub(crate) fn log_level(verbose: u8) -> LevelFilter {
    match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// What is worth keeping for the report.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunRecord {
    /// Milliseconds from 1970 to the start.
    pub(crate) started: i64,
    /// Time from start to end.
    pub(crate) total: Duration,
    /// Time per phase, by the phase's name.
    pub(crate) phases: BTreeMap<&'static str, Duration>,
    /// In the order in which they came first; equal ones are counted.
    pub(crate) warnings: Vec<String>,
}

impl RunRecord {
    /// Milliseconds from 1970 to the end. The clock may have been set meanwhile.
    pub(crate) fn finished(&self) -> i64 {
        self.started.saturating_add(milliseconds(self.total))
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A warning, and how often it came.
struct Warning {
    text: String,
    times: u32,
    first: Instant,
    last: Instant,
}

impl Warning {
    /// The text, with how often and in which time it came if it came again.
    fn counted(&self) -> String {
        match self.times {
            1 => self.text.clone(),
            times => {
                let seconds = self.last.duration_since(self.first).as_secs_f64().ceil();
                format!("{} (×{times} in {seconds} s)", self.text)
            }
        }
    }
}

/// Shows a run and records what the report needs.
pub(crate) struct Terminal {
    /// Before what it says: the name of a job.
    label: String,
    bar: ProgressBar,
    started: Instant,
    started_at: SystemTime,
    state: Arc<Mutex<TerminalState>>,
    lines: Option<Lines>,
}

#[derive(Default)]
struct TerminalState {
    phase: Option<(Phase, Instant)>,
    bytes: u64,
    transactions: u64,
    total: Option<Total>,
    warnings: Vec<Warning>,
    record: RunRecord,
}

impl Terminal {
    /// Sets logging up and begins to show progress.
    pub(crate) fn start(loudness: Verbosity, logs: LevelFilter) -> Terminal {
        Terminal::labelled(loudness, logs, String::new(), true)
    }

    /// The same for a job, which may be one of several at the same time: they have no room for a bar each.
    pub(crate) fn of_job(loudness: Verbosity, logs: LevelFilter, job: &str, is_alone: bool) -> Terminal {
        Terminal::labelled(loudness, logs, format!("{job}: "), is_alone)
    }

    fn labelled(loudness: Verbosity, logs: LevelFilter, label: String, is_alone: bool) -> Terminal {
        let is_for_people = io::stderr().is_terminal() && log::format() == LogFormat::Text;
        let on_terminal = is_alone && is_for_people;
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if on_terminal && loudness == Verbosity::Normal {
            set_style(&bar, BAR);
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(TICK);
        }
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(logs)
            // control characters are removed from every line
            .with_ansi(false)
            .log_internal_errors(false)
            .with_writer(AroundBar(bar.clone()));
        // there may be one already
        let _ = match log::format() {
            LogFormat::Text => subscriber.try_init(),
            LogFormat::Json => subscriber.event_format(log::JsonEvents).try_init(),
        };
        let state = Arc::default();
        let lines = (!on_terminal && loudness == Verbosity::Normal)
            .then(|| {
                let label = label.clone();
                Lines::start(LINE, Arc::clone(&state), move |line| {
                    to_stderr(&format!("progress: {label}{line}\n"));
                })
            })
            .flatten();
        Terminal {
            label,
            bar,
            started: Instant::now(),
            started_at: SystemTime::now(),
            state,
            lines,
        }
    }

    /// Takes the bar away and returns what was recorded.
    pub(crate) fn finish(self) -> RunRecord {
        self.bar.finish_and_clear();
        if let Some(lines) = self.lines {
            lines.end();
        }
        let mut state = lock(&self.state);
        state.end_phase();
        for warning in state.warnings.iter().filter(|warning| warning.times > 1) {
            to_stderr(&format!("warning: {}{}\n", self.label, printable(&warning.counted())));
        }
        let since_1970 = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        RunRecord {
            started: milliseconds(since_1970),
            warnings: state.warnings.iter().map(Warning::counted).collect(),
            total: self.started.elapsed(),
            phases: std::mem::take(&mut state.record.phases),
        }
    }

    fn state(&self) -> MutexGuard<'_, TerminalState> {
        lock(&self.state)
    }
}

/// A thread that panicked while it reported leaves numbers behind that are good enough to show.
fn lock(state: &Mutex<TerminalState>) -> MutexGuard<'_, TerminalState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// A thread that reports now and then.
struct Lines {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Lines {
    /// `None` if the system refuses a thread: these lines are optional.
    fn start(
        interval: Duration,
        state: Arc<Mutex<TerminalState>>,
        sink: impl Fn(&str) + Send + 'static,
    ) -> Option<Lines> {
        let (stop, stopped) = mpsc::channel();
        let report = move || {
            let mut before = 0;
            while stopped.recv_timeout(interval) == Err(mpsc::RecvTimeoutError::Timeout) {
                let state = lock(&state);
                let line = state.line(state.bytes.saturating_sub(before), interval);
                before = state.bytes;
                drop(state);
                if let Some(line) = line {
                    sink(&line);
                }
            }
        };
        let thread = thread::Builder::new().spawn(report).ok()?;
        Some(Lines { stop, thread })
    }

    fn end(self) {
        drop(self.stop);
        // a report does not panic
        let _ = self.thread.join();
    }
}

impl TerminalState {
    /// What is done now, how far it is, how fast (the bytes of the last interval) and how long it will take at that rate.
    fn line(&self, bytes: u64, interval: Duration) -> Option<String> {
        let (phase, since) = self.phase?;
        let mut parts = vec![name(phase).to_owned()];
        let (total_bytes, total_transactions) = match self.total {
            Some(Total::Bytes(total)) => (Some(total), None),
            Some(Total::Transactions(total)) => (None, Some(total)),
            None => (None, None),
        };
        if self.bytes > 0 {
            parts.push(match total_bytes {
                Some(total) => of_total(self.bytes, total, |bytes| HumanBytes(bytes).to_string()),
                None => HumanBytes(self.bytes).to_string(),
            });
        }
        if self.transactions > 0 {
            let count = match total_transactions {
                Some(total) => of_total(self.transactions, total, |count| count.to_string()),
                None => self.transactions.to_string(),
            };
            parts.push(format!("{count} transactions"));
        }
        let per_second = bytes / interval.as_secs().max(1);
        if per_second > 0 {
            parts.push(format!("{}/s", HumanBytes(per_second)));
            if let Some(left) = total_bytes.and_then(|total| total.checked_sub(self.bytes)) {
                parts.push(format!(
                    "about {} left",
                    HumanDuration(Duration::from_secs(left / per_second))
                ));
            }
        }
        if bytes == 0 {
            parts.push(format!("for {}", HumanDuration(since.elapsed())));
        }
        Some(parts.join(", "))
    }

    fn end_phase(&mut self) {
        if let Some((phase, since)) = self.phase.take() {
            *self.record.phases.entry(name(phase)).or_default() += since.elapsed();
        }
    }
}

/// `3 of 12 (25 %)`; more than was expected is that much.
fn of_total(done: u64, total: u64, shown: impl Fn(u64) -> String) -> String {
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    match percent {
        0..=100 => format!("{} of {} ({percent} %)", shown(done), shown(total)),
        _ => shown(done),
    }
}

impl Progress for Terminal {
    fn phase(&self, phase: Phase) {
        let mut state = self.state();
        state.end_phase();
        state.phase = Some((phase, Instant::now()));
        self.bar.set_prefix(name(phase));
        self.bar.set_message("");
        tracing::info!(phase = name(phase), "next phase");
    }

    fn file(&self, path: &str) {
        self.bar.set_message(printable(path));
    }

    fn expected(&self, total: Total) {
        self.state().total = Some(total);
        if let Total::Bytes(bytes) = total {
            self.bar.set_length(bytes);
            set_style(&self.bar, BAR_OF_TOTAL);
        }
    }

    fn bytes(&self, count: u64) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_add(count);
        drop(state);
        self.bar.inc(count);
    }

    fn transactions(&self, count: u64) {
        let mut state = self.state();
        state.transactions = state.transactions.saturating_add(count);
        if !self.bar.is_hidden() {
            let count = match state.total {
                Some(Total::Transactions(total)) => of_total(state.transactions, total, |count| count.to_string()),
                _ => state.transactions.to_string(),
            };
            self.bar.set_message(format!("{count} transactions"));
        }
    }

    fn warning(&self, text: &str) {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(known) = state.warnings.iter_mut().find(|known| known.text == text) {
            // the end says how often it came
            known.times = known.times.saturating_add(1);
            known.last = now;
            return;
        }
        state.warnings.push(Warning {
            text: text.to_owned(),
            times: 1,
            first: now,
            last: now,
        });
        drop(state);
        self.bar
            .suspend(|| to_stderr(&format!("warning: {}{}\n", self.label, printable(text))));
    }
}

/// The word for a phase, on the bar and in the report.
fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Connecting => "connecting",
        Phase::Receiving => "receiving",
        Phase::Transactions => "transactions",
        Phase::Applying => "applying",
        Phase::Sealing => "sealing",
        Phase::Syncing => "syncing",
        Phase::Checking => "checking",
        Phase::Reading => "reading",
        Phase::Exporting => "exporting",
        Phase::Publishing => "publishing",
        Phase::Archiving => "archiving",
    }
}

/// Writes log lines to standard error with the bar out of the way. What they say may come from a peer.
struct AroundBar(ProgressBar);

impl Write for AroundBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = match log::format() {
            LogFormat::Text => printable(text.strip_suffix('\n').unwrap_or(&text)) + "\n",
            // escapes them
            LogFormat::Json => text.into_owned(),
        };
        self.0.suspend(|| io::stderr().write_all(line.as_bytes()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for AroundBar {
    type Writer = AroundBar;

    fn make_writer(&'a self) -> AroundBar {
        AroundBar(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_and_warnings_are_recorded() {
        let terminal = Terminal::start(Verbosity::Quiet, LevelFilter::OFF);
        for phase in [Phase::Receiving, Phase::Applying, Phase::Receiving] {
            terminal.phase(phase);
        }
        terminal.bytes(7);
        terminal.transactions(u64::MAX);
        terminal.transactions(1);
        terminal.warning("first");
        terminal.warning("second");
        terminal.warning("first");
        let record = terminal.finish();
        assert_eq!(record.phases.keys().collect::<Vec<_>>(), [&"applying", &"receiving"]);
        assert!(record.phases.values().sum::<Duration>() <= record.total);
        assert_eq!(record.warnings, ["first (×2 in 1 s)", "second"]);
    }

    #[test]
    fn a_line_says_how_far_it_is_how_fast_and_how_long_it_takes() {
        let mut state = TerminalState {
            phase: Some((Phase::Receiving, Instant::now())),
            bytes: 3 << 30,
            total: Some(Total::Bytes(12 << 30)),
            ..TerminalState::default()
        };
        let minute = Duration::from_mins(1);
        assert_eq!(
            state.line(60 * (3 << 20), minute).unwrap(),
            "receiving, 3.00 GiB of 12.00 GiB (25 %), 3.00 MiB/s, about 51 minutes left"
        );
        // more than the last time
        state.bytes = 13 << 30;
        assert_eq!(
            state.line(60 * (3 << 20), minute).unwrap(),
            "receiving, 13.00 GiB, 3.00 MiB/s"
        );
        state.total = Some(Total::Transactions(400));
        state.transactions = 100;
        state.phase = Some((Phase::Transactions, Instant::now()));
        assert_eq!(
            state.line(0, minute).unwrap(),
            "transactions, 13.00 GiB, 100 of 400 (25 %) transactions, for 0 seconds"
        );
        state.phase = None;
        assert_eq!(state.line(0, minute), None);
    }

    #[test]
    fn lines_come_until_the_run_ends() {
        let (tell, told) = mpsc::channel();
        let state = Arc::new(Mutex::new(TerminalState {
            phase: Some((Phase::Connecting, Instant::now())),
            ..TerminalState::default()
        }));
        let sink = move |line: &str| tell.send(line.to_owned()).unwrap();
        let lines = Lines::start(Duration::from_millis(1), state, sink).unwrap();
        assert_eq!(told.recv().unwrap(), "connecting, for 0 seconds");
        lines.end();
        assert!(told.iter().all(|line| line.starts_with("connecting")));
    }
}
