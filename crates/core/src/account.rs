//! What an edge knows of an account: under a pseudonym, its standing and what it holds.
//!
//! Owns pseudonyms, terms and holdings, and whether a holding covers a release. It must not know a name, an address or
//! a token: an edge that is stolen tells who owns what only to somebody who can already name the account.

use crate::catalog::ReleaseState;
use crate::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId};
use crate::limits::SUBJECT_BYTES_MAX;
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Holdings of one account. More is a mistake of an import, and each is looked at for each decision.
pub const HOLDINGS_MAX: usize = 1024;
/// Devices of one account.
pub const DEVICES_MAX: usize = 64;

/// What makes a fleet's pseudonyms its own: a secret of control and its edges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PseudonymKey([u8; 32]);

impl PseudonymKey {
    /// Takes 32 random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// The bytes, for the files and answers that carry them.
    #[must_use]
    pub const fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
    /// The pseudonym of an account: the first 128 bits of BLAKE3 keyed with this, over its id.
    #[must_use]
    pub fn account(&self, id: &str) -> AccountKey {
        AccountKey(first_bytes(&blake3::keyed_hash(&self.0, id.as_bytes())))
    }
    /// The pseudonym of a device, as bytes that no account's id can be.
    #[must_use]
    pub fn device(&self, id: &str) -> DeviceKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"\0device\0").update(id.as_bytes());
        DeviceKey(first_bytes(&hasher.finalize()))
    }
    /// The pseudonym of a token: of its issuer and its id (claims `iss` and `jti`), whose ids are its own.
    #[must_use]
    pub fn token(&self, issuer: &str, id: &str) -> TokenKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"\0token\0").update(&(issuer.len() as u64).to_le_bytes());
        hasher.update(issuer.as_bytes()).update(id.as_bytes());
        TokenKey(first_bytes(&hasher.finalize()))
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey(****)")
    }
}

fn first_bytes<const N: usize>(hash: &blake3::Hash) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&hash.as_bytes()[..N]);
    first
}

/// The name of an account: claim `sub` of its tokens. Whatever the studio uses, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(String);

/// Why a text is no account's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an account's name has 1 to {max} bytes and no control characters", max = SUBJECT_BYTES_MAX)]
pub struct AccountIdError;

impl AccountId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for AccountId {
    type Err = AccountIdError;
    fn from_str(text: &str) -> Result<Self, AccountIdError> {
        let is_name = !text.is_empty() && text.len() <= SUBJECT_BYTES_MAX && !text.chars().any(char::is_control);
        if is_name { Ok(Self(text.to_owned())) } else { Err(AccountIdError) }
    }
}

crate::text_schema::text_schema!(AccountId, "AccountId", r"^[^\x00-\x1f\x7f-\x9f]*$", SUBJECT_BYTES_MAX);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for AccountId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An account's pseudonym: 128 bits, so that no two of a billion are alike by chance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey(pub [u8; 16]);

/// A device's pseudonym: 64 bits, compared within one account only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey(pub [u8; 8]);

/// A token's pseudonym: 128 bits, so that no token is revoked by chance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey(pub [u8; 16]);

macro_rules! hexadecimal {
    ($name:ident) => {
        crate::text_schema::text_schema!($name, stringify!($name), "^([0-9a-f]{2})+$", 32);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                let mut key = Self(Default::default());
                let wrong = || serde::de::Error::custom(concat!(stringify!($name), " is not lowercase hexadecimal"));
                let (pairs, rest) = text.as_bytes().as_chunks::<2>();
                if pairs.len() != key.0.len() || !rest.is_empty() {
                    return Err(wrong());
                }
                for (byte, pair) in key.0.iter_mut().zip(pairs) {
                    let digit = |digit: u8| match digit {
                        b'0'..=b'9' => Some(digit - b'0'),
                        b'a'..=b'f' => Some(digit - b'a' + 10),
                        _ => None,
                    };
                    let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(wrong()) };
                    *byte = high << 4 | low;
                }
                Ok(key)
            }
        }
    };
}

hexadecimal!(AccountKey);
hexadecimal!(DeviceKey);
hexadecimal!(TokenKey);

/// Whether an account is served at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// As usual.
    #[default]
    Active,
    /// Blocked by the studio, until it says otherwise.
    Suspended,
    /// A person has to look at the result of a screening first.
    OnHold,
    /// Screening ended in a refusal.
    Denied,
}

/// What a holding's end means for downloads.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// Releases that were registered by the end stay readable, later ones do not.
    #[default]
    Restrict,
    /// Everything stays readable: the end counts for other systems only.
    Maintain,
    /// Nothing is readable after the end and the days of grace.
    Revoke,
}

