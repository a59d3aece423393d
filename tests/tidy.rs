//! The house rules as tests: what would otherwise be said again in every review.
//!
//! # Why a test and not a document
//! A rule that nothing checks is a wish. Each test here names one rule of CONTRIBUTING.md and lists every place that
//! breaks it, so that one run shows all. A waiver is a line in this file with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A file longer than this is asked to be divided.
const FILE_LINES_MAX: usize = 500;
/// A file of nothing but tests is a list; it is looked up, not read.
const TEST_FILE_LINES_MAX: usize = 700;
/// A function longer than this no longer fits a screen.
const FUNCTION_LINES_MAX: usize = 80;

/// Files that may be longer, with the reason.
const LONG_FILES: &[(&str, usize, &str)] = &[
    ("control/src/command/serve.rs", 570, "the order of start and stop, and the keeper that both depend on"),
    ("xds/src/ads/wire.rs", 560, "the messages of one protocol, field by field, and what is asked of them"),
    ("xds/src/resource/tests/refused_route.rs", 745, "one list of refusals, in the order of the messages"),
];

/// Functions that may be longer, with the reason.
const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] = &[
    (
        "xds/src/resource/listener/http.rs",
        "decode",
        100,
        "takes one message apart: three quarters of it are the names of its fields",
    ),
    (
        "xds/src/resource/cluster/outlier.rs",
        "present",
        90,
        "takes one message apart: half of it are the names of its fields",
    ),
    ("policies/src/merge/attach.rs", "look_up", 90, "one arm for each kind of target"),
    ("policies/tests/text/mod.rs", "describe", 90, "one line for each part of the set"),
];

/// Which package of ours may use which other, in code that ships.
const ARROWS: &[(&str, &[&str])] = &[
    ("tidegate-bookinfo", &[]),
    // traffic, because an explanation must come from the code that acts (`tidegate explain`).
    ("tidegate-control", &["tidegate-policies", "tidegate-report", "tidegate-traffic", "tidegate-xds"]),
    ("tidegate-http1", &[]),
    ("tidegate-policies", &[]),
    ("tidegate-proxy", &["tidegate-http1", "tidegate-report", "tidegate-traffic", "tidegate-xds"]),
    ("tidegate-report", &[]),
    ("tidegate-traffic", &["tidegate-xds"]),
    ("tidegate-xds", &[]),
];

/// Packages that may use anything of ours: they prove, they do not ship.
const PROVERS: &[&str] = &["tidegate-benches", "tidegate-loom", "tidegate-tests"];

/// Crates that a pure package must not use, so that it can be simulated, fuzzed and benched without a runtime.
const IMPURE: &[&str] = &["tokio", "hyper", "hyper-util", "tonic", "h2", "socket2", "notify"];
const PURE: &[&str] = &["tidegate-traffic", "tidegate-http1", "tidegate-policies", "tidegate-report"];

/// Names that say nothing about what is inside.
const JUNK_DRAWERS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "stuff", "manager"];

/// Every policy kind and the stations at which it has a file of its own name.
const POLICY_KINDS: &[(&str, &[&str])] = &[
    (
        "split",
        &["policies/src/ir/split.rs", "control/src/translate/split.rs", "proxy/traffic/src/split.rs", "tests/split.rs"],
    ),
    // A limit in time is said with the retries that it bounds: their translation is one.
    ("timeout", &["policies/src/ir/timeout.rs", "proxy/traffic/src/timeout.rs", "tests/timeout.rs"]),
    (
        "load_balancing",
        &[
            "policies/src/ir/load_balancing.rs",
            "control/src/translate/load_balancing.rs",
            "proxy/traffic/src/load_balancing.rs",
            "tests/load_balancing.rs",
        ],
    ),
    (
        "fault",
        &["policies/src/ir/fault.rs", "control/src/translate/fault.rs", "proxy/traffic/src/fault.rs", "tests/fault.rs"],
    ),
    (
        "mirror",
        &[
            "policies/src/ir/mirror.rs",
            "control/src/translate/mirror.rs",
            "proxy/traffic/src/mirror.rs",
            "tests/mirror.rs",
        ],
    ),
    (
        "circuit_breaker",
        &[
            "policies/src/ir/circuit_breaker.rs",
            "control/src/translate/circuit_breaker.rs",
            "proxy/traffic/src/circuit_breaker.rs",
            "tests/circuit_breaker.rs",
        ],
    ),
    (
        "rate_limit",
        &[
            "policies/src/ir/rate_limit.rs",
            "control/src/translate/rate_limit.rs",
            "proxy/traffic/src/rate_limit.rs",
            "tests/rate_limit.rs",
        ],
    ),
    (
        "session",
        &[
            "policies/src/ir/session.rs",
            "control/src/translate/session.rs",
            "proxy/traffic/src/session.rs",
            "tests/session.rs",
        ],
    ),
    ("retry", &["policies/src/ir/retry.rs", "control/src/translate/retry.rs", "proxy/traffic/src/retry.rs"]),
    ("cors", &["policies/src/ir/cors.rs", "control/src/translate/cors.rs", "proxy/traffic/src/cors.rs"]),
    (
        "health_check",
        &[
            "policies/src/ir/health_check.rs",
            "control/src/translate/health_check.rs",
            "proxy/traffic/src/health_check.rs",
        ],
    ),
    ("locality", &["policies/src/ir/locality.rs", "control/src/translate/locality.rs", "tests/locality.rs"]),
];

