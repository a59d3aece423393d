//! What goes from files to proxies: policies on their way to resources, and resources over the wire.

use std::sync::Arc;

use tidegate_control::snapshot::{Compiler, View};
use tidegate_control::world::World;
use tidegate_policies::{Severity, Source, compile};
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Decoded;

/// Any text gives a verdict, and a verdict can be shown. What has no error is translated for every node that it names,
/// and what a proxy is sent it can read.
pub(crate) fn policy_yaml(bytes: &[u8]) {
    let sources = [Source { path: "fuzz.yaml".into(), text: bytes.to_vec() }];
    let compilation = compile(&sources);
    let shown = compilation.render(&sources, false);
    assert_eq!(compilation.diagnostics.is_empty(), shown.trim().is_empty(), "every finding is shown: {shown}");
    if compilation.diagnostics.iter().any(|finding| finding.severity == Severity::Error) {
        return;
    }

    let world = Arc::new(World::new(Arc::new(compilation.set)));
    let policies = world.policies();
    let sidecars = policies.workloads.keys().map(|name| View::Sidecar(name.clone()));
    let gateways = policies.gateways.keys().map(|name| View::Gateway {
        name: name.clone(),
        address: None,
        locality: Default::default(),
    });
    let views: Vec<View> = sidecars.chain(gateways).chain([View::Other]).collect();
    let mut compiler = Compiler::default();
    compiler.advance(Arc::clone(&world));
    for view in &views {
        for (resource, encoded) in compiler.resources(view) {
            let again = Decoded::from_any(resource.resource_type().type_url(), &resource.encode_value());
            let again = again.unwrap_or_else(|error| panic!("{} is refused: {error}", resource.name()));
            assert_eq!(again.resource, resource, "what was meant is what is read");
            assert_eq!(again.resource.version(), encoded.version, "the version is one of the content");
            assert!(again.ignored.is_empty(), "we write what we do not read: {:?}", again.ignored);
        }
    }
}

/// Any bytes are a resource or a refusal with a path; a resource survives its own encoding.
pub(crate) fn xds_decode(bytes: &[u8]) {
    let Some((first, value)) = bytes.split_first() else { return };
    let resource_type = ResourceType::ALL[usize::from(*first) % ResourceType::ALL.len()];
    let Ok(decoded) = Decoded::from_any(resource_type.type_url(), value) else { return };
    let again = Decoded::from_any(resource_type.type_url(), &decoded.resource.encode_value());
    let again = again.unwrap_or_else(|error| panic!("what was encoded is refused: {error}"));
    assert_eq!(again.resource, decoded.resource);
    assert_eq!(again.resource.version(), decoded.resource.version());
}
