//! `Idempotency-Key`: a `POST` that is sent again with the same key and body within a day is done once, and answered as
//! the first time.
//!
//! The key is claimed in the transaction that changes something, so a crash cannot do it twice; the answer is added when
//! it is known. Should that fail, a repetition hears that it was done, not how it was answered. Only successes that
//! changed something are remembered: whatever else is asked again is looked at again.

use super::extract::whole_body;
use super::table::Secrecy;
use crate::actor::{Actor, Once};
use crate::answered;
use crate::control::{Handle, Lane};
use crate::error::{CallError, chain};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is one that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key in bytes: a UUID has 36.
const KEY_BYTES_MAX: usize = 128;

/// The middleware around every `POST`.
pub(super) async fn once(
    State((handle, secrecy)): State<(Handle, Secrecy)>,
    actor: Actor,
    request: Request,
    next: Next,
) -> Response {
    match key(request.headers()) {
        Ok(None) => next.run(request).await,
        Ok(Some(key)) => {
            with_key(handle, secrecy, actor, key, request, next).await.unwrap_or_else(|e| e.into_response())
        }
        Err(error) => error.into_response(),
    }
}

async fn with_key(
    handle: Handle,
    secrecy: Secrecy,
    actor: Actor,
    key: String,
    request: Request,
    next: Next,
) -> Result<Response, CallError> {
    let (mut head, body) = request.into_parts();
    let body = whole_body(&head.headers, body).await?;
    let mut hasher = blake3::Hasher::new();
    // The same call may come with and without scheme and authority: over HTTP/2, or by way of a proxy.
    hasher.update(head.uri.path_and_query().map_or("", PathAndQuery::as_str).as_bytes());
    hasher.update(b"\n");
    hasher.update(&body);
    let once = Once::new(key, *hasher.finalize().as_bytes());
    let (asked, by) = (once.clone(), actor.clone());
    if let Some(answer) = handle.run(Lane::Read, move |node| answered::find(node, &by, &asked)).await? {
        let mut response = (answer.status, answer.body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        return Ok(response);
    }
    head.extensions.insert(actor.with_once(once.clone()));
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    if !response.status().is_success() || !once.is_claimed() || secrecy == Secrecy::Secret {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| CallError::BodyStopped(0))?.to_bytes();
    let (status, kept) = (head.status, body.clone());
    let done = handle.run(Lane::Write, move |node| answered::keep(node, &actor, &once, status, &kept)).await;
    if let Err(error) = done {
        // It was done and is answered; whoever asks again hears that it was done.
        tracing::error!(error = chain(&error), "an answer could not be kept");
    }
    Ok(Response::from_parts(head, Body::from(body)))
}

fn key(headers: &HeaderMap) -> Result<Option<String>, CallError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= KEY_BYTES_MAX);
    match (text, values.next()) {
        (Some(text), None) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(text.to_owned())),
        _ => Err(CallError::Malformed(format!("Idempotency-Key: one of 1 to {KEY_BYTES_MAX} visible characters"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_visible_key_is_taken() {
        let read = |texts: &[&str]| {
            let mut headers = HeaderMap::new();
            for text in texts {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(text).expect("a value"));
            }
            key(&headers)
        };
        assert_eq!(read(&[]).expect("none"), None);
        assert_eq!(read(&["a-1"]).expect("one").as_deref(), Some("a-1"));
        for wrong in [&["a", "a"][..], &[""], &["a b"], &[&"x".repeat(KEY_BYTES_MAX + 1)]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
