//! Encryption on both hops: who gets in, who is turned away and why, and what a new certificate does to connections.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind};
use tidegate_proxy::{Limits, Options, Proxy};
use tidegate_xds::resource::cluster::UpstreamProtocol::{Http1, Http2};
use tidegate_xds::resource::cluster::{Cluster, HealthCheck, HealthCheckKind};
use tidegate_xds::resource::listener::{FilterChain, FilterChainMatch, Listener, ListenerKind};
use tidegate_xds::resource::matcher::StringMatcher;
use tidegate_xds::resource::tls::{
    CertificateSource, DownstreamTls, PemSource, SubjectNameKind, SubjectNameMatcher, UpstreamTls,
};

use crate::authority::{Authority, Pair, ask, expired, shake, terminated, towards};
use crate::backend::{echo, nobody, scripted};
use crate::client::{Client, get};
use crate::resources::{
    all_to, cluster, http_listener, inline, limits, of_cluster, of_listener, options, proxy_with, start_with,
    tcp_listener,
};

fn chains(listener: &mut Listener) -> &mut Vec<FilterChain> {
    match &mut listener.kind {
        ListenerKind::Socket(socket) => &mut socket.filter_chains,
        ListenerKind::Api(_) => unreachable!("the listeners of these tests have sockets"),
    }
}

fn over_tls(mut listener: Listener, tls: DownstreamTls) -> Listener {
    chains(&mut listener)[0].tls = Some(tls);
    listener
}

fn web(name: &str, cluster: &str) -> Listener {
    http_listener(name, inline(all_to("r", cluster)))
}

fn encrypted(mut cluster: Cluster, tls: UpstreamTls) -> Cluster {
    cluster.tls = Some(tls);
    cluster
}

/// A proxy that terminates `tls` in front of an echo.
async fn terminating(tls: DownstreamTls) -> (Proxy, SocketAddr) {
    let backend = echo("b").await;
    proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[backend])),
        of_listener(over_tls(web("in", "backend"), tls)),
    ])
    .await
}

/// How often a handshake failed so.
async fn failures(proxy: &Proxy, reason: &str) -> u64 {
    counter(proxy, &format!("tidegate_downstream_tls_failures_total{{reason=\"{reason}\"}} ")).await
}

/// How often a configuration has become visible.
async fn applied(proxy: &Proxy) -> u64 {
    counter(proxy, "tidegate_config_applied_total ").await
}

async fn counter(proxy: &Proxy, line: &str) -> u64 {
    let page = get(proxy.admin_address().expect("admin"), "/stats/prometheus").await;
    let found = page.text().lines().find_map(|known| known.strip_prefix(line)?.parse().ok());
    found.expect(line)
}

fn caller(authority: &Authority, own: Option<&Pair>, protocols: &[&str]) -> Arc<ClientConfig> {
    Arc::new(authority.caller(own, protocols))
}

#[tokio::test]
async fn both_hops_are_encrypted_and_both_ends_show_who_they_are() {
    let authority = Authority::new();
    let (server, far) = (authority.signs("shop.test"), authority.signs("far.test"));
    let ours = authority.signs("spiffe://mesh.test/ns/shop/sa/web");
    let backend = scripted(|mut connection| async move {
        loop {
            let head = connection.head().await;
            let proto = head.lines().find(|line| line.starts_with("x-forwarded-proto")).unwrap_or("none");
            connection.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{proto}", proto.len())).await;
        }
    })
    .await;
    let matcher = StringMatcher::Prefix { value: "spiffe://mesh.test/ns/shop/".into(), ignore_case: false };
    let mut strict = terminated(far.inline());
    strict.require_client_certificate = true;
    strict.validation = Some(authority.trusts());
    let names = &mut strict.validation.as_mut().expect("just set").subject_names;
    names.push(SubjectNameMatcher { kind: SubjectNameKind::Uri, matcher });
    let (_far, far_address) = proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[backend])),
        of_listener(over_tls(web("in", "backend"), strict)),
    ])
    .await;
    for protocol in [Http1, Http2] {
        let tls = towards("far.test", authority.trusts(), Some(ours.inline()));
        let (_near, address) = proxy_with(vec![
            of_cluster(encrypted(cluster("far", protocol, &[far_address]), tls)),
            of_listener(over_tls(web("in", "far"), terminated(server.inline()))),
        ])
        .await;

        let answer = ask(&caller(&authority, None, &["http/1.1"]), address, "shop.test").await.expect("an answer");

        assert!(answer.starts_with("HTTP/1.1 200"), "{protocol:?}: {answer}");
        assert!(answer.ends_with("x-forwarded-proto: https"), "{protocol:?}: {answer}");
    }
}

