//! The node that a desk command talks to.
//!
//! A URL with a password in it is refused here, because it would end up in the process list.

use clap::Args;
use std::path::PathBuf;

/// Where a command sends what it has: a node's admin listener, or the data directory of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// `http://` or `https://` and an authority, without a path.
    Url(String),
    /// A directory: its `node.sock` when a node runs on it, else its lock.
    DataDir(PathBuf),
}

/// The flags of every command that talks to a node's admin side.
#[derive(Debug, Clone, Args)]
pub(crate) struct Desk {
    /// Admin URL (with PENSTOCK_ADMIN_TOKEN in the environment) or the node's data directory.
    #[arg(long, value_name = "URL|DATA_DIR", env = "PENSTOCK_TO")]
    pub(crate) to: Destination,
    /// PEM file with the authority of the admin listener's certificate; the system's when left out.
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// File with the admin token; PENSTOCK_ADMIN_TOKEN when left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    /// Not a URL at all.
    #[error("{0:?} is not an http:// or https:// address")]
    Form(String),
    /// A path, query or fragment.
    #[error("{0:?} has a path; give only scheme, host and port")]
    Path(String),
    /// A secret where everybody can read it.
    #[error("the address carries a user or password; secrets come from files or the environment")]
    Credentials,
    /// No text.
    #[error("an address must not be empty")]
    Empty,
}

impl std::str::FromStr for Destination {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.contains("://") { base_url(text).map(Self::Url) } else { Ok(Self::DataDir(PathBuf::from(text))) }
    }
}

fn base_url(text: &str) -> Result<String, AddressError> {
    let form = || AddressError::Form(text.to_owned());
    let uri: http::Uri = text.parse().map_err(|_| form())?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https")).ok_or_else(form)?;
    let authority = uri.authority().ok_or_else(form)?;
    if authority.as_str().contains('@') {
        return Err(AddressError::Credentials);
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(AddressError::Path(text.to_owned()));
    }
    Ok(format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        assert_eq!("https://h:8444/".parse(), Ok(Destination::Url("https://h:8444".to_owned())));
        assert_eq!("/var/lib/penstock".parse(), Ok(Destination::DataDir(PathBuf::from("/var/lib/penstock"))));
        assert_eq!("data".parse(), Ok(Destination::DataDir(PathBuf::from("data"))));
        assert_eq!("http://u:p@h".parse::<Destination>(), Err(AddressError::Credentials));
        assert!(matches!("http://h/x".parse::<Destination>(), Err(AddressError::Path(_))));
        assert!(matches!("ftp://h".parse::<Destination>(), Err(AddressError::Form(_))));
        assert_eq!("".parse::<Destination>(), Err(AddressError::Empty));
    }
}
