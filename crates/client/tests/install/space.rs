//! Full disks and missing permissions, on a real small volume and under a real unprivileged user.

use crate::publisher::{Node, Tree, noise};
use crate::{Stage, assert_is, first, second};
use penstock_client::{DiskError, ErrorClass, PullError, PullRequest, Silent, Strategy, pull};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// A tmpfs of a few MiB; unmounted when dropped.
struct Volume(PathBuf);

impl Volume {
    fn new(parent: &Path, mebibytes: u32) -> Self {
        let dir = parent.join("volume");
        fs::create_dir(&dir).expect("mkdir");
        Self::over(dir, mebibytes)
    }
    /// Mounts over a directory that is there.
    fn over(dir: PathBuf, mebibytes: u32) -> Self {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(&dir)
            .status()
            .expect("mount can be started");
        assert!(status.success(), "this test mounts a tmpfs and needs root: run it as root");
        Self(dir)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "umount");
    }
}

fn paks(version: u64, sizes: &[usize]) -> Tree {
    let file = |(index, size): (usize, &usize)| {
        (format!("pak{index}"), Node::File(noise(version * 100 + index as u64, *size)))
    };
    sizes.iter().enumerate().map(file).collect()
}

#[test]
fn no_space_is_said_before_the_first_payload_byte() {
    let mut stage = Stage::new();
    let volume = Volume::new(stage.temp.path(), 4);
    stage.offer("1", &paks(1, &[6 << 20]));
    let into = volume.0.join("install");
    let request = PullRequest { into: into.clone(), ..stage.request() };
    stage.edge.take_blob_bytes();
    let error = pull(&request, &Silent).expect_err("no space");
    let PullError::NoSpace { needed_bytes, free_bytes, .. } = &error else { panic!("{error:?}") };
    assert!(*needed_bytes >= 6 << 20 && *free_bytes <= 4 << 20, "{error}");
    assert_eq!(error.class(), ErrorClass::Refused);
    assert!(stage.edge.take_blob_bytes() < 100_000, "only the manifest was fetched");
    assert!(!into.exists(), "nothing is left behind");
}

#[test]
fn an_update_that_does_not_fit_at_once_goes_file_by_file() {
    let mut stage = Stage::new();
    let volume = Volume::new(stage.temp.path(), 14);
    let (old, new) = (paks(1, &[3 << 20, 3 << 20, 3 << 20]), paks(2, &[3 << 20, 3 << 20, 3 << 20]));
    stage.offer("1", &old);
    let request = PullRequest { into: volume.0.join("install"), ..stage.request() };
    let report = pull(&request, &Silent).expect("pull");
    assert_eq!(report.preflight.strategy, Strategy::Whole);
    stage.offer("2", &new);
    let error = pull(&PullRequest { keep_previous: true, ..request.clone() }, &Silent).expect_err("both do not fit");
    assert!(matches!(error, PullError::NoSpace { .. }), "{error:?}");
    assert_is(&request.into, &old, &[]);
    let report = pull(&request, &Silent).expect("lean");
    assert_eq!(report.preflight.strategy, Strategy::Lean);
    assert!(report.preflight.space.peak_extra_bytes < 4 << 20, "{:?}", report.preflight.space);
    assert_is(&request.into, &new, &[]);
}

/// Found in review: files that trade places in an update of several batches were fetched without being announced, because
/// the first one had replaced the second one's source.
#[test]
fn files_that_trade_places_file_by_file_cost_what_was_announced() {
    let mut stage = Stage::new();
    let volume = Volume::new(stage.temp.path(), 18);
    let old = paks(1, &[3 << 20, 3 << 20, 3 << 20, 3 << 20]);
    let mut new = paks(2, &[3 << 20, 3 << 20, 3 << 20, 3 << 20]);
    new.insert("pak0".into(), old["pak1"].clone());
    new.insert("pak1".into(), old["pak0"].clone());
    stage.offer("1", &old);
    let request = PullRequest { into: volume.0.join("install"), ..stage.request() };
    pull(&request, &Silent).expect("pull");
    stage.offer("2", &new);
    let report = pull(&request, &Silent).expect("lean");
    assert_eq!(report.preflight.strategy, Strategy::Lean, "{:?}", report.preflight);
    assert_eq!(report.mended_bytes, 0);
    let fetched = report.downloaded_bytes - (report.preflight.manifest_bytes - root_bytes(&stage));
    assert_eq!(fetched, report.preflight.payload_bytes, "exactly what was announced");
    assert_is(&request.into, &new, &[]);
}

/// The manifest root is asked for as a whole and not counted by the session.
fn root_bytes(stage: &Stage) -> u64 {
    stage.edge.world.lock().expect("lock").offer.as_ref().expect("offer").manifest_bytes
}

/// Found in review: staging of an update that was given up took the room that the next one needed, for ever.
#[test]
fn what_another_update_staged_does_not_stand_in_the_way() {
    let mut stage = Stage::new();
    let volume = Volume::new(stage.temp.path(), 14);
    stage.offer("1", &paks(1, &[1 << 20]));
    let request = PullRequest { into: volume.0.join("install"), ..stage.request() };
    pull(&request, &Silent).expect("pull");
    let staging = request.into.join(".penstock/staging");
    fs::create_dir(&staging).expect("mkdir");
    fs::write(staging.join("target"), "0".repeat(64)).expect("write");
    fs::write(staging.join("0"), noise(9, 9 << 20)).expect("write");
    let new = paks(2, &[1 << 20, 8 << 20]);
    stage.offer("2", &new);
    pull(&request, &Silent).expect("there is room");
    assert_is(&request.into, &new, &[]);
}

