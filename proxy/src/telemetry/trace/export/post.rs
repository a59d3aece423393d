//! Posts bodies to one URL over HTTP/1.1, on a connection that is kept from one batch to the next.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Untaken;

/// Of an answer, which says at most which spans were turned down. What a longer one says is not heard, and its connection is not used again.
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
        // A batch that was taken must not be offered again because somebody says too much about it.
        let Some(answer) = answer else { return Ok(Bytes::new()) };
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

    /// `None`: the answer is good, and longer than anybody reads.
    async fn exchange(&self, connection: &mut Connection, body: Bytes) -> Result<Option<Bytes>, Untaken> {
        let target = self.url.path_and_query().map_or("/", |target| target.as_str());
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let request = Request::post(target).header(HOST, authority).header(CONTENT_TYPE, self.content_type);
        let request = request.body(Full::new(body)).map_err(|error| Untaken::Never(error.to_string()))?;
        let answer = connection.sender.send_request(request).await;
        let answer = answer.map_err(|error| Untaken::Later(error.to_string()))?;
        let status = answer.status();
        let body = match Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await {
            Ok(body) => Some(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => None,
            Err(error) => return Err(Untaken::Later(error.to_string())),
        };
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A collector that gives one answer.
    async fn collector(head: &'static str, body_bytes: usize) -> (Uri, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap()).parse().unwrap();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"spans") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request is cut off");
            }
            let answer = format!("{head}\r\ncontent-length: {body_bytes}\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Who has enough goes away in the middle of it.
            drop(stream.write_all(&vec![b' '; body_bytes]).await);
            // Until the other side closes.
            while matches!(stream.read_buf(&mut request).await, Ok(read) if read > 0) {}
        });
        (url, answering)
    }

    #[tokio::test]
    async fn a_batch_is_taken_whatever_the_collector_says_about_it_and_the_connection_of_too_long_an_answer_is_closed()
    {
        let (url, answering) = collector("HTTP/1.1 200 OK", 3 * ANSWER_BYTES_MAX).await;
        let mut post = Post::new(url, "application/json");

        let taken = post.send(Bytes::from_static(b"spans")).await;

        assert!(taken.is_ok_and(|answer| answer.is_empty()));
        assert!(post.connection.is_none());
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_is_read_is_handed_on_and_its_connection_kept() {
        let (url, answering) = collector("HTTP/1.1 200 OK", ANSWER_BYTES_MAX).await;
        let mut post = Post::new(url, "application/json");

        let taken = post.send(Bytes::from_static(b"spans")).await;

        assert!(taken.is_ok_and(|answer| answer.len() == ANSWER_BYTES_MAX));
        assert!(post.connection.is_some());
        drop(post);
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn a_long_refusal_is_the_refusal_that_it_is() {
        for (head, is_final) in [("HTTP/1.1 400 Bad Request", true), ("HTTP/1.1 503 Service Unavailable", false)] {
            let (url, answering) = collector(head, 3 * ANSWER_BYTES_MAX).await;
            let mut post = Post::new(url, "application/json");

            let untaken = post.send(Bytes::from_static(b"spans")).await.unwrap_err();

            assert_eq!(matches!(untaken, Untaken::Never(_)), is_final, "{head}");
            answering.await.unwrap();
        }
    }
}
