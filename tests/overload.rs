//! Promise: a sidecar that runs out of descriptors or memory turns callers away, and is itself again when they have gone.

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::harness::cgroup::MemoryCgroup;
use crate::harness::{Backend, Client, Mesh, wait};
use crate::http2::victim::{inbound, processor_time, sum_of};

const CALLERS: usize = 300;

/// What is watched for so long.
const SPELL: Duration = Duration::from_secs(4);

/// Of a core.
const SPIN_MAX: f64 = 0.05;

/// From the moment at which the callers have gone.
const RECOVERY: Duration = Duration::from_secs(2);

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: reviews:9080\r\n\r\n";

#[tokio::test]
async fn a_sidecar_out_of_descriptors_does_not_spin_and_recovers() {
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    restart_after(&mut mesh, "ulimit -n 128").await;
    let (to, pid) = (inbound(&mesh, "reviews-v1"), mesh.proxies["reviews-v1"].id());

    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        // Whom the kernel refuses is turned away as well.
        if let Ok(mut caller) = TcpStream::connect(to).await {
            caller.write_all(ASK).await.ok();
            callers.push(caller);
        }
    }
    let before = processor_time(pid);
    wait::pass(SPELL).await;
    let spin = (processor_time(pid) - before).as_secs_f64() / SPELL.as_secs_f64();
    let refused = sum_of(&mesh, "reviews-v1", "tidegate_downstream_connections_refused_total{").await;
    drop(callers);
    let recovery = recovers(to).await;

    println!("{CALLERS} callers on 128 descriptors: {refused} turned away, {:.2} % of a core", spin * 100.0);
    println!("20 of 20 served {recovery:?} after they had gone");
    assert!(mesh.proxies.get_mut("reviews-v1").expect("started").is_running());
    assert!(refused > 0, "nobody was turned away: this was no test");
    assert!(spin < SPIN_MAX, "{:.1} % of a core", spin * 100.0);
}

const MEMORY_BYTES_MAX: u64 = 64 << 20;
const CONNECTIONS: usize = 2_000;
/// Less than a head may have.
const HEAD_BYTES: usize = 60_000;

#[tokio::test]
async fn a_sidecar_short_of_memory_sheds_and_is_not_killed() {
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    let cgroup = MemoryCgroup::make("full", MEMORY_BYTES_MAX);
    let enter = cgroup.enter();
    restart_after(&mut mesh, &enter).await;
    let to = inbound(&mesh, "reviews-v1");

    // Each owes the end of its head, so that the proxy has to keep what it has of it: 120 MB in all.
    let head = [ASK.trim_ascii_end(), b"\r\nX: ", &vec![b'a'; HEAD_BYTES]].concat();
    let mut callers = Vec::new();
    for _ in 0..CONNECTIONS {
        // Who is not accepted waits in the kernel's queue.
        if let Ok(mut caller) = TcpStream::connect(to).await {
            tokio::time::timeout(Duration::from_millis(5), caller.write_all(&head)).await.ok();
            callers.push(caller);
        }
        wait::pass(Duration::from_millis(1)).await;
    }
    wait::until("memory is scarce", SPELL, || async { pressure(&mesh).await > 0 }).await;
    let step = pressure(&mesh).await;
    let used = cgroup.used();
    let open = connections(&mesh).await;
    drop(callers);
    let recovery = recovers(to).await;

    println!("{CONNECTIONS} connections in {MEMORY_BYTES_MAX} bytes: step {step}, {used} bytes used, {open} accepted");
    println!("20 of 20 served {recovery:?} after they had gone, then {} bytes used", cgroup.used());
    assert!(mesh.proxies.get_mut("reviews-v1").expect("started").is_running(), "killed");
    assert_eq!(cgroup.kills(), 0);
    drop(mesh);
    cgroup.remove();
}

/// The step at which requests are refused and callers still accepted, as the sidecar counts them.
const SHEDDING: u64 = 2;
/// Callers between two looks at how many were accepted, while there is much room.
const BATCH: usize = 50;

