//! The feed as an edge elsewhere meets it: the state, the changes after it, places in the log, snapshots.

use crate::support::{Build, Engine, NOW, Node, Reply, World, apart, send};
use axum::Router;
use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use penstock_control::Credentials;
use penstock_core::blob::BlobId;
use penstock_core::catalog::CatalogChange;
use penstock_core::feed::{Line, Mark, Order, SnapshotAnswer};
use penstock_core::snapshot::Snapshot;
use penstock_core::statement::AccountsNotice;
use penstock_testkit::PostgresServer;
use serde_json::{Value, json};
use std::time::Duration;
use tower_service::Service as _;

crate::on_both_engines! {
    whoever_comes_with_nothing_gets_what_a_restart_tells_and_then_what_happens,
    whoever_names_a_place_goes_on_there,
    a_place_in_another_history_is_none,
    a_snapshot_is_signed_and_can_be_fetched_and_a_damaged_one_is_made_anew,
}

/// Nothing that is right takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A feed that is read line by line, each checked for its order.
pub(crate) struct Feed {
    body: Body,
    left: Vec<u8>,
    order: Order,
    /// The mark of the last change.
    pub(crate) mark: Mark,
}

impl Feed {
    pub(crate) async fn open(router: &Router, after: Option<(u64, Mark)>) -> Self {
        let query = after.map_or_else(String::new, |(after, mark)| format!("?after={after}&mark={mark}"));
        let request = Request::get(format!("/v1/feed{query}")).body(Body::empty()).expect("a request");
        let response = router.clone().call(request).await.expect("routers never fail");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        let order = Order::new(after.map(|(after, _)| after));
        Self { body: response.into_body(), left: Vec::new(), order, mark: Mark::default() }
    }

    /// The next line; `None` when the feed ended.
    pub(crate) async fn line(&mut self) -> Option<Line> {
        let end = loop {
            if let Some(end) = self.left.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("a beat at least")?;
            self.left.extend_from_slice(&frame.expect("it does not break").into_data().expect("data"));
        };
        let text: Vec<u8> = self.left.drain(..=end).collect();
        let line = Line::parse(&text).expect("a line");
        self.order.take(&line).expect("in order");
        match &line {
            Line::Whole { mark, .. } => self.mark = *mark,
            Line::Change { .. } => self.mark = Mark::of_line(&text),
            _ => {}
        }
        Some(line)
    }

    /// The state, and its number.
    pub(crate) async fn state(&mut self) -> (u64, Vec<CatalogChange>) {
        assert!(matches!(self.line().await, Some(Line::Hello(_))));
        let Some(Line::State { sequence }) = self.line().await else { panic!("no state") };
        let mut parts = Vec::new();
        loop {
            match self.line().await.expect("it goes on") {
                Line::Part { change, .. } => parts.push(change),
                Line::Whole { sequence: whole, .. } => {
                    assert_eq!(whole, sequence);
                    return (sequence, parts);
                }
                other => panic!("within a state: {other:?}"),
            }
        }
    }

    /// The next change, past beats.
    pub(crate) async fn change(&mut self) -> (u64, CatalogChange) {
        loop {
            match self.line().await.expect("it goes on") {
                Line::Change { sequence, change } => return (sequence, change),
                Line::Beat { .. } => {}
                other => panic!("between changes: {other:?}"),
            }
        }
    }

    /// Reads on until a beat says that nothing is missing; returns the changes.
    pub(crate) async fn rest(&mut self) -> Vec<CatalogChange> {
        let mut changes = Vec::new();
        loop {
            match self.line().await.expect("it goes on") {
                Line::Change { change, .. } => changes.push(change),
                Line::Beat { newest, .. } => {
                    assert_eq!(self.order.last(), Some(newest));
                    return changes;
                }
                other => panic!("between changes: {other:?}"),
            }
        }
    }

    pub(crate) fn place(&self) -> (u64, Mark) {
        (self.order.last().expect("something is known"), self.mark)
    }
}