#[tokio::test]
async fn the_protocol_is_what_both_ends_agree_on() {
    let authority = Authority::new();
    let (_proxy, address) = terminating(terminated(authority.signs("shop.test").inline())).await;

    let stream = shake(&caller(&authority, None, &["h2"]), address, "shop.test").await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get("https://shop.test/x").body(()).expect("a request");
    let (response, _) = send.send_request(request, true).expect("sent");
    let mut body = response.await.expect("an answer").into_body();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data: Bytes = data.expect("data");
        body.flow_control().release_capacity(data.len()).expect("room");
        text.extend_from_slice(&data);
    }
    assert_eq!(String::from_utf8_lossy(&text), "b GET /x ");

    let nothing_in_common = shake(&caller(&authority, None, &["smtp"]), address, "shop.test").await;
    assert!(nothing_in_common.is_err());
}

#[tokio::test]
async fn a_foreign_client_gets_in() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().expect("a directory");
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, authority.pem()).expect("written");
    let (_proxy, address) = terminating(terminated(authority.signs("shop.test").inline())).await;

    let asked = tokio::task::spawn_blocking(move || {
        std::process::Command::new("curl")
            .args(["-sS", "--max-time", "10", "--cacert"])
            .arg(&roots)
            .args(["--resolve", &format!("shop.test:{}:127.0.0.1", address.port())])
            .arg(format!("https://shop.test:{}/x", address.port()))
            .output()
    });
    let output = asked.await.expect("no panic").expect("curl runs");

    assert_eq!(String::from_utf8_lossy(&output.stdout), "b GET /x ", "{output:?}");
}

/// `openssl s_server`, which asks callers for a certificate and answers with what it knows of the session.
struct Foreign(std::process::Child);

impl Foreign {
    fn start(address: SocketAddr, directory: &Path) -> Self {
        let mut child = std::process::Command::new("openssl")
            .args(["s_server", "-www", "-accept", &address.to_string(), "-Verify", "1", "-verify_return_error"])
            .args(["-cert", "chain.pem", "-key", "key.pem", "-CAfile", "roots.pem"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let said = BufReader::new(child.stdout.take().expect("piped")).lines();
        // What it says when it listens.
        assert!(said.map_while(Result::ok).any(|line| line == "ACCEPT"), "openssl does not listen");
        Self(child)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // One that has ended already is no trouble.
        drop((self.0.kill(), self.0.wait()));
    }
}

#[tokio::test]
async fn a_foreign_server_learns_who_we_are_and_gets_nobody_else() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().expect("a directory");
    let far = authority.signs("far.test");
    for (name, text) in [("chain.pem", &far.chain), ("key.pem", &far.key), ("roots.pem", &authority.pem())] {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    let far_address = nobody().await;
    let path = directory.path().to_owned();
    let _far = tokio::task::spawn_blocking(move || Foreign::start(far_address, &path)).await.expect("listens");
    let through = |certificate: Option<CertificateSource>| {
        let tls = towards("far.test", authority.trusts(), certificate);
        proxy_with(vec![
            of_cluster(encrypted(cluster("far", Http1, &[far_address]), tls)),
            of_listener(web("in", "far")),
        ])
    };

    let (_known, address) = through(Some(authority.signs("ours.test").inline())).await;
    let answer = get(address, "/").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("TLSv1.3") && answer.text().contains("DNS:ours.test"), "{}", answer.text());
    let (_unknown, address) = through(None).await;
    assert_eq!(get(address, "/").await.status, 503);
}

#[tokio::test]
async fn callers_that_cannot_show_who_they_are_stay_outside() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut tls = terminated(authority.signs("shop.test").inline());
    tls.require_client_certificate = true;
    tls.validation = Some(authority.trusts());
    let (proxy, address) = terminating(tls).await;
    let ask_as = |own: Option<Pair>| {
        let config = caller(&authority, own.as_ref(), &[]);
        async move { ask(&config, address, "shop.test").await }
    };

    assert!(ask_as(None).await.is_err());
    assert_eq!(failures(&proxy, "no_certificate").await, 1);
    for refused in [stranger.signs("a.test"), authority.signs_with("a.test", expired)] {
        assert!(ask_as(Some(refused)).await.is_err());
    }
    assert_eq!(failures(&proxy, "bad_certificate").await, 2);
    let good = ask_as(Some(authority.signs("a.test"))).await.expect("an answer");
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
}

