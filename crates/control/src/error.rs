//! Why a call is refused or failed, and the one map from that to a problem code.
//!
//! Two audiences: the caller gets the code and what was wrong with the request; the log gets the
//! whole cause. A fault of ours tells the caller nothing but that it happened.

use crate::heads::DelegationError;
use crate::keys::KeyFileError;
use crate::people_error::PeopleError;
use crate::record::RecordError;
use crate::record::acting::ActingError;
use crate::registration::RegistrationError;
use crate::sql::SqlError;
use crate::token::TokenError;
use crate::walls::Stranded;
use penstock_core::account::AccountId;
use penstock_core::blob::BlobId;
use penstock_core::credential::Role;
use penstock_core::delegate::MintRefusal;
use penstock_core::id::{
    AccessGroup, ChannelName, ComponentName, CredentialName, NameError, Platform, ProductId, SegmentName, Version,
};
use penstock_core::manifest::ManifestError;
use penstock_core::reply::Problem;
use penstock_core::rollout::SteerError;
use penstock_core::trust::TrustError;
use penstock_origin::OriginError;
use std::error::Error;

/// Why a call of the admin API is refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Wrong or missing credentials.
    #[error("send the admin token, or a credential that is neither over nor revoked, as \"Authorization: Bearer …\"")]
    Credentials,
    /// The credential is good, and its role does not have this.
    #[error("a credential of role {0} may not do this: ask an owner for one that may (`penstock credential add`)")]
    Forbidden(Role),
    /// The credential is good, and not for this product.
    #[error("this credential is not for product {0}")]
    ForbiddenProduct(ProductId),
    /// The system gave no random bytes for a secret.
    #[error("no secret could be made")]
    Random(#[source] KeyFileError),
    /// No such credential.
    #[error("there is no credential {0}")]
    NoCredential(CredentialName),
    /// The credential's name was given before.
    #[error(
        "there is, or was, a credential {0}: names are not given twice, so that the audit stays plain. If its secret did not reach you, revoke it (`penstock credential rm {0}`) and take another name"
    )]
    CredentialTaken(CredentialName),
    /// What is there is not what the caller insisted on.
    #[error("it was changed meanwhile, or is not there: read it again, or leave If-Match and If-None-Match out")]
    Condition,
    /// An idempotency key that was used for something else.
    #[error("this Idempotency-Key was used with another path or body: take a new key for every new call")]
    KeyReused,
    /// A call that was done, whose answer was not kept.
    #[error("a call with this Idempotency-Key was done, and its answer is not kept: look at what is there")]
    DoneBefore,
    /// No such path.
    #[error("the admin API has no such path")]
    NoPath,
    /// The path takes other methods.
    #[error("this path takes other methods, see Allow")]
    Method,
    /// A path, query or body that cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// A name in the request is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A body or a list in it is too large.
    #[error("{what} may have at most {max}")]
    TooLarge {
        /// What of the request.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// The sender stopped sending.
    #[error("the body stopped after {0} bytes")]
    BodyStopped(u64),
    /// No such product.
    #[error("there is no product {0}: create it with `penstock product add` (POST /admin/v1/products)")]
    NoProduct(ProductId),
    /// No such account.
    #[error("there is no account {0}: create it with `penstock account add` (PUT /admin/v1/accounts/…)")]
    NoAccount(AccountId),
    /// No such entitlement.
    #[error("there is no entitlement {0}")]
    NoEntitlement(u64),
    /// No such revoked token.
    #[error("this token is not revoked here, or ended a day ago by itself")]
    NotRevoked,
    /// No such version of the embargo policy.
    #[error("the embargo policy never had version {0}")]
    NoEmbargoVersion(u64),
    /// Somebody else replaced the policy meanwhile.
    #[error("version {found} of the embargo policy is not in force, version {known} is: read it and change that")]
    EmbargoChanged {
        /// The version that was to be replaced.
        found: u64,
        /// In force.
        known: u64,
    },
    /// No such segment.
    #[error("there is no segment {0}: make it with `penstock segment set` (PUT /admin/v1/segments/…)")]
    NoSegment(SegmentName),
    /// A rollout names the segment.
    #[error("segment {segment} is named by the rollout in channel {channel} of {product}: end that first")]
    SegmentInUse {
        /// The segment.
        segment: SegmentName,
        /// Product.
        product: ProductId,
        /// Channel.
        channel: ChannelName,
    },
    /// The channel has no rollout that goes on.
    #[error("no rollout goes on in channel {channel} of {product} for platform {platform}")]
    NoRollout {
        /// Product.
        product: ProductId,
        /// Platform.
        platform: Platform,
        /// Channel.
        channel: ChannelName,
    },
    /// A channel would move while a rollout goes on.
    #[error("channel {channel} of {product} is being rolled out to {target}: finish or halt the rollout first")]
    RolloutInForce {
        /// Product.
        product: ProductId,
        /// Channel.
        channel: ChannelName,
        /// The version on its way.
        target: Version,
    },
    /// Nothing to fall back to.
    #[error("channel {0} offers nothing yet: name a fallback, or offer a release to everybody first")]
    NoFallback(ChannelName),
    /// The target is there already.
    #[error("channel {channel} offers {version} to everybody already")]
    NothingToRollOut {
        /// Channel.
        channel: ChannelName,
        /// The version.
        version: Version,
    },
    /// A rollout that cannot be steered so.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// A channel would offer what it does not support.
    #[error(
        "release {offered} was registered before {minimum}, the oldest that the channel supports: change that first"
    )]
    BelowMinimum {
        /// What would be offered.
        offered: Version,
        /// The oldest supported.
        minimum: Version,
    },
    /// This node has no edge that decides.
    #[error("this node serves no players and cannot explain: ask an edge")]
    NoExplainer,
    /// No such release.
    #[error("product {product} has no release {version} for platform {platform}")]
    NoRelease {
        /// Product.
        product: ProductId,
        /// Platform.
        platform: Platform,
        /// Version.
        version: Version,
    },
    /// No such channel.
    #[error("product {product} offers nothing in channel {channel} for platform {platform}")]
    NoChannel {
        /// Product.
        product: ProductId,
        /// Platform.
        platform: Platform,
        /// Channel.
        channel: ChannelName,
    },
    /// A blob that is needed and not stored here.
    #[error("blob {0} is not stored here: upload it first")]
    NoBlob(BlobId),
    /// A blob that is asked for, or to be removed, and not stored here.
    #[error("blob {0} is not stored here")]
    BlobAbsent(BlobId),
    /// A part whose stored length differs from the signed root's.
    #[error("part {blob} is stored with {stored} bytes, the manifest says {signed}")]
    PartSize {
        /// The part.
        blob: BlobId,
        /// In the store.
        stored: u64,
        /// In the root.
        signed: u64,
    },
    /// A registration that does not hold.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// A delegation that does not let this node sign.
    #[error(transparent)]
    Delegation(#[from] DelegationError),
    /// The version is taken by other content.
    #[error(
        "release {version} of {product} for {platform} is registered with another {what}: a version never changes, choose a new one"
    )]
    Registered {
        /// Product.
        product: ProductId,
        /// Platform.
        platform: Platform,
        /// Version.
        version: Version,
        /// Manifest or list of blobs.
        what: &'static str,
    },
    /// Reuse would let more people read a blob than were owed it.
    #[error(
        "blob {blob} belongs to {owner}: referring to it here would let others read it; publish this content in packs of its own"
    )]
    Audience {
        /// The blob.
        blob: BlobId,
        /// Who may read it, and a release that refers to it. Boxed, because it is four names.
        owner: Box<BlobOwner>,
    },
    /// As [`Self::Audience`], to somebody who may not know whose it is.
    #[error("blob {0} is not this product's: publish this content in packs of its own")]
    AudienceElsewhere(BlobId),
    /// The blob is part of a release.
    #[error("blob {blob} is part of release {version} of {product}")]
    InUse {
        /// The blob.
        blob: BlobId,
        /// Product.
        product: ProductId,
        /// Version.
        version: Version,
    },
    /// A channel would offer a release that was taken back.
    #[error("release {0} is withdrawn: restore it before offering it")]
    OffersWithdrawn(Version),
    /// A channel would offer a release that this node cannot serve.
    #[error("release {version} lacks blob {example} on this node: publish it again before offering it")]
    OffersIncomplete {
        /// Version.
        version: Version,
        /// A blob that is missing.
        example: BlobId,
    },
    /// A channel would offer a release that some who are limited to it could not install.
    #[error(transparent)]
    Stranded(Box<Stranded>),
    /// The product has no publisher or delegation yet.
    #[error("product {0} has no release yet, so there is no publisher to follow")]
    NoPublisher(ProductId),
    /// A rotation that is not one.
    #[error("the rotation is refused")]
    Rotation(#[source] TrustError),
    /// A rotation that leads nowhere.
    #[error("the rotation is not signed by the keys in force ({0}), or names the same keys again")]
    RotationStart(String),
    /// Too many rotations.
    #[error("product {0} was rotated as often as is possible")]
    RotationsFull(ProductId),
    /// Something about users, seats, packages, customers or allocations.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// A token that a company or reseller may not mint.
    #[error(transparent)]
    Mint(#[from] MintRefusal),
    /// A token that is not minted.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// All transfers are busy.
    #[error("too many uploads and downloads at once")]
    Busy,
    /// Nobody else can follow.
    #[error("too many edges follow this node's feed")]
    TooManyFollowers,
    /// A follower hung up, or took nothing for too long.
    #[error("the follower is gone")]
    FollowerGone,
    /// The store refused or failed.
    #[error("the store failed")]
    Origin(#[from] OriginError),
    /// Nothing is done in the name that the caller acts in.
    #[error(transparent)]
    Acting(ActingError),
    /// The database failed.
    #[error("the record failed")]
    Record(#[source] RecordError),
    /// What the record holds signed is damaged.
    #[error("the record holds signed {0} that do not hold")]
    SignedRecord(&'static str, #[source] TrustError),
    /// The work was given up: a fault of ours.
    #[error("the work was given up")]
    GivenUp(#[source] tokio::task::JoinError),
}

impl From<RecordError> for CallError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Acting(error) => Self::Acting(error),
            other => Self::Record(other),
        }
    }
}

impl From<SqlError> for CallError {
    fn from(error: SqlError) -> Self {
        Self::Record(error.into())
    }
}

impl CallError {
    /// The code that the caller gets.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Credentials => Problem::AdminCredentials,
            Self::Forbidden(_) | Self::ForbiddenProduct(_) | Self::Acting(_) => Problem::AdminForbidden,
            Self::Condition => Problem::PreconditionFailed,
            Self::KeyReused => Problem::IdempotencyMismatch,
            Self::Method => Problem::MethodNotAllowed,
            Self::NoPath
            | Self::NoProduct(_)
            | Self::NoAccount(_)
            | Self::NoEntitlement(_)
            | Self::NoCredential(_)
            | Self::NoExplainer
            | Self::NotRevoked
            | Self::NoEmbargoVersion(_)
            | Self::NoSegment(_)
            | Self::NoRollout { .. }
            | Self::NoRelease { .. }
            | Self::NoChannel { .. }
            | Self::NoBlob(_)
            | Self::BlobAbsent(_) => Problem::NotFound,
            Self::Malformed(_) | Self::Name(_) | Self::BodyStopped(_) => Problem::BadRequest,
            Self::TooLarge { .. } => Problem::BodyTooLarge,
            Self::Registration(error) => registration_problem(error),
            Self::Delegation(error) => delegation_problem(error),
            Self::Registered { .. }
            | Self::CredentialTaken(_)
            | Self::DoneBefore
            | Self::PartSize { .. }
            | Self::Audience { .. }
            | Self::AudienceElsewhere(_)
            | Self::InUse { .. }
            | Self::OffersWithdrawn(_)
            | Self::OffersIncomplete { .. }
            | Self::Stranded(_)
            | Self::NoPublisher(_)
            | Self::EmbargoChanged { .. }
            | Self::SegmentInUse { .. }
            | Self::NoFallback(_)
            | Self::NothingToRollOut { .. }
            | Self::BelowMinimum { .. }
            | Self::RotationStart(_)
            | Self::RotationsFull(_) => Problem::Conflict,
            Self::RolloutInForce { .. } => Problem::RolloutInForce,
            Self::Steer(error) => steer_problem(error),
            Self::Rotation(error) => trust_problem(error),
            Self::People(error) => error.problem(),
            Self::Mint(error) => mint_problem(error),
            Self::Token(error) => token_problem(error),
            Self::Busy | Self::TooManyFollowers | Self::FollowerGone => Problem::Unavailable,
            Self::Origin(error) => origin_problem(error),
            Self::Record(error) => record_problem(error),
            Self::SignedRecord(..) | Self::GivenUp(_) | Self::Random(_) => Problem::Internal,
        }
    }

    /// What was wrong with the request, for the caller; nothing when the fault is ours.
    #[must_use]
    pub fn detail(&self) -> String {
        match self.problem() {
            Problem::Internal | Problem::DiskFull | Problem::Unavailable => String::new(),
            _ => chain(self),
        }
    }
}

