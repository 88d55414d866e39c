//! The manifest root: the small signed index of a release.
//!
//! A release is described by one root and many *parts*. The root names each part by its blob id, so
//! the publisher's signature over the root covers everything, and a client that already holds a
//! part (because it did not change) never fetches it again. Two kinds of part:
//!
//! * *tree parts*: files, directories and links in path order, with sizes and chunk counts;
//! * *chunk parts*: the chunks of all those files, in the same order, and where each one lies.
//!
//! Parts are stored blobs of their own; their bytes are decoded by `frames::part`. This module owns
//! the root: protobuf field numbers (frozen, unknown fields ignored, a list of required features
//! that an older reader must refuse) and the check that turns a signed envelope into a
//! [`VerifiedManifest`].

use crate::blob::BlobId;
use crate::envelope::{Envelope, EnvelopeError, Purpose, SignatureError};
use crate::id::{AccessGroup, ComponentName, NameError, Platform, ProductId, Version};
use crate::keys::TrustSet;
use crate::limits;
use crate::time::UnixSeconds;
use prost::Message;

/// The root format that this version writes and reads.
pub const FORMAT: u32 = 1;

/// Longest stretch of a feature's name that a refusal repeats, in characters.
const FEATURE_CHARS_SHOWN: usize = 64;

/// Chunking algorithm numbers, frozen.
pub const CHUNKER_FASTCDC_2020: u32 = 1;

/// How files were cut; frozen in each manifest, because other cuts mean a full download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunker {
    /// [`CHUNKER_FASTCDC_2020`], normalisation level 1.
    pub algorithm: u32,
    /// Smallest chunk in bytes, but for a file's last.
    pub min_bytes: u32,
    /// Target chunk in bytes.
    pub target_bytes: u32,
    /// Largest chunk in bytes.
    pub max_bytes: u32,
}

impl Default for Chunker {
    fn default() -> Self {
        Self {
            algorithm: CHUNKER_FASTCDC_2020,
            min_bytes: limits::CHUNK_BYTES_MIN,
            target_bytes: limits::CHUNK_BYTES_TARGET,
            max_bytes: limits::CHUNK_BYTES_MAX,
        }
    }
}

/// One part of the manifest, a blob of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRef {
    /// The part's blob.
    pub blob: BlobId,
    /// That blob's length in bytes.
    pub stored_bytes: u32,
    /// Its length after decompression, in bytes.
    pub content_bytes: u32,
    /// Entries (tree part) or chunks (chunk part) in it.
    pub items: u32,
}

/// A part of a release that is installed or left out as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its name, unique in the release.
    pub name: ComponentName,
    /// Who may read its content.
    pub group: AccessGroup,
    /// Whether an install can be without it.
    pub optional: bool,
    /// Tree parts in path order.
    pub tree: Vec<PartRef>,
    /// Chunk parts in the order of the files' chunks.
    pub chunks: Vec<PartRef>,
    /// Entries in all tree parts.
    pub entry_count: u64,
    /// Bytes of all files.
    pub content_bytes: u64,
    /// Chunks in all chunk parts.
    pub chunk_count: u64,
}

/// A release's root, as the publisher wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Product it belongs to.
    pub product: ProductId,
    /// Platform it runs on.
    pub platform: Platform,
    /// Its version; the same in every channel.
    pub version: Version,
    /// When it was made.
    pub created: UnixSeconds,
    /// How files were cut.
    pub chunker: Chunker,
    /// At least one component.
    pub components: Vec<Component>,
}

/// A root whose signature, product, platform and sums were checked. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedManifest {
    id: BlobId,
    root: Root,
}

