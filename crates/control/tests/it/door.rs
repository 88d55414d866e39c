//! Credentials, ids, problem documents, and a real Unix socket.

use crate::support::{DATABASE_PASSWORD, Engine, World, send};
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use penstock_control::{Credentials, SecretText};
use penstock_core::api::{MissingAnswer, ProductsAnswer, TokenAnswer};
use penstock_core::blob::BlobId;
use penstock_core::limits::ADMIN_JSON_BYTES_MAX;
use serde_json::Value;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

crate::on_both_engines! {
    the_network_needs_the_token_whatever_the_path,
    unknown_paths_and_methods_are_problems_with_ids,
    bodies_are_bounded_whether_announced_or_not,
    secrets_are_in_no_debug_output,
    secrets_are_in_no_log,
    the_api_works_over_a_unix_socket,
}

fn get(path: &str, authorization: Option<&str>) -> Request<Body> {
    let mut request = Request::get(path);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    request.body(Body::empty()).expect("a request")
}

async fn the_network_needs_the_token_whatever_the_path(engine: Engine) {
    let world = World::new(engine);
    let token = world.control.admin_token().expose().to_owned();
    let router = world.control.router(Credentials::Bearer(world.control.admin_token().clone()));
    let wrong = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(format!("Basic {token}")),
        Some(token.clone()),
        Some(format!("Bearer {token}x")),
        Some(format!("Bearer {}", &token[1..])),
    ];
    for authorization in wrong {
        for path in ["/admin/v1/products", "/admin/v1/nothing", "/admin/v1/blobs/zz", "/"] {
            let reply = send(&router, get(path, authorization.as_deref())).await;
            reply.refused(401, "admin_credentials");
            assert!(reply.headers["www-authenticate"].to_str().expect("text").starts_with("Bearer"));
            assert!(!String::from_utf8_lossy(&reply.body).contains(&token));
        }
    }
    let twice = Request::get("/admin/v1/products")
        .header("authorization", format!("Bearer {token}"))
        .header("authorization", "Bearer other")
        .body(Body::empty())
        .expect("a request");
    send(&router, twice).await.refused(401, "admin_credentials");
    for right in [format!("Bearer {token}"), format!("bearer  {token}")] {
        send(&router, get("/admin/v1/products", Some(&right))).await.ok::<ProductsAnswer>();
    }
}

async fn unknown_paths_and_methods_are_problems_with_ids(engine: Engine) {
    let world = World::new(engine);
    for path in ["/nothing", "/products/a/b", "/products/", ""] {
        world.get(path).await.refused(404, "not_found");
    }
    let reply = world.call(Method::DELETE, "/products", Body::empty()).await;
    reply.refused(405, "method_not_allowed");
    let allow = reply.headers["allow"].to_str().expect("text");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let reply = world.get("/nothing").await;
    assert_eq!(reply.headers["cache-control"], "no-store");
    let request = Request::get("/admin/v1/nothing").header("x-request-id", "edge-1").body(Body::empty());
    assert_eq!(world.send(request.expect("a request")).await.json()["request_id"], "edge-1");
    let (a, b) = (world.get("/nothing").await.json(), world.get("/nothing").await.json());
    assert_ne!(a["request_id"], b["request_id"]);
}

async fn bodies_are_bounded_whether_announced_or_not(engine: Engine) {
    let world = World::new(engine);
    let body = vec![b' '; ADMIN_JSON_BYTES_MAX + 1];
    world.call(Method::POST, "/products", body.clone()).await.refused(413, "body_too_large");
    let announced = Request::post("/admin/v1/products")
        .header("content-length", body.len())
        .body(Body::from(body))
        .expect("a request");
    world.send(announced).await.refused(413, "body_too_large");
    world.call(Method::POST, "/products", "").await.refused(400, "bad_request");
    world.call(Method::POST, "/products", "{").await.refused(400, "bad_request");
    world.call(Method::POST, "/products", "[]").await.refused(400, "bad_request");
}

