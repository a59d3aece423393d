//! A sidecar with an application behind it, and what an attack costs both.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Method, Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Backend, Mesh, wait};

/// How long the application takes for a request of an attack: long enough for every pause before its reset.
const SLOW: Duration = Duration::from_millis(500);

/// An answer that no window and no buffer on the way can hold.
const BIG: usize = 1_000_000;

/// An answer for which a narrow window is opened several times.
const LARGE: usize = 300_000;

/// The conformance suite asks for some bytes.
const SMALL: usize = 16;

/// The port of every sidecar's inbound listener.
const INBOUND: u16 = 9080;

/// What has come to the application from attacks.
#[derive(Debug, Default)]
struct Attacked {
    requests: AtomicU64,
    /// HTTP/2 streams of them that are open.
    open: AtomicU64,
}

/// What a caller may cost.
#[derive(Debug)]
pub(super) struct Cost {
    /// Requests that reached the application.
    pub(super) requests: u64,
    /// How far the process's memory rose at its highest.
    pub(super) memory_kib: u64,
    /// Processor time of the process.
    pub(super) cpu: Duration,
}

pub(super) struct Victim {
    pub(super) mesh: Mesh,
    attacked: Arc<Attacked>,
    _application: Backend,
}

impl Victim {
    /// Attacks ask for `/attack`, which is slow, or `/big`; everything else is answered at once.
    pub(super) async fn start() -> Self {
        Self::over("http").await
    }

    /// Its application speaks `protocol`.
    pub(super) async fn over(protocol: &'static str) -> Self {
        let mesh = Mesh::plan().service_of("reviews", &["v1"], protocol).own_backends().start().await;
        let attacked = Arc::<Attacked>::default();
        let counter = Arc::clone(&attacked);
        let application =
            Backend::raw(mesh.application("reviews-v1"), move |stream| serve(stream, Arc::clone(&counter))).await;
        Self { mesh, attacked, _application: application }
    }

    pub(super) fn address(&self) -> SocketAddr {
        inbound(&self.mesh, "reviews-v1")
    }

    pub(super) fn pid(&self) -> u32 {
        self.mesh.proxies["reviews-v1"].id()
    }

    /// What something that is done to it costs.
    pub(super) async fn costs<T>(&self, attack: impl Future<Output = T>) -> (T, Cost) {
        let requests = self.attacked();
        let (outcome, mut cost) = costs(self.pid(), async {
            let outcome = attack.await;
            // What it set off has come to its end when the connections are gone.
            wait::until("every connection of the attack is gone", Duration::from_secs(10), || async {
                self.open_connections().await == 0
            })
            .await;
            outcome
        })
        .await;
        cost.requests = self.attacked() - requests;
        (outcome, cost)
    }

    /// Requests of attacks that have reached the application.
    pub(super) fn attacked(&self) -> u64 {
        self.attacked.requests.load(Ordering::Relaxed)
    }

    /// Requests of an attack that have a stream of their own at the application, and have it still.
    pub(super) fn open(&self) -> u64 {
        self.attacked.open.load(Ordering::Relaxed)
    }

    async fn open_connections(&self) -> u64 {
        sum_of(&self.mesh, "reviews-v1", "tidegate_downstream_connections_active{").await
    }
}

/// What something costs a process.
pub(super) async fn costs<T>(pid: u32, done: impl Future<Output = T>) -> (T, Cost) {
    reset_peak(pid);
    let (memory, cpu) = (kib(pid, "VmRSS:"), processor_time(pid));
    let outcome = done.await;
    let memory_kib = kib(pid, "VmHWM:").saturating_sub(memory);
    (outcome, Cost { requests: 0, memory_kib, cpu: processor_time(pid) - cpu })
}

/// Where others reach a workload.
pub(crate) fn inbound(mesh: &Mesh, workload: &str) -> SocketAddr {
    SocketAddr::new(mesh.outbound(workload).ip(), INBOUND)
}

