//! What an install remembers: `.penstock/state.json`. Owns its fields, format number and atomic renewal.

use crate::error::{DiskError, PullError};
use crate::layout;
use crate::platform::Root;
use crate::request::EdgeUrl;
use penstock_core::blob::BlobId;
use penstock_core::id::{ChannelName, ComponentName, Platform, ProductId, Version};
use penstock_core::path::CLIENT_DIR;
use penstock_core::trust::Memory;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

/// The format written and read here.
const FORMAT: u32 = 1;
/// Largest state file that is read: it lists channels and edges, no files.
const STATE_BYTES_MAX: u64 = 4 << 20;

/// See the module's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format: u32,
    pub(crate) product: ProductId,
    pub(crate) platform: Platform,
    /// Channel of the last pull by channel.
    pub(crate) channel: Option<ChannelName>,
    /// The installed release.
    pub(crate) installed: Release,
    /// The release that a file-by-file update is on its way to.
    pub(crate) unfinished: Option<Release>,
    /// The release that `rollback` goes back to.
    pub(crate) previous: Option<Release>,
    /// Publisher keys as the player gave them, as text.
    pub(crate) given_trust: String,
    /// Publisher keys in force after rotations, as text.
    pub(crate) trust: String,
    /// Highest sequences seen, by channel.
    pub(crate) memory: BTreeMap<ChannelName, Memory>,
    /// Edges of the last pull.
    pub(crate) edges: Vec<EdgeUrl>,
    /// Certificate authority of the last pull.
    pub(crate) ca_file: Option<PathBuf>,
    /// The optional components that the player chose; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chosen: Option<BTreeSet<ComponentName>>,
}

/// A release that is or was here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Release {
    pub(crate) version: Version,
    pub(crate) manifest: BlobId,
    /// Length of the manifest blob.
    pub(crate) manifest_bytes: u64,
    /// Components of it that are not here.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) left_out: BTreeSet<ComponentName>,
}

impl Release {
    /// What names the entries that are here: the manifest's hash, or where components are left out, another one. Staged and
    /// kept files are numbered by entries, so the same release with other components is another one to them.
    pub(crate) fn identity(&self) -> BlobId {
        if self.left_out.is_empty() {
            return self.manifest;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.manifest.as_bytes());
        for name in &self.left_out {
            // No name holds a zero byte.
            hasher.update(name.as_str().as_bytes()).update(&[0]);
        }
        hasher.finalize().into()
    }
}

impl State {
    /// A state without a past.
    pub(crate) fn new(product: ProductId, platform: Platform, installed: Release) -> Self {
        Self {
            format: FORMAT,
            product,
            platform,
            channel: None,
            installed,
            unfinished: None,
            previous: None,
            given_trust: String::new(),
            trust: String::new(),
            memory: BTreeMap::new(),
            edges: Vec::new(),
            ca_file: None,
            chosen: None,
        }
    }
    /// What to hold a channel's next head against. Delegations count across channels.
    pub(crate) fn memory_for(&self, channel: &ChannelName) -> Memory {
        let delegation_sequence = self.memory.values().map(|seen| seen.delegation_sequence).max().unwrap_or(0);
        Memory { delegation_sequence, ..self.memory.get(channel).cloned().unwrap_or_default() }
    }
    /// Whether it differs from another one only in how its edges are reached: in nothing that protects the player.
    pub(crate) fn differs_in_edges_only(&self, other: &Self) -> bool {
        let (edges, ca_file) = (other.edges.clone(), other.ca_file.clone());
        Self { edges, ca_file, ..self.clone() } == *other
    }
    /// Reads the state; `None` when nothing was ever installed here.
    pub(crate) fn load(root: &Root) -> Result<Option<Self>, PullError> {
        let Some(bytes) = read_if_there(root, layout::STATE, STATE_BYTES_MAX)? else { return Ok(None) };
        let damaged = |source| PullError::State { file: layout::STATE.to_owned(), source };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if format != u64::from(FORMAT) {
            return Err(PullError::StateFormat(u32::try_from(format).unwrap_or(u32::MAX)));
        }
        serde_json::from_value(value).map(Some).map_err(damaged)
    }
    /// Replaces the state file: written and synced beside it, then renamed over it.
    pub(crate) fn save(&self, root: &Root) -> Result<(), PullError> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|source| PullError::State { file: layout::STATE.to_owned(), source })?;
        if let Err(error) = write_synced(root, layout::STATE_NEW, &bytes) {
            // Half of it is of no use, least of all on a full volume.
            root.remove_file(layout::STATE_NEW).ok();
            return Err(error.into());
        }
        root.rename(layout::STATE_NEW, layout::STATE)?;
        root.sync_dir(CLIENT_DIR)?;
        Ok(())
    }
}

/// Writes a whole small file and brings it to the platter.
pub(crate) fn write_synced(root: &Root, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let mut file = root.create(path, false)?;
    let failed = |source| DiskError::new("write", path, source);
    file.set_len(0).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// Reads a whole file of at most `max` bytes; `None` when it is not there.
pub(crate) fn read_if_there(root: &Root, path: &str, max: u64) -> Result<Option<Vec<u8>>, DiskError> {
    if root.stat(path)?.is_none() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let file = root.open_read(path)?;
    file.take(max).read_to_end(&mut bytes).map_err(|source| DiskError::new("read", path, source))?;
    Ok(Some(bytes))
}
