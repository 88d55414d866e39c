//! What a long operation tells whoever watches. Owns the phases; must not print.

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Finishing or undoing what an earlier run left behind.
    Recover,
    /// Asking edges what to install, and checking who signed it.
    Discover,
    /// Reading manifest parts, comparing with what is installed.
    Plan,
    /// Hashing files on disk.
    Scan,
    /// Assembling new files from content already on disk.
    Reuse,
    /// Fetching, verifying and writing content.
    Fetch,
    /// Bringing everything to the platter.
    Sync,
    /// Putting the new files in place.
    Commit,
}

/// Somebody who watches. Called from several threads, often: implementations must be quick.
pub trait Progress: Sync {
    /// A phase begins; `total` is in bytes of content (files for [`Phase::Commit`]), 0 when unknown.
    fn begin(&self, phase: Phase, total: u64);
    /// `amount` more of the current phase's unit is done.
    fn advance(&self, amount: u64);
    /// Something worth telling that is not an error, such as an edge that was dropped.
    fn note(&self, text: &str);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _phase: Phase, _total: u64) {}
    fn advance(&self, _amount: u64) {}
    fn note(&self, _text: &str) {}
}
