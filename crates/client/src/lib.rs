//! Brings an install up to date: decides what is missing, fetches it from whichever edge delivers,
//! verifies it, and puts it in place so that a crash never leaves a mix of two versions.
//!
//! Owns everything on the player's machine: the network session (sans-io, in [`session`]), the
//! transports, the plan, the preflight, the journaled install, verify, repair and rollback. It must
//! not sign, encode, print, or know `store`, `publish` or `control`.
//!
//! Memory: file contents are held only in frames on their way to disk (about 16 MiB at most), manifest
//! parts are decoded one at a time, chunks are looked for in passes over an index of bounded size, and
//! what grows with the build is 44 bytes and its path for each entry, again 44 for each of the version that
//! is replaced, and 6 bytes for each chunk.

mod ask;
mod assemble;
mod bits;
mod change;
mod choose;
mod commit;
mod discover;
mod drive;
mod error;
mod identity;
mod index;
mod inspect;
mod install;
mod journal;
mod layout;
mod listing;
mod plan;
pub mod platform;
mod pool;
mod preflight;
mod progress;
mod pull;
pub mod rate;
mod ready;
mod repair;
mod report;
mod request;
mod rollback;
mod scan;
pub mod session;
mod shelf;
mod stage;
mod state;
pub mod transport;
mod verify;

pub use error::{DiskError, ErrorClass, PullError};
pub use inspect::{InstallSummary, inspect};
pub use pool::WorkerPanicked;
pub use preflight::{Preflight, Space, Strategy};
pub use progress::{Phase, Progress, Silent};
pub use pull::pull;
pub use repair::repair;
pub use report::{Damage, DamageKind, PullReport, RepairReport, RollbackReport, VerifyReport};
pub use request::{
    Check, Components, EdgeUrl, EdgeUrlError, Intent, PullRequest, RepairRequest, RollbackRequest, Target, Token,
    TokenError, Tuning, VerifyRequest,
};
pub use rollback::rollback;
pub use verify::{LISTED_MAX, verify};
