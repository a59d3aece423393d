//! The tasks of a connection's streams, one each.
//!
//! # Why a task each
//! Streams wait for different endpoints, and none for another one. A panic in one of them is a fault of ours that some request has
//! found: it must cost that request, and neither the others of its connection nor those of the worker.

use std::task::{Context, Poll, ready};

use tokio::task::{JoinError, JoinSet};
use tracing::error;

use crate::telemetry::WorkerCells;

/// The streams that are open on a connection. They end with it.
#[derive(Debug, Default)]
pub(super) struct Streams {
    tasks: JoinSet<()>,
}

impl Streams {
    pub(super) fn begin(&mut self, stream: impl Future<Output = ()> + 'static) {
        // Boxed, because the runtime moves what it runs when it begins and when it ends.
        self.tasks.spawn_local(Box::pin(stream));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Ready when one has ended.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>, cells: &WorkerCells) -> Poll<()> {
        let Some(ended) = ready!(self.tasks.poll_join_next(cx)) else { return Poll::Pending };
        count(ended, cells);
        Poll::Ready(())
    }

    /// Waits for all of them.
    pub(super) async fn end(&mut self, cells: &WorkerCells) {
        while let Some(ended) = self.tasks.join_next().await {
            count(ended, cells);
        }
    }
}

/// What a task that panicked held is dropped, by which its caller sees a reset.
fn count(ended: Result<(), JoinError>, cells: &WorkerCells) {
    if ended.is_err_and(|error| error.is_panic()) {
        cells.panics.increment();
        error!("a stream's task panicked; the stream is reset");
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::Bytes;
    use http::{Request, Response};
    use tokio::io::DuplexStream;
    use tokio::task::LocalSet;

    use super::*;
    use crate::config::registry::Registry;

    /// Panics for `/panic`, and answers everything else: the way in which a connection's task has its streams served.
    async fn serve(socket: DuplexStream, registry: &Registry) {
        let mut connection = h2::server::handshake(socket).await.expect("a client that speaks HTTP/2");
        let mut streams = Streams::default();
        let cells = registry.cells.of(0);
        loop {
            let accepted = poll_fn(|cx| {
                while streams.poll_ended(cx, cells).is_ready() {}
                connection.poll_accept(cx)
            });
            let Some(accepted) = accepted.await else { break };
            let (request, mut respond) = accepted.expect("an orderly client");
            streams.begin(async move {
                assert_ne!(request.uri().path(), "/panic", "on purpose");
                let mut body = respond.send_response(Response::new(()), false).expect("a head");
                body.send_data(Bytes::from_static(b"served"), true).expect("a body");
            });
        }
        streams.end(cells).await;
    }

    #[tokio::test]
    async fn a_panic_resets_its_own_stream_and_nothing_else() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let registry = Registry::new(1);

        let asked = async {
            let (mut client, connection) = h2::client::handshake(near).await.expect("a server");
            let driven = tokio::task::spawn_local(connection);
            let mut ask = |path: &str| {
                let request = Request::get(format!("http://reviews{path}")).body(()).expect("a request");
                let (answer, _) = client.send_request(request, true).expect("room for a stream");
                async { answer.await.map(|answer| answer.status()) }
            };
            let together = tokio::join!(ask("/before"), ask("/panic"), ask("/beside"));
            let after = ask("/after").await;
            drop(client);
            driven.await.expect("no panic here").expect("an orderly end");
            (together, after)
        };
        let (((before, panicked, beside), after), ()) =
            LocalSet::new().run_until(async { tokio::join!(asked, serve(far, &registry)) }).await;

        assert!(panicked.expect_err("no answer").is_reset(), "the caller sees a reset");
        for answer in [before, beside, after] {
            assert_eq!(answer.expect("served"), 200);
        }
        assert_eq!(registry.cells.of(0).panics.value(), 1);
    }
}
