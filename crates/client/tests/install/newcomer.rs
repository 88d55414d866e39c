//! Findings of somebody who used the client for the first time: what it says when something is wrong, and what it leaves
//! behind.

use crate::attacks::snapshot;
use crate::crash::{child, instants};
use crate::publisher::{Node, noise};
use crate::server::Edge;
use crate::{Stage, assert_is, first, second};
use penstock_client::{
    DiskError, Intent, Phase, Progress, PullError, PullRequest, RepairRequest, Silent, Tuning, VerifyRequest, inspect,
    pull, repair, verify,
};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Remembers what was noted.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _: Phase, _: u64) {}
    fn advance(&self, _: u64) {}
    fn note(&self, text: &str) {
        self.0.lock().expect("lock").push(text.to_owned());
    }
}

/// Takes something out of staging, once, after it was filled and before the journal is written.
struct Thief {
    staging: PathBuf,
    has_stolen: AtomicBool,
}

impl Progress for Thief {
    fn begin(&self, phase: Phase, _: u64) {
        let Ok(staged) = fs::read_dir(&self.staging) else { return };
        let mut names = staged.map(|entry| entry.expect("entry").path());
        if phase == Phase::Sync
            && !self.has_stolen.load(Ordering::Relaxed)
            && let Some(path) = names.find(|path| path.file_name().is_some_and(|name| name != "target"))
        {
            fs::remove_file(path).expect("staged");
            self.has_stolen.store(true, Ordering::Relaxed);
        }
    }
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

/// Carrying out a journal takes a staged file that is gone for one that is in place. What is missing before the journal
/// is written must therefore end the pull, and not become a file that is missing in the install.
#[test]
fn a_staged_file_that_is_gone_before_the_commit_is_an_error_and_nothing_changes() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    stage.offer("2", &second());
    let files = |dir: &std::path::Path| snapshot(dir).into_iter().filter(|(path, _)| !path.contains("/.penstock"));
    let before: Vec<_> = files(&stage.dir()).collect();
    let thief = Thief { staging: stage.dir().join(".penstock/staging"), has_stolen: AtomicBool::new(false) };
    let error = pull(&stage.request(), &thief).expect_err("something is missing");
    assert!(error.to_string().contains("put in place") || format!("{error:?}").contains("staging"), "{error:?}");
    assert_eq!(files(&stage.dir()).collect::<Vec<_>>(), before);
    stage.pull().expect("pull again");
    assert!(verify(&VerifyRequest { dir: stage.dir(), tuning: Tuning::default() }, &Silent).expect("verify").intact);
}

fn dry(stage: &Stage) -> PullRequest {
    PullRequest { intent: Intent::DryRun, ..stage.request() }
}

/// A dry run announced the whole download although most of it was staged.
#[test]
fn a_dry_run_counts_what_an_interrupted_run_staged() {
    let mut stage = Stage::new();
    let mut tree = first();
    tree.insert("big".into(), Node::File(noise(9, 8_000_000)));
    stage.offer("1", &tree);
    assert!(child(&stage, "pull", 120));
    let before = snapshot(&stage.dir());
    let planned = pull(&dry(&stage), &Silent).expect("plan").preflight;
    assert_eq!(snapshot(&stage.dir()), before, "a dry run changes nothing");
    let done = stage.pull().expect("pull").preflight;
    assert!(planned.resumed_bytes > 1_000_000, "{planned:?}");
    assert_eq!((planned.download_bytes, planned.resumed_bytes), (done.download_bytes, done.resumed_bytes));
    assert_eq!(planned.space.peak_extra_bytes, done.space.peak_extra_bytes);
}

