//! The power goes at many instants, on a real file system that loses whatever was not synced: what a command said is
//! true afterwards, and what it had not said is simply done again.

use crate::crash::{assert_one_version_or_said, builds, ends_within, instants, timed, wanted};
use crate::world::{World, assert_same, document, run, said, text};
use penstock_testkit::Volume;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Room for two versions of a small build, its packs and the file system's log.
const MEBIBYTES: u64 = 96;

/// The power goes in the moment in which the command says that it is done.
const TO_ITS_END: Duration = Duration::from_secs(120);

/// Whether a command had come to its good end when the power went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Done,
    Nothing,
}

/// Runs the command and cuts the power `life` after its start, or at the moment it says that it is done.
fn cut_after(volume: &mut Volume, mut command: Command, life: Duration) -> Said {
    let switch = volume.switch().expect("a switch");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let ended = ends_within(&mut child, life);
    switch.cut().expect("cut");
    child.kill().expect("our own child");
    let status = child.wait().expect("our own child");
    assert!(!ended || status.success(), "it failed before the power went: {status}");
    if ended { Said::Done } else { Said::Nothing }
}

/// A volume with the content of `image`, mounted at `dir`.
fn volume_like(image: &Path, dir: &Path) -> Volume {
    let copy = image.with_extension("copy");
    let status = Command::new("cp").args(["--sparse=always", text(image), text(&copy)]).status().expect("cp starts");
    assert!(status.success());
    Volume::open(&copy, dir).expect("mounted")
}

fn mount_point(world: &World, name: &str) -> PathBuf {
    let dir = world.path(name);
    fs::create_dir(&dir).expect("mkdir");
    dir
}

#[test]
fn an_update_loses_its_power_and_leaves_the_old_version_the_new_one_or_says_so() {
    let (first, second) = builds();
    let world = World::awake();
    world.publish(&first, "1.0");
    let (image, dir) = (world.path("image"), mount_point(&world, "disk"));
    let mut volume = Volume::new(&image, &dir, MEBIBYTES).expect("a volume");
    let into = dir.join("install");
    world.pull(&into);
    volume.unmount().expect("unmounted");
    world.publish(&second, "1.1");

    let calm = volume_like(&image, &dir);
    let whole = timed(world.pull_command(&into));
    drop(calm);
    for life in instants(whole, wanted(16)).chain([TO_ITS_END]) {
        let mut volume = volume_like(&image, &dir);
        let end = cut_after(&mut volume, world.pull_command(&into), life);
        volume.restart().expect("the log is replayed");
        assert!(life != TO_ITS_END || end == Said::Done, "the update does not come to its end");
        if end == Said::Done {
            assert_same(&second, &into);
            assert!(run(["verify", text(&into)]).status.success(), "an update that was done is not there");
        } else {
            assert_one_version_or_said(&first, &second, &into);
        }
        let report = world.pull(&into);
        assert_same(&second, &into);
        assert!(end == Said::Nothing || report["downloaded_bytes"] == 0, "an update that was done is done again");
        volume.unmount().expect("unmounted");
    }
}

#[test]
fn an_install_loses_its_power_and_goes_on_with_what_reached_the_disk() {
    let (first, _) = builds();
    let world = World::awake();
    world.publish(&first, "1.0");
    let dir = mount_point(&world, "disk");
    let mut volume = Volume::new(&world.path("image"), &dir, MEBIBYTES).expect("a volume");
    let into = dir.join("install");
    let whole = timed(world.pull_command(&world.path("calm")));
    for life in instants(whole, wanted(6)) {
        cut_after(&mut volume, world.pull_command(&into), life);
        volume.restart().expect("the log is replayed");
    }
    world.pull(&into);
    assert_same(&first, &into);
}

#[test]
fn a_publish_loses_its_power_and_is_simply_run_again() {
    let (first, second) = builds();
    let mut world = World::asleep();
    let data = mount_point(&world, "data");
    let image = world.path("image");
    let mut volume = Volume::new(&image, &data, MEBIBYTES).expect("a volume");
    world.publish(&first, "1.0");
    // Said is said: the power goes at once.
    volume.switch().expect("a switch").cut().expect("cut");
    volume.restart().expect("the log is replayed");
    volume.unmount().expect("unmounted");

    let calm = volume_like(&image, &data);
    let whole = timed(world.publish_command(&second, "1.1"));
    drop(calm);
    for life in instants(whole, wanted(12)).chain([TO_ITS_END]) {
        let mut volume = volume_like(&image, &data);
        let end = cut_after(&mut volume, world.publish_command(&second, "1.1"), life);
        volume.restart().expect("the log is replayed");
        assert!(life != TO_ITS_END || end == Said::Done, "the publish does not come to its end");
        if end == Said::Nothing {
            world.publish(&second, "1.1");
        }
        world.wake();
        let (old, new) = (world.path("old"), world.path("new"));
        world.pull(&new);
        assert_same(&second, &new);
        let output = world.pull_command(&old).args(["--version", "1.0"]).output().expect("starts");
        assert!(output.status.success(), "{}", said(&output));
        assert_same(&first, &old);
        world.daemon().kill_9();
        for dir in [old, new] {
            fs::remove_dir_all(dir).expect("removed");
        }
        volume.unmount().expect("unmounted");
    }
}

#[test]
fn what_a_running_node_took_is_there_after_a_power_cut() {
    let (first, second) = builds();
    let mut world = World::asleep();
    let data = mount_point(&world, "data");
    let mut volume = Volume::new(&world.path("image"), &data, MEBIBYTES).expect("a volume");
    let extra = world.path("extra");
    fs::write(&extra, penstock_testkit::noise(5, 300_000)).expect("written");
    for (tree, version) in [(&first, "1.0"), (&second, "1.1")] {
        world.wake();
        let switch = volume.switch().expect("a switch");
        world.publish(tree, version);
        let added = run(["blob", "add", text(&extra), "--to", text(&world.data()), "--open", "--json"]);
        assert!(added.status.success(), "{}", said(&added));
        switch.cut().expect("cut");
        world.daemon().kill_9();
        volume.restart().expect("the log is replayed");

        world.wake();
        let into = world.path(version);
        world.pull(&into);
        assert_same(tree, &into);
        let blob = document(&added)["blob"].as_str().expect("a name").to_owned();
        let got = world.path("got");
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--cacert", text(&world.certificate.ca), "--output", text(&got)])
            .arg(format!("{}/v1/blobs/{blob}", world.url("https_url")))
            .output()
            .expect("curl starts");
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(fs::read(&got).expect("there"), fs::read(&extra).expect("there"));
        world.daemon().kill_9();
    }
}
