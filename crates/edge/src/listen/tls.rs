//! TLS: the server's configuration, its certificate, and swapping that certificate while connections live.
//!
//! One [`TlsFront`] serves all workers, so that a session ticket from one is taken by all. Keys never appear in errors.

use super::seal::sealed_from_the_map;
use crate::config::TlsFiles;
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer, cipher_suite};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedCipherSuite};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

/// ALPN names, in the order of preference.
pub const ALPN_HTTP2: &[u8] = b"h2";
/// See [`ALPN_HTTP2`].
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// AES-128-GCM first: it is the fastest where AES is in hardware, which it is on every player's and server's processor
/// of the last decade, and 128 bits are enough.
const CIPHER_SUITES: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file.
    #[error("tls.cert: no certificate can be read from {0}")]
    Certificate(PathBuf, #[source] rustls_pki_types::pem::Error),
    /// The certificate file holds none.
    #[error("tls.cert: {0} holds no certificate")]
    NoCertificate(PathBuf),
    /// The key file.
    #[error("tls.key: no private key can be read from {0}")]
    Key(PathBuf, #[source] rustls_pki_types::pem::Error),
    /// Key and certificate do not belong together, or the key's kind is not supported.
    #[error("tls: the key in {0} does not fit the certificate")]
    Mismatch(PathBuf, #[source] rustls::Error),
    /// The library refused its own configuration.
    #[error("tls: cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// The TLS side of all listeners.
#[derive(Debug)]
pub struct TlsFront {
    config: Arc<ServerConfig>,
    certificate: Arc<CurrentCertificate>,
}

impl TlsFront {
    /// Reads the certificate and sets everything up.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let certificate = Arc::new(CurrentCertificate(ArcSwap::from_pointee(read_certificate(files)?)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        config.ignore_client_order = true;
        // Tickets carry the session, so no worker keeps a table; the ticketer rotates its key by itself.
        config.ticketer = Ticketer::new().map_err(TlsError::Setup)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config), certificate })
    }

    /// What a handshake is done with.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Takes a new certificate for all handshakes from now on. Live connections keep theirs.
    pub fn swap(&self, certificate: CertifiedKey) {
        self.certificate.0.store(Arc::new(certificate));
    }
}

/// Reads and checks a certificate without using it: the first half of a reload.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn read_certificate(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::Certificate(files.cert.clone(), source))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(files.cert.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Key(files.key.clone(), source))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::Mismatch(files.key.clone(), source))
}

fn provider() -> CryptoProvider {
    /// Made once: they live as long as the process.
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> =
        LazyLock::new(|| CIPHER_SUITES.iter().copied().map(sealed_from_the_map).collect());
    CryptoProvider { cipher_suites: SUITES.clone(), ..aws_lc_rs::default_provider() }
}

/// The certificate that the next handshake gets.
#[derive(Debug)]
struct CurrentCertificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
