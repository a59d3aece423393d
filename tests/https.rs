//! Promise: what YAML says of TLS is what a caller with its own tools sees at the gateway.
//!
//! # Why curl, openssl and Envoy
//! Both ends of TLS could share one misunderstanding. So callers are `curl`, backends and authorities are `openssl`, and the
//! gateway is a real Envoy, told by the same files as our own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::authority::Authority;
use crate::harness::process::Process;
use crate::harness::{Mesh, wait};
use crate::interop::envoy::{Envoy, Variant};

const SETTLE_LIMIT: Duration = Duration::from_secs(20);
/// Connections that are made while a certificate is renewed.
const CONNECTIONS: usize = 60;

/// What curl has to say.
#[derive(Debug)]
struct Seen {
    /// Its exit status: 0 when there was an answer of whatever status.
    exit: i32,
    /// `STATUS VERSION-OF-HTTP`
    answer: String,
    /// The handshake and the heads of both sides.
    told: String,
}

impl Seen {
    fn has(&self, text: &str) -> bool {
        self.told.contains(text)
    }
}

/// Asks `https://HOST:PORT/PATH` at `at`, believing `ca`.
async fn curl(ca: Option<&str>, at: SocketAddr, host: &str, more: &[&str]) -> Seen {
    let mut command = tokio::process::Command::new("curl");
    command.args([
        "--silent",
        "--verbose",
        "--max-time",
        "10",
        "--output",
        "-",
        "--write-out",
        "\n%{http_code} %{http_version}",
    ]);
    command.args(ca.into_iter().flat_map(|ca| ["--cacert", ca]));
    command.args(["--resolve", &format!("{host}:{}:{}", at.port(), at.ip())]).args(more);
    command.arg(format!("https://{host}:{}/", at.port()));
    let output = command.output().await.expect("curl is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, answer) = text.rsplit_once('\n').unwrap_or(("", &text));
    let told = format!("{}{body}", String::from_utf8_lossy(&output.stderr));
    Seen { exit: output.status.code().unwrap_or(-1), answer: answer.to_owned(), told }
}

/// The address of both gateways' backends outside the mesh.
const OUTSIDE: u8 = 210;

fn gateway(name: &str, address: Ipv4Addr) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: shop}}
spec:
  gatewayClassName: tidegate
  addresses: [{{type: IPAddress, value: {address}}}]
  tls:
    frontend:
      default: {{}}
      perPort: [{{port: 9443, tls: {{validation: {{caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: roots}}]}}}}}}]
  listeners:
  - {{name: shop, port: 8443, protocol: HTTPS, hostname: shop.example.com, tls: {{certificateRefs: [{{name: shop}}]}}}}
  - {{name: others, port: 8443, protocol: HTTPS, tls: {{certificateRefs: [{{name: others}}]}}}}
  - {{name: through, port: 8443, protocol: TLS, hostname: \"*.db.example.com\", tls: {{mode: Passthrough}}}}
  - {{name: strict, port: 9443, protocol: HTTPS, tls: {{certificateRefs: [{{name: shop}}]}}}}
---
"
    )
}

fn routes(outside: Ipv4Addr) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop, namespace: shop}}
spec:
  parentRefs: [{{name: envoy}}, {{name: ours}}]
  hostnames: [shop.example.com]
  rules:
  - backendRefs: [{{name: reviews, port: 9080}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: others, namespace: shop}}
