//! Every step of an import can be the last one: dead machines, failing disks, killed processes.
//!
//! `PENSTOCK_FULL=1` also tries the steps of a start one by one, more ways to fail, and more rounds: a batch syncs in
//! threads, so its steps come in another order each time.

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use common::{content, fast_dir, is_full, is_sound, open, put, strays};
use penstock_core::blob::{BlobId, BlobSize};
use penstock_store::disk::image::{ImageDisk, Loss, Plan};
use penstock_store::{Reading, Store, StoreOptions};

const LOSSES: [Loss; 4] = [Loss::Nothing, Loss::Bytes, Loss::HalfTheBytes, Loss::NamesAndBytes];

/// What a store told its caller before it died.
#[derive(Default)]
struct Promised {
    sealed: Vec<BlobId>,
    removed: Vec<BlobId>,
}

/// How often the matrices are gone through.
fn rounds() -> usize {
    if is_full() { 4 } else { 1 }
}

/// The operations of a store's first start: 258 directories and their sync.
const START: u64 = 258;

fn small() -> Vec<u8> {
    content(1, 1000)
}

fn large() -> Vec<u8> {
    content(2, 300_000)
}

/// Imports a blob in memory, a blob with an outboard, a batch of three, and removes one.
fn scenario(disk: &ImageDisk, dir: &Path, promised: &mut Promised) -> Option<()> {
    let store = Store::open_on(Arc::new(disk.clone()), dir, StoreOptions::default()).ok()?;
    for content in [small(), large()] {
        promised.sealed.push(store.import_reader(&mut content.as_slice()).ok()?.blob);
    }
    let mut drafts = Vec::new();
    for seed in 3..6 {
        let mut draft = store.draft(None, None).ok()?;
        draft.write(&content(seed, 40_000)).ok()?;
        drafts.push(draft);
    }
    promised.sealed.extend(store.seal_all(drafts).into_iter().flatten().map(|sealed| sealed.blob));
    let first = BlobId::of(&small());
    if store.remove(&first).ok()? {
        promised.removed.push(first);
    }
    Some(())
}

fn count_operations() -> u64 {
    let dir = fast_dir();
    let disk = ImageDisk::new(dir.path(), Plan::Work);
    let mut promised = Promised::default();
    scenario(&disk, dir.path(), &mut promised).expect("works");
    assert_eq!((promised.sealed.len(), promised.removed.len()), (5, 1));
    disk.operations()
}

/// All that must hold when a store is opened on what a crash left.
fn recovers(dir: &Path, promised: &Promised, at: &str) {
    let store = open(dir, Reading::Map);
    for blob in &promised.sealed {
        if *blob != BlobId::of(&small()) {
            assert!(store.size_of(blob).is_some(), "{at}: a sealed blob is lost");
        }
    }
    for blob in &promised.removed {
        assert!(store.size_of(blob).is_none(), "{at}: a removed blob is back");
    }
    for (blob, size) in store.list() {
        assert!(is_sound(&store, &blob, size), "{at}: a listed blob is not whole");
    }
    assert!(strays(dir, &store).is_empty(), "{at}: leftovers remain: {:?}", strays(dir, &store));
    put(&store, &large());
    assert!(is_sound(&store, &BlobId::of(&large()), BlobSize(300_000)), "{at}: the store does not work any more");
}

#[test]
fn a_crash_at_any_step_loses_nothing_that_was_promised() {
    let total = count_operations();
    // Dying while one of the directories is made is much like dying while another one is.
    let in_the_start: Vec<u64> = if is_full() { (0..START).collect() } else { vec![0, 1, 2, 100, START - 1] };
    let every_step = |_| START..=total;
    for last in in_the_start.into_iter().chain((0..rounds()).flat_map(every_step)) {
        let dir = fast_dir();
        let disk = ImageDisk::new(dir.path(), Plan::FailFrom(last, ErrorKind::Other));
        let mut promised = Promised::default();
        let finished = scenario(&disk, dir.path(), &mut promised).is_some();
        assert_eq!(finished, last == total);
        for loss in LOSSES {
            let left = fast_dir();
            disk.leave(loss, left.path()).expect("lays out what is left");
            recovers(left.path(), &promised, &format!("dead from operation {last} of {total}, losing {loss:?}"));
        }
    }
}

