//! Tells a service manager what the process is at, in systemd's protocol: a datagram to the socket that it names in the
//! environment. Without one nothing is said.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::{debug, warn};

/// What a service manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It serves, and it is the main process from now on.
    Ready,
    /// It is ending, and nobody takes its place.
    Stopping,
}

/// Says it, if there is somebody to hear it.
pub(crate) fn tell(socket: Option<&OsStr>, state: State) {
    let Some(socket) = socket else { return };
    let text = match state {
        State::Ready => format!("READY=1\nMAINPID={}\n", std::process::id()),
        State::Stopping => "STOPPING=1\n".to_owned(),
    };
    match send(socket, &text) {
        Ok(()) => debug!(?state, "told the service manager"),
        Err(error) => warn!(socket = %socket.display(), %error, "the service manager cannot be told"),
    }
}

fn send(socket: &OsStr, text: &str) -> io::Result<()> {
    // The manager's own name for a socket without a file.
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let datagram = UnixDatagram::unbound()?;
    // A manager that does not read must not hold the proxy up.
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_hears_who_the_main_process_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();

        tell(Some(path.as_os_str()), State::Ready);

        let mut heard = [0; 128];
        let length = manager.recv(&mut heard).unwrap();
        let expected = format!("READY=1\nMAINPID={}\n", std::process::id());
        assert_eq!(&heard[..length], expected.as_bytes());
    }

    #[test]
    fn a_service_manager_that_is_gone_is_no_failure() {
        tell(Some(OsStr::new("/nonexistent/notify")), State::Stopping);
        tell(None, State::Ready);
    }
}
