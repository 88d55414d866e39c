//! A node in memory: the second implementation of [`Registry`], for tests and dry runs.
//!
//! Checks what a real node checks at registration, and can be told to fail, before or after a call
//! took effect, so that every interruption of a publish can be played.

use crate::registry::{Content, Registry, RegistryError};
use penstock_core::api::{
    ChannelRow, ChannelsAnswer, MoveChannel, RegisterRelease, ReleasesAnswer, ReuseAnswer, ReuseQuestion, SigningAnswer,
};
use penstock_core::audience::Audience;
use penstock_core::blob::BlobId;
use penstock_core::catalog::{Release, ReleaseState};
use penstock_core::id::{ChannelName, Platform, ProductId, Version};
use penstock_core::keys::{PublicKey, TrustSet};
use penstock_core::manifest::{Expected, verify};
use penstock_core::reply::Problem;
use penstock_core::sign::SecretKey;
use penstock_core::time::UnixSeconds;
use penstock_core::trust::verify_delegation;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

/// When a call fails that was told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailWhen {
    /// Before it takes effect.
    Before,
    /// After it took effect: the answer is lost.
    After,
}

/// A node in memory.
#[derive(Debug)]
pub struct MemoryRegistry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// `None` is the key that every node in memory has at first.
    channel_key: Option<PublicKey>,
    products: BTreeMap<ProductId, Product>,
    blobs: HashMap<BlobId, Vec<u8>>,
    calls: u64,
    fail: Option<(u64, FailWhen)>,
}

#[derive(Debug, Default)]
struct Product {
    publisher: String,
    delegation_sequence: u64,
    delegated: String,
    delegation: Vec<u8>,
    delegation_expires: Option<UnixSeconds>,
    /// Oldest first.
    releases: Vec<(Release, RegisterRelease)>,
    channels: BTreeMap<(ChannelName, Platform), Version>,
}

impl MemoryRegistry {
    /// A node with one product.
    #[must_use]
    pub fn with_product(product: &ProductId) -> Self {
        let mut inner = Inner::default();
        inner.products.insert(product.clone(), Product::default());
        Self { inner: Mutex::new(inner) }
    }

