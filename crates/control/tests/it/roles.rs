//! Who may call what: every route of the API, every role, over a real socket, against what is written down here.

use crate::described;
use crate::support::{Engine, World};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use penstock_core::credential::Role;
use penstock_core::desk::AccountDetail;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

crate::on_both_engines! { every_role_may_call_what_is_written_here_and_nothing_else }

/// Each route, and who may call it beside owners. A route that is not here fails the test.
const EXPECTED: &[(&str, &str)] = &[
    ("GET /admin/v1/accounts", "support desk compliance auditor"),
    ("GET /admin/v1/accounts/{id}", "support desk compliance auditor"),
    ("PUT /admin/v1/accounts/{id}", "support desk compliance"),
    ("GET /admin/v1/audit", "compliance auditor"),
    ("GET /admin/v1/audit/verify", "compliance auditor"),
    ("GET /admin/v1/blobs", "publisher release_manager support desk compliance auditor"),
    ("POST /admin/v1/blobs/missing", "publisher"),
    ("GET /admin/v1/blobs/{blob}", "publisher auditor edge"),
    ("PUT /admin/v1/blobs/{blob}", "publisher"),
    ("DELETE /admin/v1/blobs/{blob}", "publisher"),
    ("POST /admin/v1/blobs/{blob}/open", "publisher"),
    ("GET /admin/v1/credentials", "auditor"),
    ("POST /admin/v1/credentials", ""),
    ("GET /admin/v1/credentials/{name}", "auditor"),
    ("DELETE /admin/v1/credentials/{name}", ""),
    ("GET /admin/v1/entitlements", "support desk compliance auditor"),
    ("POST /admin/v1/entitlements", "desk"),
    ("GET /admin/v1/entitlements/{id}", "support desk compliance auditor"),
    ("DELETE /admin/v1/entitlements/{id}", "desk"),
    ("POST /admin/v1/explain", "support desk compliance auditor"),
    ("POST /admin/v1/imports", "desk"),
    ("GET /admin/v1/jwks", "publisher release_manager support desk compliance auditor"),
    ("GET /admin/v1/links/key", "publisher release_manager support desk compliance auditor"),
    ("POST /admin/v1/links", ""),
    ("GET /admin/v1/products", "publisher release_manager support desk compliance auditor"),
    ("POST /admin/v1/products", "publisher"),
    ("GET /admin/v1/products/{product}", "publisher release_manager support desk compliance auditor"),
    ("GET /admin/v1/products/{product}/channels", "publisher release_manager support desk compliance auditor"),
    (
        "GET /admin/v1/products/{product}/channels/{channel}",
        "publisher release_manager support desk compliance auditor",
    ),
    ("PUT /admin/v1/products/{product}/channels/{channel}", "release_manager"),
    ("GET /admin/v1/products/{product}/releases", "publisher release_manager support desk compliance auditor"),
    ("POST /admin/v1/products/{product}/reuse", "publisher"),
    ("POST /admin/v1/products/{product}/releases", "publisher"),
    (
        "GET /admin/v1/products/{product}/releases/{version}",
        "publisher release_manager support desk compliance auditor",
    ),
    ("POST /admin/v1/products/{product}/releases/{version}/restore", "publisher release_manager"),
    ("POST /admin/v1/products/{product}/releases/{version}/withdraw", "publisher release_manager"),
    ("POST /admin/v1/products/{product}/rotations", "publisher"),
    ("GET /admin/v1/products/{product}/signing", "publisher release_manager support desk compliance auditor"),
    ("POST /admin/v1/snapshots", "desk"),
    ("GET /admin/v1/status", "publisher release_manager support desk compliance auditor"),
    ("POST /admin/v1/tokens", ""),
    ("GET /admin/v1/embargo", "compliance auditor"),
    ("PUT /admin/v1/embargo", "compliance"),
    ("GET /admin/v1/embargo/versions", "compliance auditor"),
    ("GET /admin/v1/revocations", "support desk compliance auditor"),
    ("POST /admin/v1/revocations", "support desk"),
    ("GET /admin/v1/revocations/{id}", "support desk compliance auditor"),
    ("GET /admin/v1/segments", "release_manager support desk auditor"),
    ("GET /admin/v1/segments/{name}", "release_manager support desk auditor"),
    ("PUT /admin/v1/segments/{name}", "release_manager"),
    ("DELETE /admin/v1/segments/{name}", "release_manager"),
    ("POST /admin/v1/segments/{name}/test", "support desk compliance auditor"),
    ("GET /admin/v1/products/{product}/rollouts", "release_manager support desk auditor"),
    ("GET /admin/v1/products/{product}/channels/{channel}/rollout", "release_manager support desk auditor"),
    ("PUT /admin/v1/products/{product}/channels/{channel}/rollout", "release_manager"),
    ("POST /admin/v1/products/{product}/channels/{channel}/rollout/pause", "release_manager"),
    ("POST /admin/v1/products/{product}/channels/{channel}/rollout/resume", "release_manager"),
    ("POST /admin/v1/products/{product}/channels/{channel}/rollout/halt", "release_manager"),
    ("POST /admin/v1/products/{product}/channels/{channel}/rollout/finish", "release_manager"),
    ("POST /admin/v1/products/{product}/channels/{channel}/rollout/steps", "release_manager"),
    ("PUT /admin/v1/products/{product}/channels/{channel}/rollout/steps/{step}", "release_manager"),
    ("DELETE /admin/v1/products/{product}/channels/{channel}/rollout/steps/{step}", "release_manager"),
    (
        "GET /admin/v1/products/{product}/channels/{channel}/minimum",
        "publisher release_manager support desk compliance auditor",
    ),
    ("PUT /admin/v1/products/{product}/channels/{channel}/minimum", "release_manager"),
    ("GET /admin/v1/accounts/{id}/users", "support desk compliance auditor"),
    ("PUT /admin/v1/accounts/{id}/users/{user}", "desk"),
    ("DELETE /admin/v1/accounts/{id}/users/{user}", "desk"),
    ("PUT /admin/v1/accounts/{id}/devices/{device}", "support desk"),
    ("DELETE /admin/v1/accounts/{id}/devices/{device}", "support desk"),
    ("PUT /admin/v1/accounts/{id}/agreements/{agreement}", "desk"),
    ("GET /admin/v1/accounts/{id}/customers", "support desk compliance auditor"),
    ("PUT /admin/v1/accounts/{id}/customers/{customer}", "desk"),
    ("DELETE /admin/v1/accounts/{id}/customers/{customer}", "desk"),
    ("GET /admin/v1/accounts/{id}/allocations", "support desk compliance auditor"),
    ("POST /admin/v1/accounts/{id}/allocations", "desk"),
    ("DELETE /admin/v1/allocations/{id}", "desk"),
    ("GET /admin/v1/entitlements/{id}/seats", "support desk compliance auditor"),
    ("PUT /admin/v1/entitlements/{id}/seats/{user}", "desk"),
    ("DELETE /admin/v1/entitlements/{id}/seats/{user}", "desk"),
    ("GET /admin/v1/packages", "support desk compliance auditor"),
    ("GET /admin/v1/packages/{package}", "support desk compliance auditor"),
    ("PUT /admin/v1/packages/{package}", "desk"),
    ("DELETE /admin/v1/packages/{package}", "desk"),
    ("GET /admin/v1/own", "company reseller"),
    ("POST /admin/v1/own/tokens", "company reseller"),
    ("GET /admin/v1/own/users", "company"),
    ("PUT /admin/v1/own/users/{user}", "company"),
    ("DELETE /admin/v1/own/users/{user}", "company"),
    ("GET /admin/v1/own/entitlements/{id}/seats", "company"),
    ("PUT /admin/v1/own/entitlements/{id}/seats/{user}", "company"),
    ("DELETE /admin/v1/own/entitlements/{id}/seats/{user}", "company"),
    ("GET /admin/v1/own/customers", "reseller"),
    ("PUT /admin/v1/own/customers/{customer}", "reseller"),
    ("DELETE /admin/v1/own/customers/{customer}", "reseller"),
    ("GET /admin/v1/own/allocations", "reseller"),
    ("POST /admin/v1/own/entitlements", "reseller"),
    ("DELETE /admin/v1/own/entitlements/{id}", "reseller"),
    ("GET /v1/feed", "edge"),
    ("GET /v1/feed/snapshots/{blob}", "edge"),
    ("POST /v1/feed/snapshots/{blob}/damaged", "edge"),
];

