//! The seam to a node: what a publish asks of it. Second implementation: [`crate::memory`].

use penstock_core::api::{
    ChannelsAnswer, MoveChannel, RegisterRelease, ReleasesAnswer, ReuseAnswer, ReuseQuestion, SigningAnswer,
};
use penstock_core::blob::BlobId;
use penstock_core::id::{ChannelName, ProductId};
use std::path::Path;

/// Bytes to upload; they can be read again for another try.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// In memory.
    Memory(&'a [u8]),
    /// A file of exactly this many bytes.
    File {
        /// Which file.
        path: &'a Path,
        /// Its length.
        bytes: u64,
    },
}

impl Content<'_> {
    /// Length in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }
}

/// Why a node did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer, after as many tries as the call allows.
    #[error("cannot reach the node at {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// The last failure.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answered with a problem document.
    #[error("the node refused: {title}{dash}{detail} (status {status}, code {code})", dash = if detail.is_empty() { "" } else { ": " })]
    Refused {
        /// HTTP status.
        status: u16,
        /// The stable code, see `core::reply`.
        code: String,
        /// What it means in general.
        title: String,
        /// What was wrong in this request; may be empty.
        detail: String,
    },
    /// It answered with something that no node says.
    #[error("the node's answer is not understood: {0}")]
    Answer(String),
    /// The content to upload could not be read.
    #[error("cannot read what is to be uploaded")]
    Content(#[source] std::io::Error),
}

impl RegistryError {
    /// Whether the node said that the thing is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
    /// Whether the node said that something else is there.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }
}

/// A node, as a publish sees it. Calls block; several threads call at once.
///
/// A failed call may have taken effect; every call may be repeated with the same arguments.
pub trait Registry: Sync {
    /// The node's channel key and what is known of the publisher.
    ///
    /// # Errors
    /// [`RegistryError`]; not found when the product does not exist.
    fn signing(&self, product: &ProductId) -> Result<SigningAnswer, RegistryError>;
    /// All releases of a product, newest first.
    ///
    /// # Errors
    /// [`RegistryError`].
    fn releases(&self, product: &ProductId) -> Result<ReleasesAnswer, RegistryError>;
    /// What the product's channels offer.
    ///
    /// # Errors
    /// [`RegistryError`].
    fn channels(&self, product: &ProductId) -> Result<ChannelsAnswer, RegistryError>;
    /// A whole blob of at most `bytes_max`; its hash is the caller's to check.
    ///
    /// # Errors
    /// [`RegistryError`].
    fn read_blob(&self, blob: &BlobId, bytes_max: u64) -> Result<Vec<u8>, RegistryError>;
    /// Those of the named blobs that the node lacks; any number may be asked.
    ///
    /// # Errors
    /// [`RegistryError`].
    fn missing(&self, blobs: &[BlobId]) -> Result<Vec<BlobId>, RegistryError>;
    /// Which blobs of earlier releases a new one had better not share; at most
    /// [`penstock_core::limits::MISSING_BLOBS_MAX`] may be asked.
    ///
    /// # Errors
    /// [`RegistryError`].
    fn reuse(&self, product: &ProductId, question: &ReuseQuestion) -> Result<ReuseAnswer, RegistryError>;
    /// Uploads a blob; the node keeps it only if its hash is its name.
    ///
    /// # Errors
    /// [`RegistryError`].
    fn put_blob(&self, blob: &BlobId, content: Content<'_>) -> Result<(), RegistryError>;
    /// Registers a release whose blobs are all there.
    ///
    /// # Errors
    /// [`RegistryError`]; conflict when the version exists with another manifest.
    fn register(&self, product: &ProductId, release: &RegisterRelease) -> Result<(), RegistryError>;
    /// Makes a channel offer a registered release.
    ///
    /// # Errors
    /// [`RegistryError`].
    fn move_channel(&self, product: &ProductId, channel: &ChannelName, to: &MoveChannel) -> Result<(), RegistryError>;
}
