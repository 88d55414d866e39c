//! The edge's copy of the catalogue: who may read which blob, what channels offer, which releases there are.
//!
//! Control tells changes through [`CatalogSink`]; requests look things up. No lock is held longer than one lookup or
//! one change of one entry, none across an await, and no guard leaves this file. It must not decide: `core::entitle` does.

mod answer;
mod blobs;

pub use answer::{Document, Found};

use self::blobs::Blobs;
use penstock_core::api::{CatalogAnswer, ReleaseAnswer};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{AccessClass, CatalogChange, CatalogSink, Offer, Product, Release, ReleaseState};
use penstock_core::entitle::{BlobFacts, BlobUse};
use penstock_core::id::{ChannelName, Platform, ProductId, Version};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How much the catalogue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Products.
    pub products: usize,
    /// Releases, withdrawn ones included.
    pub releases: usize,
    /// Offers of all channels and platforms.
    pub offers: usize,
    /// Blobs that something refers to.
    pub blobs: usize,
}

/// The catalogue in memory. Shared by all workers.
#[derive(Debug, Default)]
pub struct EdgeCatalog {
    names: RwLock<Names>,
    blobs: Blobs,
    /// The answer to `/v1/catalog`, until a product changes.
    listing: Mutex<Option<Document>>,
}

#[derive(Debug, Default)]
struct Names {
    products: HashMap<ProductId, Shelfmark>,
    /// Every release by its number, which is what blobs refer to. Numbers are never reused.
    releases: Vec<ReleaseSeat>,
}

/// What is known below one product's name. Releases and offers may be told before the product itself.
#[derive(Debug, Default)]
struct Shelfmark {
    product: Option<Product>,
    releases: BTreeMap<Version, BTreeMap<Platform, u32>>,
    offers: BTreeMap<ChannelName, BTreeMap<Platform, Arc<Told>>>,
    /// The product's key rotations, as far as an offer told of them: the list only ever grows.
    rotations: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct ReleaseSeat {
    release: Release,
    document: Document,
}

/// An offer and its answer, rendered once.
#[derive(Debug)]
struct Told {
    version: Version,
    platform: Platform,
    document: Document,
}

impl EdgeCatalog {
    /// What is known of a blob; `None` if nothing is.
    #[must_use]
    pub fn blob_facts(&self, blob: &BlobId) -> Option<BlobFacts> {
        let entry = self.blobs.get(blob)?;
        let mut facts = BlobFacts { loose_open: entry.loose == Some(Loose::Open), uses: Vec::new() };
        if facts.loose_open {
            return Some(facts);
        }
        let names = self.names();
        // The newest release first: it is the one most likely to be live. There are few different uses, whatever the
        // number of releases, and one that is open and live decides.
        for &number in entry.releases.iter().rev() {
            let Some(seat) = names.releases.get(number as usize) else { continue };
            let one = BlobUse { access: names.access(&seat.release.product), state: seat.release.state };
            if !facts.uses.contains(&one) {
                facts.uses.push(one);
            }
            if one == (BlobUse { access: AccessClass::Open, state: ReleaseState::Live }) {
                break;
            }
        }
        Some(facts)
    }

    /// A product's access class; `None` if it is not known.
    #[must_use]
    pub fn access(&self, product: &ProductId) -> Option<AccessClass> {
        self.names().products.get(product)?.product.as_ref().map(|product| product.access)
    }

    /// What a channel offers for a platform. Without one: for `any`, else for the only platform there is.
    #[must_use]
    pub fn offer(&self, product: &ProductId, channel: &ChannelName, platform: Option<&Platform>) -> Found<Document> {
        let names = self.names();
        let Some(mark) = names.products.get(product) else { return Found::Unknown };
        let Some(platforms) = mark.offers.get(channel) else { return Found::Unknown };
        Found::choose(platforms, platform).and_then(|told| match names.state(product, &told.version, &told.platform) {
            Some(ReleaseState::Withdrawn) => Found::Withdrawn,
            Some(ReleaseState::Live) | None => Found::One(told.document.clone()),
        })
    }

    /// A release for a platform, chosen as [`Self::offer`] does.
    #[must_use]
    pub fn release(&self, product: &ProductId, version: &Version, platform: Option<&Platform>) -> Found<Document> {
        let names = self.names();
        let Some(mark) = names.products.get(product) else { return Found::Unknown };
        let Some(platforms) = mark.releases.get(version) else { return Found::Unknown };
        Found::choose(platforms, platform).and_then(|number| match names.releases.get(*number as usize) {
            Some(seat) if seat.release.state == ReleaseState::Live => Found::One(seat.document.clone()),
            Some(_) => Found::Withdrawn,
            None => Found::Unknown,
        })
    }

