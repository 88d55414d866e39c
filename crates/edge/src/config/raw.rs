//! The configuration as written: every key, its default, its unit and what a larger value costs.
//!
//! Values here are only as good as their TOML type; `check` says whether they mean something.

use super::check::{ConfigProblem, check};
use super::checked::Checked;
use super::env::Environment;
use super::source::{Reader, Written};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Declares one section: its struct, its defaults, its key names and how it is read.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident in $section:literal {
        $($(#[$key_doc:meta])* $key:ident: $kind:ty = $default:expr,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize)]
        pub struct $name { $($(#[$key_doc])* pub $key: $kind,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default.into(),)* }
            }
        }

        impl $name {
            const SECTION: &str = $section;
            const KEYS: &[&str] = &[$(stringify!($key),)*];

            fn read(reader: &mut Reader) -> Self {
                let default = Self::default();
                Self { $($key: reader.take(Self::SECTION, stringify!($key), default.$key),)* }
            }
        }
    };
}

section! {
    /// `[data]`: this node's directory and how it reads blobs.
    Data in "data" {
        /// Directory with blobs, database, keys, lock and admin socket. One node per directory.
        dir: String = "/var/lib/penstock",
        /// How blobs are read: `map` (memory maps) or `pread`, for network and other file systems whose maps cannot be
        /// trusted. `pread` copies every byte once more.
        access: String = "map",
        /// Most blobs kept open (files and maps) between requests, a count. Each costs a descriptor and a map; a process
        /// has 65,530 maps. Never more than 8,192 or a quarter of the process's descriptors. Blobs that are being sent
        /// stay open beside these ([`penstock_core::limits::LIVE_BLOBS_MAX`]).
        open_blobs_max: u64 = 4096u64,
        /// Threads that wait for cold disk pages, a count. More wait in parallel; each costs a stack and a place in the
        /// disk's queue.
        io_threads: u64 = 8u64,
        /// Background re-hashing of all stored blobs, in bytes a second; 0 switches it off. Larger finds damage sooner and
        /// takes the disk from players.
        scrub_bytes_per_second: u64 = 8_388_608u64,
    }
}

section! {
    /// `[listen]`: the doors.
    Listen in "listen" {
        /// Addresses that speak HTTPS (HTTP/1.1 and HTTP/2), each `IP:PORT`. Port 0 takes a free one. Each address costs
        /// a socket per worker.
        https: Vec<String> = vec!["[::]:8443".to_owned()],
        /// Addresses that speak plain HTTP/1.1. Off when empty. Anyone on the path reads along; content stays verifiable.
        http: Vec<String> = Vec::<String>::new(),
        /// Address of the admin listener. Empty: only the socket in the data directory. Plain on loopback, TLS elsewhere.
        admin: String = "127.0.0.1:8444",
        /// Host names, beside IP addresses and localhost, by which the admin listener may be addressed. Each further name
        /// is one more that DNS could point at a browser's attack.
        admin_hosts: Vec<String> = Vec::<String>::new(),
        /// Worker threads, each with its own runtime and sockets, a count; 0 means one per core. More than cores only
        /// adds switching.
        workers: u64 = 0u64,
        /// Networks whose connections start with a PROXY protocol header (version 1 or 2), such as `10.0.0.0/8`. Off when
        /// empty. Who is listed can claim any client address.
        proxy_from: Vec<String> = Vec::<String>::new(),
        /// Whether tokens are taken over plain HTTP. `true` shows every player's token to the path.
        tokens_over_http: bool = false,
        /// Bytes that may wait unsent in the kernel for one connection (TCP_NOTSENT_LOWAT); 0 leaves it to the kernel.
        /// Larger costs that much kernel memory for each slow reader, smaller costs wake-ups for fast ones.
        unsent_bytes_max: u64 = 262_144u64,
    }
}

section! {
    /// `[tls]`: who we are.
    Tls in "tls" {
        /// PEM file with the certificate chain, leaf first. Read again on reload.
        cert: String = "",
        /// PEM file with the private key. Read again on reload.
        key: String = "",
        /// ACME directory URL. Accepted; used from a later version.
        acme: String = "",
    }
}

section! {
    /// `[tokens]`: who may vouch for players.
    Tokens in "tokens" {
        /// Issuers of tokens beside this node's own control, as `[[tokens.issuers]]` tables with `name`, `iss`, `audience`,
        /// `jwks` (a file, or an https URL), and where wanted `account_prefix`, `leeway_seconds` (30), `stale_seconds`
        /// (86400: how long keys are used while their URL is silent).
        issuers: Vec<toml::Table> = Vec::<toml::Table>::new(),
        /// File of public keys of others who sign links, one `ed25519:…` a line, read again when it changes. Links of this
        /// node's own control need none.
        link_keys: String = "",
        /// Memory for verified tokens and what their accounts hold, in bytes; about 350 a player. Smaller verifies more
        /// often, at 50 µs of a core each.
        passport_bytes_max: u64 = 268_435_456u64,
    }
}

section! {
    /// `[control]`: the system of record.
    Control in "control" {
        /// Admin URL of the control node that role `edge` follows. `https`, but on loopback.
        url: String = "",
        /// File with the credential that control knows this edge by; of role `edge`. Read again for every connection.
        credential: String = "",
        /// Control's channel key, `ed25519:…`: what control tells of accounts must be signed by it.
        key: String = "",
        /// PEM file with the authorities that vouch for control's certificate; empty means the system's.
        ca: String = "",
        /// The database of roles `all` and `control`: `sqlite:FILE` (from the data directory) or `postgres://…`. A URL
        /// with a password belongs in the environment: `PENSTOCK__CONTROL__DATABASE`.
        database: String = "sqlite:control.sqlite",
        /// For how long role `edge`, and any node whose database is a server, gives out open content while control or the
        /// database is silent, in seconds; 0 means without end. Embargo, suspension and revocation are refused all the
        /// while, as control told them last. Larger serves on through longer outages, and gives out for longer what control
        /// would have taken back.
        grace_open_seconds: u64 = 0u64,
        /// The same for registered content.
        grace_registered_seconds: u64 = 2_592_000u64,
        /// The same for licensed content.
        grace_licensed_seconds: u64 = 604_800u64,
        /// The same for closed content.
        grace_closed_seconds: u64 = 86_400u64,
    }
}

section! {
    /// `[origin]`: where blobs live beyond this node.
    Origin in "origin" {
        /// `file:///…` or `s3://bucket/prefix`; empty means that this node's own store is the origin. Accepted; used from
        /// a later version.
        url: String = "",
    }
}

section! {
    /// `[cache]`: the byte budget of an edge's store.
    Cache in "cache" {
        /// Most bytes of blobs kept on this node; 0 means no bound. Accepted; used from a later version.
        bytes_max: u64 = 0u64,
    }
}

section! {
    /// `[limits]`: what one peer, and all of them together, may take.
    Limits in "limits" {
        /// Most data connections at once, a count. Each idle one costs about 25 KiB plain and 50 KiB over TLS, and a
        /// descriptor.
        connections_max: u64 = 10_000u64,
        /// Most data connections at once from one IPv4 address or IPv6 /64, a count. Larger lets one peer take more of
        /// `connections_max`; smaller hurts households and schools behind one address.
        connections_per_address: u64 = 256u64,
        /// Networks that `connections_per_address` does not bind. Each is trusted to take everything.
        address_exempt: Vec<String> = vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()],
        /// Most admin connections at once, a count. Each may carry an upload. One address, other than loopback, gets a
        /// quarter of them and not more than `connections_per_address`.
        admin_connections_max: u64 = 256u64,
        /// Most TLS handshakes in flight, a count. Larger takes more bursts and more CPU from running downloads.
        handshakes_max: u64 = 512u64,
        /// Time for the PROXY header and for the TLS handshake, each, in seconds. Larger lets silent peers stay longer.
        handshake_seconds: u64 = 10u64,
        /// Time from a request's first byte to the end of its head, in seconds. Larger lets slow senders stay longer.
        header_seconds: u64 = 10u64,
        /// Largest request head in bytes. Larger costs that much memory for each connection that sends one.
        header_bytes_max: u64 = 49_152u64,
        /// Time that a connection may rest between requests, in seconds. Larger keeps more idle connections' memory.
        keep_alive_seconds: u64 = 75u64,
        /// Time without a single byte moved, while a request is answered, after which the connection is cut, in seconds;
        /// over HTTP/2 without a byte of its body, for any stream that had its turn. Larger lets stalled readers hold their memory longer.
        stall_seconds: u64 = 20u64,
        /// Least average rate of each request or response under way, in bytes a second; 0 switches the rule off. An
        /// HTTP/2 connection must move that much for each of its streams. Larger cuts off players on bad networks.
        rate_bytes_per_second_min: u64 = 1024u64,
        /// Time over which that rate is averaged, in seconds. Larger forgives longer and lets slow readers stay longer.
        rate_window_seconds: u64 = 30u64,
        /// Most concurrent HTTP/2 streams of a connection, a count. Each costs a task and its buffers.
        streams_max: u64 = 100u64,
        /// Most HTTP/2 streams that were reset by the peer before we looked at them, a count; more ends the connection
        /// (the rapid reset attack).
        reset_streams_max: u64 = 20u64,
        /// Time that bodies under way get to finish when the node stops, in seconds. A peer that neither answers nor goes
        /// away takes all of it. Larger makes stopping slower; the
        /// unit's TimeoutStopSec must be larger still.
        drain_seconds: u64 = 120u64,
    }
}

section! {
    /// `[quic]`: HTTP/3.
    Quic in "quic" {
        /// Whether the `https` addresses also speak HTTP/3 over UDP. Accepted; used from a later version.
        enabled: bool = false,
        /// Whether UDP segmentation offload is used. Accepted; used from a later version.
        gso: bool = true,
    }
}

section! {
    /// `[rates]`: bandwidth, kept by the kernel (SO_MAX_PACING_RATE), for TCP connections of the data doors.
    Rates in "rates" {
        /// Most bytes a second to one connection; 0 means no bound. It is for callers in none of `segments`, and for
        /// content that asks for no token. Smaller makes downloads longer, and holds their connections as long.
        connection_bytes_per_second_max: u64 = 0u64,
        /// The same for callers in a segment, by its name, such as `{ trial = 2000000 }`; the largest counts for those in
        /// several. Each costs a look for each request with a token.
        segments: BTreeMap<String, u64> = BTreeMap::<String, u64>::new(),
    }
}

section! {
    /// `[rollouts]`: this node's own brake.
    Rollouts in "rollouts" {
        /// Channels whose rollouts are held back on this node, as `PRODUCT/CHANNEL`; `*` for all. Everybody who asks here
        /// gets the fallback, whatever control says.
        brake: Vec<String> = Vec::<String>::new(),
    }
}

section! {
    /// `[geo]`: where players are.
    Geo in "geo" {
        /// MaxMind-format database file that tells countries (City, Country or Enterprise), for embargo, regions and
        /// rollouts. Read into memory at the start, and again when it is replaced; a file that cannot be used is refused
        /// and the one before stays. Empty: nobody's place is known. Larger costs its size in memory, twice while it is
        /// replaced.
        database: String = "",
    }
}

section! {
    /// `[log]`: what is written down.
    Log in "log" {
        /// Which events are logged: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`) or filter directives
        /// (`info,penstock_edge=debug`). More costs disk and, at `debug`, speed.
        level: String = "info",
        /// `json` or `text`, one event a line.
        format: String = "json",
        /// Whether each request is logged, one line each. `true` costs about 500 bytes of log a request.
        access: bool = true,
    }
}

/// The whole file as written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// What this node is: `all`, `control` or `edge`.
    pub role: String,
    /// `[data]`.
    pub data: Data,
    /// `[listen]`.
    pub listen: Listen,
    /// `[tls]`.
    pub tls: Tls,
    /// `[tokens]`.
    pub tokens: Tokens,
    /// `[control]`.
    pub control: Control,
    /// `[origin]`.
    pub origin: Origin,
    /// `[cache]`.
    pub cache: Cache,
    /// `[limits]`.
    pub limits: Limits,
    /// `[quic]`.
    pub quic: Quic,
    /// `[rates]`.
    pub rates: Rates,
    /// `[rollouts]`.
    pub rollouts: Rollouts,
    /// `[geo]`.
    pub geo: Geo,
    /// `[log]`.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: "all".to_owned(),
            data: Data::default(),
            listen: Listen::default(),
            tls: Tls::default(),
            tokens: Tokens::default(),
            control: Control::default(),
            origin: Origin::default(),
            cache: Cache::default(),
            limits: Limits::default(),
            quic: Quic::default(),
            rates: Rates::default(),
            rollouts: Rollouts::default(),
            geo: Geo::default(),
            log: Log::default(),
        }
    }
}

