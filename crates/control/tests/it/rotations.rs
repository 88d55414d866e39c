//! Rotations of a publisher's keys.

use crate::support::{Build, Engine, NOW, World, believed, delegation, key};
use penstock_core::api::SigningAnswer;
use penstock_core::desk::{PostRotation, RotationAnswer};
use penstock_core::envelope::Purpose;
use penstock_core::keys::TrustSet;
use penstock_core::sign::{SecretKey, seal};
use penstock_core::statement::Rotation;
use serde_json::Value;

crate::on_both_engines! {
    a_key_is_replaced_without_a_gap,
    false_rotations_are_refused,
}

fn rotation(successor: &TrustSet, signers: &[&SecretKey]) -> Vec<u8> {
    let statement = Rotation { successor: successor.clone(), issued: NOW };
    seal(Purpose::Rotation, statement.encode(), signers).encode()
}

async fn offered(engine: Engine) -> World {
    let world = World::new(engine);
    world.product("game", "open").await;
    world.register(&Build::new("game", "1")).await.ok::<Value>();
    world.offer("game", "stable", "1").await.ok::<Value>();
    world
}

async fn a_key_is_replaced_without_a_gap(engine: Engine) {
    let world = offered(engine).await;
    let (old, new) = (key(1), key(2));
    let both = TrustSet::new(vec![old.public(), new.public()], 1).expect("set");
    // First to a set of both, which keeps the delegation and the release in force ...
    let wanted = PostRotation { envelope: rotation(&both, &[&old, &new]), delegation: Vec::new() };
    let answer: RotationAnswer = world.post("/products/game/rotations", &wanted).await.ok();
    assert_eq!((answer.publisher, answer.unverifiable), (both.to_string(), vec![]));
    believed(&world.sink.last_offer(), 1, NOW);
    let told = world.sink.all().len();
    world.post("/products/game/rotations", &wanted).await.ok::<Value>();
    assert_eq!(world.sink.all().len(), told, "the same again changes nothing");
    // ... then to the new key alone, with a delegation of its own.
    let single = TrustSet::single(new.public());
    let delegated = delegation(2, "game", world.control.channel_key(), 2);
    let last = PostRotation { envelope: rotation(&single, &[&old, &new]), delegation: delegated };
    let answer: RotationAnswer = world.post("/products/game/rotations", &last).await.ok();
    assert_eq!(answer.unverifiable.len(), 1, "the channel still offers what the old key signed");
    let mut build = Build::new("game", "2");
    (build.publisher, build.signer, build.delegation_sequence) = (2, 2, 3);
    world.register(&build).await.ok::<Value>();
    world.offer("game", "stable", "2").await.ok::<Value>();
    let world = world.restarted();
    let offer = world.sink.last_offer();
    assert_eq!(offer.rotations.len(), 2);
    believed(&offer, 1, NOW);
    believed(&offer, 2, NOW);
    let signing: SigningAnswer = world.get("/products/game/signing").await.ok();
    assert_eq!(signing.publisher, single.to_string());
    let mut outdated = Build::new("game", "3");
    outdated.delegation_sequence = 9;
    world.register(&outdated).await.refused(403, "signature_refused");
}

async fn false_rotations_are_refused(engine: Engine) {
    let world = offered(engine).await;
    let (old, new, stranger) = (key(1), key(2), key(3));
    let single = TrustSet::single(new.public());
    let fresh = || delegation(2, "game", world.control.channel_key(), 2);
    let post = async |envelope: Vec<u8>, delegation: Vec<u8>| {
        world.post("/products/game/rotations", &PostRotation { envelope, delegation }).await
    };
    let by_stranger = post(rotation(&single, &[&stranger, &new]), fresh()).await;
    assert!(by_stranger.refused(409, "conflict").contains("not signed by the keys in force"));
    let without_new = post(rotation(&single, &[&old]), fresh()).await;
    assert!(without_new.refused(403, "signature_refused").contains("both the old and the new"));
    post(b"junk".to_vec(), fresh()).await.refused(400, "bad_request");
    let good = || rotation(&single, &[&old, &new]);
    let undelegated = post(good(), Vec::new()).await;
    assert!(
        undelegated.refused(403, "signature_refused").contains("delegation"),
        "the old key's delegation ends with it"
    );
    let replayed = delegation(2, "game", world.control.channel_key(), 1);
    post(good(), replayed).await.refused(409, "conflict");
    world.product("fresh", "open").await;
    let early = PostRotation { envelope: good(), delegation: fresh() };
    world.post("/products/fresh/rotations", &early).await.refused(409, "conflict");
    world.post("/products/none/rotations", &early).await.refused(404, "not_found");
    assert!(world.sink.last_offer().rotations.is_empty());
    post(good(), fresh()).await.ok::<Value>();
}
