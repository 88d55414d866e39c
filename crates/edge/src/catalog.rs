//! The edge's copy of the catalogue: who may read which blob, what channels offer, which releases there are.
//!
//! Control tells changes through [`crate::copy`]; requests look things up. No lock is held longer than one lookup or
//! one change of one entry, none across an await, and no guard leaves this file. It must not decide: `core::entitle` does.

mod answer;
mod blobs;
mod offered;

pub use answer::{Document, Found};
pub use offered::Offered;

use self::blobs::Blobs;
use self::offered::{Standing, Told};
use penstock_core::account::{Carries, Wanted};
use penstock_core::api::{CatalogAnswer, ReleaseAnswer};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{AccessClass, BlobMember, CatalogChange, Offer, Product, Release, ReleaseState};
use penstock_core::channel::{ChannelPolicy, Registered, must_update};
use penstock_core::entitle::BlobUse;
use penstock_core::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId, Version};
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    /// Every release by its number. Numbers are never reused.
    releases: Vec<ReleaseSeat>,
    /// The parts of releases that terms can tell apart, by number, which is what blobs refer to. Never reused either.
    parts: Vec<ReleasePart>,
}

/// Content of one component and access group of a release, in blobs that hold nothing else or in such that do.
#[derive(Debug)]
struct ReleasePart {
    release: u32,
    component: ComponentName,
    group: AccessGroup,
    whole: bool,
}

