//! Every refusal of access, its code and its rank.

use crate::account::Gap;

/// What is wrong with a token. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenFault {
    /// Not a compact JWS that we read.
    Malformed,
    /// An algorithm, type or extension that is not taken here.
    Unsupported,
    /// Signed with a key that is not known here.
    KeyUnknown,
    /// The signature does not hold.
    Signature,
    /// Of an issuer that is not trusted here.
    Issuer,
    /// For somebody else.
    Audience,
    /// A claim that must be there is not, or is not what it must be.
    Claims,
    /// It is over.
    Expired,
    /// It is not good yet.
    NotYetValid,
}

impl TokenFault {
    /// All of them, for the documentation and its test.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Unsupported,
        Self::KeyUnknown,
        Self::Signature,
        Self::Issuer,
        Self::Audience,
        Self::Claims,
        Self::Expired,
        Self::NotYetValid,
    ];

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "token_malformed",
            Self::Unsupported => "token_unsupported",
            Self::KeyUnknown => "token_key_unknown",
            Self::Signature => "token_signature",
            Self::Issuer => "token_issuer",
            Self::Audience => "token_audience",
            Self::Claims => "token_claims",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
        }
    }

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Malformed => "the token cannot be read",
            Self::Unsupported => "the token uses what is not taken here",
            Self::KeyUnknown => "the token is signed with a key that is not known here",
            Self::Signature => "the token's signature does not hold",
            Self::Issuer => "the token is of an issuer that is not trusted here",
            Self::Audience => "the token is for another audience",
            Self::Claims => "the token lacks a claim or has one that cannot be",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
        }
    }
}

/// Why a request is refused. Codes are stable; `reply` maps each to a status, once.
///
/// In rising order of use to the caller, so that of several refusals the greatest is told: what a token would mend is
/// worth more than what is not owed, and that more than silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No such thing here, or it must look so.
    Unknown,
    /// The account holds nothing of the product.
    NotEntitled,
    /// The token was made for less.
    TokenTooNarrow,
    /// The terms leave out the component or its access group.
    ComponentNotIncluded,
    /// The terms leave out the platform.
    PlatformNotIncluded,
    /// The terms leave out the channels that the release was offered on.
    ChannelNotIncluded,
    /// The terms leave out every release that all of the blob is content of.
    ContentNotIncluded,
    /// The terms name regions, and nobody can say where the caller is.
    RegionUnknown,
    /// The terms name other regions.
    RegionNotIncluded,
    /// The holding ended.
    EntitlementEnded,
    /// The holding begins later.
    EntitlementNotStarted,
    /// An agreement was not accepted.
    AgreementRequired,
    /// Only registered devices may download, and this is none.
    DeviceRequired,
    /// The release was withdrawn.
    Withdrawn,
    /// This edge has not heard from control for so long that it gives out nothing of the kind.
    ControlSilent,
    /// The account is not known here.
    AccountUnknown,
    /// The studio blocked the account.
    AccountSuspended,
    /// A person has to look at the account first.
    AccountOnHold,
    /// The account was refused by screening.
    AccountDenied,
    /// A person has to look before it may be sent there.
    EmbargoHold,
    /// It may not be sent there.
    Embargo,
    /// Content that needs a token, and none came.
    TokenRequired,
    /// The token was revoked, or its account called all of its time back.
    TokenRevoked,
    /// The token is worth nothing.
    Token(TokenFault),
}

impl Refusal {
    /// All that carry nothing, for the documentation and its test; [`TokenFault::ALL`] are the others.
    pub const PLAIN: [Self; 23] = [
        Self::Unknown,
        Self::NotEntitled,
        Self::TokenTooNarrow,
        Self::ComponentNotIncluded,
        Self::PlatformNotIncluded,
        Self::ChannelNotIncluded,
        Self::ContentNotIncluded,
        Self::RegionUnknown,
        Self::RegionNotIncluded,
        Self::EntitlementEnded,
        Self::EntitlementNotStarted,
        Self::AgreementRequired,
        Self::DeviceRequired,
        Self::Withdrawn,
        Self::ControlSilent,
        Self::AccountUnknown,
        Self::AccountSuspended,
        Self::AccountOnHold,
        Self::AccountDenied,
        Self::EmbargoHold,
        Self::Embargo,
        Self::TokenRequired,
        Self::TokenRevoked,
    ];

