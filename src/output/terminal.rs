//! What a run shows on standard error while it goes on: a bar on a terminal, warnings, and logs where they are asked
//! for. A pipe gets no bar and no colour codes.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::streams::{printable, to_stderr};
use neo4j_backup_core::progress::{Phase, Progress};

/// Often enough to look alive, seldom enough to cost nothing.
const TICK: Duration = Duration::from_millis(250);

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
    bar: ProgressBar,
    started: Instant,
    started_at: SystemTime,
    state: Mutex<TerminalState>,
}

#[derive(Default)]
struct TerminalState {
    phase: Option<(Phase, Instant)>,
    transactions: u64,
    warnings: Vec<Warning>,
    record: RunRecord,
}

impl Terminal {
    /// Sets logging up and begins to show progress.
    pub(crate) fn start(loudness: Verbosity, logs: LevelFilter) -> Terminal {
        let on_terminal = io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if on_terminal && loudness == Verbosity::Normal {
            let template = "{prefix:<12} {bytes:>12} {bytes_per_sec:>14} {elapsed:>5}  {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(TICK);
        }
        tracing_subscriber::fmt()
            .with_max_level(logs)
            // no line has control characters, whoever wrote them
            .with_ansi(false)
            .log_internal_errors(false)
            .with_writer(AroundBar(bar.clone()))
            .try_init()
            .ok();
        Terminal {
            bar,
            started: Instant::now(),
            started_at: SystemTime::now(),
            state: Mutex::default(),
        }
    }

    /// Takes the bar away and returns what was recorded.
    pub(crate) fn finish(self) -> RunRecord {
        self.bar.finish_and_clear();
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.end_phase();
        for warning in state.warnings.iter().filter(|warning| warning.times > 1) {
            to_stderr(&format!("warning: {}\n", printable(&warning.counted())));
        }
        let since_1970 = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        RunRecord {
            started: milliseconds(since_1970),
            warnings: state.warnings.iter().map(Warning::counted).collect(),
            total: self.started.elapsed(),
            ..state.record
        }
    }

    /// A thread that panicked while it reported leaves numbers behind that are good enough to show.
    fn state(&self) -> MutexGuard<'_, TerminalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TerminalState {
    fn end_phase(&mut self) {
        if let Some((phase, since)) = self.phase.take() {
            *self.record.phases.entry(name(phase)).or_default() += since.elapsed();
        }
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

    fn bytes(&self, count: u64) {
        self.bar.inc(count);
    }

    fn transactions(&self, count: u64) {
        let mut state = self.state();
        state.transactions = state.transactions.saturating_add(count);
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{} transactions", state.transactions));
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
            .suspend(|| writeln!(io::stderr(), "warning: {}", printable(text)).ok());
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
        Phase::Publishing => "publishing",
        Phase::Archiving => "archiving",
    }
}

/// Writes log lines to standard error with the bar out of the way. What they say may come from a peer.
struct AroundBar(ProgressBar);

impl Write for AroundBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = printable(text.strip_suffix('\n').unwrap_or(&text)) + "\n";
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
}
