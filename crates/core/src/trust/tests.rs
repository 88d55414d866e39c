//! Offers that are believed, and every attack with its own refusal.

use super::*;
use crate::blob::BlobId;
use crate::id::Version;
use crate::sign::{SecretKey, seal};
use crate::statement::SEQUENCE_MAX;

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
        target: Pointer { version: Version::new("2").expect("name"), manifest: BlobId::of(b"m"), manifest_bytes: 9 },
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
fn an_edge_may_choose_between_target_and_fallback_and_nothing_else() {
    let mut world = world();
    let pointer =
        |version: &str| Pointer { version: Version::new(version).expect("name"), ..world.head.target.clone() };
    let (target, fallback) = (pointer("2"), Pointer { manifest: BlobId::of(b"f"), ..pointer("1") });
    let verified = world.verify(NOW).expect("a good chain");
    assert_eq!(verified.chosen(&target), Ok(&target));
    let not_offered = |fallback| TrustError::NotOffered {
        found: Version::new("1").expect("name"),
        target: Version::new("2").expect("name"),
        fallback,
    };
    assert_eq!(verified.chosen(&fallback), Err(not_offered(None)));
    world.head.fallback = Some(fallback.clone());
    let verified = world.verify(NOW).expect("a good chain");
    assert_eq!(verified.chosen(&target), Ok(&target));
    assert_eq!(verified.chosen(&fallback), Ok(&fallback));
    // Half of one and half of the other is neither.
    let mixed = Pointer { manifest: target.manifest, ..fallback.clone() };
    assert_eq!(verified.chosen(&mixed), Err(not_offered(Some(fallback.version))));
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
                w.memory.head_sequence = 10;
                w.memory.head_hash = Some(BlobId::of(b"other"));
            },
            |e| matches!(e, TrustError::Equivocation(10)),
        ),
        ("frozen head", |w| w.head.expires = UnixSeconds(1_000_000), |e| matches!(e, TrustError::HeadExpired { .. })),
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

/// A thief signs the highest sequence there is; clients took it, and the publisher takes the key back.
fn robbed() -> World {
    let mut world = world();
    world.head.sequence = SEQUENCE_MAX;
    world.memory = world.verify(NOW).expect("the thief's head is as good as any").memory().clone();
    world.channel = SecretKey::from_seed(&[3; 32]);
    world.delegation.keys = TrustSet::single(world.channel.public());
    world.delegation.sequence = 4;
    world.delegation.issued = NOW;
    world.head.sequence = 11;
    world.head.issued = NOW;
    world
}

#[test]
fn a_stolen_key_that_was_taken_back_blocks_nothing() {
    let mut world = robbed();
    let verified = world.verify(NOW).expect("the new key's head, though its sequence is lower");
    assert_eq!((verified.memory().head_sequence, verified.memory().head_delegation), (11, 4));
    world.memory = verified.memory().clone();
    // From here on all is as before: sequences only rise, and the old delegation is gone for good.
    world.head.sequence = 10;
    assert_eq!(world.verify(NOW).map(drop), Err(TrustError::OlderSequence { seen: 11, found: 10 }));
    world.channel = SecretKey::from_seed(&[2; 32]);
    world.delegation.keys = TrustSet::single(world.channel.public());
    world.delegation.sequence = 3;
    world.head.sequence = SEQUENCE_MAX;
    assert_eq!(world.verify(NOW).map(drop), Err(TrustError::OlderDelegation { seen: 4, found: 3 }));
}

#[test]
fn a_head_is_forgotten_only_with_its_keys() {
    let older = Err(TrustError::OlderSequence { seen: SEQUENCE_MAX, found: 11 });
    // A newer delegation that keeps the key, or one that is no newer: the memory stands.
    let mut keeps = robbed();
    let both = vec![SecretKey::from_seed(&[2; 32]).public(), keeps.channel.public()];
    keeps.delegation.keys = TrustSet::new(both, 1).expect("set");
    assert_eq!(keeps.verify(NOW).map(drop), older);
    let mut same = robbed();
    same.delegation.sequence = 3;
    assert_eq!(same.verify(NOW).map(drop), older);
    // Remembered by a version that did not note who signed.
    let mut unnoted = robbed();
    unnoted.memory.head_signers.clear();
    assert_eq!(unnoted.verify(NOW).map(drop), older);
    // Another channel's offer brought the newer delegation before: what counts is the head's own.
    let mut elsewhere = robbed();
    elsewhere.memory.delegation_sequence = 4;
    assert!(elsewhere.verify(NOW).is_ok());
}

/// The remaining key signed heads before the theft, too; they are old and must stay so.
#[test]
fn what_a_remaining_key_signed_before_the_revocation_is_no_news() {
    let mut world = robbed();
    world.head.issued = UnixSeconds(NOW.0 - CLOCK_SKEW_SECONDS - 1);
    let refused = TrustError::BeforeRevocation { issued: world.head.issued, revoked: NOW };
    assert_eq!(world.verify(NOW).map(drop), Err(refused));
    world.head.issued = UnixSeconds(NOW.0 - CLOCK_SKEW_SECONDS);
    assert!(world.verify(NOW).is_ok(), "a day for clocks that differ");
    world.head.expires = NOW;
    assert!(matches!(world.verify(NOW), Err(TrustError::HeadExpired { .. })), "expiry as ever");
}

#[test]
fn a_threshold_that_the_remaining_signers_miss_voids_too() {
    let mut world = robbed();
    let both = vec![SecretKey::from_seed(&[2; 32]).public(), world.channel.public()];
    world.delegation.keys = TrustSet::new(both, 2).expect("set");
    assert!(world.memory.is_voided_by(&world.delegation));
}

#[test]
fn a_memory_of_an_earlier_version_reads() {
    let old = r#"{"head_sequence":7,"head_hash":null,"delegation_sequence":2}"#;
    let memory: Memory = serde_json::from_str(old).expect("reads");
    assert_eq!((memory.head_sequence, memory.head_delegation, memory.head_signers.len()), (7, 0, 0));
}
