//! Which components of a release an install gets: those that the player chose, or all that edges give it.
//!
//! What an install can be without and may not have is left out, so that the rest can be installed. Edges are asked for
//! the first part of each such component, which is needed anyway: nothing else says what a caller may read.

use crate::ask::{Query, ask};
use crate::drive::Network;
use crate::error::PullError;
use crate::progress::Progress;
use crate::request::Components;
use crate::shelf::Shelf;
use crate::state::State;
use penstock_core::blob::BlobId;
use penstock_core::entitle::Refusal;
use penstock_core::id::ComponentName;
use penstock_core::manifest::{Component, Root as ManifestRoot};
use penstock_frames::part::PartError;
use std::collections::BTreeSet;

/// Refusals that may speak of one component only: what somebody got beside the rest may have ended, or be for elsewhere.
/// When they speak of all, the rest is refused with them.
const OF_ONE_COMPONENT: [&str; 11] = [
    Refusal::ComponentNotIncluded.code(),
    Refusal::TokenTooNarrow.code(),
    Refusal::PlatformNotIncluded.code(),
    Refusal::ChannelNotIncluded.code(),
    Refusal::ContentNotIncluded.code(),
    Refusal::RegionUnknown.code(),
    Refusal::RegionNotIncluded.code(),
    Refusal::EntitlementEnded.code(),
    Refusal::EntitlementNotStarted.code(),
    Refusal::AgreementRequired.code(),
    Refusal::DeviceRequired.code(),
];

/// Those of them that an answer elsewhere or in an hour may take back: no reason to remove what is installed.
const PASSING: [&str; 3] =
    [Refusal::RegionUnknown.code(), Refusal::AgreementRequired.code(), Refusal::DeviceRequired.code()];

/// A release without what is left out of it.
pub(crate) struct Picked {
    /// Its root, with the other components only.
    pub(crate) root: ManifestRoot,
    pub(crate) left_out: BTreeSet<ComponentName>,
    /// What the player chose, to be remembered; `None` is everything.
    pub(crate) chosen: Option<BTreeSet<ComponentName>>,
    /// Bytes of parts that were fetched to find out.
    pub(crate) fetched_bytes: u64,
}

/// Finds out what to install of a release.
pub(crate) fn pick(
    network: &Network,
    root: &ManifestRoot,
    (wish, state): (&Components, Option<&State>),
    shelf: &Shelf<'_>,
    progress: &dyn Progress,
) -> Result<Picked, PullError> {
    let chosen = match wish {
        Components::AsBefore => state.and_then(|state| state.chosen.clone()),
        Components::All => None,
        Components::Only(names) => Some(check_names(root, names)?.clone()),
    };
    let (mut left_out, mut fetched_bytes) = (BTreeSet::new(), 0);
    for component in root.components.iter().filter(|component| component.optional) {
        let name = &component.name;
        if chosen.as_ref().is_some_and(|chosen| !chosen.contains(name)) {
            left_out.insert(name.clone());
            continue;
        }
        // What lies on the shelf of an interrupted run says nothing of what its player may have today.
        let is_here = state.is_some_and(|state| !state.installed.left_out.contains(name));
        match first_part(network, component, is_here, shelf, progress) {
            Ok(bytes) => fetched_bytes += bytes,
            Err(error) if !is_of_one_component(&error) => return Err(error),
            Err(error) if is_here && refused_by(&error, &PASSING) => {
                return Err(PullError::Component { component: name.clone(), source: Box::new(error) });
            }
            // Only what was asked for just now is refused; what was once chosen must not keep the rest from updates.
            Err(error) if matches!(wish, Components::Only(_)) => {
                return Err(PullError::Component { component: name.clone(), source: Box::new(error) });
            }
            Err(_) => {
                progress.note(&format!("component {name} is not included in what you have: it is left out"));
                left_out.insert(name.clone());
            }
        }
    }
    let mut root = root.clone();
    root.components.retain(|component| !left_out.contains(&component.name));
    Ok(Picked { root, left_out, chosen, fetched_bytes })
}

/// A name that the player typed must be one of the release; one that was chosen for an earlier release may be gone.
fn check_names<'a>(
    root: &ManifestRoot,
    names: &'a BTreeSet<ComponentName>,
) -> Result<&'a BTreeSet<ComponentName>, PullError> {
    let is_there = |name: &&ComponentName| root.components.iter().any(|component| component.name == **name);
    let Some(stray) = names.iter().find(|name| !is_there(name)) else { return Ok(names) };
    let there =
        root.components.iter().filter(|component| component.optional).map(|component| component.name.to_string());
    Err(PullError::NoComponent { component: stray.clone(), there: there.collect::<Vec<_>>().join(", ") })
}

/// Fetches the first part of a component: of one that is here, that the shelf lacks, if it lacks one. Gives the bytes.
fn first_part(
    network: &Network,
    component: &Component,
    is_here: bool,
    shelf: &Shelf<'_>,
    progress: &dyn Progress,
) -> Result<u64, PullError> {
    for part in component.tree.iter().chain(&component.chunks) {
        if is_here && shelf.has(&part.blob, u64::from(part.stored_bytes))? {
            continue;
        }
        let query = Query {
            target: &format!("/v1/blobs/{}", part.blob),
            max: part.stored_bytes as usize,
            asked: &format!("the list of component {}", component.name),
            answers: &OF_ONE_COMPONENT,
        };
        let bytes = ask(network, &query, progress, |bytes| {
            let found = BlobId::of(bytes);
            if found == part.blob {
                Ok(bytes.to_vec())
            } else {
                Err(PartError::Hash { expected: part.blob, found }.into())
            }
        })?;
        shelf.keep(&part.blob, &bytes)?;
        return Ok(bytes.len() as u64);
    }
    Ok(0)
}

fn is_of_one_component(error: &PullError) -> bool {
    refused_by(error, &OF_ONE_COMPONENT)
}

fn refused_by(error: &PullError, codes: &[&str]) -> bool {
    matches!(error, PullError::EdgeRefused { code, .. } if codes.contains(&code.as_str()))
}
