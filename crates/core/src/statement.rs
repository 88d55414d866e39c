//! Signed statements other than manifests: delegations, channel heads, key rotations, and in [`accounts`] the word for a
//! snapshot of accounts.
//!
//! Owns their protobuf layout and the checks that turn a payload into typed values. Field numbers
//! are frozen; times are Unix seconds; a set of keys is `keys` (1, 32 bytes each) and `threshold`
//! (2); a pointer is `version` (1), `manifest` (2, a hash) and `manifest_bytes` (3):
//!
//! | field | head | delegation | rotation |
//! |---|---|---|---|
//! | 1 | product | product | successor, a set of keys |
//! | 2 | platform | keys, a set of keys | issued |
//! | 3 | channel | sequence | *requires* |
//! | 4 | sequence | issued | |
//! | 5 | issued | expires, 0 for never | |
//! | 6 | expires | *requires* | |
//! | 7 | target, a pointer | | |
//! | 8 | fallback, a pointer, may be absent | | |
//! | 9 | *requires* | | |
//!
//! A later version may add to a statement in two ways. What a reader may miss without harm becomes
//! a new field, which older readers ignore. What *restricts* a statement (a delegation for some
//! channels only, a head for some regions only) is named in `requires` besides, a list of feature
//! names: a reader refuses a statement that names a feature it does not know, because ignoring the
//! restriction would read it as full authority. No feature is defined yet, so the list is empty in
//! all that is written and every name in it is refused.
//!
//! Sequences are at most [`SEQUENCE_MAX`], so that the next number always exists and every JSON
//! and SQL reader sees it exactly.

mod accounts;

pub use accounts::{AccountsNotice, NoticeError, VerifiedAccounts};

use crate::blob::BlobId;
use crate::id::{ChannelName, NameError, Platform, ProductId, Version};
use crate::keys::{KeyError, PublicKey, TrustSet};
use crate::limits::STATEMENT_BYTES_MAX;
use crate::time::UnixSeconds;
use prost::Message;

/// Highest sequence of a head or delegation: 2⁵³ − 1, the largest number that readers of JSON which
/// count in doubles see exactly. One head a second reaches it in 285 million years.
pub const SEQUENCE_MAX: u64 = (1 << 53) - 1;
/// Longest stretch of a feature's name that a refusal repeats, in characters.
const FEATURE_CHARS_SHOWN: usize = 64;

/// Why a payload is not the statement it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Larger than any statement may be.
    #[error("the statement has {0} bytes, more than allowed")]
    TooLarge(usize),
    /// Not protobuf.
    #[error("the statement is not well-formed protobuf")]
    Malformed,
    /// A name inside is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Keys or threshold inside do not add up.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A hash is not 32 bytes long.
    #[error("the {0} is not a 32-byte hash")]
    Hash(&'static str),
    /// A field that must be there is not.
    #[error("the statement lacks its {0}")]
    Missing(&'static str),
    /// A feature this version does not have: the statement may mean less than it seems to.
    #[error("the statement requires {0:?}, which is not known here: update this program")]
    Requires(String),
    /// A sequence above [`SEQUENCE_MAX`].
    #[error("the statement's sequence {0} is above the limit of {max}", max = SEQUENCE_MAX)]
    Sequence(u64),
    /// Issued after it expires.
    #[error("the statement expires before it was issued")]
    Times,
}

/// Which release a head points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The release's version.
    pub version: Version,
    /// The blob that holds the signed manifest root.
    pub manifest: BlobId,
    /// That blob's length in bytes.
    pub manifest_bytes: u64,
}

/// What a channel offers, signed by a delegated channel key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Product the channel belongs to.
    pub product: ProductId,
    /// Platform this head is for.
    pub platform: Platform,
    /// The channel.
    pub channel: ChannelName,
    /// Rises with every head of this product, platform and channel; at most [`SEQUENCE_MAX`].
    pub sequence: u64,
    /// When it was signed.
    pub issued: UnixSeconds,
    /// When it stops being good for a change of release.
    pub expires: UnixSeconds,
    /// The release to install.
    pub target: Pointer,
    /// The release for clients outside a rollout's cohort.
    pub fallback: Option<Pointer>,
}

