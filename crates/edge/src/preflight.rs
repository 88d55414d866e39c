//! What would keep a good configuration from starting on this machine: the certificate and its key, the database of places,
//! the data directory.
//!
//! It looks and changes nothing, so that it can be asked beside a running node. What the text alone tells is
//! `config`'s.

use crate::config::{Checked, ConfigProblem, ProblemKind};
use crate::geo::{self, GeoError};
use crate::listen::tls::{TlsError, check_files};
use std::io;
use std::path::Path;

/// Everything that stands in the way of a start, with the line of its key, in the order of the file. What this user may
/// not look at is a note: the node may run as another one. Files that are not there are notes of the configuration.
#[must_use]
pub fn check(config: &Checked) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    let mut say = |key: &str, kind, message| {
        problems.push(ConfigProblem { place: config.place(key), key: key.to_owned(), kind, message });
    };
    for error in config.tls.iter().flat_map(check_files) {
        if let Some((kind, message)) = tls_problem(&error) {
            say(error.key(), kind, message);
        }
    }
    if let Some(Err(error)) = config.geo.database.as_deref().map(geo::check_file)
        && let Some((kind, message)) = geo_problem(&error)
    {
        say("geo.database", kind, message);
    }
    match directory(&config.data.dir) {
        Ok(()) => {}
        Err(Bar::NotOurs) => say("data.dir", ProblemKind::Surroundings, NOT_OURS.to_owned()),
        Err(Bar::Never(message)) => say("data.dir", ProblemKind::Value, message),
    }
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    problems
}

const NOT_OURS: &str = "cannot be looked at by this user, so it was not checked";

/// What there is to say of an error: its text without the key, and with its cause where that tells more.
fn tls_problem(error: &TlsError) -> Option<(ProblemKind, String)> {
    match error.unreadable().map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => return None,
        Some(io::ErrorKind::PermissionDenied) => return Some((ProblemKind::Surroundings, NOT_OURS.to_owned())),
        _ => {}
    }
    let text = error.to_string();
    let text = text.strip_prefix(error.key()).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&text);
    let message = match std::error::Error::source(error) {
        Some(cause) if !matches!(error, TlsError::Mismatch(..)) => format!("{text}: {cause}"),
        _ => text.to_owned(),
    };
    Some((ProblemKind::Value, message))
}

/// As [`tls_problem`]. A file that is not there is a note of the configuration's.
fn geo_problem(error: &GeoError) -> Option<(ProblemKind, String)> {
    match error.unreadable().map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => return None,
        Some(io::ErrorKind::PermissionDenied) => return Some((ProblemKind::Surroundings, NOT_OURS.to_owned())),
        _ => {}
    }
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    Some((ProblemKind::Value, format!("{error}{cause}")))
}

/// Why a directory cannot be had.
enum Bar {
    NotOurs,
    Never(String),
}

