//! Carries out a commit: journal, renames, one sync, state. Also what every command does first:
//! finishing a commit that a crash interrupted.
//!
//! What each step buys: the sync before the journal makes staged content durable; the synced journal is
//! the point of no return; the sync after the renames makes them durable before the state says so;
//! the state's rename makes the new version the installed one; then the journal may go.

use crate::error::PullError;
use crate::install::kept_manifest;
use crate::journal::{Op, Reader};
use crate::layout;
use crate::platform::{Found, Root};
use crate::progress::{Phase, Progress};
use crate::shelf::Shelf;
use crate::stage;
use crate::state::State;
use penstock_core::path::CLIENT_DIR;
use std::collections::HashSet;

/// Finishes what an earlier run left. Returns whether there was anything.
pub(crate) fn recover(root: &Root, progress: &dyn Progress) -> Result<bool, PullError> {
    if root.stat(CLIENT_DIR)? != Some(Found::Directory) {
        return Ok(false);
    }
    // A journal without its name was never decided.
    root.remove_file(layout::JOURNAL_NEW)?;
    root.remove_file(layout::STATE_NEW)?;
    let Some(journal) = Reader::open(root)? else { return Ok(false) };
    progress.begin(Phase::Recover, journal.len() as u64);
    carry_out(root, &journal, progress)?;
    Ok(true)
}

/// Carries out the journal that was just written.
pub(crate) fn commit(root: &Root, progress: &dyn Progress) -> Result<(), PullError> {
    let Some(journal) = Reader::open(root)? else { return Ok(()) };
    progress.begin(Phase::Commit, journal.len() as u64);
    carry_out(root, &journal, progress)
}

fn carry_out(root: &Root, journal: &Reader, progress: &dyn Progress) -> Result<(), PullError> {
    let keep_in = journal.head.keep_in.as_ref().map(|name| format!("{CLIENT_DIR}/{name}"));
    if let Some(dir) = &keep_in {
        root.make_dir(dir)?;
    }
    journal.each(|op| {
        step(root, op, keep_in.as_deref())?;
        progress.advance(1);
        Ok(())
    })?;
    progress.begin(Phase::Sync, 0);
    root.sync_all()?;
    // Progress of nothing: instants at which the crash tests die.
    progress.advance(0);
    journal.head.state.save(root)?;
    progress.advance(0);
    root.remove_file(layout::JOURNAL)?;
    progress.advance(0);
    root.sync_dir(CLIENT_DIR)?;
    if journal.head.last {
        tidy_up(root, &journal.head.state)?;
    }
    progress.advance(0);
    Ok(())
}

fn step(root: &Root, op: Op, keep_in: Option<&str>) -> Result<(), PullError> {
    let kept = |row: Option<usize>| Some(format!("{}/{}", keep_in?, row?));
    match op {
        Op::Aside { path, to } => {
            // After a replay the player's file is aside already and ours may be at the path.
            if root.stat(&to)?.is_none() && root.stat(&path)?.is_some() {
                root.rename(&path, &to)?;
            }
        }
        Op::Remove { path, keep, unless_placed, unless_same } => {
            if let Some(twin) = unless_same
                && root.is_same(&path, &twin)?
            {
                return Ok(());
            }
            if unless_placed.is_some_and(|row| !matches!(root.stat(&layout::staged(row)), Ok(Some(_)))) {
                return Ok(());
            }
            match (kept(keep), root.stat(&path)?) {
                (Some(kept), Some(Found::File { .. } | Found::Link(_))) => {
                    root.rename(&path, &kept)?;
                    // Renaming a name over another name of the same file does nothing and leaves both.
                    root.remove_file(&path)?;
                }
                _ => root.remove_file(&path)?,
            }
        }
        Op::RemoveDir { path } => {
            root.remove_dir(&path)?;
        }
        Op::MakeDir { path } => root.make_dir(&path)?,
        Op::Place { staged, path, keep } => {
            let from = layout::staged(staged);
            if root.stat(&from)?.is_none() {
                return Ok(());
            }
            if let Some(kept) = kept(keep)
                && root.stat(&kept)?.is_none()
                && matches!(root.stat(&path)?, Some(Found::File { .. } | Found::Link(_)))
                && !root.hard_link(&path, &kept)?
            {
                root.rename(&path, &kept)?;
            }
            root.rename(&from, &path)?;
            // Renaming a name over another name of the same file does nothing and leaves both.
            root.remove_file(&from)?;
        }
        Op::Mode { path, executable } => root.set_executable(&path, executable)?,
    }
    Ok(())
}

/// Removes what the installed release does not need: staging, other releases' parts and kept files.
pub(crate) fn tidy_up(root: &Root, state: &State) -> Result<(), PullError> {
    stage::clear(root)?;
    let mut wanted = HashSet::new();
    let releases = [Some(&state.installed), state.unfinished.as_ref(), state.previous.as_ref()];
    for release in releases.into_iter().flatten() {
        wanted.insert(release.manifest);
        let shelf = Shelf::of(root);
        if let Some(manifest) = kept_manifest(&shelf, release)? {
            wanted.extend(manifest.root.parts().map(|part| part.blob));
        }
    }
    Shelf::retain(root, &wanted)?;
    drop_stale_kept(root, state)
}

/// Removes kept files of releases that `rollback` does not lead to. They may share their bytes with live
/// files, when a crash came before they could be removed.
pub(crate) fn drop_stale_kept(root: &Root, state: &State) -> Result<(), PullError> {
    let kept = state.previous.as_ref().map(|release| layout::previous_name(&release.identity()));
    for name in root.list(CLIENT_DIR)? {
        if name.starts_with("previous-") && Some(&name) != kept.as_ref() {
            remove_flat_dir(root, &format!("{CLIENT_DIR}/{name}"))?;
        }
    }
    Ok(())
}

fn remove_flat_dir(root: &Root, dir: &str) -> Result<(), PullError> {
    for name in root.list(dir)? {
        root.remove_file(&format!("{dir}/{name}"))?;
    }
    root.remove_dir(dir)?;
    Ok(())
}
