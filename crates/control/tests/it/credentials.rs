//! Credentials of the record: what they open, what they do not, and what nobody learns about them.

use crate::behind::execute;
use crate::support::{Build, Engine, NOW, World, send_as};
use http::Method;
use penstock_core::api::ProductsAnswer;
use penstock_core::blob::BlobId;
use penstock_core::credential::{CREDENTIAL_PRODUCTS_MAX, Credential, CredentialMade, CredentialsAnswer};
use penstock_core::desk::AccountDetail;
use serde_json::{Value, json};

crate::on_both_engines! {
    a_credential_opens_what_its_role_has_and_nothing_else,
    what_is_wrong_with_a_secret_is_not_told,
    a_secret_is_shown_once_and_kept_nowhere,
    credentials_are_checked_when_they_are_made,
    credentials_are_listed_page_by_page_and_their_names_stay_taken,
    a_limited_publisher_keeps_to_its_products,
    parts_of_an_account_have_permissions_of_their_own,
}

async fn a_credential_opens_what_its_role_has_and_nothing_else(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "open").await;
    let network = world.network();
    let auditor = world.credential(&json!({ "name": "eve", "role": "auditor" })).await;
    send_as(&network, &auditor, Method::GET, "/products", &Value::Null).await.ok::<Value>();
    let refused = send_as(&network, &auditor, Method::POST, "/products", &json!({ "id": "x", "access": "open" })).await;
    assert!(refused.refused(403, "admin_forbidden").contains("auditor"));
    // Who may not call hears so whether or not what is asked for exists, and whatever the body is.
    send_as(&network, &auditor, Method::DELETE, "/entitlements/7", &Value::Null).await.refused(403, "admin_forbidden");
    send_as(&network, &auditor, Method::POST, "/entitlements", &json!(7)).await.refused(403, "admin_forbidden");
    let owner = world.credential(&json!({ "name": "anna", "role": "owner" })).await;
    send_as(&network, &owner, Method::POST, "/products", &json!({ "id": "x", "access": "open" })).await.ok::<Value>();
    let made = send_as(&network, &owner, Method::POST, "/credentials", &json!({ "name": "b", "role": "edge" })).await;
    assert_eq!(made.status, 201);
    let edge = made.ok::<CredentialMade>().secret;
    send_as(&network, &edge, Method::GET, "/products", &Value::Null).await.refused(403, "admin_forbidden");
    assert!(world.restarted().sink.all().len() == 2, "credentials are nothing that edges hear of");
}