/// The publisher's word that certain keys may sign a product's heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// The product whose heads the keys may sign.
    pub product: ProductId,
    /// Keys and how many of them must sign a head.
    pub keys: TrustSet,
    /// Rises with every delegation of this product, at most [`SEQUENCE_MAX`]; a client refuses an older one.
    pub sequence: u64,
    /// When it was signed.
    pub issued: UnixSeconds,
    /// When it stops being good for a change of release; `None` means until replaced.
    pub expires: Option<UnixSeconds>,
}

/// A trust set's word that another set replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The successor.
    pub successor: TrustSet,
    /// When it was signed.
    pub issued: UnixSeconds,
}

#[derive(Clone, PartialEq, Message)]
struct PointerWire {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(bytes = "vec", tag = "2")]
    manifest: Vec<u8>,
    #[prost(uint64, tag = "3")]
    manifest_bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
struct HeadWire {
    #[prost(string, tag = "1")]
    product: String,
    #[prost(string, tag = "2")]
    platform: String,
    #[prost(string, tag = "3")]
    channel: String,
    #[prost(uint64, tag = "4")]
    sequence: u64,
    #[prost(uint64, tag = "5")]
    issued: u64,
    #[prost(uint64, tag = "6")]
    expires: u64,
    #[prost(message, optional, tag = "7")]
    target: Option<PointerWire>,
    #[prost(message, optional, tag = "8")]
    fallback: Option<PointerWire>,
    #[prost(string, repeated, tag = "9")]
    requires: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct KeySetWire {
    #[prost(bytes = "vec", repeated, tag = "1")]
    keys: Vec<Vec<u8>>,
    #[prost(uint32, tag = "2")]
    threshold: u32,
}

#[derive(Clone, PartialEq, Message)]
struct DelegationWire {
    #[prost(string, tag = "1")]
    product: String,
    #[prost(message, optional, tag = "2")]
    keys: Option<KeySetWire>,
    #[prost(uint64, tag = "3")]
    sequence: u64,
    #[prost(uint64, tag = "4")]
    issued: u64,
    /// Zero means until replaced.
    #[prost(uint64, tag = "5")]
    expires: u64,
    #[prost(string, repeated, tag = "6")]
    requires: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct RotationWire {
    #[prost(message, optional, tag = "1")]
    successor: Option<KeySetWire>,
    #[prost(uint64, tag = "2")]
    issued: u64,
    #[prost(string, repeated, tag = "3")]
    requires: Vec<String>,
}

impl Pointer {
    fn to_wire(&self) -> PointerWire {
        PointerWire {
            version: self.version.to_string(),
            manifest: self.manifest.as_bytes().to_vec(),
            manifest_bytes: self.manifest_bytes,
        }
    }
    fn from_wire(wire: &PointerWire) -> Result<Self, StatementError> {
        Ok(Self {
            version: Version::new(&wire.version)?,
            manifest: BlobId::from_slice(&wire.manifest).ok_or(StatementError::Hash("manifest name"))?,
            manifest_bytes: wire.manifest_bytes,
        })
    }
}

impl Head {
    /// The payload to sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        HeadWire {
            product: self.product.to_string(),
            platform: self.platform.to_string(),
            channel: self.channel.to_string(),
            sequence: self.sequence,
            issued: self.issued.0,
            expires: self.expires.0,
            target: Some(self.target.to_wire()),
            fallback: self.fallback.as_ref().map(Pointer::to_wire),
            requires: Vec::new(),
        }
        .encode_to_vec()
    }
    /// Reads a payload; says nothing about who signed it.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn decode(payload: &[u8]) -> Result<Self, StatementError> {
        let wire: HeadWire = decode(payload)?;
        check_features(&wire.requires)?;
        check_sequence(wire.sequence)?;
        if wire.expires <= wire.issued {
            return Err(StatementError::Times);
        }
        Ok(Self {
            product: ProductId::new(&wire.product)?,
            platform: Platform::new(&wire.platform)?,
            channel: ChannelName::new(&wire.channel)?,
            sequence: wire.sequence,
            issued: UnixSeconds(wire.issued),
            expires: UnixSeconds(wire.expires),
            target: Pointer::from_wire(wire.target.as_ref().ok_or(StatementError::Missing("target"))?)?,
            fallback: wire.fallback.as_ref().map(Pointer::from_wire).transpose()?,
        })
    }
}

