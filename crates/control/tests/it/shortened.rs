//! The change log is kept short, and nobody misses anything: who was away, who starts, who was behind in the same database.

use crate::behind::change_log;
use crate::feed::{Feed, is_product, router};
use crate::support::{Engine, MemoryOrigin, NOW, Node, WATCHDOG, World, apart, open};
use http::Method;
use penstock_control::{Control, Credentials, LogTail};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{CatalogChange, CatalogSink};
use penstock_core::feed::{Fold, Line};
use penstock_core::snapshot::Snapshot;
use penstock_core::time::UnixSeconds;
use penstock_origin::Origin as _;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};

crate::on_both_engines! {
    whoever_was_away_while_the_log_was_shortened_ends_with_the_same,
    young_entries_stay_unless_there_are_too_many,
    no_change_of_an_account_goes_before_a_snapshot_holds_it,
    a_crash_between_two_steps_costs_nothing,
}

/// Everything is old, and four entries stay.
const SHORT: LogTail = LogTail { seconds: 0, entries_min: 4, entries_max: 1000, at_once: 3 };
const LATER: UnixSeconds = UnixSeconds(NOW.0 + 3600);

/// As many steps as there are; returns how many entries went.
fn shorten(control: &Control, tail: LogTail) -> u64 {
    let mut removed = 0;
    loop {
        match apart(|| control.compact_log(tail, LATER)).expect("shortened") {
            0 => return removed,
            step => removed += step,
        }
    }
}

/// What a follower knows, by what it is about; a blob that nobody may read is nothing to know.
fn take(known: &mut Fold<CatalogChange>, sequence: u64, change: &CatalogChange) {
    if !matches!(change, CatalogChange::LooseBlob { open: false, .. }) {
        known.take(sequence, change, change.clone());
    }
}

fn content(known: &Fold<CatalogChange>) -> Vec<String> {
    let mut all: Vec<String> = known.in_order().into_iter().map(|(_, change)| format!("{change:?}")).collect();
    all.sort();
    all
}

fn folded(changes: Vec<CatalogChange>) -> Fold<CatalogChange> {
    let mut known = Fold::default();
    changes.into_iter().for_each(|change| take(&mut known, u64::MAX, &change));
    known
}

fn numbers(world: &World) -> Vec<i64> {
    change_log(&world.database).into_iter().map(|(number, _)| number).collect()
}

/// Reads on up to a change.
async fn hear(feed: &mut Feed, known: &mut Fold<CatalogChange>, newest: i64) {
    while i64::try_from(feed.place().0).expect("small") < newest {
        let (sequence, change) = feed.change().await;
        take(known, sequence, &change);
    }
}

async fn suspend(world: &World, account: &str) {
    world.put(&format!("/accounts/{account}"), &json!({ "standing": "suspended" })).await.ok::<Value>();
}

