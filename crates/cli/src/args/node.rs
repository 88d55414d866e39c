//! Flags of the commands that run or check a node.

use clap::Args;
use std::path::PathBuf;

/// See [`super::Command::Quickstart`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    penstock quickstart\n  \
    penstock quickstart --dir /tmp/try --port 0 --once\n  \
    penstock quickstart --build ./my-game/build\n\n\
    Makes keys, a certificate and a config in the directory, publishes a sample product (or your build) in two\n\
    versions, serves it on loopback, installs the first and updates to the second as a client would, and compares\n\
    every byte. Once it serves, quickstart.json in the directory tells a script everything it needs.\n\
    Default ports: https 8443, admin 8444, http 8080. --port N takes N, N+1 and N+2; --port 0 takes free ones.")]
pub(crate) struct Quickstart {
    /// Where keys, data, sample and install go; made when missing, reused when there.
    #[arg(long, value_name = "DIR", default_value = "penstock-quickstart")]
    pub(crate) dir: PathBuf,
    /// Your own build as the first version, instead of the generated sample.
    #[arg(long, value_name = "DIR")]
    pub(crate) build: Option<PathBuf>,
    /// Stop after the summary instead of serving on.
    #[arg(long)]
    pub(crate) once: bool,
    /// First port of three (https, admin, http); 0 for any free ones.
    #[arg(long, value_name = "N")]
    pub(crate) port: Option<u16>,
}

/// See [`super::Command::Serve`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    penstock serve --config /etc/penstock/penstock.toml\n\n\
    SIGTERM and SIGINT drain and stop; SIGHUP reloads the config and certificates in place.\n\
    PENSTOCK__SECTION__KEY in the environment overrides a key of the file.")]
pub(crate) struct Serve {
    /// The config file; every key at its default when left out.
    #[arg(long, short, value_name = "FILE", env = "PENSTOCK_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// See [`super::Command::CheckConfig`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    penstock check-config /etc/penstock/penstock.toml\n\n\
    Unknown keys are errors here; serve only warns of them.")]
pub(crate) struct CheckConfig {
    /// The config file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}
