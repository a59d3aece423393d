//! What the proxy holds in memory, measured. A process of its own, so that nothing else is measured with it.

#[path = "../promises/resources.rs"]
#[allow(dead_code, reason = "the words of another binary's tests; this one needs a few")]
mod resources;

use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;
use tidegate_xds::resource::route::{Mirror, RouteAction};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::resources::{cluster, forward, http_listener, inline, of_cluster, of_listener, proxy_with, route, routes};

/// Resident memory of this process, in KiB.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

#[tokio::test]
async fn a_gigabyte_past_a_target_that_never_reads_needs_no_memory() {
    const LENGTH: usize = 1 << 30;
    // Its connections are taken by the kernel, and nobody ever reads.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let target = silent.local_addr().expect("bound");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let main = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let mut block = vec![0; 256 * 1024];
        let mut received = 0;
        while received < LENGTH {
            received += stream.read(&mut block).await.expect("reads");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("writes");
        drop(stream.read(&mut block).await);
    });
    let mut forward = forward("main");
    forward.mirrors.push(Mirror::to("copy".into()));
    let routes = routes("r", vec![route("/", RouteAction::Forward(Box::new(forward)))]);
    let (_proxy, address) = proxy_with(vec![
        of_cluster(cluster("main", Http1, &[main])),
        of_cluster(cluster("copy", Http1, &[target])),
        of_listener(http_listener("in", inline(routes))),
    ])
    .await;
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream
        .write_all(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes())
        .await
        .expect("writes");
    let block = vec![b'x'; 256 * 1024];
    let mut most = 0;

    let mut before = 0;
    for round in 0..LENGTH / block.len() {
        stream.write_all(&block).await.expect("writes");
        if round == 16 {
            before = resident_kib();
        }
        if round % 64 == 0 {
            most = most.max(resident_kib());
        }
    }
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.expect("an answer");

    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    println!("grew by {} KiB", most.saturating_sub(before));
    assert!(most.saturating_sub(before) < 8 * 1024, "from {before} KiB to {most} KiB");
}
