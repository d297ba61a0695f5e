//! The format of standard error: lines for people, or one JSON object a line for machines.
//!
//! The names of the events are an interface: `error`, `cause`, `hint`, `warning`, `progress`, `log` (of `-v`), `message`
//! (anything else) and `finished`. Below systemd each object follows its priority, as in `<4>{…}`, which the journal takes
//! off.

use std::{
    env,
    fmt::{self, Debug},
    io,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::{
    calendar::rfc3339,
    streams::{printable_json, to_stderr_raw},
};
use crate::args::request::{RequestError, given};

/// How lines on standard error look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One object a line.
    Json,
}

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Chooses the format for the whole process.
pub(crate) fn set(format: LogFormat) {
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

pub(crate) fn format() -> LogFormat {
    if IS_JSON.load(Ordering::Relaxed) {
        LogFormat::Json
    } else {
        LogFormat::Text
    }
}

impl LogFormat {
    /// What `-log-format` asks for.
    ///
    /// # Errors
    /// [`RequestError::Word`] for an unknown word.
    pub(crate) fn parse(text: Option<&str>) -> Result<LogFormat, RequestError> {
        match given(text) {
            None => Ok(LogFormat::Text),
            Some(text) if text.eq_ignore_ascii_case("text") => Ok(LogFormat::Text),
            Some(text) if text.eq_ignore_ascii_case("json") => Ok(LogFormat::Json),
            Some(text) => Err(RequestError::Word {
                option: "log-format",
                text: text.to_owned(),
                expected: "text or json is expected",
            }),
        }
    }

    /// The same where a wrong word will be reported later.
    pub(crate) fn found(text: Option<&str>) -> LogFormat {
        LogFormat::parse(text).unwrap_or(LogFormat::Text)
    }
}

/// Syslog's priorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Priority {
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

impl Priority {
    fn name(self) -> &'static str {
        match self {
            Priority::Error => "error",
            Priority::Warning => "warning",
            Priority::Notice => "notice",
            Priority::Info => "info",
            Priority::Debug => "debug",
        }
    }

    fn of(level: Level) -> Priority {
        match level {
            Level::ERROR => Priority::Error,
            Level::WARN => Priority::Warning,
            Level::INFO => Priority::Info,
            _ => Priority::Debug,
        }
    }
}

/// What a line begins with, and the event that it is.
const EVENTS: [(&str, &str, Priority); 5] = [
    ("error: ", "error", Priority::Error),
    ("  caused by: ", "cause", Priority::Error),
    ("hint: ", "hint", Priority::Notice),
    ("warning: ", "warning", Priority::Warning),
    ("progress: ", "progress", Priority::Info),
];

/// Lines for people as objects, one a line.
pub(crate) fn to_json(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let objects = lines.map(|line| {
        let known = EVENTS
            .iter()
            .find_map(|(start, event, priority)| Some((*event, *priority, line.strip_prefix(start)?)));
        let (event, priority, message) = known.unwrap_or(("message", Priority::Notice, line));
        object(priority, event, [("message".to_owned(), Value::from(message))])
    });
    objects.collect()
}

/// Says how a command ended, if standard error is for machines.
pub(crate) fn finished(command: &str, exit_code: u8) {
    if format() == LogFormat::Json {
        let priority = if exit_code == 0 {
            Priority::Info
        } else {
            Priority::Error
        };
        let fields = [
            ("command".to_owned(), Value::from(command)),
            ("exit_code".to_owned(), Value::from(exit_code)),
        ];
        to_stderr_raw(&object(priority, "finished", fields));
    }
}

fn object(priority: Priority, event: &str, fields: impl IntoIterator<Item = (String, Value)>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut object = Map::new();
    object.insert(
        "time".to_owned(),
        rfc3339(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)).into(),
    );
    object.insert("level".to_owned(), priority.name().into());
    object.insert("event".to_owned(), event.into());
    // what a log says of itself does not replace these
    for (name, value) in fields {
        object.entry(name).or_insert(value);
    }
    let prefix = if is_journal() {
        format!("<{}>", priority as u8)
    } else {
        String::new()
    };
    let json = printable_json(&Value::Object(object).to_string());
    format!("{prefix}{json}\n")
}

/// Whether standard error is a stream of systemd's journal, which then names its device and inode.
fn is_journal() -> bool {
    static IS_JOURNAL: OnceLock<bool> = OnceLock::new();
    *IS_JOURNAL.get_or_init(|| {
        let stream = env::var("JOURNAL_STREAM").unwrap_or_default();
        rustix::fs::fstat(io::stderr()).is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
    })
}

/// Writes the events of the code as objects.
pub(crate) struct JsonEvents;

impl<S, N> FormatEvent<S, N> for JsonEvents
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        fields.0.push(("target".to_owned(), event.metadata().target().into()));
        writer.write_str(&object(Priority::of(*event.metadata().level()), "log", fields.0))
    }
}

/// The fields of an event.
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.push((field.name().to_owned(), value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_an_object_of_its_event() {
        let text = "error: no \"x\"\n  caused by: \u{1b}[31m\nhint: do\nwarning: w\nprogress: p\n\n  neostore: odd\n";
        let json = to_json(text);
        let objects: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let shown: Vec<(&str, &str, &str)> = objects
            .iter()
            .map(|object| {
                let text = |name: &str| object[name].as_str().unwrap();
                assert!(text("time").ends_with('Z'));
                (text("event"), text("level"), text("message"))
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("error", "error", "no \"x\""),
                ("cause", "error", "\u{1b}[31m"),
                ("hint", "notice", "do"),
                ("warning", "warning", "w"),
                ("progress", "info", "p"),
                ("message", "notice", "  neostore: odd"),
            ]
        );
        assert!(!json.contains('\u{1b}'));
    }

    #[test]
    fn unknown_formats_are_refused() {
        assert_eq!(LogFormat::parse(Some("JSON")).unwrap(), LogFormat::Json);
        assert_eq!(LogFormat::parse(Some("")).unwrap(), LogFormat::Text);
        assert!(LogFormat::parse(Some("xml")).is_err());
    }
}
