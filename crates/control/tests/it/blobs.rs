//! Blobs: up, down, listed, opened, removed.

use crate::support::{Build, Engine, RecordingSink, World, open, send};
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::BodyExt as _;
use penstock_control::Credentials;
use penstock_core::api::{BlobAnswer, MissingAnswer};
use penstock_core::blob::BlobId;
use penstock_core::catalog::CatalogChange;
use penstock_core::desk::{BlobsAnswer, StatusAnswer};
use penstock_core::limits::{BLOB_BYTES_MAX, MISSING_BLOBS_MAX};
use penstock_origin::{FailingOrigin, Failure, LocalOrigin};
use penstock_store::{Store, StoreOptions};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tower_service::Service as _;

crate::on_both_engines! {
    what_goes_up_comes_down,
    bytes_under_a_false_name_leave_nothing,
    a_full_disk_is_said_and_mends_itself,
    announced_lengths_are_bounded_and_broken_bodies_leave_nothing,
    the_missing_are_named_in_the_order_asked,
    a_blob_is_opened_once_and_removed,
    a_releases_blobs_are_neither_removed_nor_opened,
    the_list_is_paged_by_name,
    many_uploads_of_one_blob_at_once_all_succeed,
    a_failing_origin_is_reported_without_its_inside,
}

/// Sizes around the buffers of an upload, and none.
const SIZES: [usize; 6] = [0, 1, 1 << 18, (1 << 20) - 1, 1 << 20, 3 * (1 << 20) + 7];

fn content(bytes: usize) -> Vec<u8> {
    (0u8..251).cycle().take(bytes).collect()
}

/// A body in frames of an awkward size, as a network makes them.
fn in_frames(content: &[u8], frame_bytes: usize) -> Body {
    struct Frames(Vec<Bytes>);
    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Ready(self.0.pop().map(|bytes| Ok(Frame::data(bytes))))
        }
    }
    let mut frames: Vec<Bytes> = content.chunks(frame_bytes).map(Bytes::copy_from_slice).collect();
    frames.reverse();
    Body::new(Frames(frames))
}

async fn what_goes_up_comes_down(engine: Engine) {
    let world = World::new(engine);
    for bytes in SIZES {
        let content = content(bytes);
        let blob = BlobId::of(&content);
        world.get(&format!("/blobs/{blob}")).await.refused(404, "not_found");
        let reply = world.call(Method::PUT, &format!("/blobs/{blob}"), in_frames(&content, 70_001)).await;
        assert_eq!(reply.status, 201, "{bytes}");
        assert_eq!(reply.ok::<BlobAnswer>(), BlobAnswer { blob, bytes: bytes as u64 });
        let again = world.call(Method::PUT, &format!("/blobs/{blob}"), content.clone()).await;
        assert_eq!(again.status, 200, "the same again is fine");
        let down = world.get(&format!("/blobs/{blob}")).await;
        assert_eq!(down.headers["content-length"], bytes.to_string());
        assert_eq!(down.headers["etag"], format!("\"{blob}\""));
        assert_eq!(down.body, content);
        let head = world.call(Method::HEAD, &format!("/blobs/{blob}"), Body::empty()).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    }
    assert!(world.sink.all().is_empty(), "nobody is owed a blob by its mere presence");
}

async fn bytes_under_a_false_name_leave_nothing(engine: Engine) {
    let world = World::new(engine);
    let blob = BlobId::of(b"promised");
    let reply = world.call(Method::PUT, &format!("/blobs/{blob}"), "delivered").await;
    assert!(reply.refused(422, "hash_mismatch").contains(&BlobId::of(b"delivered").to_string()));
    world.get(&format!("/blobs/{blob}")).await.refused(404, "not_found");
    world.call(Method::PUT, "/blobs/ABCD", "x").await.refused(400, "bad_request");
    let upper = blob.to_string().to_uppercase();
    assert!(world.call(Method::PUT, &format!("/blobs/{upper}"), "x").await.refused(400, "bad_request").contains("hex"));
}

