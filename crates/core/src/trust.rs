//! From a trusted publisher key to a believable offer: rotation → delegation → channel head.
//!
//! Pure: what the client remembers and what time it is are arguments. Nothing here says that a
//! release is good; that is the signed manifest's part (`manifest`).

use crate::envelope::{Envelope, EnvelopeError, Purpose, SignatureError};
use crate::id::{ChannelName, Platform, ProductId};
use crate::keys::TrustSet;
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
    /// Signed, but the content is not what it should be.
    #[error("the {what} is malformed")]
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
    /// The release to install.
    #[must_use]
    pub const fn target(&self) -> &Pointer {
        &self.head.target
    }
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
    let memory =
        Memory { head_sequence: head.sequence, head_hash: Some(head_hash), delegation_sequence: delegation.sequence };
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
    if head.sequence < memory.head_sequence {
        return Err(TrustError::OlderSequence { seen: memory.head_sequence, found: head.sequence });
    }
    if head.sequence == memory.head_sequence && memory.head_hash.is_some_and(|seen| seen != head_hash) {
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
mod tests {
    use super::*;
    use crate::blob::BlobId;
    use crate::id::Version;
    use crate::sign::{SecretKey, seal};

    const NOW: UnixSeconds = UnixSeconds(1_000_000);

    struct World {
        publisher: SecretKey,
        channel: SecretKey,
        delegation: Delegation,
        head: Head,
        wanted: Wanted,
        memory: Memory,
    }

    fn world() -> World {
        let publisher = SecretKey::from_seed(&[1; 32]);
        let channel = SecretKey::from_seed(&[2; 32]);
        let wanted = Wanted {
            product: ProductId::new("game").expect("name"),
            platform: Platform::any(),
            channel: ChannelName::new("stable").expect("name"),
        };
        let delegation = Delegation {
            product: wanted.product.clone(),
            keys: TrustSet::single(channel.public()),
            sequence: 3,
            issued: UnixSeconds(900_000),
            expires: None,
        };
        let head = Head {
            product: wanted.product.clone(),
            platform: wanted.platform.clone(),
            channel: wanted.channel.clone(),
            sequence: 10,
            issued: UnixSeconds(999_000),
            expires: UnixSeconds(1_100_000),
            target: Pointer {
                version: Version::new("2").expect("name"),
                manifest: BlobId::of(b"m"),
                manifest_bytes: 9,
            },
            fallback: None,
        };
        World { publisher, channel, delegation, head, wanted, memory: Memory::default() }
    }

    impl World {
        fn verify(&self, now: UnixSeconds) -> Result<VerifiedHead, TrustError> {
            let delegation = seal(Purpose::Delegation, self.delegation.encode(), &[&self.publisher]).encode();
            let head = seal(Purpose::Head, self.head.encode(), &[&self.channel]).encode();
            let trust = TrustSet::single(SecretKey::from_seed(&[1; 32]).public());
            verify_offer(&trust, &delegation, &head, &self.wanted, &self.memory, now)
        }
    }

    #[test]
    fn a_good_chain_is_believed_and_remembered() {
        let verified = world().verify(NOW).expect("a good chain");
        assert_eq!(verified.memory().head_sequence, 10);
        assert_eq!(verified.memory().delegation_sequence, 3);
        assert_eq!(verified.target().version.as_str(), "2");
    }

    #[test]
    fn each_attack_has_its_own_refusal() {
        type Attack = (&'static str, fn(&mut World), fn(&TrustError) -> bool);
        let attacks: [Attack; 12] = [
            (
                "wrong publisher key",
                |w| w.publisher = SecretKey::from_seed(&[9; 32]),
                |e| matches!(e, TrustError::Publisher(_)),
            ),
            (
                "undelegated channel key",
                |w| w.channel = SecretKey::from_seed(&[9; 32]),
                |e| matches!(e, TrustError::Channel(_)),
            ),
            (
                "delegation of another product",
                |w| w.delegation.product = ProductId::new("other").expect("name"),
                |e| matches!(e, TrustError::Product { what: "delegation", .. }),
            ),
            (
                "head of another product",
                |w| w.head.product = ProductId::new("other").expect("name"),
                |e| matches!(e, TrustError::Product { what: "channel head", .. }),
            ),
            (
                "head of another platform",
                |w| w.head.platform = Platform::new("macos").expect("name"),
                |e| matches!(e, TrustError::Platform { .. }),
            ),
            (
                "head of another channel",
                |w| w.head.channel = ChannelName::new("beta").expect("name"),
                |e| matches!(e, TrustError::ChannelName { .. }),
            ),
            (
                "replayed head",
                |w| w.memory.head_sequence = 11,
                |e| matches!(e, TrustError::OlderSequence { seen: 11, found: 10 }),
            ),
            (
                "replayed delegation",
                |w| w.memory.delegation_sequence = 4,
                |e| matches!(e, TrustError::OlderDelegation { .. }),
            ),
            (
                "two heads of one number",
                |w| {
                    w.memory =
                        Memory { head_sequence: 10, head_hash: Some(BlobId::of(b"other")), delegation_sequence: 3 }
                },
                |e| matches!(e, TrustError::Equivocation(10)),
            ),
            (
                "frozen head",
                |w| w.head.expires = UnixSeconds(1_000_000),
                |e| matches!(e, TrustError::HeadExpired { .. }),
            ),
            (
                "ended delegation",
                |w| w.delegation.expires = Some(UnixSeconds(950_000)),
                |e| matches!(e, TrustError::DelegationExpired { .. }),
            ),
            (
                "head from the future",
                |w| {
                    w.head.issued = UnixSeconds(1_090_000);
                },
                |e| matches!(e, TrustError::NotYetIssued { .. }),
            ),
        ];
        for (name, spoil, expected) in attacks {
            let mut world = world();
            spoil(&mut world);
            let refusal = world.verify(NOW).expect_err(name);
            assert!(expected(&refusal), "{name}: {refusal:?}");
        }
    }

    #[test]
    fn rotation_needs_both_sets_and_is_followed_in_order() {
        let keys: Vec<SecretKey> = (1..=3).map(|seed| SecretKey::from_seed(&[seed; 32])).collect();
        let sets: Vec<TrustSet> = keys.iter().map(|key| TrustSet::single(key.public())).collect();
        let step = |from: usize, to: usize| {
            let rotation = Rotation { successor: sets[to].clone(), issued: NOW };
            seal(Purpose::Rotation, rotation.encode(), &[&keys[from], &keys[to]]).encode()
        };
        let list = [step(0, 1), step(1, 2)];
        assert_eq!(follow_rotations(&sets[0], &list), Ok(sets[2].clone()));
        assert_eq!(follow_rotations(&sets[1], &list), Ok(sets[2].clone()));
        let rotation = Rotation { successor: sets[2].clone(), issued: NOW };
        let one_sided = seal(Purpose::Rotation, rotation.encode(), &[&keys[0]]).encode();
        assert!(matches!(follow_rotations(&sets[0], &[one_sided]), Err(TrustError::Rotation(_))));
    }
}