impl VerifiedManifest {
    /// The manifest blob's name.
    #[must_use]
    pub const fn id(&self) -> BlobId {
        self.id
    }
    /// The checked root.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Other bytes than the offer named.
    #[error("the manifest's bytes hash to {found}, expected {expected}")]
    Hash {
        /// Named by the head or release answer.
        expected: BlobId,
        /// Hash of what came.
        found: BlobId,
    },
    /// Not an envelope.
    #[error("the manifest is malformed")]
    Envelope(#[from] EnvelopeError),
    /// Not signed by the trusted publisher.
    #[error("the manifest is not signed by the trusted publisher key")]
    Signature(#[from] SignatureError),
    /// Not protobuf.
    #[error("the manifest is not well-formed protobuf")]
    Malformed,
    /// A format this version cannot read.
    #[error("manifest format {0} is not known here: update the launcher")]
    Format(u32),
    /// A feature this version does not have.
    #[error("the manifest requires {0:?}, which is not known here: update the launcher")]
    Requires(String),
    /// A name inside is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A hash is not 32 bytes long.
    #[error("a part's name is not a 32-byte hash")]
    PartHash,
    /// A count or size is above its bound.
    #[error("the manifest's {what} of {found} is above the limit of {max}")]
    Limit {
        /// Which count or size.
        what: &'static str,
        /// What the manifest says.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// Numbers contradict each other.
    #[error("the manifest's {0} do not add up")]
    Sums(&'static str),
    /// A release without the base, or a component twice.
    #[error("component {0:?} is there twice")]
    DuplicateComponent(ComponentName),
    /// Right signature, other product.
    #[error("the manifest is for product {found}, not {expected}")]
    Product {
        /// Asked for.
        expected: ProductId,
        /// Found.
        found: ProductId,
    },
    /// Right signature, other platform.
    #[error("the manifest is for platform {found}, not {expected}")]
    Platform {
        /// Asked for.
        expected: Platform,
        /// Found.
        found: Platform,
    },
    /// Right signature, other version.
    #[error("the manifest is for version {found}, not {expected}")]
    Version {
        /// Asked for.
        expected: Version,
        /// Found.
        found: Version,
    },
}

/// What the manifest must be, from the offer that named it.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    /// The manifest blob's name.
    pub id: BlobId,
    /// Product asked for.
    pub product: &'a ProductId,
    /// Platform asked for.
    pub platform: &'a Platform,
    /// Version offered.
    pub version: &'a Version,
}

/// Checks the bytes of a manifest blob: hash, signature, form, sums, and that it is what was offered.
///
/// # Errors
/// [`ManifestError`], one case per way to be wrong.
pub fn verify(bytes: &[u8], trust: &TrustSet, expected: &Expected<'_>) -> Result<VerifiedManifest, ManifestError> {
    let found = BlobId::of(bytes);
    if found != expected.id {
        return Err(ManifestError::Hash { expected: expected.id, found });
    }
    let envelope = Envelope::decode(bytes)?;
    let payload = envelope.verify(Purpose::Manifest, trust)?;
    let root = Root::decode(payload.bytes())?;
    if root.product != *expected.product {
        return Err(ManifestError::Product { expected: expected.product.clone(), found: root.product });
    }
    if root.platform != *expected.platform {
        return Err(ManifestError::Platform { expected: expected.platform.clone(), found: root.platform });
    }
    if root.version != *expected.version {
        return Err(ManifestError::Version { expected: expected.version.clone(), found: root.version });
    }
    Ok(VerifiedManifest { id: found, root })
}

#[derive(Clone, PartialEq, Message)]
struct RootWire {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(string, tag = "2")]
    product: String,
    #[prost(string, tag = "3")]
    platform: String,
    #[prost(string, tag = "4")]
    version: String,
    #[prost(uint64, tag = "5")]
    created: u64,
    #[prost(message, optional, tag = "6")]
    chunker: Option<ChunkerWire>,
    #[prost(message, repeated, tag = "7")]
    components: Vec<ComponentWire>,
    /// Features without which a reader must refuse; none so far. Transforms, encryption and
    /// preload announce themselves here.
    #[prost(string, repeated, tag = "8")]
    requires: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ChunkerWire {
    #[prost(uint32, tag = "1")]
    algorithm: u32,
    #[prost(uint32, tag = "2")]
    min_bytes: u32,
    #[prost(uint32, tag = "3")]
    target_bytes: u32,
    #[prost(uint32, tag = "4")]
    max_bytes: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ComponentWire {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    group: String,
    #[prost(bool, tag = "3")]
    optional: bool,
    #[prost(message, repeated, tag = "4")]
    tree: Vec<PartWire>,
    #[prost(message, repeated, tag = "5")]
    chunks: Vec<PartWire>,
    #[prost(uint64, tag = "6")]
    entry_count: u64,
    #[prost(uint64, tag = "7")]
    content_bytes: u64,
    #[prost(uint64, tag = "8")]
    chunk_count: u64,
}

#[derive(Clone, PartialEq, Message)]
struct PartWire {
    #[prost(bytes = "vec", tag = "1")]
    blob: Vec<u8>,
    #[prost(uint32, tag = "2")]
    stored_bytes: u32,
    #[prost(uint32, tag = "3")]
    content_bytes: u32,
    #[prost(uint32, tag = "4")]
    items: u32,
}

impl Root {
    /// The payload to sign. Canonical: one root has one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        RootWire {
            format: FORMAT,
            product: self.product.to_string(),
            platform: self.platform.to_string(),
            version: self.version.to_string(),
            created: self.created.0,
            chunker: Some(ChunkerWire {
                algorithm: self.chunker.algorithm,
                min_bytes: self.chunker.min_bytes,
                target_bytes: self.chunker.target_bytes,
                max_bytes: self.chunker.max_bytes,
            }),
            components: self.components.iter().map(Component::to_wire).collect(),
            requires: Vec::new(),
        }
        .encode_to_vec()
    }
    /// Reads and checks a root; says nothing about who signed it.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn decode(payload: &[u8]) -> Result<Self, ManifestError> {
        limit("size", payload.len() as u64, limits::ENVELOPE_BYTES_MAX as u64)?;
        let wire = RootWire::decode(payload).map_err(|_| ManifestError::Malformed)?;
        if wire.format != FORMAT {
            return Err(ManifestError::Format(wire.format));
        }
        if let Some(feature) = wire.requires.into_iter().next() {
            return Err(ManifestError::Requires(feature.chars().take(FEATURE_CHARS_SHOWN).collect()));
        }
        limit("component count", wire.components.len() as u64, limits::COMPONENTS_MAX as u64)?;
        let root = Self {
            product: ProductId::new(&wire.product)?,
            platform: Platform::new(&wire.platform)?,
            version: Version::new(&wire.version)?,
            created: UnixSeconds(wire.created),
            chunker: chunker_from_wire(wire.chunker)?,
            components: wire.components.iter().map(Component::from_wire).collect::<Result<_, _>>()?,
        };
        root.check_sums()?;
        Ok(root)
    }
    /// Bytes of all files of all components.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.components.iter().map(|c| c.content_bytes).sum()
    }
    /// Entries of all components.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        self.components.iter().map(|c| c.entry_count).sum()
    }
    /// Every part blob of the release.
    pub fn parts(&self) -> impl Iterator<Item = &PartRef> {
        self.components.iter().flat_map(|c| c.tree.iter().chain(&c.chunks))
    }

    fn check_sums(&self) -> Result<(), ManifestError> {
        if self.components.is_empty() {
            return Err(ManifestError::Sums("components (there is none)"));
        }
        let mut names: Vec<&ComponentName> = self.components.iter().map(|c| &c.name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ManifestError::DuplicateComponent(pair[0].clone()));
        }
        let total =
            |number: fn(&Component) -> u64| self.components.iter().try_fold(0u64, |sum, c| sum.checked_add(number(c)));
        let sum = |what, number| total(number).ok_or(ManifestError::Sums(what));
        limit("part count", self.parts().count() as u64, limits::PARTS_MAX as u64)?;
        limit("entry count", sum("entry counts", |c| c.entry_count)?, limits::ENTRIES_MAX)?;
        limit("chunk count", sum("chunk counts", |c| c.chunk_count)?, limits::CHUNKS_MAX)?;
        let bytes = sum("content sizes", |c| c.content_bytes)?;
        limit("content size", bytes, limits::CHUNKS_MAX * u64::from(limits::CHUNK_BYTES_MAX))
    }
}