/// Routes that owners may not call: they act for the account of the credential, and an owner's has none.
const NOT_FOR_OWNERS: &[&str] = &[
    "GET /admin/v1/own",
    "POST /admin/v1/own/tokens",
    "GET /admin/v1/own/users",
    "PUT /admin/v1/own/users/{user}",
    "DELETE /admin/v1/own/users/{user}",
    "GET /admin/v1/own/entitlements/{id}/seats",
    "PUT /admin/v1/own/entitlements/{id}/seats/{user}",
    "DELETE /admin/v1/own/entitlements/{id}/seats/{user}",
    "GET /admin/v1/own/customers",
    "PUT /admin/v1/own/customers/{customer}",
    "DELETE /admin/v1/own/customers/{customer}",
    "GET /admin/v1/own/allocations",
    "POST /admin/v1/own/entitlements",
    "DELETE /admin/v1/own/entitlements/{id}",
];

async fn every_role_may_call_what_is_written_here_and_nothing_else(engine: Engine) {
    let world = World::new(engine);
    for (account, kind) in [("acme", "business"), ("shop", "reseller")] {
        world.put(&format!("/accounts/{account}"), &json!({ "kind": kind })).await.ok::<AccountDetail>();
    }
    let document = described::document(&world.socket()).await;
    let expected: BTreeMap<&str, BTreeSet<&str>> =
        EXPECTED.iter().map(|(route, roles)| (*route, roles.split_whitespace().collect())).collect();
    assert_eq!(expected.len(), EXPECTED.len(), "each route once");
    let routes = document["paths"].as_object().expect("paths").iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("methods").iter();
        methods.map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    });
    let routes: BTreeMap<String, &Value> = routes.collect();
    let unknown: Vec<&String> = routes.keys().filter(|route| !expected.contains_key(route.as_str())).collect();
    assert!(unknown.is_empty(), "say in EXPECTED who may call {unknown:?}");
    assert_eq!(routes.len(), expected.len(), "EXPECTED names routes that are not there");

    let mut door = RealDoor::open(&world).await;
    for role in Role::ALL {
        let mut wanted = json!({ "name": role, "role": role });
        match role {
            Role::Company => wanted["account"] = json!("acme"),
            Role::Reseller => wanted["account"] = json!("shop"),
            _ => {}
        }
        let secret = world.credential(&wanted).await;
        for (route, operation) in &routes {
            let may = match role {
                Role::Owner => !NOT_FOR_OWNERS.contains(&route.as_str()),
                _ => expected[route.as_str()].contains(role.as_str()),
            };
            let described = operation["x-roles"].as_array().expect("roles").contains(&json!(role));
            assert_eq!(described, may, "{role}: {route} as described");
            let (method, path) = route.split_once(' ').expect("a method and a path");
            // What may be called is not called here by owners and others alike: most would change something.
            if !may {
                let (status, code) = door.ask(&secret, method, &filled(path)).await;
                assert_eq!((status, code.as_str()), (403, "admin_forbidden"), "{role}: {route}");
            } else if method == "GET" && path != "/v1/feed" {
                let (status, code) = door.ask(&secret, method, &filled(path)).await;
                assert!(matches!(status, 200 | 400 | 404), "{role}: {route} answered {status} {code}");
            }
        }
    }
}

/// A path with something that could be a name in each place.
fn filled(path: &str) -> String {
    let part = |part: &str| match part {
        "{blob}" => "0".repeat(64),
        part if part.starts_with('{') => "1".to_owned(),
        part => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// The network's router behind a TCP listener, and one connection to it after the other.
struct RealDoor(std::net::SocketAddr);

impl RealDoor {
    async fn open(world: &World) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("bound");
        let router = world.network();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // A peer that goes away is no failure of the test.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self(address)
    }

    async fn ask(&mut self, secret: &str, method: &str, path: &str) -> (u16, String) {
        let stream = tokio::net::TcpStream::connect(self.0).await.expect("connect");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
        let driver = tokio::spawn(connection);
        let request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("a method")).uri(path);
        let request = request.header("host", "node").header("authorization", format!("Bearer {secret}"));
        let response = sender.send_request(request.body(Full::new(Bytes::new())).expect("a request")).await;
        let response = response.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        drop(sender);
        let _ = driver.await;
        let document: Value = serde_json::from_slice(&body).unwrap_or_default();
        (status, document["code"].as_str().unwrap_or_default().to_owned())
    }
}
