//! What the channel key signs, and whether it may: pure.
//!
//! Control can move a channel among releases that the publisher signed and nothing else; a head
//! that clients would refuse is refused here first.

use penstock_core::envelope::{Envelope, Purpose};
use penstock_core::id::{ChannelName, Platform, ProductId};
use penstock_core::keys::{PublicKey, TrustSet};
use penstock_core::limits::{HEAD_LIFE_SECONDS, HEAD_RENEW_SECONDS};
use penstock_core::sign::{SecretKey, seal};
use penstock_core::statement::{Delegation, Head, Pointer};
use penstock_core::time::UnixSeconds;
use penstock_core::trust::{TrustError, verify_delegation};

/// Why a delegation does not let this node sign heads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    /// Not signed by the publisher, or for another product, or malformed.
    #[error("the delegation is refused")]
    Trust(#[from] TrustError),
    /// There is none.
    #[error("the product has no delegation yet: send one that names this node's channel key {0}")]
    Missing(PublicKey),
    /// It names other keys.
    #[error("the delegation does not name this node's channel key {0}: ask GET …/signing for it and sign a new one")]
    OtherKey(PublicKey),
    /// It asks for more signatures than one node gives.
    #[error("the delegation asks for {0} signatures on a channel head; this node signs with one key")]
    Threshold(usize),
    /// It ended.
    #[error("the delegation expired at {expired} (Unix seconds), it is now {now}: sign a new one", expired = expired.0, now = now.0)]
    Expired {
        /// When it ended.
        expired: UnixSeconds,
        /// The node's clock.
        now: UnixSeconds,
    },
    /// A newer one is in force.
    #[error("the delegation has sequence {found}, older than {known} in force")]
    Older {
        /// In force.
        known: u64,
        /// Offered.
        found: u64,
    },
    /// Another one with the same number is in force.
    #[error("another delegation with sequence {0} is in force: raise the sequence")]
    SameSequence(u64),
}

/// What is in force when a delegation is offered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InForce<'a> {
    pub(crate) sequence: u64,
    pub(crate) envelope: &'a [u8],
}

/// Which head to sign.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NextHead<'a> {
    pub(crate) product: &'a ProductId,
    pub(crate) platform: &'a Platform,
    pub(crate) channel: &'a ChannelName,
    pub(crate) sequence: u64,
    pub(crate) target: &'a Pointer,
    pub(crate) fallback: Option<&'a Pointer>,
}

/// Checks that the publisher lets `channel_key` alone sign this product's heads at `now`.
pub(crate) fn check_delegation(
    trust: &TrustSet,
    envelope: &[u8],
    product: &ProductId,
    channel_key: PublicKey,
    now: UnixSeconds,
) -> Result<Delegation, DelegationError> {
    let delegation = verify_delegation(trust, envelope, product)?;
    if delegation.keys.find(channel_key.id()) != Some(&channel_key) {
        return Err(DelegationError::OtherKey(channel_key));
    }
    if delegation.keys.threshold() != 1 {
        return Err(DelegationError::Threshold(delegation.keys.threshold()));
    }
    if let Some(expired) = delegation.expires.filter(|at| *at <= now) {
        return Err(DelegationError::Expired { expired, now });
    }
    Ok(delegation)
}

/// Checks that `found` may follow what is in force: a higher sequence, or the very same bytes.
pub(crate) fn check_follows(in_force: InForce<'_>, found: &Delegation, envelope: &[u8]) -> Result<(), DelegationError> {
    if found.sequence < in_force.sequence {
        return Err(DelegationError::Older { known: in_force.sequence, found: found.sequence });
    }
    if found.sequence == in_force.sequence && envelope != in_force.envelope {
        return Err(DelegationError::SameSequence(found.sequence));
    }
    Ok(())
}

/// Signs a head issued at `now`, good for [`HEAD_LIFE_SECONDS`].
pub(crate) fn sign_head(key: &SecretKey, next: NextHead<'_>, now: UnixSeconds) -> (Head, Vec<u8>) {
    let head = Head {
        product: next.product.clone(),
        platform: next.platform.clone(),
        channel: next.channel.clone(),
        sequence: next.sequence,
        issued: now,
        expires: now.plus(HEAD_LIFE_SECONDS),
        target: next.target.clone(),
        fallback: next.fallback.cloned(),
    };
    let envelope = seal(Purpose::Head, head.encode(), &[key]).encode();
    (head, envelope)
}

/// Whether a head signed at `issued` is due to be signed anew. One from the future is too: the
/// clock that made it was wrong, and clients would refuse it.
pub(crate) const fn is_due(issued: UnixSeconds, now: UnixSeconds) -> bool {
    now.0.abs_diff(issued.0) >= HEAD_RENEW_SECONDS
}

