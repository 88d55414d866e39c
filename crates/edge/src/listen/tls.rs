//! TLS: the server's configuration, its certificate, and swapping that certificate while connections live.
//!
//! One [`TlsFront`] serves all workers, so that a session ticket from one is taken by all. Keys never appear in errors.

use super::seal::sealed_from_the_map;
use crate::config::TlsFiles;
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer, cipher_suite};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{InconsistentKeys, ServerConfig, SupportedCipherSuite};
use rustls_pki_types::pem;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
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
    Certificate(PathBuf, #[source] pem::Error),
    /// The certificate file holds none.
    #[error("tls.cert: {0} holds no certificate")]
    NoCertificate(PathBuf),
    /// The key file.
    #[error("tls.key: no private key can be read from {0}")]
    Key(PathBuf, #[source] pem::Error),
    /// What is in the certificate file is no certificate.
    #[error("tls.cert: the certificate in {0} cannot be used")]
    Unsound(PathBuf, #[source] rustls::Error),
    /// The key's kind is not supported, or it is no key.
    #[error("tls.key: the key in {0} is none that TLS can use")]
    Unfit(PathBuf, #[source] rustls::Error),
    /// Key and certificate do not belong together.
    #[error("tls.key: the key in {0} does not belong to the certificate in tls.cert")]
    Mismatch(PathBuf, #[source] rustls::Error),
    /// The library refused its own configuration.
    #[error("tls: cannot be set up")]
    Setup(#[source] rustls::Error),
}

impl TlsError {
    /// The key of the configuration that names the file.
    pub(crate) const fn key(&self) -> &'static str {
        match self {
            Self::Certificate(..) | Self::NoCertificate(_) | Self::Unsound(..) => "tls.cert",
            Self::Key(..) | Self::Unfit(..) | Self::Mismatch(..) => "tls.key",
            Self::Setup(_) => "tls",
        }
    }

    /// Why the file could not be read at all.
    pub(crate) const fn unreadable(&self) -> Option<&io::Error> {
        match self {
            Self::Certificate(_, pem::Error::Io(error)) | Self::Key(_, pem::Error::Io(error)) => Some(error),
            _ => None,
        }
    }
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
    pair(files, read_chain(files)?, read_key(files)?)
}

/// All that is wrong with the two files; nothing if [`read_certificate`] takes them.
#[must_use]
pub fn check_files(files: &TlsFiles) -> Vec<TlsError> {
    match (read_chain(files), read_key(files)) {
        (Ok(chain), Ok(key)) => pair(files, chain, key).err().into_iter().collect(),
        (chain, key) => chain.err().into_iter().chain(key.err()).collect(),
    }
}

fn read_chain(files: &TlsFiles) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::Certificate(files.cert.clone(), source))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(files.cert.clone()));
    }
    Ok(chain)
}

fn read_key(files: &TlsFiles) -> Result<Arc<dyn SigningKey>, TlsError> {
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Key(files.key.clone(), source))?;
    let loaded = provider().key_provider.load_private_key(key);
    loaded.map_err(|source| TlsError::Unfit(files.key.clone(), source))
}

fn pair(
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
) -> Result<CertifiedKey, TlsError> {
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // A key that cannot tell its public half is taken at its word, as the library itself does.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(source @ rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch(files.key.clone(), source)),
        Err(source) => Err(TlsError::Unsound(files.cert.clone(), source)),
    }
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