/// What is the same for everyone who got a product on the same conditions. Interned: a million holdings share a few.
///
/// An empty set means no limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What may be read.
    pub product: ProductId,
    /// What the end of the holding means.
    #[serde(default)]
    pub expiry: Expiry,
    /// Time after the end in which everything goes on, in seconds.
    #[serde(default)]
    pub grace_seconds: u64,
    /// Releases that were offered on one of these channels.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub channels: BTreeSet<ChannelName>,
    /// Releases for one of these platforms, or for any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub platforms: BTreeSet<Platform>,
    /// These components; the base component is always among them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub components: BTreeSet<ComponentName>,
    /// Access groups beside the base group, which every holder may read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<AccessGroup>,
    /// Where it may be downloaded: countries such as `DE` or subdivisions such as `US-CA`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub regions: BTreeSet<crate::place::Region>,
    /// The agreement that must have been accepted, such as `eula@3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<String>,
    /// Whether only the account's registered devices may download.
    #[serde(default)]
    pub device_bound: bool,
}

impl Terms {
    /// A product without any limit.
    #[must_use]
    pub fn of(product: ProductId) -> Self {
        Self {
            product,
            expiry: Expiry::default(),
            grace_seconds: 0,
            channels: BTreeSet::new(),
            platforms: BTreeSet::new(),
            components: BTreeSet::new(),
            groups: BTreeSet::new(),
            regions: BTreeSet::new(),
            agreement: None,
            device_bound: false,
        }
    }

    /// Whether they speak of releases for a platform.
    #[must_use]
    pub fn fit_platform(&self, platform: &Platform) -> bool {
        self.platforms.is_empty() || *platform == Platform::any() || self.platforms.contains(platform)
    }

    /// Whether they speak of releases that were ever offered on these channels.
    #[must_use]
    pub fn fit_channels(&self, offered: &BTreeSet<ChannelName>) -> bool {
        self.channels.is_empty() || !offered.is_disjoint(&self.channels)
    }
}

/// A product that an account got, on some terms, for some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// On which terms. Shared between accounts by whoever keeps many.
    pub terms: std::sync::Arc<Terms>,
    /// From when on.
    pub starts: UnixSeconds,
    /// Until when; `None` is for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<UnixSeconds>,
}

/// An account as edges see it. Most have a few holdings and nothing else, and there are millions: hence [`Extras`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountFacts {
    /// Whether it is served.
    #[serde(default)]
    pub standing: Standing,
    /// Tokens issued before this moment are worth nothing: "sign out everywhere".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_from: Option<UnixSeconds>,
    /// What it got, by product.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub holdings: Box<[Holding]>,
    /// What few accounts have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extras: Option<Box<Extras>>,
}

/// What few accounts have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extras {
    /// Agreements that it accepted, such as `eula@3`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub agreements: BTreeSet<String>,
    /// Its registered devices.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub devices: BTreeSet<DeviceKey>,
    /// What segments are made from, such as a tenure or a beta flag. No names, no addresses.
    #[serde(default, skip_serializing_if = "crate::segment::Attributes::is_empty")]
    pub attributes: crate::segment::Attributes,
}

/// A question about one release that a blob is a part of.
pub type Ask<'q> = dyn FnMut(&Wanted<'_>) -> bool + 'q;

/// What a blob carries, seen from one release that it is a part of.
#[derive(Clone, Copy)]
pub enum Carries<'a> {
    /// Content of this release and nothing else, or the question is not about a blob.
    OwnContent,
    /// Content of other releases, too. Tells whether some release that all of it is content of is as is asked for a holding;
    /// what is asked must depend on nothing else, as each holding's answer is kept.
    OthersToo(&'a dyn Fn(&Holding, &mut Ask<'_>) -> bool),
}

impl fmt::Debug for Carries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnContent => "OwnContent",
            Self::OthersToo(_) => "OthersToo(..)",
        })
    }
}

/// The part of a release that somebody wants to read, as far as terms speak of it.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Product.
    pub product: &'a ProductId,
    /// What the release runs on.
    pub platform: &'a Platform,
    /// The component, or `None` for what every holder reads (a channel's offer).
    pub component: Option<&'a ComponentName>,
    /// The access group, likewise.
    pub group: Option<&'a AccessGroup>,
    /// Channels that the release was ever offered on; `None` where the question is not about one release.
    pub channels: Option<&'a BTreeSet<ChannelName>>,
    /// When it was registered; `None` likewise.
    pub registered: Option<UnixSeconds>,
    /// Whether it may still be fetched.
    pub state: ReleaseState,
    /// What the blob carries that is asked for.
    pub carries: Carries<'a>,
}