/// So did the dry run of a repair.
#[test]
fn a_dry_run_of_a_repair_counts_what_is_staged() {
    let mut stage = Stage::new();
    let content = noise(1, 300_000);
    stage.offer("1", &[("a".to_owned(), Node::File(content.clone()))].into());
    let manifest = stage.pull().expect("pull").manifest;
    fs::write(stage.dir().join("a"), b"damaged").expect("write");
    let staging = stage.dir().join(".penstock/staging");
    fs::create_dir(&staging).expect("mkdir");
    fs::write(staging.join("target"), manifest.to_string()).expect("write");
    fs::write(staging.join("0"), content).expect("write");
    let request = RepairRequest {
        dir: stage.dir(),
        edges: Vec::new(),
        token: None,
        ca_file: None,
        intent: Intent::DryRun,
        tuning: Tuning::default(),
    };
    let planned = repair(&request, &Silent).expect("plan").preflight;
    assert_eq!((planned.payload_bytes, planned.resumed_bytes), (0, 300_000));
}

/// A dry run counted what another release had left in staging as room that is gone; the real run removes it.
#[test]
fn a_dry_run_counts_the_room_of_what_is_staged_for_another_release() {
    let mut stage = Stage::new();
    // A volume of its own, so that nothing else can change what is free.
    fs::create_dir_all(stage.dir()).expect("mkdir");
    let volume = crate::space::Volume::over(stage.dir(), 128);
    stage.offer("1", &first());
    stage.pull().expect("pull");
    let staging = stage.dir().join(".penstock/staging");
    fs::create_dir(&staging).expect("mkdir");
    fs::write(staging.join("target"), "0".repeat(64)).expect("write");
    stage.offer("2", &second());
    let free = || pull(&dry(&stage), &Silent).expect("plan").preflight.space.free_bytes;
    let before = free();
    fs::write(staging.join("0"), noise(9, 40 << 20)).expect("write");
    let after = free();
    assert!(after + (1 << 20) >= before, "{after} and {before}: the staged file makes room when it goes");
    drop(volume);
}

/// A dry run of an install that is up to date announced a download and room on the disk.
#[test]
fn an_install_that_is_up_to_date_needs_nothing() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    let planned = pull(&dry(&stage), &Silent).expect("plan");
    assert!(!planned.changed);
    assert_eq!((planned.preflight.payload_bytes, planned.preflight.space.peak_extra_bytes), (0, 0));
}

/// `inspect` named no version on its way where `verify` said that there is one, and a dry run planned to fetch what is
/// there.
#[test]
fn an_interrupted_commit_is_told_alike_by_all() {
    for fuse in instants().skip(20) {
        let mut stage = Stage::new();
        stage.offer("1", &first());
        stage.pull().expect("pull");
        stage.offer("2", &second());
        assert!(child(&stage, "pull", fuse), "never in the middle of the commit");
        if !stage.dir().join(".penstock/journal").exists() {
            continue;
        }
        let found = inspect(&stage.dir()).expect("inspect");
        assert!(found.commit_pending);
        let ends_in = found.unfinished.expect("a commit ends in a version");
        assert_eq!((found.version.as_str(), ends_in.as_str()), ("1", "2"));
        assert!(stage.verify().unfinished);
        assert_eq!(pull(&dry(&stage), &Silent).expect("plan").preflight.payload_bytes, 0);
        stage.pull().expect("pull");
        let found = inspect(&stage.dir()).expect("inspect");
        assert_eq!((found.commit_pending, found.unfinished), (false, None));
        return;
    }
}

/// A first install that was interrupted was called "not a Penstock install".
#[test]
fn an_install_that_was_only_begun_is_told_from_none() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    assert!(child(&stage, "pull", 30));
    let check = |dir| verify(&VerifyRequest { dir, tuning: Tuning::default() }, &Silent).map(drop);
    let all = |stage: &Stage| {
        let looked = [inspect(&stage.dir()).map(drop), check(stage.dir())];
        let worked = [stage.repair().map(drop), stage.rollback().map(drop)];
        looked.into_iter().chain(worked).map(|result| result.expect_err("no install")).collect::<Vec<_>>()
    };
    for error in all(&stage) {
        assert!(matches!(&error, PullError::Begun(_)), "{error:?}");
        assert!(error.to_string().contains("run pull again"), "{error}");
    }
    fs::remove_dir_all(stage.dir()).expect("remove");
    fs::create_dir(stage.dir()).expect("mkdir");
    for error in all(&stage) {
        assert!(matches!(&error, PullError::NotAnInstall(_)), "{error:?}");
    }
}

