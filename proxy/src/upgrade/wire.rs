//! Frames over a unix socket, with descriptors beside them (SCM_RIGHTS).
//!
//! A frame is a length of four bytes, then JSON. The descriptors travel with its first byte; the kernel never joins the bytes
//! of two such messages into one read, so whoever reads a frame from its beginning has its descriptors and no others.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::message::Message;

/// A frame of [`DESCRIPTORS_MAX`] descriptions takes some 20 KiB.
const FRAME_BYTES_MAX: usize = 256 * 1024;

/// Descriptors beside one frame; the kernel's own limit is 253.
pub(crate) const DESCRIPTORS_MAX: usize = 128;

/// Says one word within `limit`.
pub(super) async fn say(
    stream: &UnixStream,
    message: &Message,
    descriptors: &[BorrowedFd<'_>],
    limit: Duration,
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(|_| invalid("a frame that is too long"))?;
    let frame = [&length.to_be_bytes()[..], &text].concat();
    let saying = async {
        let mut sent = 0;
        while sent < frame.len() {
            // The descriptors are away with the first byte.
            let beside = if sent == 0 { descriptors } else { &[] };
            sent += stream.async_io(Interest::WRITABLE, || send(stream, &frame[sent..], beside)).await?;
        }
        Ok(())
    };
    tokio::time::timeout(limit, saying).await.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Hears one word within `limit`. The end of the stream before a word is [`io::ErrorKind::UnexpectedEof`].
pub(super) async fn hear(stream: &UnixStream, limit: Duration) -> io::Result<(Message, Vec<OwnedFd>)> {
    let hearing = async {
        let mut descriptors = Vec::new();
        let mut length = [0; 4];
        fill(stream, &mut length, &mut descriptors).await?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(invalid("a frame that is too long"));
        }
        let mut text = vec![0; length];
        fill(stream, &mut text, &mut descriptors).await?;
        let message =
            serde_json::from_slice(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok((message, descriptors))
    };
    tokio::time::timeout(limit, hearing).await.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn fill(stream: &UnixStream, bytes: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        match stream.async_io(Interest::READABLE, || receive(stream, rest, descriptors)).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(())
}

fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(invalid("too many descriptors for one frame"));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)?)
}

fn receive(stream: &UnixStream, bytes: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > DESCRIPTORS_MAX {
        return Err(invalid("too many descriptors in one frame, or no room for them"));
    }
    Ok(received.bytes)
}

pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::fd::AsFd as _;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn descriptors_arrive_with_their_own_frame() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"kept").unwrap();

        say(&here, &Message::Ready, &[], LIMIT).await.unwrap();
        say(&here, &Message::Go, &[file.as_fd()], LIMIT).await.unwrap();
        say(&here, &Message::Accepting, &[], LIMIT).await.unwrap();

        assert!(matches!(hear(&there, LIMIT).await.unwrap(), (Message::Ready, none) if none.is_empty()));
        let (second, descriptors) = hear(&there, LIMIT).await.unwrap();
        assert_eq!((second, descriptors.len()), (Message::Go, 1));
        assert!(matches!(hear(&there, LIMIT).await.unwrap(), (Message::Accepting, none) if none.is_empty()));
        let mut same = File::from(descriptors.into_iter().next().unwrap());
        let mut text = String::new();
        same.rewind().unwrap();
        same.read_to_string(&mut text).unwrap();
        assert_eq!(text, "kept");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_limit() {
        let (_here, there) = UnixStream::pair().unwrap();

        assert_eq!(hear(&there, LIMIT).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused_and_the_end_of_the_stream_is_told_from_it() {
        for (bytes, expected) in [
            (&b"\xff\xff\xff\xff"[..], io::ErrorKind::InvalidData),
            (b"\0\0\0\x02{]", io::ErrorKind::InvalidData),
            // The word ends too early, not the stream.
            (b"\0\0\0\x02{\"", io::ErrorKind::InvalidData),
            (b"\0\0\0\x0f{\"word\":\"what\"}", io::ErrorKind::InvalidData),
            (b"\0\0\0\x10{\"word\"", io::ErrorKind::UnexpectedEof),
            (b"", io::ErrorKind::UnexpectedEof),
        ] {
            let (mut here, there) = UnixStream::pair().unwrap();
            here.write_all(bytes).await.unwrap();
            drop(here);

            assert_eq!(hear(&there, LIMIT).await.unwrap_err().kind(), expected, "{bytes:?}");
        }
    }
}
