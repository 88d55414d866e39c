//! A tiny publisher: trees in memory become signed releases with parts and packs, so that the client
//! is tested against the formats and not against `publish`.

#![expect(clippy::cast_possible_truncation, reason = "test sizes are small")]

use penstock_core::api::ChannelAnswer;
use penstock_core::blob::{BlobId, ChunkId};
use penstock_core::catalog::{Release, ReleaseState};
use penstock_core::envelope::Purpose;
use penstock_core::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId, Version};
use penstock_core::keys::TrustSet;
use penstock_core::manifest::{Chunker, Component, PartRef, Root};
use penstock_core::sign::{SecretKey, seal};
use penstock_core::statement::{Delegation, Head, Pointer};
use penstock_core::time::UnixSeconds;
use penstock_frames::chunker::{Cutter, Tail};
use penstock_frames::column::{put, put_signed};
use penstock_frames::order::path_order;
use penstock_frames::part::{CHUNK_FORMAT, FLAG_EXECUTABLE, KIND_DIRECTORY, KIND_FILE, KIND_LINK, TREE_FORMAT};
use penstock_frames::wire::{ChunkWire, TreeWire};
use prost::Message as _;
use std::collections::{BTreeMap, HashMap};

pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    File(Vec<u8>),
    Program(Vec<u8>),
    Directory,
    Link(String),
}

pub(crate) type Tree = BTreeMap<String, Node>;

/// Bytes that do not compress and differ by seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Bytes that compress about 2:1.
pub(crate) fn half_noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = noise(seed, len);
    out.iter_mut().for_each(|byte| *byte &= 0x0f);
    out
}

#[derive(Clone, Copy)]
struct Place {
    pack: usize,
    offset: u64,
    stored: u32,
    content: u32,
    kind: u32,
    at: u32,
    bytes: u32,
}

pub(crate) struct Publisher {
    pub(crate) key: SecretKey,
    pub(crate) channel_key: SecretKey,
    pub(crate) product: ProductId,
    pub(crate) sequence: u64,
    pub(crate) part_chunks: usize,
    pub(crate) blobs: HashMap<BlobId, Vec<u8>>,
    packs: Vec<BlobId>,
    open_pack: Vec<u8>,
    known: HashMap<ChunkId, Place>,
}