impl Component {
    fn to_wire(&self) -> ComponentWire {
        ComponentWire {
            name: self.name.to_string(),
            group: self.group.to_string(),
            optional: self.optional,
            tree: self.tree.iter().map(PartRef::to_wire).collect(),
            chunks: self.chunks.iter().map(PartRef::to_wire).collect(),
            entry_count: self.entry_count,
            content_bytes: self.content_bytes,
            chunk_count: self.chunk_count,
        }
    }
    fn from_wire(wire: &ComponentWire) -> Result<Self, ManifestError> {
        let parts = |list: &[PartWire], items_max: usize| {
            list.iter().map(|part| PartRef::from_wire(part, items_max)).collect::<Result<Vec<_>, _>>()
        };
        let component = Self {
            name: ComponentName::new(&wire.name)?,
            group: AccessGroup::new(&wire.group)?,
            optional: wire.optional,
            tree: parts(&wire.tree, limits::PART_ENTRIES_MAX)?,
            chunks: parts(&wire.chunks, limits::PART_CHUNKS_MAX)?,
            entry_count: wire.entry_count,
            content_bytes: wire.content_bytes,
            chunk_count: wire.chunk_count,
        };
        let items = |list: &[PartRef]| list.iter().map(|part| u64::from(part.items)).sum::<u64>();
        if items(&component.tree) != component.entry_count {
            return Err(ManifestError::Sums("entry counts"));
        }
        if items(&component.chunks) != component.chunk_count {
            return Err(ManifestError::Sums("chunk counts"));
        }
        Ok(component)
    }
}