async fn a_full_disk_is_said_and_mends_itself(engine: Engine) {
    let world = World::new(engine);
    let content = content(2 << 20);
    let blob = BlobId::of(&content);
    world.origin.room.store(1 << 20, Ordering::Relaxed);
    let reply = world.call(Method::PUT, &format!("/blobs/{blob}"), content.clone()).await;
    reply.refused(507, "disk_full");
    assert_eq!(reply.headers["retry-after"], "10");
    world.origin.room.store(u64::MAX, Ordering::Relaxed);
    world.call(Method::PUT, &format!("/blobs/{blob}"), content).await.ok::<Value>();
}

async fn announced_lengths_are_bounded_and_broken_bodies_leave_nothing(engine: Engine) {
    let world = World::new(engine);
    let blob = BlobId::of(b"x");
    let request = Request::put(format!("/admin/v1/blobs/{blob}"))
        .header("content-length", (BLOB_BYTES_MAX + 1).to_string())
        .body(Body::empty())
        .expect("a request");
    world.send(request).await.refused(413, "body_too_large");
    struct Broken(bool);
    impl http_body::Body for Broken {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let first = !std::mem::replace(&mut self.0, true);
            let frame =
                if first { Ok(Frame::data(Bytes::from_static(b"x"))) } else { Err(std::io::Error::other("gone")) };
            std::task::Poll::Ready(Some(frame))
        }
    }
    let reply = world.call(Method::PUT, &format!("/blobs/{blob}"), Body::new(Broken(false))).await;
    assert!(reply.refused(400, "bad_request").contains("after 1 bytes"));
    assert!(!world.origin.holds(blob));
}

async fn the_missing_are_named_in_the_order_asked(engine: Engine) {
    let world = World::new(engine);
    let there = world.origin.put(b"there");
    let (a, b) = (BlobId::of(b"a"), BlobId::of(b"b"));
    let answer: MissingAnswer = world.post("/blobs/missing", &json!({ "blobs": [b, there, a] })).await.ok();
    assert_eq!(answer.missing, [b, a]);
    let many = vec![a; MISSING_BLOBS_MAX + 1];
    world.post("/blobs/missing", &json!({ "blobs": many })).await.refused(413, "body_too_large");
    let detail = world.post("/blobs/missing", &json!({ "blobs": [a, "zz"] })).await.refused(400, "bad_request");
    assert!(detail.starts_with("blobs[1]: "), "{detail}");
}

async fn a_blob_is_opened_once_and_removed(engine: Engine) {
    let world = World::new(engine);
    let blob = BlobId::of(b"loose");
    let detail = world.post(&format!("/blobs/{blob}/open"), &()).await.refused(404, "not_found");
    assert!(detail.ends_with("is not stored here: upload it first"), "{detail}");
    world.call(Method::PUT, &format!("/blobs/{blob}"), "loose").await.ok::<Value>();
    for _ in 0..2 {
        world.post(&format!("/blobs/{blob}/open"), &()).await.ok::<BlobAnswer>();
    }
    assert_eq!(world.sink.all(), [CatalogChange::LooseBlob { blob, open: true }]);
    let world = world.restarted();
    assert_eq!(world.sink.all(), [CatalogChange::LooseBlob { blob, open: true }], "told again after a restart");
    world.sink.clear();
    let answer: BlobAnswer = world.call(Method::DELETE, &format!("/blobs/{blob}"), Body::empty()).await.ok();
    assert_eq!(answer.bytes, 5);
    assert_eq!(world.sink.all(), [CatalogChange::LooseBlobGone { blob }]);
    assert!(!world.origin.holds(blob));
    for method in [Method::DELETE, Method::GET] {
        let detail = world.call(method, &format!("/blobs/{blob}"), Body::empty()).await.refused(404, "not_found");
        assert!(detail.ends_with("is not stored here"), "nobody who asks so wants to upload it: {detail}");
    }
}

async fn a_releases_blobs_are_neither_removed_nor_opened(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    let build = Build::new("game", "1");
    world.register(&build).await.ok::<Value>();
    let pack = build.members[2].blob;
    let removal = world.call(Method::DELETE, &format!("/blobs/{pack}"), Body::empty()).await;
    assert!(removal.refused(409, "conflict").contains("release 1 of game"));
    assert!(world.origin.holds(pack));
    world.product("game", "open").await;
    let opening = world.post(&format!("/blobs/{pack}/open"), &()).await;
    let detail = opening.refused(409, "conflict");
    assert!(
        detail.contains("release 1 of game"),
        "an open product may be closed again, and has an export class: {detail}"
    );
}