pub(crate) fn router(world: &World) -> Router {
    world.control.router(Credentials::Socket)
}

async fn whoever_comes_with_nothing_gets_what_a_restart_tells_and_then_what_happens(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    world.register(&Build::new("game", "1")).await.ok::<Value>();
    world.offer("game", "stable", "1").await.ok::<Value>();
    world.put("/accounts/alice", &json!({ "kind": "individual" })).await.ok::<Value>();
    let mut feed = Feed::open(&router(&world), None).await;
    let (sequence, told) = feed.state().await;
    assert_eq!(sequence, world.sink.all().len() as u64);
    // As it happens, and a beat once there is nothing more.
    world.product("later", "open").await;
    let (number, change) = feed.change().await;
    assert_eq!(number, sequence + 1);
    assert!(matches!(change, CatalogChange::Product(product) if product.id.as_str() == "later"));
    assert_eq!(feed.rest().await, []);
    // What it was told first is what a node is told that starts: the new product comes second there.
    let world = world.restarted();
    let replayed: Vec<_> = world.sink.all().into_iter().filter(|change| !is_product(change, "later")).collect();
    assert_eq!(told, replayed);
}

pub(crate) fn is_product(change: &CatalogChange, name: &str) -> bool {
    matches!(change, CatalogChange::Product(product) if product.id.as_str() == name)
}

async fn whoever_names_a_place_goes_on_there(engine: Engine) {
    let world = World::new(engine);
    let router = router(&world);
    let mut empty = Feed::open(&router, Some((0, Mark::default()))).await;
    assert!(matches!(empty.line().await, Some(Line::Hello(hello)) if hello.newest == 0 && hello.oldest == 1));
    assert_eq!(empty.rest().await, [], "nothing happened, so there is no state to tell");
    for name in ["a", "b", "c"] {
        world.product(name, "open").await;
    }
    assert!(is_product(&empty.change().await.1, "a"), "and it goes on from there");
    let place = empty.place();
    assert_eq!(place.0, 1);
    let mut feed = Feed::open(&router, Some(place)).await;
    let Some(Line::Hello(hello)) = feed.line().await else { panic!("no hello") };
    assert_eq!((hello.newest, hello.oldest, hello.channel_key), (3, 1, world.control.channel_key()));
    assert!(is_product(&feed.change().await.1, "b"));
    assert!(is_product(&feed.change().await.1, "c"));
    assert_eq!(feed.rest().await, []);
    let mut current = Feed::open(&router, Some(feed.place())).await;
    assert!(matches!(current.line().await, Some(Line::Hello(_))));
    assert_eq!(current.rest().await, []);
}

async fn a_place_in_another_history_is_none(engine: Engine) {
    let world = World::new(engine);
    let router = router(&world);
    world.product("a", "open").await;
    world.product("b", "open").await;
    // The future, a number whose change was another one, and nothing of a log that has something.
    for place in [(3, Mark::default()), (1, Mark::of_line(b"something else")), (0, Mark::default())] {
        let mut feed = Feed::open(&router, Some(place)).await;
        let (sequence, parts) = feed.state().await;
        assert_eq!((sequence, parts.len()), (2, 2), "{place:?}");
    }
    for query in ["after=x", "after=-1", "after=1&mark=zz", "before=1"] {
        let request = Request::get(format!("/v1/feed?{query}")).body(Body::empty()).expect("a request");
        send(&router, request).await.refused(400, "bad_request");
    }
}

async fn call(router: &Router, method: Method, path: &str) -> Reply {
    send(router, Request::builder().method(method).uri(path).body(Body::empty()).expect("a request")).await
}

