//! `[control]` of an edge: which control node it follows, how it knows it, and how long it goes on without.

use super::check::Checker;
use super::raw::{Config, Control};
use crate::web::WebUrl;
use penstock_core::grace::{Bound, Grace};
use penstock_core::keys::PublicKey;
use std::path::PathBuf;

/// Shortest grace, in seconds. What an edge's journal says of its age may be a minute older than it is, and a restart of
/// control must not be an outage of its edges.
const GRACE_SECONDS_MIN: u64 = 300;
/// Longest grace, in seconds: ten years. Whoever wants more wants no bound.
const GRACE_SECONDS_MAX: u64 = 10 * 366 * 86_400;

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

/// How long an edge gives out what it knows while control is silent; 0 is without end.
pub(super) fn grace(checker: &mut Checker<'_>, control: &Control) -> Grace {
    let mut bound = |key: &str, seconds: u64| match seconds {
        0 => Bound::Unlimited,
        seconds => Bound::Seconds(checker.within(key, seconds, GRACE_SECONDS_MIN, GRACE_SECONDS_MAX)),
    };
    Grace {
        open: bound("control.grace_open_seconds", control.grace_open_seconds),
        registered: bound("control.grace_registered_seconds", control.grace_registered_seconds),
        licensed: bound("control.grace_licensed_seconds", control.grace_licensed_seconds),
        closed: bound("control.grace_closed_seconds", control.grace_closed_seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Environment};
    use super::Bound;
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

    #[test]
    fn each_class_has_a_grace_and_too_short_ones_are_refused() {
        let grace = Config::parse("", &Environment::default(), None).expect("good").control.grace;
        assert_eq!((grace.open, grace.registered), (Bound::Unlimited, Bound::Seconds(30 * 86_400)));
        assert_eq!((grace.licensed, grace.closed), (Bound::Seconds(7 * 86_400), Bound::Seconds(86_400)));
        let found = problems("grace_licensed_seconds = 0\ngrace_closed_seconds = 299\n");
        assert!(
            found.iter().any(|problem| problem.contains("control.grace_closed_seconds: must be from 300")),
            "{found:?}"
        );
        assert!(!found.iter().any(|problem| problem.contains("grace_licensed_seconds")), "0 is no bound: {found:?}");
    }
}
