//! Status, tokens and keys of the node; what it tells after a restart; many writers at once.

use crate::support::{Build, Engine, MemoryOrigin, NOW, RecordingSink, World, believed, open, send};
use http::Method;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use penstock_control::{Control, Credentials};
use penstock_core::api::{MissingAnswer, TokenAnswer};
use penstock_core::blob::BlobId;
use penstock_core::catalog::CatalogChange;
use penstock_core::desk::{JwksAnswer, StatusAnswer};
use penstock_core::id::ChannelName;
use penstock_origin::{LocalOrigin, Origin};
use penstock_store::{Store, StoreOptions};
use serde_json::{Value, json};
use std::sync::Arc;

crate::on_both_engines! {
    @ (flavor = "multi_thread", worker_threads = 4)
    a_token_is_minted_and_verifies_with_the_published_keys,
    a_publication_by_requests_alone_is_served_after_a_restart,
    a_restart_tells_everything_in_an_order_that_makes_sense,
    many_writers_leave_no_gap_and_tell_in_order,
}

async fn a_token_is_minted_and_verifies_with_the_published_keys(engine: Engine) {
    let world = World::new(engine);
    let wanted = json!({ "sub": "player-1", "products": ["game"], "ttl_seconds": 900 });
    let reply = world.post("/tokens", &wanted).await;
    assert_eq!(reply.status, 201);
    let answer: TokenAnswer = reply.ok();
    let jwks: JwksAnswer = world.get("/jwks").await.ok();
    assert_eq!(jwks, world.control.jwks());
    let key = DecodingKey::from_ed_components(&jwks.keys[0].x).expect("key");
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_audience(&[penstock_control::TOKEN_AUDIENCE]);
    rules.set_issuer(&[penstock_control::TOKEN_ISSUER]);
    let claims = jsonwebtoken::decode::<Value>(&answer.token, &key, &rules).expect("verifies").claims;
    assert_eq!((&claims["sub"], &claims["products"]), (&json!("player-1"), &json!(["game"])));
    for wrong in [
        json!({ "sub": "", "ttl_seconds": 900 }),
        json!({ "sub": "x", "ttl_seconds": 0 }),
        json!({ "sub": "x", "ttl_seconds": 900, "admin": true }),
        json!({ "sub": "x" }),
    ] {
        world.post("/tokens", &wrong).await.refused(400, "bad_request");
    }
    let world = world.restarted();
    assert_eq!(world.control.jwks(), jwks, "tokens survive a restart");
}

/// The walk of a publication, with nothing but requests, over every kind of store.
async fn a_publication_by_requests_alone_is_served_after_a_restart(engine: Engine) {
    for local in [false, true] {
        let dir = tempfile::tempdir().expect("temp dir");
        let origin = || -> Arc<dyn Origin> {
            let store = || Store::open(&dir.path().join("blobs"), StoreOptions::default()).expect("store");
            if local { Arc::new(LocalOrigin::new(store())) } else { MemoryOrigin::new() }
        };
        let sink = Arc::new(RecordingSink::default());
        let database = engine.database(dir.path());
        let control = open(dir.path(), &database, origin(), Arc::clone(&sink) as _).expect("opens");
        publish(&control, &Build::new("game", "1").component("dlc", "owners")).await;
        let head = believed(&sink.last_offer(), 1, NOW);
        assert_eq!(head.target().version.as_str(), "1");
        drop(control);
        let again = Arc::new(RecordingSink::default());
        let _control = open(dir.path(), &database, origin(), Arc::clone(&again) as _).expect("opens");
        assert_eq!(again.last_offer(), sink.last_offer());
    }
}

async fn publish(control: &Control, build: &Build) {
    let router = control.router(Credentials::Socket);
    let call = async |method: Method, path: &str, body: Vec<u8>| {
        let request = http::Request::builder().method(method).uri(format!("/admin/v1{path}"));
        send(&router, request.body(body.into()).expect("a request")).await
    };
    let json = |value: &Value| serde_json::to_vec(value).expect("json");
    let product = json!({ "id": build.root.product, "access": "open" });
    call(Method::POST, "/products", json(&product)).await.ok::<Value>();
    let registration = build.registration(control.channel_key());
    let registration = serde_json::to_vec(&registration).expect("json");
    let early = call(Method::POST, "/products/game/releases", registration.clone()).await;
    early.refused(404, "not_found");
    let blobs: Vec<Vec<u8>> = build.blobs.iter().cloned().chain([build.manifest()]).collect();
    let names: Vec<BlobId> = blobs.iter().map(|bytes| BlobId::of(bytes)).collect();
    let question = json(&json!({ "blobs": names }));
    let answer: MissingAnswer = call(Method::POST, "/blobs/missing", question.clone()).await.ok();
    assert_eq!(answer.missing, names);
    for (name, bytes) in names.iter().zip(blobs) {
        call(Method::PUT, &format!("/blobs/{name}"), bytes).await.ok::<Value>();
    }
    let answer: MissingAnswer = call(Method::POST, "/blobs/missing", question).await.ok();
    assert_eq!(answer.missing, []);
    call(Method::POST, "/products/game/releases", registration).await.ok::<Value>();
    let target = json!({ "platform": "any", "version": build.root.version });
    call(Method::PUT, "/products/game/channels/stable", json(&target)).await.ok::<Value>();
}

