//! How much the kernel takes for a peer at once.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io;
use rustix::net::sockopt::socket_send_buffer_size;
use tokio::net::TcpStream;

use super::buffer::BLOCK_BYTES;

/// Output that was held back may be sent before what is read, and the kernel needs some room around both.
const HELD_BACK_BYTES: usize = BLOCK_BYTES;

/// For how many reads there is room in what the kernel keeps for this socket's peer, [`HELD_BACK_BYTES`] aside. A stream is
/// writable while what waits in it is at most twice what is free (`sk_stream_is_writeable` of Linux), which is then a third
/// of its buffer or more. The numbers themselves (`SO_MEMINFO`) are not to be had without unsafe code.
pub(super) fn reads(stream: &TcpStream) -> io::Result<usize> {
    let third = socket_send_buffer_size(stream)? / 3;
    let reads = third.saturating_sub(HELD_BACK_BYTES) / BLOCK_BYTES;
    if reads == 0 {
        return Ok(0);
    }
    let mut polled = [PollFd::new(stream, PollFlags::OUT)];
    poll(&mut polled, Some(&Timespec::default()))?;
    Ok(if polled[0].revents().is_empty() { 0 } else { reads })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_there_is_said_to_be_room_for_is_taken_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let mut far = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connects");
        let (near, _) = listener.accept().await.expect("accepts");
        let block = [b'x'; BLOCK_BYTES];
        let mut sent = 0;
        near.writable().await.expect("open");

        while let reads @ 1.. = reads(&near).expect("a socket says that") {
            for _ in 0..reads {
                assert_eq!(near.try_write(&block).ok(), Some(BLOCK_BYTES), "after {sent} bytes");
                sent += BLOCK_BYTES;
            }
        }
        assert!(sent > 0, "there was none to begin with");

        let mut read = vec![0; sent];
        far.read_exact(&mut read).await.expect("reads");
        assert!(reads(&near).expect("a socket says that") > 0, "{sent} bytes were read");
    }
}
