//! What the product already published: earlier releases, read through the registry and believed
//! only if this publisher signed them.
//!
//! A chunk that lies in an earlier pack is reused if its component's whole audience may read that pack
//! already ([`Audience::covers`]). The place that the platform's newest release uses wins, so
//! that a part of the manifest whose chunks did not change is the very same blob in release after
//! release.
//!
//! Where terms leave out channels or platforms, a pack is not reused if some who are owed the new release would not be given
//! it: they are not owed everything else that lies in it. The node says which.
//!
//! The cost does not grow with the product's history. Read are at most [`RECENT_MAX`] releases of
//! this platform, as many of other platforms, and [`OFFERED_MAX`] that channels offer; each part
//! once; a part at a time is decoded per thread. What only older releases hold is stored again.

use crate::merge::{Chunks, Packs, Place};
use crate::registry::{Registry, RegistryError};
use penstock_core::api::{ChannelRow, ReuseQuestion};
use penstock_core::audience::Audience;
use penstock_core::blob::BlobId;
use penstock_core::catalog::{Release, ReleaseState};
use penstock_core::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId};
use penstock_core::keys::TrustSet;
use penstock_core::limits::{ENVELOPE_BYTES_MAX, MISSING_BLOBS_MAX};
use penstock_core::manifest::{self, Expected, ManifestError, PartRef, VerifiedManifest};
use penstock_frames::part::{ChunkPart, PartError};
use std::collections::{HashMap, HashSet};

/// Most releases of this platform that are read, newest first, and as many of all others together.
/// Content comes back from a few releases ago (a revert), hardly ever from more.
const RECENT_MAX: usize = 16;
/// Most releases beyond those that are read because a channel offers them.
const OFFERED_MAX: usize = 32;
/// Most chunk parts that are read, of all releases together: a 100 GB game's newest release has some
/// 1,100, one that changed everywhere adds as many. At about 100 bytes each in memory, 6 MiB.
const PARTS_READ_MAX: usize = 65_536;
/// Parts that are read at once: enough to fill a connection. One of ours takes less than 1 MiB.
const READS_AT_ONCE: usize = 8;
/// Roots that are read at once: usually 100 KiB each, but up to some 35 MiB while the largest is decoded.
const ROOTS_AT_ONCE: usize = 2;

/// Why an earlier release cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KnownError {
    /// The node refused or could not be reached.
    #[error("cannot ask the node")]
    Registry(#[from] RegistryError),
    /// A part is not what the signed manifest says.
    #[error("part {blob} of an earlier release is damaged on the node")]
    Part {
        /// The part.
        blob: BlobId,
        /// Why.
        #[source]
        source: PartError,
    },
    /// Its manifest does not hold.
    #[error("the manifest of release {version} is refused")]
    Manifest {
        /// Which release.
        version: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// A temporary file of ours cannot be used.
    #[error("cannot use the temporary directory")]
    Spool(#[source] std::io::Error),
}

/// Reads and verifies an earlier release's manifest.
pub(crate) fn read_manifest(
    registry: &dyn Registry,
    release: &Release,
    trust: &TrustSet,
) -> Result<VerifiedManifest, KnownError> {
    let bytes = registry.read_blob(&release.manifest, ENVELOPE_BYTES_MAX as u64)?;
    let expected = Expected {
        id: release.manifest,
        product: &release.product,
        platform: &release.platform,
        version: &release.version,
    };
    manifest::verify(&bytes, trust, &expected)
        .map_err(|source| KnownError::Manifest { version: release.version.to_string(), source })
}

/// Reads and checks a chunk part of an earlier release.
pub(crate) fn read_chunk_part(registry: &dyn Registry, part: &PartRef) -> Result<ChunkPart, KnownError> {
    let bytes = registry.read_blob(&part.blob, u64::from(part.stored_bytes))?;
    ChunkPart::decode(part, &bytes).map_err(|source| KnownError::Part { blob: part.blob, source })
}

/// The releases that a publish of `platform` reads, in the order in which their places count: the
/// newest of this platform, the newest of the others, and what channels offer. `releases` is newest
/// first. Withdrawn ones are not read.
pub(crate) fn worth_reading<'r>(
    releases: &'r [Release],
    channels: &[ChannelRow],
    platform: &Platform,
) -> Vec<&'r Release> {
    let live = || releases.iter().filter(|release| release.state == ReleaseState::Live);
    let offered = |release: &&Release| {
        channels.iter().any(|row| row.version == release.version && row.platform == release.platform)
    };
    let mine = live().filter(|release| release.platform == *platform).take(RECENT_MAX);
    let others = live().filter(|release| release.platform != *platform).take(RECENT_MAX);
    let mut seen = HashSet::new();
    mine.chain(others)
        .chain(live().filter(offered).take(OFFERED_MAX))
        .filter(|release| seen.insert(release.manifest))
        .collect()
}

