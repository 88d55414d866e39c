//! Tokens: from a file or the environment, never from the command line.

use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A token's file is not longer than this, in bytes.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

/// A secret text that prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

/// Why no secret could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the token file {path:?}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is there but not a token.
    #[error("{0} holds no token: one line of visible ASCII is expected")]
    Form(String),
}

impl Secret {
    /// The text, to be sent and not to be printed.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(****)")
    }
}

/// The file when one is named, else the environment variable, else nothing.
///
/// # Errors
/// [`SecretError`] for a file that is unreadable or a text that no header could carry.
pub(crate) fn from_file_or_env(file: Option<&Path>, variable: &str) -> Result<Option<Secret>, SecretError> {
    if let Some(path) = file {
        return read(path).map(Some);
    }
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => check(&text, || variable.to_owned()).map(Some),
        _ => Ok(None),
    }
}

fn read(path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::File { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(SECRET_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    check(&text, || format!("{}", path.display()))
}

fn check(text: &str, origin: impl FnOnce() -> String) -> Result<Secret, SecretError> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SecretError::Form(origin()));
    }
    Ok(Secret(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_trimmed_and_checked() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("token");
        std::fs::write(&path, "abc.def\n").expect("written");
        let secret = from_file_or_env(Some(&path), "PENSTOCK_UNSET").expect("read").expect("there");
        assert_eq!(secret.reveal(), "abc.def");
        assert_eq!(format!("{secret:?}"), "Secret(****)");
        for bad in ["", "two\nlines", "sp ace", "ä"] {
            std::fs::write(&path, bad).expect("written");
            assert!(from_file_or_env(Some(&path), "PENSTOCK_UNSET").is_err(), "{bad:?}");
        }
        assert_eq!(from_file_or_env(None, "PENSTOCK_UNSET").expect("nothing to read"), None);
    }
}
