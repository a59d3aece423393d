//! Certificates and roots that are renewed under load, by the files in which a user keeps them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::harness::authority::Authority;
use crate::harness::load::{Load, Seen, fail};
use crate::harness::wait;
use crate::scarce::Extra;
use crate::stages::{CHANGE_LIMIT, Outcome, PAUSE};
use crate::world::World;

const HOST: &str = "shop.example.com";
/// Nobody has to show a certificate there, and everybody here.
const OPEN: u16 = 8443;
const STRICT: u16 = 9443;
/// Callers at each of them.
const CALLERS: usize = 4;

/// What a caller believes and shows.
type Caller = Arc<ClientConfig>;

pub(crate) async fn certificates_change(world: &mut World) -> Outcome {
    let rotations = world.amount(100, 8);
    let (old, new) = (Authority::new(), Authority::new());
    [&old, &new].iter().for_each(|authority| authority.sign("caller", "URI:spiffe://example.com/caller"));
    sign(&old, "leaf-0");
    world.mesh.control.write("secret.yaml", old.secret("secure", "leaf-0"));
    world.mesh.control.write("callers.yaml", callers(&[&old]));
    let address = world.spare(2);
    let gateway = Extra::start(world, "secure", &gateway(address), address, None).await;
    let open = SocketAddr::from((address, OPEN));
    let (old_caller, new_caller) = (caller(&[&old], &old), caller(&[&new], &new));
    wait::until("the gateway shakes hands", CHANGE_LIMIT, || async { ask(&old_caller, open).await.is_ok() }).await;

    let (told, shown) = watch::channel(vec![Arc::clone(&old_caller)]);
    let load = load(address, &shown);
    let mut outcome = Outcome::default();
    let mut served = 0;
    for number in 1..=rotations {
        let leaf = format!("leaf-{number}");
        sign(&old, &leaf);
        world.change("secret.yaml", old.secret("secure", &leaf)).await;
        served += u32::from(ask(&old_caller, open).await == Ok(certificate(&old, &leaf)));
    }
    outcome.expect(served == rotations, || format!("{served} of {rotations} renewed certificates were shown at once"));
    bad_key(world, &old, &format!("leaf-{rotations}"), (&old_caller, open), &mut outcome).await;

    world.change("callers.yaml", callers(&[&old, &new])).await;
    turn(&told, vec![caller(&[&old, &new], &old), caller(&[&old, &new], &new)], vec![&old_caller]).await;
    sign(&new, "leaf-new");
    world.change("secret.yaml", new.secret("secure", "leaf-new")).await;
    let before = told.borrow().clone();
    turn(&told, vec![Arc::clone(&new_caller)], before.iter().collect()).await;
    drop(before);
    world.change("callers.yaml", callers(&[&new])).await;
    let strict = SocketAddr::from((address, STRICT));
    let last = ask(&new_caller, strict).await;
    outcome.expect(last == Ok(certificate(&new, "leaf-new")), || format!("with the new root: {last:?}"));
    let stranger = ask(&caller(&[&new], &old), strict).await;
    outcome.expect(stranger.is_err(), || "who shows a certificate of the old root is served still".to_owned());

    outcome.seen = load.stop().await;
    let handshakes = outcome.seen.requests;
    outcome.note =
        format!("{rotations} certificates, a bad key, old root, both, new: {handshakes} handshakes under load");
    gateway.end(world).await;
    ["secret.yaml", "callers.yaml"].iter().for_each(|file| world.remove(file));
    outcome
}

/// A key that does not fit changes nothing, and is told.
async fn bad_key(
    world: &World,
    old: &Authority,
    last: &str,
    (caller, at): (&Caller, SocketAddr),
    outcome: &mut Outcome,
) {
    let good = old.secret("secure", last);
    let bad = good.replace(&old.block(&format!("{last}.key")), &old.block("leaf-0.key"));
    world.mesh.control.write("secret.yaml", bad);
    wait::until("the bad key is told", CHANGE_LIMIT, || async {
        world.mesh.control.status().await.to_string().contains("the key of another certificate")
    })
    .await;
    // Long enough for what is told to have come to the gateway, if anything has.
    let spell = wait::now();
    while spell.elapsed() < world.seconds(3, 1) {
        let seen = ask(caller, at).await;
        outcome.expect(seen == Ok(certificate(old, last)), || format!("beside a bad key: {seen:?}"));
        wait::pass(PAUSE).await;
    }
    world.mesh.control.write("secret.yaml", good);
    wait::until("the bad key is gone", CHANGE_LIMIT, || async {
        !world.mesh.control.status().await.to_string().contains("the key of another certificate")
    })
    .await;
}