/// What earlier releases gave.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Chunks that need not be stored again.
    pub(crate) chunks: u64,
    /// Of the newest release of this platform: per component, items per part, tree and chunks.
    pub(crate) part_sizes: HashMap<String, (u32, u32)>,
}

/// Earlier releases to reuse content of.
pub(crate) struct History<'a> {
    pub(crate) registry: &'a dyn Registry,
    pub(crate) trust: &'a TrustSet,
    /// See [`worth_reading`].
    pub(crate) releases: Vec<&'a Release>,
    pub(crate) product: &'a ProductId,
    pub(crate) platform: &'a Platform,
    /// The channel that will offer the new release; `None` is any.
    pub(crate) channel: Option<&'a ChannelName>,
}

/// What the node said of packs.
#[derive(Debug, Default)]
struct Fitness {
    asked: HashSet<BlobId>,
    unfit: HashSet<BlobId>,
    /// No terms leave out anything, so that nothing needs to be asked.
    is_unlimited: bool,
}

impl History<'_> {
    /// Finds places for chunks in the packs of earlier releases.
    ///
    /// Each part is read once, however many releases share it, and none once every chunk has a place.
    /// What cannot be used is passed over with a note in the log: it only costs storing content again.
    pub(crate) fn reuse(&self, chunks: &Chunks, packs: &mut Packs) -> Result<Known, KnownError> {
        let mut known = Known::default();
        let mut parts = self.parts(&mut known)?;
        // The base first: what another audience's parts refer to in a base pack stays the base's. Stable,
        // so that in each audience the release that counts most comes first.
        parts.sort_by_key(|known| !known.audience().is_base());
        let mut left = u64::from(chunks.len());
        let mut fitness = Fitness::default();
        for batch in parts.chunks(READS_AT_ONCE) {
            if left == 0 {
                break;
            }
            let read = at_once(batch, |known| read_chunk_part(self.registry, &known.part));
            self.ask(&mut fitness, read.iter().flatten())?;
            for (known, part) in batch.iter().zip(read) {
                match part {
                    Ok(part) => {
                        let placed = place_all(&part, known.audience(), &fitness.unfit, chunks, packs);
                        left -= placed.map_err(KnownError::Spool)?;
                    }
                    Err(KnownError::Registry(error)) if error.is_not_found() => {}
                    Err(KnownError::Part { blob, source }) => {
                        tracing::warn!(%blob, error = %source, "a part of an earlier release is damaged: its content is stored again");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        known.chunks = drop_lost(self.registry, chunks, packs)?;
        Ok(known)
    }

    /// Asks which packs of the parts are unfit, as far as that was not asked before.
    fn ask<'p>(&self, fitness: &mut Fitness, parts: impl Iterator<Item = &'p ChunkPart>) -> Result<(), KnownError> {
        if fitness.is_unlimited {
            return Ok(());
        }
        let packs = parts.flat_map(|part| part.packs.iter().copied());
        let new: Vec<BlobId> = packs.filter(|pack| fitness.asked.insert(*pack)).collect();
        for some in new.chunks(MISSING_BLOBS_MAX) {
            let channels = self.channel.cloned().into_iter().collect();
            let question = ReuseQuestion { platform: self.platform.clone(), channels, blobs: some.to_vec() };
            let answer = self.registry.reuse(self.product, &question)?;
            fitness.is_unlimited = !answer.limited;
            fitness.unfit.extend(answer.unfit);
        }
        Ok(())
    }

    /// The chunk parts of all releases, each blob once, in the order in which they count.
    fn parts(&self, known: &mut Known) -> Result<Vec<KnownPart>, KnownError> {
        let mut seen = HashSet::new();
        let mut parts = Vec::new();
        for batch in self.releases.chunks(ROOTS_AT_ONCE) {
            let read = at_once(batch, |release| read_manifest(self.registry, release, self.trust));
            for (release, manifest) in batch.iter().zip(read) {
                let manifest = match manifest {
                    Ok(manifest) => manifest,
                    Err(KnownError::Manifest { version, source }) => {
                        tracing::warn!(version, error = %source, "an earlier release is not signed by this publisher: its content is stored again");
                        continue;
                    }
                    Err(KnownError::Registry(error)) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                };
                for component in &manifest.root().components {
                    if release.platform == *self.platform {
                        let sizes = || {
                            let tree = average(component.entry_count, &component.tree);
                            (tree, average(component.chunk_count, &component.chunks))
                        };
                        known.part_sizes.entry(component.name.to_string()).or_insert_with(sizes);
                    }
                    let new = component.chunks.iter().filter(|part| seen.insert(part.blob));
                    let (name, group) = (&component.name, &component.group);
                    let known =
                        |part: &PartRef| KnownPart { name: name.clone(), group: group.clone(), part: part.clone() };
                    parts.extend(new.map(known));
                }
                if parts.len() >= PARTS_READ_MAX {
                    parts.truncate(PARTS_READ_MAX);
                    tracing::warn!(%release.version, "earlier releases have more manifest parts than are read: older content may be stored again");
                    return Ok(parts);
                }
            }
        }
        Ok(parts)
    }
}

/// A chunk part of an earlier release, and whose it is.
struct KnownPart {
    name: ComponentName,
    group: AccessGroup,
    part: PartRef,
}

impl KnownPart {
    const fn audience(&self) -> Audience<'_> {
        Audience { component: &self.name, group: &self.group }
    }
}

/// Does `work` for each item on a thread of its own; the answers are in the items' order.
fn at_once<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let started: Vec<_> = items.iter().map(|item| scope.spawn(|| work(item))).collect();
        started.into_iter().map(|thread| thread.join().expect("reading a part does not panic")).collect()
    })
}

