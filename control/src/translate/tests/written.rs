//! A line that is moved moves nothing but what says where things are written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tidegate_xds::name::ResourceType;

use crate::ads::Client;
use crate::compile::compile;
use crate::snapshot::Compiler;
use crate::source::read::SourceFile;
use crate::world::World;

const CASES: [&str; 4] = ["canary", "settings", "gateway", "governance"];
const NODES: [&str; 4] = ["web-1.shop", "reviews-1.shop", "front.shop", "some-grpc-client"];

/// Encoded resources by node, type and name.
type Sent = BTreeMap<(&'static str, ResourceType, String), Vec<u8>>;

fn world(text: &str) -> Arc<World> {
    let bytes = Arc::from(text.as_bytes());
    let compiled = compile(&[SourceFile { path: "mesh.yaml".into(), bytes }], false);
    assert_eq!(compiled.errors, 0, "{}", compiled.rendered);
    Arc::new(World::new(compiled.policies))
}

fn sent(compiler: &mut Compiler, world: &Arc<World>) -> Sent {
    compiler.advance(world.clone());
    let mut sent = Sent::new();
    for node in NODES {
        for (resource, _) in compiler.resources(&Client::parse(node).view(world)) {
            let key = (node, resource.resource_type(), resource.name().to_string());
            sent.insert(key, resource.encode_value().to_vec());
        }
    }
    sent
}

/// The text with a comment above each object, or above each line.
fn moved(text: &str, every_line: bool) -> String {
    let mut moved = String::from("# moved\n");
    for line in text.lines() {
        if every_line {
            moved.push_str("# moved\n");
        }
        moved.push_str(line);
        moved.push('\n');
        if line == "---" {
            moved.push_str("# moved\n");
        }
    }
    moved
}

#[test]
fn a_moved_line_changes_no_cluster_no_endpoint_and_no_listener() {
    let mut routes_changed = 0;
    for case in CASES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/{case}.in.yaml"));
        let text = fs::read_to_string(path).unwrap();
        for every_line in [false, true] {
            let mut compiler = Compiler::default();
            compiler.set_rate_limit_service("127.0.0.1:15010".parse().unwrap());
            let before = sent(&mut compiler, &world(&text));
            compiler.take_work();

            let after = sent(&mut compiler, &world(&moved(&text, every_line)));

            assert!(before.keys().eq(after.keys()), "{case}: the same resources");
            for ((node, kind, name), bytes) in &before {
                let same = after[&(*node, *kind, name.clone())] == *bytes;
                match kind {
                    ResourceType::Route => routes_changed += usize::from(!same),
                    _ => assert!(same, "{case}, {node}: {kind:?} {name} has changed"),
                }
            }
            let work = compiler.take_work();
            assert!(
                work.encoded.keys().all(|kind| *kind == ResourceType::Route),
                "{case}: only routes are sent again: {work:?}"
            );
        }
    }
    assert!(routes_changed > 0, "routes say where things are written, so the test has moved something");
}

#[test]
fn what_a_clusters_policies_are_called_and_where_they_are_written_fit_together() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/governance.in.yaml");
    let text = fs::read_to_string(path).unwrap();
    let line = 1 + text.lines().position(|line| line.trim_start().starts_with("limits:")).unwrap();
    let world = world(&text);
    let mut compiler = Compiler::default();
    compiler.advance(world.clone());
    let resources = compiler.resources(&Client::parse("web-1.shop").view(&world));

    let clusters = resources.iter().filter_map(|(resource, _)| match resource {
        tidegate_xds::resource::Resource::Cluster(cluster) => Some(cluster),
        _ => None,
    });
    let governed: Vec<_> = clusters.filter(|cluster| cluster.policies.contains_key("circuit_breaker")).collect();
    let written = resources.iter().find_map(|(resource, _)| match resource {
        tidegate_xds::resource::Resource::Route(config) if &*config.name == "outbound" => Some(config),
        _ => None,
    });
    let hosts = &written.expect("a sidecar has routes").virtual_hosts;

    assert!(governed.len() > 1, "the service and its versions");
    for cluster in governed {
        assert_eq!(&*cluster.policies["circuit_breaker"], "shop/reviews");
        let Some(places) = hosts.iter().find_map(|host| host.written.get(&cluster.name)) else { continue };
        assert_eq!(*places["circuit_breaker"], format!("mesh.yaml:{line}"), "{}", cluster.name);
    }
}
