//! Fetching a key set over HTTP: one GET, one bounded answer, nothing else.
//!
//! Owns the seam that tests replace, and the real thing: HTTP/1.1 on a connection of its own, with TLS for `https`. No
//! redirect is followed: the operator named the place that may say whom this edge believes, and no answer may name
//! another. It must not know what a key is, or when one is wanted.

use super::jwks::JWKS_BYTES_MAX;
use super::url::JwksUrl;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, HOST, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// Longest time for all of a fetch: name, connection, TLS, answer and body.
const FETCH_TIME: Duration = Duration::from_secs(10);
/// Read buffer, and so the largest head of an answer.
const READ_BYTES_MAX: usize = 32 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 100;

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
    /// The URL makes no request.
    #[error("the key source's url makes no request")]
    Request(#[source] http::Error),
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
        let stream = TcpStream::connect((url.host(), url.port())).await.map_err(FetchError::Connect)?;
        if !url.is_secure() {
            return exchange(stream, url).await;
        }
        let tls = self.tls.clone().ok_or_else(|| FetchError::Tls(io::Error::other("no tls configuration")))?;
        let name =
            ServerName::try_from(url.host().to_owned()).map_err(|error| FetchError::Tls(io::Error::other(error)))?;
        let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(FetchError::Tls)?;
        exchange(stream, url).await
    }
}

impl JwksFetcher for HttpFetcher {
    async fn fetch(&self, url: &JwksUrl) -> Result<Fetched, FetchError> {
        let fetch = tokio::time::timeout(self.time, self.get(url));
        fetch.await.map_err(|_| FetchError::Timeout(self.time.as_secs()))?
    }
}

async fn exchange<T>(stream: T, url: &JwksUrl) -> Result<Fetched, FetchError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(READ_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(FetchError::Http)?;
    // What goes wrong on the connection is told to the sender, and the connection ends with this exchange.
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(url.target())
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("penstock/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(ACCEPT_ENCODING, "identity")
        .body(Empty::<Bytes>::new())
        .map_err(FetchError::Request)?;
    let (head, body) = sender.send_request(request).await.map_err(FetchError::Http)?.into_parts();
    match head.status {
        StatusCode::OK => {}
        status if status.is_redirection() => return Err(FetchError::Redirect(status.as_u16())),
        status => return Err(FetchError::Status(status.as_u16())),
    }
    if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(FetchError::Encoding);
    }
    let body =
        Limited::new(body, JWKS_BYTES_MAX).collect().await.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => FetchError::Http(*error),
            Err(other) if other.is::<LengthLimitError>() => FetchError::TooLarge,
            Err(other) => FetchError::Connect(io::Error::other(other)),
        })?;
    Ok(Fetched { body: body.to_bytes(), max_age: max_age(&head.headers) })
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

/// Why TLS for key sources cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The CA file cannot be read or is not PEM.
    #[error("the file of certificate authorities cannot be read")]
    CaFile(#[source] rustls::pki_types::pem::Error),
    /// The CA file holds nothing usable.
    #[error("the file of certificate authorities holds none")]
    CaEmpty,
    /// The machine has no certificate authorities.
    #[error("this system's certificate authorities cannot be found")]
    NoNativeRoots,
    /// The library refuses its own defaults.
    #[error("tls cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// A configuration that trusts the authorities in `ca_file`, or the system's when there is none. Reads files.
///
/// # Errors
/// [`TlsSetupError`].
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in CertificateDer::pem_file_iter(path).map_err(TlsSetupError::CaFile)? {
                roots.add_parsable_certificates([certificate.map_err(TlsSetupError::CaFile)?]);
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(if ca_file.is_some() { TlsSetupError::CaEmpty } else { TlsSetupError::NoNativeRoots });
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsSetupError::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
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
