//! What a run shows on standard error while it goes on: a bar on a terminal, warnings, and logs where they are asked
//! for. A pipe gets no bar and no colour codes.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::streams::printable;
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
    /// Time from start to end.
    pub(crate) total: Duration,
    /// Time per phase, by the phase's name.
    pub(crate) phases: BTreeMap<&'static str, Duration>,
    /// In the order in which they came.
    pub(crate) warnings: Vec<String>,
}

/// Shows a run and records what the report needs.
pub(crate) struct Terminal {
    bar: ProgressBar,
    started: Instant,
    state: Mutex<TerminalState>,
}

#[derive(Default)]
struct TerminalState {
    phase: Option<(Phase, Instant)>,
    transactions: u64,
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
            .with_ansi(on_terminal)
            .log_internal_errors(false)
            .with_writer(AroundBar(bar.clone()))
            .try_init()
            .ok();
        Terminal {
            bar,
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Takes the bar away and returns what was recorded.
    pub(crate) fn finish(self) -> RunRecord {
        self.bar.finish_and_clear();
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.end_phase();
        RunRecord {
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
        self.state().record.warnings.push(text.to_owned());
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

/// Writes log lines to standard error with the bar out of the way.
struct AroundBar(ProgressBar);

impl Write for AroundBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
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
        let record = terminal.finish();
        assert_eq!(record.phases.keys().collect::<Vec<_>>(), [&"applying", &"receiving"]);
        assert!(record.phases.values().sum::<Duration>() <= record.total);
        assert_eq!(record.warnings, ["first", "second"]);
    }
}
