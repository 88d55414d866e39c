//! From a trusted publisher key to a believable offer: rotation → delegation → channel head.
//!
//! Pure: what the client remembers and what time it is are arguments. Nothing here says that a
//! release is good; that is the signed manifest's part (`manifest`).
//!
//! # What is remembered, and when it is forgotten
//!
//! A client remembers the highest head of each channel ([`Memory`]) and refuses one with a lower
//! sequence (rollback) or another one with the same. That alone would make a stolen channel key
//! incurable: a head that the thief signs with the highest sequence would block every later one. So
//! the memory of a head is void once the publisher took back the keys that signed it: when a
//! delegation of a *higher sequence* than the one it was believed under leaves fewer of its signers
//! than its threshold. What then protects the client:
//!
//! * *Against rollback by delegation*: delegation sequences are never forgotten, so the stolen key
//!   cannot come back with the delegation that named it. A publisher must not delegate to it again.
//! * *Against rollback by head*: what a remaining key signed long ago would pass for news, because
//!   its sequence is held against nothing. So while the memory is void, a head must have been issued
//!   after the delegation that voided it ([`follows_revocation`], with a day for clocks that differ).
//!   A node signs its heads anew when it gets such a delegation.
//! * *Against freeze*: expiry of heads is checked as ever. A client that is shown only the old
//!   delegation goes on believing the stolen key, until the old delegation expires, if it does, or
//!   any edge shows it the new one. It still installs nothing that the publisher did not sign.

use crate::envelope::{Envelope, EnvelopeError, Purpose, SignatureError};
use crate::id::{ChannelName, Platform, ProductId, Version};
use crate::keys::{PublicKey, TrustSet};
use crate::statement::{Delegation, Head, Pointer, Rotation, StatementError};
use crate::time::UnixSeconds;

/// Why an offer is not believed. Each case has its own message, because each needs another answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// One of the three is not an envelope.
    #[error("the {what} is malformed")]
    Envelope {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        source: EnvelopeError,
    },
    /// Signed, but the content is not what it should be, or more than this version knows.
    #[error("the {what} cannot be read")]
    Statement {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        source: StatementError,
    },
    /// The delegation is not by the trusted publisher.
    #[error("the delegation is not signed by the trusted publisher key")]
    Publisher(#[source] SignatureError),
    /// The head is not by a key that the publisher delegated.
    #[error("the channel head is not signed by a key that the publisher delegated")]
    Channel(#[source] SignatureError),
    /// A rotation is not signed by both the old and the new keys.
    #[error("a key rotation is not signed by both the old and the new keys")]
    Rotation(#[source] SignatureError),
    /// Right signature, other product.
    #[error("the {what} is for product {found}, not {expected}")]
    Product {
        /// Delegation or head.
        what: &'static str,
        /// What the client asked for.
        expected: ProductId,
        /// What it got.
        found: ProductId,
    },
    /// Right signature, other platform.
    #[error("the channel head is for platform {found}, not {expected}")]
    Platform {
        /// What the client asked for.
        expected: Platform,
        /// What it got.
        found: Platform,
    },
    /// Right signature, other channel.
    #[error("the channel head is for channel {found}, not {expected}")]
    ChannelName {
        /// What the client asked for.
        expected: ChannelName,
        /// What it got.
        found: ChannelName,
    },
    /// The answer names a release that the head does not point at.
    #[error("the edge offers {found}, but the channel head points at {head} only", head = one_or_other(.target, .fallback.as_ref()))]
    NotOffered {
        /// What the answer names.
        found: Version,
        /// The head's target.
        target: Version,
        /// Its fallback.
        fallback: Option<Version>,
    },
    /// Somebody replays an old head.
    #[error("the channel head has sequence {found}, older than {seen} seen before (rollback attack or stale edge)")]
    OlderSequence {
        /// Highest seen before.
        seen: u64,
        /// This head's.
        found: u64,
    },
    /// Two different heads with one number.
    #[error("two different channel heads carry sequence {0}")]
    Equivocation(u64),
    /// Somebody replays a head from before the keys of the last one were taken back.
    #[error("the channel head was issued at {issued} (Unix seconds), before the publisher took back the key of the last one at {revoked}", issued = issued.0, revoked = revoked.0)]
    BeforeRevocation {
        /// When the head was signed.
        issued: UnixSeconds,
        /// When the delegation was.
        revoked: UnixSeconds,
    },
    /// Somebody replays an old delegation.
    #[error("the delegation has sequence {found}, older than {seen} seen before")]
    OlderDelegation {
        /// Highest seen before.
        seen: u64,
        /// This delegation's.
        found: u64,
    },
    /// Somebody withholds newer heads, or control has been down for long.
    #[error("the channel head expired at {expired} (Unix seconds), it is now {now}: the edge may be withholding updates", expired = expired.0, now = now.0)]
    HeadExpired {
        /// When it ended.
        expired: UnixSeconds,
        /// The client's clock.
        now: UnixSeconds,
    },
    /// The publisher's delegation ended.
    #[error("the delegation expired at {expired} (Unix seconds), it is now {now}", expired = expired.0, now = now.0)]
    DelegationExpired {
        /// When it ended.
        expired: UnixSeconds,
        /// The client's clock.
        now: UnixSeconds,
    },
    /// The client's clock is behind the signer's by more than a day, so no expiry can be believed.
    #[error("the channel head was issued at {issued} (Unix seconds), more than a day after this machine's clock ({now}): set the clock", issued = issued.0, now = now.0)]
    NotYetIssued {
        /// When it was signed.
        issued: UnixSeconds,
        /// The client's clock.
        now: UnixSeconds,
    },
}

/// How far the signer's clock may be ahead of ours, in seconds.
pub const CLOCK_SKEW_SECONDS: u64 = 24 * 3600;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Product named by the user.
    pub product: ProductId,
    /// Platform of the install.
    pub platform: Platform,
    /// Channel named by the user.
    pub channel: ChannelName,
}

/// What an install remembers of earlier offers, against replays.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// Highest head sequence accepted for this channel.
    pub head_sequence: u64,
    /// BLAKE3 of that head's payload, so that two heads with one number are noticed.
    pub head_hash: Option<crate::blob::BlobId>,
    /// Highest delegation sequence accepted.
    pub delegation_sequence: u64,
    /// The delegated keys that signed that head; empty when it was remembered by a version that did
    /// not note them, and then that head is never forgotten.
    #[serde(default)]
    pub head_signers: Vec<PublicKey>,
    /// Sequence of the delegation that the head was believed under.
    #[serde(default)]
    pub head_delegation: u64,
}

