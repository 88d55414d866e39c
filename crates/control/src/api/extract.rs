//! What handlers take from a request: names in the path, the query, a JSON body, all bounded and
//! all refused with the same kind of problem document, which names the field.

use crate::condition::{self, Condition};
use crate::control::Handle;
use crate::error::CallError;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, ETAG};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use penstock_core::account::AccountId;
use penstock_core::id::Platform;
use penstock_core::limits::ADMIN_JSON_BYTES_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Names in the path.
pub(super) struct PathOf<T>(pub(super) T);

/// The query; unknown keys are refused by the types.
pub(super) struct QueryOf<T>(pub(super) T);

/// A JSON body of at most [`ADMIN_JSON_BYTES_MAX`].
pub(super) struct JsonOf<T>(pub(super) T);

/// A JSON answer and its status.
pub(super) struct Answer<T>(pub(super) StatusCode, pub(super) T);

/// As [`Answer`], with the document's entity tag.
pub(super) struct Tagged<T>(pub(super) StatusCode, pub(super) T);

/// `?platform=`, which may be left out.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlatformQuery {
    #[serde(default = "Platform::any")]
    pub(super) platform: Platform,
}

/// `?after=&limit=` of a list of accounts.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    pub(super) after: Option<AccountId>,
    pub(super) limit: Option<u64>,
}

impl<T: DeserializeOwned + Send> FromRequestParts<Handle> for PathOf<T> {
    type Rejection = CallError;

    async fn from_request_parts(parts: &mut Parts, state: &Handle) -> Result<Self, CallError> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(names)| Self(names)).map_err(|rejection| CallError::Malformed(rejection.body_text()))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Handle> for QueryOf<T> {
    type Rejection = CallError;

    async fn from_request_parts(parts: &mut Parts, state: &Handle) -> Result<Self, CallError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(values)| Self(values)).map_err(|rejection| CallError::Malformed(rejection.body_text()))
    }
}

impl<T: DeserializeOwned> FromRequest<Handle> for JsonOf<T> {
    type Rejection = CallError;

    async fn from_request(request: Request, _: &Handle) -> Result<Self, CallError> {
        let (head, body) = request.into_parts();
        parse(&whole_body(&head.headers, body).await?).map(Self)
    }
}

impl FromRequestParts<Handle> for Condition {
    type Rejection = CallError;

    async fn from_request_parts(parts: &mut Parts, _: &Handle) -> Result<Self, CallError> {
        Self::of(&parts.headers)
    }
}

/// A body of at most [`ADMIN_JSON_BYTES_MAX`].
pub(super) async fn whole_body(headers: &http::HeaderMap, body: Body) -> Result<Bytes, CallError> {
    let too_large = || CallError::TooLarge { what: "the body's bytes", max: ADMIN_JSON_BYTES_MAX as u64 };
    if content_length(headers).is_some_and(|bytes| bytes > ADMIN_JSON_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let body = Limited::new(body, ADMIN_JSON_BYTES_MAX).collect().await;
    let body =
        body.map_err(|error| if error.is::<LengthLimitError>() { too_large() } else { CallError::BodyStopped(0) })?;
    Ok(body.to_bytes())
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        (self.0, axum::Json(self.1)).into_response()
    }
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let tag = HeaderValue::try_from(condition::tag(&self.1)).expect("hexadecimal digits and quotes");
        (self.0, [(ETAG, tag)], axum::Json(self.1)).into_response()
    }
}

/// The body's length as its sender announced it.
pub(super) fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CallError> {
    if bytes.is_empty() {
        return Err(CallError::Malformed("the body is empty, a JSON document belongs there".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        let reason = error.into_inner();
        CallError::Malformed(if field == "." { reason.to_string() } else { format!("{field}: {reason}") })
    })?;
    reader.end().map_err(|error| CallError::Malformed(format!("after the JSON document: {error}")))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::api::{MoveChannel, RegisterRelease};

    fn refusal<T: DeserializeOwned>(text: &str) -> String {
        parse::<T>(text.as_bytes()).err().expect("refused").to_string()
    }

    #[test]
    fn errors_name_the_field() {
        let wrong_type = refusal::<MoveChannel>(r#"{"platform":"any","version":7}"#);
        assert!(wrong_type.starts_with("version: "), "{wrong_type}");
        let wrong_name = refusal::<MoveChannel>(r#"{"platform":"../x","version":"1"}"#);
        assert!(wrong_name.starts_with("platform: ") && wrong_name.contains("letters"), "{wrong_name}");
        assert!(refusal::<MoveChannel>(r#"{"platform":"any"}"#).contains("missing field `version`"));
        assert!(refusal::<MoveChannel>(r#"{"platform":"any","version":"1","x":1}"#).contains("unknown field `x`"));
        assert!(refusal::<MoveChannel>(r#"{"platform":"any","version":"1"} x"#).contains("after"));
        assert!(refusal::<MoveChannel>("").contains("empty"));
        let deep = refusal::<RegisterRelease>(
            r#"{"version":"1","platform":"any","manifest":"00","members":[{"blob":"zz","component":"c","group":"g"}]}"#,
        );
        assert!(deep.starts_with("manifest: "), "{deep}");
    }
}
