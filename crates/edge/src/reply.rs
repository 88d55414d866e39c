//! Building responses: problem documents, the fields that every response carries, and what goes with a refusal.
//!
//! It must not decide anything: statuses and codes are `core::reply`'s.

use crate::body::Body;
use crate::outcome::Pen;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use penstock_core::api::ProblemDocument;
use penstock_core::blob::BlobSize;
use penstock_core::entitle::Refusal;
use penstock_core::range::content_range_unsatisfied;
use penstock_core::reply::Problem;
use penstock_core::request::{Method, TargetError};
use std::borrow::Cow;
use uuid::Uuid;

/// Names the request in the answer, its problem document and the access log.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request that is not answered with content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) problem: Problem,
    /// What was wrong in this request; never anything secret.
    pub(crate) detail: Cow<'static, str>,
    /// A field that belongs to this refusal.
    pub(crate) field: Option<(HeaderName, HeaderValue)>,
}

impl Refused {
    pub(crate) const fn new(problem: Problem) -> Self {
        Self { problem, detail: Cow::Borrowed(""), field: None }
    }

    pub(crate) fn because(problem: Problem, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { problem, detail: detail.into(), field: None }
    }

    pub(crate) fn method(allow: &'static str) -> Self {
        let field = Some((ALLOW, HeaderValue::from_static(allow)));
        Self { problem: Problem::MethodNotAllowed, detail: format!("allowed: {allow}").into(), field }
    }

    /// Too many tokens from one address were worth nothing.
    pub(crate) fn too_many_failures(retry_after_seconds: u64) -> Self {
        let field = Some((RETRY_AFTER, HeaderValue::from(retry_after_seconds)));
        let detail = "too many tokens from this address were worth nothing";
        Self { problem: Problem::TooManyRequests, detail: detail.into(), field }
    }

    pub(crate) fn unsatisfiable(size: BlobSize) -> Self {
        let value = HeaderValue::try_from(content_range_unsatisfied(size)).expect("digits are a header value");
        Self {
            problem: Problem::RangeNotSatisfiable,
            detail: format!("the blob has {} bytes", size.0).into(),
            field: Some((CONTENT_RANGE, value)),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.into())
    }
}

impl From<TargetError> for Refused {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::TooLong(_) => Self::because(Problem::TargetTooLong, error.to_string()),
            TargetError::Unknown => Self::new(Problem::Refused(Refusal::Unknown)),
            TargetError::Path { .. } | TargetError::Query { .. } => {
                Self::because(Problem::BadRequest, error.to_string())
            }
        }
    }
}

/// Finishes a response: request id, length, no body for HEAD; from here on the pen is the body's.
pub(crate) fn finish(answered: Result<Response<Body>, Refused>, method: Method, mut pen: Pen) -> Response<Body> {
    let request_id = pen.outcome().request_id;
    let mut response = answered.unwrap_or_else(|refused| {
        pen.outcome().problem = Some(refused.problem);
        problem_response(&refused, request_id).map(Body::full)
    });
    let length = response.body().remaining();
    let headers = response.headers_mut();
    let id = HeaderValue::try_from(request_id.as_hyphenated().to_string()).expect("a uuid is a header value");
    headers.insert(X_REQUEST_ID, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if response.status() != StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    pen.head(response.status().as_u16(), if method == Method::Head { 0 } else { length });
    response.map(|body| if method == Method::Head { Body::empty() } else { body }.signed(pen))
}

/// An RFC 9457 document. Its `Content-Length` is the caller's to add.
pub(crate) fn problem_response(refused: &Refused, request_id: Uuid) -> Response<Bytes> {
    let problem = refused.problem;
    let document = ProblemDocument {
        kind: "about:blank".to_owned(),
        title: problem.title().to_owned(),
        status: problem.status(),
        code: problem.code().to_owned(),
        detail: refused.detail.to_string(),
        request_id: request_id.as_hyphenated().to_string(),
    };
    let text = serde_json::to_vec(&document).expect("a problem document has text keys only");
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = StatusCode::from_u16(problem.status()).expect("problems have statuses of three digits");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    if let Some(seconds) = problem.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.status() == 401 {
        // RFC 9110, section 11.6.1: a 401 says how to authenticate. RFC 6750, section 3.1: a request without a token gets
        // no error code.
        let challenge = match problem {
            Problem::Refused(Refusal::TokenRequired) => "Bearer realm=\"penstock\"",
            _ => "Bearer realm=\"penstock\", error=\"invalid_token\"",
        };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Some((name, value)) = refused.field.clone() {
        headers.insert(name, value);
    }
    response
}
