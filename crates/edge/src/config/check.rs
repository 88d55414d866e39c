//! From written to checked: what each value means, and every problem with its line and key.
//!
//! Pure but for one question, whether the TLS files are there, which only makes a note.

use super::checked::{
    Access, Checked, ControlConfig, DataConfig, Database, DatabaseUrl, GeoConfig, Limits, ListenConfig, LogConfig,
    LogFormat, Role, Source, TlsFiles, TokensConfig,
};
use super::follow;
use super::level;
use super::raw::Config;
use super::source::Written;
use super::steer::{self, RolloutsConfig};
use super::tokens::{self, IssuerConfig, KeysFrom};
use crate::token::{ISSUERS_MAX, Issuer};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of the file, counted from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
    /// Nowhere: a default, or a value that was set by a program.
    Default,
}

/// What sort of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The file cannot be read.
    Unreadable,
    /// Not TOML.
    Syntax,
    /// A value of the wrong type or out of its bounds, or at odds with another.
    Value,
    /// A key that this version does not know. A warning when serving, so that a newer file runs an older node.
    UnknownKey,
    /// A key that is accepted now and used from a later version.
    Later,
    /// Something outside the file, such as a certificate that is not there (yet), or sockets that somebody must pass.
    Surroundings,
    /// A value that is taken as it stands and is perhaps not what was meant.
    Doubtful,
}

impl ProblemKind {
    /// Whether `check-config` fails for it.
    #[must_use]
    pub const fn is_error_in_check(self) -> bool {
        match self {
            Self::Unreadable | Self::Syntax | Self::Value | Self::UnknownKey => true,
            Self::Later | Self::Surroundings | Self::Doubtful => false,
        }
    }

    /// Whether a node refuses to start or reload for it.
    #[must_use]
    pub const fn is_error_in_serve(self) -> bool {
        match self {
            Self::Unreadable | Self::Syntax | Self::Value => true,
            Self::UnknownKey | Self::Later | Self::Surroundings | Self::Doubtful => false,
        }
    }
}

/// One thing to say about a configuration. Displays as `line 7: limits.header_seconds: must be …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where.
    pub place: Place,
    /// `section.key`; empty where there is none.
    pub key: String,
    /// What sort.
    pub kind: ProblemKind,
    /// What is wrong and what to do, lowercase, without the key.
    pub message: String,
}

impl ConfigProblem {
    pub(super) fn unreadable(path: Option<&Path>, error: &std::io::Error) -> Self {
        let path = path.unwrap_or(Path::new("")).display();
        Self {
            place: Place::Default,
            key: String::new(),
            kind: ProblemKind::Unreadable,
            message: format!("cannot read {path}: {error}"),
        }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line(line) => write!(out, "line {line}: ")?,
            Place::Variable(name) => write!(out, "environment {name}: ")?,
            Place::Default => {}
        }
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        out.write_str(&self.message)
    }
}

impl std::error::Error for ConfigProblem {}

/// Checks everything; problems come in the order of the file.
pub(super) fn check(config: &Config, written: Written, base: Option<&Path>) -> Result<Checked, Vec<ConfigProblem>> {
    let mut checker = Checker { written, base };
    let checked = checker.all(config);
    let Written { places, mut problems } = checker.written;
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    if problems.iter().any(|problem| problem.kind.is_error_in_serve()) {
        return Err(problems);
    }
    Ok(Checked { notes: problems, places, ..checked })
}

pub(super) struct Checker<'a> {
    written: Written,
    base: Option<&'a Path>,
}

/// A day in seconds: no wait in this file is sensible beyond it.
const DAY_SECONDS: u64 = 86_400;