impl Config {
    /// Reads, overrides and checks a configuration: what `serve` runs with. Without a path, the defaults are
    /// overridden. Unknown keys and keys for later versions are in [`Checked::notes`].
    ///
    /// # Errors
    /// Every problem, in the order of the file; the file's own readability is one of them.
    pub fn load(path: Option<&Path>, env: &Environment) -> Result<Checked, Vec<ConfigProblem>> {
        let text = match path.map(std::fs::read_to_string) {
            None => String::new(),
            Some(Ok(text)) => text,
            Some(Err(error)) => return Err(vec![ConfigProblem::unreadable(path, &error)]),
        };
        let mut checked = Self::parse(&text, env, path.and_then(Path::parent))?;
        checked.remember(path, env);
        Ok(checked)
    }

    /// As [`Config::load`], from a text. Relative paths in it are taken from `base`.
    ///
    /// # Errors
    /// Every problem, in the order of the text.
    pub fn parse(text: &str, env: &Environment, base: Option<&Path>) -> Result<Checked, Vec<ConfigProblem>> {
        let (config, written) = Self::read(text, env);
        check(&config, written, base)
    }

    /// Checks a configuration that was made by a program.
    ///
    /// # Errors
    /// Every problem; none has a line.
    pub fn check(&self, base: Option<&Path>) -> Result<Checked, Vec<ConfigProblem>> {
        check(self, Written::default(), base)
    }