#[tokio::test]
async fn a_sidecar_that_sheds_refuses_requests_and_ends_what_it_has_begun() {
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).own_backends().start().await;
    let go_on = Arc::new(Notify::new());
    let told = Arc::clone(&go_on);
    let _application =
        Backend::raw(mesh.application("reviews-v1"), move |stream| says_half(stream, Arc::clone(&told))).await;
    let cgroup = MemoryCgroup::make("sheds", MEMORY_BYTES_MAX);
    let enter = cgroup.enter();
    restart_after(&mut mesh, &enter).await;
    let to = inbound(&mesh, "reviews-v1");
    let mut begun = TcpStream::connect(to).await.expect("the sidecar listens");
    begun.write_all(b"GET /long HTTP/1.1\r\nHost: reviews:9080\r\n\r\n").await.expect("a request is taken");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhalf") {
        assert_ne!(begun.read_buf(&mut answer).await.expect("reads"), 0, "closed before half of the answer");
    }

    let callers = fill_until_it_sheds(&mesh, &cgroup, to).await;
    let over_http1 = Client::new(to).get("reviews:9080", "/").await.expect("accepted, and told");
    let over_http2 = status_over_http2(to).await;
    let refused = sum_of(&mesh, "reviews-v1", "tidegate_rejections_total{flag=\"OM\"}").await;
    let (step, used) = (pressure(&mesh).await, cgroup.used());
    go_on.notify_one();
    begun.read_to_end(&mut answer).await.expect("reads to the end");
    let count = callers.len();
    drop(callers);
    let recovery = recovers(to).await;

    println!("{count} callers: step {step} at {used} bytes of {MEMORY_BYTES_MAX}, {refused} requests refused");
    println!("20 of 20 served {recovery:?} after they had gone");
    assert_eq!((over_http1.status.as_u16(), over_http2), (503, 503));
    assert_eq!(refused, 2, "both are counted");
    assert_eq!(step, SHEDDING, "still the same step");
    assert!(answer.ends_with(b"half and half"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(cgroup.kills(), 0);
    drop(mesh);
    cgroup.remove();
}

/// Lets one caller after the other owe the end of its head, until requests are refused and callers are still accepted.
async fn fill_until_it_sheds(mesh: &Mesh, cgroup: &MemoryCgroup, to: SocketAddr) -> Vec<TcpStream> {
    let head = [ASK.trim_ascii_end(), b"\r\nX: ", &vec![b'a'; HEAD_BYTES]].concat();
    let mut callers = Vec::new();
    // It falls by more than one caller as well as it rises: a sidecar that was too full gives back what it can.
    for _ in 0..CONNECTIONS {
        let full = cgroup.used() >= MEMORY_BYTES_MAX / 100 * 75;
        let step = if full { pressure(mesh).await } else { 0 };
        match step.cmp(&SHEDDING) {
            Ordering::Equal => return callers,
            Ordering::Greater => assert!(callers.pop().is_some(), "they have all gone"),
            Ordering::Less => {
                let mut caller = TcpStream::connect(to).await.expect("the sidecar listens");
                caller.write_all(&head).await.expect("a head is taken");
                callers.push(caller);
            }
        }
        if full {
            // A look at the memory for each.
            wait::pass(Duration::from_millis(15)).await;
        } else if callers.len() % BATCH == 0 {
            // A sidecar that is late with reading would be full at once, later.
            let all = callers.len() as u64;
            wait::until("all are accepted", SPELL, || async { connections(mesh).await >= all }).await;
        }
    }
    panic!("step {} at {} bytes with {} callers", pressure(mesh).await, cgroup.used(), callers.len());
}

async fn status_over_http2(to: SocketAddr) -> u16 {
    let stream = TcpStream::connect(to).await.expect("the sidecar listens");
    let (mut send, connection) = h2::client::handshake(stream).await.expect("the sidecar speaks HTTP/2");
    let driven = tokio::spawn(connection);
    let request = http::Request::get("http://reviews:9080/").body(()).expect("a request");
    let (answer, _) = send.send_request(request, true).expect("room for a stream");
    let status = answer.await.expect("answered").status().as_u16();
    driven.abort();
    status
}

/// Says half of an answer to `/long`, and the rest when it is told to; everything else is answered at once.
async fn says_half(mut stream: TcpStream, go_on: Arc<Notify>) {
    let mut held = Vec::new();
    while matches!(stream.read_buf(&mut held).await, Ok(1..)) {
        let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = held.drain(..end + 4).collect::<Vec<u8>>();
        let said = if head.starts_with(b"GET /long") {
            let half = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nhalf").await;
            go_on.notified().await;
            half.and(stream.write_all(b" and half").await)
        } else {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await
        };
        if said.is_err() {
            return;
        }
    }
}

/// Starts the sidecar anew, by a shell that does something first.
async fn restart_after(mesh: &mut Mesh, before: &str) {
    mesh.proxies.get_mut("reviews-v1").expect("started").kill();
    mesh.start_proxy_after("reviews-v1", before);
    mesh.ready("reviews-v1", Duration::from_secs(20)).await;
}

/// The step that the sidecar has taken.
async fn pressure(mesh: &Mesh) -> u64 {
    sum_of(mesh, "reviews-v1", "tidegate_memory_pressure ").await
}

/// Accepted and not ended.
async fn connections(mesh: &Mesh) -> u64 {
    sum_of(mesh, "reviews-v1", "tidegate_downstream_connections_active{").await
}

/// How long it takes until twenty in a row are served, each over a connection of its own.
async fn recovers(to: SocketAddr) -> Duration {
    let start = wait::now();
    wait::until("twenty in a row are served", RECOVERY, || async {
        for _ in 0..20 {
            match Client::new(to).get("reviews:9080", "/").await {
                Ok(answer) if answer.status == 200 => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    })
    .await;
    start.elapsed()
}
