//! Where blobs come from and go to.
//!
//! Owns the [`Origin`] seam and its implementations: [`LocalOrigin`] over a `store` on this machine (role "all": blobs
//! are stored once and served from the same files), and [`FailingOrigin`], which wraps another and fails when told to.
//! It must not cache and must not decide who may read.

mod failing;
mod local;

use std::io::Read;

use bytes::Bytes;
use penstock_core::blob::{BlobId, BlobSize};
use penstock_store::{ImportError, ViewError};

pub use failing::{FailingOrigin, Failure};
pub use local::LocalOrigin;

/// A place that keeps blobs for good.
///
/// Callers may assume: every method blocks; a blob that [`OriginDraft::seal`] has confirmed survives a crash of the
/// process and of the machine; a blob that is there is whole. Any call may fail with [`OriginError::Unavailable`] or a
/// disk error and may be tried again later; a failed draft leaves nothing behind. What is read is what was written as
/// far as the origin can tell: a reader that must be sure compares with the blob's name.
pub trait Origin: Send + Sync {
    /// The size of a blob; `None` when the origin does not have it.
    ///
    /// # Errors
    /// When the origin cannot tell.
    fn size_of(&self, blob: &BlobId) -> Result<Option<BlobSize>, OriginError>;

    /// Begins to write a blob whose name is known. `size` is its length in bytes where that is known too.
    ///
    /// # Errors
    /// When it is too large, does not fit, or the origin refuses.
    fn draft(&self, expected: BlobId, size: Option<u64>) -> Result<Box<dyn OriginDraft>, OriginError>;

    /// A whole blob in memory, if it has at most `max_bytes`.
    ///
    /// # Errors
    /// [`OriginError::Unknown`]; [`OriginError::TooLarge`].
    fn read_all(&self, blob: &BlobId, max_bytes: u64) -> Result<Bytes, OriginError>;

    /// A blob from its first byte to its last. Errors while reading are of kind `Other` and carry the cause.
    ///
    /// # Errors
    /// [`OriginError::Unknown`].
    fn reader(&self, blob: &BlobId) -> Result<Box<dyn Read + Send>, OriginError>;

    /// Removes a blob; `false` when it was not there.
    ///
    /// # Errors
    /// When the origin refuses; the blob is then still there.
    fn remove(&self, blob: &BlobId) -> Result<bool, OriginError>;
}

/// A blob on its way into an origin. Dropped without [`OriginDraft::seal`], it leaves nothing behind.
pub trait OriginDraft: Send {
    /// Appends content.
    ///
    /// # Errors
    /// When the origin refuses; nothing more can be written then.
    fn write(&mut self, content: &[u8]) -> Result<(), OriginError>;

    /// Ends the content; the blob survives a crash when this returns.
    ///
    /// # Errors
    /// [`OriginError::Mismatch`] when the content is not what its name says.
    fn seal(self: Box<Self>) -> Result<BlobSize, OriginError>;
}

/// Why an origin did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// It does not have the blob.
    #[error("the origin does not have blob {0}")]
    Unknown(BlobId),
    /// The content is not what its name says.
    #[error("the content's name is {actual}, not {expected}")]
    Mismatch {
        /// The promised name.
        expected: BlobId,
        /// The name of what came.
        actual: BlobId,
    },
    /// More bytes than the caller, or any blob, may have.
    #[error("more than {max} bytes")]
    TooLarge {
        /// The bound, in bytes.
        max: u64,
    },
    /// No space is left where the origin keeps its blobs.
    #[error("the origin is full: free space and try again")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The origin could not do it now; trying again may help.
    #[error("the origin is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<ImportError> for OriginError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Mismatch { expected, actual } => Self::Mismatch { expected, actual },
            ImportError::TooLarge { max } => Self::TooLarge { max },
            ImportError::Disk(full @ penstock_store::DiskError::Full { .. }) => Self::Full(Box::new(full)),
            error @ (ImportError::Broken | ImportError::Source(_) | ImportError::Disk(_)) => {
                Self::Unavailable(Box::new(error))
            }
        }
    }
}

impl From<ViewError> for OriginError {
    fn from(error: ViewError) -> Self {
        match error {
            // The store has forgotten a deleted or damaged blob: for every later caller it is unknown, too.
            ViewError::Unknown(blob) | ViewError::Deleted(blob) => Self::Unknown(blob),
            error @ (ViewError::Damaged { .. } | ViewError::OutOfRange { .. } | ViewError::Disk(_)) => {
                Self::Unavailable(Box::new(error))
            }
        }
    }
}
