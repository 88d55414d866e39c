//! Whom a TLS connection to a node may be with: the machine's roots, or one file of them.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::path::PathBuf;
use std::sync::Arc;

/// Certificates that are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Roots {
    /// Those of the operating system.
    #[default]
    System,
    /// Those in a PEM file, and no others.
    File(PathBuf),
}

/// Why there is nobody to believe.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not there or not PEM.
    #[error("cannot read certificates from {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// No certificate in it.
    #[error("no usable certificate in {0}")]
    Empty(PathBuf),
    /// The operating system has none.
    #[error("this machine has no usable root certificates: name a file of them")]
    NoSystemRoots,
    /// The library refused its own defaults.
    #[error("cannot set TLS up")]
    Setup(#[source] rustls::Error),
}

/// A client's TLS settings: HTTP/1.1, TLS 1.2 and 1.3, no client certificate.
pub(super) fn config(roots: &Roots) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(store(roots)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn store(roots: &Roots) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(TlsError::NoSystemRoots);
            }
        }
        Roots::File(path) => {
            let failed = |source| TlsError::File { path: path.clone(), source };
            for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
                // One bad certificate among good ones is no reason to trust less of them.
                let _ = store.add(certificate.map_err(failed)?);
            }
            if store.is_empty() {
                return Err(TlsError::Empty(path.clone()));
            }
        }
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_certificates_are_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("ca.pem");
        assert!(matches!(config(&Roots::File(path.clone())), Err(TlsError::File { .. })));
        std::fs::write(&path, "no certificate here\n").expect("write");
        assert!(matches!(config(&Roots::File(path)), Err(TlsError::Empty(_))));
    }
}