    /// The file's text, as [`Config::parse`] would read it back.
    ///
    /// # Errors
    /// Says that a value cannot be written as TOML, such as a number above `i64::MAX`.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// Every key as `section.key`, in the order of the sample file.
    #[must_use]
    pub fn keys() -> Vec<String> {
        let mut keys = vec!["role".to_owned()];
        for (section, names) in SECTIONS {
            keys.extend(names.iter().map(|name| format!("{section}.{name}")));
        }
        keys
    }

    /// The text as far as it can be read, and where each key was written.
    pub(super) fn read(text: &str, env: &Environment) -> (Self, Written) {
        let mut reader = Reader::new(text, env, SECTIONS);
        let config = Self {
            role: reader.take("", "role", "all".to_owned()),
            data: Data::read(&mut reader),
            listen: Listen::read(&mut reader),
            tls: Tls::read(&mut reader),
            tokens: Tokens::read(&mut reader),
            control: Control::read(&mut reader),
            origin: Origin::read(&mut reader),
            cache: Cache::read(&mut reader),
            limits: Limits::read(&mut reader),
            quic: Quic::read(&mut reader),
            rates: Rates::read(&mut reader),
            rollouts: Rollouts::read(&mut reader),
            geo: Geo::read(&mut reader),
            log: Log::read(&mut reader),
        };
        (config, reader.finish())
    }
}