impl Delegation {
    /// The payload to sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        DelegationWire {
            product: self.product.to_string(),
            keys: Some(keys_to_wire(&self.keys)),
            sequence: self.sequence,
            issued: self.issued.0,
            expires: self.expires.map_or(0, |at| at.0),
            requires: Vec::new(),
        }
        .encode_to_vec()
    }
    /// Reads a payload; says nothing about who signed it.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn decode(payload: &[u8]) -> Result<Self, StatementError> {
        let wire: DelegationWire = decode(payload)?;
        check_features(&wire.requires)?;
        check_sequence(wire.sequence)?;
        if wire.expires != 0 && wire.expires <= wire.issued {
            return Err(StatementError::Times);
        }
        Ok(Self {
            product: ProductId::new(&wire.product)?,
            keys: keys_from_wire(wire.keys.as_ref())?,
            sequence: wire.sequence,
            issued: UnixSeconds(wire.issued),
            expires: (wire.expires != 0).then_some(UnixSeconds(wire.expires)),
        })
    }
}

impl Rotation {
    /// The payload to sign, with a threshold of the old set and a threshold of the new one.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let successor = Some(keys_to_wire(&self.successor));
        RotationWire { successor, issued: self.issued.0, requires: Vec::new() }.encode_to_vec()
    }
    /// Reads a payload; says nothing about who signed it.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn decode(payload: &[u8]) -> Result<Self, StatementError> {
        let wire: RotationWire = decode(payload)?;
        check_features(&wire.requires)?;
        Ok(Self { successor: keys_from_wire(wire.successor.as_ref())?, issued: UnixSeconds(wire.issued) })
    }
}

fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, StatementError> {
    if payload.len() > STATEMENT_BYTES_MAX {
        return Err(StatementError::TooLarge(payload.len()));
    }
    M::decode(payload).map_err(|_| StatementError::Malformed)
}

/// Refuses what this version would misread. The list is as bounded as the statement around it.
fn check_features(requires: &[String]) -> Result<(), StatementError> {
    let Some(feature) = requires.first() else { return Ok(()) };
    Err(StatementError::Requires(feature.chars().take(FEATURE_CHARS_SHOWN).collect()))
}

const fn check_sequence(sequence: u64) -> Result<(), StatementError> {
    if sequence > SEQUENCE_MAX { Err(StatementError::Sequence(sequence)) } else { Ok(()) }
}

fn keys_to_wire(set: &TrustSet) -> KeySetWire {
    KeySetWire {
        keys: set.keys().iter().map(|key| key.as_bytes().to_vec()).collect(),
        threshold: u32::try_from(set.threshold()).unwrap_or(u32::MAX),
    }
}