impl Memory {
    /// Whether a delegation takes back the keys of the remembered head, so that it counts no more.
    #[must_use]
    pub fn is_voided_by(&self, delegation: &Delegation) -> bool {
        let left = self.head_signers.iter().filter(|key| delegation.keys.keys().contains(key)).count();
        !self.head_signers.is_empty()
            && delegation.sequence > self.head_delegation
            && left < delegation.keys.threshold()
    }
}

/// Whether a head of this date is from after a delegation of that date, clocks being up to
/// [`CLOCK_SKEW_SECONDS`] apart.
#[must_use]
pub const fn follows_revocation(head_issued: UnixSeconds, delegation_issued: UnixSeconds) -> bool {
    head_issued.plus(CLOCK_SKEW_SECONDS).0 >= delegation_issued.0
}

/// A channel head whose whole chain was checked. Only [`verify_offer`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedHead {
    head: Head,
    memory: Memory,
}

impl VerifiedHead {
    /// The head.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }
    /// What to remember once the release was installed.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }
    /// The release that the channel moves to, or has moved to.
    #[must_use]
    pub const fn target(&self) -> &Pointer {
        &self.head.target
    }
    /// The release to install. An edge chooses between the head's target and its fallback, for each caller; that it chose
    /// one of the two, to the last byte of the pointer, is all that is checked: either is signed, and it is the edge that
    /// knows whose turn it is, and whether a brake was pulled.
    ///
    /// # Errors
    /// [`TrustError::NotOffered`] for anything else.
    pub fn chosen(&self, answer: &Pointer) -> Result<&Pointer, TrustError> {
        let offered = [Some(&self.head.target), self.head.fallback.as_ref()];
        offered.into_iter().flatten().find(|pointer| *pointer == answer).ok_or_else(|| TrustError::NotOffered {
            found: answer.version.clone(),
            target: self.head.target.version.clone(),
            fallback: self.head.fallback.as_ref().map(|pointer| pointer.version.clone()),
        })
    }
}

/// What a head points at, in words.
fn one_or_other(target: &Version, fallback: Option<&Version>) -> String {
    fallback.map_or_else(|| target.to_string(), |fallback| format!("{target} or {fallback}"))
}

