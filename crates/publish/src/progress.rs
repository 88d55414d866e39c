//! What a publish tells whoever watches. Owns the phases; must not print.

/// Where a publish is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Listing the build tree.
    Scan,
    /// Cutting files into chunks and hashing them.
    Chunk,
    /// Reading what the product already published.
    Reuse,
    /// Compressing, packing and uploading new content.
    Pack,
    /// Writing, signing, verifying and uploading the manifest.
    Manifest,
    /// Registering the release and, if asked, moving the channel.
    Register,
}

/// Somebody who watches. Called from several threads, often: implementations must be quick.
pub trait Progress: Sync {
    /// A phase begins; `total` is in bytes of content, 0 when unknown or not counted in bytes.
    fn begin(&self, phase: Phase, total: u64);
    /// `bytes` more of the current phase's total are done.
    fn advance(&self, bytes: u64);
    /// Something worth telling that is not an error.
    fn note(&self, text: &str);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _phase: Phase, _total: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn note(&self, _text: &str) {}
}
