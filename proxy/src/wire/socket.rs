//! A connected socket and its two directions.
//!
//! One type for everything that carries bytes, so that what speaks a protocol does not know what it speaks over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// A connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
}

/// Its incoming direction.
pub(crate) struct Reading<'a>(ReadHalf<'a>);

/// Its outgoing direction.
pub(crate) struct Writing<'a>(WriteHalf<'a>);

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // A mesh carries small messages that somebody waits for; Nagle would hold the second one back. A socket that
        // refuses the option works all the same.
        drop(stream.set_nodelay(true));
        Self { stream }
    }

    /// Both directions, usable at the same time.
    pub(crate) fn split(&mut self) -> (Reading<'_>, Writing<'_>) {
        let (reading, writing) = self.stream.split();
        (Reading(reading), Writing(writing))
    }

    /// Whether the peer has said something while nothing was expected: its end, an error, or stray bytes. Asks the
    /// runtime's memory of the socket, not the kernel.
    pub(crate) fn is_stirring(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.stream.poll_read_ready(&mut cx).is_ready()
    }

    /// The same, asking the kernel: for requests that must not be sent twice.
    pub(crate) fn is_stirring_now(&self) -> bool {
        let mut byte = [0_u8; 1];
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.stream, &mut byte, flags) {
            Err(error) => error != rustix::io::Errno::AGAIN,
            Ok(_) => true,
        }
    }

    /// The peer shall see a reset, not an end.
    pub(crate) fn reset_on_close(&self) {
        // A socket that refuses is closed the ordinary way.
        drop(socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)));
    }

    pub(crate) fn into_inner(self) -> TcpStream {
        self.stream
    }
}

impl Reading<'_> {
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        match Pin::new(&mut self.0).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Writing<'_> {
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    /// Says that nothing more will come; the other direction stays open.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A stream whose first bytes have been read already, for a library that wants to read them itself.
#[derive(Debug)]
pub(crate) struct Rewound {
    first: Vec<u8>,
    given: usize,
    stream: TcpStream,
}

impl Rewound {
    pub(crate) fn new(first: Vec<u8>, socket: Socket) -> Self {
        Self { first, given: 0, stream: socket.into_inner() }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = &this.first[this.given..];
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        this.given += count;
        if this.given == this.first.len() {
            this.first = Vec::new();
            this.given = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
