//! `[[tokens.issuers]]`: who may vouch for players, each table checked key by key.

use crate::token::{Issuer, JwksUrl, LEEWAY_SECONDS_DEFAULT, STALE_SECONDS_DEFAULT};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest prefix of accounts in bytes: with it, an account's name must still fit.
const PREFIX_BYTES_MAX: usize = 64;
/// Longest time that keys are used after their source went silent, in seconds: a month.
const STALE_SECONDS_MAX: u64 = 30 * 86_400;

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysFrom {
    /// A JWKS file, read again when it changes.
    File(PathBuf),
    /// A JWKS document on the web, fetched again and again.
    Url {
        /// Where.
        url: JwksUrl,
        /// How long its keys are used after they should have been fetched again.
        stale: Duration,
    },
}

/// An issuer, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// Who.
    pub issuer: Issuer,
    /// With which keys.
    pub keys: KeysFrom,
    /// What stands before its subjects in the names of accounts, so that it can vouch for its own only.
    pub account_prefix: String,
}

/// The keys of a table.
const KEYS: [&str; 7] = ["name", "iss", "audience", "jwks", "account_prefix", "leeway_seconds", "stale_seconds"];

/// Reads one table; relative files are taken from `base`.
///
/// # Errors
/// What is wrong, beginning with the key it is about.
pub(super) fn issuer(table: &toml::Table, base: Option<&Path>) -> Result<IssuerConfig, String> {
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("{unknown} is not a key of an issuer; there are {}", KEYS.join(", ")));
    }
    let (name, iss, jwks) = (text(table, "name")?, text(table, "iss")?, text(table, "jwks")?);
    let leeway = number(table, "leeway_seconds", LEEWAY_SECONDS_DEFAULT)?;
    let stale = number(table, "stale_seconds", STALE_SECONDS_DEFAULT)?;
    if stale > STALE_SECONDS_MAX {
        return Err(format!("stale_seconds is at most {STALE_SECONDS_MAX}"));
    }
    let account_prefix = match table.get("account_prefix") {
        None => String::new(),
        Some(_) => text(table, "account_prefix")?.to_owned(),
    };
    if account_prefix.len() > PREFIX_BYTES_MAX || account_prefix.chars().any(char::is_control) {
        return Err(format!("account_prefix has at most {PREFIX_BYTES_MAX} bytes and no control characters"));
    }
    let issuer = Issuer::new(name, iss, &audiences(table)?, leeway).map_err(|error| error.to_string())?;
    let keys = if jwks.starts_with("https://") || jwks.starts_with("http://") {
        let url = JwksUrl::parse(jwks).map_err(|error| format!("jwks {error}"))?;
        KeysFrom::Url { url, stale: Duration::from_secs(stale) }
    } else {
        KeysFrom::File(base.map_or_else(|| PathBuf::from(jwks), |base| base.join(jwks)))
    };
    Ok(IssuerConfig { issuer, keys, account_prefix })
}

fn text<'t>(table: &'t toml::Table, key: &str) -> Result<&'t str, String> {
    match table.get(key) {
        None => Err(format!("{key} is missing")),
        Some(value) => value.as_str().filter(|text| !text.is_empty()).ok_or_else(|| format!("{key} must be a text")),
    }
}

fn number(table: &toml::Table, key: &str, default: u64) -> Result<u64, String> {
    let Some(value) = table.get(key) else { return Ok(default) };
    let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| format!("{key} must be a whole number of seconds"))
}

/// One text, or a list of them.
fn audiences(table: &toml::Table) -> Result<Vec<&str>, String> {
    let wrong = || "audience must be a text or a list of texts".to_owned();
    match table.get("audience") {
        None => Err("audience is missing: it names whom the tokens are for".to_owned()),
        Some(toml::Value::String(one)) => Ok(vec![one]),
        Some(toml::Value::Array(many)) => many.iter().map(|one| one.as_str().ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<IssuerConfig, String> {
        issuer(&text.parse().expect("TOML"), Some(Path::new("/etc/penstock")))
    }

    const GOOD: &str = "name = \"studio\"\niss = \"https://id.example\"\naudience = \"games\"\n";

    #[test]
    fn files_and_urls_are_told_apart() {
        let by_file = read(&format!("{GOOD}jwks = \"keys.json\"\naccount_prefix = \"steam:\"")).expect("good");
        assert_eq!(by_file.keys, KeysFrom::File("/etc/penstock/keys.json".into()));
        assert_eq!((by_file.issuer.name(), by_file.account_prefix.as_str()), ("studio", "steam:"));
        let by_url = read(&format!("{GOOD}jwks = \"https://id.example/jwks\"\nstale_seconds = 60")).expect("good");
        let KeysFrom::Url { stale, .. } = by_url.keys else { panic!("a URL") };
        assert_eq!(stale, Duration::from_secs(60));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            (format!("{GOOD}jwks = \"k\"\njwk = 1"), "jwk is not a key of an issuer"),
            (GOOD.to_owned(), "jwks is missing"),
            (format!("{GOOD}jwks = 3"), "jwks must be a text"),
            (format!("{GOOD}jwks = \"https://user:pw@id.example\""), "jwks has user info"),
            (format!("{GOOD}jwks = \"k\"\nleeway_seconds = 301"), "leeway is at most"),
            (format!("{GOOD}jwks = \"k\"\nleeway_seconds = -1"), "leeway_seconds must be a whole number"),
            (format!("{GOOD}jwks = \"k\"\nstale_seconds = 99999999"), "stale_seconds is at most"),
            ("name = \"a\"\niss = \"b\"\njwks = \"k\"".to_owned(), "audience is missing"),
            ("name = \"a\"\niss = \"b\"\njwks = \"k\"\naudience = [1]".to_owned(), "audience must be"),
            ("name = \"a b\"\niss = \"b\"\njwks = \"k\"\naudience = \"c\"".to_owned(), "an issuer's name"),
        ] {
            let error = read(&text).expect_err("refused");
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