#[test]
fn packages_depend_on_each_other_only_along_the_arrows() {
    let metadata = cargo_metadata();
    let arrows: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(package, uses)| (*package, uses.iter().copied().collect())).collect();
    let mut broken = Vec::new();

    for (package, dependencies) in shipped_dependencies(&metadata) {
        if PROVERS.contains(&package.as_str()) {
            continue;
        }
        let ours: BTreeSet<&str> =
            dependencies.iter().map(String::as_str).filter(|d| d.starts_with("tidegate-")).collect();
        match arrows.get(package.as_str()) {
            None => broken.push(format!("{package} is not in the list of arrows")),
            Some(allowed) if *allowed != ours => {
                broken.push(format!("{package} uses {ours:?}, the arrows say {allowed:?}"));
            }
            Some(_) => {}
        }
    }

    report("an arrow between packages is a decision of its own", &broken);
}

#[test]
fn pure_packages_use_no_runtime() {
    let metadata = cargo_metadata();

    let broken: Vec<String> = shipped_dependencies(&metadata)
        .into_iter()
        .filter(|(package, _)| PURE.contains(&package.as_str()))
        .flat_map(|(package, uses)| {
            uses.into_iter()
                .filter(|u| IMPURE.contains(&u.as_str()))
                .map(move |used| format!("{package} uses {used}"))
                .collect::<Vec<_>>()
        })
        .collect();

    report("what only decides does no I/O", &broken);
}

#[test]
fn the_message_crate_has_one_door() {
    let broken = offending_lines(|path, line| {
        path != "xds/src/proto.rs" && path != "tests/tidy.rs" && line.contains("envoy_types")
    });

    report("only xds/src/proto.rs names the message crate", &broken);
}

#[test]
fn every_file_says_why_it_exists() {
    let broken: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| format!("{path} has no module doc on its first line"))
        .collect();

    report("a file starts with its reason", &broken);
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        let usual = if is_test_file(&path) { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
        let allowed = LONG_FILES.iter().find(|(p, ..)| *p == path).map_or(usual, |(_, max, _)| *max);
        if lines > allowed {
            broken.push(format!("{path} has {lines} lines, {allowed} are allowed"));
        }
    }

    report("a file near 500 lines asks to be divided", &broken);
}

#[test]
fn functions_fit_a_screen() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        for (name, line, length) in functions(&text) {
            let allowed = LONG_FUNCTIONS
                .iter()
                .find(|(p, n, ..)| *p == path && *n == name)
                .map_or(FUNCTION_LINES_MAX, |(_, _, max, _)| *max);
            if length > allowed {
                broken.push(format!("{path}:{line} fn {name} has {length} lines, {allowed} are allowed"));
            }
        }
    }

    report("a function fits a screen", &broken);
}

#[test]
fn nothing_is_a_junk_drawer() {
    let broken: Vec<String> = sources()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| {
            Path::new(path)
                .with_extension("")
                .iter()
                .any(|part| part.to_str().is_some_and(|p| JUNK_DRAWERS.contains(&p)))
        })
        .collect();

    report("a module is named for what it holds", &broken);
}

#[test]
fn a_policy_kind_has_one_name_at_every_station() {
    let mut broken = Vec::new();
    for (kind, stations) in POLICY_KINDS {
        for station in *stations {
            let folder = Path::new(station).with_extension("").join("mod.rs");
            if !root().join(station).exists() && !root().join(folder).exists() {
                broken.push(format!("{kind}: {station} is missing"));
            }
        }
    }

    report("`git ls-files '*KIND*'` prints the whole life of a kind", &broken);
}

#[test]
fn every_allow_carries_its_reason() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let starts =
                ["#[allow(", "#![allow(", "#[expect(", "#![expect("].iter().any(|a| line.trim_start().starts_with(a));
            let attribute = lines[index..].iter().take(6).copied().collect::<String>();
            let attribute = attribute.split(")]").next().unwrap_or_default();
            if starts && !attribute.contains("reason") {
                broken.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }

    report("a lifted lint says why", &broken);
}

#[test]
fn tests_wait_for_events_and_do_not_sleep() {
    let broken = offending_lines(|path, line| {
        let is_test = is_test_file(path);
        let waits = path.starts_with("tests/harness/") || path == "tests/tidy.rs";
        is_test && !waits && (line.contains("thread::sleep(") || line.contains("time::sleep("))
    });

    report("a test that sleeps is slow when it passes and wrong when it fails", &broken);
}

