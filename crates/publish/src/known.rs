//! What the product already published: earlier releases, read through the registry and believed
//! only if this publisher signed them.
//!
//! A chunk that lies in an earlier pack is reused if the new release's audience may read that pack:
//! same access group, or the base's. The oldest place wins, so that a part of the manifest whose
//! chunks did not change is the very same blob in every release.

use crate::merge::{Chunks, Packs, Place};
use crate::registry::{Registry, RegistryError};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{Release, ReleaseState};
use penstock_core::id::AccessGroup;
use penstock_core::keys::TrustSet;
use penstock_core::limits::ENVELOPE_BYTES_MAX;
use penstock_core::manifest::{self, Expected, ManifestError, PartRef, VerifiedManifest};
use penstock_frames::part::{ChunkPart, PartError};
use std::collections::{HashMap, HashSet};

/// Why an earlier release cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KnownError {
    /// The node refused or could not be reached.
    #[error(transparent)]
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

/// What earlier releases gave.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Chunks that need not be stored again.
    pub(crate) chunks: u64,
    /// Of the newest release of this platform: per component, items per part, tree and chunks.
    pub(crate) part_sizes: HashMap<String, (u32, u32)>,
}

/// Finds places for chunks in the packs of `releases`, newest first as the registry lists them.
///
/// What cannot be used is passed over with a note in the log: it only costs storing content again.
pub(crate) fn reuse(
    registry: &dyn Registry,
    releases: &[Release],
    trust: &TrustSet,
    platform: &penstock_core::id::Platform,
    chunks: &Chunks,
    packs: &mut Packs,
) -> Result<Known, KnownError> {
    let mut known = Known::default();
    let mut parts: Vec<(AccessGroup, PartRef)> = Vec::new();
    for release in releases.iter().rev().filter(|release| release.state == ReleaseState::Live) {
        let manifest = match read_manifest(registry, release, trust) {
            Ok(manifest) => manifest,
            Err(KnownError::Manifest { version, source }) => {
                tracing::warn!(version, error = %source, "an earlier release is not signed by this publisher: its content is stored again");
                continue;
            }
            Err(KnownError::Registry(error)) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        for component in &manifest.root().components {
            if release.platform == *platform {
                let sizes = (
                    average(component.entry_count, &component.tree),
                    average(component.chunk_count, &component.chunks),
                );
                known.part_sizes.insert(component.name.to_string(), sizes);
            }
            parts.extend(component.chunks.iter().map(|part| (component.group.clone(), part.clone())));
        }
    }
    // The base first: what another audience's parts refer to in a base pack stays the base's.
    parts.sort_by_key(|(group, _)| *group != AccessGroup::base());
    let mut seen = HashSet::new();
    for (group, part) in parts.iter().filter(|(_, part)| seen.insert(part.blob)) {
        match read_chunk_part(registry, part) {
            Ok(decoded) => place_all(&decoded, group, chunks, packs).map_err(KnownError::Spool)?,
            Err(KnownError::Registry(error)) if error.is_not_found() => {}
            Err(KnownError::Part { blob, source }) => {
                tracing::warn!(%blob, error = %source, "a part of an earlier release is damaged: its content is stored again");
            }
            Err(error) => return Err(error),
        }
    }
    known.chunks = drop_lost(registry, chunks, packs)?;
    Ok(known)
}

fn place_all(part: &ChunkPart, group: &AccessGroup, chunks: &Chunks, packs: &mut Packs) -> std::io::Result<()> {
    for chunk in &part.chunks {
        for number in chunks.readable_with(group, &chunk.id)? {
            if chunks.place(number)?.is_some() || chunks.chunk(number)?.bytes != chunk.bytes {
                continue;
            }
            let frame = &part.frames[chunk.frame as usize];
            let place = Place {
                pack: packs.number(part.packs[frame.pack as usize], group),
                offset: u32::try_from(frame.offset).expect("a checked part's offsets are within a pack"),
                stored_bytes: frame.stored_bytes,
                content_bytes: frame.content_bytes,
                at: chunk.at,
                kind: frame.kind,
            };
            chunks.set_place(number, Some(place))?;
        }
    }
    Ok(())
}

/// Takes back places in packs that the node no longer has; returns how many places remain.
fn drop_lost(registry: &dyn Registry, chunks: &Chunks, packs: &Packs) -> Result<u64, KnownError> {
    let lost: HashSet<BlobId> = registry.missing(&packs.blobs())?.into_iter().collect();
    let mut remaining = 0;
    for number in 0..chunks.len() {
        let Some(place) = chunks.place(number).map_err(KnownError::Spool)? else { continue };
        if lost.contains(&packs.get(place.pack).0) {
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
