//! Problem documents: the one list of error codes and the one map from refusal to HTTP status.
//!
//! RFC 9457. Codes are stable: scripts match on them. Statuses are assigned in one exhaustive match.

use crate::entitle::{Refusal, TokenFault};

/// Everything that a data or admin listener can answer instead of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// A decision refused the request.
    Refused(Refusal),
    /// The path, a query or a name in them is malformed.
    BadRequest,
    /// The path exists for other methods.
    MethodNotAllowed,
    /// `If-Match` or `If-None-Match` named something else than what is there.
    PreconditionFailed,
    /// No part of the wanted range exists.
    RangeNotSatisfiable,
    /// The request target is too long.
    TargetTooLong,
    /// A body is too large.
    BodyTooLarge,
    /// The request is for a host that this listener does not serve.
    Misdirected,
    /// Tokens are not accepted over plain HTTP.
    TokenOverPlainHttp,
    /// Wrong or missing admin credentials.
    AdminCredentials,
    /// The admin credential's role does not allow the call.
    AdminForbidden,
    /// Something is not signed by the key that has to sign it.
    SignatureRefused,
    /// Too much from one peer.
    TooManyRequests,
    /// The node is full, draining or lacks something it will have again.
    Unavailable,
    /// The blob is known but its bytes are damaged or missing here.
    BlobDamaged,
    /// The body's hash is not the blob's name.
    HashMismatch,
    /// An idempotency key that was used for something else.
    IdempotencyMismatch,
    /// Two writers, or a name that is taken by something else.
    Conflict,
    /// The channel cannot move while a rollout goes on.
    RolloutInForce,
    /// What the request refers to is not there.
    NotFound,
    /// The disk is full.
    DiskFull,
    /// A fault of ours.
    Internal,
}

/// Problems that are no refusal, for the documentation and its test. [`all`] gives the others, too.
pub const PLAIN: [Problem; 21] = [
    Problem::BadRequest,
    Problem::MethodNotAllowed,
    Problem::PreconditionFailed,
    Problem::RangeNotSatisfiable,
    Problem::TargetTooLong,
    Problem::BodyTooLarge,
    Problem::Misdirected,
    Problem::TokenOverPlainHttp,
    Problem::AdminCredentials,
    Problem::AdminForbidden,
    Problem::SignatureRefused,
    Problem::TooManyRequests,
    Problem::Unavailable,
    Problem::BlobDamaged,
    Problem::HashMismatch,
    Problem::IdempotencyMismatch,
    Problem::Conflict,
    Problem::RolloutInForce,
    Problem::NotFound,
    Problem::DiskFull,
    Problem::Internal,
];

/// Every problem.
pub fn all() -> impl Iterator<Item = Problem> {
    let refusals = Refusal::PLAIN.into_iter().chain(TokenFault::ALL.map(Refusal::Token));
    refusals.map(Problem::Refused).chain(PLAIN)
}

