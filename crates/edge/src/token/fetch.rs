//! Fetching a key set over HTTP: one GET, one bounded answer, nothing else.
//!
//! Owns the seam that tests replace, and the real thing: HTTP/1.1 on a connection of its own, with TLS for `https`. No
//! redirect is followed: the operator named the place that may say whom this edge believes, and no answer may name
//! another. It must not know what a key is, or when one is wanted.

use super::jwks::JWKS_BYTES_MAX;
use crate::web::{self, CallError, WebUrl as JwksUrl};
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use rustls::ClientConfig;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Longest time for all of a fetch: name, connection, TLS, answer and body.
const FETCH_TIME: Duration = Duration::from_secs(10);
/// What a source answered.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The document, of at most [`JWKS_BYTES_MAX`] bytes.
    pub body: Bytes,
    /// `max-age` of its `Cache-Control`.
    pub max_age: Option<Duration>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error("the key source cannot be reached")]
    Connect(#[source] io::Error),
    /// TLS failed, or there are no authorities to believe.
    #[error("the key source cannot be trusted")]
    Tls(#[source] io::Error),
    /// The exchange broke.
    #[error("the key source broke off")]
    Http(#[source] hyper::Error),
    /// The answer points elsewhere.
    #[error("the key source redirects ({0}), which is not followed")]
    Redirect(u16),
    /// Another status than 200.
    #[error("the key source answers {0}")]
    Status(u16),
    /// The body is compressed, although that was not asked for.
    #[error("the key source encodes its answer")]
    Encoding,
    /// The body is too large.
    #[error("the key source's answer has more than {JWKS_BYTES_MAX} bytes")]
    TooLarge,
    /// It took too long.
    #[error("the key source took longer than {0} s")]
    Timeout(u64),
}

/// Where key sets come from. An implementation bounds the body to [`JWKS_BYTES_MAX`] and its own time, and follows no
/// redirect.
pub trait JwksFetcher: Send + Sync + 'static {
    /// Gets the document at `url`.
    fn fetch(&self, url: &JwksUrl) -> impl Future<Output = Result<Fetched, FetchError>> + Send;
}

/// The real source.
pub struct HttpFetcher {
    tls: Option<Arc<ClientConfig>>,
    time: Duration,
}

impl HttpFetcher {
    /// Fetches with this configuration of TLS. Without one, every `https` URL fails.
    #[must_use]
    pub const fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls, time: FETCH_TIME }
    }

    /// The same with another bound on the time of a fetch.
    #[must_use]
    pub const fn within(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    async fn get(&self, url: &JwksUrl) -> Result<Fetched, FetchError> {
        let mut request = Request::new(Full::new(Bytes::new()));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
        let answer = web::call(url, self.tls.as_ref(), request).await?;
        let (status, max_age) = (answer.response.status(), max_age(answer.response.headers()));
        match status {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(FetchError::Redirect(status.as_u16())),
            status => return Err(FetchError::Status(status.as_u16())),
        }
        let (response, _connection) = answer.split();
        let body = Limited::new(response.into_body(), JWKS_BYTES_MAX).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => FetchError::Http(*error),
            Err(other) if other.is::<LengthLimitError>() => FetchError::TooLarge,
            Err(other) => FetchError::Connect(io::Error::other(other)),
        })?;
        Ok(Fetched { body: body.to_bytes(), max_age })
    }
}

impl From<CallError> for FetchError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Connect(error) => Self::Connect(error),
            CallError::Tls(error) => Self::Tls(error),
            CallError::Http(error) => Self::Http(error),
            CallError::Encoding => Self::Encoding,
        }
    }
}

impl JwksFetcher for HttpFetcher {
    async fn fetch(&self, url: &JwksUrl) -> Result<Fetched, FetchError> {
        let fetch = tokio::time::timeout(self.time, self.get(url));
        fetch.await.map_err(|_| FetchError::Timeout(self.time.as_secs()))?
    }
}

/// `max-age` (RFC 9111, section 5.2.2.1). `no-store` and `no-cache` count as none at all: keys must be kept to be used.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let texts = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = texts.flat_map(|text| text.split(',')).filter_map(|one| one.trim().split_once('='));
    let (_, seconds) = directives.find(|(name, _)| name.trim().eq_ignore_ascii_case("max-age"))?;
    let seconds = seconds.trim().trim_matches('"');
    if seconds.is_empty() || !seconds.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than a number has are a long time.
    Some(Duration::from_secs(seconds.parse().unwrap_or(u64::from(u32::MAX)).min(u64::from(u32::MAX))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_an_answer_is_read() {
        for (values, expected) in [
            (&[][..], None),
            (&["no-store"], None),
            (&["public, max-age=300"], Some(300)),
            (&["public", "Max-Age=\"5\", max-age=7"], Some(5)),
            (&["s-maxage=9"], None),
            (&["max-age=-1"], None),
            (&["max-age="], None),
            (&["max-age=1.5"], None),
            (&["max-age=99999999999999999999999"], Some(u64::from(u32::MAX))),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CACHE_CONTROL, value.parse().expect("value"));
            }
            assert_eq!(max_age(&headers).map(|age| age.as_secs()), expected, "{values:?}");
        }
    }
}
