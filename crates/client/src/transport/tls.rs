//! Which certificates are believed and which protocols are offered. Reads a CA file; opens no socket.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be read or is not PEM.
    #[error("cannot read certificates from {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// The CA file holds nothing usable.
    #[error("{0} holds no certificate")]
    CaEmpty(PathBuf),
    /// The machine has no certificate authorities.
    #[error("this system's certificate authorities cannot be found: name one with --ca")]
    NoNativeRoots,
    /// The library refuses its own defaults.
    #[error("tls cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// A configuration that trusts the authorities in `ca_file`, or the system's when there is none.
///
/// # Errors
/// [`TlsError`].
pub fn client_config(ca_file: Option<&Path>, offer_http2: bool) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match ca_file {
        Some(path) => roots_from_file(path)?,
        None => native_roots()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols =
        if offer_http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Arc::new(config))
}

fn roots_from_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let failed = |source| TlsError::CaFile { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
        roots.add_parsable_certificates([certificate.map_err(failed)?]);
    }
    if roots.is_empty() { Err(TlsError::CaEmpty(path.to_owned())) } else { Ok(roots) }
}

fn native_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoNativeRoots) } else { Ok(roots) }
}
