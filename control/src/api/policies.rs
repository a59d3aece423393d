//! `GET /api/v1/policies`: every object with its state and its findings. `GET /api/v1/files`: the text they point at.
//!
//! # Which files can be asked for
//! Those that were read as policies, by the path under which they were read. A path is only ever looked up in that list, so
//! there is no way from it to another file of the machine. Values of secrets are covered.

mod redact;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use self::redact::redact;
use super::explain::decode;
use super::model::{ConditionReport, ConditionStatus, ConfigState, Finding, ObjectReport, Status};
use super::{Answer, json, text};
use crate::ads::Hub;
use crate::loaded::Loaded;

/// `GET /api/v1/policies`.
#[derive(Debug, Serialize)]
struct Policies {
    /// Whether the newest files are what proxies are given.
    in_force: bool,
    policies: Vec<PolicyReport>,
    files: Vec<FileReport>,
    /// What is about no file that was read: the directory itself.
    findings: Vec<Finding>,
}

/// An object as it stands in the newest files.
#[derive(Debug, Serialize)]
struct PolicyReport {
    kind: String,
    namespace: String,
    name: String,
    file: String,
    line: u32,
    status: String,
    conditions: Vec<ConditionReport>,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct FileReport {
    path: Arc<str>,
    in_force: bool,
    /// How many findings have their first place here.
    findings: usize,
}

/// `GET /api/v1/files`.
#[derive(Debug, Serialize)]
struct FileText {
    path: Arc<str>,
    text: String,
    in_force: bool,
    /// Whether values were covered.
    redacted: bool,
    findings: Vec<Finding>,
}

/// All objects.
pub(super) async fn list(hub: &Arc<Hub>) -> Answer {
    let hub = hub.clone();
    let listed = tokio::task::spawn_blocking(move || listed(&hub)).await;
    listed.map_or_else(failed, |policies| json(&policies))
}

/// The file that `path=` names.
pub(super) async fn file(query: &str, hub: &Arc<Hub>) -> Answer {
    let named = query.split('&').find_map(|pair| pair.strip_prefix("path="));
    let Some(path) = named.and_then(decode).filter(|path| !path.is_empty()) else {
        return text(StatusCode::BAD_REQUEST, "path is needed: /api/v1/files?path=reviews.yaml\n");
    };
    let hub = hub.clone();
    match tokio::task::spawn_blocking(move || shown(&hub, &path)).await {
        Ok(Some(file)) => json(&file),
        Ok(None) => text(StatusCode::NOT_FOUND, "no policy file of this path was read; /api/v1/policies lists them\n"),
        Err(error) => failed(error),
    }
}

fn failed(error: tokio::task::JoinError) -> Answer {
    text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
}

fn listed(hub: &Hub) -> Policies {
    let Status { config, objects, .. } = hub.status();
    let loaded = hub.fleet().loaded();
    let paths = loaded.paths();
    let mut of_files: BTreeMap<Arc<str>, Vec<Finding>> = paths.into_iter().map(|path| (path, Vec::new())).collect();
    let mut findings = Vec::new();
    for finding in config.diagnostics {
        match of_files.get_mut(&*finding.file) {
            Some(of_file) => of_file.push(finding),
            None => findings.push(finding),
        }
    }
    let files = of_files.iter().map(|(path, found)| FileReport {
        path: path.clone(),
        in_force: loaded.file(path).is_some_and(|loaded| loaded.in_force),
        findings: found.len(),
    });
    Policies {
        in_force: config.state == ConfigState::Current,
        files: files.collect(),
        policies: with_findings(objects, &of_files, loaded),
        findings,
    }
}

/// Gives each object the findings between where it begins and where the next of its file does.
fn with_findings(
    objects: Vec<ObjectReport>,
    of_files: &BTreeMap<Arc<str>, Vec<Finding>>,
    loaded: &Loaded,
) -> Vec<PolicyReport> {
    let mut lines: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for object in &objects {
        lines.entry(&object.file).or_default().push(object.line);
    }
    let starts: BTreeMap<&str, BTreeMap<u32, u32>> =
        lines.into_iter().map(|(file, lines)| (file, starts(lines, &documents(file, loaded)))).collect();
    let extent = |object: &ObjectReport| {
        let of_file = starts.get(&*object.file);
        let start = |line| of_file.and_then(|starts| starts.get(line)).copied();
        let next = of_file.and_then(|starts| starts.range(object.line + 1..).next()).map(|(_, start)| *start);
        start(&object.line).unwrap_or(object.line)..next.unwrap_or(u32::MAX)
    };
    let extents: Vec<_> = objects.iter().map(extent).collect();
    let reports = objects.into_iter().zip(extents).map(|(object, extent)| {
        let found = of_files.get(&*object.file).map(Vec::as_slice).unwrap_or_default();
        PolicyReport {
            status: state(&object.conditions),
            findings: found.iter().filter(|finding| extent.contains(&finding.line)).cloned().collect(),
            kind: object.kind,
            namespace: object.namespace,
            name: object.name,
            file: object.file,
            line: object.line,
            conditions: object.conditions,
        }
    });
    reports.collect()
}

/// Where the objects of a file begin, by the lines of their names: with the document, or with their name when they are not
/// the first in it.
fn starts(mut names: Vec<u32>, documents: &[u32]) -> BTreeMap<u32, u32> {
    names.sort_unstable();
    let mut before = 0;
    let with_start = names.into_iter().map(|name| {
        let document = documents.iter().rfind(|start| **start <= name).copied().unwrap_or(1);
        let start = if before < document { document } else { name };
        before = name;
        (name, start)
    });
    with_start.collect()
}

/// The lines with which the documents of a file begin.
fn documents(file: &str, loaded: &Loaded) -> Vec<u32> {
    let Some(loaded) = loaded.file(file) else { return Vec::new() };
    let lines = (1..).zip(loaded.file.bytes.split(|byte| *byte == b'\n'));
    let separators = lines.filter(|(_, text)| text.starts_with(b"---")).map(|(line, _)| line);
    std::iter::once(1).chain(separators).collect()
}

/// In one word: the reason of the first condition that does not hold, else the last that does.
fn state(conditions: &[ConditionReport]) -> String {
    let is_state = |condition: &&ConditionReport| condition.kind != "Ineffective";
    let failing = |condition: &&ConditionReport| condition.status == ConditionStatus::False;
    if let Some(condition) = conditions.iter().filter(is_state).find(failing) {
        return condition.reason.clone();
    }
    let holds = |condition: &&ConditionReport| condition.status == ConditionStatus::True;
    let last = conditions.iter().filter(is_state).filter(|c| c.kind != "ResolvedRefs").rfind(holds);
    last.map_or_else(|| "Unknown".to_owned(), |condition| condition.kind.clone())
}

fn shown(hub: &Hub, path: &str) -> Option<FileText> {
    let fleet = hub.fleet();
    let loaded = fleet.loaded().file(path)?;
    let whole = String::from_utf8_lossy(&loaded.file.bytes);
    let objects = fleet.objects();
    let has_secret = objects.iter().any(|status| status.origin.kind == "Secret" && *status.origin.file == *path);
    let text = redact(&whole, has_secret);
    let is_here = |finding: &Finding| finding.file == path || finding.places.iter().any(|place| place.file == path);
    Some(FileText {
        path: loaded.file.path,
        redacted: text != whole,
        text,
        in_force: loaded.in_force,
        findings: fleet.status().config.diagnostics.into_iter().filter(is_here).collect(),
    })
}

#[cfg(test)]
mod tests;
