//! `[control]` of an edge: which control node it follows, and how it knows it.

use super::check::Checker;
use super::raw::Config;
use crate::web::WebUrl;
use penstock_core::keys::PublicKey;
use std::path::PathBuf;

/// What an edge follows, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowConfig {
    /// Control's admin URL.
    pub url: WebUrl,
    /// The file with the edge's credential.
    pub credential: PathBuf,
    /// Control's channel key.
    pub key: PublicKey,
    /// The authorities that vouch for control; `None` are the system's.
    pub ca: Option<PathBuf>,
}

/// Checks the keys that role `edge` needs.
pub(super) fn check(checker: &mut Checker<'_>, config: &Config) -> Option<FollowConfig> {
    let control = &config.control;
    let mut text = |key: &str, value: &str, what: &str| {
        if value.is_empty() {
            checker.wrong(key, &format!("is missing: {what}"));
        }
        !value.is_empty()
    };
    let has_all = [
        text("control.url", &control.url, "an edge must know its control node's admin URL"),
        text("control.credential", &control.credential, "an edge needs a file with a credential of role edge"),
        text(
            "control.key",
            &control.key,
            "an edge must know its control node's channel key, which GET /admin/v1/status there shows",
        ),
    ];
    let url = WebUrl::parse(&control.url).map_err(|error| {
        if !control.url.is_empty() {
            checker.wrong("control.url", &error.to_string());
        }
    });
    let key = control.key.parse::<PublicKey>().map_err(|error| {
        if !control.key.is_empty() {
            checker.wrong("control.key", &error.to_string());
        }
    });
    let (Ok(url), Ok(key), [true, true, true]) = (url, key, has_all) else { return None };
    if !url.is_secure() && !url.is_loopback() {
        checker.wrong(
            "control.url",
            "must be https:// where it leaves this machine: a credential and a secret go over it",
        );
        return None;
    }
    let credential = checker.path(&control.credential);
    checker.present("control.credential", &credential);
    let ca = Some(&control.ca).filter(|ca| !ca.is_empty()).map(|ca| checker.path(ca));
    if let Some(ca) = &ca {
        checker.present("control.ca", ca);
    }
    Some(FollowConfig { url, credential, key, ca })
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Environment};
    use std::path::Path;

    const KEY: &str = "ed25519:iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w";

    fn problems(control: &str) -> Vec<String> {
        let text = format!("role = \"edge\"\n[listen]\nhttps = []\nhttp = [\"127.0.0.1:1\"]\n[control]\n{control}");
        match Config::parse(&text, &Environment::default(), Some(Path::new("/etc/penstock"))) {
            Ok(checked) => {
                let follow = checked.control.follow.expect("an edge follows");
                assert_eq!(follow.credential, Path::new("/etc/penstock/edge.credential"));
                Vec::new()
            }
            Err(problems) => {
                let errors = problems.iter().filter(|problem| problem.kind.is_error_in_serve());
                errors.map(|problem| format!("{}: {}", problem.key, problem.message)).collect()
            }
        }
    }

    #[test]
    fn an_edge_needs_url_credential_and_key() {
        let good =
            format!("url = \"https://control.example:8444\"\ncredential = \"edge.credential\"\nkey = \"{KEY}\"\n");
        assert_eq!(problems(&good), Vec::<String>::new());
        assert_eq!(problems(&good.replace("https://control.example", "http://127.0.0.1")), Vec::<String>::new());
        let missing = problems("");
        for key in ["control.url: is missing", "control.credential: is missing", "control.key: is missing"] {
            assert!(missing.iter().any(|problem| problem.starts_with(key)), "{missing:?}");
        }
        for (from, to, expected) in [
            ("https://", "http://", "control.url: must be https://"),
            ("https://", "ftp://", "control.url: is neither https nor http"),
            ("https://control", "https://user@control", "control.url: has user info"),
            ("ed25519:", "rsa:", "control.key: a public key starts with"),
        ] {
            let found = problems(&good.replace(from, to));
            assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
        }
    }
}