impl Checker<'_> {
    fn all(&mut self, config: &Config) -> Checked {
        let role =
            self.one_of("role", &config.role, &[("all", Role::All), ("control", Role::Control), ("edge", Role::Edge)]);
        let data = self.data(config);
        let listen = self.listen(config, role);
        let tls = self.tls(config, role, &listen);
        let tokens = self.tokens(config);
        let control = self.control(config, role, &data.dir);
        let origin_url = self.origin(config);
        let limits = self.limits(config);
        let cut_below = config.limits.rate_bytes_per_second_min.saturating_mul(config.limits.streams_max);
        let rates = steer::rates(&config.rates, cut_below, |key, message| self.wrong(key, &message));
        let brakes = self.each("rollouts.brake", &config.rollouts.brake, steer::BRAKE_SHAPE);
        let geo = self.geo(config);
        let log = self.log(config);
        self.later(config);
        Checked {
            role,
            data,
            listen,
            tls,
            tokens,
            control,
            origin_url,
            limits,
            rates,
            rollouts: RolloutsConfig { brakes },
            geo,
            log,
            notes: Vec::new(),
            places: BTreeMap::new(),
            source: Source::default(),
        }
    }

    fn data(&mut self, config: &Config) -> DataConfig {
        let data = &config.data;
        if data.dir.is_empty() {
            self.wrong("data.dir", "must name a directory");
        }
        DataConfig {
            dir: self.path(&data.dir),
            access: self.one_of("data.access", &data.access, &[("map", Access::Map), ("pread", Access::Pread)]),
            open_blobs_max: self.count("data.open_blobs_max", data.open_blobs_max, 16, 60_000),
            io_threads: self.count("data.io_threads", data.io_threads, 1, 512),
            scrub_bytes_per_second: Some(data.scrub_bytes_per_second).filter(|rate| *rate > 0),
        }
    }

    fn listen(&mut self, config: &Config, role: Role) -> ListenConfig {
        let listen = &config.listen;
        let https: Vec<SocketAddr> = self.each("listen.https", &listen.https, "must be IP:PORT, such as \"[::]:8443\"");
        let http = self.each("listen.http", &listen.http, "must be IP:PORT, such as \"[::]:8080\"");
        let admin: Vec<SocketAddr> = match listen.admin.as_str() {
            "" => Vec::new(),
            text => self.each("listen.admin", &[text.to_owned()], "must be IP:PORT, such as \"127.0.0.1:8444\""),
        };
        if https.is_empty() && http.is_empty() && role != Role::Control {
            // Sockets that the service manager passes take the place of addresses, and only the start knows of them.
            self.note("listen.https", ProblemKind::Surroundings, NO_DOOR);
        }
        self.distinct(&[("listen.https", &https), ("listen.http", &http), ("listen.admin", &admin)]);
        ListenConfig {
            https,
            http,
            admin: admin.first().copied(),
            admin_hosts: listen.admin_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            workers: Some(self.count("listen.workers", listen.workers, 0, 1024)).filter(|workers| *workers > 0),
            proxy_from: self.each("listen.proxy_from", &listen.proxy_from, NETWORK_SHAPE),
            tokens_over_http: listen.tokens_over_http,
            unsent_bytes_max: match self.within("listen.unsent_bytes_max", listen.unsent_bytes_max, 0, 1 << 30) {
                0 => None,
                bytes => u32::try_from(bytes).ok(),
            },
        }
    }

    fn tls(&mut self, config: &Config, role: Role, listen: &ListenConfig) -> Option<TlsFiles> {
        let tls = &config.tls;
        match (tls.cert.is_empty(), tls.key.is_empty()) {
            (false, false) => {
                let files = TlsFiles { cert: self.path(&tls.cert), key: self.path(&tls.key) };
                self.present("tls.cert", &files.cert);
                self.present("tls.key", &files.key);
                return Some(files);
            }
            (true, true) => {}
            (true, false) => self.wrong("tls.cert", "is missing: tls.key is given"),
            (false, true) => self.wrong("tls.key", "is missing: tls.cert is given"),
        }
        // Every key at its default is the sample, which must parse; a node started so is refused with the same words.
        let data_needs_it = !listen.https.is_empty() && role != Role::Control;
        let admin_needs_it = listen.admin.is_some_and(|admin| !admin.ip().is_loopback());
        if admin_needs_it {
            self.wrong("listen.admin", "is not on loopback and needs tls.cert and tls.key");
        } else if data_needs_it {
            self.note("tls.cert", ProblemKind::Surroundings, NO_CERTIFICATE);
        }
        None
    }

    fn tokens(&mut self, config: &Config) -> TokensConfig {
        let key = "tokens.issuers";
        let mut issuers: Vec<IssuerConfig> = Vec::new();
        for (number, table) in (1..).zip(&config.tokens.issuers) {
            match tokens::issuer(table, self.base) {
                Ok(issuer) => issuers.push(issuer),
                Err(message) => self.wrong(key, &format!("issuer {number}: {message}")),
            }
        }
        if issuers.len() >= ISSUERS_MAX {
            self.wrong(key, &format!("at most {} can be used", ISSUERS_MAX - 1));
        }
        let own = Issuer::control();
        let mut known = vec![&own];
        for one in &issuers {
            if known.iter().any(|other| other.name() == one.issuer.name() || other.iss() == one.issuer.iss()) {
                self.wrong(key, &format!("{} has the name or the iss of another issuer", one.issuer.name()));
            }
            known.push(&one.issuer);
            match &one.keys {
                KeysFrom::File(file) => self.present(key, file),
                KeysFrom::Url { url, .. } if !url.is_secure() => {
                    let message =
                        format!("{} has its keys from an address that anyone on the path can forge", one.issuer.name());
                    self.note(key, ProblemKind::Doubtful, &message);
                }
                KeysFrom::Url { .. } => {}
            }
        }
        let passport_bytes_max =
            self.count("tokens.passport_bytes_max", config.tokens.passport_bytes_max, 1 << 20, 1 << 40);
        let link_keys = Some(&config.tokens.link_keys).filter(|file| !file.is_empty()).map(|file| self.path(file));
        if let Some(file) = &link_keys {
            self.present("tokens.link_keys", file);
        }
        TokensConfig { issuers, link_keys, passport_bytes_max }
    }

    fn control(&mut self, config: &Config, role: Role, dir: &Path) -> ControlConfig {
        let control = &config.control;
        let database = match control.database.split_once(':') {
            Some(("sqlite", file)) if !file.is_empty() && !file.starts_with("//") => Database::Sqlite(dir.join(file)),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                Database::Postgres(DatabaseUrl(control.database.clone()))
            }
            _ => {
                self.wrong("control.database", "must be sqlite:FILE or postgres://…");
                Database::Sqlite(PathBuf::new())
            }
        };
        let follow = if role == Role::Edge { follow::check(self, config) } else { None };
        ControlConfig { follow, grace: follow::grace(self, control), database }
    }

    fn origin(&mut self, config: &Config) -> Option<String> {
        let url = &config.origin.url;
        if url.is_empty() {
            return None;
        }
        if !["file:///", "s3://", "gs://", "az://"].iter().any(|scheme| url.starts_with(scheme)) {
            self.wrong("origin.url", "must be file:///…, s3://bucket/prefix, gs://… or az://…");
        }
        Some(url.clone())
    }

    fn limits(&mut self, config: &Config) -> Limits {
        let limits = &config.limits;
        let connections_max = self.count("limits.connections_max", limits.connections_max, 1, 1_000_000);
        let header_bytes = self.within("limits.header_bytes_max", limits.header_bytes_max, 8192, 1 << 20);
        Limits {
            connections_max,
            connections_per_address: self.count(
                "limits.connections_per_address",
                limits.connections_per_address,
                1,
                1_000_000,
            ),
            address_exempt: self.each("limits.address_exempt", &limits.address_exempt, NETWORK_SHAPE),
            admin_connections_max: self.count("limits.admin_connections_max", limits.admin_connections_max, 4, 100_000),
            handshakes_max: self.count("limits.handshakes_max", limits.handshakes_max, 1, 1_000_000),
            handshake: self.seconds("limits.handshake_seconds", limits.handshake_seconds),
            header: self.seconds("limits.header_seconds", limits.header_seconds),
            header_bytes_max: u32::try_from(header_bytes).unwrap_or(u32::MAX),
            keep_alive: self.seconds("limits.keep_alive_seconds", limits.keep_alive_seconds),
            stall: self.seconds("limits.stall_seconds", limits.stall_seconds),
            rate_bytes_per_second_min: Some(limits.rate_bytes_per_second_min).filter(|rate| *rate > 0),
            rate_window: self.seconds("limits.rate_window_seconds", limits.rate_window_seconds),
            streams_max: u32::try_from(self.within("limits.streams_max", limits.streams_max, 1, 10_000)).unwrap_or(1),
            reset_streams_max: self.count("limits.reset_streams_max", limits.reset_streams_max, 1, 10_000),
            drain: self.seconds("limits.drain_seconds", limits.drain_seconds),
        }
    }

    fn geo(&mut self, config: &Config) -> GeoConfig {
        if config.geo.database.is_empty() {
            return GeoConfig::default();
        }
        let database = self.path(&config.geo.database);
        self.present("geo.database", &database);
        GeoConfig { database: Some(database) }
    }

    fn log(&mut self, config: &Config) -> LogConfig {
        let level = level::read(&config.log.level);
        for mistake in &level.mistakes {
            self.wrong("log.level", mistake);
        }
        for target in &level.strangers {
            let message = format!("no part of penstock is named \"{target}\": right only if another library is meant");
            self.note("log.level", ProblemKind::Doubtful, &message);
        }
        LogConfig {
            level: level.text,
            format: self.one_of(
                "log.format",
                &config.log.format,
                &[("json", LogFormat::Json), ("text", LogFormat::Text)],
            ),
            access: config.log.access,
        }
    }

    /// Keys that are accepted and do nothing yet: silence would let an operator believe in them.
    fn later(&mut self, config: &Config) {
        let default = Config::default();
        for (key, is_set) in [
            ("tls.acme", config.tls != default.tls && !config.tls.acme.is_empty()),
            ("origin.url", config.origin != default.origin),
            ("cache.bytes_max", config.cache != default.cache),
            ("quic.enabled", config.quic.enabled != default.quic.enabled),
            ("quic.gso", config.quic.gso != default.quic.gso),
        ] {
            if is_set {
                self.note(key, ProblemKind::Later, LATER);
            }
        }
    }

    fn one_of<T: Copy>(&mut self, key: &str, value: &str, choices: &[(&str, T)]) -> T {
        if let Some((_, meaning)) = choices.iter().find(|(name, _)| *name == value) {
            return *meaning;
        }
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        self.wrong(key, &format!("must be one of {}", names.join(", ")));
        choices[0].1
    }

    fn each<T: FromStr>(&mut self, key: &str, texts: &[String], shape: &str) -> Vec<T> {
        let mut values = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parse() {
                Ok(value) => values.push(value),
                Err(_) => self.wrong(key, &format!("\"{text}\" {shape}")),
            }
        }
        values
    }

    fn distinct(&mut self, groups: &[(&str, &[SocketAddr])]) {
        let mut seen: Vec<SocketAddr> = Vec::new();
        for (key, addresses) in groups {
            for address in *addresses {
                if address.port() != 0 && seen.contains(address) {
                    self.wrong(key, &format!("{address} is named twice"));
                }
                seen.push(*address);
            }
        }
    }

    pub(super) fn within(&mut self, key: &str, value: u64, least: u64, most: u64) -> u64 {
        if !(least..=most).contains(&value) {
            self.wrong(key, &format!("must be from {least} to {most}, is {value}"));
        }
        value.clamp(least, most)
    }

    fn count(&mut self, key: &str, value: u64, least: u64, most: u64) -> usize {
        usize::try_from(self.within(key, value, least, most)).unwrap_or(usize::MAX)
    }

    fn seconds(&mut self, key: &str, value: u64) -> Duration {
        Duration::from_secs(self.within(key, value, 1, DAY_SECONDS))
    }

    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.base.map_or_else(|| PathBuf::from(text), |base| base.join(text))
    }

    pub(super) fn present(&mut self, key: &str, path: &Path) {
        if !path.exists() {
            self.note(key, ProblemKind::Surroundings, &format!("{} is not there (yet)", path.display()));
        }
    }

    pub(super) fn wrong(&mut self, key: &str, message: &str) {
        self.note(key, ProblemKind::Value, message);
    }

    fn note(&mut self, key: &str, kind: ProblemKind, message: &str) {
        let place = self.written.place(key).cloned().unwrap_or(Place::Default);
        self.written.problems.push(ConfigProblem { place, key: key.to_owned(), kind, message: message.to_owned() });
    }
}

