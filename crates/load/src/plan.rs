//! What load to make: as asked, and as checked.

use http::Uri;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

/// Most connections of one plan: past it the machine's ports and files are what is measured.
pub const CONNECTIONS_MAX: u32 = 10_000;
/// Most threads of one plan.
pub const THREADS_MAX: u32 = 256;
/// Longest run: a day, in milliseconds.
pub const DURATION_MS_MAX: u64 = 24 * 3600 * 1000;

/// Which HTTP the connections speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1; over TLS when the URL says https.
    Http1,
    /// HTTP/2 over TLS, one request at a time on each connection.
    Http2,
}

/// What to ask for, how often and how.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The blob's whole URL, `http://` or `https://`.
    pub url: String,
    /// HTTP version.
    pub protocol: Protocol,
    /// Connections, at least as many as threads.
    pub connections: u32,
    /// Threads that the connections are spread over.
    pub threads: u32,
    /// Bytes of each request, at uniformly random offsets; 0 asks for the whole blob.
    pub range_bytes: u64,
    /// How long to run, in milliseconds. What is under way at the end is abandoned.
    pub duration_ms: u64,
    /// Stop after so many finished requests; 0 for no such end.
    pub requests_max: u64,
    /// Where the random offsets start: the same seed asks for the same ranges.
    pub seed: u64,
    /// PEM certificates to believe, for https.
    pub ca_pem: Vec<u8>,
}

impl LoadPlan {
    /// One mebibyte at random offsets over 32 HTTP/1.1 connections and two threads for ten seconds.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            protocol: Protocol::Http1,
            connections: 32,
            threads: 2,
            range_bytes: 1 << 20,
            duration_ms: 10_000,
            requests_max: 0,
            seed: 1,
            ca_pem: Vec::new(),
        }
    }
}

/// Why a plan was not run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The URL is not one that can be asked.
    #[error("{0} is not an http or https URL with a host")]
    Url(String),
    /// HTTP/2 is offered over TLS only.
    #[error("HTTP/2 needs an https URL")]
    Http2WithoutTls,
    /// A number out of its bounds.
    #[error("{what} must be from {min} to {max}, not {found}")]
    Bounds {
        /// Which number.
        what: &'static str,
        /// Lowest allowed.
        min: u64,
        /// Highest allowed.
        max: u64,
        /// What the plan says.
        found: u64,
    },
    /// An https URL without a certificate to believe.
    #[error("https needs the certificate authority's PEM certificate; none was found in what was given")]
    NoCertificate,
    /// A certificate that rustls cannot use.
    #[error("the certificate authority's certificate is not usable")]
    Certificate(#[source] rustls::Error),
    /// The first request failed.
    #[error("the blob cannot be asked about: {0}")]
    Probe(String),
    /// The runtime of a thread did not start.
    #[error("a generator thread could not start its runtime")]
    Runtime(#[source] std::io::Error),
    /// A bug of ours.
    #[error("a generator thread ended abnormally")]
    Thread,
}

/// A plan whose numbers and URL make sense.
#[derive(Debug)]
pub(crate) struct CheckedPlan {
    pub(crate) uri: Uri,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authority: String,
    pub(crate) tls: Option<std::sync::Arc<rustls::ClientConfig>>,
    pub(crate) protocol: Protocol,
    pub(crate) connections: u32,
    pub(crate) threads: u32,
    pub(crate) range_bytes: u64,
    pub(crate) duration_ms: u64,
    pub(crate) requests_max: u64,
    pub(crate) seed: u64,
}

impl CheckedPlan {
    pub(crate) fn check(plan: &LoadPlan) -> Result<Self, LoadError> {
        let bad_url = || LoadError::Url(plan.url.clone());
        let uri: Uri = plan.url.parse().map_err(|_| bad_url())?;
        let host = uri.host().ok_or_else(bad_url)?.trim_matches(['[', ']']).to_owned();
        let authority = uri.authority().ok_or_else(bad_url)?.to_string();
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad_url()),
        };
        if plan.protocol == Protocol::Http2 && !secure {
            return Err(LoadError::Http2WithoutTls);
        }
        bounds("threads", plan.threads.into(), 1, THREADS_MAX.into())?;
        bounds("connections", plan.connections.into(), plan.threads.into(), CONNECTIONS_MAX.into())?;
        bounds("the duration in milliseconds", plan.duration_ms, 1, DURATION_MS_MAX)?;
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure { Some(std::sync::Arc::new(tls_config(&plan.ca_pem, plan.protocol)?)) } else { None };
        Ok(Self {
            uri,
            host,
            port,
            authority,
            tls,
            protocol: plan.protocol,
            connections: plan.connections,
            threads: plan.threads,
            range_bytes: plan.range_bytes,
            duration_ms: plan.duration_ms,
            requests_max: plan.requests_max,
            seed: plan.seed,
        })
    }

    pub(crate) fn check_range(&self, object_bytes: u64) -> Result<(), LoadError> {
        bounds("the range in bytes", self.range_bytes, 0, object_bytes)
    }
}

const fn bounds(what: &'static str, found: u64, min: u64, max: u64) -> Result<(), LoadError> {
    if found < min || found > max {
        return Err(LoadError::Bounds { what, min, max, found });
    }
    Ok(())
}

fn tls_config(ca_pem: &[u8], protocol: Protocol) -> Result<rustls::ClientConfig, LoadError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem).flatten() {
        roots.add(certificate).map_err(LoadError::Certificate)?;
    }
    if roots.is_empty() {
        return Err(LoadError::NoCertificate);
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(LoadError::Certificate)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(spoil: impl FnOnce(&mut LoadPlan)) -> LoadError {
        let mut plan = LoadPlan::new("http://localhost:8080/v1/blobs/x");
        spoil(&mut plan);
        CheckedPlan::check(&plan).expect_err("a spoilt plan")
    }

    #[test]
    fn a_good_plan_keeps_host_and_port() {
        let plan = CheckedPlan::check(&LoadPlan::new("http://[::1]:8080/x")).expect("a good plan");
        assert_eq!((plan.host.as_str(), plan.port, plan.authority.as_str()), ("::1", 8080, "[::1]:8080"));
        assert_eq!(CheckedPlan::check(&LoadPlan::new("http://a/x")).expect("a good plan").port, 80);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert!(matches!(refusal(|p| p.url = "ftp://a/x".into()), LoadError::Url(_)));
        assert!(matches!(refusal(|p| p.url = "/x".into()), LoadError::Url(_)));
        assert!(matches!(refusal(|p| p.protocol = Protocol::Http2), LoadError::Http2WithoutTls));
        assert!(matches!(refusal(|p| p.threads = 0), LoadError::Bounds { what: "threads", .. }));
        assert!(matches!(refusal(|p| p.connections = 1), LoadError::Bounds { what: "connections", min: 2, .. }));
        assert!(matches!(refusal(|p| p.duration_ms = 0), LoadError::Bounds { .. }));
        assert!(matches!(refusal(|p| p.url = "https://a/x".into()), LoadError::NoCertificate));
    }

    #[test]
    fn a_range_larger_than_the_blob_is_refused() {
        let plan = CheckedPlan::check(&LoadPlan::new("http://a/x")).expect("a good plan");
        assert!(plan.check_range(1 << 20).is_ok());
        assert!(matches!(plan.check_range(1000), Err(LoadError::Bounds { max: 1000, .. })));
    }
}
