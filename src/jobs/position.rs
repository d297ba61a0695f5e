//! Where in a file something is wrong.

use std::{fmt, ops::Range, path::Path};

use neo4j_backup_core::{Error, ErrorKind};

use crate::output::{report::Failure, streams};

/// Something wrong in a file, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct FileError {
    path: Box<Path>,
    /// From 1.
    line: usize,
    /// In characters, from 1.
    column: usize,
    message: String,
    hint: Option<String>,
    /// The line as it is, and the bytes of it that are wrong.
    text: Box<str>,
    wrong: Range<usize>,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileError {
            path,
            line,
            column,
            message,
            ..
        } = self;
        write!(f, "{}:{line}:{column}: {message}", path.display())
    }
}

impl FileError {
    /// An error at `span` of the `content` of `path`.
    pub(crate) fn new(path: &Path, content: &str, span: Range<usize>, message: impl Into<String>) -> FileError {
        let start = content.floor_char_boundary(span.start);
        let before = content.get(..start).unwrap_or_default();
        let begin = before.rfind('\n').map_or(0, |end| end + 1);
        let text = content
            .get(begin..)
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        let wrong = start.saturating_sub(begin)..span.end.saturating_sub(begin).min(text.len());
        FileError {
            path: path.into(),
            line: before.matches('\n').count() + 1,
            column: before.get(begin..).unwrap_or_default().chars().count() + 1,
            message: message.into(),
            hint: None,
            text: text.into(),
            wrong,
        }
    }

    /// The same with what to do about it.
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> FileError {
        FileError {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        let marked = streams::marked("", &error.text, &error.wrong);
        let hint = error.hint.clone();
        let error = Error::new(ErrorKind::Usage, error);
        let error = match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        };
        Failure::marked(error, marked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let content = "a = 1\n[é] # ä\n";
        let at = |start, end| {
            let error = FileError::new(Path::new("f"), content, start..end, "wrong");
            (error.to_string(), error.text, error.wrong)
        };
        assert_eq!(at(0, 1), ("f:1:1: wrong".to_owned(), "a = 1".into(), 0..1));
        // the byte after é
        assert_eq!(at(9, 10), ("f:2:3: wrong".to_owned(), "[é] # ä".into(), 3..4));
        assert_eq!(at(content.len(), content.len()).0, "f:3:1: wrong");
        assert_eq!(at(6, 100).2, 0..9);
    }
}