/// An error and all its causes on one line: for the log, and for details that carry their reason.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // A transparent error repeats its source word for word.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

const fn record_problem(error: &RecordError) -> Problem {
    match error {
        RecordError::Full(_) => Problem::DiskFull,
        RecordError::Busy(_) | RecordError::Unavailable(_) | RecordError::Behind => Problem::Unavailable,
        RecordError::Claimed => Problem::Conflict,
        RecordError::Acting(_) => Problem::AdminForbidden,
        // Only what a caller sent can be as large: nothing of ours counts that far.
        RecordError::Number(_) => Problem::BadRequest,
        RecordError::Address(_)
        | RecordError::Create { .. }
        | RecordError::Newer { .. }
        | RecordError::Sql(_)
        | RecordError::NoBlob(_)
        | RecordError::Unaudited
        | RecordError::Damaged { .. } => Problem::Internal,
    }
}

/// Who may read a blob already.
#[derive(Debug, thiserror::Error)]
#[error("component {component} and access group {group} of product {product} (release {version})")]
pub struct BlobOwner {
    /// The product that owns it.
    pub product: ProductId,
    /// The component that it was published for.
    pub component: ComponentName,
    /// The group that it was published for.
    pub group: AccessGroup,
    /// A release that refers to it.
    pub version: Version,
}