/// Notes the places of chunks that have none; returns of how many.
///
/// Releases of other publishers may refer to a pack from components of which neither covers the other. Then it is taken
/// for that of the one that is met first, and what the other one has in it is stored again.
fn place_all(
    part: &ChunkPart,
    audience: Audience<'_>,
    unfit: &HashSet<BlobId>,
    chunks: &Chunks,
    packs: &mut Packs,
) -> std::io::Result<u64> {
    let mut placed = 0;
    for chunk in &part.chunks {
        for (number, reader) in chunks.readable_with(&audience, &chunk.id)? {
            if chunks.place(number)?.is_some() || chunks.chunk(number)?.bytes != chunk.bytes {
                continue;
            }
            let frame = &part.frames[chunk.frame as usize];
            let blob = part.packs[frame.pack as usize];
            if unfit.contains(&blob) {
                continue;
            }
            let pack = packs.number(blob, audience);
            if !packs.audience(pack).covers(&reader) {
                continue;
            }
            let place = Place {
                pack,
                offset: u32::try_from(frame.offset).expect("a checked part's offsets are within a pack"),
                stored_bytes: frame.stored_bytes,
                content_bytes: frame.content_bytes,
                at: chunk.at,
                kind: frame.kind,
            };
            chunks.set_place(number, Some(place))?;
            placed += 1;
        }
    }
    Ok(placed)
}

/// Takes back places in packs that the node no longer has; returns how many places remain.
fn drop_lost(registry: &dyn Registry, chunks: &Chunks, packs: &Packs) -> Result<u64, KnownError> {
    let lost: HashSet<BlobId> = registry.missing(&packs.blobs())?.into_iter().collect();
    let mut remaining = 0;
    for number in 0..chunks.len() {
        let Some(place) = chunks.place(number).map_err(KnownError::Spool)? else { continue };
        if lost.contains(&packs.blob(place.pack)) {
            chunks.set_place(number, None).map_err(KnownError::Spool)?;
        } else {
            remaining += 1;
        }
    }
    Ok(remaining)
}

fn average(items: u64, parts: &[PartRef]) -> u32 {
    u32::try_from(items / (parts.len().max(1) as u64)).unwrap_or(u32::MAX)
}
