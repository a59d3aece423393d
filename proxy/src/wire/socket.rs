//! A connected socket and its two directions.
//!
//! One type for everything that carries bytes, so that what speaks a protocol does not know what it speaks over.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::room;
use crate::tls::stream::Encrypted;

/// A connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
}

/// What a connection carries its bytes over. Closed, so that plaintext pays a comparison for encryption and no more.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    /// Boxed, because a connection without encryption should not have the size of one with it.
    Encrypted(Box<RefCell<Encrypted>>),
}

/// Its incoming direction.
pub(crate) enum Reading<'a> {
    Plain {
        half: ReadHalf<'a>,
        /// The last read filled all the room it had, so the next is likely to find more.
        flowing: bool,
    },
    Encrypted(&'a RefCell<Encrypted>),
}

/// Its outgoing direction.
pub(crate) enum Writing<'a> {
    Plain(WriteHalf<'a>),
    Encrypted(&'a RefCell<Encrypted>),
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // A mesh carries small messages that somebody waits for; Nagle would hold the second one back. A socket that
        // refuses the option works all the same.
        drop(stream.set_nodelay(true));
        Self { stream: Stream::Plain(stream) }
    }

    /// A connection whose ends have shaken hands.
    pub(crate) fn encrypted(stream: Encrypted) -> Self {
        Self { stream: Stream::Encrypted(Box::new(RefCell::new(stream))) }
    }

    /// Both directions, usable at the same time.
    pub(crate) fn split(&mut self) -> (Reading<'_>, Writing<'_>) {
        match &mut self.stream {
            Stream::Plain(stream) => {
                let (reading, writing) = stream.split();
                (Reading::Plain { half: reading, flowing: false }, Writing::Plain(writing))
            }
            Stream::Encrypted(stream) => (Reading::Encrypted(stream), Writing::Encrypted(stream)),
        }
    }

    /// What both ends agreed to speak under encryption.
    pub(crate) fn protocol(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Encrypted(stream) => stream.borrow().protocol().map(<[u8]>::to_vec),
        }
    }

    /// Whether the peer has said something while nothing was expected: its end, an error, or stray bytes. Asks the
    /// runtime's memory of the socket, not the kernel.
    pub(crate) fn is_stirring(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => has_arrived(stream),
            Stream::Encrypted(stream) => stream.borrow().is_stirring(),
        }
    }

    /// The same, asking the kernel: for requests that must not be sent twice.
    pub(crate) fn is_stirring_now(&self) -> bool {
        self.on_wire(|stream| {
            let mut byte = [0_u8; 1];
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            match rustix::net::recv(stream, &mut byte, flags) {
                Err(error) => error != rustix::io::Errno::AGAIN,
                Ok(_) => true,
            }
        })
    }

    /// The peer shall see a reset, not an end.
    pub(crate) fn reset_on_close(&self) {
        self.on_wire(|stream| {
            // A socket that refuses is closed the ordinary way.
            drop(socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)));
        });
    }

    fn on_wire<T>(&self, act: impl FnOnce(&TcpStream) -> T) -> T {
        match &self.stream {
            Stream::Plain(stream) => act(stream),
            Stream::Encrypted(stream) => act(stream.borrow().socket()),
        }
    }

    pub(crate) fn into_inner(self) -> Stream {
        self.stream
    }

    /// `None`: it is encrypted already.
    pub(crate) fn into_plain(self) -> Option<TcpStream> {
        match self.stream {
            Stream::Plain(stream) => Some(stream),
            Stream::Encrypted(_) => None,
        }
    }
}

/// Whether the runtime knows of something to read, be it the end.
fn has_arrived(stream: &TcpStream) -> bool {
    stream.try_io(Interest::READABLE, || Ok(())).is_ok()
}

