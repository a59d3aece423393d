//! Golden files.
//!
//! `UPDATE_GOLDEN=1 cargo test -p tidegate-control` writes them anew; the diff is to be read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_xds::resource::Decoded;

use crate::ads::Client;
use crate::compile::compile;
use crate::snapshot::Compiler;
use crate::source::read::SourceFile;
use crate::world::World;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn read(case: &str) -> Arc<World> {
    let text = fs::read(directory().join(format!("{case}.in.yaml"))).unwrap();
    let source = SourceFile { path: format!("{case}.yaml").into(), bytes: text.into() };
    let compiled = compile(&[source], false);
    assert_eq!(compiled.errors, 0, "{}", compiled.rendered);
    Arc::new(World::new(compiled.policies))
}

fn golden(case: &str, nodes: &[&str]) {
    let (directory, world) = (directory(), read(case));
    for node in nodes {
        let mut compiler = Compiler::default();
        compiler.set_rate_limit_service("127.0.0.1:15010".parse().unwrap());
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

#[test]
fn listeners_and_backends_with_tls() {
    golden("tls", &["front.shop", "web-1.shop"]);
}

#[test]
fn every_kind_of_ours_for_a_client_and_for_the_workload_it_calls() {
    golden("governance", &["web-1.shop", "reviews-1.shop", "some-grpc-client"]);
}

#[test]
fn every_golden_resource_is_accepted_by_the_decoder_unchanged() {
    for case in ["canary", "settings", "gateway", "governance", "tls"] {
        let world = read(case);
        let mut compiler = Compiler::default();
        compiler.set_rate_limit_service("127.0.0.1:15010".parse().unwrap());
        compiler.advance(world.clone());
        for node in ["web-1.shop", "reviews-1.shop", "front.shop", "some-grpc-client"] {
            for (resource, _) in compiler.resources(&Client::parse(node).view(&world)) {
                let decoded = Decoded::from_any(resource.resource_type().type_url(), &resource.encode_value());
                assert_eq!(decoded.map(|d| d.resource), Ok(resource), "{case} {node}");
            }
        }
    }
}
