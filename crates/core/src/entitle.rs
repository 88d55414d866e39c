//! May this caller read this? The decision, pure, and the proof that it was made.
//!
//! A [`Grant`] has private fields and is made here only; the shelf of an edge opens a blob for a `&Grant` and for
//! nothing else. The order is fixed: token, account, embargo, access class, holding (what, where, when), agreement,
//! device, release, and last whether what all this rests on is fresh enough. Every refusal has one stable code, and a [`Witness`] may look on, which is how `explain` tells the
//! whole walk without a second implementation. It must not know how a token was verified or where facts come from.
//!
//! What an account may not know of looks unknown: a closed product is told apart from none only by those who hold it.

mod refusal;
mod walk;

pub use refusal::{Refusal, TokenFault};
pub use walk::{Silent, Step, Walk, Walked, Witness};

use crate::account::{
    AccountFacts, AccountKey, Ask, Asking, Carries, DeviceKey, Gap, Holding, Standing, TokenKey, Wanted,
};
use crate::blob::BlobId;
use crate::catalog::{AccessClass, Product, ReleaseState};
use crate::grace::{Bound, Freshness};
use crate::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId};
use crate::link::PathPrefix;
use crate::place::{Embargo, Ruling, Whereabouts};
use crate::time::UnixSeconds;
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whether shared caches may keep an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Open content that may be sent anywhere: `Cache-Control: public`.
    Public,
    /// Content that depends on the caller or on where it is: `private`.
    Private,
}

/// The decision that a request may read one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    blob: BlobId,
    visibility: Visibility,
}

impl Grant {
    /// The blob that may be read.
    #[must_use]
    pub const fn blob(&self) -> BlobId {
        self.blob
    }
    /// Whether shared caches may keep the answer.
    #[must_use]
    pub const fn visibility(&self) -> Visibility {
        self.visibility
    }
}

/// The decision that a request may learn about a product (its channels and releases).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductGrant {
    visibility: Visibility,
}

impl ProductGrant {
    /// Whether shared caches may keep the answer.
    #[must_use]
    pub const fn visibility(&self) -> Visibility {
        self.visibility
    }
}

/// One use of a blob: a release that it is part of, and as what.
#[derive(Debug, Clone, Copy)]
pub struct BlobUse<'a> {
    /// The product; `None` while an edge was told of the release and not yet of its product.
    pub product: Option<&'a Product>,
    /// What the release runs on.
    pub platform: &'a Platform,
    /// The component whose content it carries.
    pub component: &'a ComponentName,
    /// Who may read it.
    pub group: &'a AccessGroup,
    /// Channels that the release was ever offered on.
    pub channels: &'a BTreeSet<ChannelName>,
    /// When the release was registered.
    pub registered: UnixSeconds,
    /// Whether it may still be fetched.
    pub state: ReleaseState,
    /// Whether everything in the blob is content of that release.
    pub whole: bool,
}

impl<'a> BlobUse<'a> {
    /// What it is to terms; `None` while the product is not known.
    fn wanted(&self) -> Option<(&'a Product, Wanted<'a>)> {
        let product = self.product?;
        let wanted = Wanted {
            product: &product.id,
            platform: self.platform,
            component: Some(self.component),
            group: Some(self.group),
            channels: Some(self.channels),
            registered: Some(self.registered),
            state: self.state,
            carries: Carries::OwnContent,
        };
        Some((product, wanted))
    }
}

/// A verified token and what is known of its account. Whoever makes one has verified the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passport {
    /// The account.
    pub account: AccountKey,
    /// When the token was issued, if it says so.
    pub issued: Option<UnixSeconds>,
    /// From when on it is worth nothing.
    pub expires: UnixSeconds,
    /// What it is for, where that is less than all that the account holds. Boxed: an edge keeps millions of passports, and
    /// few are narrow.
    pub narrowing: Option<Box<Narrowing>>,
    /// The device that it names.
    pub device: Option<DeviceKey>,
    /// What it can be revoked by, if it has an id.
    pub token: Option<TokenKey>,
    /// Whether it was revoked by that.
    pub is_revoked: bool,
    /// What is known of the account; `None` when it is not known here.
    pub facts: Option<Arc<AccountFacts>>,
}