fn keys_from_wire(wire: Option<&KeySetWire>) -> Result<TrustSet, StatementError> {
    let wire = wire.ok_or(StatementError::Missing("keys"))?;
    let keys = wire.keys.iter().map(|key| PublicKey::from_slice(key)).collect::<Result<Vec<_>, _>>()?;
    Ok(TrustSet::new(keys, wire.threshold as usize)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::SecretKey;
    use proptest::prelude::*;

    fn sample_head() -> Head {
        Head {
            product: ProductId::new("game").expect("name"),
            platform: Platform::any(),
            channel: ChannelName::new("stable").expect("name"),
            sequence: 7,
            issued: UnixSeconds(1000),
            expires: UnixSeconds(2000),
            target: Pointer {
                version: Version::new("1.0").expect("name"),
                manifest: BlobId::of(b"m"),
                manifest_bytes: 5,
            },
            fallback: None,
        }
    }

    #[test]
    fn statements_round_trip() {
        let head = sample_head();
        assert_eq!(Head::decode(&head.encode()), Ok(head));
        let keys = TrustSet::single(SecretKey::from_seed(&[1; 32]).public());
        let delegation = Delegation {
            product: ProductId::new("game").expect("name"),
            keys: keys.clone(),
            sequence: 1,
            issued: UnixSeconds(5),
            expires: None,
        };
        assert_eq!(Delegation::decode(&delegation.encode()), Ok(delegation));
        let rotation = Rotation { successor: keys, issued: UnixSeconds(5) };
        assert_eq!(Rotation::decode(&rotation.encode()), Ok(rotation));
    }

    #[test]
    fn impossible_times_and_missing_fields_are_refused() {
        let mut head = sample_head();
        head.expires = head.issued;
        assert_eq!(Head::decode(&head.encode()), Err(StatementError::Times));
        assert!(matches!(
            Head::decode(&[]),
            Err(StatementError::Times | StatementError::Missing(_) | StatementError::Name(_))
        ));
        assert_eq!(
            Head::decode(&vec![0; STATEMENT_BYTES_MAX + 1]),
            Err(StatementError::TooLarge(STATEMENT_BYTES_MAX + 1))
        );
    }

    fn statements() -> [Vec<u8>; 3] {
        let keys = TrustSet::single(SecretKey::from_seed(&[1; 32]).public());
        let (product, issued) = (ProductId::new("game").expect("name"), UnixSeconds(5));
        let delegation = Delegation { product, keys: keys.clone(), sequence: 1, issued, expires: Some(UnixSeconds(9)) };
        [sample_head().encode(), delegation.encode(), Rotation { successor: keys, issued }.encode()]
    }

    #[test]
    fn the_layout_is_frozen() {
        let hashes = statements().map(|payload| blake3::hash(&payload).to_hex().to_string());
        assert_eq!(hashes, VECTORS);
        // The head once more, byte by byte but for the hash in its pointer.
        let head = sample_head().encode();
        assert_eq!(&head[..27], b"\x0a\x04game\x12\x03any\x1a\x06stable\x20\x07\x28\xe8\x07\x30\xd0\x0f");
        assert_eq!(&head[27..36], b"\x3a\x29\x0a\x031.0\x12\x20");
        assert_eq!(&head[68..], b"\x18\x05");
    }

    /// BLAKE3 of a head, a delegation and a rotation as encoded since the first version.
    const VECTORS: [&str; 3] = [
        "a15634575ce855948fd075ea2f6aad32e2dc2da57eb1c106a6a3e95a59fac988",
        "cc4d4aacac5439c443847a7356815ba4e6894e42ebecf085d8ca7d783a050489",
        "4c55eff77e5dcc04471fda2327c0027a24f7444e5281750c98830c38e829d289",
    ];

    /// A client of today must not read a delegation of tomorrow, which may be for one channel only,
    /// as a delegation for all.
    #[test]
    fn a_statement_with_an_unknown_requirement_is_refused_by_name() {
        type Decode = fn(&[u8]) -> Result<(), StatementError>;
        let decoders: [(u8, Decode); 3] = [
            (9, |payload| Head::decode(payload).map(drop)),
            (6, |payload| Delegation::decode(payload).map(drop)),
            (3, |payload| Rotation::decode(payload).map(drop)),
        ];
        for (payload, (tag, decode)) in statements().into_iter().zip(decoders) {
            assert_eq!(decode(&payload), Ok(()));
            let with = |feature: &str| {
                let length = u8::try_from(feature.len()).expect("short");
                [payload.as_slice(), &[tag << 3 | 2, length], feature.as_bytes()].concat()
            };
            assert_eq!(decode(&with("channels-1")), Err(StatementError::Requires("channels-1".to_owned())));
            assert_eq!(decode(&with("")), Err(StatementError::Requires(String::new())), "a nameless one too");
            assert_eq!(decode(&with(&"x".repeat(100))), Err(StatementError::Requires("x".repeat(64))));
            let text = decode(&with("channels-1")).expect_err("unknown").to_string();
            assert!(text.contains("channels-1") && text.contains("update"), "{text}");
            // A field that restricts nothing is ignored.
            assert_eq!(decode(&[payload.as_slice(), &[15 << 3, 1]].concat()), Ok(()));
        }
    }

    #[test]
    fn a_sequence_leaves_room_for_the_next() {
        let mut head = sample_head();
        head.sequence = SEQUENCE_MAX;
        assert!(Head::decode(&head.encode()).is_ok());
        for beyond in [SEQUENCE_MAX + 1, u64::MAX] {
            head.sequence = beyond;
            assert_eq!(Head::decode(&head.encode()), Err(StatementError::Sequence(beyond)));
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Head::decode(&bytes);
            let _ = Delegation::decode(&bytes);
            let _ = Rotation::decode(&bytes);
        }
    }
}
