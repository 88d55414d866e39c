//! kill -9 at every kind of instant: the child kills itself at the Nth thing it reports, so that no
//! instant depends on timing.

use crate::publisher::Tree;
use crate::{Stage, assert_is, difference, first, second};
use penstock_client::{Intent, Phase, Progress, PullRequest, RollbackRequest, Tuning, pull, rollback};
use penstock_core::id::ChannelName;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

const CHILD: &str = "PENSTOCK_TEST_CHILD";

/// Kills its own process at a given event.
struct Fuse {
    left: AtomicU64,
}

impl Fuse {
    fn burn(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("kill");
            loop {
                std::thread::park();
            }
        }
    }
}

impl Progress for Fuse {
    fn begin(&self, _: Phase, _: u64) {
        self.burn();
    }
    fn advance(&self, _: u64) {
        self.burn();
    }
    fn note(&self, _: &str) {}
}

/// Not a test: what [`child`] runs in another process.
#[test]
fn child_process() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let fields: Vec<&str> = order.split('\n').collect();
    let [verb, url, dir, trust, fuse] = fields[..] else { panic!("bad order") };
    let fuse = Fuse { left: AtomicU64::new(fuse.parse().expect("number")) };
    if verb == "rollback" {
        rollback(&RollbackRequest { dir: dir.into(), tuning: Tuning::default() }, &fuse).expect("rollback");
        return;
    }
    let request = PullRequest {
        edges: vec![url.parse().expect("url")],
        product: penstock_core::id::ProductId::new("game").expect("name"),
        platform: penstock_core::id::Platform::any(),
        target: penstock_client::Target::Channel(ChannelName::new("stable").expect("name")),
        check: penstock_client::Check::Scheduled,
        components: penstock_client::Components::AsBefore,
        token: None,
        trust: trust.parse().expect("trust"),
        ca_file: None,
        into: dir.into(),
        intent: Intent::Apply,
        keep_previous: verb == "keep",
        now: crate::publisher::NOW.plus(10),
        tuning: Tuning::default(),
    };
    pull(&request, &fuse).expect("pull");
}

/// Runs an operation in a child that dies at event `fuse`; whether it died.
pub(crate) fn child(stage: &Stage, verb: &str, fuse: u64) -> bool {
    let order = [
        verb,
        &stage.edge.url(),
        stage.dir().to_str().expect("utf-8"),
        &stage.publisher.trust().to_string(),
        &fuse.to_string(),
    ]
    .join("\n");
    let output = Command::new(std::env::current_exe().expect("exe"))
        .args(["--exact", "crash::child_process", "--nocapture"])
        .env(CHILD, order)
        .output()
        .expect("child");
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    killed
}

/// Events to die at: all of the first ones, then ever fewer; every one with `PENSTOCK_FULL=1`.
pub(crate) fn instants() -> impl Iterator<Item = u64> {
    let full = std::env::var_os("PENSTOCK_FULL").is_some_and(|value| value == "1");
    let mut at = 1;
    std::iter::from_fn(move || {
        let now = at;
        at += if full { 1 } else { 1 + at / 40 };
        Some(now)
    })
}

/// After a death: an install is whole, or says that it is unfinished; then any command that writes finishes
/// what was decided, offline.
fn settle(stage: &Stage, fuse: u64) -> penstock_client::VerifyReport {
    let before = stage.verify();
    assert!(before.intact || before.unfinished, "event {fuse}: {:?}", before.damaged);
    if before.unfinished {
        let downloaded = stage.repair().expect("repair").downloaded_bytes;
        assert_eq!(downloaded, 0, "event {fuse}: everything was there");
    }
    stage.verify()
}

#[test]
fn a_fresh_install_survives_kill_9_at_any_instant() {
    let tree = first();
    let mut deaths = 0;
    for fuse in instants() {
        let mut stage = Stage::new();
        stage.offer("1", &tree);
        if !child(&stage, "pull", fuse) {
            break;
        }
        deaths += 1;
        stage.pull().expect("run again");
        assert_is(&stage.dir(), &tree, &[]);
        assert!(stage.verify().intact, "event {fuse}");
        assert_no_leftovers(&stage);
    }
    assert!(deaths > 20, "{deaths}");
}