async fn whoever_was_away_while_the_log_was_shortened_ends_with_the_same(engine: Engine) {
    let world = World::new(engine);
    let router = router(&world);
    let blob = BlobId::of(b"loose");
    world.call(Method::PUT, &format!("/blobs/{blob}"), "loose").await.ok::<Value>();
    world.post(&format!("/blobs/{blob}/open"), &()).await.ok::<Value>();
    for number in 0..10 {
        world.product(&format!("p{number}"), "open").await;
        world.put(&format!("/accounts/a{number}"), &json!({ "kind": "individual" })).await.ok::<Value>();
    }
    let (mut feed, mut known) = (Feed::open(&router, None).await, Fold::default());
    let (sequence, parts) = feed.state().await;
    parts.into_iter().for_each(|change| take(&mut known, sequence, &change));
    let away = (feed.place(), known.clone());

    // Nobody reads it, so what happens one after the other soon fills what lies between.
    let mut slow = Feed::open(&router, Some(away.0)).await;
    world.call(Method::DELETE, &format!("/blobs/{blob}"), "").await.ok::<Value>();
    for number in 0..10 {
        world.product(&format!("p{number}"), "licensed").await;
        suspend(&world, &format!("a{number}")).await;
    }
    hear(&mut feed, &mut known, *numbers(&world).last().expect("some")).await;
    let removed = shorten(&world.control, SHORT);
    assert!(removed > 30, "{removed}");
    assert_eq!(shorten(&world.control, SHORT), 0, "once is enough");
    world.product("after", "open").await;

    // Who listened all along hears the changes, of which the snapshot that this took is one; who was away, the state. And
    // who was too slow is cut off, to come back for the state.
    hear(&mut feed, &mut known, *numbers(&world).last().expect("some")).await;
    while slow.line().await.is_some() {}
    assert!(slow.place().0 < feed.place().0);
    Feed::open(&router, Some(slow.place())).await.state().await;
    let ((place, mark), before) = away;
    let mut back = Feed::open(&router, Some((place, mark))).await;
    let (sequence, parts) = back.state().await;
    assert!(sequence > place);
    let mut told = Fold::default();
    parts.into_iter().for_each(|change| take(&mut told, sequence, &change));
    assert_eq!(content(&told), content(&known));
    let gone: Vec<_> = told.lacks(&before).collect();
    assert_eq!(gone, [CatalogChange::LooseBlobGone { blob }]);
    assert_eq!((back.place(), back.rest().await), (feed.place(), vec![]));

    // Who was away for less goes on, and numbers go on, too.
    let mut brief = Feed::open(&router, Some(feed.place())).await;
    let Some(Line::Hello(hello)) = brief.line().await else { panic!("no hello") };
    assert!(hello.oldest > 30 && hello.newest - hello.oldest < 8, "{hello:?}");
    assert_eq!(brief.rest().await, []);
    world.product("last", "open").await;
    let (number, last) = brief.change().await;
    assert_eq!(number, hello.newest + 1);
    take(&mut known, number, &last);
    // A restart tells the same as before.
    let world = world.restarted();
    assert_eq!(content(&folded(world.sink.all())), content(&known));
}

async fn young_entries_stay_unless_there_are_too_many(engine: Engine) {
    let world = World::new(engine);
    for number in 0..20 {
        world.product(&format!("p{number}"), "open").await;
    }
    let young = LogTail { seconds: 2 * 3600, ..SHORT };
    assert_eq!(shorten(&world.control, young), 0, "all are young");
    assert_eq!(shorten(&world.control, LogTail { entries_min: 18, ..SHORT }), 0, "not worth a step");
    assert_eq!(shorten(&world.control, LogTail { entries_max: 10, ..young }), 9, "too many are young");
    assert_eq!(numbers(&world), (10..=20).collect::<Vec<_>>());
    assert_eq!(shorten(&world.control, LogTail { entries_min: 0, at_once: 1, ..SHORT }), 10);
    assert_eq!(numbers(&world), [20], "the newest stays whatever is asked for");
    world.product("next", "open").await;
    assert_eq!(numbers(&world), [20, 21]);
}

async fn no_change_of_an_account_goes_before_a_snapshot_holds_it(engine: Engine) {
    let world = World::new(engine);
    for number in 0..10 {
        suspend(&world, &format!("a{number}")).await;
    }
    // There is no room for a snapshot: the log stays as it is.
    let before = numbers(&world);
    world.origin.room.store(0, Ordering::Relaxed);
    apart(|| world.control.compact_log(SHORT, LATER)).expect_err("no snapshot can be stored");
    assert_eq!(numbers(&world), before);
    world.origin.room.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(shorten(&world.control, SHORT), 6, "with the snapshot's own entry eleven, of which five stay");
    let snapshot = |world: &World| {
        let told = world.sink.all().into_iter().rev().find_map(|change| match change {
            CatalogChange::AccountsSnapshot { blob, .. } => Some(blob),
            _ => None,
        });
        told.expect("one was made")
    };
    // The snapshot is lost, and with it changes that are in no log any more: the next step makes another one first.
    let lost = snapshot(&world);
    world.origin.lose(lost);
    for number in 0..4 {
        suspend(&world, &format!("b{number}")).await;
    }
    assert!(shorten(&world.control, SHORT) > 0);
    assert!(world.origin.holds(snapshot(&world)) && snapshot(&world) != lost);
    let world = world.restarted();
    let bytes = world.origin.read_all(&snapshot(&world), 1 << 20).expect("it is there");
    assert_eq!(Snapshot::new(bytes).expect("a snapshot").len(), 14);
}