/// What a token or a link is for, where that is less than all that its account holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Narrowing {
    /// The only products; `None` for all.
    pub products: Option<Box<[ProductId]>>,
    /// The only components beside the base, likewise.
    pub components: Option<Box<[ComponentName]>>,
    /// The only paths: those of a link. Whoever makes a [`Caller`] of the passport has compared them.
    pub path: Option<PathPrefix>,
}

impl Passport {
    /// What it is for, where that is narrow.
    #[must_use]
    pub fn narrowing(&self) -> Option<&Narrowing> {
        self.narrowing.as_deref()
    }

    fn is_for(&self, product: &ProductId) -> bool {
        let only = self.narrowing().and_then(|narrowing| narrowing.products.as_ref());
        only.is_none_or(|only| only.contains(product))
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Caller<'a> {
    /// Somebody without a token.
    Nobody,
    /// Somebody with a token that is worth nothing, and why.
    Faulty(TokenFault),
    /// Somebody with a link that is good for other paths.
    Elsewhere,
    /// Somebody known.
    Known(&'a Passport),
}

/// The circumstances of a decision.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The moment.
    pub now: UnixSeconds,
    /// Where the caller is, as far as known.
    pub place: Whereabouts<'a>,
    /// The embargo policy.
    pub embargo: &'a Embargo,
    /// How old all that is known may be, and is.
    pub freshness: Freshness,
}

/// The answer to a question of access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<G> {
    /// It may; the grant proves it.
    Allow(G),
    /// It may not.
    Refuse(Refusal),
}

/// May this caller read this blob? One use that allows it is enough; of several refusals the one counts that helps the
/// caller most.
///
/// Where terms name channels or platforms, a use by a release that only a part of the blob is content of does not allow it
/// by itself: the same terms must reach a release that all of it is content of, be that one withdrawn or not.
pub fn decide_blob<'a>(
    blob: BlobId,
    is_loose_open: bool,
    uses: impl IntoIterator<Item = BlobUse<'a>, IntoIter: Clone>,
    caller: Caller<'_>,
    scene: &Scene<'_>,
    witness: &mut impl Witness,
) -> Verdict<Grant> {
    if is_loose_open {
        witness.saw(Step::Loose, || "the blob was added as open".to_owned(), None);
        return Verdict::Allow(Grant { blob, visibility: Visibility::Public });
    }
    let mut refusal = Refusal::Unknown;
    let uses = uses.into_iter();
    // Gathered and answered once: a pack may be used by thousands of releases, and somebody may hold much.
    let whole: OnceCell<Vec<Wanted<'a>>> = OnceCell::new();
    let answers: RefCell<BTreeMap<*const Holding, bool>> = RefCell::default();
    let some_whole = |holding: &Holding, is_so: &mut Ask<'_>| {
        let gather = || uses.clone().filter(|one| one.whole).filter_map(|one| Some(one.wanted()?.1)).collect();
        let find = || whole.get_or_init(gather).iter().any(is_so);
        *answers.borrow_mut().entry(std::ptr::from_ref(holding)).or_insert_with(find)
    };
    for one in uses.clone() {
        let Some((product, mut wanted)) = one.wanted() else { continue };
        if !one.whole {
            wanted.carries = Carries::OthersToo(&some_whole);
        }
        match decide(product, &wanted, caller, scene, witness) {
            Ok(visibility) => return Verdict::Allow(Grant { blob, visibility }),
            Err(found) => refusal = refusal.max(found),
        }
    }
    Verdict::Refuse(refusal)
}

