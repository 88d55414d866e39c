//! What every request passes: its id, its credentials, its one log line, its problem document.

use super::Credentials;
use crate::actor::Actor;
use crate::control::{Handle, Lane};
use crate::credentials;
use crate::error::{CallError, chain};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use penstock_core::api::ProblemDocument;
use penstock_core::reply::Problem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const REQUEST_ID: &str = "x-request-id";
/// Longest request id that is taken over from the sender.
const REQUEST_ID_BYTES_MAX: usize = 64;
/// How long a credential's secret is as text: nothing of another length is looked up.
const SECRET_CHARACTERS: usize = 43;

/// The credentials of one listener, and the numbers of its requests.
#[derive(Clone)]
pub(super) struct Door {
    credentials: Arc<Credentials>,
    handle: Handle,
    ids: Arc<Ids>,
}

/// Request ids: drawn at start, then counted, so that making one cannot fail.
struct Ids {
    prefix: u64,
    next: AtomicU64,
}

impl Door {
    pub(super) fn new(credentials: Credentials, handle: Handle) -> Self {
        // Without randomness ids are only unique within the process, which is no reason to refuse.
        let prefix = getrandom::u64().unwrap_or_default();
        Self { credentials: Arc::new(credentials), handle, ids: Arc::new(Ids::new(prefix)) }
    }

    /// Who calls. Whatever is wrong with what was shown, the answer is the same.
    async fn admit(&self, headers: &HeaderMap) -> Result<Actor, CallError> {
        let token = match &*self.credentials {
            Credentials::Socket => return Ok(Actor::socket()),
            Credentials::Bearer(token) => token,
        };
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(CallError::Credentials) };
        let offered = bearer(value.as_bytes()).ok_or(CallError::Credentials)?;
        if token.matches(offered) {
            return Ok(Actor::admin_token());
        }
        if offered.len() != SECRET_CHARACTERS {
            return Err(CallError::Credentials);
        }
        // Asked anew for every request: one that was revoked on another node is refused here too, at once.
        let offered = offered.to_vec();
        let holder = self.handle.run(Lane::Read, move |node| credentials::holder(node, &offered)).await?;
        holder.ok_or(CallError::Credentials)
    }
}

impl Ids {
    const fn new(prefix: u64) -> Self {
        Self { prefix, next: AtomicU64::new(1) }
    }

    fn request_id(&self, headers: &HeaderMap) -> String {
        let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|text| is_request_id(text));
        sent.map_or_else(
            || format!("{:016x}-{:x}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed)),
            str::to_owned,
        )
    }
}

/// The middleware around all routes and fallbacks.
pub(super) async fn pass(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let id = door.ids.request_id(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let admitted = door.admit(request.headers()).await;
    let actor = admitted.as_ref().map_or("", Actor::name).to_owned();
    let response = match admitted {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    let response = finish(response, &id);
    let status = response.status();
    match response.extensions().get::<Arc<CallError>>() {
        Some(error) if status.is_server_error() => {
            let error = chain(error.as_ref());
            tracing::error!(request_id = %id, actor, %method, %path, %status, error, "an admin call failed");
        }
        Some(error) => {
            let code = error.problem().code();
            tracing::info!(request_id = %id, actor, %method, %path, %status, code, "an admin call was refused");
        }
        None => tracing::info!(request_id = %id, actor, %method, %path, %status, "an admin call"),
    }
    response
}

impl IntoResponse for CallError {
    /// The status and the error itself; [`finish`] writes the document, because it knows the id.
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        if let Ok(status) = StatusCode::from_u16(self.problem().status()) {
            *response.status_mut() = status;
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

fn finish(mut response: Response, id: &str) -> Response {
    if let Some(error) = response.extensions().get::<Arc<CallError>>().cloned() {
        let document = document(&error, id);
        *response.body_mut() = document.into();
        let problem = error.problem();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = problem.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if problem == Problem::AdminCredentials {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"penstock admin\""));
        }
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

fn document(error: &CallError, id: &str) -> Vec<u8> {
    let problem = error.problem();
    let document = ProblemDocument {
        kind: "about:blank".to_owned(),
        title: problem.title().to_owned(),
        status: problem.status(),
        code: problem.code().to_owned(),
        detail: error.detail(),
        request_id: id.to_owned(),
    };
    serde_json::to_vec(&document).unwrap_or_default()
}

/// The credential of `Bearer …`; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

fn is_request_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_header_is_read_as_the_rfc_says() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        for wrong in [&b""[..], b"Bearer", b"Basic abc", b"abc", b"Bearerabc"] {
            assert_eq!(bearer(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_senders_id_is_kept_only_when_it_is_harmless() {
        let door = Ids::new(7);
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("edge-7f.3"));
        assert_eq!(door.request_id(&headers), "edge-7f.3");
        for hostile in ["", "a b", "a\"b", &"x".repeat(REQUEST_ID_BYTES_MAX + 1)] {
            headers.insert(REQUEST_ID, HeaderValue::from_str(hostile).expect("header"));
            assert_ne!(door.request_id(&headers), hostile);
        }
        assert_ne!(door.request_id(&HeaderMap::new()), door.request_id(&HeaderMap::new()));
    }
}