#[tokio::test]
async fn servers_that_cannot_show_who_they_are_get_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (far, why) in [
        (stranger.signs("far.test"), "unknown_issuer"),
        (authority.signs("other.test"), "wrong_name"),
        (authority.signs_with("far.test", expired), "expired"),
    ] {
        let (_far, far_address) = terminating(terminated(far.inline())).await;
        let tls = towards("far.test", authority.trusts(), None);
        let (_near, address) = proxy_with(vec![
            of_cluster(encrypted(cluster("far", Http1, &[far_address]), tls)),
            of_listener(web("in", "far")),
        ])
        .await;

        let answer = get(address, "/x").await;

        assert_eq!(answer.status, 503, "{why}");
        let error = answer.field("x-mesh-error").unwrap_or_default().to_owned();
        assert!(error.starts_with("UF") && error.contains(why), "{why}: {error:?}");
    }
}

#[tokio::test]
async fn what_is_not_tls_gets_no_word_and_a_slow_handshake_is_cut() {
    let authority = Authority::new();
    let backend = echo("b").await;
    let resources = vec![
        of_cluster(cluster("backend", Http1, &[backend])),
        of_listener(over_tls(web("in", "backend"), terminated(authority.signs("shop.test").inline()))),
    ];
    let limits = Limits { detection: Duration::from_millis(300), ..limits() };
    let (proxy, address) = start_with(Options { limits, ..options() }, resources).await;

    for (bytes, reason) in [
        (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], "plaintext"),
        (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", "garbage"),
        (b"\x16\x03\x01\x02\x00\x01", "late"),
        (b"", "late"),
    ] {
        let before = failures(&proxy, reason).await;
        let mut client = Client::connect(address).await;
        client.send(bytes).await;

        assert_eq!(client.rest().await, b"", "{reason}");
        assert_eq!(failures(&proxy, reason).await, before + 1, "{reason}");
    }
}

#[tokio::test]
async fn a_hundred_certificates_under_load_fail_no_handshake() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let authority = Authority::new();
    let source = CertificateSource::Sds("web".into());
    let backend = echo("b").await;
    let proxy = Proxy::start(options()).expect("starts");
    let pair = authority.signs("shop.test");
    let resources = vec![
        pair.secret("web"),
        of_cluster(cluster("backend", Http1, &[backend])),
        of_listener(over_tls(web("in", "backend"), terminated(source))),
    ];
    assert_eq!(proxy.apply(resources).await, Vec::new());
    let address = proxy.listener_address("in").await.expect("listens");
    let config = caller(&authority, None, &[]);
    // A connection from before the first change, which outlives them all. It asks at once: for its first request it would be waited
    // only some seconds.
    let mut old = shake(&config, address, "shop.test").await.expect("a handshake");
    old.write_all(b"GET /first HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("open");
    let mut first = Vec::new();
    while !first.ends_with(b"b GET /first ") {
        assert!(old.read_buf(&mut first).await.expect("an answer") > 0, "{}", String::from_utf8_lossy(&first));
    }
    let over = Arc::new(AtomicBool::new(false));
    let load = (0..4).map(|_| {
        let (config, over) = (Arc::clone(&config), Arc::clone(&over));
        tokio::spawn(async move {
            let (mut shaken, mut seen) = (0_u32, BTreeSet::new());
            while !over.load(Ordering::Relaxed) {
                let stream = shake(&config, address, "shop.test").await.expect("every handshake succeeds");
                let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
                seen.insert(chain[0].to_vec());
                shaken += 1;
            }
            (shaken, seen)
        })
    });
    let load: Vec<_> = load.collect();

    let before = applied(&proxy).await;
    for number in 1..=100 {
        let renewed = authority.signs("shop.test");
        assert_eq!(proxy.apply([renewed.secret("web")]).await, Vec::new());
        // Taken, counted, and shown to whoever comes next; the last one, too.
        let stream = shake(&config, address, "shop.test").await.expect("every handshake succeeds");
        let shown = stream.get_ref().1.peer_certificates().expect("a certificate");
        assert_eq!(shown, renewed.certificates(), "certificate {number}");
        assert_eq!(applied(&proxy).await, before + number);
    }

    over.store(true, Ordering::Relaxed);
    let (mut shaken, mut seen) = (0, BTreeSet::new());
    for task in load {
        let (count, certificates) = task.await.expect("no handshake failed");
        shaken += count;
        seen.extend(certificates);
    }
    println!("{shaken} handshakes, {} certificates seen", seen.len());
    assert!(shaken > 100 && seen.len() > 20, "{} certificates in {shaken} handshakes are no load", seen.len());
    old.write_all(b"GET /old HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").await.expect("still open");
    let mut answer = String::new();
    old.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("b GET /old "), "{answer}");
}

