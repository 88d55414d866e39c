//! Fixtures, fakes and a daemon under test; a dev-dependency and nothing else.
//!
//! Owns what several crates' tests share: small builds and edits of them, sizes worth trying, the
//! real binary as a child process, a database server, a database of places, an edge that lies, an origin that fails. Must
//! not be needed to build the product.

mod certificate;
mod daemon;
mod geo;
mod lying;
mod postgres;
mod sizes;
mod tools;
mod tree;
mod volume;

pub use certificate::Certificate;
pub use daemon::{Addresses, Daemon, DaemonError};
pub use geo::GeoFile;
pub use lying::{Lie, LyingEdge};
pub use penstock_origin::{FailingOrigin, Failure as OriginFailure};
pub use postgres::{PostgresServer, Syncing};
pub use sizes::{INTERESTING_SIZES, InterestingSize};
pub use tools::require_tool;
pub use tree::{Edit, Node, Tree, noise};
pub use volume::{PowerSwitch, Volume};
