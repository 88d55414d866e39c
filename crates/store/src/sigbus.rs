//! The guard under memory maps: a page that vanished must cut off one response, not the process.
//!
//! Touching a mapped page whose file was truncated (or whose sector cannot be read) raises SIGBUS. The handler looks
//! the address up in a table of our maps. When it is ours, the map is marked *poisoned* and private zero pages are put
//! from the fault to the map's end, so that the touch completes; whoever reads checks [`Slot::is_poisoned`] before
//! trusting what was read. Any other SIGBUS gets the action that was there before us.
//!
//! # Contract of the unsafe code
//!
//! * The handler calls only `mmap`, `sigaction` and `raise`, reads and writes atomics, and keeps `errno`: nothing that
//!   allocates or locks, so it may interrupt anything.
//! * A [`Slot`] exists only while its map does: the map's owner registers after mapping and drops the slot before
//!   unmapping. A fault inside a map therefore finds a table entry that is not being changed, and `MAP_FIXED` replaces
//!   pages of that map only.
//! * Entries are guarded by a version that is odd while they change; a foreign fault that meets a half-changed entry
//!   skips it.
#![expect(unsafe_code, reason = "a signal handler and MAP_FIXED; the contract is above")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{c_int, c_void, siginfo_t};

use crate::options::MAPS_MAX;

struct Entry {
    /// Odd while the entry changes.
    version: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    poisoned: AtomicBool,
}

static TABLE: [Entry; MAPS_MAX] = [const {
    Entry {
        version: AtomicUsize::new(0),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        poisoned: AtomicBool::new(false),
    }
}; MAPS_MAX];
/// Entries from here on were never used; the handler stops there.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Entries below `USED` that are free again.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static PAGE: AtomicUsize = AtomicUsize::new(4096);
/// The action before ours; leaked once, at installation.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(null_mut());

/// A registered map.
#[derive(Debug)]
pub(crate) struct Slot {
    index: usize,
}

impl Slot {
    /// Puts `[start, start + len)` under the guard; `None` when the table is full.
    pub(crate) fn register(start: usize, len: usize) -> Option<Self> {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match free.pop() {
            Some(index) => index,
            None => {
                let index = USED.load(Ordering::Relaxed);
                if index == MAPS_MAX {
                    return None;
                }
                USED.store(index + 1, Ordering::Release);
                index
            }
        };
        drop(free);
        TABLE[index].poisoned.store(false, Ordering::Relaxed);
        TABLE[index].set(start, start.saturating_add(len));
        Some(Self { index })
    }

    /// Whether a page of the map vanished.
    pub(crate) fn is_poisoned(&self) -> bool {
        TABLE[self.index].poisoned.load(Ordering::Acquire)
    }

    /// Marks the map as not to be believed.
    pub(crate) fn poison(&self) {
        TABLE[self.index].poisoned.store(true, Ordering::Release);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        TABLE[self.index].set(0, 0);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
    }
}

impl Entry {
    /// Called by the one owner of the entry.
    fn set(&self, start: usize, end: usize) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The end of the map, if it holds `address` and is not being changed.
    fn end_if_holding(&self, address: usize) -> Option<usize> {
        let before = self.version.load(Ordering::Acquire);
        let (start, end) = (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let stable = before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before;
        (stable && start <= address && address < end).then_some(end)
    }
}

/// Installs the handler, once for the process.
///
/// # Errors
/// Those of `sigaction(2)`, every time.
pub(crate) fn install() -> io::Result<()> {
    static DONE: OnceLock<Result<(), i32>> = OnceLock::new();
    DONE.get_or_init(|| {
        // SAFETY: sysconf has no preconditions.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        PAGE.store(usize::try_from(page).map_err(|_| libc::EINVAL)?, Ordering::Relaxed);
        let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a zeroed sigaction is a valid value; the first call only reads the present action into it.
        let previous = unsafe {
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), previous.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL));
            }
            previous.assume_init()
        };
        PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::Release);
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_sigbus;
        // SAFETY: `action` is fully set; the handler keeps to the contract above and has the SA_SIGINFO signature.
        let installed = unsafe {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const action, null_mut())
        };
        if installed == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)) }
    })
    .map_err(io::Error::from_raw_os_error)
}