impl Reading<'_> {
    /// Ready when a read may find something; costs a third of a read that finds nothing.
    pub(crate) fn poll_arrived(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain { half, .. } if has_arrived(half.as_ref()) => Poll::Ready(()),
            Self::Plain { half, .. } => half.as_ref().poll_read_ready(cx).map(drop),
            // Only decryption knows.
            Self::Encrypted(_) => Poll::Ready(()),
        }
    }

    /// Whether something has arrived, as far as is known, that can be looked at and left where it is.
    pub(crate) fn can_show(&self) -> bool {
        matches!(self, Self::Plain { half, .. } if has_arrived(half.as_ref()))
    }

    /// Copies what has arrived, and leaves it in the kernel; where that cannot be done, reads it.
    pub(crate) fn poll_peek(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain { half, .. } => half.as_ref().poll_peek(cx, &mut ReadBuf::new(into)),
            Self::Encrypted(_) => self.poll_read(cx, into),
        }
    }

    /// Takes what was looked at out of the kernel. `seen` are those bytes: Linux forgets them without copying (tcp(7), `MSG_TRUNC`), and
    /// whoever copies them all the same finds them where they go.
    pub(crate) fn take_seen(&self, seen: &mut [u8]) -> io::Result<()> {
        let Self::Plain { half, .. } = self else { return Ok(()) };
        let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        let mut taken = 0;
        while taken < seen.len() {
            match rustix::net::recv(half.as_ref(), &mut seen[taken..], flags)?.1 {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => taken += count,
            }
        }
        Ok(())
    }

    /// Nothing is left of what had arrived. A read that fills only a part of its buffer says that to the runtime by itself.
    pub(crate) fn set_drained(&self) {
        if let Self::Plain { half, .. } = self {
            let nothing: io::Result<()> =
                half.as_ref().try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
            drop(nothing);
        }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Self::Plain { half, flowing: flowing @ false } = self {
            let room = into.len();
            let count = ready!(poll_receive(half.as_ref(), cx, into))?;
            *flowing = count == room;
            return Poll::Ready(Ok(count));
        }
        let mut buffer = ReadBuf::new(into);
        ready!(match self {
            // The runtime counts these, and gives other connections a turn in time.
            Self::Plain { half, .. } => Pin::new(half).poll_read(cx, &mut buffer),
            Self::Encrypted(stream) => stream.borrow_mut().poll_read(cx, &mut buffer),
        })?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// Reads once, without what the runtime does around a read: a third of it.
fn poll_receive(stream: &TcpStream, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        let mut received = None;
        let tried = stream.try_io(Interest::READABLE, || {
            let (count, _) = rustix::net::recv(stream, &mut *into, RecvFlags::empty())?;
            received = Some(count);
            as_far_as_it_goes(count, into.len())
        });
        match (received, tried) {
            (Some(count), _) => return Poll::Ready(Ok(count)),
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
            (None, _) => ready!(stream.poll_read_ready(cx))?,
        }
    }
}

/// Writes once, likewise.
fn poll_transmit(stream: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        let mut sent = None;
        let tried = stream.try_io(Interest::WRITABLE, || {
            let count = rustix::net::send(stream, bytes, SendFlags::NOSIGNAL)?;
            sent = Some(count);
            as_far_as_it_goes(count, bytes.len())
        });
        match (sent, tried) {
            (Some(count), _) => return Poll::Ready(Ok(count)),
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
            (None, _) => ready!(stream.poll_write_ready(cx))?,
        }
    }
}

