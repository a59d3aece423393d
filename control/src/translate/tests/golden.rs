//! Golden files.
//!
//! `UPDATE_GOLDEN=1 cargo test -p tidegate-control` writes them anew; the diff is to be read.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::ads::Client;
use crate::compile::compile;
use crate::snapshot::Compiler;
use crate::source::read::SourceFile;
use crate::world::World;

fn golden(case: &str, nodes: &[&str]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let input = directory.join(format!("{case}.in.yaml"));
    let text = fs::read(&input).unwrap();
    let source = SourceFile { path: format!("{case}.yaml").into(), bytes: text.into() };
    let compiled = compile(&[source], false);
    assert_eq!(compiled.errors, 0, "{}", compiled.rendered);
    let world = Arc::new(World::new(compiled.policies));
    for node in nodes {
        let mut compiler = Compiler::default();
        compiler.advance(world.clone());
        let resources = compiler.resources(&Client::parse(node).view(&world));
        let text: Vec<String> = resources.iter().map(|(resource, _)| resource.to_json()).collect();
        compare(&directory.join(format!("{case}.{node}.out.json")), &format!("[{}]\n", text.join(",\n")));
    }
}

fn compare(path: &Path, is: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, is).unwrap();
        return;
    }
    let was = fs::read_to_string(path).unwrap_or_default();
    assert!(
        was == is,
        "{} differs; UPDATE_GOLDEN=1 writes it anew, then read the diff. It is now:\n{is}",
        path.display()
    );
}

#[test]
fn a_canary_of_reviews_for_a_sidecar_and_for_a_grpc_client() {
    golden("canary", &["web-1.shop", "reviews-2.shop", "some-grpc-client"]);
}

#[test]
fn protocols_subsets_and_settings_for_a_sidecar() {
    golden("settings", &["web-1.shop"]);
}

#[test]
fn a_gateway_with_two_hosts_and_a_redirect() {
    golden("gateway", &["front.shop"]);
}
