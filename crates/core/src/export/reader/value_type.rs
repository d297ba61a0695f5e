//! The types that property values of Neo4j 1.x have.

use std::fmt;

use serde::{Serialize, Serializer};

use neo4j_format::store::value::{Kind, Value};

/// Type of a property value, in Java's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueType {
    /// `boolean`, `char` or a number.
    Scalar(Kind),
    /// `String`
    Text,
    /// Array of such.
    Array(Kind),
    /// `String[]`
    Texts,
}

impl ValueType {
    /// The type of a value.
    pub fn of(value: &Value) -> ValueType {
        match value {
            Value::Scalar(kind, _) => ValueType::Scalar(*kind),
            Value::Text(_) | Value::Utf16(_) => ValueType::Text,
            Value::Array(kind, _) => ValueType::Array(*kind),
            Value::Texts(_) | Value::Utf16s(_) => ValueType::Texts,
        }
    }

    /// Its name; that of a text is `string`.
    pub fn name(self) -> &'static str {
        match self {
            ValueType::Scalar(Kind::Boolean) => "boolean",
            ValueType::Scalar(Kind::Byte) => "byte",
            ValueType::Scalar(Kind::Short) => "short",
            ValueType::Scalar(Kind::Char) => "char",
            ValueType::Scalar(Kind::Int) => "int",
            ValueType::Scalar(Kind::Long) => "long",
            ValueType::Scalar(Kind::Float) => "float",
            ValueType::Scalar(Kind::Double) => "double",
            ValueType::Text => "string",
            ValueType::Array(Kind::Boolean) => "boolean[]",
            ValueType::Array(Kind::Byte) => "byte[]",
            ValueType::Array(Kind::Short) => "short[]",
            ValueType::Array(Kind::Char) => "char[]",
            ValueType::Array(Kind::Int) => "int[]",
            ValueType::Array(Kind::Long) => "long[]",
            ValueType::Array(Kind::Float) => "float[]",
            ValueType::Array(Kind::Double) => "double[]",
            ValueType::Texts => "string[]",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for ValueType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