    /// The refusal that a holding's gap means.
    #[must_use]
    pub const fn of_gap(gap: Gap) -> Self {
        match gap {
            Gap::Product => Self::NotEntitled,
            Gap::Component => Self::ComponentNotIncluded,
            Gap::Platform => Self::PlatformNotIncluded,
            Gap::Channel => Self::ChannelNotIncluded,
            Gap::Content => Self::ContentNotIncluded,
            Gap::RegionUnknown => Self::RegionUnknown,
            Gap::Region => Self::RegionNotIncluded,
            Gap::Ended => Self::EntitlementEnded,
            Gap::NotStarted => Self::EntitlementNotStarted,
            Gap::Agreement => Self::AgreementRequired,
            Gap::Device => Self::DeviceRequired,
        }
    }

    /// The stable code for problem documents, logs and `explain`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NotEntitled => "not_entitled",
            Self::TokenTooNarrow => "token_too_narrow",
            Self::ComponentNotIncluded => "component_not_included",
            Self::PlatformNotIncluded => "platform_not_included",
            Self::ChannelNotIncluded => "channel_not_included",
            Self::ContentNotIncluded => "content_not_included",
            Self::RegionUnknown => "region_unknown",
            Self::RegionNotIncluded => "region_not_included",
            Self::EntitlementEnded => "entitlement_ended",
            Self::EntitlementNotStarted => "entitlement_not_started",
            Self::AgreementRequired => "agreement_required",
            Self::DeviceRequired => "device_required",
            Self::Withdrawn => "withdrawn",
            Self::ControlSilent => "control_silent",
            Self::AccountUnknown => "account_unknown",
            Self::AccountSuspended => "account_suspended",
            Self::AccountOnHold => "account_on_hold",
            Self::AccountDenied => "account_denied",
            Self::EmbargoHold => "embargo_hold",
            Self::Embargo => "embargo",
            Self::TokenRequired => "token_required",
            Self::TokenRevoked => "token_revoked",
            Self::Token(fault) => fault.code(),
        }
    }
    /// In words, for whoever is refused.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Unknown => "there is nothing here under this name",
            Self::NotEntitled => "the account is not entitled to this",
            Self::TokenTooNarrow => "the token was made for something else",
            Self::ComponentNotIncluded => "the entitlement does not include this part of the product",
            Self::PlatformNotIncluded => "the entitlement does not include this platform",
            Self::ChannelNotIncluded => "the entitlement does not include this channel",
            Self::ContentNotIncluded => "the entitlement does not include all releases whose content lies in this",
            Self::RegionUnknown => "the entitlement is for some regions, and the caller's is not known",
            Self::RegionNotIncluded => "the entitlement does not include this region",
            Self::EntitlementEnded => "the entitlement has ended",
            Self::EntitlementNotStarted => "the entitlement has not begun",
            Self::AgreementRequired => "an agreement has to be accepted first",
            Self::DeviceRequired => "this is not one of the account's registered devices",
            Self::Withdrawn => "this release was withdrawn",
            Self::ControlSilent => "this node has not heard from control for too long to give this out",
            Self::AccountUnknown => "the account is not known here",
            Self::AccountSuspended => "the account is suspended",
            Self::AccountOnHold => "the account is being looked at",
            Self::AccountDenied => "the account cannot be served",
            Self::EmbargoHold => "this cannot be sent there before somebody looked at it",
            Self::Embargo => "this cannot be sent there",
            Self::TokenRequired => "this content needs a token",
            Self::TokenRevoked => "the token was revoked",
            Self::Token(fault) => fault.words(),
        }
    }
}
