//! The new process's side.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::message::{Described, Message, PROTOCOL, Role};
use super::place::{address, is_same_user};
use super::wire::{self, hear, say};
use super::{SOCKETS_MAX, UpgradeError, WORD_MAX};
use crate::config::persist::{self, FILE_BYTES_MAX, Stored};

/// A listening socket of the process that ran before.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) key: Arc<str>,
    /// What its configuration asked for.
    pub(crate) address: SocketAddr,
    pub(crate) socket: TcpListener,
}

/// What the running process has given.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) listeners: Vec<Inherited>,
    pub(crate) admin: Option<(SocketAddr, TcpListener)>,
    pub(crate) upgrade: Option<UnixListener>,
    /// The configuration that it serves.
    pub(crate) kept: Vec<Stored>,
    pub(crate) taking: Taking,
}

/// The conversation, to be concluded when this process is ready.
#[derive(Debug)]
pub(crate) struct Taking {
    /// Not bound to a runtime: what is asked first is asked before there is the one of the control loop.
    stream: unix::net::UnixStream,
}

/// What the conversation tells the control loop.
#[derive(Debug)]
pub(crate) enum Step {
    /// Accept, and say so.
    Go { accepting: oneshot::Sender<()> },
    /// The process that ran before has closed its sockets.
    Released,
    /// There is nothing to take over.
    Failed(UpgradeError),
}

/// Asks a running process for its sockets. `None`: none runs.
pub(crate) async fn ask(path: &Path, node: Arc<str>) -> Result<Option<Taken>, UpgradeError> {
    let unusable = |source| UpgradeError::Path { path: path.to_owned(), source };
    address(path).map_err(unusable)?;
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        // Nobody has ever listened here, or who did was killed.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(unusable(error)),
    };
    if !is_same_user(&stream) {
        return Err(unusable(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "a process of another user listens there",
        )));
    }
    let (process, version) = (std::process::id(), env!("CARGO_PKG_VERSION").to_owned());
    match say(&stream, &Message::Hello { protocol: PROTOCOL, node, process, version }, &[], WORD_MAX).await {
        // Whoever hangs up at once has said why.
        Err(error) if !is_end(&error) => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let taking = Taking { stream: stream.as_fd().try_clone_to_owned()?.into() };
    let mut taken = Taken { listeners: Vec::new(), admin: None, upgrade: None, kept: Vec::new(), taking };
    loop {
        let (described, descriptors, last) = match hear(&stream, WORD_MAX).await? {
            (Message::Sockets { described, last }, descriptors) => (described, descriptors, last),
            (Message::Refused { reason }, _) => return Err(UpgradeError::Refused(reason)),
            _ => return Err(wire::invalid("a word that does not follow").into()),
        };
        if described.len() != descriptors.len() || taken.listeners.len() + described.len() > SOCKETS_MAX {
            return Err(wire::invalid("other descriptors than were announced").into());
        }
        for (described, descriptor) in described.into_iter().zip(descriptors) {
            taken.unpack(described, descriptor)?;
        }
        if last {
            info!(
                listeners = taken.listeners.len(),
                resources = taken.kept.len(),
                "taking over from a running process"
            );
            return Ok(Some(taken));
        }
    }
}

impl Taken {
    fn unpack(&mut self, Described { role, key, address }: Described, descriptor: OwnedFd) -> io::Result<()> {
        match (role, address) {
            (Role::Listener, Some(address)) => {
                self.listeners.push(Inherited { key, address, socket: TcpListener::from(descriptor) });
            }
            (Role::Admin, Some(address)) => self.admin = Some((address, TcpListener::from(descriptor))),
            (Role::Upgrade, _) => self.upgrade = Some(UnixListener::from(descriptor)),
            (Role::Configuration, _) => self.kept = read(File::from(descriptor))?,
            (Role::Listener | Role::Admin, None) => return Err(wire::invalid("a socket without an address")),
        }
        Ok(())
    }
}

fn read(mut file: File) -> io::Result<Vec<Stored>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(persist::decode(&bytes).unwrap_or_else(|| {
        warn!("the running process's configuration cannot be read; asking the control plane");
        Vec::new()
    }))
}

/// The rest of the conversation, from the moment when this process could serve.
pub(crate) async fn conclude(Taking { stream }: Taking, steps: mpsc::Sender<Step>) {
    let gone = async {
        let stream = UnixStream::from_std(stream)?;
        Ok::<_, UpgradeError>((go(&stream).await?, stream))
    };
    let (alone, stream) = match gone.await {
        Ok(gone) => gone,
        Err(error) => return drop(steps.send(Step::Failed(error)).await),
    };
    let (accepting, accepts) = oneshot::channel();
    if steps.send(Step::Go { accepting }).await.is_err() || accepts.await.is_err() {
        return;
    }
    if !alone {
        let said = say(&stream, &Message::Accepting, &[], WORD_MAX).await;
        let released = async { hear(&stream, WORD_MAX).await };
        if said.is_err() || !matches!(released.await, Ok((Message::Released, _))) {
            // It accepts no more, or it is gone: both are what was waited for.
            warn!("the process that ran before does not say that it has closed its sockets; going on");
        }
    }
    drop(steps.send(Step::Released).await);
}

/// `true`: the running process has ended, and there is nobody to wait for.
async fn go(stream: &UnixStream) -> Result<bool, UpgradeError> {
    let heard = match say(stream, &Message::Ready, &[], WORD_MAX).await {
        Ok(()) => hear(stream, WORD_MAX).await,
        // What it said before it hung up, if it said anything.
        Err(error) if is_end(&error) => hear(stream, WORD_MAX).await,
        Err(error) => Err(error),
    };
    match heard {
        Ok((Message::Go, _)) => Ok(false),
        Ok((Message::Refused { reason }, _)) => Err(UpgradeError::Refused(reason)),
        Ok(_) => Err(wire::invalid("a word that does not follow").into()),
        Err(error) if is_end(&error) => {
            info!("the running process has ended meanwhile; its sockets are here");
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