    /// From now on the `nth` call (the next is 1) fails, once.
    pub fn fail_at(&self, nth: u64, when: FailWhen) {
        let mut inner = self.lock();
        inner.fail = Some((inner.calls + nth, when));
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// A blob's bytes.
    #[must_use]
    pub fn blob(&self, blob: &BlobId) -> Option<Vec<u8>> {
        self.lock().blobs.get(blob).cloned()
    }

    /// All blobs' names, sorted.
    #[must_use]
    pub fn blobs(&self) -> Vec<BlobId> {
        let mut list: Vec<BlobId> = self.lock().blobs.keys().copied().collect();
        list.sort_unstable();
        list
    }

    /// Loses a blob, as a damaged disk would.
    pub fn lose(&self, blob: &BlobId) {
        self.lock().blobs.remove(blob);
    }

    /// What a release was registered with.
    #[must_use]
    pub fn registration(&self, product: &ProductId, version: &Version) -> Option<RegisterRelease> {
        let inner = self.lock();
        let releases = &inner.products.get(product)?.releases;
        releases.iter().find(|(release, _)| release.version == *version).map(|(_, given)| given.clone())
    }

    /// What a channel offers, for the first platform by name.
    #[must_use]
    pub fn channel(&self, product: &ProductId, channel: &ChannelName) -> Option<Version> {
        let inner = self.lock();
        let channels = &inner.products.get(product)?.channels;
        channels.iter().find(|((name, _), _)| name == channel).map(|(_, version)| version.clone())
    }

    /// The keys that the product's delegation in force names, as `TrustSet` text.
    #[must_use]
    pub fn delegated(&self, product: &ProductId) -> Option<String> {
        Some(self.lock().products.get(product)?.delegated.clone())
    }

    /// The node gets a new channel key, as after a theft.
    pub fn renew_channel_key(&self, seed: u8) {
        self.lock().channel_key = Some(SecretKey::from_seed(&[seed; 32]).public());
    }

    /// Takes a release back.
    pub fn withdraw(&self, product: &ProductId, version: &Version) {
        let mut inner = self.lock();
        let releases = inner.products.get_mut(product).map(|product| product.releases.iter_mut());
        for (release, _) in releases.into_iter().flatten().filter(|(release, _)| release.version == *version) {
            release.state = ReleaseState::Withdrawn;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no call panics with the lock")
    }

    /// Counts a call, fails it if it was told to, or lets it take effect.
    fn call<T>(&self, effect: impl FnOnce(&mut Inner) -> Result<T, RegistryError>) -> Result<T, RegistryError> {
        let mut inner = self.lock();
        inner.calls += 1;
        let calls = inner.calls;
        let due = inner.fail.take_if(|(nth, _)| *nth == calls);
        let lost = || RegistryError::Unreachable { address: "memory".to_owned(), source: "told to fail".into() };
        match due {
            Some((_, FailWhen::Before)) => Err(lost()),
            Some((_, FailWhen::After)) => effect(&mut inner).and(Err(lost())),
            None => effect(&mut inner),
        }
    }
}

impl Registry for MemoryRegistry {
    fn signing(&self, product: &ProductId) -> Result<SigningAnswer, RegistryError> {
        self.call(|inner| {
            let channel_key = inner.channel_key();
            let product = inner.product(product)?;
            Ok(SigningAnswer {
                channel_key,
                delegation_sequence: product.delegation_sequence,
                delegated: product.delegated.clone(),
                delegation_expires: product.delegation_expires,
                publisher: product.publisher.clone(),
            })
        })
    }

    fn releases(&self, product: &ProductId) -> Result<ReleasesAnswer, RegistryError> {
        self.call(|inner| {
            let releases = inner.product(product)?.releases.iter().rev();
            Ok(ReleasesAnswer { releases: releases.map(|(release, _)| release.clone()).collect() })
        })
    }

    fn channels(&self, product: &ProductId) -> Result<ChannelsAnswer, RegistryError> {
        self.call(|inner| {
            let row = |((channel, platform), version): (&(ChannelName, Platform), &Version)| ChannelRow {
                channel: channel.clone(),
                platform: platform.clone(),
                version: version.clone(),
                previous: None,
                sequence: 1,
                expires: UnixSeconds(0),
            };
            Ok(ChannelsAnswer { channels: inner.product(product)?.channels.iter().map(row).collect() })
        })
    }

    fn read_blob(&self, blob: &BlobId, bytes_max: u64) -> Result<Vec<u8>, RegistryError> {
        self.call(|inner| {
            let bytes = inner.blobs.get(blob).ok_or_else(|| refused(Problem::NotFound, blob.to_string()))?;
            if bytes.len() as u64 > bytes_max {
                return Err(RegistryError::Answer(format!("blob {blob} is larger than {bytes_max} bytes")));
            }
            Ok(bytes.clone())
        })
    }

    fn missing(&self, blobs: &[BlobId]) -> Result<Vec<BlobId>, RegistryError> {
        self.call(|inner| Ok(blobs.iter().filter(|blob| !inner.blobs.contains_key(blob)).copied().collect()))
    }

    /// It knows no terms, so that none leave out anything.
    fn reuse(&self, product: &ProductId, _: &ReuseQuestion) -> Result<ReuseAnswer, RegistryError> {
        self.call(|inner| inner.product(product).map(|_| ReuseAnswer { limited: false, unfit: Vec::new() }))
    }

    fn put_blob(&self, blob: &BlobId, content: Content<'_>) -> Result<(), RegistryError> {
        let bytes = match content {
            Content::Memory(bytes) => bytes.to_vec(),
            Content::File { path, .. } => std::fs::read(path).map_err(RegistryError::Content)?,
        };
        self.call(|inner| {
            if BlobId::of(&bytes) != *blob || bytes.len() as u64 != content.bytes() {
                return Err(refused(Problem::HashMismatch, blob.to_string()));
            }
            inner.blobs.insert(*blob, bytes);
            Ok(())
        })
    }

    fn register(&self, product: &ProductId, given: &RegisterRelease) -> Result<(), RegistryError> {
        self.call(|inner| inner.register(product, given))
    }

    fn move_channel(&self, product: &ProductId, channel: &ChannelName, to: &MoveChannel) -> Result<(), RegistryError> {
        self.call(|inner| {
            let product = inner.product(product)?;
            let there = product.releases.iter().any(|(release, _)| {
                release.version == to.version && release.platform == to.platform && release.state == ReleaseState::Live
            });
            if !there {
                return Err(refused(Problem::NotFound, to.version.to_string()));
            }
            product.channels.insert((channel.clone(), to.platform.clone()), to.version.clone());
            Ok(())
        })
    }
}

impl Inner {
    fn channel_key(&self) -> PublicKey {
        self.channel_key.unwrap_or_else(|| SecretKey::from_seed(&[0xc4; 32]).public())
    }

    fn product(&mut self, product: &ProductId) -> Result<&mut Product, RegistryError> {
        self.products.get_mut(product).ok_or_else(|| refused(Problem::NotFound, product.to_string()))
    }

    fn register(&mut self, product: &ProductId, given: &RegisterRelease) -> Result<(), RegistryError> {
        let channel_key = self.channel_key();
        let bad = |detail: String| refused(Problem::BadRequest, detail);
        if let Some(member) = given.members.iter().find(|member| !self.blobs.contains_key(&member.blob)) {
            return Err(bad(format!("blob {} is not there", member.blob)));
        }
        let mut audiences: HashMap<BlobId, Audience<'_>> = HashMap::new();
        for member in &given.members {
            if *audiences.entry(member.blob).or_insert(member.audience()) != member.audience() {
                return Err(bad(format!("blob {} has two audiences", member.blob)));
            }
        }
        let trust: TrustSet = given.publisher.parse().map_err(|error| bad(format!("{error}")))?;
        let bytes = self.blobs.get(&given.manifest).ok_or_else(|| bad("no manifest".to_owned()))?;
        let expected = Expected { id: given.manifest, product, platform: &given.platform, version: &given.version };
        let verified = verify(bytes, &trust, &expected).map_err(|error| bad(format!("{error}")))?;
        let root = verified.root();
        let listed = |blob: BlobId| given.members.iter().any(|member| member.blob == blob);
        if !listed(given.manifest) || root.parts().any(|part| !listed(part.blob)) {
            return Err(bad("members must list the manifest and every part".to_owned()));
        }
        let release = Release {
            product: product.clone(),
            platform: given.platform.clone(),
            version: given.version.clone(),
            manifest: given.manifest,
            manifest_bytes: bytes.len() as u64,
            content_bytes: root.content_bytes(),
            entry_count: root.entry_count(),
            registered: UnixSeconds(0),
            state: ReleaseState::Live,
        };
        let (product, id) = (self.product(product)?, product);
        if !product.publisher.is_empty() && product.publisher != given.publisher {
            return Err(refused(Problem::Conflict, "another publisher".to_owned()));
        }
        let envelope = if given.delegation.is_empty() { &product.delegation } else { &given.delegation };
        if envelope.is_empty() {
            return Err(refused(Problem::Conflict, "there is no delegation yet".to_owned()));
        }
        let delegation = verify_delegation(&trust, envelope, id).map_err(|error| bad(format!("{error}")))?;
        let follows = delegation.sequence > product.delegation_sequence || *envelope == product.delegation;
        if !follows || delegation.keys.find(channel_key.id()).is_none() {
            return Err(refused(Problem::Conflict, "the delegation is old or names another key".to_owned()));
        }
        let known = product
            .releases
            .iter()
            .find(|(known, _)| known.version == release.version && known.platform == release.platform);
        if known.is_some_and(|(known, _)| known.manifest != release.manifest) {
            return Err(refused(Problem::Conflict, release.version.to_string()));
        }
        if known.is_none() {
            product.releases.push((release, given.clone()));
        }
        product.publisher.clone_from(&given.publisher);
        product.delegation_sequence = delegation.sequence;
        product.delegated = delegation.keys.to_string();
        product.delegation_expires = delegation.expires;
        product.delegation = envelope.clone();
        Ok(())
    }
}

fn refused(problem: Problem, detail: String) -> RegistryError {
    RegistryError::Refused {
        status: problem.status(),
        code: problem.code().to_owned(),
        title: problem.title().to_owned(),
        detail,
    }
}
