//! How a store reads, and the bounds on what it keeps open.

/// How blobs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// Memory maps: no copy between page cache and socket. For local file systems.
    #[default]
    Map,
    /// `pread` into buffers: for file systems whose maps cannot be trusted (network and FUSE mounts). One copy more.
    Pread,
}

/// Most blobs kept open between requests. Each costs a descriptor and a map, and a second map once its outboard is
/// read; a larger value costs those, a smaller one an `open` and `mmap` (about 20 µs) for a blob that comes back.
pub const OPEN_VIEWS_DEFAULT: usize = 4096;
/// Upper bound of the above, whatever is asked for. Views that are evicted stay open while a response uses them, hence
/// the distance to the process limits below. A process whose descriptor limit is below four times this has less:
/// [`Store::open_views_max`](crate::Store::open_views_max) says what holds.
pub const OPEN_VIEWS_MAX: usize = 8192;
/// Most maps that exist at once in the process: one for each open view, a second for its outboard once that was read,
/// those of evicted views included as long as a response uses them. When they run out, blobs are read by `pread`.
pub(crate) const MAPS_MAX: usize = 32_768;
/// Most blobs kept in quarantine; the oldest makes room.
pub const QUARANTINED_MAX: usize = 64;

/// Descriptors a process may have on the machines we know; sockets need the other half.
const PROCESS_FILES: usize = 20_000;
/// Kernel default of `vm.max_map_count`; a poisoned map counts twice, and libraries and stacks need some.
const PROCESS_MAPS: usize = 65_530;

const _: () = {
    assert!(OPEN_VIEWS_DEFAULT <= OPEN_VIEWS_MAX);
    assert!(OPEN_VIEWS_MAX * 2 <= PROCESS_FILES);
    assert!(OPEN_VIEWS_MAX * 2 <= MAPS_MAX);
    assert!(MAPS_MAX < PROCESS_MAPS - 16_384);
};

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// How blobs are read. Default: maps.
    pub reading: Reading,
    /// Most blobs kept open, at least 1; values above [`OPEN_VIEWS_MAX`], or above a quarter of the process's
    /// descriptor limit at the time of opening, are lowered to it, and the log says so.
    /// [`Store::open_views_max`](crate::Store::open_views_max) says what holds. Default: [`OPEN_VIEWS_DEFAULT`].
    pub open_views_max: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { reading: Reading::Map, open_views_max: OPEN_VIEWS_DEFAULT }
    }
}

impl StoreOptions {
    /// The bound that holds in a process that may open `process_files` descriptors.
    pub(crate) fn open_views(&self, process_files: Option<u64>) -> usize {
        let quarter = process_files.and_then(|files| usize::try_from(files / 4).ok()).unwrap_or(OPEN_VIEWS_MAX);
        self.open_views_max.min(OPEN_VIEWS_MAX).min(quarter).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_views_stay_far_from_the_process_limit() {
        let asked = |open_views_max| StoreOptions { open_views_max, ..StoreOptions::default() };
        assert_eq!(asked(4096).open_views(Some(20_000)), 4096);
        assert_eq!(asked(usize::MAX).open_views(None), OPEN_VIEWS_MAX);
        assert_eq!(asked(4096).open_views(Some(1024)), 256);
        assert_eq!(asked(0).open_views(Some(0)), 1);
    }
}
