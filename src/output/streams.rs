//! Text on its way to standard output and standard error: made harmless, and written without caring who still reads.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    ops::Range,
};

use super::log::{self, LogFormat};

/// The URI, behind how it was given, with carets under `range`; one caret where something is missing.
pub(crate) fn marked(given: &str, uri: &str, range: &Range<usize>) -> String {
    let column = |end: usize| uri.get(..end).unwrap_or(uri).chars().count();
    let (start, end) = (column(range.start), column(range.end));
    let shown: String = uri
        .chars()
        .map(|one| if is_unprintable(one) { '?' } else { one })
        .collect();
    let carets = "^".repeat(end.saturating_sub(start).max(1));
    let indent = given.chars().count().saturating_add(start);
    format!("  {given}{shown}\n  {:indent$}{carets}\n", "")
}

/// `text` as one line without control characters: it may come from a peer.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|one| if matches!(one, '\n' | '\t') { ' ' } else { one })
        .filter(|one| !is_unprintable(*one))
        .collect()
}

/// JSON of the same meaning that shows such characters by their numbers.
pub(crate) fn printable_json(json: &str) -> String {
    let mut printable = String::with_capacity(json.len());
    for one in json.chars() {
        if is_unprintable(one) {
            // such characters have one unit of UTF-16, and JSON has them in its strings only
            let _ = write!(printable, "\\u{:04x}", u32::from(one));
        } else {
            printable.push(one);
        }
    }
    printable
}

/// Control characters, and those that turn the direction of the text around.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes to standard output. If the reader goes away, the text is lost, not the backup.
pub(crate) fn to_stdout(text: &str) {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            to_stderr(&format!("warning: cannot write to standard output: {error}\n"));
        }
        _ => {}
    }
}

/// Writes lines to standard error, in the format that was chosen for it. Failures are ignored: there is nowhere
/// else to report them.
pub(crate) fn to_stderr(text: &str) {
    match log::format() {
        LogFormat::Text => to_stderr_raw(text),
        LogFormat::Json => to_stderr_raw(&log::to_json(text)),
    }
}

/// Writes to standard error as it is.
pub(super) fn to_stderr_raw(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_peer_cannot_write_on_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\r\nc\td\u{202e}e\u{7f}é"), "a[31mb c deé");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "\u{1b}[31m\u{9b}31m\u{202e}é\u{7f}";
        let json = printable_json(&serde_json::to_string(text).unwrap());
        assert_eq!(json, r#""\u001b[31m\u009b31m\u202eé\u007f""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn carets_stand_under_characters_not_bytes() {
        assert_eq!(marked("-from ", "é:x", &(0..4)), "  -from é:x\n        ^^^\n");
        assert_eq!(marked("-from ", "ab", &(2..2)), "  -from ab\n          ^\n");
        assert_eq!(marked("-from ", "a\tb", &(2..3)), "  -from a?b\n          ^\n");
    }
}
