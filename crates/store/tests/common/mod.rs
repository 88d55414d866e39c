//! Content, stores and children for the store's tests.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::path::{Path, PathBuf};

use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_store::{Reading, Store, StoreOptions};

/// Sizes at which a store behaves differently, with the reason.
pub(crate) const SIZES: [usize; 7] = [
    0,         // no bytes to range over
    1,         // the smallest that has some
    16_384,    // the largest held in memory
    16_385,    // the smallest that is mapped and has an outboard file
    262_144,   // a whole write buffer
    262_145,   // one byte more
    3_000_001, // several read windows, ends inside a page
];

pub(crate) const MODES: [Reading; 2] = [Reading::Map, Reading::Pread];

/// Whether the full matrices are asked for (`cargo xtask full`), not only what every change must pass.
pub(crate) fn is_full() -> bool {
    std::env::var_os("PENSTOCK_FULL").is_some_and(|value| value == "1")
}

/// Drops a file's pages from the cache until `is_cold` says so. The kernel leaves pages that somebody looks at just then,
/// such as a scan of all memory, and tells nobody.
pub(crate) fn drop_pages(file: &std::fs::File, is_cold: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    loop {
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).expect("drops the pages");
        if is_cold() {
            return;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "the pages stay in the cache");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Bytes that depend on `seed`, different for every seed and not periodic in any block size.
pub(crate) fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn open(dir: &Path, reading: Reading) -> Store {
    Store::open(dir, StoreOptions { reading, ..StoreOptions::default() }).expect("the store opens")
}

pub(crate) fn put(store: &Store, content: &[u8]) -> BlobId {
    let sealed = store.import_reader(&mut &content[..]).expect("imports");
    assert_eq!(sealed.blob, BlobId::of(content));
    sealed.blob
}

pub(crate) fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("not empty")
}

/// Reads all of a blob and compares it with its name.
pub(crate) fn is_sound(store: &Store, blob: &BlobId, size: BlobSize) -> bool {
    let Ok(view) = store.view(blob) else { return false };
    let bytes = match ByteRange::whole(size) {
        Some(whole) => view.read(whole).expect("reads"),
        None => bytes::Bytes::new(),
    };
    let outboard = view.outboard().expect("has an outboard");
    let checked = penstock_core::tree::Outboard::check(*blob, &outboard).expect("the outboard is sound");
    checked.shape().size() == size && BlobId::of(&bytes) == *blob
}

pub(crate) fn blob_path(dir: &Path, blob: &BlobId) -> PathBuf {
    let name = blob.to_string();
    dir.join(&name[..2]).join(name)
}

pub(crate) fn outboard_path(dir: &Path, blob: &BlobId) -> PathBuf {
    blob_path(dir, blob).with_added_extension("obao")
}

/// Makes a sealed file writable for the test's mischief.
pub(crate) fn reopen_for_mischief(path: &Path) -> std::fs::File {
    let mut permissions = std::fs::metadata(path).expect("is there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    std::fs::set_permissions(path, permissions).expect("changes the mode");
    std::fs::OpenOptions::new().write(true).open(path).expect("opens")
}

/// A directory in memory where the machine has one: for tests that open hundreds of stores and need no real disk.
pub(crate) fn fast_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory")
}

/// Every file under the store that is not a sealed blob of the catalogue, an outboard or digest of one, or the lock.
pub(crate) fn strays(dir: &Path, store: &Store) -> Vec<PathBuf> {
    let known: Vec<BlobId> = store.list().into_iter().map(|(blob, _)| blob).collect();
    let mut strays = Vec::new();
    for sub in std::fs::read_dir(dir).expect("lists") {
        let sub = sub.expect("lists").path();
        if !sub.is_dir() || sub.ends_with("quarantine") {
            continue;
        }
        for file in std::fs::read_dir(sub).expect("lists") {
            let path = file.expect("lists").path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("has a name");
            if !stem.parse::<BlobId>().is_ok_and(|blob| known.contains(&blob)) {
                strays.push(path);
            }
        }
    }
    strays
}
