//! Where an admin API is: pure parsing of what a person typed after `--to`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Where an admin API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket: the node's own `node.sock`.
    Unix(PathBuf),
    /// A host.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
        /// Whether it speaks TLS.
        tls: bool,
    },
}

/// Why a text is not an admin URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not http or https.
    #[error("{0:?} is not an http:// or https:// URL")]
    Scheme(String),
    /// No host, or a port that is none.
    #[error("{0:?} has no host, or a port that is not a number")]
    Authority(String),
    /// A path, query or user name.
    #[error("{0:?} has more than scheme, host and port; give the admin listener's address alone")]
    Extra(String),
}

impl Endpoint {
    /// Reads an `http://` or `https://` URL of scheme, host and optional port.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn from_url(url: &str) -> Result<Self, EndpointError> {
        let (tls, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(EndpointError::Scheme(url.to_owned())),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(EndpointError::Extra(url.to_owned()));
        }
        let wrong = || EndpointError::Authority(url.to_owned());
        let (host, port) = split_port(authority).ok_or_else(wrong)?;
        let default = if tls { 443 } else { 80 };
        let port = port.map_or(Ok(default), str::parse).map_err(|_| wrong())?;
        if host.is_empty() || port == 0 || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong());
        }
        Ok(Self::Tcp { host: host.to_owned(), port, tls })
    }

    /// The socket of the node that runs on a data directory.
    #[must_use]
    pub fn of_data_dir(dir: &Path) -> Self {
        Self::Unix(dir.join("node.sock"))
    }

    /// Whether what is sent there cannot be read on the way: TLS, a socket of this machine, or its loopback.
    #[must_use]
    pub fn is_private(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Tcp { tls: true, .. } => true,
            Self::Tcp { host, tls: false, .. } => {
                host.eq_ignore_ascii_case("localhost")
                    || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
            }
        }
    }

    /// The value of the `Host` header.
    #[must_use]
    pub fn host_header(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp { host, port, tls } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let default = if *tls { 443 } else { 80 };
                if *port == default { host } else { format!("{host}:{port}") }
            }
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp { tls, .. } => {
                write!(f, "{}://{}", if *tls { "https" } else { "http" }, self.host_header())
            }
        }
    }
}

/// Host and port text; an IPv6 address is in brackets.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest {
            "" => Some((host, None)),
            _ => rest.strip_prefix(':').map(|port| (host, Some(port))),
        };
    }
    match authority.split_once(':') {
        None => Some((authority, None)),
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, tls: bool) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port, tls }
    }

    #[test]
    fn urls_that_mean_an_admin_listener() {
        let cases = [
            ("http://127.0.0.1:8444", tcp("127.0.0.1", 8444, false), "127.0.0.1:8444"),
            ("https://ops.example.com/", tcp("ops.example.com", 443, true), "ops.example.com"),
            ("http://[::1]:8444", tcp("::1", 8444, false), "[::1]:8444"),
            ("http://[::1]", tcp("::1", 80, false), "[::1]"),
        ];
        for (url, expected, host) in cases {
            let endpoint = Endpoint::from_url(url).expect(url);
            assert_eq!(endpoint, expected);
            assert_eq!(endpoint.host_header(), host);
        }
        assert_eq!(Endpoint::of_data_dir(Path::new("/d")).to_string(), "/d/node.sock");
    }

    #[test]
    fn only_loopback_is_private_without_tls() {
        for url in ["https://ops.example.com", "http://localhost:1", "http://127.8.8.8:1", "http://[::1]:1"] {
            assert!(Endpoint::from_url(url).expect(url).is_private(), "{url}");
        }
        for url in ["http://ops.example.com", "http://10.0.0.1:1", "http://localhost.example:1", "http://0.0.0.0:1"] {
            assert!(!Endpoint::from_url(url).expect(url).is_private(), "{url}");
        }
    }

    #[test]
    fn other_texts_are_refused_each_for_its_reason() {
        for (url, kind) in [
            ("ftp://x", "scheme"),
            ("localhost:80", "scheme"),
            ("http://", "authority"),
            ("http://x:y", "authority"),
            ("http://x:0", "authority"),
            ("http://::1:80", "authority"),
            ("http://x y", "authority"),
            ("http://x/admin", "extra"),
            ("http://user@x", "extra"),
        ] {
            let found = match Endpoint::from_url(url).expect_err(url) {
                EndpointError::Scheme(_) => "scheme",
                EndpointError::Authority(_) => "authority",
                EndpointError::Extra(_) => "extra",
            };
            assert_eq!(found, kind, "{url}");
        }
    }
}
