//! The path at which a running process can be asked for its sockets.
//!
//! Whoever could connect there would be given every listening socket. So the file belongs to one user and has mode 0600 before
//! anybody can connect, and each side asks the kernel who the other is. Names without a file (abstract ones) have no owner and
//! are not used.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use tracing::info;

use super::{Taken, UpgradeError};

/// Processes that wait to be told that somebody else is upgrading already.
const WAITING_MAX: i32 = 8;

/// A listening unix socket and the file that leads to it.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    /// Device and inode: a file that somebody else has put there since is not ours to remove.
    file: Option<(u64, u64)>,
}

impl Place {
    /// The place of the process that ran before, or a new one.
    pub(crate) fn take(path: &Path, taken: Option<&mut Taken>) -> Result<(Self, UnixListener), UpgradeError> {
        match taken.and_then(|taken| taken.upgrade.take()) {
            Some(inherited) => Ok((Self { path: path.to_owned(), file: identity(path) }, inherited)),
            None => Self::open(path).map_err(|source| UpgradeError::Path { path: path.to_owned(), source }),
        }
    }

    /// Listens at a path that nobody listens at, replacing what a process that was killed has left there.
    fn open(path: &Path) -> io::Result<(Self, UnixListener)> {
        remove_stale(path)?;
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM.nonblocking(), None)?;
        socket.bind(&address(path)?)?;
        // Nobody can connect before `listen`, so there is no moment at which others could.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(WAITING_MAX)?;
        Ok((Self { path: path.to_owned(), file: identity(path) }, socket.into()))
    }

    /// Removes the file. Whoever asks next finds nobody, and starts as if there were nobody.
    pub(crate) fn leave(&self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // If it cannot be removed it is found stale by the next process.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// A path as an address. Empty or with a leading zero byte it would be an abstract name.
pub(super) fn address(path: &Path) -> io::Result<socket2::SockAddr> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path of a file"));
    }
    socket2::SockAddr::unix(path)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {
            info!(path = %path.display(), "nobody answers at the upgrade socket, which a killed process has left; replaced");
            fs::remove_file(path)
        }
        Ok(_) => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket; it is left alone"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the process at the other end runs as the user that we run as.
pub(super) fn is_same_user(stream: impl AsFd) -> bool {
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_for_its_user_alone_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");

        let (place, _listener) = Place::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        place.leave();

        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_then_belongs_to_its_new_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let (killed, listener) = Place::open(&path).unwrap();
        drop(listener);
        // Its inode may be given out again as soon as it is free.
        fs::hard_link(&path, folder.path().join("held")).unwrap();

        let (_place, _listener) = Place::open(&path).unwrap();
        killed.leave();

        assert!(path.exists(), "the process that was there before has removed the socket of its successor");
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        fs::write(&path, "precious").unwrap();

        assert_eq!(Place::open(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn names_without_a_file_and_names_that_are_too_long_are_refused() {
        let long = "x".repeat(200);
        for name in ["", "\0abstract", &long] {
            assert!(address(Path::new(name)).is_err(), "{name:?}");
        }
    }
}