const fn steer_problem(error: &SteerError) -> Problem {
    match error {
        SteerError::NoStep(_) => Problem::NotFound,
        SteerError::Halted | SteerError::Paused | SteerError::NotPaused | SteerError::Narrows { .. } => {
            Problem::Conflict
        }
        SteerError::TooManySteps
        | SteerError::Backwards(_)
        | SteerError::TooManyNames(_)
        | SteerError::Region { .. } => Problem::BadRequest,
    }
}

const fn registration_problem(error: &RegistrationError) -> Problem {
    match error {
        RegistrationError::Publisher { .. }
        | RegistrationError::Manifest { source: ManifestError::Signature(_), .. } => Problem::SignatureRefused,
        RegistrationError::TwoComponents { .. } => Problem::Conflict,
        RegistrationError::PublisherText(_)
        | RegistrationError::Manifest { .. }
        | RegistrationError::ManifestNotMember(_)
        | RegistrationError::PartNotMember { .. }
        | RegistrationError::Group { .. }
        | RegistrationError::UnknownComponent { .. }
        | RegistrationError::PartElsewhere { .. } => Problem::BadRequest,
    }
}

const fn delegation_problem(error: &DelegationError) -> Problem {
    match error {
        DelegationError::Trust(error) => trust_problem(error),
        DelegationError::Threshold(_) => Problem::BadRequest,
        DelegationError::Missing(_)
        | DelegationError::OtherKey(_)
        | DelegationError::Expired { .. }
        | DelegationError::Older { .. }
        | DelegationError::SameSequence(_) => Problem::Conflict,
    }
}

