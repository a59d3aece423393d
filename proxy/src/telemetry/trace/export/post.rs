//! Posts bodies to one URL over HTTP/1.1, on a connection that is kept from one batch to the next.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Untaken;

/// Of an answer, which says at most which spans were turned down.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Post {
    url: Uri,
    content_type: &'static str,
    connection: Option<Connection>,
}

/// Dropping it ends the task.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Post {
    pub(super) fn new(url: Uri, content_type: &'static str) -> Self {
        Self { url, content_type, connection: None }
    }

    /// The body of a good answer. A connection that had an error, or whose call was given up, is not used again.
    pub(super) async fn send(&mut self, body: Bytes) -> Result<Bytes, Untaken> {
        let mut connection = match self.connection.take().filter(|connection| connection.sender.is_ready()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let answer = self.exchange(&mut connection, body).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Connection, Untaken> {
        let later = |error: &dyn std::error::Error| Untaken::Later(error.to_string());
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.url.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((host, port)).await.map_err(|error| later(&error))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| later(&error))?;
        // What goes wrong with it is seen by whoever sends.
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, task })
    }

    async fn exchange(&self, connection: &mut Connection, body: Bytes) -> Result<Bytes, Untaken> {
        let target = self.url.path_and_query().map_or("/", |target| target.as_str());
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let request = Request::post(target).header(HOST, authority).header(CONTENT_TYPE, self.content_type);
        let request = request.body(Full::new(body)).map_err(|error| Untaken::Never(error.to_string()))?;
        let answer = connection.sender.send_request(request).await;
        let answer = answer.map_err(|error| Untaken::Later(error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Untaken::Later(error.to_string()))?.to_bytes();
        match status {
            status if status.is_success() => Ok(body),
            // OTLP, "Failures": these may be over the next time.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Untaken::Later(format!("the collector answered {status}"))),
            status => Err(Untaken::Never(format!("the collector answered {status}"))),
        }
    }
}