#[tokio::test]
async fn a_bad_secret_is_refused_alone_and_the_old_one_serves_on() {
    let authority = Authority::new();
    let (good, other) = (authority.signs("shop.test"), authority.signs("shop.test"));
    let backend = echo("b").await;
    let (proxy, address) = proxy_with(vec![
        good.secret("web"),
        of_cluster(cluster("backend", Http1, &[backend])),
        of_listener(over_tls(web("in", "backend"), terminated(CertificateSource::Sds("web".into())))),
    ])
    .await;
    let mixed = Pair { chain: other.chain, key: good.key };

    let refused = proxy.apply([mixed.secret("web"), authority.signs("b.test").secret("unused")]).await;

    assert_eq!(refused.len(), 1);
    assert_eq!(&*refused[0].name, "web");
    assert_eq!(refused[0].reason, "private_key: does not belong to the certificate");
    let answer = ask(&caller(&authority, None, &[]), address, "shop.test").await.expect("the old one serves on");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_listener_waits_for_its_secret_and_a_route_for_that_of_its_cluster() {
    let authority = Authority::new();
    let backend = echo("b").await;
    let proxy = Proxy::start(options()).expect("starts");
    let mut tls = towards("far.test", authority.trusts(), None);
    tls.certificate = Some(CertificateSource::Sds("ours".into()));
    let (far, far_address) = terminating(terminated(authority.signs("far.test").inline())).await;
    let waiting = proxy.apply(vec![
        of_cluster(cluster("backend", Http1, &[backend])),
        of_cluster(encrypted(cluster("far", Http1, &[far_address]), tls)),
        of_listener(over_tls(web("in", "backend"), terminated(CertificateSource::Sds("web".into())))),
        of_listener(web("out", "far")),
    ]);
    let mut waiting = std::pin::pin!(waiting);
    // Everything is taken in and nothing is concluded, because the secrets are not there.
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(proxy.listener_address("in").await, None);

    let secrets = [authority.signs("shop.test").secret("web"), authority.signs("ours.test").secret("ours")];
    assert_eq!(proxy.apply(secrets).await, Vec::new());

    assert_eq!(waiting.await, Vec::new());
    let address = proxy.listener_address("in").await.expect("listens");
    let answer = ask(&caller(&authority, None, &[]), address, "shop.test").await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let out = proxy.listener_address("out").await.expect("listens");
    assert_eq!(get(out, "/y").await.text(), "b GET /y ");
    drop(far);
}

#[tokio::test]
async fn the_name_chooses_the_chain_and_what_is_not_ours_passes_through() {
    let authority = Authority::new();
    let backend = echo("b").await;
    let (_far, far_address) = terminating(terminated(authority.signs("far.test").inline())).await;
    let mut listener = tcp_listener("in", "far");
    let through = chains(&mut listener).remove(0);
    let chain = |names: &[&str], pair: &Pair| {
        let mut web = web("in", "backend");
        let mut chain = chains(&mut web).remove(0);
        chain.matches.server_names = names.iter().map(|name| (*name).into()).collect();
        chain.tls = Some(terminated(pair.inline()));
        chain
    };
    let pass = FilterChain {
        matches: FilterChainMatch { server_names: vec!["far.test".into()], ..FilterChainMatch::default() },
        ..through
    };
    let (exact, wild) = (authority.signs("a.shop.test"), authority.signs("*.shop.test"));
    *chains(&mut listener) = vec![pass, chain(&["*.shop.test"], &wild), chain(&["a.shop.test"], &exact)];
    let (proxy, address) = proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[backend])),
        of_cluster(cluster("far", Http1, &[far_address])),
        of_listener(listener),
    ])
    .await;
    let config = caller(&authority, None, &[]);
    let shown = |name| {
        let config = Arc::clone(&config);
        async move {
            let stream = shake(&config, address, name).await.expect("a handshake");
            stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
        }
    };

    assert_ne!(shown("a.shop.test").await, shown("b.shop.test").await);
    assert_eq!(shown("b.shop.test").await, shown("c.shop.test").await);
    let passed = ask(&config, address, "far.test").await.expect("an answer through both");
    assert!(passed.ends_with("b GET /x "), "{passed}");
    assert!(ask(&config, address, "nobody.test").await.is_err());
    assert_eq!(failures(&proxy, "nothing_in_common").await, 1);
}

