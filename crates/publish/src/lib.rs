//! A build tree becomes a signed release: scan, cut, reuse, compress, pack, sign, upload, register.
//!
//! Owns the encoders of the stored formats, the pipeline that runs them with bounded memory, and
//! the admin client that talks to a node. It must not decide who may read anything, and it moves a
//! channel only when asked: publishing is not offering.
//!
//! Everything here blocks; from async code, call it on a thread of its own. Interrupted anywhere,
//! [`publish`] is simply run again: blobs are named by their content and the same inputs make the
//! same blobs, so what already arrived is not sent twice.

mod compare;
mod cut;
mod encode;
mod fill;
pub mod keyfile;
mod known;
pub mod memory;
mod merge;
mod pack;
mod pipeline;
mod progress;
mod registry;
mod release;
pub mod remote;
mod report;
mod request;
mod scan;
mod source;
mod spool;
mod squeeze;
mod table;
mod upload;

pub use compare::CompareError;
pub use encode::EncodeError;
pub use fill::FillError;
pub use pipeline::{PublishError, publish};
pub use progress::{Phase, Progress, Silent};
pub use registry::{Content, Registry, RegistryError};
pub use report::PublishReport;
pub use request::{ComponentRule, LEVEL_DEFAULT, OtherKeys, Pattern, PatternError, PublishRequest, RequestError};
pub use scan::ScanError;
pub use source::SourceError;