    /// The open products, by name: the answer to `/v1/catalog`.
    #[must_use]
    pub fn listing(&self) -> Document {
        let mut kept = self.kept_listing();
        if let Some(document) = &*kept {
            return document.clone();
        }
        let mut products: Vec<Product> = {
            let names = self.names();
            let known = names.products.values().filter_map(|mark| mark.product.as_ref());
            known.filter(|product| product.access == AccessClass::Open).cloned().collect()
        };
        products.sort_by(|a, b| a.id.cmp(&b.id));
        let document = Document::render(&CatalogAnswer { products });
        *kept = Some(document.clone());
        document
    }

    /// How much there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let names = self.names();
        let offers = names.products.values().flat_map(|mark| mark.offers.values()).map(BTreeMap::len).sum();
        let products = names.products.values().filter(|mark| mark.product.is_some()).count();
        Counts { products, releases: names.releases.len(), offers, blobs: self.blobs.len() }
    }

    fn set_product(&self, product: Product) {
        let id = product.id.clone();
        self.names_mut().products.entry(id).or_default().product = Some(product);
        *self.kept_listing() = None;
    }

    /// Takes a release and says which number it has, and which number its blobs had before, if its manifest changed.
    fn set_release(&self, release: Release) -> (u32, Option<u32>) {
        let mut names = self.names_mut();
        let names = &mut *names;
        let mark = names.products.entry(release.product.clone()).or_default();
        let document = render_release(&release, &mark.rotations);
        let platforms = mark.releases.entry(release.version.clone()).or_default();
        if let Some(&number) = platforms.get(&release.platform)
            && let Some(seat) = names.releases.get_mut(number as usize)
            && seat.release.manifest == release.manifest
        {
            *seat = ReleaseSeat { release, document };
            return (number, None);
        }
        let number = u32::try_from(names.releases.len()).unwrap_or(u32::MAX);
        let before = platforms.insert(release.platform.clone(), number);
        names.releases.push(ReleaseSeat { release, document });
        (number, before)
    }

    fn set_offer(&self, offer: &Offer) {
        let document = Document::render(offer);
        let told = Told { version: offer.version.clone(), platform: offer.platform.clone(), document };
        let mut names = self.names_mut();
        let names = &mut *names;
        let mark = names.products.entry(offer.product.clone()).or_default();
        mark.offers.entry(offer.channel.clone()).or_default().insert(offer.platform.clone(), Arc::new(told));
        if offer.rotations.len() > mark.rotations.len() {
            mark.rotations.clone_from(&offer.rotations);
            // Rare: once for each rotation of a publisher's keys.
            for number in mark.releases.values().flat_map(BTreeMap::values) {
                if let Some(seat) = names.releases.get_mut(*number as usize) {
                    seat.document = render_release(&seat.release, &mark.rotations);
                }
            }
        }
    }

    fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn names_mut(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept_listing(&self) -> MutexGuard<'_, Option<Document>> {
        self.listing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn render_release(release: &Release, rotations: &[Vec<u8>]) -> Document {
    Document::render(&ReleaseAnswer { release: release.clone(), rotations: rotations.to_vec() })
}

impl Names {
    /// A product that was not told of yet is as good as closed.
    fn access(&self, product: &ProductId) -> AccessClass {
        let known = self.products.get(product).and_then(|mark| mark.product.as_ref());
        known.map_or(AccessClass::Closed, |product| product.access)
    }

    fn state(&self, product: &ProductId, version: &Version, platform: &Platform) -> Option<ReleaseState> {
        let number = self.products.get(product)?.releases.get(version)?.get(platform)?;
        self.releases.get(*number as usize).map(|seat| seat.release.state)
    }
}

/// How a blob outside any release was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loose {
    /// Anyone may read it.
    Open,
    /// Nobody may.
    Shut,
}

impl CatalogSink for EdgeCatalog {
    fn apply(&self, change: CatalogChange) {
        match change {
            CatalogChange::Product(product) => self.set_product(product),
            CatalogChange::Release { release, members } => {
                let (number, before) = self.set_release(release);
                if let Some(before) = before {
                    self.blobs.forget_release(before);
                }
                for member in members {
                    self.blobs.add_use(member.blob, number);
                }
            }
            CatalogChange::Offer(offer) => self.set_offer(&offer),
            CatalogChange::LooseBlob { blob, open } => {
                self.blobs.set_loose(blob, Some(if open { Loose::Open } else { Loose::Shut }));
            }
            CatalogChange::LooseBlobGone { blob } => self.blobs.set_loose(blob, None),
        }
    }
}

#[cfg(test)]
mod tests;