/// Why a holding does not cover what is wanted. The later ones are nearer to a yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gap {
    /// It is for something else.
    Product,
    /// Its terms leave out the access group or component.
    Component,
    /// Its terms leave out the platform.
    Platform,
    /// Its terms leave out the channels that the release was offered on.
    Channel,
    /// Its terms leave out every release that all of the blob is content of.
    Content,
    /// Nobody can say where the caller is, and the terms ask.
    RegionUnknown,
    /// The caller is not where the terms allow it.
    Region,
    /// It ended.
    Ended,
    /// It begins later.
    NotStarted,
    /// An agreement was not accepted.
    Agreement,
    /// The caller named no registered device.
    Device,
}

/// The caller's side of the question.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The moment.
    pub now: UnixSeconds,
    /// Where the caller is, as far as known.
    pub place: crate::place::Whereabouts<'a>,
    /// The device that its token names.
    pub device: Option<DeviceKey>,
}

impl Gap {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Product => "it is for another product",
            Self::Component => "its terms leave out the component or its access group",
            Self::Platform => "its terms leave out the platform",
            Self::Channel => "its terms leave out every channel that the release was offered on",
            Self::Content => {
                "the blob carries content of other releases, too, which its terms leave out by channel or platform"
            }
            Self::RegionUnknown => "its terms name regions, and the caller's place is not known",
            Self::Region => "its terms name other regions",
            Self::Ended => "it ended",
            Self::NotStarted => "it has not begun",
            Self::Agreement => "an agreement was not accepted",
            Self::Device => "the caller named no registered device",
        }
    }
}

impl AccountFacts {
    /// Whether a holding covers what is wanted: `Ok`, or what stands in the way.
    ///
    /// # Errors
    /// The first [`Gap`] in the order of decision: what it is for, where, when, agreement, device.
    pub fn covers(&self, holding: &Holding, wanted: &Wanted<'_>, asking: &Asking<'_>) -> Result<(), Gap> {
        let terms = &*holding.terms;
        reaches(terms, wanted)?;
        // Without such limits whoever is owed a release is owed every earlier one of its audience.
        if !(terms.channels.is_empty() && terms.platforms.is_empty())
            && let Carries::OthersToo(some_whole) = wanted.carries
            && !some_whole(holding, &mut |whole| {
                reaches(terms, whole).is_ok() && covers_time(holding, whole, asking.now).is_ok()
            })
        {
            return Err(Gap::Content);
        }
        if !terms.regions.is_empty() {
            let place = asking.place.place().ok_or(Gap::RegionUnknown)?;
            if !terms.regions.iter().any(|region| place.is_in(region)) {
                return Err(Gap::Region);
            }
        }
        covers_time(holding, wanted, asking.now)?;
        let extras = self.extras.as_deref();
        let has_accepted = |agreement| extras.is_some_and(|extras| extras.agreements.contains(agreement));
        if terms.agreement.as_ref().is_some_and(|agreement| !has_accepted(agreement)) {
            return Err(Gap::Agreement);
        }
        let has_registered = |device| extras.is_some_and(|extras| extras.devices.contains(&device));
        if terms.device_bound && !asking.device.is_some_and(has_registered) {
            return Err(Gap::Device);
        }
        Ok(())
    }
}

/// Whether terms speak of what is wanted at all, whoever and wherever the caller is.
fn reaches(terms: &Terms, wanted: &Wanted<'_>) -> Result<(), Gap> {
    if terms.product != *wanted.product {
        return Err(Gap::Product);
    }
    let lacks_group = |group: &&AccessGroup| **group != AccessGroup::base() && !terms.groups.contains(*group);
    let lacks_component = |component: &&ComponentName| {
        !terms.components.is_empty() && **component != ComponentName::base() && !terms.components.contains(*component)
    };
    if wanted.group.as_ref().is_some_and(lacks_group) || wanted.component.as_ref().is_some_and(lacks_component) {
        return Err(Gap::Component);
    }
    if !terms.fit_platform(wanted.platform) {
        return Err(Gap::Platform);
    }
    if wanted.channels.is_some_and(|offered| !terms.fit_channels(offered)) {
        return Err(Gap::Channel);
    }
    Ok(())
}

fn covers_time(holding: &Holding, wanted: &Wanted<'_>, now: UnixSeconds) -> Result<(), Gap> {
    if now < holding.starts {
        return Err(Gap::NotStarted);
    }
    let Some(ends) = holding.ends else { return Ok(()) };
    if now < ends.plus(holding.terms.grace_seconds) {
        return Ok(());
    }
    match holding.terms.expiry {
        Expiry::Maintain => Ok(()),
        Expiry::Restrict if wanted.registered.is_none_or(|registered| registered <= ends) => Ok(()),
        Expiry::Restrict | Expiry::Revoke => Err(Gap::Ended),
    }
}
