//! Java's `.properties` files, as far as settings need them.
//!
//! One `key=value`, `key:value` or `key value` per line; a line that ends with a backslash goes on on the next; lines
//! that begin with `#` or `!` are comments; a backslash takes the special meaning from the character behind it.

use std::collections::BTreeMap;

/// The settings of a file; of one given twice, the last.
pub(super) fn read(text: &str) -> BTreeMap<String, String> {
    let mut lines = text.lines().map(str::trim_start);
    let mut values = BTreeMap::new();
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        while goes_on(&whole) {
            whole.pop();
            match lines.next() {
                Some(next) => whole.push_str(next),
                None => break,
            }
        }
        let (key, value) = split(&whole);
        values.insert(unescaped(key), unescaped(value).trim_end().to_owned());
    }
    values
}

/// Whether a line ends with an odd number of backslashes.
fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' | ' ' | '\t' => {
                let (key, rest) = line.split_at(at);
                let rest = rest.trim_start();
                let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
                return (key, rest.trim_start());
            }
            _ => {}
        }
    }
    (line, "")
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let unit = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    out.push(unit.unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_java_reads_it() {
        let text = "# comment\n  ! another\n\na=1\nb : two words  \nc\\ d 3\nlong=one,\\\n   two\ne\nf=\\u0041\\t\\\\\na=2\nend=x\\";
        let read = read(text);
        let read: Vec<(&str, &str)> = read.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(
            read,
            [
                ("a", "2"),
                ("b", "two words"),
                ("c d", "3"),
                ("e", ""),
                ("end", "x"),
                ("f", "A\t\\"),
                ("long", "one,two"),
            ]
        );
    }
}
