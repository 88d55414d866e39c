//! A full disk and missing permissions, on real file systems and as a user who can be refused.

mod common;

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{content, is_sound, open, put, strays};
use penstock_core::blob::{BlobId, BlobSize};
use penstock_store::{DiskError, ImportError, OpenError, Reading, Store, StoreOptions};

/// A small file system in memory, for as long as the value lives.
struct SmallVolume(tempfile::TempDir);

impl SmallVolume {
    fn mount(size: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).status();
        assert!(
            mounted.as_ref().is_ok_and(std::process::ExitStatus::success),
            "this test mounts a tmpfs and needs root for it: {mounted:?}"
        );
        Self(dir)
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_is_named_and_nothing_is_left() {
    let volume = SmallVolume::mount("8m");
    let dir = volume.0.path();
    let store = open(dir, Reading::Map);
    let fits = content(1, 3 << 20);
    put(&store, &fits);

    let known_too_large = store.draft(None, Some(7 << 20));
    assert!(matches!(known_too_large, Err(ImportError::Disk(DiskError::Full { .. }))), "{known_too_large:?}");
    let mut draft = store.draft(None, None).expect("begins");
    let error = content(2, 7 << 20).chunks(100_000).find_map(|piece| draft.write(piece).err()).expect("does not fit");
    assert!(matches!(&error, ImportError::Disk(DiskError::Full { .. })), "{error:?}");
    assert!(error.to_string().contains("is full"), "{error}");
    assert!(matches!(draft.write(b"more"), Err(ImportError::Broken)));
    assert!(matches!(draft.seal(), Err(ImportError::Broken)));

    assert_eq!(strays(dir, &store), Vec::<PathBuf>::new());
    assert_eq!(store.list(), [(BlobId::of(&fits), BlobSize(3 << 20))]);
    assert!(is_sound(&store, &BlobId::of(&fits), BlobSize(3 << 20)), "what was there is still served");
    assert!(store.free_bytes().expect("answers") > 4 << 20, "the space is free again");
    put(&store, &content(3, 4 << 20));
}

const CASE: &str = "PENSTOCK_TEST_REFUSED_CASE";
const DIR: &str = "PENSTOCK_TEST_REFUSED_DIR";
/// `nobody` on every Linux.
const UNPRIVILEGED: u32 = 65_534;

/// Runs one case of [`the_cases`] as a user without rights, on a directory that `prepare` has arranged.
fn as_nobody(case: &str, prepare: impl FnOnce(&Path)) {
    // The copy lies where anybody may execute it, wherever the build directory is.
    let place = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).expect("opens the directory");
    let program = place.path().join("refused");
    std::fs::copy(std::env::current_exe().expect("knows itself"), &program).expect("copies itself");
    let dir = place.path().join("store");
    std::fs::create_dir(&dir).expect("creates");
    prepare(&dir);
    let output = Command::new(&program)
        .args(["--exact", "the_cases", "--nocapture"])
        .env(CASE, case)
        .env(DIR, &dir)
        .uid(UNPRIVILEGED)
        .gid(UNPRIVILEGED)
        .output()
        .expect("this test drops to an unprivileged user and needs root for it");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(&format!("refused: {case}")), "{output:?}");
}

/// As the child of the tests below, what an unprivileged process sees; by itself, nothing is refused.
#[test]
fn the_cases() {
    use std::io::Write;
    let Some(case) = std::env::var_os(CASE) else {
        let dir = tempfile::tempdir().expect("a directory");
        put(&open(dir.path(), Reading::Map), b"not refused");
        return;
    };
    let dir = PathBuf::from(std::env::var_os(DIR).expect("is set"));
    assert_eq!(rustix::process::geteuid().as_raw(), UNPRIVILEGED);
    let case = case.into_string().expect("is text");
    match case.as_str() {
        "a foreign directory" => {
            let error = Store::open(&dir, StoreOptions::default()).expect_err("is refused");
            assert!(matches!(error, OpenError::Disk(DiskError::Denied { .. })), "{error:?}");
            assert!(error.to_string().starts_with("no permission to"), "{error}");
        }
        "a foreign shard" => {
            let store = open(&dir, Reading::Map);
            let blob = BlobId::of(&content(1, 100_000));
            let error = store.import_reader(&mut content(1, 100_000).as_slice()).expect_err("is refused");
            assert!(matches!(error, ImportError::Disk(DiskError::Denied { .. })), "{error:?}");
            assert_eq!(store.size_of(&blob), None);
            assert_eq!(strays(&dir, &store), Vec::<PathBuf>::new());
        }
        "an unreadable blob" => {
            let store = open(&dir, Reading::Map);
            let blob = BlobId::of(&content(1, 100_000));
            let error = store.view(&blob).expect_err("is refused");
            assert!(error.to_string().starts_with("no permission to open"), "{error}");
            assert!(store.size_of(&blob).is_some(), "a blob that cannot be read now is not thrown away");
        }
        "blobs of somebody else" => {
            let store = open(&dir, Reading::Map);
            let content = content(1, 64 << 20);
            let view = store.view(&BlobId::of(&content)).expect("may be read");
            let file = view.file().expect("has a file");
            assert_ne!(std::os::unix::fs::MetadataExt::uid(&file.metadata().expect("looks")), UNPRIVILEGED);
            // Far larger than what the system reads ahead.
            let window = common::range(1 << 20, 63 << 20);
            // mincore tells a stranger that every page is there, always.
            common::drop_pages(file, || !view.is_resident(window));
            view.load_window(common::range(1 << 20, 2 << 20)).expect("loads");
            assert!(view.try_window(window).is_none(), "a page behind others that are there");
            assert!(view.load_window(window).expect("loads")[..] == content[1 << 20..63 << 20]);
            assert!(view.try_window(window).is_some_and(|bytes| bytes[..] == content[1 << 20..63 << 20]));
        }
        other => panic!("unknown case {other}"),
    }
    writeln!(std::io::stdout(), "refused: {case}").expect("the parent reads");
}

fn give_to_nobody(path: &Path) {
    chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).expect("this test changes owners and needs root for it");
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("lists") {
            give_to_nobody(&entry.expect("lists").path());
        }
    }
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    as_nobody("a foreign directory", |dir| drop(open(dir, Reading::Map)));
}

#[test]
fn a_shard_of_somebody_else_refuses_the_import() {
    as_nobody("a foreign shard", |dir| {
        drop(open(dir, Reading::Map));
        give_to_nobody(dir);
        let shard = dir.join(&BlobId::of(&content(1, 100_000)).to_string()[..2]);
        chown(shard, Some(0), Some(0)).expect("changes the owner");
    });
}

#[test]
fn a_blob_that_may_not_be_read_stays() {
    as_nobody("an unreadable blob", |dir| {
        let blob = put(&open(dir, Reading::Map), &content(1, 100_000));
        give_to_nobody(dir);
        let path = common::blob_path(dir, &blob);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o000)).expect("changes the mode");
    });
}

/// `sudo penstock publish --to DIR` on a stopped node leaves blobs of root in it.
#[test]
fn cold_pages_of_somebody_elses_blob_are_not_served_at_once() {
    as_nobody("blobs of somebody else", |dir| {
        let blob = put(&open(dir, Reading::Map), &content(1, 64 << 20));
        give_to_nobody(dir);
        chown(common::blob_path(dir, &blob), Some(0), Some(0)).expect("changes the owner");
    });
}
