//! The node's own secrets in `DATA/keys`: made on first start, read on every later one.
//!
//! A file is created whole or not at all and never overwritten; a file that others may read is
//! refused rather than used.

use crate::secret::SecretText;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use penstock_core::account::PseudonymKey;
use penstock_core::sign::SecretKey;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const CHANNEL_KEY: &str = "channel.key";
const TOKEN_KEY: &str = "token.key";
const LINK_KEY: &str = "link.key";
const ADMIN_TOKEN: &str = "admin.token";
const PSEUDONYM_KEY: &str = "pseudonym.key";
const SECRET_BYTES: usize = 32;
/// No key file of ours is longer than this, in bytes.
const FILE_BYTES_MAX: u64 = 1024;

/// Why the node's secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The directory or a file cannot be read or made.
    #[error("cannot {what} {path}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Other users may read or write it.
    #[error("{path} has mode {mode:o}, others could use it: run chmod 600 on it", path = path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what this node writes there.
    #[error(
        "{path} is not a key of this node (43 characters of base64url): restore it from a backup, or move it away to have a new one made, which every publisher must then delegate to again",
        path = path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random(#[source] getrandom::Error),
}

/// The node's secrets, in memory.
#[derive(Debug)]
pub(crate) struct NodeKeys {
    /// Signs channel heads, once a publisher delegated to it.
    pub(crate) channel: SecretKey,
    /// Signs tokens.
    pub(crate) token: SecretKey,
    /// Signs links. A key of its own: edges of other fleets may be given its public half.
    pub(crate) link: SecretKey,
    /// Opens the admin API over the network.
    pub(crate) admin: SecretText,
    /// Makes the pseudonyms under which edges know accounts.
    pub(crate) pseudonyms: PseudonymKey,
}

impl NodeKeys {
    /// Reads the secrets in `dir`, making the directory and what is missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, KeyFileError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("create", dir))?;
        let channel = SecretKey::from_seed(&open_secret(dir, CHANNEL_KEY)?);
        let token = SecretKey::from_seed(&open_secret(dir, TOKEN_KEY)?);
        let link = SecretKey::from_seed(&open_secret(dir, LINK_KEY)?);
        let admin = SecretText::new(URL_SAFE_NO_PAD.encode(open_secret(dir, ADMIN_TOKEN)?));
        let pseudonyms = PseudonymKey::from_bytes(open_secret(dir, PSEUDONYM_KEY)?);
        Ok(Self { channel, token, link, admin, pseudonyms })
    }
}

/// What makes the pseudonyms of a data directory's accounts; made when it is not there.
///
/// # Errors
/// [`KeyFileError`].
pub fn pseudonym_key(data_dir: &Path) -> Result<PseudonymKey, KeyFileError> {
    Ok(NodeKeys::open(&data_dir.join("keys"))?.pseudonyms)
}

/// 32 bytes from the system's random source.
pub(crate) fn random_bytes() -> Result<[u8; SECRET_BYTES], KeyFileError> {
    let mut bytes = [0u8; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(KeyFileError::Random)?;
    Ok(bytes)
}

fn open_secret(dir: &Path, name: &str) -> Result<[u8; SECRET_BYTES], KeyFileError> {
    let path = dir.join(name);
    match read_secret(&path) {
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create_secret(dir, &path, &random_bytes()?)?;
            read_secret(&path)
        }
        found => found,
    }
}

fn read_secret(path: &Path) -> Result<[u8; SECRET_BYTES], KeyFileError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    let mode = file.metadata().map_err(io_error("examine", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Permissions { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => KeyFileError::Malformed { path: path.to_owned() },
        _ => KeyFileError::Io { what: "read", path: path.to_owned(), source },
    })?;
    let decoded = URL_SAFE_NO_PAD.decode(text.trim()).ok();
    decoded.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| KeyFileError::Malformed { path: path.to_owned() })
}

/// Writes a temporary file, syncs it and links it to its name: whoever finds the name finds all of
/// it, and two processes that start at once end up with one secret.
fn create_secret(dir: &Path, path: &Path, secret: &[u8; SECRET_BYTES]) -> Result<(), KeyFileError> {
    let unique = URL_SAFE_NO_PAD.encode(&random_bytes()?[..9]);
    let temporary = dir.join(format!(".new-{unique}"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io_error("create", &temporary))?;
    let written = writeln!(file, "{}", URL_SAFE_NO_PAD.encode(secret)).and_then(|()| file.sync_all());
    let linked = written.map_err(io_error("write", &temporary)).and_then(|()| match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_error("create", path)(error)),
        _ => Ok(()),
    });
    fs::remove_file(&temporary).map_err(io_error("remove", &temporary))?;
    linked?;
    // Without this a crash could forget the name, and a key that publishers delegated to with it.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_private_and_kept() {
        let dir = tempfile::tempdir().expect("temp dir");
        let keys = dir.path().join("keys");
        let first = NodeKeys::open(&keys).expect("made");
        let second = NodeKeys::open(&keys).expect("read");
        assert_eq!(first.channel.public(), second.channel.public());
        assert_eq!(first.token.public(), second.token.public());
        assert!(first.admin.matches(second.admin.expose().as_bytes()));
        assert_ne!(first.channel.public(), first.token.public());
        assert_eq!(fs::metadata(&keys).expect("dir").permissions().mode() & 0o777, 0o700);
        let mut names: Vec<_> = fs::read_dir(&keys).expect("list").map(|e| e.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, [ADMIN_TOKEN, CHANNEL_KEY, LINK_KEY, PSEUDONYM_KEY, TOKEN_KEY], "nothing temporary is left");
        for name in [ADMIN_TOKEN, CHANNEL_KEY, LINK_KEY, PSEUDONYM_KEY, TOKEN_KEY] {
            assert_eq!(fs::metadata(keys.join(name)).expect("file").permissions().mode() & 0o777, 0o600);
        }
        // The file holds exactly what a client must send.
        assert_eq!(fs::read_to_string(keys.join(ADMIN_TOKEN)).expect("text").trim(), first.admin.expose());
    }

    #[test]
    fn a_readable_or_damaged_secret_is_refused_not_replaced() {
        let dir = tempfile::tempdir().expect("temp dir");
        NodeKeys::open(dir.path()).expect("made");
        let path = dir.path().join(CHANNEL_KEY);
        let before = fs::read_to_string(&path).expect("text");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(NodeKeys::open(dir.path()), Err(KeyFileError::Permissions { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        for damaged in ["", "short", &before[1..]] {
            fs::write(&path, damaged).expect("damage");
            assert!(matches!(NodeKeys::open(dir.path()), Err(KeyFileError::Malformed { .. })));
            assert_eq!(fs::read_to_string(&path).expect("text"), damaged);
        }
        fs::write(&path, [0xff, 0xfe]).expect("damage");
        assert!(matches!(NodeKeys::open(dir.path()), Err(KeyFileError::Malformed { .. })));
    }

    #[test]
    fn secrets_never_print() {
        let dir = tempfile::tempdir().expect("temp dir");
        let keys = NodeKeys::open(dir.path()).expect("made");
        let printed = format!("{keys:?} {keys:#?}");
        assert!(!printed.contains(keys.admin.expose()));
        assert!(!printed.contains(&URL_SAFE_NO_PAD.encode(keys.channel.to_seed())));
    }
}
