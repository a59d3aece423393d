//! The running process's side.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::MemfdFlags;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::message::{Described, Message, PROTOCOL, Role};
use super::place::is_same_user;
use super::wire::{self, hear, say};
use super::{READY_MAX, WORD_MAX};
use crate::config::watch::Command;

/// After a failed accept, which is mostly a lack of descriptors that a moment may mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A descriptor for the new process.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) role: Role,
    pub(crate) key: Arc<str>,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) descriptor: OwnedFd,
}

/// All that goes to the new process but the doors of this one.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) sockets: Vec<Parcel>,
    /// The configuration in use, as it is kept on disk.
    pub(crate) configuration: Vec<u8>,
}

/// What the conversation asks of the control loop.
#[derive(Debug)]
pub(crate) enum Giving {
    /// From now on nothing may change. Answered with what there is.
    Begin { reply: oneshot::Sender<io::Result<Offer>> },
    /// There will be no new process after all.
    Abandoned,
    /// The new process accepts: leave. Answered when no socket accepts here any more.
    Leave { reply: oneshot::Sender<()> },
}

/// What the other side is told of this process, and what it gets beside the listeners.
#[derive(Debug)]
pub(crate) struct Giver {
    pub(crate) node: Arc<str>,
    pub(crate) admin: Option<(SocketAddr, OwnedFd)>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
}

/// Waits for new processes until one has taken over.
pub(crate) async fn serve(listener: UnixListener, giver: Giver) {
    let Some(taken_over) = wait_for_successor(&listener, &giver).await else { return };
    // From here on whoever dials is the new process's.
    drop(listener);
    let (reply, left) = oneshot::channel();
    if giver.commands.send(Command::Upgrade(Giving::Leave { reply })).is_ok() && left.await.is_ok() {
        // A new process that does not listen any more goes by its deadline.
        say(&taken_over, &Message::Released, &[], WORD_MAX).await.ok();
    }
}

/// One conversation after the other; who comes meanwhile is told so.
async fn wait_for_successor(listener: &UnixListener, giver: &Giver) -> Option<UnixStream> {
    loop {
        let (first, process) = next(listener).await;
        info!(process, "a new process asks for the listening sockets");
        let conversation = converse(first, process, listener, giver);
        tokio::pin!(conversation);
        let ended = loop {
            tokio::select! {
                ended = &mut conversation => break ended,
                (other, process) = next(listener) => {
                    let reason = "another process is taking over already".to_owned();
                    info!(process, reason, "upgrade refused");
                    say(&other, &Message::Refused { reason }, &[], WORD_MAX).await.ok();
                }
            }
        };
        match ended {
            Ok(taken_over) => {
                info!(process, "a new process has taken over");
                return Some(taken_over);
            }
            Err(error) => {
                warn!(process, %error, "the new process has not taken over; serving on");
                giver.commands.send(Command::Upgrade(Giving::Abandoned)).ok()?;
            }
        }
    }
}

async fn next(listener: &UnixListener) -> (UnixStream, i32) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_same_user(&stream) => {
                let process = stream.peer_cred().ok().and_then(|peer| peer.pid()).unwrap_or_default();
                return (stream, process);
            }
            Ok(_) => warn!("somebody of another user asked for the listening sockets; refused"),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// From the first word until the new process accepts.
async fn converse(stream: UnixStream, process: i32, listener: &UnixListener, giver: &Giver) -> io::Result<UnixStream> {
    let (hello, _) = hear(&stream, WORD_MAX).await?;
    if let Err(reason) = acceptable(&hello, &giver.node) {
        say(&stream, &Message::Refused { reason: reason.clone() }, &[], WORD_MAX).await?;
        return Err(io::Error::other(reason));
    }
    let (reply, offer) = oneshot::channel();
    let ending = || io::Error::other("this process is ending");
    giver.commands.send(Command::Upgrade(Giving::Begin { reply })).map_err(|_| ending())?;
    let offer = offer.await.map_err(|_| ending())??;
    hand_over(&stream, offer, listener, giver).await?;
    match hear(&stream, READY_MAX).await {
        Ok((Message::Ready, _)) => {}
        Ok(_) => return Err(wire::invalid("a word that does not follow")),
        Err(error) => {
            let reason = format!("not ready within {READY_MAX:?}");
            // It may be gone; then nobody needs the reason.
            say(&stream, &Message::Refused { reason }, &[], WORD_MAX).await.ok();
            return Err(error);
        }
    }
    say(&stream, &Message::Go, &[], WORD_MAX).await?;
    match hear(&stream, WORD_MAX).await {
        Ok((Message::Accepting, _)) => Ok(stream),
        Ok(_) => Err(wire::invalid("a word that does not follow")),
        // It was told to go and it is there: two processes that both mean to stay would be worse than a late word.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            warn!(process, "the new process does not say that it accepts; taken for granted");
            Ok(stream)
        }
        Err(error) => Err(error),
    }
}

/// Whether the process that says this may have our sockets.
fn acceptable(hello: &Message, ours: &str) -> Result<(), String> {
    match hello {
        Message::Hello { protocol, .. } if *protocol != PROTOCOL => Err(format!(
            "the new process speaks version {protocol} of the upgrade protocol, the running one {PROTOCOL}"
        )),
        Message::Hello { node, .. } if **node != *ours => {
            Err(format!("the running process is the proxy of {ours:?}, the new one that of {node:?}"))
        }
        Message::Hello { process, version, .. } => {
            info!(process, version, "upgrade begun");
            Ok(())
        }
        Message::Sockets { .. }
        | Message::Ready
        | Message::Go
        | Message::Accepting
        | Message::Released
        | Message::Refused { .. } => Err("a word that does not come first".to_owned()),
    }
}

async fn hand_over(stream: &UnixStream, offer: Offer, listener: &UnixListener, giver: &Giver) -> io::Result<()> {
    let mut parcels = offer.sockets;
    let door = |role, address, descriptor| Parcel { role, key: "".into(), address, descriptor };
    parcels.push(door(Role::Upgrade, None, listener.as_fd().try_clone_to_owned()?));
    parcels.push(door(Role::Configuration, None, in_memory(&offer.configuration)?.into()));
    if let Some((address, admin)) = &giver.admin {
        parcels.push(door(Role::Admin, Some(*address), admin.try_clone()?));
    }
    let mut frames = parcels.chunks(wire::DESCRIPTORS_MAX).peekable();
    while let Some(frame) = frames.next() {
        let described = frame.iter().map(|parcel| Described {
            role: parcel.role,
            key: Arc::clone(&parcel.key),
            address: parcel.address,
        });
        let message = Message::Sockets { described: described.collect(), last: frames.peek().is_none() };
        let descriptors: Vec<_> = frame.iter().map(|parcel| parcel.descriptor.as_fd()).collect();
        say(stream, &message, &descriptors, WORD_MAX).await?;
    }
    Ok(())
}

/// A file without a name: nobody else can read it, and it goes with its last owner.
fn in_memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("tidegate-configuration", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    Ok(file)
}
