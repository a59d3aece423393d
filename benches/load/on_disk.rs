//! What Envoy has been told over the wire, as a bootstrap file that it can start from alone.
//!
//! Clusters get their endpoints, and listeners their routes, written into them: with files in place of the wire, Envoy would
//! read the file of all endpoints once for each cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::admin::page;

/// Asks at the admin port, and writes.
pub(crate) fn write(admin: SocketAddr, file: &Path) -> anyhow::Result<()> {
    let dump: Value = serde_json::from_str(&page(admin, "/config_dump?include_eds")?)?;
    let all = |list: &str, path: &str| -> Vec<Value> {
        let configs = dump["configs"].as_array().into_iter().flatten();
        let lists = configs.filter_map(|config| config[list].as_array()).flatten();
        lists.filter_map(|entry| entry.pointer(path).cloned().map(untyped)).collect()
    };
    let named = |list: &str, path: &str, name: &str| -> BTreeMap<String, Value> {
        let values = all(list, path).into_iter();
        values.filter_map(|value| Some((value[name].as_str()?.to_owned(), value))).collect()
    };
    let endpoints = named("dynamic_endpoint_configs", "/endpoint_config", "cluster_name");
    let routes = named("dynamic_route_configs", "/route_config", "name");
    let mut clusters = all("dynamic_active_clusters", "/cluster");
    let mut listeners = all("dynamic_listeners", "/active_state/listener");
    ensure!(!clusters.is_empty() && !listeners.is_empty(), "Envoy dumps no clusters or no listeners");
    for cluster in &mut clusters {
        with_endpoints(cluster, &endpoints)?;
    }
    for listener in &mut listeners {
        with_routes(listener, &routes)?;
    }
    let address = json!({"socket_address": {"address": admin.ip().to_string(), "port_value": admin.port()}});
    let bootstrap = json!({
        "node": {"id": "envoy.bench", "cluster": "bench"},
        "admin": {"address": address},
        "static_resources": {"clusters": clusters, "listeners": listeners},
    });
    std::fs::write(file, bootstrap.to_string()).with_context(|| format!("cannot write {}", file.display()))
}

/// A message whose place in another one says what it is.
fn untyped(mut message: Value) -> Value {
    if let Some(fields) = message.as_object_mut() {
        fields.remove("@type");
    }
    message
}

fn with_endpoints(cluster: &mut Value, endpoints: &BTreeMap<String, Value>) -> anyhow::Result<()> {
    let fields = cluster.as_object_mut().context("a cluster is no object")?;
    let Some(eds) = fields.remove("eds_cluster_config") else { return Ok(()) };
    let name =
        eds["service_name"].as_str().or_else(|| fields.get("name")?.as_str()).context("a cluster has no name")?;
    let mut assignment = endpoints.get(name).with_context(|| format!("no endpoints of {name}"))?.clone();
    // Only what the wire carries may say how old endpoints may get.
    if let Some(policy) = assignment["policy"].as_object_mut() {
        policy.remove("endpoint_stale_after");
    }
    fields.insert("type".to_owned(), json!("STATIC"));
    fields.insert("load_assignment".to_owned(), assignment);
    Ok(())
}

/// Wherever a part of a listener names routes, they stand there instead.
fn with_routes(part: &mut Value, routes: &BTreeMap<String, Value>) -> anyhow::Result<()> {
    match part {
        Value::Object(fields) => {
            if let Some(rds) = fields.remove("rds") {
                let name = rds["route_config_name"].as_str().context("routes without a name")?;
                let config = routes.get(name).with_context(|| format!("no routes {name}"))?;
                fields.insert("route_config".to_owned(), config.clone());
            }
            fields.values_mut().try_for_each(|value| with_routes(value, routes))
        }
        Value::Array(values) => values.iter_mut().try_for_each(|value| with_routes(value, routes)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}