impl PartRef {
    fn to_wire(&self) -> PartWire {
        PartWire {
            blob: self.blob.as_bytes().to_vec(),
            stored_bytes: self.stored_bytes,
            content_bytes: self.content_bytes,
            items: self.items,
        }
    }
    fn from_wire(wire: &PartWire, items_max: usize) -> Result<Self, ManifestError> {
        limit("part size", u64::from(wire.content_bytes), u64::from(limits::PART_CONTENT_BYTES_MAX))?;
        limit("stored part size", u64::from(wire.stored_bytes), u64::from(limits::PART_STORED_BYTES_MAX))?;
        limit("items in a part", u64::from(wire.items), items_max as u64)?;
        if wire.items == 0 || wire.stored_bytes == 0 {
            return Err(ManifestError::Sums("part sizes (an empty part)"));
        }
        Ok(Self {
            blob: BlobId::from_slice(&wire.blob).ok_or(ManifestError::PartHash)?,
            stored_bytes: wire.stored_bytes,
            content_bytes: wire.content_bytes,
            items: wire.items,
        })
    }
}

fn chunker_from_wire(wire: Option<ChunkerWire>) -> Result<Chunker, ManifestError> {
    let wire = wire.ok_or(ManifestError::Sums("chunker parameters"))?;
    if wire.algorithm != CHUNKER_FASTCDC_2020 {
        return Err(ManifestError::Requires(format!("chunker {}", wire.algorithm)));
    }
    limit("largest chunk", u64::from(wire.max_bytes), u64::from(limits::CHUNK_BYTES_MAX))?;
    if wire.min_bytes == 0 || wire.min_bytes > wire.target_bytes || wire.target_bytes > wire.max_bytes {
        return Err(ManifestError::Sums("chunker parameters"));
    }
    Ok(Chunker {
        algorithm: wire.algorithm,
        min_bytes: wire.min_bytes,
        target_bytes: wire.target_bytes,
        max_bytes: wire.max_bytes,
    })
}