spec:
  parentRefs: [{{name: envoy, sectionName: others}}, {{name: ours, sectionName: others}}]
  hostnames: [a.other.example.com]
  rules: [{{backendRefs: [{{name: vault, port: 8443}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {{name: db, namespace: shop}}
spec:
  parentRefs: [{{name: envoy}}, {{name: ours}}]
  hostnames: [x.db.example.com]
  rules: [{{backendRefs: [{{name: db, port: 8443}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: db, namespace: shop}}
spec: {{selector: {{app: outside}}, ports: [{{name: tls, port: 8443}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: vault, namespace: shop}}
spec: {{selector: {{app: outside}}, ports: [{{name: http, port: 8443}}]}}
---
apiVersion: tidegate.io/v1alpha1
kind: Workload
metadata: {{name: outside-1, namespace: shop, labels: {{app: outside}}}}
spec: {{address: {outside}, ports: [{{name: tls, port: 8443}}]}}
"
    )
}

/// The rule by which `vault` is called.
fn vault(tls: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: vault, namespace: shop}}
spec:
  host: vault
  trafficPolicy:
    tls: {{{tls}}}
"
    )
}

/// A mesh behind gateways of each kind, and a server outside that speaks TLS.
struct Front {
    mesh: Mesh,
    authority: Authority,
    /// Their names and addresses.
    gateways: Vec<(&'static str, Ipv4Addr)>,
    envoy: Envoy,
    _outside: Process,
}

impl Front {
    async fn start() -> Self {
        let authority = Authority::new();
        authority.sign("shop", "DNS:shop.example.com");
        authority.sign("others", "DNS:*.other.example.com");
        authority.sign("outside", "DNS:x.db.example.com,DNS:vault.example.com");
        authority.sign("caller", "URI:spiffe://example.com/caller");
        let plan = Mesh::plan().service("reviews", &["v1"]);
        let address = plan.spare_host(201);
        let gateways = vec![("envoy", address), ("ours", plan.spare_host(202))];
        let outside = plan.spare_host(OUTSIDE);
        let secrets = [authority.secret("others", "others"), authority.roots()].join("---\n");
        let text: String = gateways.iter().map(|(name, address)| gateway(name, *address)).collect();
        let plan = plan.policy("secret.yaml", &authority.secret("shop", "shop"));
        let plan = plan.policy("gateways.yaml", &format!("{text}{}---\n{secrets}", routes(outside)));
        let vault = vault("mode: SIMPLE, credentialName: roots, sni: vault.example.com");
        let mut mesh = plan.policy("vault.yaml", &vault).start().await;
        mesh.start_gateway("ours", gateways[1].1);
        let server = authority.server((outside, 8443).into(), "outside", mesh.folder()).await;
        let (xds, folder) = (mesh.control.xds, mesh.folder());
        let envoy = Envoy::start("envoy.shop", xds, (address, 15000).into(), Variant::Delta, folder).await;
        let front = Self { mesh, authority, gateways, envoy, _outside: server };
        for (name, at) in &front.gateways {
            for host in ["shop.example.com", "a.other.example.com"] {
                wait::until(&format!("{name} serves {host}"), SETTLE_LIMIT, || async {
                    front.ask(*at, 8443, host, &[]).await.answer == "200 2"
                })
                .await;
            }
        }
        assert_eq!(front.envoy.refusals().await, 0, "{}", front.envoy.log());
        front
    }

    async fn ask(&self, gateway: Ipv4Addr, port: u16, host: &str, more: &[&str]) -> Seen {
        curl(Some(&self.authority.path("ca.crt")), (gateway, port).into(), host, more).await
    }

    /// Everything that anybody may read: logs, status, what the control plane keeps about changes.
    async fn said(&self) -> String {
        let folder = std::fs::read_dir(self.mesh.folder()).expect("the folder is there").flatten();
        let logs = folder.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "log"));
        let logs: String = logs.map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect();
        let control = &self.mesh.control;
        format!("{logs}{}{}", control.status().await, control.get("/api/v1/changes?since=0").await)
    }
}

#[tokio::test]
async fn a_gateway_ends_tls_by_the_servers_name_or_lets_it_through_and_sends_strays_back() {
    let front = Front::start().await;
    for (name, at) in &front.gateways {
        let seen = front.ask(*at, 8443, "shop.example.com", &[]).await;
        assert!(
            seen.answer == "200 2" && seen.has("subject: CN=shop") && seen.has("x-version: v1"),
            "{name}: {seen:?}"
        );
        let seen = front.ask(*at, 8443, "shop.example.com", &["--http1.1"]).await;
        assert_eq!(seen.answer, "200 1.1", "{name}: {seen:?}");
        // Another listener of the port, with another certificate, and TLS again on its way to the backend.
        let seen = front.ask(*at, 8443, "a.other.example.com", &[]).await;
        assert!(seen.answer == "200 2" && seen.has("subject: CN=others") && seen.has("s_server"), "{name}: {seen:?}");
        let seen = front.ask(*at, 8443, "x.db.example.com", &["--http1.1"]).await;
        assert!(seen.exit == 0 && seen.has("subject: CN=outside") && seen.has("s_server"), "{name}: {seen:?}");
        // A request for one host on the connection of another.
        let stray = front.ask(*at, 8443, "shop.example.com", &["--header", "host: a.other.example.com"]).await;
        assert_eq!(stray.answer, "421 2", "{name}: {stray:?}");
        let unknown = front.ask(*at, 8443, "b.other.example.com", &[]).await;
        assert_eq!(unknown.answer, "404 2", "{name}: {unknown:?}");
        let stranger = curl(None, (*at, 8443).into(), "shop.example.com", &[]).await;
        assert_eq!(stranger.exit, 60, "{name}: nobody else vouches for it: {stranger:?}");
        // No certificate, a stranger's, and the right one.
        let seen = front.ask(*at, 9443, "shop.example.com", &[]).await;
        assert!(seen.exit != 0 && seen.answer.starts_with("000"), "{name}: {seen:?}");
        let other = Authority::new();
        other.sign("caller", "URI:spiffe://example.com/caller");
        let show = |of: &Authority| [of.path("caller.crt"), of.path("caller.key")];
        for (authority, welcome) in [(&other, false), (&front.authority, true)] {
            let [certificate, key] = show(authority);
            let seen = front.ask(*at, 9443, "shop.example.com", &["--cert", &certificate, "--key", &key]).await;
            assert_eq!(seen.answer == "200 2", welcome, "{name}: {seen:?}");
        }
    }
    let said = front.said().await;
    assert!(!said.contains("PRIVATE KEY"), "a private key is told to nobody");
    let key = front.authority.block("shop.key");
    let line = key.lines().nth(1).expect("a key has lines").trim();
    assert!(line.len() > 40 && !said.contains(line), "nor a part of it");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_then_on_and_no_connection_fails() {
    let front = Front::start().await;
    front.authority.sign("renewed", "DNS:shop.example.com");
    let mut shown = vec![Vec::new(); front.gateways.len()];

    for number in 0..CONNECTIONS {
        if number == CONNECTIONS / 3 {
            front.mesh.control.write("secret.yaml", front.authority.secret("shop", "renewed"));
        }
        for (position, (name, at)) in front.gateways.iter().enumerate() {
            let seen = front.ask(*at, 8443, "shop.example.com", &[]).await;
            assert_eq!(seen.answer, "200 2", "{name}, connection {number}: {seen:?}");
            shown[position].push(seen.has("subject: CN=renewed"));
        }
    }

    for (position, (name, at)) in front.gateways.iter().enumerate() {
        let renewed = shown[position].iter().filter(|renewed| **renewed).count();
        println!("{name}: {CONNECTIONS} connections, {renewed} of them with the renewed certificate, none failed");
        assert!(!shown[position][0], "{name} began with the old one");
        wait::until(&format!("{name} shows the renewed one"), SETTLE_LIMIT, || async {
            front.ask(*at, 8443, "shop.example.com", &[]).await.has("subject: CN=renewed")
        })
        .await;
    }
    let change = front.mesh.control.get("/api/v1/changes?since=0").await;
    assert!(change.to_string().contains("secret|shop/shop renewed"), "{change}");
}

#[tokio::test]
async fn a_backend_is_believed_only_by_its_roots_and_for_its_name() {
    let front = Front::start().await;
    let cases = [
        ("mode: SIMPLE, credentialName: roots, sni: vault.example.com", true),
        ("mode: SIMPLE, credentialName: roots, sni: vault.example.com, subjectAltNames: [x.db.example.com]", true),
        ("mode: SIMPLE, credentialName: roots, sni: vault.example.com, subjectAltNames: [y.db.example.com]", false),
        // The certificate is for another name than the one that is asked for.
        ("mode: SIMPLE, credentialName: roots, sni: other.example.com", false),
        ("mode: SIMPLE, credentialName: roots", false),
        ("mode: DISABLE", false),
    ];
    for (rule, believed) in cases {
        // The generation moves with the file; the first case is what is there.
        front.mesh.control.write("vault.yaml", format!("# {rule}\n{}", vault(rule)));
        for (name, at) in &front.gateways {
            wait::until(&format!("{name} believes: {believed} with {rule}"), SETTLE_LIMIT, || async {
                let seen = front.ask(*at, 8443, "a.other.example.com", &[]).await;
                (seen.answer == "200 2") == believed
            })
            .await;
        }
    }
    assert_eq!(front.envoy.refusals().await, 0, "{}", front.envoy.log());
}

/// The binary that `tidegate check` is.
fn check(folder: &Path) -> (i32, String) {
    let binary: PathBuf = crate::harness::process::binary("tidegate");
    let output = Command::new(binary).arg("check").arg(folder).output().expect("the binary starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_with_file_line_and_cure_and_never_with_its_key() {
    let authority = Authority::new();
    authority.sign("shop", "DNS:shop.example.com");
    authority.sign("other", "DNS:other.example.com");
    let key = authority.block("other.key");
    let folder = TempDir::new().expect("a temporary folder can be made");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it is writable");
    write("gateway.yaml", gateway("front", Ipv4Addr::LOCALHOST).trim_end_matches("---\n"));
    let shop = authority.secret("shop", "shop");
    let mixed = shop.replace(&authority.block("shop.key"), &key);

    write("secret.yaml", &mixed);
    let (_, text) = check(folder.path());
    assert!(text.contains("P0216") && text.contains("secret shop/shop holds the key of another certificate"), "{text}");
    assert!(text.contains("gateway.yaml:12") && text.contains("were made together"), "{text}");
    // Days are counted from now, and this one was made for a day.
    write("secret.yaml", &shop);
    let (_, text) = check(folder.path());
    assert!(text.contains("P0220") && text.contains("expires in 0 days"), "{text}");
    // A file that is broken in the middle of a key is shown without it.
    let second = key.lines().nth(2).expect("a key has lines").trim();
    write("secret.yaml", &mixed.replacen(&format!("    {second}"), &format!("  {second}"), 1));
    let (status, text) = check(folder.path());
    assert!(status != 0 && text.contains("secret.yaml"), "{text}");
    for line in key.lines().map(str::trim).filter(|line| !line.contains("-----")) {
        assert!(!text.contains(line), "a line of the key was printed: {text}");
    }
}
