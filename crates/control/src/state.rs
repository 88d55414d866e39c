//! The whole state as edges are told it: at a start, and to whoever follows from nothing.
//!
//! One function, so that an edge beside control and one far away cannot come to know different things. A new kind of
//! change that describes a state is added here, in the order of what refers to what; nothing else tells a state.

use crate::control::Node;
use crate::error::CallError;
use crate::sql::Connection;
use crate::{channels, log, record, revocations, rollouts, segments, snapshots};
use penstock_core::catalog::CatalogChange;

/// Takes one part of the state and the number of the change that it is of; an error ends the telling.
pub(crate) type Teller<'t> = dyn FnMut(u64, CatalogChange) -> Result<(), CallError> + 't;

/// Tells the whole state of one moment: what a thing refers to comes before it. Returns the number of the last change
/// in it.
pub(crate) fn tell_whole(node: &Node, tell: &mut Teller<'_>) -> Result<u64, CallError> {
    node.record.read(|connection| tell_at(node, connection, tell))
}

/// As [`tell_whole`], on a connection that reads one moment.
pub(crate) fn tell_at(node: &Node, connection: &Connection, tell: &mut Teller<'_>) -> Result<u64, CallError> {
    let newest = log::newest(connection)?;
    let products = record::products::list(connection)?;
    // What forbids comes before what it may forbid.
    let embargo = record::embargoes::newest(connection)?;
    if embargo.version > 0 {
        tell(newest, CatalogChange::Embargo(embargo))?;
    }
    revocations::tell_all(connection, newest, node.now(), tell)?;
    segments::tell_all(node, connection, newest, tell)?;
    for row in &products {
        tell(newest, CatalogChange::Product(row.product.clone()))?;
    }
    for row in record::releases::all(connection)? {
        let members = record::releases::members(connection, row.id)?;
        let channels = record::channels::ever_offering(connection, &row.release)?;
        tell(newest, CatalogChange::Release { release: row.release, members, channels })?;
    }
    rollouts::tell_all(connection, newest, tell)?;
    for row in &products {
        for offer in channels::offers(connection, row)? {
            tell(newest, CatalogChange::Offer(offer))?;
        }
    }
    for blob in record::blobs::all_open(connection)? {
        tell(newest, CatalogChange::LooseBlob { blob, open: true })?;
    }
    snapshots::tell_accounts(node, connection, newest, tell)?;
    Ok(newest)
}