fn limit(what: &'static str, found: u64, max: u64) -> Result<(), ManifestError> {
    if found > max { Err(ManifestError::Limit { what, found, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::{SecretKey, seal};
    use proptest::prelude::*;

    fn root() -> Root {
        let part = |name: &[u8], items| PartRef { blob: BlobId::of(name), stored_bytes: 10, content_bytes: 20, items };
        Root {
            product: ProductId::new("game").expect("name"),
            platform: Platform::any(),
            version: Version::new("1.0").expect("name"),
            created: UnixSeconds(5),
            chunker: Chunker::default(),
            components: vec![Component {
                name: ComponentName::base(),
                group: AccessGroup::base(),
                optional: false,
                tree: vec![part(b"t", 2)],
                chunks: vec![part(b"c", 3)],
                entry_count: 2,
                content_bytes: 1000,
                chunk_count: 3,
            }],
        }
    }

    fn verified(root: &Root, signer: u8, spoil: impl FnOnce(&mut Vec<u8>)) -> Result<VerifiedManifest, ManifestError> {
        let key = SecretKey::from_seed(&[signer; 32]);
        let mut bytes = seal(Purpose::Manifest, root.encode(), &[&key]).encode();
        let id = BlobId::of(&bytes);
        spoil(&mut bytes);
        let trust = TrustSet::single(SecretKey::from_seed(&[1; 32]).public());
        let (product, platform, version) =
            (ProductId::new("game").expect("name"), Platform::any(), Version::new("1.0").expect("name"));
        verify(&bytes, &trust, &Expected { id, product: &product, platform: &platform, version: &version })
    }

    #[test]
    fn a_good_manifest_round_trips() {
        assert_eq!(verified(&root(), 1, |_| ()).expect("good").root(), &root());
    }

    #[test]
    fn each_defect_has_its_own_refusal() {
        type Case = (&'static str, fn(&mut Root), fn(&ManifestError) -> bool);
        let cases: [Case; 9] = [
            (
                "product",
                |r| r.product = ProductId::new("other").expect("name"),
                |e| matches!(e, ManifestError::Product { .. }),
            ),
            (
                "platform",
                |r| r.platform = Platform::new("macos").expect("name"),
                |e| matches!(e, ManifestError::Platform { .. }),
            ),
            (
                "version",
                |r| r.version = Version::new("2").expect("name"),
                |e| matches!(e, ManifestError::Version { .. }),
            ),
            ("entry sum", |r| r.components[0].entry_count = 3, |e| matches!(e, ManifestError::Sums("entry counts"))),
            ("chunk sum", |r| r.components[0].chunk_count = 9, |e| matches!(e, ManifestError::Sums("chunk counts"))),
            ("no component", |r| r.components.clear(), |e| matches!(e, ManifestError::Sums(_))),
            (
                "twice",
                |r| {
                    let c = r.components[0].clone();
                    r.components.push(c);
                },
                |e| matches!(e, ManifestError::DuplicateComponent(_)),
            ),
            (
                "bomb part",
                |r| r.components[0].tree[0].content_bytes = u32::MAX,
                |e| matches!(e, ManifestError::Limit { .. }),
            ),
            ("chunker", |r| r.chunker.min_bytes = 0, |e| matches!(e, ManifestError::Sums(_))),
        ];
        for (name, spoil, expected) in cases {
            let mut root = root();
            spoil(&mut root);
            let error = verified(&root, 1, |_| ()).expect_err(name);
            assert!(expected(&error), "{name}: {error:?}");
        }
        assert!(matches!(verified(&root(), 2, |_| ()), Err(ManifestError::Signature(_))));
        assert!(matches!(verified(&root(), 1, |bytes| bytes[20] ^= 1), Err(ManifestError::Hash { .. })));
    }

    #[test]
    fn an_unknown_format_or_feature_asks_for_a_newer_reader() {
        let mut wire = RootWire::decode(root().encode().as_slice()).expect("own encoding");
        wire.requires.push("preload-aead-1".to_owned());
        assert!(matches!(Root::decode(&wire.encode_to_vec()), Err(ManifestError::Requires(_))));
        wire.requires[0] = "x".repeat(1_000_000);
        assert_eq!(Root::decode(&wire.encode_to_vec()), Err(ManifestError::Requires("x".repeat(64))));
        wire.format = 2;
        assert_eq!(Root::decode(&wire.encode_to_vec()), Err(ManifestError::Format(2)));
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Root::decode(&bytes);
        }
    }
}