async fn secrets_are_in_no_debug_output(engine: Engine) {
    let world = World::new(engine);
    let token = world.control.admin_token().expose().to_owned();
    let credentials = Credentials::Bearer(SecretText::new(token.clone()));
    let router = world.control.router(credentials.clone());
    let printed = format!("{:?} {credentials:?} {router:?} {:?}", world.control, world.database);
    assert!(!printed.contains(DATABASE_PASSWORD));
    assert!(printed.contains("channel_key") && printed.contains("****"));
    let keys = world.dir.path().join("keys");
    for name in ["admin.token", "channel.key", "link.key", "token.key"] {
        let secret = std::fs::read_to_string(keys.join(name)).expect("secret");
        assert!(!printed.contains(secret.trim()), "{name}");
    }
}

/// What a subscriber wrote, for whoever wants to look.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn secrets_are_in_no_log(engine: Engine) {
    let world = World::new(engine);
    let token = world.control.admin_token().expose().to_owned();
    let router = world.control.router(Credentials::Bearer(world.control.admin_token().clone()));
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let wrong = "Bearer a-secret-that-is-wrong";
    send(&router, get("/admin/v1/products", Some(wrong))).await.refused(401, "admin_credentials");
    let right = format!("Bearer {token}");
    send(&router, get("/admin/v1/products?token=a-secret-query", Some(&right))).await.ok::<ProductsAnswer>();
    let mint = Request::post("/admin/v1/tokens").header("authorization", &right);
    let mint = mint.body(Body::from(r#"{"sub":"player-1","ttl_seconds":60}"#)).expect("a request");
    let minted: TokenAnswer = send(&router, mint).await.ok();
    drop(guard);
    let log = String::from_utf8(written.0.lock().expect("lock").clone()).expect("utf-8");
    assert!(log.contains("an admin call was refused") && log.contains("/admin/v1/tokens"), "{log}");
    let secrets = [token.as_str(), minted.token.as_str(), "a-secret-that-is-wrong", "a-secret-query"];
    for secret in secrets.into_iter().chain([DATABASE_PASSWORD]) {
        assert!(!log.contains(secret), "{log}");
    }
}

async fn the_api_works_over_a_unix_socket(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "open").await;
    let path = world.dir.path().join("node.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("bind");
    let service = TowerToHyperService::new(world.control.router(Credentials::Socket));
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("accept");
        let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        server.serve_connection(TokioIo::new(stream), service).await.expect("served");
    });
    let stream = tokio::net::UnixStream::connect(&path).await.expect("connect");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
    let driver = tokio::spawn(connection);
    let content = vec![7u8; 5 << 20];
    let blob = BlobId::of(&content);
    let mut ask = async |method: Method, path: &str, body: Vec<u8>| {
        let request = Request::builder().method(method).uri(path).header("host", "node");
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status();
        (status, response.into_body().collect().await.expect("a body").to_bytes())
    };
    let question = format!("{{\"blobs\":[\"{blob}\"]}}").into_bytes();
    let (_, body) = ask(Method::POST, "/admin/v1/blobs/missing", question).await;
    assert_eq!(serde_json::from_slice::<MissingAnswer>(&body).expect("answer").missing, [blob]);
    let (status, _) = ask(Method::PUT, &format!("/admin/v1/blobs/{blob}"), content.clone()).await;
    assert_eq!(status, 201);
    let (status, body) = ask(Method::GET, &format!("/admin/v1/blobs/{blob}"), Vec::new()).await;
    assert_eq!((status.as_u16(), body.len()), (200, content.len()));
    assert_eq!(body, content);
    // An upload that is not needed is answered too, and the connection goes on.
    let (status, _) = ask(Method::PUT, &format!("/admin/v1/blobs/{blob}"), content).await;
    assert_eq!(status, 200);
    let (status, body) = ask(Method::GET, "/admin/v1/products", Vec::new()).await;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_slice::<Value>(&body).expect("json")["products"][0]["id"], "game");
    drop(sender);
    driver.await.expect("no panic").expect("closed well");
    server.await.expect("server ended");
}