/// Bytes of a page, once the handler is installed.
pub(crate) fn page_size() -> usize {
    PAGE.load(Ordering::Relaxed)
}

extern "C" fn on_sigbus(_signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler, and for a positive code (a fault, not a
    // signal that somebody sent) `si_addr` is the address that was touched. errno belongs to this thread. PREVIOUS is
    // null or a leaked, valid action.
    unsafe {
        let errno = *libc::__errno_location();
        let is_fault = (*info).si_code > 0;
        if !is_fault || !rescue((*info).si_addr() as usize) {
            let previous = PREVIOUS.load(Ordering::Acquire);
            if !previous.is_null() {
                libc::sigaction(libc::SIGBUS, previous, null_mut());
            }
            // A fault is met again when the touch is repeated on return; a signal that was sent must be sent again.
            if !is_fault {
                libc::raise(libc::SIGBUS);
            }
        }
        *libc::__errno_location() = errno;
    }
}

/// Puts zero pages under the rest of the map that holds `address`, and poisons it. `false` when it is not ours.
fn rescue(address: usize) -> bool {
    let page = PAGE.load(Ordering::Relaxed);
    for entry in &TABLE[..USED.load(Ordering::Acquire).min(MAPS_MAX)] {
        let Some(end) = entry.end_if_holding(address) else { continue };
        entry.poisoned.store(true, Ordering::Release);
        let from = address & !(page - 1);
        let len = end.next_multiple_of(page) - from;
        // SAFETY: [from, from + len) are pages of a registered map, which exists at least as long as the touch that
        // faulted lasts. Its owner unmaps the whole of it later, these pages included.
        let mapped = unsafe {
            libc::mmap(
                from as *mut c_void,
                len,
                libc::PROT_READ,
                libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        return mapped != libc::MAP_FAILED;
    }
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    const FOREIGN: &str = "PENSTOCK_TEST_FOREIGN_FAULT";

    /// Runs itself as a child that touches a truncated map which is not in the table: it must die of SIGBUS.
    #[test]
    fn a_foreign_fault_keeps_its_default_action() {
        if std::env::var_os(FOREIGN).is_some() {
            install().expect("installs");
            let file = tempfile::tempfile().expect("a temporary file");
            file.set_len(8192).expect("grows");
            // SAFETY: the point of the test is that this map is touched after its file shrank.
            let map = unsafe { memmap2::Mmap::map(&file) }.expect("maps");
            file.set_len(0).expect("shrinks");
            assert_eq!(std::hint::black_box(map[5000]), 1, "the touch must not return");
            return;
        }
        let status = Command::new(std::env::current_exe().expect("knows itself"))
            .args(["--exact", "sigbus::tests::a_foreign_fault_keeps_its_default_action"])
            .env(FOREIGN, "1")
            .output()
            .expect("runs itself")
            .status;
        assert_eq!(status.signal(), Some(libc::SIGBUS), "{status:?}");
    }

    #[test]
    fn entries_are_used_again_and_addresses_outside_are_not_ours() {
        let slot = Slot::register(0x1000, 0x1000).expect("room");
        assert!(TABLE[slot.index].end_if_holding(0x1fff).is_some());
        assert!(TABLE[slot.index].end_if_holding(0x2000).is_none());
        assert!(TABLE[slot.index].end_if_holding(0xfff).is_none());
        slot.poison();
        assert!(slot.is_poisoned());
        let index = slot.index;
        drop(slot);
        assert!(TABLE[index].end_if_holding(0x1800).is_none());
    }
}
