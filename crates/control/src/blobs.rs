//! Blobs of the store as the desk sees them: which are missing, list, open, remove.

use crate::actor::Actor;
use crate::control::Node;
use crate::error::CallError;
use crate::record::audit::Deed;
use crate::record::{blobs, releases};
use crate::sql::Connection;
use penstock_core::api::{BlobAnswer, MissingAnswer, MissingQuestion};
use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::catalog::CatalogChange;
use penstock_core::desk::BlobsAnswer;
use penstock_core::limits::{MISSING_BLOBS_MAX, PAGE_ROWS_MAX};

/// Which of the named blobs the store lacks, in the order asked.
pub(crate) fn missing(node: &Node, question: &MissingQuestion) -> Result<MissingAnswer, CallError> {
    if question.blobs.len() > MISSING_BLOBS_MAX {
        return Err(CallError::TooLarge { what: "blobs", max: MISSING_BLOBS_MAX as u64 });
    }
    let mut missing = Vec::new();
    for blob in &question.blobs {
        if node.size_of(*blob)?.is_none() {
            missing.push(*blob);
        }
    }
    Ok(MissingAnswer { missing })
}

/// Remembers a blob that was sealed in the store, new or again.
pub(crate) fn arrived(node: &Node, blob: BlobId, size: BlobSize) -> Result<BlobAnswer, CallError> {
    let known = node.record.read(|connection| Ok::<_, CallError>(blobs::get(connection, blob)?.is_some()))?;
    if !known {
        // Whoever brings a blob changes nothing that anybody may read; what refers to it does, and is audited.
        node.record.keep_house(node.now(), |batch| {
            // A removal may have come between the seal and this transaction.
            node.stored_size(blob)?;
            Ok::<_, CallError>(blobs::add(batch.connection(), blob, size, batch.now())?)
        })?;
    }
    if node.missing().remove(&blob) {
        tracing::info!(%blob, "a blob that a release lacked is back");
    }
    Ok(BlobAnswer { blob, bytes: size.0 })
}

/// Refuses those who are limited to some products the bytes that no release of theirs has: as absent, because that a blob
/// is there says something too.
pub(crate) fn check_readable(node: &Node, actor: &Actor, blob: BlobId) -> Result<(), CallError> {
    if actor.require_no_limit().is_ok() {
        return Ok(());
    }
    let uses = node.record.read(|connection| Ok::<_, CallError>(releases::uses_of(connection, blob)?))?;
    let is_own = uses.iter().any(|one| actor.require_product(&one.known.product).is_ok());
    if is_own { Ok(()) } else { Err(CallError::BlobAbsent(blob)) }
}

/// A page of the blobs that came in through this node, by name.
pub(crate) fn page(node: &Node, actor: &Actor, after: Option<BlobId>, limit: usize) -> Result<BlobsAnswer, CallError> {
    actor.require_no_limit()?;
    let limit = limit.clamp(1, PAGE_ROWS_MAX);
    let mut rows = node.record.read(|connection| Ok::<_, CallError>(blobs::page(connection, after, limit + 1)?))?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| row.blob);
    Ok(BlobsAnswer { blobs: rows, next })
}

/// Lets anyone read a stored blob; refused when it is part of a release, whose product decides who may read it and
/// where, today and after its next change.
pub(crate) fn open(node: &Node, actor: &Actor, blob: BlobId) -> Result<BlobAnswer, CallError> {
    actor.require_no_limit()?;
    node.record.write(actor, node.now(), |batch| {
        let size = node.stored_size(blob)?;
        refuse_in_use(batch.connection(), blob)?;
        if !blobs::get(batch.connection(), blob)?.is_some_and(|row| row.open) {
            blobs::add(batch.connection(), blob, size, batch.now())?;
            blobs::open(batch.connection(), blob)?;
            batch.audit(&Deed::new("blob.open", format!("blob/{blob}")).after(&BlobAnswer { blob, bytes: size.0 })?)?;
            batch.tell(CatalogChange::LooseBlob { blob, open: true })?;
        }
        Ok(BlobAnswer { blob, bytes: size.0 })
    })
}

/// Removes a blob that no release refers to, from the record and from the store.
///
/// The bytes go before the commit, under the writer's lock: an upload that follows finds nothing
/// and stores them anew. If the commit fails after that, removing once more mends it.
pub(crate) fn remove(node: &Node, actor: &Actor, blob: BlobId) -> Result<BlobAnswer, CallError> {
    actor.require_no_limit()?;
    node.record.write(actor, node.now(), |batch| {
        refuse_in_use(batch.connection(), blob)?;
        let row = blobs::get(batch.connection(), blob)?;
        let stored = node.size_of(blob)?;
        let bytes = match (&row, stored) {
            (None, None) => return Err(CallError::BlobAbsent(blob)),
            (_, Some(size)) => size.0,
            (Some(row), None) => row.bytes,
        };
        blobs::remove(batch.connection(), blob)?;
        batch.audit(&Deed::new("blob.remove", format!("blob/{blob}")).before(&BlobAnswer { blob, bytes })?)?;
        if row.is_some_and(|row| row.open) {
            batch.tell(CatalogChange::LooseBlobGone { blob })?;
        }
        if stored.is_some() {
            node.origin.remove(&blob)?;
        }
        Ok(BlobAnswer { blob, bytes })
    })
}

fn refuse_in_use(connection: &Connection, blob: BlobId) -> Result<(), CallError> {
    match releases::uses_of(connection, blob)?.into_iter().next() {
        Some(row) => Err(CallError::InUse { blob, product: row.known.product, version: row.version }),
        None => Ok(()),
    }
}
