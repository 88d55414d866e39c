//! Answers that were given to calls with an idempotency key, for a day.

use crate::actor::{Actor, Once};
use crate::control::Node;
use crate::error::CallError;
use crate::record::kept;
use bytes::Bytes;
use http::StatusCode;

/// The most that is kept of one answer, in bytes. Whoever asks again for a longer one hears that it was done.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An answer that was given.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// The answer to the same call before, if there was one.
pub(crate) fn find(node: &Node, actor: &Actor, once: &Once) -> Result<Option<Answered>, CallError> {
    let now = node.now();
    let row = node.record.read(|connection| kept::get(connection, actor.name(), once.key(), now))?;
    let Some(row) = row else { return Ok(None) };
    if row.body_hash != *once.body_hash() {
        return Err(CallError::KeyReused);
    }
    match StatusCode::from_u16(row.status) {
        Ok(status) => Ok(Some(Answered { status, body: row.answer.into() })),
        Err(_) => Err(CallError::DoneBefore),
    }
}

/// Adds the answer to a key that was claimed.
pub(crate) fn keep(node: &Node, actor: &Actor, once: &Once, status: StatusCode, body: &Bytes) -> Result<(), CallError> {
    if body.len() > ANSWER_BYTES_MAX {
        return Ok(());
    }
    node.record.keep_house(node.now(), |batch| {
        Ok(kept::fill(batch.connection(), actor.name(), once.key(), status.as_u16(), body)?)
    })
}