async fn what_is_wrong_with_a_secret_is_not_told(engine: Engine) {
    let world = World::new(engine);
    let network = world.network();
    let ask = async |secret: &str| send_as(&network, secret, Method::GET, "/products", &Value::Null).await;
    let expiring = json!({ "name": "short", "role": "auditor", "expires": NOW.0 + 1 });
    let expired = world.credential(&expiring).await;
    ask(&expired).await.ok::<Value>();
    execute(&world.database, &format!("UPDATE credentials SET expires = {}", NOW.0));
    let revoked = world.credential(&json!({ "name": "gone", "role": "auditor" })).await;
    ask(&revoked).await.ok::<Value>();
    world.call(Method::DELETE, "/credentials/gone", "").await.ok::<Credential>();
    let mut answers = Vec::new();
    for secret in [expired, revoked, "A".repeat(43), "!".repeat(43), "short".to_owned()] {
        let reply = ask(&secret).await;
        reply.refused(401, "admin_credentials");
        let mut document = reply.json();
        document["request_id"].take();
        answers.push(document);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

async fn a_secret_is_shown_once_and_kept_nowhere(engine: Engine) {
    let world = World::new(engine);
    let secret = world.credential(&json!({ "name": "ci", "role": "publisher" })).await;
    assert_eq!(secret.len(), 43);
    for path in ["/credentials", "/audit"] {
        let text = String::from_utf8(world.get(path).await.body.to_vec()).expect("text");
        assert!(text.contains("\"ci\"") && !text.contains(&secret), "{text}");
    }
    if let penstock_control::Database::Sqlite(path) = &world.database {
        for end in ["", "-wal"] {
            let bytes = std::fs::read(format!("{}{end}", path.display())).expect("file");
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
    let network = world.network();
    let world = world.restarted();
    send_as(&world.network(), &secret, Method::GET, "/products", &Value::Null).await.ok::<Value>();
    send_as(&network, &secret, Method::GET, "/products", &Value::Null).await.ok::<Value>();
}

async fn credentials_are_checked_when_they_are_made(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "open").await;
    world.put("/accounts/acme", &json!({ "kind": "business" })).await.ok::<AccountDetail>();
    let many: Vec<String> = (0..=CREDENTIAL_PRODUCTS_MAX).map(|number| format!("p{number}")).collect();
    for (wanted, status, word) in [
        (json!({ "name": "x", "role": "root" }), 400, "role"),
        (json!({ "name": "@node", "role": "owner" }), 400, "name"),
        (json!({ "name": "x", "role": "company" }), 400, "account"),
        (json!({ "name": "x", "role": "owner", "account": "acme" }), 400, "account"),
        (json!({ "name": "x", "role": "company", "account": "nobody" }), 404, "nobody"),
        (json!({ "name": "x", "role": "desk", "products": ["game"] }), 400, "products"),
        (json!({ "name": "x", "role": "publisher", "products": ["nothing"] }), 404, "nothing"),
        (json!({ "name": "x", "role": "publisher", "products": many }), 413, "products"),
        (json!({ "name": "x", "role": "owner", "expires": NOW.0 }), 400, "expires"),
        (json!({ "name": "x", "role": "owner", "secret": "mine" }), 400, "secret"),
    ] {
        let code = match status {
            404 => "not_found",
            413 => "body_too_large",
            _ => "bad_request",
        };
        let detail = world.post("/credentials", &wanted).await.refused(status, code);
        assert!(detail.contains(word), "{wanted}: {detail}");
    }
    let answer: CredentialsAnswer = world.get("/credentials").await.ok();
    assert_eq!(answer.credentials, []);
    world.credential(&json!({ "name": "x", "role": "company", "account": "acme" })).await;
}

async fn credentials_are_listed_page_by_page_and_their_names_stay_taken(engine: Engine) {
    let world = World::new(engine);
    for name in ["c", "a", "b"] {
        world.credential(&json!({ "name": name, "role": "desk" })).await;
    }
    let first: CredentialsAnswer = world.get("/credentials?limit=2").await.ok();
    let names: Vec<&str> = first.credentials.iter().map(|one| one.name.as_str()).collect();
    assert_eq!((names, first.next.as_ref().map(ToString::to_string)), (vec!["a", "b"], Some("b".to_owned())));
    let last: CredentialsAnswer = world.get("/credentials?limit=2&after=b").await.ok();
    assert_eq!((last.credentials.len(), last.next), (1, None));
    let revoked: Credential = world.call(Method::DELETE, "/credentials/a", "").await.ok();
    assert_eq!(revoked.revoked, Some(NOW));
    let again: Credential = world.call(Method::DELETE, "/credentials/a", "").await.ok();
    assert_eq!(again, revoked);
    world.call(Method::DELETE, "/credentials/nobody", "").await.refused(404, "not_found");
    world.post("/credentials", &json!({ "name": "a", "role": "desk" })).await.refused(409, "conflict");
}

async fn a_limited_publisher_keeps_to_its_products(engine: Engine) {
    let world = World::new(engine);
    for product in ["mine", "yours"] {
        world.product(product, "open").await;
    }
    let network = world.network();
    let publisher = world.credential(&json!({ "name": "ci", "role": "publisher", "products": ["mine"] })).await;
    let ask = async |method, path: &str, body: &Value| send_as(&network, &publisher, method, path, body).await;
    ask(Method::GET, "/products/mine", &Value::Null).await.ok::<Value>();
    ask(Method::GET, "/products/yours", &Value::Null).await.refused(403, "admin_forbidden");
    ask(Method::GET, "/products/not%20a%20name", &Value::Null).await.refused(400, "bad_request");
    ask(Method::POST, "/products/yours/releases", &json!({})).await.refused(403, "admin_forbidden");
    let put = |id: &str| json!({ "id": id, "access": "closed" });
    ask(Method::POST, "/products", &put("mine")).await.ok::<Value>();
    ask(Method::POST, "/products", &put("yours")).await.refused(403, "admin_forbidden");
    ask(Method::POST, "/products", &put("new")).await.refused(403, "admin_forbidden");
    let blob = world.origin.put(b"loose");
    ask(Method::POST, &format!("/blobs/{blob}/open"), &Value::Null).await.refused(403, "admin_forbidden");
    ask(Method::DELETE, &format!("/blobs/{blob}"), &Value::Null).await.refused(403, "admin_forbidden");
    // Nor does it hear what there is of others.
    let listed: ProductsAnswer = ask(Method::GET, "/products", &Value::Null).await.ok();
    assert_eq!(listed.products.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["mine"]);
    ask(Method::GET, "/blobs", &Value::Null).await.refused(403, "admin_forbidden");
    let (mine, yours) = (Build::new("mine", "1"), Build::new("yours", "1"));
    world.register(&mine).await.ok::<Value>();
    world.register(&yours).await.ok::<Value>();
    let read = async |build: &Build| {
        ask(Method::GET, &format!("/blobs/{}", BlobId::of(&build.manifest())), &Value::Null).await
    };
    assert_eq!(read(&mine).await.status, 200);
    read(&yours).await.refused(404, "not_found");
    ask(Method::GET, &format!("/blobs/{blob}"), &Value::Null).await.refused(404, "not_found");
}

async fn parts_of_an_account_have_permissions_of_their_own(engine: Engine) {
    let world = World::new(engine);
    let network = world.network();
    let mut secrets = std::collections::BTreeMap::new();
    for role in ["desk", "support", "compliance", "auditor"] {
        secrets.insert(role, world.credential(&json!({ "name": role, "role": role })).await);
    }
    let put = async |role: &str, name: &str, wanted: Value| {
        send_as(&network, &secrets[role], Method::PUT, &format!("/accounts/{name}"), &wanted).await
    };
    let is_allowed = async |role: &str, wanted: Value| put(role, "alice", wanted).await.status.is_success();
    put("support", "alice", json!({})).await.refused(403, "admin_forbidden");
    put("desk", "alice", json!({ "attributes": { "beta": true } })).await.ok::<Value>();
    assert!(is_allowed("support", json!({ "devices": ["pc"], "end_tokens": true })).await);
    assert!(!is_allowed("support", json!({ "kind": "business" })).await);
    assert!(!is_allowed("support", json!({ "standing": "suspended" })).await);
    assert!(!is_allowed("compliance", json!({ "devices": [] })).await);
    assert!(is_allowed("desk", json!({ "standing": "suspended" })).await);
    assert!(!is_allowed("desk", json!({ "standing": "denied" })).await);
    assert!(is_allowed("compliance", json!({ "standing": "denied" })).await);
    // What compliance denied is not for the desk to lift, neither by hand nor by an import.
    assert!(!is_allowed("desk", json!({ "standing": "active" })).await);
    let lines = json!({ "lines": [{ "account": "alice", "standing": "active" }, { "account": "bob" }] });
    let answer: Value = send_as(&network, &secrets["desk"], Method::POST, "/imports", &lines).await.ok();
    assert_eq!((&answer["refused"][0]["index"], &answer["accounts"]), (&json!(0), &json!(1)));
    assert!(!is_allowed("auditor", json!({})).await);
}
