//! `quickstart.json`: all that a script needs to know. Field names are a contract.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The document; every file is an absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// `https://127.0.0.1:PORT`.
    pub(crate) https_url: String,
    /// `http://127.0.0.1:PORT`.
    pub(crate) http_url: String,
    /// The admin listener.
    pub(crate) admin_url: String,
    /// PEM file with the authority of the certificate.
    pub(crate) ca_cert: PathBuf,
    /// The publisher's public key, as text.
    pub(crate) trust: String,
    /// File with a signed access token.
    pub(crate) token_file: PathBuf,
    /// File with the admin token.
    pub(crate) admin_token_file: PathBuf,
    /// File with the publisher's secret key.
    pub(crate) publisher_key: PathBuf,
    /// The published product.
    pub(crate) product: String,
    /// The channel that offers it.
    pub(crate) channel: String,
    /// Its versions, oldest first.
    pub(crate) versions: Vec<String>,
    /// The node's data directory.
    pub(crate) data_dir: PathBuf,
    /// The node's config file.
    pub(crate) config: PathBuf,
    /// The process that serves.
    pub(crate) pid: u32,
}

/// The document's name in the quickstart's directory.
pub(crate) const FILE_NAME: &str = "quickstart.json";

/// Renames the document into place: who waits for the name finds it whole.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn publish(dir: &Path, document: &Document) -> anyhow::Result<PathBuf> {
    let mut bytes = serde_json::to_vec_pretty(document)?;
    bytes.push(b'\n');
    let path = dir.join(FILE_NAME);
    super::certificate::replace(&path, &bytes, 0o644)?;
    Ok(path)
}

/// Takes an earlier run's document away, so that nobody takes it for this run's.
///
/// # Errors
/// When it is there and cannot be removed.
pub(crate) fn withdraw(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(dir.join(FILE_NAME)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_the_contract() {
        let dir = tempfile::tempdir().expect("dir");
        let at = |name: &str| dir.path().join(name);
        let document = Document {
            https_url: "https://127.0.0.1:1".to_owned(),
            http_url: "http://127.0.0.1:2".to_owned(),
            admin_url: "http://127.0.0.1:3".to_owned(),
            ca_cert: at("a"),
            trust: "ed25519:x".to_owned(),
            token_file: at("b"),
            admin_token_file: at("c"),
            publisher_key: at("d"),
            product: "sample".to_owned(),
            channel: "stable".to_owned(),
            versions: vec!["1".to_owned(), "2".to_owned()],
            data_dir: at("e"),
            config: at("f"),
            pid: 4,
        };
        let path = publish(dir.path(), &document).expect("written");
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON");
        let mut keys: Vec<&String> = value.as_object().expect("an object").keys().collect();
        keys.sort();
        let contract = [
            "admin_token_file",
            "admin_url",
            "ca_cert",
            "channel",
            "config",
            "data_dir",
            "http_url",
            "https_url",
            "pid",
            "product",
            "publisher_key",
            "token_file",
            "trust",
            "versions",
        ];
        assert_eq!(keys, contract);
        withdraw(dir.path()).expect("removed");
        withdraw(dir.path()).expect("nothing to remove");
    }
}