pub(crate) struct Published {
    pub(crate) root: Root,
    pub(crate) manifest: BlobId,
    pub(crate) manifest_bytes: u64,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        Self {
            key: SecretKey::from_seed(&[7; 32]),
            channel_key: SecretKey::from_seed(&[8; 32]),
            product: ProductId::new("game").expect("name"),
            sequence: 1,
            part_chunks: 64,
            blobs: HashMap::new(),
            packs: Vec::new(),
            open_pack: Vec::new(),
            known: HashMap::new(),
        }
    }
    pub(crate) fn trust(&self) -> TrustSet {
        TrustSet::single(self.key.public())
    }
    pub(crate) fn publish(&mut self, version: &str, tree: &Tree) -> Published {
        let mut paths: Vec<&String> = tree.keys().collect();
        paths.sort_by(|a, b| path_order(a, b));
        let mut wire = TreeWire { format: TREE_FORMAT, ..TreeWire::default() };
        let mut chunks: Vec<ChunkId> = Vec::new();
        let mut content_bytes = 0;
        for path in &paths {
            put(&mut wire.shared, 0);
            put(&mut wire.rest_lens, path.len() as u64);
            wire.rests.push_str(path);
            match &tree[*path] {
                Node::Directory => wire.kinds.push(KIND_DIRECTORY),
                Node::Link(target) => {
                    wire.kinds.push(KIND_LINK);
                    put(&mut wire.target_lens, target.len() as u64);
                    wire.targets.push_str(target);
                }
                Node::File(bytes) | Node::Program(bytes) => {
                    let program = matches!(tree[*path], Node::Program(_));
                    wire.kinds.push(KIND_FILE | if program { FLAG_EXECUTABLE } else { 0 });
                    let before = chunks.len();
                    self.cut(bytes, &mut chunks);
                    put(&mut wire.sizes, bytes.len() as u64);
                    put(&mut wire.chunk_counts, (chunks.len() - before) as u64);
                    content_bytes += bytes.len() as u64;
                }
            }
        }
        self.close_pack();
        let tree_part = self.part(&wire.encode_to_vec(), paths.len());
        let chunk_parts: Vec<PartRef> = chunks
            .chunks(self.part_chunks)
            .map(<[ChunkId]>::to_vec)
            .collect::<Vec<_>>()
            .iter()
            .map(|list| {
                let wire = self.chunk_wire(list);
                self.part(&wire.encode_to_vec(), list.len())
            })
            .collect();
        let root = Root {
            product: self.product.clone(),
            platform: Platform::any(),
            version: Version::new(version).expect("version"),
            created: NOW,
            chunker: Chunker::default(),
            components: vec![Component {
                name: ComponentName::base(),
                group: AccessGroup::base(),
                optional: false,
                tree: if paths.is_empty() { Vec::new() } else { vec![tree_part] },
                entry_count: paths.len() as u64,
                content_bytes,
                chunk_count: chunks.len() as u64,
                chunks: chunk_parts,
            }],
        };
        self.sign(root)
    }
    pub(crate) fn sign(&mut self, root: Root) -> Published {
        let bytes = seal(Purpose::Manifest, root.encode(), &[&self.key]).encode();
        let manifest = BlobId::of(&bytes);
        let manifest_bytes = bytes.len() as u64;
        self.blobs.insert(manifest, bytes);
        Published { root, manifest, manifest_bytes }
    }
    /// A signed offer of a release; `change` may spoil the head before it is signed.
    pub(crate) fn offer(
        &mut self,
        published: &Published,
        change: impl FnOnce(&mut Head, &mut Delegation),
    ) -> ChannelAnswer {
        self.sequence += 1;
        let channel = ChannelName::new("stable").expect("name");
        let mut delegation = Delegation {
            product: self.product.clone(),
            keys: TrustSet::single(self.channel_key.public()),
            sequence: 1,
            issued: NOW,
            expires: None,
        };
        let mut head = Head {
            product: self.product.clone(),
            platform: Platform::any(),
            channel: channel.clone(),
            sequence: self.sequence,
            issued: NOW,
            expires: NOW.plus(1000),
            target: Pointer {
                version: published.root.version.clone(),
                manifest: published.manifest,
                manifest_bytes: published.manifest_bytes,
            },
            fallback: None,
        };
        change(&mut head, &mut delegation);
        ChannelAnswer {
            product: self.product.clone(),
            platform: Platform::any(),
            channel,
            sequence: head.sequence,
            version: head.target.version.clone(),
            manifest: head.target.manifest,
            manifest_bytes: head.target.manifest_bytes,
            fallback: None,
            head: seal(Purpose::Head, head.encode(), &[&self.channel_key]).encode(),
            delegation: seal(Purpose::Delegation, delegation.encode(), &[&self.key]).encode(),
            rotations: Vec::new(),
        }
    }
    pub(crate) fn release(&self, published: &Published) -> Release {
        Release {
            product: self.product.clone(),
            platform: Platform::any(),
            version: published.root.version.clone(),
            manifest: published.manifest,
            manifest_bytes: published.manifest_bytes,
            content_bytes: published.root.content_bytes(),
            entry_count: published.root.entry_count(),
            registered: NOW,
            state: ReleaseState::Live,
        }
    }
    pub(crate) fn part(&mut self, content: &[u8], items: usize) -> PartRef {
        let stored = zstd::bulk::compress(content, 3).expect("zstd");
        let blob = BlobId::of(&stored);
        let part = PartRef {
            blob,
            stored_bytes: stored.len() as u32,
            content_bytes: content.len() as u32,
            items: items as u32,
        };
        self.blobs.insert(blob, stored);
        part
    }

    fn cut(&mut self, mut bytes: &[u8], chunks: &mut Vec<ChunkId>) {
        let cutter = Cutter::new(&Chunker::default()).expect("default chunker");
        while let Some(length) = cutter.next(bytes, Tail::End) {
            let (chunk, rest) = bytes.split_at(length);
            chunks.push(self.store(chunk));
            bytes = rest;
        }
    }

    fn store(&mut self, chunk: &[u8]) -> ChunkId {
        let id = ChunkId::of(chunk);
        if self.known.contains_key(&id) {
            return id;
        }
        if self.open_pack.len() > 4 << 20 {
            self.close_pack();
        }
        let packed = zstd::bulk::compress(chunk, 1).expect("zstd");
        let (kind, stored) = if packed.len() < chunk.len() { (1, packed.as_slice()) } else { (0, chunk) };
        let place = Place {
            pack: self.packs.len(),
            offset: self.open_pack.len() as u64,
            stored: stored.len() as u32,
            content: chunk.len() as u32,
            kind,
            at: 0,
            bytes: chunk.len() as u32,
        };
        self.open_pack.extend_from_slice(stored);
        self.known.insert(id, place);
        id
    }

    fn close_pack(&mut self) {
        if !self.open_pack.is_empty() {
            let pack = std::mem::take(&mut self.open_pack);
            let blob = BlobId::of(&pack);
            self.packs.push(blob);
            self.blobs.insert(blob, pack);
        }
    }

    fn chunk_wire(&self, list: &[ChunkId]) -> ChunkWire {
        let mut wire = ChunkWire { format: CHUNK_FORMAT, ..ChunkWire::default() };
        let mut packs: Vec<usize> = Vec::new();
        let mut ends: HashMap<usize, u64> = HashMap::new();
        let mut frames: Vec<(usize, u64)> = Vec::new();
        let (mut last_frame, mut last_end) = (0i64, 0u32);
        for id in list {
            let place = self.known[id];
            let pack = packs.iter().position(|pack| *pack == place.pack).unwrap_or_else(|| {
                packs.push(place.pack);
                wire.packs.extend_from_slice(self.packs[place.pack].as_bytes());
                packs.len() - 1
            });
            let key = (place.pack, place.offset);
            let frame = frames.iter().position(|frame| *frame == key).unwrap_or_else(|| {
                frames.push(key);
                put(&mut wire.frame_packs, pack as u64);
                let end = ends.entry(pack).or_insert(0);
                put_signed(&mut wire.frame_gaps, place.offset as i64 - *end as i64);
                *end = place.offset + u64::from(place.stored);
                put(&mut wire.frame_stored, u64::from(place.stored));
                put(&mut wire.frame_extra, u64::from(place.content - place.at - place.bytes));
                put(&mut wire.frame_kinds, u64::from(place.kind));
                frames.len() - 1
            }) as i64;
            wire.chunks.extend_from_slice(id.as_bytes());
            put(&mut wire.chunk_bytes, u64::from(place.bytes));
            put_signed(&mut wire.chunk_frames, frame - last_frame);
            let from = if frame == last_frame && wire.chunks.len() > 32 { last_end } else { 0 };
            put_signed(&mut wire.chunk_gaps, i64::from(place.at) - i64::from(from));
            (last_frame, last_end) = (frame, place.at + place.bytes);
        }
        wire
    }
}