const NETWORK_SHAPE: &str = "must be ADDRESS or ADDRESS/BITS without bits behind the prefix, such as \"10.0.0.0/8\"";
const LATER: &str = "is accepted; it is used from a later version and does nothing yet";
/// Why a node without inherited sockets cannot start. A note in a file, an error at start.
pub(crate) const NO_DOOR: &str = "names no address, and listen.http neither: there is nothing to serve on but sockets that the service manager passes";
/// Why an HTTPS listener cannot start. A note in a file, an error at start.
pub(crate) const NO_CERTIFICATE: &str = "is missing: listen.https needs tls.cert and tls.key to start";

#[cfg(test)]
mod tests {
    use super::super::Environment;
    use super::*;

    fn problems(text: &str, env: &[(&str, &str)]) -> Vec<String> {
        let env = Environment::from_pairs(env.iter().copied());
        match Config::parse(text, &env, None) {
            Ok(checked) => checked.notes().iter().map(ToString::to_string).collect(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn every_problem_has_its_line_and_key() {
        let text = "role = \"king\"\n[listen]\nhttps = \"nowhere\"\nworkers = -1\n\n[limits]\nheader_seconds = 0\nspeed = 3\n[tls]\ncert = \"a\"\n";
        assert_eq!(
            problems(text, &[]),
            [
                "line 1: role: must be one of \"all\", \"control\", \"edge\"",
                "line 3: listen.https: \"nowhere\" must be IP:PORT, such as \"[::]:8443\"",
                "line 3: listen.https: names no address, and listen.http neither: there is nothing to serve on but sockets that the service manager passes",
                "line 4: listen.workers: invalid value: integer `-1`, expected u64",
                "line 7: limits.header_seconds: must be from 1 to 86400, is 0",
                "line 8: limits.speed: is not a key of this version",
                "tls.key: is missing: tls.cert is given",
            ]
        );
    }

    #[test]
    fn an_unknown_key_is_a_note_for_serve_and_an_error_for_check() {
        let checked = Config::parse("[cahce]\nbytes_max = 1\n", &Environment::default(), None).expect("serves");
        let unknown: Vec<_> = checked.notes().iter().filter(|note| note.kind == ProblemKind::UnknownKey).collect();
        assert_eq!(unknown[0].to_string(), "line 1: cahce: is not a key of this version");
        assert!(unknown[0].kind.is_error_in_check() && !unknown[0].kind.is_error_in_serve());
    }

    #[test]
    fn a_misspelt_log_level_is_an_error_and_a_foreign_target_a_note() {
        let level = |text: &str| {
            let text = format!("[log]\nlevel = \"{text}\"\n");
            Config::parse(&text, &Environment::default(), None).map(|checked| checked.notes().to_vec())
        };
        for text in ["inof", "info,penstok_edge=debgu"] {
            let problems = level(text).expect_err("refused");
            let errors: Vec<_> = problems.iter().filter(|problem| problem.kind.is_error_in_check()).collect();
            assert!(errors.len() == 1 && errors[0].to_string().starts_with("line 2: log.level: \""), "{problems:?}");
        }
        let notes = level("info,penstok_edge=debug").expect("taken");
        assert!(notes.iter().any(|note| note.kind == ProblemKind::Doubtful && note.message.contains("penstok_edge")));
    }

    #[test]
    fn broken_toml_names_its_line() {
        let problems = problems("role = \"all\"\n[limits\nheader_seconds = 3\n", &[]);
        assert!(problems.iter().any(|problem| problem.starts_with("line 2: ")), "{problems:?}");
    }

    #[test]
    fn the_environment_overrides_and_is_named_when_wrong() {
        let env = Environment::from_pairs([
            ("PENSTOCK__ROLE", "control"),
            ("PENSTOCK__LIMITS__HEADER_SECONDS", "3"),
            ("PENSTOCK__LISTEN__HTTP", "[\"127.0.0.1:1\", \"127.0.0.1:2\"]"),
            ("PENSTOCK__LOG__LEVEL", "debug"),
            ("PENSTOCK_TOKEN", "not an override"),
        ]);
        let checked = Config::parse("[limits]\nheader_seconds = 9\n", &env, None).expect("good");
        assert_eq!(checked.role, Role::Control);
        assert_eq!(checked.limits.header, Duration::from_secs(3));
        assert_eq!(checked.listen.http.len(), 2);
        assert_eq!(checked.log.level, "debug");
        assert_eq!(
            problems("", &[("PENSTOCK__LIMITS__HEADER_SECONDS", "soon")])[0].split(": invalid").next(),
            Some("environment PENSTOCK__LIMITS__HEADER_SECONDS: limits.header_seconds")
        );
        assert!(
            problems("", &[("PENSTOCK__LISTEN__HTTP", "[::1]:0")]).iter().all(|problem| problem.contains("tls.cert"))
        );
        for text in ["[\"[::]:21443\"", "[ '[::]:21443', ", "[\"[::]:21443]\""] {
            let broken = &problems("", &[("PENSTOCK__LISTEN__HTTP", text)])[0];
            let expected = "environment PENSTOCK__LISTEN__HTTP: listen.http: is no valid TOML list";
            assert!(broken.starts_with(expected), "{text}: {broken}");
        }
        let unknown = problems("", &[("PENSTOCK__LIMIT__X", "1")]);
        assert!(unknown.contains(&"environment PENSTOCK__LIMIT__X: limit.x: is not a key of this version".to_owned()));
    }

    #[test]
    fn what_this_version_cannot_run_is_accepted_by_check_and_refused_at_start() {
        use super::super::checked::NotYet;
        let text = "[origin]\nurl = \"s3://bucket/blobs\"\n[tls]\ncert=\"c\"\nkey=\"k\"\n";
        let checked = Config::parse(text, &Environment::default(), None).expect("accepted");
        assert!(checked.notes().iter().all(|note| !note.kind.is_error_in_check()));
        assert_eq!(checked.runnable(), Err(NotYet::Origin));
        let postgres =
            Config::parse("[control]\ndatabase = \"postgres://db/penstock\"\n", &Environment::default(), None);
        let postgres = postgres.expect("accepted");
        assert_eq!(postgres.runnable(), Ok(()));
        assert!(!format!("{postgres:?}").contains("db/penstock"), "a URL may hold a password");
    }

    #[test]
    fn an_admin_listener_off_loopback_needs_tls() {
        assert!(
            problems("[listen]\nadmin = \"0.0.0.0:8444\"\n", &[])
                .contains(&"line 2: listen.admin: is not on loopback and needs tls.cert and tls.key".to_owned())
        );
    }

    #[test]
    fn paths_are_taken_from_the_files_directory() {
        let text = "[data]\ndir = \"data\"\n[tls]\ncert = \"tls/c.pem\"\nkey = \"/k.pem\"\n";
        let checked = Config::parse(text, &Environment::default(), Some(Path::new("/etc/penstock"))).expect("good");
        assert_eq!(checked.data.dir, Path::new("/etc/penstock/data"));
        assert_eq!(checked.control.database, Database::Sqlite("/etc/penstock/data/control.sqlite".into()));
        let tls = checked.tls.expect("given");
        assert_eq!(
            (tls.cert.as_path(), tls.key.as_path()),
            (Path::new("/etc/penstock/tls/c.pem"), Path::new("/k.pem"))
        );
    }
}