const fn trust_problem(error: &TrustError) -> Problem {
    match error {
        TrustError::Publisher(_) | TrustError::Channel(_) | TrustError::Rotation(_) => Problem::SignatureRefused,
        _ => Problem::BadRequest,
    }
}

const fn mint_problem(error: &MintRefusal) -> Problem {
    match error {
        MintRefusal::PartyNotActive(_) | MintRefusal::NotYours { .. } | MintRefusal::Product { .. } => {
            Problem::AdminForbidden
        }
        MintRefusal::BearerNotActive(_) | MintRefusal::HoldsNothing(_) => Problem::Conflict,
        MintRefusal::TooMany(_) | MintRefusal::Life(_) => Problem::BadRequest,
    }
}

const fn token_problem(error: &TokenError) -> Problem {
    match error {
        TokenError::Subject | TokenError::Life(_) | TokenError::Products(_) => Problem::BadRequest,
        TokenError::Random(_) | TokenError::Sign(_) => Problem::Internal,
    }
}

const fn origin_problem(error: &OriginError) -> Problem {
    match error {
        OriginError::Unknown(_) => Problem::NotFound,
        OriginError::Mismatch { .. } => Problem::HashMismatch,
        OriginError::TooLarge { .. } => Problem::BodyTooLarge,
        OriginError::Full(_) => Problem::DiskFull,
        OriginError::Unavailable(_) => Problem::Unavailable,
    }
}