/// Where the bounds of the data plane are written.
const BOUNDED: &[&str] = &["proxy/src/", "proxy/http1/src/", "proxy/traffic/src/"];
/// Structs whose every field is a bound.
const LIMITS: &[&str] = &["proxy/src/limits.rs", "proxy/http1/src/limits.rs"];

#[test]
fn every_bound_of_the_data_plane_is_explained_to_its_operator() {
    let page = fs::read_to_string(root().join("docs/limits.md")).expect("the page of limits is there");
    let rows: BTreeSet<(String, String)> = page.lines().filter_map(row_of_limit).collect();
    let mut bounds = BTreeSet::new();
    for (path, text) in sources() {
        let is_ours = BOUNDED.iter().any(|folder| path.starts_with(folder)) && !is_test_file(&path);
        if is_ours {
            bounds.extend(constants(&text).filter(|name| name.ends_with("_MAX")).map(|name| (name, path.clone())));
        }
        if LIMITS.contains(&path.as_str()) {
            bounds.extend(fields_of_limits(&text).map(|name| (name, path.clone())));
        }
    }
    assert!(bounds.len() > 50, "only {} bounds: the search looks in the wrong place", bounds.len());

    let mut broken: Vec<String> =
        bounds.difference(&rows).map(|(name, path)| format!("{path}: `{name}` has no row in docs/limits.md")).collect();
    for (name, path) in rows.difference(&bounds) {
        let text = fs::read_to_string(root().join(path)).unwrap_or_default();
        if !constants(&text).any(|known| known == *name) {
            broken.push(format!("docs/limits.md: `{name}` is not in {path}"));
        }
    }

    report("a bound has a name, a reason and a number that shows it", &broken);
}

/// The first two cells of a row whose second is a file.
fn row_of_limit(line: &str) -> Option<(String, String)> {
    let mut cells = line.strip_prefix("| `")?.split(" | ");
    let name = cells.next()?.strip_suffix('`')?;
    let path = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
    path.ends_with(".rs").then(|| (name.to_owned(), path.to_owned()))
}

/// The names of constants, tests' own at the end of a file left out.
fn constants(text: &str) -> impl Iterator<Item = String> {
    let shipped = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    shipped.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
        let (name, _) = line.strip_prefix("const ")?.split_once(':')?;
        Some(name.to_owned())
    })
}

/// The fields of `struct Limits`.
fn fields_of_limits(text: &str) -> impl Iterator<Item = String> {
    let body = text.split("pub struct Limits {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap_or_default();
    body.lines().filter_map(|line| Some(line.trim_start().strip_prefix("pub ")?.split_once(':')?.0.to_owned()))
}

#[test]
fn no_file_names_a_package_registry() {
    let hosts = [["crates", "io"].join("."), ["pypi", "org"].join("."), ["registry.npmjs", "org"].join(".")];

    let broken = offending_lines(|_, line| hosts.iter().any(|host| line.contains(host.as_str())));

    report("dependencies come by package name alone", &broken);
}

fn report(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

fn offending_lines(offends: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (index, line) in text.lines().enumerate() {
            if offends(&path, line) {
                found.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    found
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("tests.rs") || path.contains("/tests/")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests package lies in the workspace").to_owned()
}

/// Every Rust file of the project: path from the root, and text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for top in ["xds", "policies", "control", "proxy", "examples", "benches", "tests", "fuzz"] {
        walk(&root().join(top), &mut found);
    }
    assert!(found.len() > 20, "the walk found only {} files: it looks in the wrong place", found.len());
    found.sort();
    found
}

fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target" && n != "node_modules") {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root()).expect("the walk starts at the root").display().to_string();
            found.push((name, fs::read_to_string(&path).expect("sources are readable UTF-8")));
        }
    }
}

/// Name, first line and length of each function. Relies on rustfmt: the closing brace stands under the `fn`.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let close = format!("{}}}", " ".repeat(indent));
        // A signature of a trait ends without a body.
        let signature_end = lines[index..].iter().find(|l| l.ends_with('{') || l.ends_with(';') || l.ends_with('}'));
        if signature_end.is_none_or(|l| !l.ends_with('{')) {
            continue;
        }
        if let Some(end) = lines[index..].iter().position(|l| *l == close) {
            found.push((name, index + 1, end + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    loop {
        match words.next()? {
            "fn" => break,
            "async" | "const" | "unsafe" | "pub" | "pub(crate)" | "pub(super)" => {}
            _ => return None,
        }
    }
    let name = words.next()?;
    Some(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

fn cargo_metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo is there, it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn shipped_dependencies(metadata: &Value) -> Vec<(String, Vec<String>)> {
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    let name = |v: &Value| v["name"].as_str().expect("a package has a name").to_owned();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("a package lists dependencies");
            let shipped = dependencies.iter().filter(|d| d["kind"].is_null()).map(name).collect();
            (name(package), shipped)
        })
        .collect()
}