async fn the_list_is_paged_by_name(engine: Engine) {
    let world = World::new(engine);
    let mut blobs: Vec<BlobId> = Vec::new();
    for i in 0..7u8 {
        blobs.push(BlobId::of(&[i]));
        world.call(Method::PUT, &format!("/blobs/{}", BlobId::of(&[i])), vec![i]).await.ok::<Value>();
    }
    blobs.sort_unstable();
    let mut seen = Vec::new();
    let mut path = "/blobs?limit=3".to_owned();
    loop {
        let page: BlobsAnswer = world.get(&path).await.ok();
        assert!(page.blobs.len() <= 3);
        seen.extend(page.blobs.iter().map(|row| row.blob));
        let Some(next) = page.next else { break };
        path = format!("/blobs?limit=3&after={next}");
    }
    assert_eq!(seen, blobs);
    let all: BlobsAnswer = world.get("/blobs").await.ok();
    assert_eq!((all.blobs.len(), all.next), (7, None));
    assert!(all.blobs.iter().all(|row| row.bytes == 1 && !row.open && row.releases == 0));
    world.get("/blobs?limit=x").await.refused(400, "bad_request");
    world.get("/blobs?offset=3").await.refused(400, "bad_request");
    let status: StatusAnswer = world.get("/status").await.ok();
    assert_eq!((status.blobs, status.blob_bytes), (7, 7));
}

async fn many_uploads_of_one_blob_at_once_all_succeed(engine: Engine) {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = Store::open(&dir.path().join("blobs"), StoreOptions::default()).expect("store");
    let sink = Arc::new(RecordingSink::default());
    let database = engine.database(dir.path());
    let control = open(dir.path(), &database, Arc::new(LocalOrigin::new(store.clone())), sink).expect("opens");
    let router = control.router(Credentials::Socket);
    let content = content(3 << 20);
    let blob = BlobId::of(&content);
    let mut tasks = tokio::task::JoinSet::new();
    for frame_bytes in 1..=24usize {
        let (router, content) = (router.clone(), content.clone());
        tasks.spawn(async move {
            let body = in_frames(&content, frame_bytes * 9001);
            let request = Request::put(format!("/admin/v1/blobs/{blob}")).body(body).expect("a request");
            send(&router, request).await.ok::<BlobAnswer>()
        });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.expect("no panic").bytes, 3 << 20);
    }
    let down = send(&router, Request::get(format!("/admin/v1/blobs/{blob}")).body(Body::empty()).expect("r")).await;
    assert_eq!(down.body, content);
    assert_eq!(store.list().len(), 1);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/tmp")).expect("tmp").count(), 0);
}

async fn a_failing_origin_is_reported_without_its_inside(engine: Engine) {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = Store::open(&dir.path().join("blobs"), StoreOptions::default()).expect("store");
    let failing = FailingOrigin::new(Arc::new(LocalOrigin::new(store)));
    let (origin, sink) = (Arc::new(failing.clone()), Arc::new(RecordingSink::default()));
    let control = open(dir.path(), &engine.database(dir.path()), origin, sink).expect("opens");
    let mut router = control.router(Credentials::Socket);
    let content = content(2 << 20);
    let blob = BlobId::of(&content);
    let put = || Request::put(format!("/admin/v1/blobs/{blob}")).body(Body::from(content.clone())).expect("r");
    let get = || Request::get(format!("/admin/v1/blobs/{blob}")).body(Body::empty()).expect("r");
    failing.set(Failure::Always);
    assert_eq!(send(&router, put()).await.refused(503, "unavailable"), "");
    failing.set(Failure::Full);
    assert_eq!(send(&router, put()).await.refused(507, "disk_full"), "");
    failing.set(Failure::After { bytes: 1 << 20 });
    send(&router, put()).await.refused(503, "unavailable");
    failing.set(Failure::Never);
    send(&router, put()).await.ok::<Value>();
    // Read half of it, then fail: the body must end in an error, never short and well.
    failing.set(Failure::After { bytes: 1 << 20 });
    let response = router.call(get()).await.expect("routers never fail");
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
}