#[test]
fn a_failure_at_any_step_leaves_nothing_half_written() {
    let total = count_operations();
    let more =
        [ErrorKind::QuotaExceeded, ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem, ErrorKind::Interrupted];
    let kinds = [ErrorKind::StorageFull, ErrorKind::Other].into_iter().chain(more.into_iter().filter(|_| is_full()));
    for kind in kinds {
        for at in if is_full() { 0 } else { START }..total {
            let dir = fast_dir();
            let disk = ImageDisk::new(dir.path(), Plan::FailAt(at, kind));
            let mut promised = Promised::default();
            scenario(&disk, dir.path(), &mut promised);
            recovers(dir.path(), &promised, &format!("operation {at} of {total} failed with {kind:?}"));
        }
    }
}

#[test]
fn a_full_disk_is_survived_by_the_running_store() {
    let total = count_operations();
    for at in (0..rounds()).flat_map(|_| START + 2..total) {
        let dir = fast_dir();
        let disk = ImageDisk::new(dir.path(), Plan::Work);
        let store = Store::open_on(Arc::new(disk.clone()), dir.path(), StoreOptions::default()).expect("opens");
        disk.set_plan(Plan::FailAt(at, ErrorKind::StorageFull));
        let first = store.import_reader(&mut large().as_slice());
        let second =
            store.import_reader(&mut large().as_slice()).or_else(|_| store.import_reader(&mut large().as_slice()));
        assert!(second.is_ok(), "operation {at}: an import after the failure works: {first:?}, {second:?}");
        assert!(is_sound(&store, &BlobId::of(&large()), BlobSize(300_000)));
        assert_eq!(store.list().len(), 1);
    }
}

const CHILD_DIR: &str = "PENSTOCK_TEST_IMPORT_DIR";
const CHILD_BLOBS: u64 = 40;

/// Imports blobs of growing size into a directory of its own; as the child of the next test, into the given one,
/// with a line on standard output for each that is sealed.
#[test]
fn an_importer() {
    let own = tempfile::tempdir().expect("a directory");
    let given = std::env::var_os(CHILD_DIR).map(std::path::PathBuf::from);
    let store = open(given.as_deref().unwrap_or(own.path()), Reading::Map);
    for number in 0..CHILD_BLOBS {
        let blob = put(&store, &content(number, child_blob_size(number)));
        if given.is_some() {
            use std::io::Write;
            writeln!(std::io::stdout(), "sealed {blob}").expect("the parent reads");
        }
    }
    assert!(store.list().len() as u64 >= CHILD_BLOBS);
}

fn child_blob_size(number: u64) -> usize {
    usize::try_from(number * 50_000 + 1).expect("fits")
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Killing a child that has ended fails, and that is all it does.
        drop(self.0.kill());
        self.0.wait().expect("the child is reaped");
    }
}

#[test]
fn kill_9_in_the_middle_of_an_import_loses_nothing_that_was_sealed() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().expect("a directory");
    let mut sealed: Vec<BlobId> = Vec::new();
    // Before the first child has made the directory there are none.
    let drafts = || std::fs::read_dir(dir.path().join("tmp")).map_or(0, Iterator::count);
    let mut caught_in_the_middle = 0;
    // Each round waits for one more look at the draft, so that a later instant is met.
    for round in 0..if is_full() { 48 } else { 12_usize } {
        let mut child = Killed(
            Command::new(std::env::current_exe().expect("knows itself"))
                .args(["--exact", "an_importer", "--nocapture"])
                .env(CHILD_DIR, dir.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("runs itself"),
        );
        // Killed while it works on the blob after the one that it reported: later in every round, and each time a few
        // looks at the draft later.
        let lines = BufReader::new(child.0.stdout.take().expect("is piped")).lines();
        let mut looks = 0;
        for line in lines {
            let line = line.expect("reads");
            // The harness writes "test an_importer ... " on the same line as the first report.
            let Some((_, blob)) = line.split_once("sealed ") else { continue };
            sealed.push(blob.parse().expect("a blob's name"));
            while sealed.len() % 4 == 3 && looks <= round && child.0.try_wait().expect("answers").is_none() {
                looks += usize::from(drafts() > 0);
            }
            if looks > round {
                child.0.kill().expect("kills");
                break;
            }
        }
        drop(child);
        caught_in_the_middle += usize::from(drafts() > 0);
        let store = open(dir.path(), Reading::Map);
        for blob in &sealed {
            assert!(store.size_of(blob).is_some(), "round {round}: a sealed blob is lost");
        }
        for (blob, size) in store.list() {
            assert!(is_sound(&store, &blob, size), "round {round}: a listed blob is not whole");
        }
        assert!(strays(dir.path(), &store).is_empty(), "round {round}: leftovers remain");
    }
    assert!(caught_in_the_middle > 0, "no kill met an import in the middle: the test proves nothing");
}
