//! Blobs on one machine.
//!
//! A blob is one file of exactly its bytes, named by its hash, written once and then only ever unlinked. This crate
//! owns that directory: import, the catalogue, views over memory maps (or `pread`), outboards beside the blobs,
//! quarantine and scrub. Everything blocks; callers with a runtime use [`Store::cached_view`] and
//! [`BlobView::try_window`], which never do, and send the rest to a pool.
//!
//! It must not know tokio, HTTP, or who may read. `unsafe` lives in `map` and `sigbus` and nowhere else.
//!
//! # The directory
//!
//! ```text
//! lock                     held (flock) while a store has the directory open
//! scrub                    how far the last scrub came; without it the next one begins at the first blob
//! ab/<64 hex digits>       a sealed blob whose name begins with ab, mode 0444
//! ab/<64 hex digits>.obao  its outboard, when the blob is larger than one group; can always be rebuilt
//! ab/<64 hex digits>.sha2  its SHA-256, once somebody asked for it; can always be rebuilt
//! tmp/                     drafts; whatever is found there at start is a leftover of a crash and is removed
//! quarantine/              blobs that were damaged behind our back, each with a `.reason` beside it
//! ```
//!
//! # Order of an import, and what each step buys
//!
//! 1. write to `tmp/`, on the same volume, hashing: a rename later needs no copy;
//! 2. `fsync` the data: the name will never point at bytes that a crash can lose;
//! 3. rename the outboard, then the data, into the shard: a data file in a shard *is* a sealed blob;
//! 4. `fsync` the shard: the name survives a crash, so only now the blob is in the catalogue and may be promised.
//!
//! Outboards are not synced: they are checked against the blob's name at their first use after a start, and rebuilt
//! when a crash (or anybody) spoiled them.

mod cache;
mod catalog;
mod claims;
mod digest;
pub mod disk;
mod error;
mod file;
mod flights;
mod import;
mod layout;
mod map;
mod options;
mod outboard;
mod quarantine;
mod scrub;
mod sigbus;
mod store;
mod temp;
mod view;

pub use catalog::Totals;
pub use error::{Damage, DiskError, ImportError, OpenError, ViewError};
pub use import::{Draft, Sealed};
pub use options::{OPEN_VIEWS_DEFAULT, OPEN_VIEWS_MAX, QUARANTINED_MAX, Reading, StoreOptions};
pub use scrub::{Finding, Found, ScrubControl, ScrubOptions, ScrubProgress, ScrubReport};
pub use store::Store;
pub use view::BlobView;
