//! May this caller read this? The decision, pure, and the proof that it was made.
//!
//! A [`Grant`] has private fields and is made here only; the shelf of an edge opens a blob for a
//! `&Grant` and for nothing else. So far the only question is whether content is open; tokens and
//! entitlements answer more through the same function.

use crate::blob::BlobId;
use crate::catalog::{AccessClass, ReleaseState};

/// Whether shared caches may keep an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Open content: `Cache-Control: public`.
    Public,
    /// Content that depends on the caller: `private`.
    Private,
}

/// The decision that a request may read one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    blob: BlobId,
    visibility: Visibility,
}

impl Grant {
    /// The blob that may be read.
    #[must_use]
    pub const fn blob(&self) -> BlobId {
        self.blob
    }
    /// Whether shared caches may keep the answer.
    #[must_use]
    pub const fn visibility(&self) -> Visibility {
        self.visibility
    }
}

/// The decision that a request may learn about a product (its channels and releases).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductGrant {
    visibility: Visibility,
}

impl ProductGrant {
    /// Whether shared caches may keep the answer.
    #[must_use]
    pub const fn visibility(&self) -> Visibility {
        self.visibility
    }
}

/// What an edge knows about one use of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobUse {
    /// The class of the product it belongs to.
    pub access: AccessClass,
    /// The state of the release it belongs to.
    pub state: ReleaseState,
}

/// What an edge knows about a blob: every use, and whether it was added as open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlobFacts {
    /// Added with `blob add --open`.
    pub loose_open: bool,
    /// Releases it is part of.
    pub uses: Vec<BlobUse>,
}

/// Why a request is refused. Codes are stable; `reply` maps each to a status, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No such thing here, or it must look so.
    Unknown,
    /// The release was withdrawn.
    Withdrawn,
    /// Content that needs a token, and none came.
    TokenRequired,
}

impl Refusal {
    /// The stable code for problem documents, logs and `explain`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Withdrawn => "withdrawn",
            Self::TokenRequired => "token_required",
        }
    }
}

/// The answer to a question of access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<G> {
    /// It may; the grant proves it.
    Allow(G),
    /// It may not.
    Refuse(Refusal),
}

/// May this caller read this blob? `None` facts mean that the catalogue does not know it.
#[must_use]
pub fn decide_blob(blob: BlobId, facts: Option<&BlobFacts>) -> Verdict<Grant> {
    let Some(facts) = facts else { return Verdict::Refuse(Refusal::Unknown) };
    if facts.loose_open {
        return Verdict::Allow(Grant { blob, visibility: Visibility::Public });
    }
    let mut refusal = Refusal::Unknown;
    for one in &facts.uses {
        match decide_use(*one) {
            None => return Verdict::Allow(Grant { blob, visibility: Visibility::Public }),
            Some(found) => refusal = stronger(refusal, found),
        }
    }
    Verdict::Refuse(refusal)
}

/// May this caller learn about a product? `None` means that the catalogue does not know it.
#[must_use]
pub const fn decide_product(access: Option<AccessClass>) -> Verdict<ProductGrant> {
    match access {
        Some(AccessClass::Open) => Verdict::Allow(ProductGrant { visibility: Visibility::Public }),
        Some(AccessClass::Registered | AccessClass::Licensed) => Verdict::Refuse(Refusal::TokenRequired),
        Some(AccessClass::Closed) | None => Verdict::Refuse(Refusal::Unknown),
    }
}

const fn decide_use(one: BlobUse) -> Option<Refusal> {
    match (one.access, one.state) {
        (AccessClass::Closed, _) => Some(Refusal::Unknown),
        (AccessClass::Registered | AccessClass::Licensed, _) => Some(Refusal::TokenRequired),
        (AccessClass::Open, ReleaseState::Withdrawn) => Some(Refusal::Withdrawn),
        (AccessClass::Open, ReleaseState::Live) => None,
    }
}

/// Of two refusals the more useful to the caller: what a token could mend, then what is gone.
const fn stronger(a: Refusal, b: Refusal) -> Refusal {
    match (a, b) {
        (Refusal::TokenRequired, _) | (_, Refusal::TokenRequired) => Refusal::TokenRequired,
        (Refusal::Withdrawn, _) | (_, Refusal::Withdrawn) => Refusal::Withdrawn,
        (Refusal::Unknown, Refusal::Unknown) => Refusal::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AccessClass::{Closed, Licensed, Open, Registered};
    use ReleaseState::{Live, Withdrawn};

    fn verdict(uses: &[(AccessClass, ReleaseState)]) -> Verdict<Grant> {
        let uses = uses.iter().map(|&(access, state)| BlobUse { access, state }).collect();
        decide_blob(BlobId::of(b"x"), Some(&BlobFacts { loose_open: false, uses }))
    }

    #[test]
    fn the_whole_table() {
        let allowed = |uses: &[_]| matches!(verdict(uses), Verdict::Allow(_));
        assert!(allowed(&[(Open, Live)]));
        assert!(allowed(&[(Closed, Live), (Open, Live)]), "one open use is enough");
        assert!(allowed(&[(Open, Withdrawn), (Open, Live)]), "a chunk shared with a live release stays");
        assert_eq!(verdict(&[(Open, Withdrawn)]), Verdict::Refuse(Refusal::Withdrawn));
        assert_eq!(verdict(&[(Licensed, Live)]), Verdict::Refuse(Refusal::TokenRequired));
        assert_eq!(verdict(&[(Registered, Live), (Open, Withdrawn)]), Verdict::Refuse(Refusal::TokenRequired));
        assert_eq!(verdict(&[(Closed, Live)]), Verdict::Refuse(Refusal::Unknown), "closed looks unknown");
        assert_eq!(verdict(&[]), Verdict::Refuse(Refusal::Unknown));
        assert_eq!(decide_blob(BlobId::of(b"x"), None), Verdict::Refuse(Refusal::Unknown));
        let loose = BlobFacts { loose_open: true, uses: Vec::new() };
        assert!(matches!(decide_blob(BlobId::of(b"x"), Some(&loose)), Verdict::Allow(_)));
        assert_eq!(decide_product(Some(Closed)), decide_product(None), "closed looks unknown");
        assert!(matches!(decide_product(Some(Open)), Verdict::Allow(_)));
    }
}
