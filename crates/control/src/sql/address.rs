//! The URL of a PostgreSQL server, and what it says about TLS.
//!
//! The URL may hold a password, so nothing that was read from it stands in an error.

use super::postgres::{CONNECT_MAX, Encryption, SILENCE_MAX, Server};
use crate::secret::SecretText;
use postgres::Config;
use postgres::config::{Host, SslMode};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where Debian's server listens; the default of a URL that names no host.
const SOCKET_DIR: &str = "/var/run/postgresql";
/// What other clients know and this one does not.
const UNSUPPORTED: [&str; 8] =
    ["sslcert", "sslkey", "sslcrl", "sslpassword", "service", "passfile", "gssencmode", "ssl_min_protocol_version"];

/// Why the URL of a PostgreSQL server is refused. It says nothing that stood in the URL.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It is no such URL.
    #[error(
        "the database's URL cannot be read: write postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…, with %XX for special characters"
    )]
    Malformed,
    /// It has an option that is not supported.
    #[error("the database's URL has the option {0}, which is not supported")]
    Option(&'static str),
    /// It asks for a kind of TLS that is not supported.
    #[error(
        "the database's URL has an sslmode that is not supported: use verify-full (require means the same here), or disable"
    )]
    Mode,
    /// It names an authority without asking for TLS, or TLS for a Unix socket.
    #[error("the database's URL asks for TLS where none is spoken: see sslmode and sslrootcert")]
    Contradiction,
    /// The authorities' file cannot be used.
    #[error("cannot read certificates from {path}", path = path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// There are no authorities that a server's certificate could be checked against.
    #[error("there are no certificates of authorities: name a file with sslrootcert=FILE in the database's URL")]
    NoAuthorities,
    /// The TLS library refuses its own defaults.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// The options about TLS.
#[derive(Default)]
struct TlsOptions {
    mode: Option<Mode>,
    authorities: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    VerifyFull,
}

/// Reads a server's URL; connects to nothing.
pub(super) fn parse(url: &SecretText) -> Result<Server, AddressError> {
    let (url, tls) = take_tls_options(url.expose())?;
    let mut config: Config = url.parse().map_err(|_| AddressError::Malformed)?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        config.host_path(SOCKET_DIR);
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_MAX);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE_MAX);
    }
    if config.get_application_name().is_none() {
        config.application_name("penstock");
    }
    let any_socket = config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_)));
    let mode = tls.mode.unwrap_or(if any_socket || is_here(&config) { Mode::Disable } else { Mode::VerifyFull });
    let encryption = match mode {
        Mode::Disable if tls.authorities.is_some() && !any_socket => return Err(AddressError::Contradiction),
        Mode::VerifyFull if any_socket => return Err(AddressError::Contradiction),
        Mode::Disable => {
            config.ssl_mode(SslMode::Disable);
            Encryption::Plain
        }
        Mode::VerifyFull => {
            config.ssl_mode(SslMode::Require);
            Encryption::Tls(tls_client(tls.authorities.as_deref())?)
        }
    };
    Ok(Server { config, encryption })
}

/// Takes the options out that the client library does not know, or not like this.
fn take_tls_options(url: &str) -> Result<(String, TlsOptions), AddressError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(AddressError::Malformed);
    }
    // A password may hold a question mark; it ends at the first @, as the client library reads it.
    let secrets_end = url.find('@').unwrap_or(0);
    let Some(at) = url[secrets_end..].find('?').map(|at| secrets_end + at) else {
        return Ok((url.to_owned(), TlsOptions::default()));
    };
    let mut tls = TlsOptions::default();
    let mut rest = Vec::new();
    for option in url[at + 1..].split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').ok_or(AddressError::Malformed)?;
        if let Some(unsupported) = UNSUPPORTED.iter().find(|name| **name == key) {
            return Err(AddressError::Option(unsupported));
        }
        match (key, value) {
            ("sslmode", "disable") => tls.mode = Some(Mode::Disable),
            ("sslmode", "verify-full" | "require") => tls.mode = Some(Mode::VerifyFull),
            ("sslmode", _) => return Err(AddressError::Mode),
            ("sslrootcert", "system") => tls.authorities = None,
            ("sslrootcert", path) if path.contains('%') => return Err(AddressError::Option("sslrootcert with a %")),
            ("sslrootcert", path) => tls.authorities = Some(PathBuf::from(path)),
            _ => rest.push(option),
        }
    }
    let url = if rest.is_empty() { url[..at].to_owned() } else { format!("{}?{}", &url[..at], rest.join("&")) };
    Ok((url, tls))
}

