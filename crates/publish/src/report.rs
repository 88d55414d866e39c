//! What a publish did, in numbers. Field names are part of `penstock publish --json`.

use penstock_core::blob::BlobId;
use penstock_core::id::{ChannelName, Platform, ProductId, Version};
use serde::{Deserialize, Serialize};

/// What a publish did. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishReport {
    /// Product.
    pub product: ProductId,
    /// Version.
    pub version: Version,
    /// Platform.
    pub platform: Platform,
    /// The signed manifest's blob.
    pub manifest: BlobId,
    /// That blob's length.
    pub manifest_bytes: u64,
    /// The version was there already, with this very content; nothing was uploaded.
    pub already_published: bool,
    /// The channel that now offers it, if one was asked for.
    pub channel: Option<ChannelName>,
    /// Files, directories and links.
    pub entries: u64,
    /// Files.
    pub files: u64,
    /// Size of all files.
    pub content_bytes: u64,
    /// Chunks of all files.
    pub chunks: u64,
    /// Of those, chunks that repeat an earlier chunk of this release.
    pub chunks_repeated: u64,
    /// Of those, chunks that an earlier release already stored.
    pub chunks_reused: u64,
    /// Content of the chunks that had to be stored.
    pub new_content_bytes: u64,
    /// That content as stored in frames.
    pub new_stored_bytes: u64,
    /// Of the new frames, those stored raw because compression does not pay.
    pub raw_frames: u64,
    /// New frames.
    pub frames: u64,
    /// New packs.
    pub packs: u64,
    /// Manifest parts of this release.
    pub parts: u64,
    /// Length of all manifest parts as stored.
    pub part_bytes: u64,
    /// Blobs that were uploaded.
    pub blobs_uploaded: u64,
    /// Length of the blobs that were uploaded.
    pub uploaded_bytes: u64,
    /// Blobs that the node already had.
    pub blobs_present: u64,
    /// Seconds for cutting and hashing.
    pub chunk_seconds: f64,
    /// Seconds for everything.
    pub seconds: f64,
}