/// Every section and its keys.
const SECTIONS: &[(&str, &[&str])] = &[
    (Data::SECTION, Data::KEYS),
    (Listen::SECTION, Listen::KEYS),
    (Tls::SECTION, Tls::KEYS),
    (Tokens::SECTION, Tokens::KEYS),
    (Control::SECTION, Control::KEYS),
    (Origin::SECTION, Origin::KEYS),
    (Cache::SECTION, Cache::KEYS),
    (Limits::SECTION, Limits::KEYS),
    (Quic::SECTION, Quic::KEYS),
    (Rates::SECTION, Rates::KEYS),
    (Rollouts::SECTION, Rollouts::KEYS),
    (Geo::SECTION, Geo::KEYS),
    (Log::SECTION, Log::KEYS),
];

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../../../config/penstock.toml");

    #[test]
    fn the_sample_is_the_defaults() {
        let (config, written) = Config::read(SAMPLE, &Environment::default());
        assert_eq!(written.problems, Vec::new());
        assert_eq!(config, Config::default());
    }

    #[test]
    fn the_sample_names_every_key_and_comments_on_it() {
        let (_, written) = Config::read(SAMPLE, &Environment::default());
        let lines: Vec<&str> = SAMPLE.lines().collect();
        for key in Config::keys() {
            let Some(super::super::Place::Line(line)) = written.place(&key) else {
                panic!("{key} is not in the sample")
            };
            assert!(lines[line - 2].starts_with('#'), "{key} has no comment above it");
        }
    }

    #[test]
    fn production_examples_have_no_problem() {
        for (name, text) in [
            ("edge.toml", include_str!("../../../../config/edge.toml")),
            ("control.toml", include_str!("../../../../config/control.toml")),
        ] {
            let checked = Config::parse(text, &Environment::default(), None);
            let checked = checked.unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
            assert!(checked.notes().iter().all(|note| !note.kind.is_error_in_check()), "{name}: {:?}", checked.notes());
        }
    }

    #[test]
    fn what_is_written_back_reads_the_same() {
        let mut config = Config::default();
        config.listen.http = vec!["127.0.0.1:0".to_owned()];
        config.limits.connections_max = 7;
        let text = config.to_toml().expect("plain values");
        let (again, written) = Config::read(&text, &Environment::default());
        assert_eq!((again, written.problems), (config, Vec::new()));
    }
}
