//! Calls to other servers: one request on a connection of its own, over HTTP/1.1, with TLS for `https`.
//!
//! Whoever calls bounds the time and the body. No redirect is followed here: the operator named the place that is
//! believed, and no answer may name another.

mod url;

pub use url::{UrlError, WebUrl};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// Read buffer, and so the largest head of an answer.
const READ_BYTES_MAX: usize = 32 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 100;

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("the server cannot be reached")]
    Connect(#[source] io::Error),
    /// TLS failed, or there are no authorities to believe.
    #[error("the server cannot be trusted")]
    Tls(#[source] io::Error),
    /// The exchange broke.
    #[error("the server broke off")]
    Http(#[source] hyper::Error),
    /// The body is encoded, although that was not asked for.
    #[error("the server encodes its answer")]
    Encoding,
}

/// An answer whose body is still to come. Dropping it ends the connection.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    /// What goes wrong on the connection is told to the body.
    _driver: AbortOnDropHandle<hyper::Result<()>>,
}

impl Answer {
    /// The response, and what must be kept until its body was read.
    pub(crate) fn split(self) -> (Response<Incoming>, impl Sized) {
        (self.response, self._driver)
    }
}

/// Sends a request for `url`, whose host and target it fills in.
pub(crate) async fn call(
    url: &WebUrl,
    tls: Option<&Arc<ClientConfig>>,
    mut request: Request<Full<Bytes>>,
) -> Result<Answer, CallError> {
    let malformed = |error| CallError::Connect(io::Error::other(error));
    *request.uri_mut() = url.target().parse().map_err(malformed)?;
    let host = HeaderValue::from_str(url.authority()).map_err(|error| CallError::Connect(io::Error::other(error)))?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("penstock/", env!("CARGO_PKG_VERSION"))));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let stream = TcpStream::connect((url.host(), url.port())).await.map_err(CallError::Connect)?;
    if !url.is_secure() {
        return exchange(stream, request).await;
    }
    let tls = tls.cloned().ok_or_else(|| CallError::Tls(io::Error::other("no tls configuration")))?;
    let name = ServerName::try_from(url.host().to_owned()).map_err(|error| CallError::Tls(io::Error::other(error)))?;
    let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(CallError::Tls)?;
    exchange(stream, request).await
}

async fn exchange<T>(stream: T, request: Request<Full<Bytes>>) -> Result<Answer, CallError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(READ_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(CallError::Http)?;
    let driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(CallError::Http)?;
    if response.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(CallError::Encoding);
    }
    Ok(Answer { response, _driver: driver })
}

/// Why TLS for such calls cannot be set up.
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