#[tokio::test]
async fn a_session_is_taken_up_again_but_not_under_another_certificate() {
    let authority = Authority::new();
    let backend = echo("b").await;
    let (proxy, address) = proxy_with(vec![
        authority.signs("shop.test").secret("web"),
        of_cluster(cluster("backend", Http1, &[backend])),
        of_listener(over_tls(web("in", "backend"), terminated(CertificateSource::Sds("web".into())))),
    ])
    .await;
    let mut config = authority.caller(None, &[]);
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    let kind = || async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = shake(&config, address, "shop.test").await.expect("a handshake");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("writes");
        // The ticket comes after the handshake.
        stream.read_to_end(&mut Vec::new()).await.expect("an answer");
        stream.get_ref().1.handshake_kind().expect("shaken")
    };

    assert_ne!(kind().await, HandshakeKind::Resumed);
    assert_eq!(kind().await, HandshakeKind::Resumed);
    assert_eq!(proxy.apply([authority.signs("shop.test").secret("web")]).await, Vec::new());
    assert_ne!(kind().await, HandshakeKind::Resumed);
}

#[tokio::test]
async fn files_are_followed_written_over_and_renamed_over() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let write = |pair: &Pair, suffix: &str| {
        std::fs::write(path(&format!("key.pem{suffix}")), &pair.key).expect("written");
        std::fs::write(path(&format!("chain.pem{suffix}")), &pair.chain).expect("written");
    };
    write(&authority.signs("shop.test"), "");
    let file = |name: &str| PemSource::File(path(name).to_string_lossy().into());
    let source = CertificateSource::Pem { chain: file("chain.pem"), key: file("key.pem") };
    let (_proxy, address) = terminating(terminated(source)).await;
    let config = caller(&authority, None, &[]);
    let shown = || async {
        let stream = shake(&config, address, "shop.test").await.expect("every handshake succeeds");
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let changed_from = |before: Vec<u8>| async move {
        let looking = async {
            loop {
                let now = shown().await;
                if now != before {
                    return now;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), looking).await.expect("the new certificate is shown")
    };

    let first = shown().await;
    write(&authority.signs("shop.test"), "");
    let second = changed_from(first).await;
    write(&authority.signs("shop.test"), ".new");
    for name in ["key.pem", "chain.pem"] {
        std::fs::rename(path(&format!("{name}.new")), path(name)).expect("renamed");
    }
    let third = changed_from(second).await;
    // Half a file is nobody's certificate: the good one stays.
    std::fs::write(path("chain.pem"), "-----BEGIN CERTIFICATE-----\nMII").expect("written");
    assert_eq!(shown().await, third);
}

#[tokio::test]
async fn bytes_and_checks_travel_encrypted_too() {
    let authority = Authority::new();
    let mail = scripted(|mut connection| async move {
        connection.say("220 ready\r\n").await;
        assert!(connection.ended().await);
    })
    .await;
    let (_far, far_address) = proxy_with(vec![
        of_cluster(cluster("mail", Http1, &[mail])),
        of_listener(over_tls(tcp_listener("in", "mail"), terminated(authority.signs("far.test").inline()))),
    ])
    .await;
    let mut far = encrypted(cluster("far", Http1, &[far_address]), towards("far.test", authority.trusts(), None));
    far.health_checks = vec![HealthCheck {
        timeout: Duration::from_secs(1),
        interval: Duration::from_millis(50),
        interval_jitter: Duration::ZERO,
        no_traffic_interval: Duration::from_millis(50),
        unhealthy_interval: Duration::from_millis(50),
        unhealthy_threshold: std::num::NonZeroU32::MIN,
        healthy_threshold: std::num::NonZeroU32::MIN,
        alt_port: None,
        kind: HealthCheckKind::Tcp { send: b""[..].into(), receive: vec![b"220"[..].into()] },
    }];
    let (proxy, address) = proxy_with(vec![of_cluster(far), of_listener(tcp_listener("in", "far"))]).await;
    let mut client = Client::connect(address).await;

    client.expect(b"220 ready\r\n").await;
    crate::client::seen(&proxy, &format!("far::{far_address}::check::Healthy")).await;
}
