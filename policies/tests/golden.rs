//! What each case of `testdata` compiles to.
//!
//! `<case>.in.yaml` is compiled; the set and the rendered findings must equal `<case>.out.txt`. `UPDATE_GOLDEN=1 cargo test
//! -p tidegate-policies` writes the outputs anew; review the difference before committing it. A case in several files holds
//! lines `# file: name.yaml`, each of which begins a file. The set of a refused configuration is not shown, as nobody may use it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its case has failed")]

mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_policies::{Code, Source, compile};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(".in.yaml"))
        .collect();
    cases.sort();
    cases
}

fn sources(path: &Path) -> Vec<Source> {
    let bytes = fs::read(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().replace(".in.yaml", ".yaml");
    let Ok(text) = String::from_utf8(bytes.clone()) else {
        return vec![Source { path: Arc::from(name), text: bytes }];
    };
    let mut sources: Vec<Source> = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some(file) = line.strip_prefix("# file: ") {
            sources.push(Source { path: Arc::from(file.trim()), text: Vec::new() });
            continue;
        }
        if sources.is_empty() {
            sources.push(Source { path: Arc::from(&*name), text: Vec::new() });
        }
        sources.last_mut().unwrap().text.extend_from_slice(line.as_bytes());
    }
    sources
}

fn output(path: &Path) -> String {
    let sources = sources(path);
    let compilation = compile(&sources);
    let mut out = if compilation.has_errors() { "refused\n".to_owned() } else { text::describe(&compilation.set) };
    out.push_str(&text::status::describe(&compilation.set));
    if !compilation.diagnostics.is_empty() {
        out.push('\n');
        out.push_str(compilation.render(&sources, false).trim_end());
        out.push('\n');
    }
    out
}

#[test]
fn every_case_compiles_to_what_is_written_beside_it() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let expected = PathBuf::from(case.to_str().unwrap().replace(".in.yaml", ".out.txt"));
        let found = output(&case);
        if update {
            fs::write(&expected, found).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("--- {}\n{found}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_order_of_files_changes_nothing_but_the_order_of_findings() {
    for case in cases() {
        let sources = sources(&case);
        let backwards: Vec<Source> = sources.iter().rev().cloned().collect();

        let (forth, back) = (compile(&sources), compile(&backwards));

        assert_eq!(forth.has_errors(), back.has_errors(), "{}", case.display());
        if !forth.has_errors() {
            assert_eq!(text::describe(&forth.set), text::describe(&back.set), "{}", case.display());
        }
    }
}

#[test]
fn every_code_is_met_by_a_case_and_has_a_page() {
    // Needs a clock, or more objects than a case should hold; see tests/status.rs and tests/hostile.rs.
    let elsewhere = [
        Code::CertificateEnds,
        Code::CertificateExpired,
        Code::FaultExpired,
        Code::FileTooLarge,
        Code::TooManyObjects,
        Code::TooManyFindings,
    ];
    let met: Vec<Code> =
        cases().iter().flat_map(|case| compile(&sources(case)).diagnostics).map(|diagnostic| diagnostic.code).collect();
    for code in Code::ALL {
        assert!(met.contains(code) || elsewhere.contains(code), "no case meets {code} {code:?}");
        assert!(tidegate_policies::explain(code.as_str()).is_some_and(|page| page.len() > 60), "{code}");
    }
}