/// May this caller learn about a product: what a channel of it offers, or a release? `None` when there is no such product
/// here.
pub fn decide_product(
    product: Option<(&Product, Wanted<'_>)>,
    caller: Caller<'_>,
    scene: &Scene<'_>,
    witness: &mut impl Witness,
) -> Verdict<ProductGrant> {
    let Some((product, wanted)) = product else { return Verdict::Refuse(Refusal::Unknown) };
    match decide(product, &wanted, caller, scene, witness) {
        Ok(visibility) => Verdict::Allow(ProductGrant { visibility }),
        Err(refusal) => Verdict::Refuse(refusal),
    }
}

/// One product, one question. The walk of DESIGN's decision order.
fn decide(
    product: &Product,
    wanted: &Wanted<'_>,
    caller: Caller<'_>,
    scene: &Scene<'_>,
    witness: &mut impl Witness,
) -> Result<Visibility, Refusal> {
    let walked = walk(product, wanted, caller, scene, witness);
    if product.access != AccessClass::Closed || walked.is_ok() {
        return walked;
    }
    // To those who do not hold it, a closed product looks like none, whatever else would stand in their way.
    let is_named = match caller {
        Caller::Known(passport) => passport.facts.as_ref().is_some_and(|facts| {
            let names_it = |holding: &Holding| holding.terms.product == product.id;
            let is_good = is_current(passport, scene.now) && !passport.is_revoked && !is_called_back(passport);
            is_good
                && passport.is_for(&product.id)
                && facts.standing == Standing::Active
                && facts.holdings.iter().any(names_it)
        }),
        Caller::Nobody | Caller::Faulty(_) | Caller::Elsewhere => false,
    };
    if is_named {
        return walked;
    }
    witness.saw(
        Step::Closed,
        || "a closed product looks unknown to whoever does not hold it".to_owned(),
        Some(Refusal::Unknown),
    );
    Err(Refusal::Unknown)
}

fn walk(
    product: &Product,
    wanted: &Wanted<'_>,
    caller: Caller<'_>,
    scene: &Scene<'_>,
    witness: &mut impl Witness,
) -> Result<Visibility, Refusal> {
    let needs_token = product.access != AccessClass::Open;
    let mut known = None;
    if needs_token {
        let passport = check_token(caller, scene.now, witness)?;
        let facts = check_account(passport, witness)?;
        known = Some((passport, facts));
    }
    check_embargo(product, scene, witness)?;
    let access = product.access;
    if let Some((passport, facts)) = known {
        check_narrowing(passport, wanted, witness)?;
        witness.saw(Step::Access, || format!("{} is {access:?}", product.id), None);
        if access != AccessClass::Registered {
            check_holdings(facts, passport, wanted, scene, witness)?;
        }
    } else {
        witness.saw(Step::Access, || format!("{} is {access:?}", product.id), None);
    }
    let withdrawn = (wanted.state == ReleaseState::Withdrawn).then_some(Refusal::Withdrawn);
    witness.saw(Step::Release, || format!("the release is {:?}", wanted.state), withdrawn);
    if let Some(refusal) = withdrawn {
        return Err(refusal);
    }
    check_freshness(access, scene.freshness, witness)?;
    let is_public = !needs_token && scene.embargo.allows_everywhere(&product.export_class);
    Ok(if is_public { Visibility::Public } else { Visibility::Private })
}

/// Comes last: what forbids is told as such, however old the knowledge of it.
fn check_freshness(access: AccessClass, freshness: Freshness, witness: &mut impl Witness) -> Result<(), Refusal> {
    let refusal = freshness.is_too_old(access).then_some(Refusal::ControlSilent);
    let age = freshness.age_seconds;
    let words = || match freshness.grace.of(access) {
        Bound::Unlimited => format!("control was heard {age} s ago, and {access:?} content is given out without it"),
        Bound::Seconds(most) => {
            format!("control was heard {age} s ago, and {access:?} content is given out for {most} s without it")
        }
    };
    witness.saw(Step::Freshness, words, refusal);
    refusal.map_or(Ok(()), Err)
}

const fn is_current(passport: &Passport, now: UnixSeconds) -> bool {
    now.0 < passport.expires.0
}

fn check_token<'a>(caller: Caller<'a>, now: UnixSeconds, witness: &mut impl Witness) -> Result<&'a Passport, Refusal> {
    let (found, words) = match caller {
        Caller::Nobody => (Err(Refusal::TokenRequired), "no token came"),
        Caller::Faulty(fault) => (Err(Refusal::Token(fault)), fault.words()),
        Caller::Elsewhere => (Err(Refusal::TokenTooNarrow), "the link is for other paths"),
        Caller::Known(passport) if !is_current(passport, now) => {
            (Err(Refusal::Token(TokenFault::Expired)), TokenFault::Expired.words())
        }
        Caller::Known(passport) if passport.is_revoked => (Err(Refusal::TokenRevoked), "it was revoked"),
        Caller::Known(passport) if is_called_back(passport) => {
            (Err(Refusal::TokenRevoked), "its account called it back")
        }
        Caller::Known(passport) => (Ok(passport), "the token is good"),
    };
    witness.saw(Step::Token, || words.to_owned(), found.as_ref().err().copied());
    found
}

