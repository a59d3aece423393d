//! How a line is written, as `--access-log-format` says it.

use std::str::FromStr;

use super::entry::Entry;
use super::operator;
use super::pattern::{ISTIO, Pattern};
use super::redact::Redaction;
use super::schema::{ECS, JSON, OTEL, Schema};

/// A format, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    lines: Lines,
    /// Fields of answers that it wants, in lower case.
    answers: Vec<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Lines {
    Json(&'static Schema),
    Text(Pattern),
}

impl Default for Format {
    fn default() -> Self {
        Self::of_schema(&JSON)
    }
}

impl FromStr for Format {
    type Err = String;

    /// `json`, `text`, `otel`, `ecs`, or a format with operators.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::of_schema(&JSON)),
            "otel" => Ok(Self::of_schema(&OTEL)),
            "ecs" => Ok(Self::of_schema(&ECS)),
            "text" => Self::of_text(ISTIO),
            format if format.contains('%') => Self::of_text(format),
            other => {
                let known = operator::known().join(" ");
                Err(format!("`{other}` is none of json, text, otel, ecs, and has no operator; known are {known}"))
            }
        }
    }
}

impl Format {
    fn of_schema(schema: &'static Schema) -> Self {
        Self { lines: Lines::Json(schema), answers: Vec::new() }
    }

    fn of_text(text: &str) -> Result<Self, String> {
        let mut answers = Vec::new();
        let lines = Lines::Text(Pattern::compile(text, &mut answers)?);
        Ok(Self { lines, answers })
    }

    pub(super) fn answers(&self) -> &[Box<str>] {
        &self.answers
    }

    /// Appends one line.
    pub(super) fn write(&self, out: &mut Vec<u8>, entry: &Entry<'_>, redaction: &Redaction) {
        match &self.lines {
            Lines::Json(schema) => schema.write(out, entry, redaction),
            Lines::Text(pattern) => pattern.write(out, entry, redaction),
        }
    }
}
