//! A Unix socket's file: made, taken over from a process that died, and removed at the end.
//!
//! Invariant: whoever may not connect cannot at any moment; and no file is removed that somebody serves.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a socket that we listen on. It is removed when this is dropped, if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

/// Listens on a socket with this file. A file that a dead process has left is replaced.
///
/// # Errors
/// Those of the operating system; `AddrInUse` if somebody serves the file, `AlreadyExists` if it is no socket.
pub(super) fn listen(path: &Path, mode: u32, backlog: i32) -> io::Result<(Socket, SocketFile)> {
    let address = SockAddr::unix(path)?;
    let mut socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if cfg!(target_os = "linux") {
        // Linux makes the file with what of this the umask allows, so it is never open to more.
        let unbound = File::from(OwnedFd::from(socket));
        unbound.set_permissions(Permissions::from_mode(mode))?;
        socket = Socket::from(OwnedFd::from(unbound));
    }
    match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            clear(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    socket.listen(backlog)?; // At once: bound and not listening it looks like one that was left.
    socket.set_nonblocking(true)?;
    let made = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), id: (made.dev(), made.ino()) };
    fs::set_permissions(path, Permissions::from_mode(mode))?; // What the umask took away.
    Ok((socket, file))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.id);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = ?self.path, "the socket's file cannot be removed");
        }
    }
}

/// Removes the socket that a dead process has left.
///
/// It is first taken aside and then asked: another process may replace it at the same moment, and what that listens on
/// must not be removed.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file of this name that is no socket"));
        }
        Ok(_) if is_served(path) => return Err(in_use()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    let aside = PathBuf::from(aside);
    match fs::rename(path, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    if is_served(&aside) {
        fs::rename(&aside, path)?;
        return Err(in_use());
    }
    fs::remove_file(&aside)
}

/// Whether a process listens there. Only a refusal says that none does: one with a full backlog, or one that does not
/// let us in, is alive.
fn is_served(path: &Path) -> bool {
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    let Ok(socket) = Socket::new(Domain::UNIX, Type::STREAM, None) else { return true };
    let asked = SockAddr::unix(path).and_then(|address| {
        socket.set_nonblocking(true)?;
        socket.connect(&address)
    });
    !asked.is_err_and(refused)
}

fn in_use() -> io::Error {
    io::Error::new(ErrorKind::AddrInUse, "another process serves this socket")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_socket_has_its_mode_and_goes_with_its_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        for wanted in [0o600, 0o666, 0o660] {
            let (_socket, file) = listen(&path, wanted, 1).unwrap();
            assert_eq!(mode(&path), wanted);
            drop(file);
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_what_lives_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (socket, file) = listen(&path, 0o600, 1).unwrap();
        let again = listen(&path, 0o600, 1).unwrap_err();
        assert_eq!(
            (again.kind(), again.to_string().as_str()),
            (ErrorKind::AddrInUse, "another process serves this socket")
        );
        UnixStream::connect(&path).expect("it still serves");
        drop((socket, file));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        fs::write(&path, "precious").unwrap();
        assert_eq!(listen(&path, 0o600, 1).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_file_that_another_has_put_there_meanwhile_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (_socket, file) = listen(&path, 0o600, 1).unwrap();
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(file);
        UnixStream::connect(&path).expect("the other one's");
        drop(other);
    }
}
