//! The node's configuration: one TOML file, overridden from the environment, checked as a whole.
//!
//! Two shapes: [`Config`] is what was written (texts and numbers, each with its default), [`Checked`]
//! is what it means (addresses, networks, durations, paths) and exists only if nothing is wrong. This
//! room reads the one file it is given and no other; it must not bind, start or create anything.

mod check;
mod checked;
mod env;
mod follow;
mod level;
mod network;
mod raw;
mod source;
mod steer;
mod tokens;

pub use check::{ConfigProblem, Place, ProblemKind};
pub(crate) use check::{NO_CERTIFICATE, NO_DOOR};
pub use checked::{
    Access, Checked, ControlConfig, DataConfig, Database, DatabaseUrl, GeoConfig, Limits, ListenConfig, LogConfig,
    LogFormat, NotYet, Role, TlsFiles, TokensConfig,
};
pub use env::Environment;
pub use follow::FollowConfig;
pub use network::Network;
pub(crate) use network::peer_prefix;
pub use raw::Config;
pub use steer::{BrakeOn, RatesConfig, RolloutsConfig};
pub use tokens::{IssuerConfig, KeysFrom};