impl Problem {
    /// The stable `code` member.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::BadRequest => "bad_request",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::PreconditionFailed => "precondition_failed",
            Self::RangeNotSatisfiable => "range_not_satisfiable",
            Self::TargetTooLong => "target_too_long",
            Self::BodyTooLarge => "body_too_large",
            Self::Misdirected => "misdirected",
            Self::TokenOverPlainHttp => "token_over_plain_http",
            Self::AdminCredentials => "admin_credentials",
            Self::AdminForbidden => "admin_forbidden",
            Self::SignatureRefused => "signature_refused",
            Self::TooManyRequests => "too_many_requests",
            Self::Unavailable => "unavailable",
            Self::BlobDamaged => "blob_damaged",
            Self::HashMismatch => "hash_mismatch",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::Conflict => "conflict",
            Self::RolloutInForce => "rollout_in_force",
            Self::NotFound => "not_found",
            Self::DiskFull => "disk_full",
            Self::Internal => "internal",
        }
    }
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Refused(refusal) => refusal_status(refusal),
            Self::NotFound => 404,
            Self::AdminCredentials => 401,
            Self::AdminForbidden | Self::SignatureRefused => 403,
            Self::BadRequest | Self::TokenOverPlainHttp => 400,
            Self::MethodNotAllowed => 405,
            Self::PreconditionFailed => 412,
            Self::RangeNotSatisfiable => 416,
            Self::TargetTooLong => 414,
            Self::BodyTooLarge => 413,
            Self::Misdirected => 421,
            Self::TooManyRequests => 429,
            Self::Unavailable | Self::BlobDamaged => 503,
            Self::HashMismatch | Self::IdempotencyMismatch => 422,
            Self::Conflict | Self::RolloutInForce => 409,
            Self::DiskFull => 507,
            Self::Internal => 500,
        }
    }
    /// The `title` member: what it means in general.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.words(),
            Self::BadRequest => "the request is malformed",
            Self::MethodNotAllowed => "this path does not take this method",
            Self::PreconditionFailed => "what is there is not what If-Match or If-None-Match names",
            Self::RangeNotSatisfiable => "no byte of the wanted range exists",
            Self::TargetTooLong => "the request target is too long",
            Self::BodyTooLarge => "the request body is too large",
            Self::Misdirected => "this listener does not serve that host",
            Self::TokenOverPlainHttp => "tokens are not accepted over plain http",
            Self::AdminCredentials => "admin credentials are missing or wrong",
            Self::AdminForbidden => "the role of this admin credential does not allow this",
            Self::SignatureRefused => "this is not signed by the key that has to sign it",
            Self::TooManyRequests => "too much at once from this address",
            Self::Unavailable => "not available now, try again later",
            Self::BlobDamaged => "this node's copy of the blob is damaged",
            Self::HashMismatch => "the bytes are not the ones that the blob's name promises",
            Self::IdempotencyMismatch => "the idempotency key was used for another call",
            Self::Conflict => "this conflicts with what is already there",
            Self::RolloutInForce => "a rollout goes on in this channel: finish or halt it first",
            Self::NotFound => "what the request refers to does not exist",
            Self::DiskFull => "the node's disk is full",
            Self::Internal => "the node made a mistake",
        }
    }
    /// Whether the answer carries `Retry-After`, in seconds.
    #[must_use]
    pub const fn retry_after_seconds(self) -> Option<u32> {
        match self {
            Self::TooManyRequests => Some(5),
            Self::Unavailable | Self::DiskFull => Some(10),
            Self::BlobDamaged | Self::Refused(Refusal::ControlSilent) => Some(60),
            _ => None,
        }
    }
}

/// 401 where another token may help, 451 where the law stands in the way (RFC 7725), 403 where the account lacks something,
/// 503 where another edge may know more.
const fn refusal_status(refusal: Refusal) -> u16 {
    match refusal {
        Refusal::Unknown => 404,
        Refusal::Withdrawn => 410,
        Refusal::ControlSilent => 503,
        Refusal::TokenRequired | Refusal::TokenRevoked | Refusal::Token(_) => 401,
        Refusal::Embargo | Refusal::EmbargoHold | Refusal::AccountDenied | Refusal::AccountOnHold => 451,
        Refusal::NotEntitled
        | Refusal::TokenTooNarrow
        | Refusal::ComponentNotIncluded
        | Refusal::PlatformNotIncluded
        | Refusal::ChannelNotIncluded
        | Refusal::ContentNotIncluded
        | Refusal::RegionUnknown
        | Refusal::RegionNotIncluded
        | Refusal::EntitlementEnded
        | Refusal::EntitlementNotStarted
        | Refusal::AgreementRequired
        | Refusal::DeviceRequired
        | Refusal::AccountUnknown
        | Refusal::AccountSuspended => 403,
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        let codes: HashSet<_> = all().map(Problem::code).collect();
        assert_eq!(codes.len(), all().count());
        assert!(all().all(|problem| (400..600).contains(&problem.status())));
    }
}
