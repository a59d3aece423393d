//! Promise: a new binary takes the place of a running one, and nobody notices; a new one that does not come up changes
//! nothing.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::harness::lasting::{grpc_application, grpc_streams, http2, tcp_application, tunnels};
use crate::harness::load::{Load, Seen};
use crate::harness::process::{Process, signal};
use crate::harness::{Client, Mesh, wait};

const UPGRADES: usize = 2;
/// How long a stream or a tunnel lasts: longer than an upgrade, shorter than a drain.
const LASTING: Duration = Duration::from_secs(3);
/// Load before, between and after.
const BETWEEN: Duration = Duration::from_secs(4);
/// The deadline of a drain, and a busy machine.
const END_LIMIT: Duration = Duration::from_secs(40);
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// Changes the routes of a service.
const FAULT: &str = "apiVersion: tidegate.io/v1alpha1
kind: Fault
metadata: {name: teapot, namespace: shop}
spec:
  targetRefs:
  - {group: \"\", kind: Service, name: reviews}
  permanent: true
  abort: {httpStatus: 418, percent: 100}
";

#[tokio::test(flavor = "multi_thread")]
async fn two_upgrades_lose_nothing_that_was_begun_before_during_or_after() {
    let plan = Mesh::plan().service("reviews", &["v1"]);
    let plan = plan.service_of("echo", &["v1"], "grpc").service_of("ledger", &["v1"], "tcp");
    let mut mesh = plan.start().await;
    let _echo = grpc_application(mesh.application("echo-v1")).await;
    let _ledger = tcp_application(mesh.application("ledger-v1"), b"v1").await;
    let (outbound, tcp) = (mesh.outbound("web-v1"), mesh.outbound_tcp("web-v1", 0));
    let loads = [
        ("HTTP/1.1, keep-alive", Load::start(outbound, "reviews:9080", "/reviews/0", 8, 0)),
        ("HTTP/1.1, a connection each", Load::start(outbound, "reviews:9080", "/reviews/0", 0, 4)),
        ("HTTP/2", http2(outbound, "reviews:9080", "/reviews/0", 4)),
        ("gRPC, messages of streams", grpc_streams(outbound, "echo:9080", 8, LASTING)),
        ("TCP, bytes of tunnels", tunnels(tcp, 8, LASTING)),
    ];

    for _ in 0..UPGRADES {
        wait::pass(BETWEEN).await;
        let start = wait::now();
        let mut old = mesh.upgrade("web-v1").await;
        let taken_over = start.elapsed();
        let ended = tokio::task::block_in_place(|| old.ended(END_LIMIT));
        assert!(ended.success(), "{ended}\n{}", old.log());
        println!("taken over after {taken_over:.0?}, the old process had ended after {:.1?}", start.elapsed());
        assert!(old.log().contains("drained") && !old.log().contains("deadline"), "nothing was cut:\n{}", old.log());
    }
    wait::pass(BETWEEN).await;

    let mut failures = Vec::new();
    for (name, load) in loads {
        let seen = load.stop().await;
        let (p50, p99) = (seen.percentile_ms(50.0), seen.percentile_ms(99.0));
        println!("{name:<28} {:>7} sent, {} failed, p50 {p50:.1} ms, p99 {p99:.1} ms", seen.requests, seen.failed);
        assert!(seen.requests > 500, "{} requests are no load: {name}", seen.requests);
        failures.extend(seen.failures.into_iter().map(|why| format!("{name}: {why}")));
    }
    assert!(failures.is_empty(), "{failures:#?}");
    mesh.control.settled(mesh.proxies.len(), SETTLE_LIMIT).await;
    let status = mesh.control.status().await;
    let proxies = status["proxies"].as_array().expect("proxies").len();
    assert_eq!(proxies, mesh.proxies.len(), "the control plane knows each proxy once: {status}");

    // What came from the old process is followed by what the control plane says next.
    mesh.control.write("fault.yaml", FAULT);
    wait::until("the new process follows a change of a route that it was given", SETTLE_LIMIT, || async {
        Client::new(outbound).get("reviews:9080", "/reviews/0").await.is_ok_and(|answer| answer.status == 418)
    })
    .await;
}

/// Four bytes of length, then the word.
async fn say(stream: &mut UnixStream, word: &str) {
    let length = u32::try_from(word.len()).expect("a word is short");
    stream.write_all(&[&length.to_be_bytes()[..], word.as_bytes()].concat()).await.expect("the other side listens");
}

/// The next word; the descriptors beside it are closed by the kernel, as nobody asks for them.
async fn hear(stream: &mut UnixStream) -> String {
    let length = stream.read_u32().await.expect("a word comes");
    let mut word = vec![0; usize::try_from(length).expect("a word is short")];
    stream.read_exact(&mut word).await.expect("a whole word comes");
    String::from_utf8(word).expect("a word is text")
}

fn hello(node: &str) -> String {
    format!(r#"{{"word":"hello","protocol":1,"node":"{node}","process":1,"version":"0"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_that_dies_before_it_is_ready_changes_nothing_and_two_at_once_are_refused() {
    let mesh = Mesh::plan().service("reviews", &["v1", "v2"]).start().await;
    let path = mesh.upgrade_socket("web-v1");
    let load = Load::start(mesh.outbound("web-v1"), "reviews:9080", "/reviews/0", 4, 2);

    let mut new = UnixStream::connect(&path).await.expect("the running process listens");
    say(&mut new, &hello("web-v1.shop")).await;
    assert!(hear(&mut new).await.contains(r#""role":"listener""#));
    let (code, log) = start_in_vain(&mesh, "web-v1", "second").await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("the running process does not hand over: another process is taking over already"), "{log}");
    drop(new);
    wait::until("the running process notices", SETTLE_LIMIT, || async {
        mesh.proxies["web-v1"].log().contains("the new process has not taken over; serving on")
    })
    .await;

    mesh.apply("late.yaml", &crate::split::canary(0, 100)).await;
    let answer = mesh.client("web-v1").get("reviews:9080", "/").await.expect("the mesh answers");
    assert_eq!(answer.version(), "v2", "configuration is applied again");
    let mut foreign = UnixStream::connect(&path).await.expect("the running process listens still");
    say(&mut foreign, &hello("reviews-v1.shop")).await;
    let refused = hear(&mut foreign).await;
    assert!(refused.contains("refused") && refused.contains("web-v1.shop"), "{refused}");
    let seen = load.stop().await;
    println!("{} requests beside upgrades that came to nothing: {} failed", seen.requests, seen.failed);
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
}

/// Starts a process that must end by itself; its exit code and what it said.
async fn start_in_vain(mesh: &Mesh, workload: &str, name: &str) -> (Option<i32>, String) {
    let mut process = Process::start(name, mesh.folder(), &mut mesh.proxy_command(workload));
    let ended = tokio::task::block_in_place(|| process.ended(END_LIMIT));
    (ended.code(), process.log())
}

#[tokio::test]
async fn a_running_process_that_dies_in_mid_upgrade_leaves_its_sockets_to_the_new_one() {
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    let path = mesh.upgrade_socket("web-v1");
    mesh.proxies.get_mut("web-v1").expect("planned").kill();
    std::fs::remove_file(&path).expect("a killed process leaves its socket behind");
    let dying = UnixListener::bind(&path).expect("the folder is writable");

    mesh.start_proxy("web-v1");
    let (mut old, _) = dying.accept().await.expect("the new process asks");
    assert!(hear(&mut old).await.contains(r#""node":"web-v1.shop""#));
    say(&mut old, r#"{"word":"sockets","described":[],"last":true}"#).await;
    assert_eq!(hear(&mut old).await, r#"{"word":"ready"}"#);
    drop((old, dying));

    mesh.ready("web-v1", SETTLE_LIMIT).await;
    let answer = mesh.client("web-v1").get("reviews:9080", "/").await.expect("the mesh answers");
    assert_eq!(answer.status, 200);
    assert!(mesh.proxies["web-v1"].log().contains("the running process has ended meanwhile"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_a_killed_process_left_is_replaced_and_one_that_ended_leaves_none() {
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    let path = mesh.upgrade_socket("web-v1");

    mesh.proxies.get_mut("web-v1").expect("planned").kill();
    assert!(path.exists());
    mesh.start_proxy("web-v1");
    mesh.ready("web-v1", SETTLE_LIMIT).await;
    let mut old = mesh.upgrade("web-v1").await;
    assert!(tokio::task::block_in_place(|| old.ended(END_LIMIT)).success());
    assert!(path.exists(), "the socket belongs to the new process");
    let new = mesh.proxies.get_mut("web-v1").expect("planned");
    assert!(tokio::task::block_in_place(|| new.terminate(END_LIMIT)).success());

    assert!(!path.exists());
}

/// SIGUSR2 to the first process of a container, here a process namespace.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_process_of_a_container_upgrades_by_a_signal_and_ends_as_its_successor_ends() {
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    mesh.proxies.get_mut("web-v1").expect("planned").kill();
    let plain = mesh.proxy_command("web-v1");
    let mut command = Command::new("unshare");
    // Whoever is not root is it in a user namespace.
    command.args(["--map-current-user", "--pid", "--fork", "--kill-child"]).arg(plain.get_program());
    command.args(plain.get_args()).args(["--drain-seconds", "0"]);
    let mut container = Process::start("container", mesh.folder(), &mut command);
    mesh.ready("web-v1", SETTLE_LIMIT).await;
    let first = only_child(container.id());
    let load = Load::start(mesh.outbound("web-v1"), "reviews:9080", "/", 4, 2);

    for upgrade in 1..=UPGRADES {
        wait::pass(BETWEEN / 2).await;
        signal(first, "USR2");
        wait::until("the new process has taken over, and the old one has let go", END_LIMIT, || async {
            container.log().matches("accepting in the place of the process that ran before").count() == upgrade
                && container.log().matches("drained").count() == upgrade
        })
        .await;
    }
    let seen: Seen = load.stop().await;
    println!("{} requests over {UPGRADES} upgrades by SIGUSR2 in a container: {} failed", seen.requests, seen.failed);
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
    assert!(Path::new(&format!("/proc/{first}")).exists(), "the container runs");
    signal(first, "TERM");
    let ended = tokio::task::block_in_place(|| container.ended(END_LIMIT));
    assert!(ended.success(), "{ended}\n{}", container.log());
    assert!(Client::new(mesh.admin("web-v1")).get("localhost", "/ready").await.is_err(), "nobody is left");
}

fn only_child(pid: u32) -> u32 {
    let children =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("the kernel lists children");
    children.trim().parse().expect("one child")
}
