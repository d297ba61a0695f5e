//! The values of a jobs file.

use toml::de::DeValue;

use crate::jobs::keys::Takes;

/// Whether a key that takes this may have the value.
pub(super) fn fits(value: &DeValue<'_>, takes: Takes) -> bool {
    match (takes, value) {
        (Takes::Switch | Takes::Word, DeValue::Boolean(_)) | (Takes::Value | Takes::Word, DeValue::String(_)) => true,
        (Takes::Value | Takes::Word, DeValue::Integer(number)) => number.radix() == 10,
        (Takes::Program, DeValue::Array(words)) => {
            let is_first_set = words
                .iter()
                .next()
                .is_some_and(|first| first.get_ref().as_str() != Some(""));
            is_first_set && words.iter().all(|word| word.get_ref().is_str())
        }
        _ => false,
    }
}

/// A value as it is typed on the command line.
pub(super) fn plain(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.clone().into_owned(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        _ => String::new(),
    }
}

/// What a value is, for messages.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
