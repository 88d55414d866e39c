//! The quickstart's certificate: an authority made for this directory and one leaf for loopback names.
//!
//! The authority's secret key is never stored: nobody who reads the directory can sign with it, so
//! putting `ca.pem` into a trust store risks nothing beyond this one certificate.

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Names that the certificate is good for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A leaf lives this long: platforms refuse more than 398 days.
const LIFE: Duration = Duration::from_secs(397 * 24 * 3600);
/// An older certificate is made anew when the quickstart is run again.
const RENEW_AFTER: Duration = Duration::from_secs(300 * 24 * 3600);

/// Where the three files are.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// The authority's certificate, PEM.
    pub(crate) ca: PathBuf,
    /// The leaf's certificate, PEM.
    pub(crate) cert: PathBuf,
    /// The leaf's secret key, PEM, mode 0600.
    pub(crate) key: PathBuf,
}

/// Makes the files unless they are there and young enough.
///
/// # Errors
/// When they cannot be made or written.
pub(crate) fn ensure(dir: &Path, now: SystemTime) -> anyhow::Result<Files> {
    let files = Files { ca: dir.join("ca.pem"), cert: dir.join("cert.pem"), key: dir.join("cert.key") };
    if is_young(&files, now) {
        return Ok(files);
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let made = make(now).context("cannot make a certificate")?;
    // The key comes first: a certificate without its key would look finished to the next run.
    replace(&files.key, made.key.as_bytes(), 0o600)?;
    replace(&files.ca, made.ca.as_bytes(), 0o644)?;
    replace(&files.cert, made.cert.as_bytes(), 0o644)?;
    Ok(files)
}

fn is_young(files: &Files, now: SystemTime) -> bool {
    let age = |path: &Path| {
        let made = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
        // A file from the future was made just now, by a clock that runs ahead.
        Some(now.duration_since(made).unwrap_or_default())
    };
    [&files.ca, &files.cert, &files.key].iter().all(|path| age(path).is_some_and(|age| age < RENEW_AFTER))
}

struct Made {
    ca: String,
    cert: String,
    key: String,
}

fn make(now: SystemTime) -> Result<Made, rcgen::Error> {
    // A day back: clocks of containers and hosts differ.
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or(LIFE).saturating_sub(DAY);
    let from = date_time_ymd(1970, 1, 1) + since_epoch;
    let until = from + LIFE;

    let mut authority = CertificateParams::default();
    authority.distinguished_name = name("Penstock quickstart authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (authority.not_before, authority.not_after) = (from, until);
    let authority_key = KeyPair::generate()?;
    let ca = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let mut leaf = CertificateParams::new(NAMES.map(str::to_owned))?;
    leaf.distinguished_name = name("Penstock quickstart");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (leaf.not_before, leaf.not_after) = (from, until);
    let leaf_key = KeyPair::generate()?;
    let cert = leaf.signed_by(&leaf_key, &issuer)?.pem();
    Ok(Made { ca, cert, key: leaf_key.serialize_pem() })
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// Writes beside the file and renames, so that a reader sees the old bytes or the new ones.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = || -> std::io::Result<()> {
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn files_are_made_once_and_renewed_when_old() {
        let dir = tempfile::tempdir().expect("dir");
        let now = SystemTime::now();
        let files = ensure(dir.path(), now).expect("made");
        let first = std::fs::read(&files.cert).expect("there");
        ensure(dir.path(), now).expect("kept");
        assert_eq!(std::fs::read(&files.cert).expect("there"), first);
        ensure(dir.path(), now + RENEW_AFTER + DAY).expect("renewed");
        assert_ne!(std::fs::read(&files.cert).expect("there"), first);
        let mode = std::fs::metadata(&files.key).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(!dir.path().join("ca.key").exists(), "the authority's key is not stored");
    }

    #[test]
    fn a_lost_key_means_a_new_certificate() {
        let dir = tempfile::tempdir().expect("dir");
        let files = ensure(dir.path(), SystemTime::now()).expect("made");
        let first = std::fs::read(&files.cert).expect("there");
        std::fs::remove_file(&files.key).expect("removed");
        ensure(dir.path(), SystemTime::now()).expect("made");
        assert_ne!(std::fs::read(&files.cert).expect("there"), first);
    }
}
