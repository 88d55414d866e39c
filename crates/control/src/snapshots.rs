//! Snapshots of all accounts: what edges start from, so that they need not hear of every account there ever was.
//!
//! A snapshot is a blob in the origin, like any other but of no release: nobody can read it over the data plane. The
//! change that tells of it says up to which change it holds everything, and it is told once it is stored.

use crate::control::Node;
use crate::error::CallError;
use crate::log;
use crate::record::RecordError;
use crate::record::snapshots::{self, SnapshotRow};
use crate::sql::Connection;
use crate::state::Teller;
use penstock_core::blob::BlobId;
use penstock_core::catalog::CatalogChange;
use penstock_core::feed::SnapshotAnswer;
use penstock_core::snapshot::Builder;
use penstock_core::statement::AccountsNotice;
use penstock_core::time::UnixSeconds;
use std::io;

/// Changes of accounts after which another snapshot is made. Larger lets edges start slower and hold more in memory:
/// about 400 bytes for each change.
const CHANGES_MAX: u64 = 20_000;
/// Snapshots that are kept: whoever has just begun to read the one before may finish.
const KEPT: u64 = 2;

/// Makes a snapshot when enough changed since the last one, anything was imported, or the last one is lost; says whether
/// it did.
pub(crate) fn renew(node: &Node, now: UnixSeconds) -> Result<bool, CallError> {
    let is_due = node.record.read(|connection| {
        let newest = snapshots::newest(connection)?;
        let (since, imports) = newest.map_or((0, 0), |row| (row.sequence, row.imports));
        let has_imports = snapshots::imports(connection)? > imports;
        // A damaged one was taken out of the store.
        let is_lost = newest.map(|row| node.size_of(row.blob)).transpose()?.is_some_and(|size| size.is_none());
        Ok::<_, CallError>(has_imports || is_lost || log::account_changes_since(connection, since)? > CHANGES_MAX)
    })?;
    if !is_due {
        return Ok(false);
    }
    make(node, now)?;
    Ok(true)
}

/// Makes a snapshot of all accounts, stores it and tells of it.
pub(crate) fn make(node: &Node, now: UnixSeconds) -> Result<SnapshotRow, CallError> {
    let (sequence, imports, builder) = node.record.read(|connection| {
        let (sequence, imports) = (log::newest(connection)?, snapshots::imports(connection)?);
        let mut builder = Builder::default();
        snapshots::each_account(connection, &node.keys.pseudonyms, |account, facts| {
            builder.add(account, &facts).map_err(|_| RecordError::Damaged { what: "account that a snapshot can hold" })
        })?;
        Ok::<_, CallError>((sequence, imports, builder))
    })?;
    let accounts = builder.len();
    let parts =
        builder.finish(sequence).map_err(|_| RecordError::Damaged { what: "account that a snapshot can hold" })?;
    let mut hasher = blake3::Hasher::new();
    for part in &parts {
        hasher.update(part);
    }
    let blob = BlobId::from_bytes(*hasher.finalize().as_bytes());
    let row = SnapshotRow { sequence, blob, imports, accounts, created: now };
    if node.size_of(blob)?.is_none() {
        let mut draft = node.origin.draft(blob, Some(parts.iter().map(|part| part.len() as u64).sum()))?;
        parts.iter().try_for_each(|part| draft.write(part))?;
        draft.seal()?;
    }
    // Another one may have been made meanwhile, and edges must never go back: what is not newer is thrown away.
    let told = node.record.keep_house(now, |batch| {
        let known = snapshots::newest(batch.connection())?;
        if let Some(known) = known
            && (known.sequence, known.imports) >= (row.sequence, row.imports)
            && node.size_of(known.blob)?.is_some()
        {
            return Ok::<_, CallError>(Err(known));
        }
        snapshots::put(batch.connection(), row)?;
        batch.tell(change(node, row))?;
        let old = snapshots::older(batch.connection(), KEPT)?;
        old.iter().try_for_each(|row| snapshots::remove(batch.connection(), row.sequence))?;
        Ok(Ok(old.into_iter().chain(known.filter(|known| known.sequence == row.sequence)).collect::<Vec<_>>()))
    })?;
    let (old, newest) = match told {
        Ok(old) => (old, row),
        Err(known) => (vec![row], known),
    };
    for row in old {
        let is_kept = node.record.read(|connection| Ok::<_, CallError>(snapshots::has(connection, row.blob)?))?;
        if !is_kept && let Err(error) = node.origin.remove(&row.blob) {
            tracing::warn!(%error, blob = %row.blob, "an old snapshot of accounts stays behind");
        }
    }
    if newest == row {
        tracing::info!(accounts, sequence, %blob, "made a snapshot of all accounts");
    }
    Ok(newest)
}

/// Refuses a blob that is no snapshot of now.
pub(crate) fn check_is_one(node: &Node, blob: BlobId) -> Result<(), CallError> {
    let is_one = node.record.read(|connection| Ok::<_, CallError>(snapshots::has(connection, blob)?))?;
    if is_one { Ok(()) } else { Err(CallError::NoBlob(blob)) }
}

/// Reads a snapshot through, because an edge says that it is damaged, and makes another where it is.
pub(crate) fn look_at(node: &Node, blob: BlobId) -> Result<SnapshotAnswer, CallError> {
    check_is_one(node, blob)?;
    let mut hasher = blake3::Hasher::new();
    let read = node.origin.reader(&blob).map(|mut reader| io::copy(&mut reader, &mut hasher));
    if matches!(read, Ok(Ok(_))) && hasher.finalize().as_bytes() == blob.as_bytes() {
        return Ok(SnapshotAnswer { sound: true });
    }
    tracing::error!(%blob, "a snapshot of accounts is damaged in the store: another is made");
    // First the next one, which has another name because it is of a later change: whoever starts meanwhile finds one. The
    // damaged one goes even where none could be made, and the next look makes it.
    let made = make(node, node.now());
    node.origin.remove(&blob)?;
    made?;
    Ok(SnapshotAnswer { sound: false })
}

/// What tells edges of a snapshot, with the channel key's word for it.
fn change(node: &Node, row: SnapshotRow) -> CatalogChange {
    let SnapshotRow { sequence, blob, accounts, created, .. } = row;
    let notice = AccountsNotice { blob, sequence, issued: created, accounts }.sign(&node.keys.channel);
    CatalogChange::AccountsSnapshot { blob, sequence, notice }
}

/// Tells all accounts: the newest snapshot and what changed since, or, where there is none, each of them.
pub(crate) fn tell_accounts(
    node: &Node,
    connection: &Connection,
    newest: u64,
    tell: &mut Teller<'_>,
) -> Result<(), CallError> {
    let snapshot = snapshots::newest(connection)?;
    let stored = snapshot.map(|row| node.size_of(row.blob)).transpose()?.flatten();
    match (snapshot, stored) {
        (Some(row), Some(_)) => {
            tell(row.sequence, change(node, row))?;
            log::accounts_since(connection, row.sequence, tell)
        }
        (snapshot, _) => {
            if let Some(row) = snapshot {
                tracing::error!(blob = %row.blob, "the newest snapshot of accounts is not in the store: each is told by itself");
            }
            snapshots::each_account(connection, &node.keys.pseudonyms, |account, facts| {
                tell(newest, CatalogChange::Account { account, facts: Some(facts) })
            })
        }
    }
}