/// `pull --into /` was refused because of `/bin`, and left `/.penstock` behind.
#[test]
fn a_refusal_before_any_content_leaves_no_directory_behind() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    let dir = stage.dir();
    fs::create_dir_all(dir.join("usr/bin")).expect("mkdir");
    std::os::unix::fs::symlink("usr/bin", dir.join("bin")).expect("link");
    for was_there in [false, true] {
        if was_there {
            fs::create_dir(dir.join(".penstock")).expect("mkdir");
        }
        let error = stage.pull().expect_err("a link is in the way");
        assert!(matches!(error.disk(), Some(DiskError::Symlink { path }) if path == "bin"), "{error:?}");
        let words = error.to_string();
        assert!(words.contains("remove the link or choose another directory"), "{words}");
        assert!(words.contains(dir.to_str().expect("utf-8")), "the install is named: {words}");
        assert_eq!(dir.join(".penstock").exists(), was_there);
    }
}

/// The first of several edges was down, and nobody was told.
#[test]
fn an_edge_that_cannot_be_reached_is_told_and_reported() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    let edges = vec!["http://127.0.0.1:1".parse().expect("url"), stage.edge.url().parse().expect("url")];
    let request = PullRequest { edges, ..stage.request() };
    for _ in 0..2 {
        let notes = Notes::default();
        let report = pull(&request, &notes).expect("the other one answers");
        let notes = notes.0.into_inner().expect("lock");
        let told = notes.iter().filter(|note| note.contains("127.0.0.1:1: not answering (cannot connect: ")).count();
        assert_eq!(told, 1, "{notes:?}");
        let dropped = &report.dropped_edges;
        assert!(dropped.len() == 1 && dropped[0].starts_with("http://127.0.0.1:1: "), "{dropped:?}");
    }
    assert_is(&stage.dir(), &first(), &[]);
}

#[test]
fn an_edge_that_was_only_slow_to_start_is_not_reported() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.edge.fault(crate::server::Fault::Busy(2));
    let notes = Notes::default();
    let report = pull(&stage.request(), &notes).expect("pull");
    assert_eq!(report.dropped_edges, Vec::<String>::new());
    let notes = notes.0.into_inner().expect("lock");
    assert_eq!(notes, [format!("{}: it answered with status 503, trying again", stage.edge.url())]);
}

#[test]
fn plain_http_to_a_tls_port_gets_a_hint() {
    let mut stage = Stage::new();
    let edge = Edge::secure(&[b"http/1.1"]);
    stage.offer("1", &first());
    let edges = vec![edge.url().replace("https", "http").parse().expect("url")];
    let error = pull(&PullRequest { edges, ..stage.request() }, &Silent).expect_err("no http");
    assert!(error.to_string().contains("is it an https address?"), "{error}");
}

/// A first install that was killed while its files were put in place was called "begun", or "not an install".
#[test]
fn a_first_install_that_was_killed_in_its_commit_is_told_as_unfinished() {
    for fuse in instants().skip(20) {
        let mut stage = Stage::new();
        stage.offer("1", &first());
        assert!(child(&stage, "pull", fuse), "never between the journal and the state");
        let client = stage.dir().join(".penstock");
        if !client.join("journal").exists() || client.join("state.json").exists() {
            continue;
        }
        let before = snapshot(&stage.dir());
        let verified = stage.verify();
        assert!(verified.unfinished && !verified.intact, "{verified:?}");
        assert_eq!(verified.version.as_str(), "1");
        let found = inspect(&stage.dir()).expect("inspect");
        let ends_in = found.unfinished.expect("a commit ends in a version");
        assert_eq!((found.version.as_str(), ends_in.as_str(), found.commit_pending), ("1", "1", true));
        assert_eq!(found.previous, None);
        assert_eq!(snapshot(&stage.dir()), before, "both only look");
        assert_eq!(stage.repair().expect("offline").downloaded_bytes, 0);
        assert_is(&stage.dir(), &first(), &[]);
        assert!(stage.verify().intact);
        return;
    }
}
