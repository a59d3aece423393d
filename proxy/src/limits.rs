//! Every bound of the data plane, each with its reason. Tests shorten the times; operators get the defaults.

use std::time::Duration;

/// Times and sizes that hold unless a resource says otherwise.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open downstream connections of the process: half of the descriptors (each may need one upstream), less a reserve
    /// for listeners, the control stream and files.
    pub connections_max: u64,
    /// From accept until the protocol is known. A client that has something to say says it at once.
    pub detection: Duration,
    /// From the first byte of a request head to its last.
    pub head: Duration,
    /// Without a byte of a request body that the caller owes.
    pub body_progress: Duration,
    /// Without progress in writing to a peer that does not read.
    pub write_progress: Duration,
    /// An upstream connection may be idle for this long before it is closed. Below the 60 s that servers commonly allow,
    /// so that we are the side that closes first.
    pub upstream_idle: Duration,
    /// An HTTP/2 connection without streams is kept for this long unless the resource says otherwise: inside a minute, the
    /// GOAWAY and the wait for its echo included.
    pub http2_idle: Duration,
    /// Between two PINGs on an HTTP/2 connection, and how long an answer may take.
    pub http2_ping: Duration,
    /// A closing process lets an idle HTTP/1 connection go after this: the request that is on its way arrives meanwhile.
    pub closing_idle: Duration,
    /// Idle HTTP/1 connections kept per endpoint and worker.
    pub pooled_per_endpoint_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: connections_max(),
            detection: Duration::from_secs(5),
            head: Duration::from_secs(10),
            body_progress: Duration::from_secs(30),
            write_progress: Duration::from_secs(30),
            upstream_idle: Duration::from_secs(50),
            http2_idle: Duration::from_secs(55),
            http2_ping: Duration::from_secs(20),
            closing_idle: Duration::from_secs(1),
            pooled_per_endpoint_max: 256,
        }
    }
}

/// Interim answers that are relayed for one request; 103 is sent once or twice, a hundred of them is an attack.
pub(crate) const INTERIM_ANSWERS_MAX: u32 = 16;

/// HTTP/2 streams of one downstream connection.
pub(crate) const HTTP2_STREAMS_MAX: u32 = 100;

/// HTTP/2 header list, both sides.
pub(crate) const HTTP2_HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// Windows of streams from callers: while many are open on a connection, and while few are. The connection's own holds all of them:
/// 2.5 MiB.
pub(crate) const DOWNSTREAM_WINDOW_BYTES: (u32, u32) = (24 * 1024, 64 * 1024);

/// Windows of streams towards endpoints: while many are open on a connection, and while few are. The connection's own holds all of
/// them: some 3 MiB.
pub(crate) const UPSTREAM_WINDOW_BYTES: (u32, u32) = (24 * 1024, 256 * 1024);

/// So many are few.
pub(crate) const WIDE_STREAMS_MAX: u32 = 4;

/// Streams of one connection to an endpoint; fewer where the endpoint wants it.
pub(crate) const UPSTREAM_STREAMS_MAX: u32 = 100;

/// What waits in an HTTP/2 stream to be sent.
pub(crate) const HTTP2_SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Streams that we reset for their faults before a downstream connection is given up.
pub(crate) const HTTP2_LOCAL_RESETS_MAX: usize = 64;

/// HTTP/2 connections of one worker to one endpoint. With 100 streams each that is far above any breaker.
pub(crate) const HTTP2_CONNECTIONS_PER_ENDPOINT_MAX: usize = 8;

/// A request waits for a connection for this long at most, whatever its route allows: a caller that waits longer has gone.
pub(crate) const PENDING_MAX: Duration = Duration::from_secs(60);

/// A caller's first message under TLS: one record. With post-quantum keys and long names it has some 2 KiB.
pub(crate) const CLIENT_HELLO_BYTES_MAX: usize = 5 + 16 * 1024;

/// Bytes given to TLS before they have to be out: what two records carry, so that a slow peer cannot make us encrypt far
/// ahead.
pub(crate) const TLS_WRITE_BYTES_MAX: usize = 32 * 1024;

/// Sessions that callers may take up again, per certificate in use; the oldest goes. Each has some hundred bytes.
pub(crate) const TLS_SESSIONS_MAX: usize = 4096;

/// A file with certificates or a key. The bundle of a system has some 250 KiB.
pub(crate) const PEM_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How often such files are read again.
pub(crate) const PEM_FILES_EVERY: Duration = Duration::from_secs(1);

fn connections_max() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    // No limit at all: a million connections are 12 GiB of kernel memory, which another limit will meet first.
    limit.current.map_or(1_000_000, |descriptors| (descriptors / 2).saturating_sub(100).max(16))
}
