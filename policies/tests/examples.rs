//! The examples are copied by users, so each of them has to compile without a finding.

use std::fs;
use std::sync::Arc;

use tidegate_policies::{Source, compile};

#[test]
fn every_example_compiles_without_findings() {
    let mut count = 0;
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        let sources =
            [Source { path: Arc::from(path.file_name().unwrap().to_str().unwrap()), text: fs::read(&path).unwrap() }];

        let compilation = compile(&sources);

        assert!(compilation.diagnostics.is_empty(), "{}", compilation.render(&sources, false));
        count += 1;
    }
    assert!(count > 0);
}