async fn a_crash_between_two_steps_costs_nothing(engine: Engine) {
    let mut world = World::new(engine);
    for number in 0..6 {
        world.product(&format!("p{number}"), "open").await;
        suspend(&world, &format!("a{number}")).await;
    }
    // The first step makes the snapshot; from then on nothing is told, so what is known stays.
    let mut removed = apart(|| world.control.compact_log(SHORT, LATER)).expect("shortened");
    world = world.restarted();
    let known = content(&folded(world.sink.all()));
    let newest = *numbers(&world).last().expect("some stay");
    while removed > 0 {
        let left = numbers(&world);
        assert!(left.is_sorted_by(|a, b| b - a == 1) && left.last() == Some(&newest), "{left:?}");
        removed = apart(|| world.control.compact_log(SHORT, LATER)).expect("shortened");
        world = world.restarted();
        assert_eq!(content(&folded(world.sink.all())), known);
        let (_, parts) = Feed::open(&router(&world), None).await.state().await;
        assert_eq!(content(&folded(parts)), known);
    }
    assert!(numbers(&world).len() < 8);
}

const fn is_of_accounts(change: &CatalogChange) -> bool {
    matches!(change, CatalogChange::Account { .. } | CatalogChange::AccountsSnapshot { .. })
}

/// A sink that stops at a product until it is told to go on, as a process would that the system does not run.
#[derive(Default)]
struct Frozen {
    told: Mutex<Vec<CatalogChange>>,
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Frozen {
    fn until(&self, is_so: impl Fn(&(bool, bool)) -> bool) {
        let state = self.state.lock().expect("lock");
        let (state, waited) = self.changed.wait_timeout_while(state, WATCHDOG, |state| !is_so(state)).expect("lock");
        drop(state);
        assert!(!waited.timed_out());
    }
    fn set(&self, set: impl FnOnce(&mut (bool, bool))) {
        set(&mut self.state.lock().expect("lock"));
        self.changed.notify_all();
    }
}

impl CatalogSink for Frozen {
    fn apply(&self, _: u64, change: CatalogChange) {
        if is_product(&change, "stop") {
            self.set(|(stopped, _)| *stopped = true);
            self.until(|(_, goes_on)| *goes_on);
        }
        self.told.lock().expect("lock").push(change);
        self.set(|_| {});
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_behind_what_the_log_holds_is_told_the_state_and_goes_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let database = Engine::Postgres.database(dir.path());
    let origin = MemoryOrigin::new();
    let fast = Node::open(dir.path(), &database, &origin);
    let sink = Arc::new(Frozen::default());
    let slow = open(dir.path(), &database, Arc::clone(&origin) as _, Arc::clone(&sink) as _).expect("control opens");
    let segment = |name: &str| json!({ "rule": { "list": [name] } });
    for name in ["goes", "stays"] {
        fast.put(&format!("/segments/{name}"), &segment(name)).await.ok::<Value>();
    }
    fast.product("stop").await;
    apart(|| sink.until(|(stopped, _)| *stopped));
    fast.delete("/segments/goes").await;
    fast.put("/accounts/thief", &json!({ "standing": "suspended" })).await.ok::<Value>();
    for number in 0..10 {
        fast.product(&format!("p{number}")).await;
    }
    assert!(shorten(&fast.control, SHORT) > 3);
    sink.set(|(_, goes_on)| *goes_on = true);
    // It hears what it missed, though it stands in no log any more, and what comes after.
    fast.product("after").await;
    let heard = |name: &'static str| sink.told.lock().expect("lock").iter().any(|change| is_product(change, name));
    apart(|| sink.until(|_| heard("after")));
    // And it can write again, once it was told all of it.
    let router = slow.router(Credentials::Socket);
    let body = axum::body::Body::from(json!({ "id": "own", "access": "open" }).to_string());
    let request = http::Request::post("/admin/v1/products").body(body).expect("a request");
    crate::support::send(&router, request).await.ok::<Value>();
    assert!(heard("own"));
    let mut told = sink.told.lock().expect("lock").clone();
    told.retain(|change| !is_product(change, "own"));
    let (accounts, told): (Vec<_>, Vec<_>) = told.into_iter().partition(is_of_accounts);
    assert!(matches!(accounts[..], [CatalogChange::AccountsSnapshot { .. }]), "{accounts:?}");
    let mut all = fast.sink.all();
    all.retain(|change| !is_of_accounts(change) && !is_product(change, "own"));
    assert_eq!(content(&folded(told)), content(&folded(all)));
}
