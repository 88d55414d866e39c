//! Where another server is: an `https` or `http` URL, checked once.

use http::Uri;
use std::fmt;

/// Longest URL in bytes.
const URL_BYTES_MAX: usize = 2048;

/// An absolute `https` or `http` URL without user info. Prints without its query, which may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct WebUrl {
    secure: bool,
    /// As a `Host` header has it.
    authority: String,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// Path and query.
    target: String,
}

/// Why a text is not such a URL. Does not print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not an absolute URL of at most 2 KiB.
    #[error("is not an absolute URL of at most {URL_BYTES_MAX} bytes")]
    Shape,
    /// Another scheme.
    #[error("is neither https nor http")]
    Scheme,
    /// User and password in it.
    #[error("has user info before its host")]
    UserInfo,
    /// A fragment, which is never sent.
    #[error("has a fragment")]
    Fragment,
}

impl WebUrl {
    /// Checks a URL.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        let uri: Uri = Some(text)
            .filter(|text| text.len() <= URL_BYTES_MAX)
            .and_then(|text| text.parse().ok())
            .ok_or(UrlError::Shape)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(UrlError::Scheme),
            None => return Err(UrlError::Shape),
        };
        let authority = uri.authority().ok_or(UrlError::Shape)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => {
                if secure {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or(UrlError::Shape)?,
            None => return Err(UrlError::Shape),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(UrlError::Shape);
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { secure, authority: authority.to_string(), host, port, target })
    }

    /// Whether it is `https`. What comes over plain `http` is whatever the network makes of it.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether it names this machine by address, or as localhost.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The URL of another target on the same server, below this one's path.
    pub(crate) fn at(&self, target: &str) -> Self {
        let base = self.target.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { target: format!("{base}{target}"), ..self.clone() }
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        let path = self.target.split('?').next().unwrap_or_default();
        write!(out, "{scheme}://{}{path}", self.authority)
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "WebUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = WebUrl::parse("https://idp.example/keys?key=secret").expect("good");
        assert_eq!((url.host(), url.port(), url.target()), ("idp.example", 443, "/keys?key=secret"));
        assert_eq!(format!("{url:?}"), "WebUrl(https://idp.example/keys)");
        let url = WebUrl::parse("http://[::1]:8080").expect("good");
        assert_eq!((url.host(), url.port(), url.target(), url.authority()), ("::1", 8080, "/", "[::1]:8080"));
        assert!(!url.is_secure());
    }

    #[test]
    fn other_urls_are_refused() {
        let long = format!("https://a/{}", "x".repeat(URL_BYTES_MAX));
        for (text, error) in [
            ("", UrlError::Shape),
            ("/keys", UrlError::Shape),
            ("idp.example", UrlError::Shape),
            ("https://", UrlError::Shape),
            ("https://a:99999/", UrlError::Shape),
            ("https://a:/", UrlError::Shape),
            (&long, UrlError::Shape),
            ("file:///keys", UrlError::Shape),
            ("ftp://a/keys", UrlError::Scheme),
            ("https://user:word@a/keys", UrlError::UserInfo),
            ("https://a/keys#part", UrlError::Fragment),
        ] {
            assert_eq!(WebUrl::parse(text), Err(error), "{text}");
        }
    }
}