/// Whether the account ended all tokens of the time when this one was issued. One that does not say when it was issued
/// may be as old as any.
fn is_called_back(passport: &Passport) -> bool {
    let from = passport.facts.as_ref().and_then(|facts| facts.tokens_from);
    from.is_some_and(|from| passport.issued.is_none_or(|issued| issued < from))
}

fn check_account<'a>(passport: &'a Passport, witness: &mut impl Witness) -> Result<&'a AccountFacts, Refusal> {
    let found = match &passport.facts {
        None => Err(Refusal::AccountUnknown),
        Some(facts) => match facts.standing {
            Standing::Active => Ok(&**facts),
            Standing::Suspended => Err(Refusal::AccountSuspended),
            Standing::OnHold => Err(Refusal::AccountOnHold),
            Standing::Denied => Err(Refusal::AccountDenied),
        },
    };
    let standing =
        || passport.facts.as_ref().map_or("not known here".to_owned(), |facts| format!("{:?}", facts.standing));
    witness.saw(
        Step::Account,
        || format!("account {} is {}", passport.account, standing()),
        found.as_ref().err().copied(),
    );
    found
}

fn check_embargo(product: &Product, scene: &Scene<'_>, witness: &mut impl Witness) -> Result<(), Refusal> {
    let class = &product.export_class;
    // Nobody needs to know where the caller is to send it what may be sent anywhere.
    let ruling = if scene.embargo.allows_everywhere(class) {
        Ruling::Allow
    } else {
        scene.embargo.ruling(class, scene.place.place().as_ref())
    };
    let refusal = match ruling {
        Ruling::Allow => None,
        Ruling::Hold => Some(Refusal::EmbargoHold),
        Ruling::Deny => Some(Refusal::Embargo),
    };
    let place = || scene.place.place().map_or("a place that nobody knows".to_owned(), |place| place.0.to_string());
    let words = || format!("export class {class:?} to {}: {ruling:?}, policy {}", place(), scene.embargo.version);
    witness.saw(Step::Embargo, words, refusal);
    refusal.map_or(Ok(()), Err)
}

fn check_narrowing(passport: &Passport, wanted: &Wanted<'_>, witness: &mut impl Witness) -> Result<(), Refusal> {
    let Some(narrowing) = passport.narrowing() else { return Ok(()) };
    let lacks_product = !passport.is_for(wanted.product);
    let lacks_component = match (&narrowing.components, wanted.component) {
        (Some(only), Some(component)) => *component != ComponentName::base() && !only.contains(component),
        _ => false,
    };
    let refusal = (lacks_product || lacks_component).then_some(Refusal::TokenTooNarrow);
    if narrowing.products.is_some() || narrowing.components.is_some() {
        let words = if refusal.is_some() { "the token is not for this" } else { "the token is for this, too" };
        witness.saw(Step::Narrowing, || words.to_owned(), refusal);
    }
    refusal.map_or(Ok(()), Err)
}

fn check_holdings(
    facts: &AccountFacts,
    passport: &Passport,
    wanted: &Wanted<'_>,
    scene: &Scene<'_>,
    witness: &mut impl Witness,
) -> Result<(), Refusal> {
    let asking = Asking { now: scene.now, place: scene.place, device: passport.device };
    let mut nearest = Gap::Product;
    for holding in &facts.holdings {
        match facts.covers(holding, wanted, &asking) {
            Ok(()) => {
                witness.saw(Step::Holding, || format!("a holding of {} covers it", wanted.product), None);
                return Ok(());
            }
            Err(gap) => {
                if gap > Gap::Product {
                    let words = || format!("a holding of {} does not cover it: {}", wanted.product, gap.words());
                    witness.saw(Step::Holding, words, Some(Refusal::of_gap(gap)));
                }
                nearest = nearest.max(gap);
            }
        }
    }
    let refusal = Refusal::of_gap(nearest);
    if nearest == Gap::Product {
        witness.saw(Step::Holding, || format!("the account holds nothing of {}", wanted.product), Some(refusal));
    }
    Err(refusal)
}

#[cfg(test)]
mod tests;