/// The sum of all samples of a sidecar that begin so.
pub(crate) async fn sum_of(mesh: &Mesh, workload: &str, sample: &str) -> u64 {
    let mut client = crate::harness::Client::new(mesh.admin(workload));
    let text = client.get("localhost", "/stats/prometheus").await.expect("admin answers").text();
    let values = text.lines().filter(|line| line.starts_with(sample)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

/// Speaks what it is spoken to.
async fn serve(stream: TcpStream, attacked: Arc<Attacked>) {
    let mut first = [0; 3];
    while matches!(stream.peek(&mut first).await, Ok(1 | 2)) {}
    match &first {
        b"PRI" => serve_http2(stream, attacked).await,
        _ => serve_http1(stream, attacked).await,
    }
}

async fn serve_http2(stream: TcpStream, attacked: Arc<Attacked>) {
    // Whatever comes is counted; nothing is to be cut off here.
    let mut builder = h2::server::Builder::new();
    builder.max_pending_accept_reset_streams(usize::MAX).max_local_error_reset_streams(None);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer_http2(request, respond, Arc::clone(&attacked)));
    }
}

async fn answer_http2(mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>, attacked: Arc<Attacked>) {
    let length = match request.uri().path() {
        "/attack" => {
            attacked.requests.fetch_add(1, Ordering::Relaxed);
            attacked.open.fetch_add(1, Ordering::Relaxed);
            let is_reset =
                tokio::time::timeout(SLOW, std::future::poll_fn(|context| respond.poll_reset(context))).await.is_ok();
            attacked.open.fetch_sub(1, Ordering::Relaxed);
            if is_reset {
                return;
            }
            SMALL
        }
        "/big" => {
            attacked.requests.fetch_add(1, Ordering::Relaxed);
            BIG
        }
        "/large" => LARGE,
        // Not before it was read: its last bytes may be what makes a request malformed, and then it has no answer.
        _ => match read(request.body_mut()).await {
            Ok(()) => SMALL,
            Err(_) => return,
        },
    };
    let head = Response::builder().header("content-length", length).body(()).expect("a response");
    let ended = request.method() == Method::HEAD;
    // A caller that has gone needs no answer.
    if let (Ok(mut out), false) = (respond.send_response(head, ended), ended) {
        out.send_data(vec![b'a'; length].into(), true).ok();
    }
}

async fn read(body: &mut RecvStream) -> Result<(), h2::Error> {
    while let Some(bytes) = body.data().await {
        body.flow_control().release_capacity(bytes?.len())?;
    }
    Ok(())
}

/// Counts what was asked for by attacks, when its head has come.
async fn serve_http1(mut stream: TcpStream, attacked: Arc<Attacked>) {
    let mut held = Vec::new();
    while matches!(stream.read_buf(&mut held).await, Ok(1..)) {
        let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = held.drain(..end + 4).collect::<Vec<u8>>();
        let said = match head.split(|byte| *byte == b' ').nth(1) {
            Some(b"/attack") => {
                attacked.requests.fetch_add(1, Ordering::Relaxed);
                wait::pass(SLOW).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await
            }
            Some(b"/big") => {
                attacked.requests.fetch_add(1, Ordering::Relaxed);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n");
                stream.write_all(&[head.as_bytes(), &vec![b'a'; BIG]].concat()).await
            }
            _ => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await,
        };
        if said.is_err() {
            return;
        }
    }
}

/// The highest that was seen of its memory is forgotten.
fn reset_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("a process of ours takes it");
}

/// A line of a process's status, in KiB.
fn kib(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process has a status");
    let value = status.lines().find_map(|text| text.strip_prefix(line)).expect("with this line");
    value.split_whitespace().next().and_then(|number| number.parse().ok()).expect("in KiB")
}

/// What its threads have used of the processors, to the nanosecond.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process has threads");
    let files = threads.filter_map(|thread| Some(thread.ok()?.path().join("schedstat")));
    // A thread may end meanwhile.
    let nanoseconds = |file: PathBuf| std::fs::read_to_string(file).ok()?.split(' ').next()?.parse::<u64>().ok();
    Duration::from_nanos(files.filter_map(nanoseconds).sum())
}