/// Whether the server can only be on this machine.
fn is_here(config: &Config) -> bool {
    let named = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
        Host::Unix(_) => true,
    });
    named && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

fn tls_client(authorities: Option<&Path>) -> Result<MakeRustlsConnect, AddressError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = authorities {
        let refused = |source| AddressError::Authorities { path: path.to_owned(), source };
        for certificate in CertificateDer::pem_file_iter(path).map_err(refused)? {
            roots.add(certificate.map_err(refused)?)?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err(AddressError::NoAuthorities);
    }
    // Named, because a process may hold several providers and the default would be a guess.
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<Server, AddressError> {
        parse(&SecretText::new(url.to_owned()))
    }

    fn is_plain(url: &str) -> bool {
        matches!(parsed(url).expect(url).encryption, Encryption::Plain)
    }

    #[test]
    fn servers_elsewhere_are_asked_for_tls_and_sockets_are_not() {
        for here in [
            "postgres://localhost/db",
            "postgresql://u:p@127.0.0.1:5433/db",
            "postgres://[::1]/db",
            "postgres:///db?host=/run/pg",
            "postgres:///db",
            "postgres://u@%2Frun%2Fpg/db",
            "postgres://db.example/db?sslmode=disable",
            "postgres:///db?host=/run/pg&sslmode=disable",
        ] {
            assert!(is_plain(here), "{here}");
        }
        for elsewhere in [
            "postgres://db.example/db?sslmode=verify-full&application_name=x",
            "postgres://u:p%3F@db.example/db?sslmode=require",
            "postgres://u:p?word@db.example,other.example/db",
            "postgres://localhost/db?hostaddr=192.0.2.1",
            "postgres://localhost/db?sslmode=verify-full",
        ] {
            assert!(!is_plain(elsewhere), "{elsewhere}");
        }
        let server = parsed("postgres:///db?host=/run/pg&sslrootcert=/no/such").expect("a socket needs no authority");
        assert_eq!(server.config.get_dbname(), Some("db"));
    }

    #[test]
    fn what_is_refused_says_why_and_never_what_stood_there() {
        let secret = "hunter2";
        let refused = |url: &str| {
            let Err(error) = parsed(&url.replace("SECRET", secret)) else { panic!("{url} is accepted") };
            let printed = format!("{error} {error:?} {error:#?}");
            assert!(!printed.contains(secret), "{printed}");
            error
        };
        for mode in ["prefer", "allow", "verify-ca", "SECRET"] {
            let url = format!("postgres://u:SECRET@db.example/db?sslmode={mode}");
            assert!(matches!(refused(&url), AddressError::Mode));
        }
        for malformed in [
            "mysql://u:SECRET@h/db",
            "postgres:SECRET",
            "postgres://u:SECRET@h:notaport/db",
            "postgres://u@h/db?SECRET",
            "postgres://u@h/db?SECRET=1",
        ] {
            assert!(matches!(refused(malformed), AddressError::Malformed), "{malformed}");
        }
        assert!(matches!(refused("postgres://u:SECRET@h/db?sslcert=x"), AddressError::Option("sslcert")));
        assert!(matches!(
            refused("postgres://u:SECRET@h/db?sslmode=disable&sslrootcert=/x"),
            AddressError::Contradiction
        ));
        assert!(matches!(
            refused("postgres:///db?host=/run&password=SECRET&sslmode=require"),
            AddressError::Contradiction
        ));
        let none = refused("postgres://u:SECRET@h/db?sslrootcert=/no/such/file");
        assert!(matches!(none, AddressError::Authorities { .. }));
    }
}
