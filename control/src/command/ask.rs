//! Asking the control plane's API, as any other tool would.
//!
//! # Why over HTTP
//! `tidegate status` and the demo could not look into the serving process even if they wanted to. What they show is what
//! every user of the API can have.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::progress::{Reader, during};

/// Ten thousand proxies with their states.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("{0}")]
    Connect(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
    #[error("{0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("it answers {0}: {1}")]
    Refused(StatusCode, String),
    #[error("its answer is not what was asked for: {0}")]
    Form(#[from] serde_json::Error),
}

/// As [`get`], for who waits before a terminal.
pub(super) async fn get_shown(api: &str, path: &str, patience: Duration, reader: Reader) -> Result<Bytes, AskError> {
    during(&waiting_for(api), reader, get(api, path, patience)).await
}

/// What a command does meanwhile.
pub(super) fn waiting_for(api: &str) -> String {
    format!("waiting for the control plane at {api}")
}

/// `GET PATH` of the API at `api`, whole, within `patience`.
pub(crate) async fn get(api: &str, path: &str, patience: Duration) -> Result<Bytes, AskError> {
    timeout(patience, exchange(api, path)).await.unwrap_or(Err(AskError::Timeout(patience)))
}

async fn exchange(api: &str, path: &str) -> Result<Bytes, AskError> {
    let stream = TcpStream::connect(api).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header("host", api).body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(AskError::Body)?;
        if status != StatusCode::OK {
            let why = String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned();
            return Err(AskError::Refused(status, why));
        }
        Ok(body.to_bytes())
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    // The connection moves the bytes; if it ends first, the exchange sees that and ends with an error.
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error.into()),
        },
    }
}
