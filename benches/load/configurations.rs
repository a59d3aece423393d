//! What those are told that the control plane does not drive: the languages of nginx and HAProxy, and Envoy's bootstrap.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::certificates::{APPLICATION, Certificates};
use super::world::{VERSIONS, XDS, http1, http2, https1, https2};

/// Where a proxy listens for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listens {
    pub(crate) http1: SocketAddr,
    pub(crate) http2: SocketAddr,
    pub(crate) https1: SocketAddr,
    pub(crate) https2: SocketAddr,
}

/// Where to find the control plane.
pub(crate) fn envoy(node: &str, admin: SocketAddr) -> String {
    let address =
        |a: SocketAddr| serde_json::json!({"socket_address": {"address": a.ip().to_string(), "port_value": a.port()}});
    let over_ads = serde_json::json!({"resource_api_version": "V3", "ads": {}});
    serde_json::json!({
        "node": {"id": node, "cluster": "bench"},
        "admin": {"address": address(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": over_ads,
            "lds_config": over_ads,
        },
        "static_resources": {"clusters": [{
            "name": "xds",
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
            "load_assignment": {
                "cluster_name": "xds",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(XDS)}}]}],
            },
        }]},
    })
    .to_string()
}

pub(crate) fn nginx(listens: Listens, folder: &Path, certificates: &Certificates) -> String {
    let upstream = |name: &str, place: fn(Ipv4Addr) -> SocketAddr| {
        let servers: String = VERSIONS.iter().map(|v| format!("    server {};\n", place(*v))).collect();
        format!("  upstream {name} {{\n{servers}    keepalive 2048;\n    keepalive_requests 100000000;\n  }}\n")
    };
    let upstreams = [upstream("application", http1), upstream("encrypted", https1)].concat();
    let (chain, key) = (certificates.chain_file(), certificates.key_file());
    let (chain, key, roots) = (chain.display(), key.display(), certificates.roots_file());
    let (folder, roots) = (folder.display(), roots.display());
    let Listens { http1: plain, https1: encrypted, .. } = listens;
    format!(
        "daemon off;
master_process off;
error_log {folder}/nginx-error.log warn;
pid {folder}/nginx.pid;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  proxy_http_version 1.1;
  proxy_set_header Connection \"\";
  proxy_set_header Host $host;
{upstreams}  server {{
    listen {plain};
    location / {{ proxy_pass http://application; }}
  }}
  server {{
    listen {encrypted} ssl;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    location / {{
      proxy_pass https://encrypted;
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_trusted_certificate {roots};
      proxy_ssl_verify on;
      proxy_ssl_server_name on;
      proxy_ssl_name {APPLICATION};
    }}
  }}
}}
"
    )
}

pub(crate) fn haproxy(listens: Listens, certificates: &Certificates) -> String {
    let (roots, both) = (certificates.roots_file(), certificates.both_file());
    let (roots, both) = (roots.display(), both.display());
    let listen = |name: &str, bind: String, server: &str, place: fn(Ipv4Addr) -> SocketAddr| -> String {
        let line = |(n, v): (usize, &Ipv4Addr)| format!("  server v{n} {} {server}\n", place(*v));
        let servers: String = VERSIONS.iter().enumerate().map(line).collect();
        format!("listen {name}\n  bind {bind}\n{servers}")
    };
    let shown = format!("ssl crt {both} ssl-min-ver TLSv1.3");
    let believed = format!("ssl verify required ca-file {roots} sni str({APPLICATION}) ssl-min-ver TLSv1.3");
    let Listens { http1: plain1, http2: plain2, https1: encrypted1, https2: encrypted2 } = listens;
    [
        "global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
"
        .to_owned(),
        listen("http1", plain1.to_string(), "", http1),
        listen("http2", format!("{plain2} proto h2"), "proto h2", http2),
        listen("https1", format!("{encrypted1} {shown} alpn http/1.1"), &believed, https1),
        listen("https2", format!("{encrypted2} {shown} alpn h2"), &format!("{believed} alpn h2"), https2),
    ]
    .concat()
}