/// Whether `path` is a directory, or one can be made there: the first thing on the way up that exists is a directory.
fn directory(path: &Path) -> Result<(), Bar> {
    for there in path.ancestors().filter(|there| !there.as_os_str().is_empty()) {
        let what = || if there == path { String::new() } else { format!("cannot be made: {} ", there.display()) };
        match std::fs::metadata(there) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => return Err(Bar::Never(format!("{}is a file and no directory", what()))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(Bar::NotOurs),
            // The link is in the way of a directory of that name.
            Err(_) if there.is_symlink() => return Err(Bar::Never(format!("{}is a link that leads nowhere", what()))),
            // What is in the way of a path through a file is that file, further up.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(Bar::Never(format!("{}cannot be used: {error}", what()))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    /// `[data] dir` is on line 2, `tls.cert` on line 4, `tls.key` on line 5.
    fn problems(dir: &Path, data: &str, more: &str) -> Vec<String> {
        let text = format!("[data]\ndir = \"{data}\"\n[tls]\n{more}\n[listen]\nhttp = \"127.0.0.1:0\"\n");
        let config = Config::parse(&text, &Environment::default(), Some(dir)).expect("a good text");
        let problems = check(&config);
        assert!(problems.iter().all(|problem| problem.kind.is_error_in_check()), "{problems:?}");
        let shown = dir.display().to_string();
        problems.iter().map(|problem| problem.to_string().replace(&shown, "DIR")).collect()
    }

    fn write_pair(dir: &Path, name: &str) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
        let cert = params.self_signed(&key).expect("a certificate");
        std::fs::write(dir.join(format!("{name}.crt")), cert.pem()).expect("written");
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).expect("written");
    }

    #[test]
    fn certificate_and_key_are_held_against_each_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        write_pair(dir, "one");
        write_pair(dir, "two");
        std::fs::write(dir.join("publisher.key"), "ed25519-secret:AAAA\n").expect("written");
        let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        std::fs::write(dir.join("broken.key"), pem).expect("written");
        std::fs::write(dir.join("broken.crt"), pem.replace("PRIVATE KEY", "CERTIFICATE")).expect("written");
        let pair = |cert: &str, key: &str| problems(dir, "data", &format!("cert = \"{cert}\"\nkey = \"{key}\""));
        assert_eq!(pair("one.crt", "one.key"), Vec::<String>::new());
        assert_eq!(
            pair("one.crt", "two.key"),
            ["line 5: tls.key: the key in DIR/two.key does not belong to the certificate in tls.cert"]
        );
        for (cert, key, expected) in [
            ("one.crt", "publisher.key", "line 5: tls.key: no private key can be read from DIR/publisher.key: "),
            ("one.crt", "one.crt", "line 5: tls.key: no private key can be read from DIR/one.crt: "),
            ("one.crt", "broken.key", "line 5: tls.key: the key in DIR/broken.key is none that TLS can use: "),
            ("one.key", "one.key", "line 4: tls.cert: DIR/one.key holds no certificate"),
            ("broken.crt", "one.key", "line 4: tls.cert: the certificate in DIR/broken.crt cannot be used: "),
            // A file that is not there is a note of the configuration's; the other one is judged all the same.
            ("none.crt", "publisher.key", "line 5: tls.key: no private key"),
        ] {
            let found = pair(cert, key);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{cert} {key}: {found:?}");
        }
        assert_eq!(pair("one.key", "publisher.key").len(), 2, "both are named");
        assert_eq!(pair("none.crt", "one.key"), Vec::<String>::new());
    }

    #[test]
    fn a_database_of_places_is_looked_into() {
        let dir = tempfile::tempdir().expect("a directory");
        let good = penstock_testkit::GeoFile::new("GeoLite2-Country", 1).with("192.0.2.0/24", "DE").bytes();
        let operators = penstock_testkit::GeoFile::new("GeoLite2-ASN", 1).with_operator("192.0.2.0/24", "X").bytes();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("written");
        write("good.mmdb", &good);
        write("cut.mmdb", &good[..good.len() - 9]);
        write("operators.mmdb", &operators);
        let geo = |name: &str| {
            let text = format!("[data]\ndir = \"data\"\n[geo]\ndatabase = \"{name}\"\n");
            let config = Config::parse(&text, &Environment::default(), Some(dir.path())).expect("a good text");
            check(&config).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        // A file that is not there is a note of the configuration's.
        assert_eq!((geo("good.mmdb"), geo("none.mmdb")), (Vec::new(), Vec::new()));
        for (name, words) in
            [("cut.mmdb", "no sound MaxMind-format database"), ("operators.mmdb", "tells no countries")]
        {
            let found = geo(name);
            assert!(
                found.len() == 1 && found[0].starts_with("line 4: geo.database: ") && found[0].contains(words),
                "{found:?}"
            );
        }
    }

    /// An operator may check what only the node's user may read.
    #[test]
    fn what_this_user_may_not_read_is_no_error() {
        let unreadable = |kind: io::ErrorKind| {
            tls_problem(&TlsError::Key("tls.key".into(), rustls_pki_types::pem::Error::Io(kind.into())))
                .map(|(kind, _)| kind)
        };
        assert_eq!(unreadable(io::ErrorKind::PermissionDenied), Some(ProblemKind::Surroundings));
        assert_eq!(unreadable(io::ErrorKind::NotFound), None);
        assert_eq!(unreadable(io::ErrorKind::IsADirectory), Some(ProblemKind::Value));
    }

    #[test]
    fn a_data_directory_that_cannot_be_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("file"), "").expect("written");
        std::fs::create_dir(dir.path().join("there")).expect("made");
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).expect("linked");
        let data = |data: &str| problems(dir.path(), data, "");
        for good in ["there", "there/../there", "new", "new/and/deep", "there/new"] {
            assert_eq!(data(good), Vec::<String>::new(), "{good}");
        }
        assert_eq!(data("file"), ["line 2: data.dir: is a file and no directory"]);
        assert_eq!(data("file/below"), ["line 2: data.dir: cannot be made: DIR/file is a file and no directory"]);
        assert_eq!(data("link"), ["line 2: data.dir: is a link that leads nowhere"]);
        let long = "x".repeat(5000);
        let found = data(&long);
        assert!(found.len() == 1 && found[0].starts_with("line 2: data.dir: cannot be used: "), "{found:?}");
    }
}
