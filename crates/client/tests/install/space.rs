//! Full disks and missing permissions, on a real small volume and under a real unprivileged user.

use crate::publisher::{Node, Tree, noise};
use crate::{Stage, assert_is, first, second};
use penstock_client::{DiskError, ErrorClass, Intent, Phase, Progress, PullError, PullRequest, Silent, Strategy, pull};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// A tmpfs of a few MiB; unmounted when dropped.
pub(crate) struct Volume(PathBuf);

impl Volume {
    fn new(parent: &Path, mebibytes: u32) -> Self {
        let dir = parent.join("volume");
        fs::create_dir(&dir).expect("mkdir");
        Self::over(dir, mebibytes)
    }
    /// Mounts over a directory that is there.
    pub(crate) fn over(dir: PathBuf, mebibytes: u32) -> Self {
        Self::with(dir, &format!("size={mebibytes}m"))
    }
    fn with(dir: PathBuf, options: &str) -> Self {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
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

/// A dry run refused for want of room what the real run, which goes on where it was interrupted, has room for.
#[test]
fn a_dry_run_refuses_no_install_that_has_room_to_go_on() {
    let mut stage = Stage::new();
    fs::create_dir(stage.dir()).expect("mkdir");
    let _volume = Volume::over(stage.dir(), 9);
    stage.offer("1", &paks(1, &[8_200_000]));
    assert!(crate::crash::child(&stage, "pull", 60));
    let dry = PullRequest { intent: Intent::DryRun, ..stage.request() };
    let planned = pull(&dry, &Silent).expect("there is room").preflight;
    assert!(planned.space.free_bytes < planned.write_bytes, "too little is staged for this test: {planned:?}");
    stage.pull().expect("pull");
}

/// A volume that ran out of inodes passed the preflight and failed in the middle.
#[test]
fn no_room_for_more_files_is_said_before_the_first_payload_byte() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    let dir = stage.temp.path().join("volume");
    fs::create_dir(&dir).expect("mkdir");
    let volume = Volume::with(dir, "size=64m,nr_inodes=50");
    let into = volume.0.join("install");
    let request = PullRequest { into: into.clone(), ..stage.request() };
    stage.edge.take_blob_bytes();
    let error = pull(&request, &Silent).expect_err("too few inodes");
    let PullError::NoFiles { needed_files, free_files, .. } = &error else { panic!("{error:?}") };
    // 65 files and a link in 4 directories, and what the client needs itself.
    assert!((70..90).contains(needed_files) && *free_files < 50, "{error}");
    assert_eq!(error.class(), ErrorClass::Refused);
    assert!(stage.edge.take_blob_bytes() < 100_000, "only the manifest was fetched");
    assert!(!into.exists(), "nothing is left behind");
    drop(volume);
    let volume = Volume::with(stage.temp.path().join("volume"), &format!("size=64m,nr_inodes={}", needed_files + 16));
    pull(&PullRequest { into: volume.0.join("install"), ..request }, &Silent).expect("as many as it said");
}

/// Takes the room away when the download begins.
struct Filler<'a>(&'a Path);

impl Progress for Filler<'_> {
    fn begin(&self, phase: Phase, _: u64) {
        if phase == Phase::Fetch {
            fs::write(self.0, noise(7, 6 << 20)).expect("write");
        }
    }
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

/// The message did not say that nothing is lost.
#[test]
fn a_volume_that_becomes_full_keeps_what_was_fetched_and_says_so() {
    let mut stage = Stage::new();
    let volume = Volume::new(stage.temp.path(), 10);
    let tree = paks(1, &[2 << 20, 2 << 20, 2 << 20, 2 << 20]);
    stage.offer("1", &tree);
    let request = PullRequest { into: volume.0.join("install"), ..stage.request() };
    let filler = volume.0.join("filler");
    let error = pull(&request, &Filler(&filler)).expect_err("the volume is full");
    let PullError::Full { missing_bytes, .. } = &error else { panic!("{error:?}") };
    assert!((3 << 20..7 << 20).contains(missing_bytes), "{error}");
    let words = error.to_string();
    assert!(words.contains("what was fetched is kept") && words.contains("run the same command again"), "{words}");
    assert_eq!(error.class(), ErrorClass::Refused);
    fs::remove_file(filler).expect("remove");
    let report = pull(&request, &Silent).expect("goes on");
    assert!(report.preflight.resumed_bytes > 1 << 20, "{:?}", report.preflight);
    assert_is(&request.into, &tree, &[]);
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
    assert_eq!(report.downloaded_bytes, report.preflight.download_bytes, "exactly what was announced");
    assert_is(&request.into, &new, &[]);
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
    assert!(matches!(error.disk(), Some(DiskError::OtherVolume { path }) if path == "texts"), "{error:?}");
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
        matches!(error.disk(), Some(DiskError::Permission { .. }))
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

/// Fills a volume to the last block.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = fs::File::create(path).expect("create");
    while file.write_all(&[1; 4096]).is_ok() {}
}

/// Found in review: what changes nothing was refused, or failed, for want of room.
#[test]
fn an_install_that_is_up_to_date_stays_so_on_a_full_volume() {
    let mut stage = Stage::new();
    fs::create_dir(stage.dir()).expect("mkdir");
    let _volume = Volume::over(stage.dir(), 8);
    stage.offer("1", &first());
    stage.pull().expect("pull");
    fill(&stage.dir().join("filler"));
    let edge = &stage.request().edges[0];
    for (intent, edges) in [(Intent::DryRun, 1), (Intent::Apply, 1), (Intent::Apply, 2)] {
        let request = PullRequest { intent, edges: vec![edge.clone(); edges], ..stage.request() };
        let report = pull(&request, &Silent).expect("up to date");
        assert!(!report.changed, "{intent:?} from {edges}");
    }
    assert_eq!(stage.repair().expect("intact").repaired_count, 0);
    assert!(stage.verify().intact);
}

/// Without the newest offer's sequence, an edge could offer an older release later: that is not passed over in silence.
#[test]
fn a_newer_offer_that_cannot_be_noted_is_an_error_that_says_so() {
    let mut stage = Stage::new();
    fs::create_dir(stage.dir()).expect("mkdir");
    let _volume = Volume::over(stage.dir(), 8);
    let published = stage.publisher.publish("1", &first());
    stage.edge.offer(&mut stage.publisher, &published);
    stage.pull().expect("pull");
    let filler = stage.dir().join("filler");
    fill(&filler);
    stage.edge.offer(&mut stage.publisher, &published);
    let dry = PullRequest { intent: Intent::DryRun, ..stage.request() };
    assert!(!pull(&dry, &Silent).expect("nothing is noted").changed);
    let error = stage.pull().expect_err("the volume is full");
    assert!(matches!(&error, PullError::NotNoted { .. }), "{error:?}");
    assert!(matches!(error.disk(), Some(DiskError::Full { .. })), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("are up to date") && words.contains("no space left"), "{words}");
    assert_eq!(error.class(), ErrorClass::Refused);
    assert!(!stage.dir().join(".penstock/state.json.new").exists());
    assert!(stage.verify().intact);
    fs::remove_file(filler).expect("remove");
    stage.pull().expect("room again");
    let state = fs::read_to_string(stage.dir().join(".penstock/state.json")).expect("read");
    assert!(state.contains(&format!("\"head_sequence\": {}", stage.publisher.sequence)), "{state}");
}