/// Follows rotations from the set the client was given to the set in force.
///
/// Rotations that do not start from the current set are skipped: a client that already holds the
/// newest set gets the whole list too.
///
/// # Errors
/// [`TrustError`] for a rotation signed by the current set but not by its successor, or malformed.
pub fn follow_rotations(given: &TrustSet, rotations: &[Vec<u8>]) -> Result<TrustSet, TrustError> {
    let mut current = given.clone();
    for bytes in rotations {
        let envelope = decode("key rotation", bytes)?;
        let Ok(payload) = envelope.verify(Purpose::Rotation, &current) else { continue };
        let rotation = Rotation::decode(payload.bytes())
            .map_err(|source| TrustError::Statement { what: "key rotation", source })?;
        envelope.verify(Purpose::Rotation, &rotation.successor).map_err(TrustError::Rotation)?;
        current = rotation.successor;
    }
    Ok(current)
}

/// Checks the whole chain: trusted publisher → delegation → head, and that it is the head wanted,
/// not older than what was seen, and in force at `now`.
///
/// # Errors
/// [`TrustError`], one case per way to be wrong.
pub fn verify_offer(
    trust: &TrustSet,
    delegation: &[u8],
    head: &[u8],
    wanted: &Wanted,
    memory: &Memory,
    now: UnixSeconds,
) -> Result<VerifiedHead, TrustError> {
    let delegation = verify_delegation(trust, delegation, &wanted.product)?;
    let envelope = decode("channel head", head)?;
    let payload = envelope.verify(Purpose::Head, &delegation.keys).map_err(TrustError::Channel)?;
    let head_hash = crate::blob::BlobId::of(payload.bytes());
    let head =
        Head::decode(payload.bytes()).map_err(|source| TrustError::Statement { what: "channel head", source })?;
    check_wanted(&head, wanted)?;
    check_fresh(&delegation, &head, head_hash, memory, now)?;
    let memory = Memory {
        head_sequence: head.sequence,
        head_hash: Some(head_hash),
        delegation_sequence: delegation.sequence,
        head_signers: envelope.good_signers(&delegation.keys),
        head_delegation: delegation.sequence,
    };
    Ok(VerifiedHead { head, memory })
}

/// Checks that the trusted publisher signed this delegation for this product.
///
/// # Errors
/// [`TrustError`].
pub fn verify_delegation(trust: &TrustSet, delegation: &[u8], product: &ProductId) -> Result<Delegation, TrustError> {
    let envelope = decode("delegation", delegation)?;
    let payload = envelope.verify(Purpose::Delegation, trust).map_err(TrustError::Publisher)?;
    let delegation =
        Delegation::decode(payload.bytes()).map_err(|source| TrustError::Statement { what: "delegation", source })?;
    if delegation.product != *product {
        return Err(TrustError::Product { what: "delegation", expected: product.clone(), found: delegation.product });
    }
    Ok(delegation)
}

fn decode(what: &'static str, bytes: &[u8]) -> Result<Envelope, TrustError> {
    Envelope::decode(bytes).map_err(|source| TrustError::Envelope { what, source })
}

fn check_wanted(head: &Head, wanted: &Wanted) -> Result<(), TrustError> {
    if head.product != wanted.product {
        return Err(TrustError::Product {
            what: "channel head",
            expected: wanted.product.clone(),
            found: head.product.clone(),
        });
    }
    if head.platform != wanted.platform {
        return Err(TrustError::Platform { expected: wanted.platform.clone(), found: head.platform.clone() });
    }
    if head.channel != wanted.channel {
        return Err(TrustError::ChannelName { expected: wanted.channel.clone(), found: head.channel.clone() });
    }
    Ok(())
}

fn check_fresh(
    delegation: &Delegation,
    head: &Head,
    head_hash: crate::blob::BlobId,
    memory: &Memory,
    now: UnixSeconds,
) -> Result<(), TrustError> {
    if delegation.sequence < memory.delegation_sequence {
        return Err(TrustError::OlderDelegation { seen: memory.delegation_sequence, found: delegation.sequence });
    }
    if memory.is_voided_by(delegation) {
        if !follows_revocation(head.issued, delegation.issued) {
            return Err(TrustError::BeforeRevocation { issued: head.issued, revoked: delegation.issued });
        }
    } else if head.sequence < memory.head_sequence {
        return Err(TrustError::OlderSequence { seen: memory.head_sequence, found: head.sequence });
    } else if head.sequence == memory.head_sequence && memory.head_hash.is_some_and(|seen| seen != head_hash) {
        return Err(TrustError::Equivocation(head.sequence));
    }
    if let Some(expired) = delegation.expires.filter(|at| *at <= now) {
        return Err(TrustError::DelegationExpired { expired, now });
    }
    if head.expires <= now {
        return Err(TrustError::HeadExpired { expired: head.expires, now });
    }
    if head.issued > now.plus(CLOCK_SKEW_SECONDS) {
        return Err(TrustError::NotYetIssued { issued: head.issued, now });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