/// A part of what could have been moved says that the kernel has no more, or no more room, until it says otherwise: the runtime
/// then need not be told by a further call. Its own reads and writes do the same.
fn as_far_as_it_goes(count: usize, wanted: usize) -> io::Result<()> {
    if 0 < count && count < wanted { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

impl Writing<'_> {
    /// Pending writes are repeated with the same bytes, be it with more behind them.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(half) => poll_transmit(half.as_ref(), cx, bytes),
            Self::Encrypted(stream) => stream.borrow_mut().poll_write(cx, bytes),
        }
    }

    /// Pending while the kernel has no room. Asks the runtime's memory of the socket.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            // What is wrong with a socket is found by writing.
            Self::Plain(half) => half.as_ref().poll_write_ready(cx).map(drop),
            Self::Encrypted(_) => Poll::Ready(()),
        }
    }

    /// For how many reads of a block there is room for certain. What does not say is taken to have room for one.
    pub(crate) fn room(&self) -> usize {
        match self {
            Self::Plain(half) => room::reads(half.as_ref()).unwrap_or(1),
            // What is read for it is encrypted before it is written, and must be in hand for that.
            Self::Encrypted(_) => usize::MAX,
        }
    }

    /// Says that nothing more will come; the other direction stays open.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(half) => Pin::new(half).poll_shutdown(cx),
            Self::Encrypted(stream) => stream.borrow_mut().poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Encrypted(stream) => stream.get_mut().stream().poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Encrypted(stream) => stream.get_mut().stream().poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Encrypted(stream) => stream.get_mut().stream().poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        // Both are.
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Encrypted(stream) => stream.get_mut().stream().poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Encrypted(stream) => stream.get_mut().stream().poll_shutdown(cx),
        }
    }
}

/// A stream whose first bytes have been read already, for a library that wants to read them itself.
#[derive(Debug)]
pub(crate) struct Rewound<S = Stream> {
    first: Vec<u8>,
    given: usize,
    stream: S,
}

impl<S> Rewound<S> {
    pub(crate) fn new(first: Vec<u8>, stream: S) -> Self {
        Self { first, given: 0, stream }
    }

    pub(crate) fn inner(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Both ends of a connection.
    pub(in crate::wire) async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let far = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connects");
        let (near, _) = listener.accept().await.expect("accepts");
        (Socket::new(near), far)
    }

    #[tokio::test]
    async fn what_arrives_after_a_read_that_took_everything_is_read() {
        let (mut near, mut far) = pair().await;
        let (mut reading, _) = near.split();

        for sent in [b"one".as_slice(), b"two", b"and three"] {
            far.write_all(sent).await.expect("writes");
            let mut into = [0; 64];
            let count = poll_fn(|cx| reading.poll_read(cx, &mut into)).await.expect("reads");

            assert_eq!(&into[..count], sent);
        }
        drop(far);
        assert_eq!(poll_fn(|cx| reading.poll_read(cx, &mut [0; 64])).await.expect("ends"), 0);
    }

    #[tokio::test]
    async fn a_peer_that_fills_every_read_lets_others_have_a_turn() {
        const PIECES: usize = 1_024;
        let (mut near, mut far) = pair().await;
        far.write_all(&[b'x'; PIECES * 64]).await.expect("fits into the kernel's buffers");
        let (mut reading, _) = near.split();
        let mut read = 0;

        // Until it is told to wait, though there is more.
        poll_fn(|cx| {
            while let Poll::Ready(count) = reading.poll_read(cx, &mut [0; 64]) {
                read += count.expect("reads");
            }
            Poll::Ready(())
        })
        .await;

        assert!(read < PIECES * 64 / 2, "{read} bytes in one turn");
    }

    #[tokio::test]
    async fn a_writer_waits_for_a_peer_that_does_not_read() {
        let (mut near, mut far) = pair().await;
        let (_, mut writing) = near.split();
        let block = vec![b'x'; 256 * 1024];
        let mut sent = 0;
        poll_fn(|cx| {
            while let Poll::Ready(count) = writing.poll_write(cx, &block) {
                sent += count.expect("writes");
            }
            Poll::Ready(())
        })
        .await;

        let read = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.map(|_| all.len())
        });
        sent += poll_fn(|cx| writing.poll_write(cx, b"more")).await.expect("writes when there is room again");
        poll_fn(|cx| writing.poll_shutdown(cx)).await.expect("closes");
        assert_eq!(read.await.expect("runs").expect("reads"), sent);
    }
}
