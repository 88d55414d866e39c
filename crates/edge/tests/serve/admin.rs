//! The admin doors: what is open, what is checked, and that everything else reaches the API.

use crate::rig::{Rig, accept, read_answer, send};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming};
use penstock_edge::admin::{AdminApi, AdminParts, AdminService, ApiFuture};
use penstock_edge::drain::Readiness;
use penstock_edge::listen::{ConnInfo, Door};
use penstock_edge::outcome::{OutcomeSink, Route};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// Answers with the path it was asked for, and through which door.
struct Echo;

impl AdminApi for Echo {
    fn call(&self, request: Request<Incoming>, conn: &ConnInfo) -> ApiFuture {
        let mut text = format!("{} via {}", request.uri().path(), conn.door.name());
        if request.uri().path() == "/id" {
            let ids: Vec<_> = request.headers().get_all("x-request-id").iter().map(|id| id.to_str()).collect();
            text = format!("{ids:?}");
        }
        Box::pin(async move {
            let body = Full::new(bytes::Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
            Response::new(body)
        })
    }
}

struct Admin {
    rig: Rig,
    readiness: Readiness,
    service: Arc<AdminService>,
}

impl Admin {
    fn new() -> Self {
        let rig = Rig::new();
        let readiness = Readiness::default();
        let service = Arc::new(AdminService::new(AdminParts {
            standing: None,
            clock: || penstock_core::time::UnixSeconds(1),
            api: Arc::new(Echo),
            hosts: vec!["ops.example".to_owned()],
            readiness: readiness.clone(),
            catalog: Arc::clone(&rig.catalog),
            store: rig.store.clone(),
            outcomes: Arc::clone(&rig.outcomes) as Arc<dyn OutcomeSink>,
        }));
        Self { rig, readiness, service }
    }

    fn open(&self, door: Door) -> SocketAddr {
        let listener = self.rig.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        self.rig.runtime.spawn(accept(listener, Arc::clone(&self.service), door, None));
        address
    }
}

fn ask(address: SocketAddr, method: &str, path: &str, host: &str) -> crate::rig::Answer {
    let mut socket = TcpStream::connect(address).expect("connected");
    // An absolute target names the host whatever the `Host` field says.
    send(&mut socket, method, &format!("http://{host}{path}"), &[]);
    read_answer(&mut socket, method).expect("an answer")
}

#[test]
fn open_paths_hosts_and_the_api_behind() {
    let admin = Admin::new();
    let address = admin.open(Door::Admin);
    let alive = ask(address, "GET", "/healthz", "localhost");
    assert_eq!((alive.status, alive.body.as_slice()), (200, br#"{"alive":true}"#.as_slice()));
    assert_eq!(alive.header("cache-control"), Some("private, no-store"));

    assert_eq!(ask(address, "GET", "/readyz", "localhost").status, 503, "not yet");
    admin.readiness.set(true);
    admin.rig.put_open(b"12345");
    let ready = ask(address, "GET", "/readyz", "localhost");
    assert_eq!(ready.status, 200);
    let details: serde_json::Value = serde_json::from_slice(&ready.body).expect("json");
    assert_eq!(
        (&details["ready"], &details["store_blobs"], &details["store_blob_bytes"]),
        (&true.into(), &1.into(), &5.into())
    );

    let metrics = ask(address, "GET", "/metrics", "localhost");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(metrics.body).expect("text");
    assert!(text.contains("penstock_edge_ready 1") && text.contains("penstock_edge_store_blobs"), "{text}");

    let post = ask(address, "POST", "/healthz", "localhost");
    post.assert_problem(405, "method_not_allowed");
    assert_eq!(post.header("allow"), Some("GET, HEAD"));
    assert_eq!(ask(address, "HEAD", "/healthz", "localhost").body, b"");

    for path in ["/healthz", "/admin/v1/products", "/"] {
        ask(address, "GET", path, "evil.example").assert_problem(421, "misdirected");
    }
    let echoed = ask(address, "GET", "/admin/v1/products", "ops.example:9");
    assert_eq!((echoed.status, echoed.body.as_slice()), (200, b"/admin/v1/products via admin".as_slice()));
    assert_eq!(echoed.header("x-request-id").map(str::len), Some(36));
    admin.service.set_hosts(Vec::new());
    ask(address, "GET", "/admin/v1/products", "ops.example").assert_problem(421, "misdirected");

    let routes: Vec<_> = admin.rig.outcomes.wait(11).iter().map(|one| one.route).collect();
    assert_eq!(routes.iter().filter(|route| **route == Route::Probe).count(), 6);
    assert_eq!(routes.iter().filter(|route| **route == Route::Admin).count(), 5);
}

/// The API writes its documents and its log under the id that the answer's head carries, whatever the peer sent.
#[test]
fn the_api_is_told_the_requests_id() {
    let admin = Admin::new();
    let address = admin.open(Door::Admin);
    for sent in [&[][..], &[("x-request-id", "mine")], &[("x-request-id", "mine"), ("x-request-id", "yours")]] {
        let mut socket = TcpStream::connect(address).expect("connected");
        send(&mut socket, "GET", "/id", sent);
        let answer = read_answer(&mut socket, "GET").expect("an answer");
        let id = answer.header("x-request-id").expect("an id");
        assert_eq!(String::from_utf8(answer.body.clone()).expect("text"), format!("[Ok({id:?})]"), "{sent:?}");
        let outcome = admin.rig.outcomes.wait(1).pop().expect("one");
        assert_eq!(outcome.request_id.to_string(), id);
    }
}

/// Whoever can open the socket is the operator: there is no `Host` to check.
#[test]
fn the_operators_socket_has_no_host() {
    let admin = Admin::new();
    let address = admin.open(Door::AdminSocket);
    let echoed = ask(address, "GET", "/v1/feed", "anything.example");
    assert_eq!((echoed.status, echoed.body.as_slice()), (200, b"/v1/feed via admin_socket".as_slice()));
}
