//! The file of public keys that links are verified with: one key a line.

use penstock_core::keys::PublicKey;
use penstock_core::limits::KEYS_MAX;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Longest file in bytes: so many keys with a long comment each.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Why a file of link keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkKeysError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// Too long to be one.
    #[error("it is longer than {FILE_BYTES_MAX} bytes")]
    TooLong,
    /// A line is no key.
    #[error("line {0} is neither a key (ed25519:…) nor a comment (#)")]
    Line(usize),
    /// Too many.
    #[error("it has {0} keys, at most {KEYS_MAX} can be used")]
    TooMany(usize),
}

/// Reads the keys of a file.
///
/// # Errors
/// [`LinkKeysError`].
pub fn load_link_keys(file: &Path) -> Result<Vec<PublicKey>, LinkKeysError> {
    let mut text = String::new();
    File::open(file)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(LinkKeysError::TooLong);
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<PublicKey>, LinkKeysError> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let meant = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys = meant
        .map(|(number, line)| line.parse().map_err(|_| LinkKeysError::Line(number)))
        .collect::<Result<Vec<PublicKey>, _>>()?;
    if keys.len() > KEYS_MAX { Err(LinkKeysError::TooMany(keys.len())) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::sign::SecretKey;

    #[test]
    fn a_file_has_a_key_a_line() {
        let key = |seed| SecretKey::from_seed(&[seed; 32]).public();
        let text = format!("# links of the other fleet\n{}\n\n  {}  \n", key(1), key(2));
        assert_eq!(parse(&text).expect("keys"), [key(1), key(2)]);
        assert!(parse("").expect("none").is_empty());
        assert!(matches!(parse(&format!("{}\n{}x\n", key(1), key(2))), Err(LinkKeysError::Line(2))));
        let many: String = (0..=KEYS_MAX).map(|seed| format!("{}\n", key(u8::try_from(seed).unwrap_or(0)))).collect();
        assert!(matches!(parse(&many), Err(LinkKeysError::TooMany(_))));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "#".repeat(20_000)).expect("written");
        assert!(matches!(load_link_keys(file.path()), Err(LinkKeysError::TooLong)));
        assert!(matches!(load_link_keys(Path::new("/nowhere")), Err(LinkKeysError::Io(_))));
    }
}
