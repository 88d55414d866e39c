//! A node in this process: the wiring of store, control and edge that `serve`, `quickstart` and a desk
//! command without a running node share.

mod api;
mod assemble;
mod chores;
mod edge;
mod issuers;
mod lock;
pub(crate) mod log;
mod marker;
mod settings;

pub(crate) use assemble::{Assembled, Doors, NodeError, assemble, assemble_held};
pub(crate) use lock::{DataDirLock, LockError};
pub(crate) use marker::{Marker, url as marker_url};
pub(crate) use settings::private_config;