async fn a_restart_tells_everything_in_an_order_that_makes_sense(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "open").await;
    world.product("zero", "closed").await;
    world.register(&Build::new("game", "1")).await.ok::<Value>();
    world.register(&Build::new("game", "2")).await.ok::<Value>();
    world.post("/products/game/releases/2/withdraw", &()).await.ok::<Value>();
    world.offer("game", "stable", "1").await.ok::<Value>();
    let blob = BlobId::of(b"loose");
    world.call(Method::PUT, &format!("/blobs/{blob}"), "loose").await.ok::<Value>();
    world.post(&format!("/blobs/{blob}/open"), &()).await.ok::<Value>();
    let told = world.sink.all();
    let status: StatusAnswer = world.get("/status").await.ok();
    assert_eq!(status.change_sequence, told.len() as u64, "the log has what edges were told");
    assert_eq!((status.products, status.releases, status.channels, status.schema), (2, 2, 1, 7));
    let world = world.restarted();
    let replayed = world.sink.all();
    let kinds: Vec<&str> = replayed
        .iter()
        .map(|change| match change {
            CatalogChange::Product(_) => "product",
            CatalogChange::Release { .. } => "release",
            CatalogChange::Offer(_) => "offer",
            CatalogChange::LooseBlob { .. } => "loose",
            CatalogChange::LooseBlobGone { .. } => "gone",
            CatalogChange::Account { .. } => "account",
            CatalogChange::AccountsSnapshot { .. } => "accounts",
            CatalogChange::Embargo(_) => "embargo",
            CatalogChange::Segment(_) => "segment",
            CatalogChange::SegmentGone { .. } => "segment_gone",
            CatalogChange::ChannelPolicy { .. } => "channel_policy",
            CatalogChange::TokensRevoked { .. } => "tokens_revoked",
        })
        .collect();
    assert_eq!(kinds, ["product", "product", "release", "release", "offer", "loose"]);
    // The last word on each thing was the same as what is told now.
    // Only a replay knows at once which channels offered a release: here, the first one.
    let mut plain = replayed.clone();
    for change in &mut plain {
        if let CatalogChange::Release { channels, .. } = change {
            channels.clear();
        }
    }
    assert!(plain.iter().all(|change| told.contains(change)), "{replayed:#?}");
    let CatalogChange::Release { channels, .. } = &replayed[2] else { unreachable!("as its kind says") };
    assert_eq!(channels.iter().map(ChannelName::as_str).collect::<Vec<_>>(), ["stable"]);
    let again: StatusAnswer = world.get("/status").await.ok();
    assert_eq!(again.change_sequence, status.change_sequence, "a replay is no change");
}

async fn many_writers_leave_no_gap_and_tell_in_order(engine: Engine) {
    let world = Arc::new(World::new(engine));
    world.product("game", "open").await;
    for version in 0..4 {
        world.register(&Build::new("game", &version.to_string())).await.ok::<Value>();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            for round in 0..8 {
                let version = (writer + round) % 4;
                world.offer("game", &format!("c{}", writer % 3), &version.to_string()).await.ok::<Value>();
                world.product(&format!("p{writer}-{round}"), "open").await;
                // Refused in the middle of a transaction: its number must not be lost.
                world.offer("game", "c0", "none").await.refused(404, "not_found");
                world.get("/products/game/channels").await.ok::<Value>();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no writer failed");
    }
    let told = world.sink.all();
    let log = crate::behind::change_log(&world.database);
    let numbers: Vec<i64> = log.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(numbers, (1..=told.len() as i64).collect::<Vec<_>>(), "gap-free");
    let bodies: Vec<CatalogChange> = log.into_iter().map(|(_, change)| change).collect();
    assert_eq!(bodies, told, "the sink heard the log, in its order");
    for channel in ["c0", "c1", "c2"] {
        let sequences: Vec<u64> = told
            .iter()
            .filter_map(|change| match change {
                CatalogChange::Offer(offer) if offer.channel.as_str() == channel => Some(offer.sequence),
                _ => None,
            })
            .collect();
        assert!(sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{channel}: {sequences:?}");
    }
}
