//! Requests to control: the feed as lines, snapshots as blobs of the store, and the word that one is damaged.

use super::FollowerParts;
use super::session::SessionError;
use crate::web::{self, Answer, WebUrl};
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use penstock_core::blob::BlobId;
use penstock_core::feed::{LineError, Place, SnapshotAnswer};
use penstock_core::limits::FEED_LINE_BYTES_MAX;
use penstock_store::Store;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// Longest time to the head of an answer: name, connection, TLS and all.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Longest silence within an answer. Control says something every two seconds; telling a state may start slowly.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest credential file, in bytes.
const CREDENTIAL_BYTES_MAX: u64 = 8 * 1024;
/// Largest snapshot, in bytes: 50 million accounts.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;
/// Largest answer to the word that a snapshot is damaged, in bytes.
const WORD_BYTES_MAX: usize = 4 * 1024;

/// Asks for the feed from a place on; the whole of it without one.
pub(super) async fn follow(parts: &FollowerParts, after: Option<Place>) -> Result<Lines, SessionError> {
    let target = match after {
        None => "/v1/feed".to_owned(),
        Some(Place { sequence, mark }) => format!("/v1/feed?after={sequence}&mark={mark}"),
    };
    let answer = ask(parts, Method::GET, &target).await?;
    Ok(Lines { answer, buffer: BytesMut::new(), searched: 0 })
}

/// Brings a snapshot into the store. It is there afterwards only if its hash is its name.
pub(super) async fn fetch(parts: &FollowerParts, blob: BlobId, store: &Store) -> Result<(), SessionError> {
    let mut answer = ask(parts, Method::GET, &format!("/v1/feed/snapshots/{blob}")).await?;
    let length = answer.response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let length: u64 = length.filter(|length| *length <= SNAPSHOT_BYTES_MAX).ok_or(SessionError::SnapshotSize(blob))?;
    let failed = |error| SessionError::Store(blob, error);
    let mut draft = store.draft(Some(blob), Some(length)).map_err(failed)?;
    let mut left = length;
    while let Some(frame) = timeout(SILENCE, answer.response.frame()).await.map_err(|_| SessionError::Silent)? {
        let Ok(data) = frame.map_err(SessionError::Broken)?.into_data() else { continue };
        left = left.checked_sub(data.len() as u64).ok_or(SessionError::SnapshotSize(blob))?;
        draft.write(&data).map_err(failed)?;
    }
    draft.seal().map_err(failed)?;
    Ok(())
}

/// Tells control that a snapshot, as it came, is damaged.
pub(super) async fn report(parts: &FollowerParts, blob: BlobId) -> Result<SnapshotAnswer, SessionError> {
    let answer = ask(parts, Method::POST, &format!("/v1/feed/snapshots/{blob}/damaged")).await?;
    let body = Limited::new(answer.response.into_body(), WORD_BYTES_MAX).collect();
    let body = timeout(SILENCE, body).await.map_err(|_| SessionError::Silent)?;
    let body = body.map_err(|_| SessionError::Word)?.to_bytes();
    serde_json::from_slice(&body).map_err(|_| SessionError::Word)
}

async fn ask(parts: &FollowerParts, method: Method, target: &str) -> Result<Answer, SessionError> {
    let credential = credential(&parts.credential_file)?;
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = method;
    request.headers_mut().insert(AUTHORIZATION, credential);
    let url: WebUrl = parts.url.at(target);
    let answer = timeout(HEAD_TIME, web::call(&url, parts.tls.as_ref(), request));
    let answer = answer.await.map_err(|_| SessionError::Silent)??;
    match answer.response.status() {
        StatusCode::OK => Ok(answer),
        status => Err(SessionError::Status(status.as_u16())),
    }
}

/// The credential of a file, as a header's value that prints as nothing.
fn credential(path: &Path) -> Result<HeaderValue, SessionError> {
    let failed = |source| SessionError::Credential { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(CREDENTIAL_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let value = HeaderValue::try_from(format!("Bearer {}", text.trim()));
    let mut value = value.map_err(|_| failed(io::Error::other("it is no credential")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A feed, line by line.
pub(super) struct Lines {
    answer: Answer,
    buffer: BytesMut,
    /// So many bytes of the buffer have no end of a line in them.
    searched: usize,
}

impl Lines {
    /// The next line with its end; `None` when the feed ended.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, SessionError> {
        loop {
            if let Some(line) = self.ready() {
                return Ok(Some(line));
            }
            if self.buffer.len() > FEED_LINE_BYTES_MAX {
                return Err(LineError::TooLong.into());
            }
            let frame = timeout(SILENCE, self.answer.response.frame()).await.map_err(|_| SessionError::Silent)?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(data) = frame.map_err(SessionError::Broken)?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// The next line, if it came already.
    pub(super) fn ready(&mut self) -> Option<Bytes> {
        match self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let line = self.buffer.split_to(self.searched + end + 1).freeze();
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
}
