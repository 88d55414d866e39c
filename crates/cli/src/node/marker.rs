//! `DATA_DIR/node.json`: where a running node listens, for scripts that let the kernel choose the ports.

use penstock_edge::node::Addresses;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The file while the node runs; removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Marker {
    path: PathBuf,
}

#[derive(Debug, Serialize)]
struct Document {
    https_url: Option<String>,
    http_url: Option<String>,
    admin_url: Option<String>,
    pid: u32,
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path:?}")]
pub(crate) struct MarkerError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl Marker {
    /// Writes the file whole, by rename.
    ///
    /// # Errors
    /// [`MarkerError`].
    pub(crate) fn write(data_dir: &Path, addresses: &Addresses) -> Result<Self, MarkerError> {
        let document = Document {
            https_url: addresses.https.first().map(|address| url("https", *address)),
            http_url: addresses.http.first().map(|address| url("http", *address)),
            admin_url: addresses.admin.map(|address| url(admin_scheme(address), address)),
            pid: std::process::id(),
        };
        let path = data_dir.join("node.json");
        let draft = data_dir.join(format!("node.json.{}", std::process::id()));
        let failed = |source| MarkerError { path: path.clone(), source };
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        std::fs::write(&draft, bytes).and_then(|()| std::fs::rename(&draft, &path)).map_err(failed)?;
        Ok(Self { path })
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        // Best effort: the lock, not this file, says whether a node runs.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The admin listener is plain on loopback and TLS elsewhere.
pub(crate) fn admin_scheme(address: SocketAddr) -> &'static str {
    if address.ip().is_loopback() { "http" } else { "https" }
}

/// A URL that reaches the address from this machine: "any" addresses become loopback.
pub(crate) fn url(scheme: &str, address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_reach_the_node() {
        let at = |text: &str| url("https", text.parse().expect("an address"));
        assert_eq!(at("127.0.0.1:8443"), "https://127.0.0.1:8443");
        assert_eq!(at("0.0.0.0:1"), "https://127.0.0.1:1");
        assert_eq!(at("[::]:1"), "https://[::1]:1");
        assert_eq!(admin_scheme("[::1]:1".parse().expect("an address")), "http");
        assert_eq!(admin_scheme("10.0.0.1:1".parse().expect("an address")), "https");
    }

    #[test]
    fn the_file_is_there_while_the_value_lives() {
        let dir = tempfile::tempdir().expect("dir");
        let addresses = Addresses { admin: Some("127.0.0.1:9".parse().expect("an address")), ..Addresses::default() };
        let marker = Marker::write(dir.path(), &addresses).expect("written");
        let text = std::fs::read_to_string(dir.path().join("node.json")).expect("there");
        assert!(text.contains("http://127.0.0.1:9"), "{text}");
        drop(marker);
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}