/// Found in review: another volume mounted inside the install was noticed in the middle of the commit.
#[test]
fn a_volume_mounted_inside_the_install_is_refused_by_name() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    let texts = stage.dir().join("texts");
    let aside = stage.temp.path().join("texts");
    fs::rename(&texts, &aside).expect("rename");
    fs::create_dir(&texts).expect("mkdir");
    let volume = Volume::over(texts.clone(), 4);
    for entry in fs::read_dir(&aside).expect("list") {
        let path = entry.expect("entry").path();
        fs::copy(&path, texts.join(path.file_name().expect("name"))).expect("copy");
    }
    stage.offer("2", &second());
    stage.edge.take_blob_bytes();
    let error = stage.pull().expect_err("another volume");
    assert!(matches!(&error, PullError::Disk(DiskError::OtherVolume { path }) if path == "texts"), "{error:?}");
    assert!(stage.edge.take_blob_bytes() < 100_000, "only the manifest was fetched");
    assert_is(&stage.dir(), &first(), &[]);
    assert!(stage.verify().intact);
    drop(volume);
    fs::remove_dir(&texts).expect("remove");
    fs::rename(&aside, &texts).expect("rename");
    stage.pull().expect("update");
    assert_is(&stage.dir(), &second(), &[]);
}

#[test]
fn a_lean_update_that_is_interrupted_is_known_and_finished() {
    let mut stage = Stage::new();
    let volume = Volume::new(stage.temp.path(), 14);
    let (old, new) = (paks(1, &[3 << 20, 3 << 20, 3 << 20]), paks(2, &[3 << 20, 3 << 20, 3 << 20]));
    stage.offer("1", &old);
    let request = PullRequest { into: volume.0.join("install"), ..stage.request() };
    pull(&request, &Silent).expect("pull");
    stage.offer("2", &new);
    // The edge dies after the first file.
    stage.edge.world.lock().expect("lock").blobs.retain(|_, bytes| bytes.len() != last_pack_len(&stage, &new));
    let error = pull(&request, &Silent).expect_err("a pack is missing");
    assert!(matches!(error, PullError::Session(_)), "{error:?}");
    let verified = verify(&request);
    assert!(!verified.intact);
    stage.edge.load(&stage.publisher);
    if verified.unfinished {
        stage.edge.take_blob_bytes();
        let report = pull(&request, &Silent).expect("finish");
        assert!(report.preflight.kept_files > 0, "what was in place is not fetched again");
    } else {
        panic!("an update between two versions must say so");
    }
    assert_is(&request.into, &new, &[]);
    assert!(verify(&request).intact);
}

fn verify(request: &PullRequest) -> penstock_client::VerifyReport {
    let request = penstock_client::VerifyRequest { dir: request.into.clone(), tuning: request.tuning };
    penstock_client::verify(&request, &Silent).expect("verify")
}

/// Length of the pack that holds the end of a tree: the one published last.
fn last_pack_len(stage: &Stage, tree: &Tree) -> usize {
    let Some(Node::File(last)) = tree.values().last() else { panic!("a file") };
    let tail = &last[last.len() - 1000..];
    let holds = |bytes: &&Vec<u8>| bytes.windows(1000).any(|window| window == tail);
    stage.publisher.blobs.values().find(holds).expect("published").len()
}

const PULL_AS: &str = "PENSTOCK_TEST_PULL_AS";

/// Not a test: the part of the next test that runs as another user.
#[test]
fn child_without_rights() {
    let Ok(order) = std::env::var(PULL_AS) else { return };
    assert_ne!(rustix::process::geteuid().as_raw(), 0, "root sees no refusals");
    let fields: Vec<&str> = order.split('\n').collect();
    let stage = Stage::new();
    let request =
        PullRequest { edges: vec![fields[0].parse().expect("url")], into: fields[1].into(), ..stage.request() };
    let error = pull(&request, &Silent).expect_err("no permission");
    assert!(
        matches!(&error, PullError::Disk(DiskError::Permission { .. }))
            || matches!(&error, PullError::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied),
        "{error:?}"
    );
}

/// Pulls as nobody into some directories; each pull must be refused for want of permission.
fn refused_as_nobody(stage: &Stage, dirs: &[PathBuf]) {
    fs::set_permissions(stage.temp.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    for dir in dirs {
        let output = Command::new(std::env::current_exe().expect("exe"))
            .args(["--exact", "space::child_without_rights", "--nocapture"])
            .env(PULL_AS, format!("{}\n{}", stage.edge.url(), dir.display()))
            .env("TMPDIR", "/tmp")
            .current_dir("/")
            .uid(65_534)
            .gid(65_534)
            .output()
            .expect("a child as nobody: this test needs root");
        let words = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && words.contains("1 passed"), "{words}");
    }
}

#[test]
fn missing_permissions_are_named_and_change_nothing() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    stage.offer("2", &second());
    let before = crate::attacks::snapshot(&stage.dir());
    refused_as_nobody(&stage, &[stage.dir(), stage.temp.path().join("new/install")]);
    assert_eq!(crate::attacks::snapshot(&stage.dir()), before);
}

/// Found in review: one directory that may not be written was noticed in the middle of the commit, after other files had been
/// replaced, and the journal failed again at every start.
#[test]
fn one_directory_without_permission_is_refused_before_anything_is_replaced() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    stage.offer("2", &second());
    let status = Command::new("chown").args(["-R", "65534:65534"]).arg(stage.dir()).status();
    assert!(status.expect("chown can be started").success());
    let status = Command::new("chown").args(["0:0"]).arg(stage.dir().join("texts")).status();
    assert!(status.expect("chown can be started").success());
    refused_as_nobody(&stage, &[stage.dir()]);
    assert!(!stage.dir().join(".penstock/journal").exists());
    assert_is(&stage.dir(), &first(), &[]);
    assert!(stage.verify().intact);
}
