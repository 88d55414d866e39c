//! A certificate for loopback names, signed by an authority that only the test knows.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use std::io;
use std::path::{Path, PathBuf};

/// The three files that a TLS listener and its clients need.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The authority, PEM.
    pub ca: PathBuf,
    /// The leaf, PEM.
    pub cert: PathBuf,
    /// The leaf's secret key, PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes the files in `dir`, for localhost, 127.0.0.1 and ::1.
    ///
    /// # Errors
    /// Those of the file system.
    ///
    /// # Panics
    /// When the certificate library refuses constants.
    pub fn loopback(dir: &Path) -> io::Result<Self> {
        let mut authority = CertificateParams::default();
        // Names that differ: OpenSSL takes a leaf whose issuer has its own name for self-signed.
        authority.distinguished_name.push(DnType::CommonName, "Penstock test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority_key = KeyPair::generate().expect("a key can be made");
        let ca = authority.self_signed(&authority_key).expect("constants are good").pem();
        let issuer = Issuer::new(authority, authority_key);
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut leaf = CertificateParams::new(names).expect("constants are good");
        leaf.distinguished_name.push(DnType::CommonName, "Penstock under test");
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf_key = KeyPair::generate().expect("a key can be made");
        let cert = leaf.signed_by(&leaf_key, &issuer).expect("constants are good").pem();
        let files = Self { ca: dir.join("ca.pem"), cert: dir.join("cert.pem"), key: dir.join("cert.key") };
        std::fs::write(&files.ca, ca)?;
        std::fs::write(&files.cert, cert)?;
        std::fs::write(&files.key, leaf_key.serialize_pem())?;
        Ok(files)
    }
}
