//! What an install calls itself: `.penstock/install`, 128 random bits in hexadecimal.
//!
//! A rollout counts installs by this name, so it is made once and stays: also when the state is lost, and when the first
//! pull was interrupted before there was one. It says nothing of the player or the machine, and prints as stars.

use crate::error::DiskError;
use crate::layout;
use crate::platform::Root;
use crate::state::{read_if_there, write_synced};
use penstock_core::request::InstallId;

/// Digits of an id.
const DIGITS: usize = 32;

/// The id that is kept here. One that was cut off while it was written is none.
pub(crate) fn kept(root: &Root) -> Result<Option<InstallId>, DiskError> {
    let bytes = read_if_there(root, layout::INSTALL, DIGITS as u64 + 1)?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let is_id = |text: &String| text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(text.filter(is_id).and_then(|text| InstallId::new(&text)))
}

/// A new id; none when the system gives no random bytes, and then the install has its turn with the last.
pub(crate) fn fresh() -> Option<InstallId> {
    let mut bytes = [0; DIGITS / 2];
    getrandom::fill(&mut bytes).ok()?;
    InstallId::new(&format!("{:032x}", u128::from_le_bytes(bytes)))
}

/// Keeps an id, unless there is one already. A volume that has no room for it must not stop a pull.
pub(crate) fn keep(root: &Root, id: &InstallId) {
    let kept = match kept(root) {
        Ok(None) => write_synced(root, layout::INSTALL, id.expose().as_bytes()),
        other => other.map(drop),
    };
    if let Err(error) = kept {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "the install's id cannot be kept: the next pull draws another one");
    }
}