/// All callers take these instead, and nobody holds one of those before any more.
async fn turn(told: &watch::Sender<Vec<Caller>>, next: Vec<Caller>, before: Vec<&Caller>) {
    let before: Vec<_> = before.into_iter().map(Arc::downgrade).collect();
    told.send_replace(next);
    for caller in before {
        // The one that is left is the stage's own.
        wait::until("no call of before is under way", CHANGE_LIMIT, || async { caller.strong_count() <= 1 }).await;
    }
}

fn load(address: Ipv4Addr, shown: &watch::Receiver<Vec<Caller>>) -> Load {
    Load::of(2 * CALLERS, move |number, stop| {
        let shown = shown.clone();
        let at = SocketAddr::from((address, if number < CALLERS { OPEN } else { STRICT }));
        async move {
            let mut seen = Seen::default();
            while !stop.load(Ordering::Relaxed) {
                let caller = {
                    let callers = shown.borrow();
                    Arc::clone(&callers[number % callers.len()])
                };
                seen.requests += 1;
                let start = wait::now();
                match ask(&caller, at).await {
                    Ok(_) => seen.took(start.elapsed()),
                    Err(why) => fail(&mut seen, format!("TLS to {at}: {why}")),
                }
                drop(caller);
                wait::pass(PAUSE).await;
            }
            seen
        }
    })
}

/// A handshake and a request over a connection of its own; the certificate that was shown.
async fn ask(caller: &Caller, at: SocketAddr) -> Result<CertificateDer<'static>, String> {
    let call = async {
        let stream = TcpStream::connect(at).await.map_err(|error| format!("connect: {error}"))?;
        let name = ServerName::try_from(HOST).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::clone(caller));
        let mut stream = connector.connect(name, stream).await.map_err(|error| format!("handshake: {error}"))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|error| format!("request: {error}"))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(|error| format!("answer: {error}"))?;
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(answer.lines().next().unwrap_or("no answer").to_owned());
        }
        shown.ok_or_else(|| "no certificate".to_owned())
    };
    timeout(CHANGE_LIMIT, call).await.unwrap_or_else(|_| Err("no end".to_owned()))
}

fn sign(authority: &Authority, leaf: &str) {
    authority.sign(leaf, &format!("DNS:{HOST}"));
}

fn certificate(authority: &Authority, leaf: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(authority.path(&format!("{leaf}.crt"))).expect("openssl has written it")
}

fn caller(believes: &[&Authority], shows: &Authority) -> Caller {
    let mut roots = RootCertStore::empty();
    for authority in believes {
        roots.add(certificate(authority, "ca")).expect("a root");
    }
    let key = PrivateKeyDer::from_pem_file(shows.path("caller.key")).expect("openssl has written it");
    let config =
        ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots);
    let mut config = config.with_client_auth_cert(vec![certificate(shows, "caller")], key).expect("a pair");
    // Each connection shakes hands in full.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The roots by which callers are believed.
fn callers(authorities: &[&Authority]) -> String {
    let roots: String = authorities.iter().map(|authority| authority.block("ca.crt")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: callers, namespace: shop}}\ndata:\n  ca.crt: |\n{roots}"
    )
}

fn gateway(address: Ipv4Addr) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: secure, namespace: shop}}
spec:
  gatewayClassName: tidegate
  addresses: [{{type: IPAddress, value: {address}}}]
  tls:
    frontend:
      default: {{}}
      perPort: [{{port: {STRICT}, tls: {{validation: {{caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: callers}}]}}}}}}]
  listeners:
  - {{name: open, port: {OPEN}, protocol: HTTPS, tls: {{certificateRefs: [{{name: secure}}]}}}}
  - {{name: strict, port: {STRICT}, protocol: HTTPS, tls: {{certificateRefs: [{{name: secure}}]}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: secure, namespace: shop}}
spec:
  parentRefs: [{{name: secure}}]
  rules: [{{backendRefs: [{{name: reviews, port: 9080}}]}}]
"
    )
}