/// Whether clients that follow `delegation` will believe a stored head.
pub(crate) fn believable(delegation: &Delegation, head: &[u8]) -> bool {
    Envelope::decode(head).is_ok_and(|envelope| envelope.verify(Purpose::Head, &delegation.keys).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::blob::BlobId;
    use penstock_core::id::Version;
    use penstock_core::trust::{Memory, Wanted, verify_offer};

    const NOW: UnixSeconds = UnixSeconds(1_000_000);

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn game() -> ProductId {
        ProductId::new("game").expect("name")
    }

    fn delegate(keys: TrustSet, expires: Option<UnixSeconds>) -> Vec<u8> {
        let delegation = Delegation { product: game(), keys, sequence: 3, issued: UnixSeconds(5), expires };
        seal(Purpose::Delegation, delegation.encode(), &[&key(1)]).encode()
    }

    fn check(envelope: &[u8]) -> Result<Delegation, DelegationError> {
        check_delegation(&TrustSet::single(key(1).public()), envelope, &game(), key(2).public(), NOW)
    }

    #[test]
    fn each_unusable_delegation_has_its_own_refusal() {
        assert!(check(&delegate(TrustSet::single(key(2).public()), None)).is_ok());
        let other = delegate(TrustSet::single(key(3).public()), None);
        assert_eq!(check(&other), Err(DelegationError::OtherKey(key(2).public())));
        let two = TrustSet::new(vec![key(2).public(), key(3).public()], 2).expect("set");
        assert_eq!(check(&delegate(two, None)), Err(DelegationError::Threshold(2)));
        let expired = delegate(TrustSet::single(key(2).public()), Some(NOW));
        assert_eq!(check(&expired), Err(DelegationError::Expired { expired: NOW, now: NOW }));
        let stranger = seal(Purpose::Delegation, b"x".to_vec(), &[&key(9)]).encode();
        assert!(matches!(check(&stranger), Err(DelegationError::Trust(TrustError::Publisher(_)))));
        assert!(matches!(check(b"junk"), Err(DelegationError::Trust(TrustError::Envelope { .. }))));
    }

    #[test]
    fn delegations_only_go_forward() {
        let bytes = delegate(TrustSet::single(key(2).public()), None);
        let found = check(&bytes).expect("good");
        let in_force = |sequence, envelope| InForce { sequence, envelope };
        assert_eq!(check_follows(in_force(2, b"x"), &found, &bytes), Ok(()));
        assert_eq!(check_follows(in_force(3, &bytes), &found, &bytes), Ok(()), "the same one again");
        assert_eq!(check_follows(in_force(3, b"x"), &found, &bytes), Err(DelegationError::SameSequence(3)));
        assert_eq!(
            check_follows(in_force(4, b"x"), &found, &bytes),
            Err(DelegationError::Older { known: 4, found: 3 })
        );
    }

    #[test]
    fn a_client_believes_what_is_signed_here() {
        let target =
            Pointer { version: Version::new("1").expect("name"), manifest: BlobId::of(b"m"), manifest_bytes: 7 };
        let channel = ChannelName::new("stable").expect("name");
        let fallback = Pointer { version: Version::new("0").expect("name"), ..target.clone() };
        let (product, platform) = (game(), Platform::any());
        let next = NextHead {
            product: &product,
            platform: &platform,
            channel: &channel,
            sequence: 9,
            target: &target,
            fallback: Some(&fallback),
        };
        let (head, envelope) = sign_head(&key(2), next, NOW);
        assert_eq!(head.expires, NOW.plus(14 * 24 * 3600));
        let delegation = delegate(TrustSet::single(key(2).public()), None);
        let wanted = Wanted { product: game(), platform: Platform::any(), channel: channel.clone() };
        let trust = TrustSet::single(key(1).public());
        let verified = verify_offer(&trust, &delegation, &envelope, &wanted, &Memory::default(), NOW);
        assert_eq!(verified.expect("believed").head(), &head);
        assert_eq!((&head.target, head.fallback.as_ref()), (&target, Some(&fallback)));
        assert!(believable(&check(&delegation).expect("good"), &envelope));
        let (_, foreign) = sign_head(&key(3), next, NOW);
        assert!(!believable(&check(&delegation).expect("good"), &foreign));
    }

    #[test]
    fn heads_are_due_after_a_day_or_when_a_clock_was_wrong() {
        assert!(!is_due(NOW, NOW));
        assert!(!is_due(NOW, NOW.plus(HEAD_RENEW_SECONDS - 1)));
        assert!(is_due(NOW, NOW.plus(HEAD_RENEW_SECONDS)));
        assert!(is_due(NOW.plus(HEAD_RENEW_SECONDS), NOW));
    }
}
