//! Read-only memory maps of sealed files: the one place that makes them.
//!
//! # Contract of the unsafe code
//!
//! A map is sound as long as its bytes do not change while a `&[u8]` of it exists. Sealed files are mode 0444, never
//! opened for writing again and only ever unlinked (which leaves the map intact); `import` guarantees that. Against
//! others who truncate the file there is the guard of `sigbus`; against others who overwrite it there is `scrub` and
//! the client's own check: such bytes are served as data, or read by a reader that believes none of them (the edge's
//! snapshot of accounts), so a change is a wrong answer that is found out, not broken memory.
#![expect(unsafe_code, reason = "one map and one mincore call; the contract is above")]

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, Mmap, MmapOptions};

use crate::sigbus::Slot;

/// Pages asked about in one `mincore` call: 1 MiB of them.
const PROBE_PAGES: usize = 256;

/// A guarded map of the first `len` bytes of a file.
#[derive(Debug)]
pub(crate) struct GuardedMap {
    // Fields drop in this order: the table must forget the map before its addresses can be given to others.
    slot: Slot,
    map: Mmap,
}

/// Keeps the map alive under the `Bytes` that point into it.
struct Owner(Arc<GuardedMap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.map
    }
}

impl GuardedMap {
    /// Maps a sealed file. `None` when no more maps may be made: read it with `pread` then.
    ///
    /// # Errors
    /// Those of `mmap(2)`, unless they say that there are too many maps.
    pub(crate) fn new(file: &File, len: u64) -> io::Result<Option<Arc<Self>>> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        // SAFETY: see the contract above.
        let map = match unsafe { MmapOptions::new().len(len).map(file) } {
            Ok(map) => map,
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Slot::register(map.as_ptr().addr(), map.len()).map(|slot| Arc::new(Self { slot, map })))
    }

    /// All of it, without copying.
    pub(crate) fn bytes(self: &Arc<Self>) -> Bytes {
        Bytes::from_owner(Owner(Arc::clone(self)))
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.slot.is_poisoned()
    }

    pub(crate) fn poison(&self) {
        self.slot.poison();
    }

    /// Brings pages in and maps them, with an error instead of a signal when they are not there.
    ///
    /// # Errors
    /// `EFAULT` when a touch would raise SIGBUS; `EINVAL` from kernels before 5.14.
    pub(crate) fn populate(&self, offset: usize, len: usize) -> io::Result<()> {
        self.map.advise_range(Advice::PopulateRead, offset, len)
    }

    /// Whether every page of the range is in the page cache, so that a touch does not wait for the disk. Only the file's
    /// owner gets a true answer: see [`Probe`](crate::file::Probe).
    pub(crate) fn is_resident(&self, offset: usize, len: usize) -> bool {
        let page = crate::sigbus::page_size();
        let end = (offset + len).min(self.map.len());
        let mut at = offset - offset % page;
        let mut states = [0_u8; PROBE_PAGES];
        while at < end {
            let pages = (end - at).div_ceil(page).min(PROBE_PAGES);
            let start = self.map[at..].as_ptr().cast_mut().cast();
            // SAFETY: `start` is a page boundary inside the map, `pages` pages from there belong to it, and `states`
            // has a byte for each of them. mincore touches no mapped page.
            let answered = unsafe { libc::mincore(start, pages * page, states.as_mut_ptr()) } == 0;
            if !answered || states[..pages].iter().any(|state| state & 1 == 0) {
                return false;
            }
            at += pages * page;
        }
        true
    }
}
