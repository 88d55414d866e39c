//! The admin socket in the data directory: whoever may open it is the operator, so only its owner may.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another node answers on it.
    #[error("{0} is in use: another node runs on this data directory")]
    InUse(PathBuf),
    /// Something else has its name.
    #[error("{0} is there and is not a socket: move it away")]
    NotASocket(PathBuf),
    /// The file system refused.
    #[error("cannot make the socket {path}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A listening socket file, removed when this is dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Best effort: a stale file is removed at the next start too.
        _ = std::fs::remove_file(&self.path);
    }
}

/// Listens on `path` with mode 0600. A socket that a dead node left there is removed first.
///
/// # Errors
/// The path is in use by a living node, is not a socket, or the file system refuses.
pub fn listen(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let fail = |source| SocketError::Io { path: path.to_path_buf(), source };
    remove_stale(path)?;
    // Bound under another name and moved into place, so that it never has a wider mode under its own.
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    _ = std::fs::remove_file(&draft);
    let socket = UnixListener::bind(&draft).map_err(fail)?;
    let placed = std::fs::set_permissions(&draft, Permissions::from_mode(0o600))
        .and_then(|()| socket.set_nonblocking(true))
        .and_then(|()| std::fs::rename(&draft, path));
    if let Err(source) = placed {
        _ = std::fs::remove_file(&draft);
        return Err(fail(source));
    }
    Ok((socket, SocketFile { path: path.to_path_buf() }))
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let fail = |source| SocketError::Io { path: path.to_path_buf(), source };
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail(error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_path_buf()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_path_buf())),
        Err(_) => std::fs::remove_file(path).map_err(fail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("node.sock");
        drop(UnixListener::bind(&path).expect("left by a dead node"));
        let (_socket, file) = listen(&path).expect("replaced");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(matches!(listen(&path), Err(SocketError::InUse(_))));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_that_name_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("node.sock");
        std::fs::write(&path, "mine").expect("written");
        assert!(matches!(listen(&path), Err(SocketError::NotASocket(_))));
        assert!(path.exists());
    }
}
