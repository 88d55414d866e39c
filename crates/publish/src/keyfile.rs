//! The file that holds a publisher's secret key.
//!
//! One line of text: `penstock-secret-key-v1`, a space, the 32-byte seed in standard base64. Mode
//! 0600, owned by whoever uses it; a file that others may read is refused, because its key must be
//! taken for stolen. Must not print or log the seed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use penstock_core::sign::SecretKey;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const PREFIX: &str = "penstock-secret-key-v1";
/// A key file is 68 bytes; anything much larger is something else.
const FILE_BYTES_MAX: u64 = 4096;

/// Why a key file cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Somebody's key may be in it.
    #[error("{0} exists already: a key file is never overwritten")]
    Exists(PathBuf),
    /// Reading or writing failed.
    #[error("cannot {verb} the key file {path}")]
    Io {
        /// Make or read.
        verb: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "the key file {path} has mode {mode:04o}: others may read it; run chmod 600 on it, or replace the key if they did"
    )]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory or device.
    #[error("the key file {0} is not a regular file")]
    NotAFile(PathBuf),
    /// Something else is in it.
    #[error("{0} is not a Penstock secret key file")]
    Format(PathBuf),
    /// The system gives no randomness.
    #[error("the system's random source failed")]
    Random(#[source] getrandom::Error),
}

/// Draws a new key and writes it to a new file: it is there whole or not at all.
///
/// # Errors
/// [`KeyFileError`]; an existing file is never touched.
pub fn generate(path: &Path) -> Result<SecretKey, KeyFileError> {
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed).map_err(KeyFileError::Random)?;
    let key = SecretKey::from_seed(&seed);
    create(path, &key)?;
    Ok(key)
}

/// Writes a key to a new file: it is there whole or not at all.
///
/// # Errors
/// [`KeyFileError`]; an existing file is never touched.
pub fn create(path: &Path, key: &SecretKey) -> Result<(), KeyFileError> {
    let name = path.file_name().ok_or_else(|| KeyFileError::NotAFile(path.to_owned()))?;
    let mut temp_name = std::ffi::OsString::from(".");
    temp_name.push(name);
    temp_name.push(format!(".{}.tmp", std::process::id()));
    let temp = path.with_file_name(temp_name);
    let failed = |source| KeyFileError::Io { verb: "make", path: path.to_owned(), source };
    let written = write_new(&temp, key).and_then(|()| fs::hard_link(&temp, path));
    let cleaned = fs::remove_file(&temp);
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyFileError::Exists(path.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    }
    cleaned.map_err(failed)?;
    // Without this a power cut could lose the name, and with it a key that already signed something.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// Reads a key.
///
/// # Errors
/// [`KeyFileError`].
pub fn load(path: &Path) -> Result<SecretKey, KeyFileError> {
    let failed = |source| KeyFileError::Io { verb: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(KeyFileError::NotAFile(path.to_owned()));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(KeyFileError::Mode { path: path.to_owned(), mode: meta.mode() & 0o7777 });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    parse(&text).ok_or_else(|| KeyFileError::Format(path.to_owned()))
}

fn write_new(path: &Path, key: &SecretKey) -> io::Result<()> {
    // A leftover of a killed run under the same process id holds nothing that anyone uses.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{PREFIX} {}\n", STANDARD.encode(key.to_seed())).as_bytes())?;
    file.sync_all()
}

fn parse(text: &str) -> Option<SecretKey> {
    let encoded = text.trim_end().strip_prefix(PREFIX)?.strip_prefix(' ')?;
    let seed: [u8; 32] = STANDARD.decode(encoded).ok()?.try_into().ok()?;
    Some(SecretKey::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_survives_its_file_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("publisher.key");
        let key = generate(&path).expect("new key");
        assert_eq!(load(&path).expect("readable").public(), key.public());
        assert_eq!(fs::metadata(&path).expect("meta").mode() & 0o7777, 0o600);
        assert!(matches!(generate(&path), Err(KeyFileError::Exists(_))));
        assert_eq!(load(&path).expect("untouched").public(), key.public());
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "no temporary file stays");
    }

    #[test]
    fn the_file_form_is_frozen() {
        let key = parse("penstock-secret-key-v1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n").expect("vector");
        assert_eq!(key.to_seed(), [1; 32]);
    }

    #[test]
    fn files_that_are_no_good_are_refused_each_for_its_reason() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("publisher.key");
        generate(&path).expect("new key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(load(&path), Err(KeyFileError::Mode { mode: 0o640, .. })));
        fs::write(&path, "something else").expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(matches!(load(&path), Err(KeyFileError::Format(_))));
        assert!(matches!(load(dir.path()), Err(KeyFileError::NotAFile(_))));
        assert!(matches!(load(&dir.path().join("absent")), Err(KeyFileError::Io { .. })));
        assert!(matches!(generate(&dir.path().join("no/such/dir/key")), Err(KeyFileError::Io { .. })));
    }
}
