//! Uploads to an endpoint that stops reading, and what else their caller has to say over the same connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::victim::costs;
use crate::harness::{Backend, Mesh, wait};

/// Beside one more a connection has as many as it may.
const UPLOADS_MAX: u32 = 99;

/// More than any window on the way.
const UPLOAD: usize = 1_000_000;

/// A neighbour's own: a narrow window is opened several times for it.
const BODY: usize = 100_000;
const ANSWERS: usize = 200;

/// Half of the answers, and every one. Who had to wait for an upload that stands still would wait for 30 s.
const ANSWER_LIMIT: Duration = Duration::from_millis(100);
const EVERY_ANSWER_LIMIT: Duration = Duration::from_secs(1);
const MEMORY_KIB_MAX: u64 = 4 * 1024;

#[tokio::test]
async fn uploads_that_stand_still_keep_nothing_from_their_neighbours() {
    let mesh = Mesh::plan().service("reviews", &["v1"]).service_of("stalled", &["v1"], "grpc").own_backends().start();
    let mesh = mesh.await;
    let _reads = Backend::echo(mesh.application("reviews-v1"), "v1").await;
    let _stalls = Backend::raw(mesh.application("stalled-v1"), stalls).await;
    let pid = mesh.proxies["web-v1"].id();
    // What a process holds once it has done anything of the kind is not counted.
    let mut first = connect(&mesh).await;
    asked(&mut first, BODY).await;

    for (count, after_large) in [(4, false), (16, false), (16, true), (UPLOADS_MAX, false)] {
        let (mut waits, cost) = costs(pid, beside(&mesh, count, after_large)).await;
        waits.sort();
        let [middle, most, longest] = [waits.len() / 2, waits.len() * 99 / 100, waits.len() - 1].map(|at| waits[at]);
        let memory = cost.memory_kib;
        println!("beside {count:>2} uploads: median {middle:?}, p99 {most:?}, longest {longest:?}; {memory} KiB");
        assert!(middle <= ANSWER_LIMIT, "beside {count} uploads half of the others waited {middle:?}");
        assert!(longest <= EVERY_ANSWER_LIMIT, "beside {count} uploads one waited {longest:?}");
        assert!(memory <= MEMORY_KIB_MAX, "{memory} KiB are held for {count} uploads");
    }
}

/// How long others wait beside so many uploads that stand still, of which the first ones may begin with wide windows.
async fn beside(mesh: &Mesh, count: u32, after_large: bool) -> Vec<Duration> {
    let mut caller = connect(mesh).await;
    if after_large {
        asked(&mut caller, UPLOAD).await;
    }
    let sent = Arc::<AtomicU64>::default();
    let mut uploads = JoinSet::new();
    for _ in 0..count {
        let request = Request::post("http://stalled:9080/").body(()).expect("a request");
        let mut ready = caller.clone().ready().await.expect("open");
        let (answer, stream) = ready.send_request(request, false).expect("room for a stream");
        let sent = Arc::clone(&sent);
        uploads.spawn(async move {
            upload(stream, UPLOAD, &sent).await;
            answer.await.is_ok()
        });
    }
    let (mut last, mut same) = (0, 0);
    wait::until("they stand still", Duration::from_secs(10), || {
        let now = sent.load(Ordering::Relaxed);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        std::future::ready(same >= 20)
    })
    .await;
    assert!(last >= u64::from(count) * 1024 && last < u64::from(count) * UPLOAD as u64, "{last} bytes were taken");

    let mut waits = Vec::new();
    for _ in 0..ANSWERS {
        waits.push(asked(&mut caller, BODY).await);
        wait::pass(Duration::from_millis(10)).await;
    }
    assert_eq!(uploads.len(), count as usize);
    assert!(uploads.try_join_next().is_none(), "all uploads are still there");
    waits
}

async fn connect(mesh: &Mesh) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(mesh.outbound("web-v1")).await.expect("the sidecar listens");
    stream.set_nodelay(true).expect("a fresh socket takes options");
    let (caller, connection) = h2::client::handshake(stream).await.expect("the sidecar speaks HTTP/2");
    tokio::spawn(connection);
    caller
}

/// How long an answer takes to a request with a body of this length.
async fn asked(caller: &mut SendRequest<Bytes>, length: usize) -> Duration {
    let start = wait::now();
    let request = Request::post("http://reviews:9080/").body(()).expect("a request");
    let mut ready = caller.clone().ready().await.expect("open");
    let (answer, stream) = ready.send_request(request, false).expect("room for a stream");
    let answered = async {
        let sent = AtomicU64::new(0);
        let (answer, ()) = tokio::join!(answer, upload(stream, length, &sent));
        let answer = answer.expect("answered");
        assert_eq!(answer.status(), 200);
        read(answer.into_body()).await
    };
    // As long as an upload may stand still.
    let echoed = tokio::time::timeout(Duration::from_secs(30), answered).await.unwrap_or_default();
    let took = start.elapsed();
    assert!(echoed >= length, "after {took:?} {echoed} bytes came back");
    took
}

/// Sends as windows allow. A stream that is reset ends.
async fn upload(mut stream: SendStream<Bytes>, length: usize, sent: &AtomicU64) {
    let mut left = length;
    while left > 0 {
        stream.reserve_capacity(left);
        let Some(Ok(capacity)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let piece = capacity.min(left);
        left -= piece;
        if stream.send_data(vec![b'a'; piece].into(), left == 0).is_err() {
            return;
        }
        sent.fetch_add(piece as u64, Ordering::Relaxed);
    }
}

async fn read(mut body: RecvStream) -> usize {
    let mut length = 0;
    while let Some(Ok(bytes)) = body.data().await {
        length += bytes.len();
        body.flow_control().release_capacity(bytes.len()).expect("as much as came");
    }
    length
}

/// Takes requests, and nothing of their bodies.
async fn stalls(stream: TcpStream) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(0);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut held = Vec::new();
    while let Some(Ok(stream)) = connection.accept().await {
        held.push(stream);
    }
}
