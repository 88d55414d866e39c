//! Products: created, changed, listed, refused.

use crate::support::{Build, Engine, World};
use penstock_core::api::{ProductsAnswer, SigningAnswer};
use penstock_core::catalog::{AccessClass, CatalogChange, Product};
use serde_json::json;

crate::on_both_engines! {
    a_product_is_created_changed_and_told_each_time,
    changing_access_keeps_what_the_publisher_signed,
    a_publisher_learns_the_channel_key_before_it_signs,
    malformed_products_are_refused_by_field,
}

async fn a_product_is_created_changed_and_told_each_time(engine: Engine) {
    let world = World::new(engine);
    let reply = world.post("/products", &json!({ "id": "game", "access": "open" })).await;
    assert_eq!(reply.status, 201);
    let product: Product = reply.ok();
    assert_eq!((product.title.as_str(), product.access), ("game", AccessClass::Open));
    assert_eq!(world.sink.all(), [CatalogChange::Product(product)]);
    let changed = json!({ "id": "game", "title": "The Game", "access": "licensed", "export_class": "EAR99" });
    let reply = world.post("/products", &changed).await;
    assert_eq!(reply.status, 200);
    let product: Product = reply.ok();
    assert_eq!(world.sink.all().last(), Some(&CatalogChange::Product(product.clone())));
    assert_eq!(world.get("/products/game").await.ok::<Product>(), product);
    world.post("/products", &changed).await.ok::<Product>();
    assert_eq!(world.sink.all().len(), 2, "the same again is no change");
    world.product("demo", "open").await;
    let list: ProductsAnswer = world.get("/products").await.ok();
    assert_eq!(list.products.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["demo", "game"]);
}

async fn changing_access_keeps_what_the_publisher_signed(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "open").await;
    world.register(&Build::new("game", "1")).await.ok::<serde_json::Value>();
    world.product("game", "closed").await;
    let signing: SigningAnswer = world.get("/products/game/signing").await.ok();
    assert_eq!(signing.publisher, crate::support::publisher_text(1));
    assert_eq!(signing.delegation_sequence, 1);
}

async fn a_publisher_learns_the_channel_key_before_it_signs(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "open").await;
    let signing: SigningAnswer = world.get("/products/game/signing").await.ok();
    assert_eq!(signing.channel_key, world.control.channel_key());
    assert_eq!((signing.delegation_sequence, signing.delegated.as_str(), signing.publisher.as_str()), (0, "", ""));
    world.register(&Build::new("game", "1")).await.ok::<serde_json::Value>();
    let signing: SigningAnswer = world.get("/products/game/signing").await.ok();
    assert_eq!(signing.delegated, world.control.channel_key().to_string());
}

async fn malformed_products_are_refused_by_field(engine: Engine) {
    let world = World::new(engine);
    let cases = [
        (json!({ "id": "../x", "access": "open" }), "id: "),
        (json!({ "id": "game", "access": "free" }), "access: "),
        (json!({ "id": "game" }), "missing field `access`"),
        (json!({ "id": "game", "access": "open", "price": 3 }), "unknown field `price`"),
        (json!({ "id": "game", "access": "open", "title": "x".repeat(201) }), "title has 201 bytes"),
        (json!({ "id": "game", "access": "open", "title": "a\nb" }), "title must not have control"),
        (json!({ "id": "game", "access": "open", "export_class": "x".repeat(65) }), "export_class"),
    ];
    for (body, expected) in cases {
        let detail = world.post("/products", &body).await.refused(400, "bad_request");
        assert!(detail.contains(expected), "{detail}");
    }
    assert!(world.sink.all().is_empty());
    world.get("/products/nothing").await.refused(404, "not_found");
    world.get("/products/nothing/signing").await.refused(404, "not_found");
    world.get("/products/a%2Fb").await.refused(400, "bad_request");
}