/// What is known below one product's name. Releases, offers and policy may be told before the product itself.
#[derive(Debug, Default)]
struct Shelfmark {
    product: Option<Product>,
    releases: BTreeMap<Version, BTreeMap<Platform, u32>>,
    offers: BTreeMap<ChannelName, BTreeMap<Platform, Arc<Told>>>,
    policies: BTreeMap<ChannelName, BTreeMap<Platform, Arc<ChannelPolicy>>>,
    /// The product's key rotations, as far as an offer told of them: the list only ever grows.
    rotations: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct ReleaseSeat {
    release: Release,
    document: Document,
    /// Channels that it was ever offered on.
    channels: BTreeSet<ChannelName>,
    /// Numbers of its parts.
    parts: Vec<u32>,
}

impl EdgeCatalog {
    /// Calls `decide` with what is known of a blob: whether it lies open, and its uses, newest release first, because that
    /// one is the most likely to be live.
    pub fn with_blob<T>(&self, blob: &BlobId, decide: impl FnOnce(bool, Uses<'_>) -> T) -> T {
        let entry = self.blobs.get(blob).unwrap_or_default();
        let names = self.names();
        decide(entry.loose == Some(Loose::Open), Uses { names: &names, parts: entry.uses.iter().rev() })
    }

    /// Calls `decide` with a product, when it is known, and what terms may say of one of its releases: of the product alone
    /// while there is no such release, or several and no platform was named.
    pub fn with_release<T>(
        &self,
        product: &ProductId,
        version: &Version,
        platform: Option<&Platform>,
        decide: impl FnOnce(Option<(&Product, Wanted<'_>)>) -> T,
    ) -> T {
        let names = self.names();
        let Some(mark) = names.products.get(product) else { return decide(None) };
        let found = mark.releases.get(version).map(|platforms| Found::choose(platforms, platform));
        let seat = match found {
            Some(Found::One(number)) => names.releases.get(*number as usize),
            _ => None,
        };
        let any = Platform::any();
        let release = seat.map(|seat| &seat.release);
        let wanted = Wanted {
            product,
            platform: release.map_or(platform.unwrap_or(&any), |release| &release.platform),
            component: None,
            group: None,
            channels: seat.map(|seat| &seat.channels),
            registered: release.map(|release| release.registered),
            state: release.map_or(ReleaseState::Live, |release| release.state),
            carries: Carries::OwnContent,
        };
        decide(mark.product.as_ref().map(|product| (product, wanted)))
    }

    /// Calls `decide` with what a channel offers, or any channel where none is named. The platform is the one that
    /// [`Self::offered`] chooses, so that nobody is told of one by not naming it.
    pub fn with_channel<T>(
        &self,
        product: &ProductId,
        channel: Option<&ChannelName>,
        platform: Option<&Platform>,
        decide: impl FnOnce(Option<(&Product, Wanted<'_>)>) -> T,
    ) -> T {
        let names = self.names();
        let Some(mark) = names.products.get(product) else { return decide(None) };
        let offers = channel.and_then(|channel| mark.offers.get(channel));
        let chosen = match offers.map(|platforms| Found::choose(platforms, platform)) {
            Some(Found::One(told)) => Some(told.platform()),
            _ => platform,
        };
        let any = Platform::any();
        let channels = channel.map(|channel| BTreeSet::from([channel.clone()]));
        let wanted = Wanted {
            product,
            platform: chosen.unwrap_or(&any),
            component: None,
            group: None,
            channels: channels.as_ref(),
            registered: None,
            state: ReleaseState::Live,
            carries: Carries::OwnContent,
        };
        decide(mark.product.as_ref().map(|product| (product, wanted)))
    }

    /// What a channel offers for a platform, to a caller that has a version. Without a platform: for `any`, else for the
    /// only one there is.
    #[must_use]
    pub fn offered(
        &self,
        product: &ProductId,
        channel: &ChannelName,
        platform: Option<&Platform>,
        have: Option<&Version>,
    ) -> Found<Offered> {
        let names = self.names();
        let Some(mark) = names.products.get(product) else { return Found::Unknown };
        let Some(platforms) = mark.offers.get(channel) else { return Found::Unknown };
        Found::choose(platforms, platform).and_then(|told| {
            let registered = |version: &Version| names.registered(product, version, told.platform());
            // Whoever has a version that nobody knows here is not told to leave it.
            let limits = told.minimum().and_then(|minimum| Some((registered(have?)?, registered(&minimum.version)?)));
            let standing = |version: &Version| Standing {
                state: registered(version).map_or(ReleaseState::Live, |one| one.release.state),
                must_update: limits.is_some_and(|(have, minimum)| must_update(have, minimum, version)),
            };
            let target = standing(&told.offer.version);
            let fallback = told.offer.fallback.as_ref().map_or(target, |fallback| standing(&fallback.version));
            Found::One(Offered { told: Arc::clone(told), target, fallback })
        })
    }

    /// A release for a platform, chosen as [`Self::offered`] does.
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

    /// Takes a release. Gives the parts that blobs referred to before, if its manifest changed, and the part of each
    /// member.
    fn set_release(
        &self,
        release: Release,
        members: Vec<BlobMember>,
        mut channels: BTreeSet<ChannelName>,
    ) -> (Vec<u32>, Vec<(BlobId, u32)>) {
        let mut names = self.names_mut();
        let names = &mut *names;
        let mark = names.products.entry(release.product.clone()).or_default();
        let document = render_release(&release, &mark.rotations);
        let is_offered = |offers: &BTreeMap<Platform, Arc<Told>>| {
            let told = offers.get(&release.platform);
            told.is_some_and(|told| told.versions().any(|version| *version == release.version))
        };
        channels.extend(mark.offers.iter().filter(|(_, offers)| is_offered(offers)).map(|(name, _)| name.clone()));
        let known = mark.releases.get(&release.version).and_then(|platforms| platforms.get(&release.platform)).copied();
        let mut seat = ReleaseSeat { release, document, channels, parts: Vec::new() };
        let mut before = Vec::new();
        let number = match known.and_then(|known| Some((known, names.releases.get_mut(known as usize)?))) {
            Some((known, old)) => {
                seat.channels.append(&mut old.channels);
                if old.release.manifest == seat.release.manifest {
                    seat.parts = std::mem::take(&mut old.parts);
                    *old = seat;
                    known
                } else {
                    before = std::mem::take(&mut old.parts);
                    names.seat(seat)
                }
            }
            None => names.seat(seat),
        };
        (before, names.uses(number, members))
    }

    fn set_offer(&self, offer: &Offer) {
        let mut names = self.names_mut();
        let names = &mut *names;
        let mark = names.products.entry(offer.product.clone()).or_default();
        let policy = mark.policies.get(&offer.channel).and_then(|platforms| platforms.get(&offer.platform));
        let told = Arc::new(Told::new(offer.clone(), policy.cloned()));
        mark.offers.entry(offer.channel.clone()).or_default().insert(offer.platform.clone(), Arc::clone(&told));
        for version in told.versions() {
            let number = mark.releases.get(version).and_then(|platforms| platforms.get(&offer.platform));
            if let Some(seat) = number.and_then(|number| names.releases.get_mut(*number as usize)) {
                seat.channels.insert(offer.channel.clone());
            }
        }
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

    /// Takes a channel's policy in place of the one before. It may come before the offer that it is about.
    fn set_policy(&self, product: ProductId, channel: ChannelName, platform: Platform, policy: ChannelPolicy) {
        let policy = Arc::new(policy);
        let mut names = self.names_mut();
        let mark = names.products.entry(product).or_default();
        if let Some(told) = mark.offers.get_mut(&channel).and_then(|platforms| platforms.get_mut(&platform)) {
            *told = Arc::new(Told::new(told.offer.clone(), Some(Arc::clone(&policy))));
        }
        mark.policies.entry(channel).or_default().insert(platform, policy);
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

/// The uses of one blob.
#[derive(Debug, Clone)]
pub struct Uses<'a> {
    names: &'a Names,
    parts: std::iter::Rev<std::slice::Iter<'a, u32>>,
}

impl<'a> Iterator for Uses<'a> {
    type Item = BlobUse<'a>;

    fn next(&mut self) -> Option<BlobUse<'a>> {
        self.parts.by_ref().find_map(|&number| {
            let part = self.names.parts.get(number as usize)?;
            let seat = self.names.releases.get(part.release as usize)?;
            let release = &seat.release;
            Some(BlobUse {
                product: self.names.products.get(&release.product).and_then(|mark| mark.product.as_ref()),
                platform: &release.platform,
                component: &part.component,
                group: &part.group,
                channels: &seat.channels,
                registered: release.registered,
                state: release.state,
                whole: part.whole,
            })
        })
    }
}

fn number_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Names {
    /// Gives a release its number.
    fn seat(&mut self, seat: ReleaseSeat) -> u32 {
        let number = number_of(self.releases.len());
        let mark = self.products.entry(seat.release.product.clone()).or_default();
        let platforms = mark.releases.entry(seat.release.version.clone()).or_default();
        platforms.insert(seat.release.platform.clone(), number);
        self.releases.push(seat);
        number
    }

    /// The part of a release that each of its blobs belongs to.
    fn uses(&mut self, number: u32, members: Vec<BlobMember>) -> Vec<(BlobId, u32)> {
        let Some(seat) = self.releases.get_mut(number as usize) else { return Vec::new() };
        let mut numbers = HashMap::new();
        for &at in &seat.parts {
            if let Some(part) = self.parts.get(at as usize) {
                numbers.insert((part.component.clone(), part.group.clone(), part.whole), at);
            }
        }
        let mut uses = Vec::with_capacity(members.len());
        for BlobMember { blob, component, group, whole } in members {
            let part = *numbers.entry((component, group, whole)).or_insert_with_key(|(component, group, whole)| {
                let at = number_of(self.parts.len());
                let (component, group) = (component.clone(), group.clone());
                self.parts.push(ReleasePart { release: number, component, group, whole: *whole });
                seat.parts.push(at);
                at
            });
            uses.push((blob, part));
        }
        uses
    }

    fn registered(&self, product: &ProductId, version: &Version, platform: &Platform) -> Option<Registered<'_>> {
        let order = *self.products.get(product)?.releases.get(version)?.get(platform)?;
        self.releases.get(order as usize).map(|seat| Registered { release: &seat.release, order })
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

impl EdgeCatalog {
    /// Takes one change. It is visible to every later request when this returns; changes come in order and may repeat.
    pub fn apply(&self, change: CatalogChange) {
        match change {
            CatalogChange::Product(product) => self.set_product(product),
            CatalogChange::Release { release, members, channels } => {
                let (before, uses) = self.set_release(release, members, channels);
                if !before.is_empty() {
                    self.blobs.forget(&before);
                }
                for (blob, part) in uses {
                    self.blobs.add_use(blob, part);
                }
            }
            CatalogChange::Offer(offer) => self.set_offer(&offer),
            CatalogChange::ChannelPolicy { product, platform, channel, rollout, minimum } => {
                self.set_policy(product, channel, platform, ChannelPolicy { rollout, minimum });
            }
            CatalogChange::LooseBlob { blob, open } => {
                self.blobs.set_loose(blob, Some(if open { Loose::Open } else { Loose::Shut }));
            }
            CatalogChange::LooseBlobGone { blob } => self.blobs.set_loose(blob, None),
            // Kept beside the catalogue: see `copy`.
            CatalogChange::Account { .. }
            | CatalogChange::AccountsSnapshot { .. }
            | CatalogChange::Embargo(_)
            | CatalogChange::Segment(_)
            | CatalogChange::SegmentGone { .. }
            | CatalogChange::TokensRevoked { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