async fn a_snapshot_is_signed_and_can_be_fetched_and_a_damaged_one_is_made_anew(engine: Engine) {
    let world = World::new(engine);
    let router = router(&world);
    world.product("game", "licensed").await;
    let lines: Vec<Value> = (0..50).map(|number| json!({ "account": format!("player-{number}") })).collect();
    world.post("/imports", &json!({ "lines": lines })).await.ok::<Value>();
    let mut feed = Feed::open(&router, None).await;
    let (_, parts) = feed.state().await;
    assert_eq!(parts.len(), 51, "one by one, while there is no snapshot");
    assert!(apart(|| world.control.renew_snapshot(NOW)).expect("made"));
    let (_, CatalogChange::AccountsSnapshot { blob, sequence, notice }) = feed.change().await else {
        panic!("another change")
    };
    let verified =
        AccountsNotice::verify(&notice, world.control.channel_key(), blob, sequence).expect("control's word");
    assert_eq!((verified.notice().accounts, verified.notice().issued), (50, NOW));
    let bytes = call(&router, Method::GET, &format!("/v1/feed/snapshots/{blob}")).await.body;
    assert_eq!(BlobId::of(&bytes), blob);
    assert_eq!(Snapshot::new(bytes).expect("a snapshot").len(), 50);
    // Whoever comes later starts from it.
    let (_, parts) = Feed::open(&router, None).await.state().await;
    assert_eq!(parts.len(), 2);
    assert!(parts.contains(&CatalogChange::AccountsSnapshot { blob, sequence, notice }));
    // Nothing but snapshots can be had here.
    let other = world.origin.put(b"a pack");
    for path in [format!("/v1/feed/snapshots/{other}"), format!("/v1/feed/snapshots/{}", BlobId::of(b"none"))] {
        call(&router, Method::GET, &path).await.refused(404, "not_found");
        call(&router, Method::POST, &format!("{path}/damaged")).await.refused(404, "not_found");
    }
    // Somebody's copy was damaged on the way; ours is good.
    let path = format!("/v1/feed/snapshots/{blob}/damaged");
    assert!(call(&router, Method::POST, &path).await.ok::<SnapshotAnswer>().sound);
    assert_eq!(feed.rest().await, []);
    // Ours is damaged, too: there is another one, and everybody hears of it.
    world.origin.spoil(blob);
    assert!(!call(&router, Method::POST, &path).await.ok::<SnapshotAnswer>().sound);
    let (_, CatalogChange::AccountsSnapshot { blob: next, .. }) = feed.change().await else { panic!("another change") };
    let bytes = call(&router, Method::GET, &format!("/v1/feed/snapshots/{next}")).await.body;
    assert_eq!(BlobId::of(&bytes), next);
    // One that is lost altogether is made again by the next look.
    world.origin.lose(next);
    assert!(apart(|| world.control.renew_snapshot(NOW)).expect("made"));
    assert!(matches!(feed.change().await.1, CatalogChange::AccountsSnapshot { .. }));
}

#[tokio::test]
async fn a_follower_hears_what_another_process_changed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let database = crate::support::with_password(&PostgresServer::shared().database());
    let origin = crate::support::MemoryOrigin::new();
    let (a, b) = (Node::open(dir.path(), &database, &origin), Node::open(dir.path(), &database, &origin));
    let mut feed = Feed::open(&a.control.router(Credentials::Socket), None).await;
    feed.state().await;
    for round in 0..20 {
        let name = format!("p{round}");
        let writer = if round % 2 == 0 { &b } else { &a };
        writer.product(&name).await;
        assert!(is_product(&feed.change().await.1, &name));
    }
}

#[tokio::test]
async fn a_feed_takes_the_credentials_that_the_api_takes() {
    let world = World::new(Engine::Sqlite);
    let router = world.control.router(Credentials::Bearer(world.control.admin_token().clone()));
    call(&router, Method::GET, "/v1/feed").await.refused(401, "admin_credentials");
    call(&router, Method::GET, &format!("/v1/feed/snapshots/{}", BlobId::of(b"x")))
        .await
        .refused(401, "admin_credentials");
    let bearer = format!("Bearer {}", world.control.admin_token().expose());
    let request = Request::get("/v1/feed").header("authorization", bearer).body(Body::empty()).expect("a request");
    let response = router.clone().call(request).await.expect("routers never fail");
    assert_eq!(response.status(), 200);
}
