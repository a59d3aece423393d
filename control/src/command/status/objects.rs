//! Objects and their conditions, for a terminal.

use std::fmt::Write as _;

use crate::api::model::{ConditionReport, ConditionStatus, ObjectReport};

/// Whether everything that is said of an object is good. Nobody being connected is not bad, and a field without effect
/// is a warning.
pub(super) fn is_well(object: &ObjectReport) -> bool {
    let bad = |c: &ConditionReport| c.kind != "Ineffective" && c.status == ConditionStatus::False;
    !object.conditions.iter().any(bad)
}

/// One line for each object, and below what is not as it should be.
pub(super) fn table(objects: &[ObjectReport]) -> String {
    let mut rows = vec![["KIND", "NAME", "ACCEPTED", "RESOLVED", "PROGRAMMED", "PLACE"].map(str::to_owned).to_vec()];
    rows.extend(objects.iter().map(row));
    let mut text = String::new();
    align(&rows, &mut text);
    for object in objects {
        for condition in object.conditions.iter().filter(|c| is_worth_a_line(c)) {
            // Writing to a string cannot fail; here and below.
            writeln!(text, "{} {}: {}", object.kind, name(object), sentence(condition)).unwrap_or_default();
        }
    }
    text
}

/// Objects with all their conditions.
pub(super) fn details(objects: &[&ObjectReport]) -> String {
    let mut text = String::new();
    for object in objects {
        let ObjectReport { kind, file, line, .. } = object;
        writeln!(text, "{kind} {} ({file}:{line})", name(object)).unwrap_or_default();
        let status = |c: &ConditionReport| format!("{:?}", c.status);
        let rows: Vec<Vec<String>> = object
            .conditions
            .iter()
            .map(|c| vec![String::new(), c.kind.clone(), status(c), c.reason.clone(), with_path(c)])
            .collect();
        align(&rows, &mut text);
    }
    text
}

fn is_worth_a_line(condition: &ConditionReport) -> bool {
    condition.kind == "Ineffective" || condition.status == ConditionStatus::False
}

fn sentence(condition: &ConditionReport) -> String {
    let ConditionReport { kind, status, reason, .. } = condition;
    if kind == "Ineffective" {
        return format!("{kind}: {}", with_path(condition));
    }
    format!("{kind}={status:?} ({reason}): {}", with_path(condition))
}

fn with_path(condition: &ConditionReport) -> String {
    match &condition.path {
        Some(path) => format!("{path}: {}", condition.message),
        None => condition.message.clone(),
    }
}

fn name(object: &ObjectReport) -> String {
    if object.namespace.is_empty() { object.name.clone() } else { format!("{}/{}", object.namespace, object.name) }
}

fn row(object: &ObjectReport) -> Vec<String> {
    let of = |kind: &str| object.conditions.iter().find(|c| c.kind == kind);
    let word = |kind: &str| of(kind).map_or_else(|| "-".to_owned(), |c| format!("{:?}", c.status));
    let programmed = match of("Programmed") {
        // The numbers say more than the word, and they come first in the message.
        Some(c) if ["Programmed", "Pending"].contains(&&*c.reason) => c.message.clone(),
        Some(c) => c.reason.clone(),
        None => "-".to_owned(),
    };
    let place = format!("{}:{}", object.file, object.line);
    vec![object.kind.clone(), name(object), word("Accepted"), word("ResolvedRefs"), programmed, place]
}

/// Columns as wide as their widest cell.
pub(in crate::command) fn align(rows: &[Vec<String>], text: &mut String) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:width$}  ").unwrap_or_default();
        }
        writeln!(text, "{}", line.trim_end()).unwrap_or_default();
    }
}