#[test]
fn an_update_survives_kill_9_at_any_instant() {
    let (old, new) = (first(), second());
    let (mut deaths, mut olds, mut news) = (0, 0, 0);
    for fuse in instants() {
        let mut stage = Stage::new();
        stage.offer("1", &old);
        stage.pull().expect("pull");
        stage.offer("2", &new);
        if !child(&stage, "keep", fuse) {
            break;
        }
        deaths += 1;
        // A commit that was decided is finished; then the install is one version or the other.
        let verified = settle(&stage, fuse);
        assert!(verified.intact, "event {fuse}: {:?}", verified.damaged);
        let is = |tree: &Tree| difference(&stage.dir(), tree, &[]).is_none();
        assert_ne!(is(&old), is(&new), "event {fuse}: a mix of two versions");
        assert_eq!(verified.version.as_str(), if is(&old) { "1" } else { "2" });
        if is(&old) {
            olds += 1
        } else {
            news += 1
        }
        stage.pull().expect("run again");
        assert_is(&stage.dir(), &new, &[]);
        assert_no_leftovers(&stage);
    }
    assert!(olds > 10 && news > 5, "{deaths} deaths: {olds} before the commit, {news} after");
}

#[test]
fn a_rollback_survives_kill_9_at_any_instant() {
    let (old, new) = (first(), second());
    let mut deaths = 0;
    for fuse in instants() {
        let mut stage = Stage::new();
        stage.offer("1", &old);
        stage.pull().expect("pull");
        stage.offer("2", &new);
        pull(&PullRequest { keep_previous: true, ..stage.request() }, &penstock_client::Silent).expect("update");
        if !child(&stage, "rollback", fuse) {
            break;
        }
        deaths += 1;
        let verified = settle(&stage, fuse);
        assert!(verified.intact, "event {fuse}");
        if verified.version.as_str() == "2" {
            assert_is(&stage.dir(), &new, &[]);
            stage.rollback().expect("run again");
        }
        assert_is(&stage.dir(), &old, &[]);
        stage.rollback().expect("and forward");
        assert_is(&stage.dir(), &new, &[]);
    }
    assert!(deaths > 10, "{deaths}");
}

#[test]
fn what_was_staged_before_a_crash_is_not_fetched_again() {
    let mut stage = Stage::new();
    let mut tree = first();
    tree.insert("big".into(), crate::publisher::Node::File(crate::publisher::noise(9, 8_000_000)));
    stage.offer("1", &tree);
    // Dies in the middle of the download: each frame is one event.
    assert!(child(&stage, "pull", 120));
    stage.edge.take_blob_bytes();
    let report = stage.pull().expect("run again");
    assert!(report.preflight.resumed_bytes > 1_000_000, "{:?}", report.preflight);
    assert!(stage.edge.take_blob_bytes() <= report.preflight.download_bytes);
    assert_is(&stage.dir(), &tree, &[]);
}

/// Found in review: a first install that was killed between its journal and its state forgot which offer it had
/// believed, so that an edge could offer an older one.
#[test]
fn a_killed_first_install_remembers_the_offer_it_believed() {
    for fuse in instants() {
        let mut stage = Stage::new();
        stage.offer("1", &first());
        assert!(child(&stage, "pull", fuse), "never between the journal and the state");
        let client = stage.dir().join(".penstock");
        if !client.join("journal").exists() || client.join("state.json").exists() {
            continue;
        }
        stage.publisher.sequence = 0;
        stage.offer("0", &second());
        for intent in [Intent::DryRun, Intent::Apply] {
            let error = pull(&PullRequest { intent, ..stage.request() }, &penstock_client::Silent).expect_err("older");
            assert!(error.to_string().contains("older than"), "{intent:?}: {error}");
        }
        assert_is(&stage.dir(), &first(), &[]);
        return;
    }
}

fn assert_no_leftovers(stage: &Stage) {
    let client = stage.dir().join(".penstock");
    for name in ["staging", "journal", "journal.new", "state.json.new"] {
        assert!(!client.join(name).exists(), "{name} is left behind");
    }
}
