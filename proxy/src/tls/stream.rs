//! Bytes under encryption, with the manners of a socket.
//!
//! # Why a write is kept until it is out
//! A TLS library takes bytes and may keep them: "written" then means little, and whoever forgets to flush leaves the last
//! record behind. A socket's "written" means that the kernel has them. So a write answers only when its record has been
//! given to the kernel; until then it is pending, and must be repeated with the same bytes, which is what all writers of
//! this proxy do.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::limits::TLS_WRITE_BYTES_MAX;
use crate::wire::socket::Rewound;

/// An encrypted connection.
#[derive(Debug)]
pub(crate) struct Encrypted {
    stream: TlsStream<Rewound<TcpStream>>,
    /// Bytes that the library has and the kernel has not yet.
    accepted: usize,
}

impl Encrypted {
    pub(super) fn new(stream: TlsStream<Rewound<TcpStream>>) -> Self {
        Self { stream, accepted: 0 }
    }

    /// What both ends agreed to speak.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref().0.inner()
    }

    /// Whether something has come while nothing was expected.
    pub(crate) fn is_stirring(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // The library wants nothing from the socket while it holds bytes that nobody has read.
        !self.stream.get_ref().1.wants_read() || self.socket().poll_read_ready(&mut cx).is_ready()
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }

    /// Ready when the bytes are out, as on a socket.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.accepted == 0 {
            let some = &bytes[..bytes.len().min(TLS_WRITE_BYTES_MAX)];
            if some.is_empty() {
                return Poll::Ready(Ok(0));
            }
            self.accepted = ready!(Pin::new(&mut self.stream).poll_write(cx, some))?;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.accepted).min(bytes.len())))
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// For libraries, which flush.
    pub(crate) fn stream(&mut self) -> Pin<&mut TlsStream<Rewound<TcpStream>>> {
        Pin::new(&mut self.stream)
    }
}
