//! Several nodes on one PostgreSQL server, and a server that dies. SQLite has neither.

use crate::behind::{change_log, settle};
use crate::support::{Build, Engine, MemoryOrigin, Node, RecordingSink, WATCHDOG, full, open, with_password};
use http::StatusCode;
use penstock_control::{AddressError, ControlError, Database, RecordError};
use penstock_core::api::ProductsAnswer;
use penstock_core::catalog::CatalogChange;
use penstock_testkit::{Certificate, PostgresServer, Syncing};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// The bound that nodes promise on how late they hear of each other's changes, and as much again
/// for a busy machine.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// What of a channel's heads was told, in order.
fn head_sequences(told: &[CatalogChange], channel: &str) -> Vec<u64> {
    let sequence = |change: &CatalogChange| match change {
        CatalogChange::Offer(offer) if offer.channel.as_str() == channel => Some(offer.sequence),
        _ => None,
    };
    told.iter().filter_map(sequence).collect()
}

/// Asserts that the log has no gap and that each sink heard all of it in its order.
fn assert_heard(database: &Database, nodes: &[Node]) {
    let log = change_log(database);
    let numbers: Vec<i64> = log.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>(), "gap-free");
    let bodies: Vec<CatalogChange> = log.into_iter().map(|(_, change)| change).collect();
    for node in nodes {
        assert!(node.sink.await_len(bodies.len(), HEARD_WITHIN), "{} of {}", node.sink.all().len(), bodies.len());
        assert_eq!(node.sink.all(), bodies, "the sink heard the log, in its order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_changes_the_others_hear_in_order() {
    let dir = tempfile::tempdir().expect("temp dir");
    let database = Engine::Postgres.database(dir.path());
    let origin = MemoryOrigin::new();
    // They share the node's keys, as nodes of one fleet do.
    let nodes: Vec<Node> = (0..3).map(|_| Node::open(dir.path(), &database, &origin)).collect();
    nodes[0].product("game").await;
    for version in 0..4 {
        nodes[0].register(&origin, &Build::new("game", &version.to_string())).await;
    }
    assert_heard(&database, &nodes);
    let mut writers = JoinSet::new();
    for writer in 0..9usize {
        let node = nodes[writer % 3].clone();
        writers.spawn(async move {
            for round in 0..8 {
                // All of them move the same channels: each head must follow the one before.
                let version = (writer + round) % 4;
                node.offer(&format!("c{}", round % 2), &version.to_string()).await;
                node.product(&format!("p{writer}-{round}")).await;
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.expect("no writer failed");
    }
    assert_heard(&database, &nodes);
    let told = nodes[0].sink.all();
    for channel in ["c0", "c1"] {
        let sequences = head_sequences(&told, channel);
        assert!(sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{channel}: {sequences:?}");
    }
    // A node that starts later is told the state, and then what changes after it.
    let late = Node::open(dir.path(), &database, &origin);
    let replayed = late.sink.all().len();
    nodes[1].product("last").await;
    assert!(late.sink.await_len(replayed + 1, HEARD_WITHIN));
    assert!(matches!(late.sink.all().last(), Some(CatalogChange::Product(one)) if one.id.as_str() == "last"));
}

/// Looked at in one process, used in the other: only the lock of the first statement keeps them apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_never_give_one_blob_to_two_audiences() {
    let dir = tempfile::tempdir().expect("temp dir");
    let database = Engine::Postgres.database(dir.path());
    let origin = MemoryOrigin::new();
    let nodes = [Node::open(dir.path(), &database, &origin), Node::open(dir.path(), &database, &origin)];
    for (round, pack) in (0..if full() { 50 } else { 8 }).map(|round| (round, format!("pack {round}"))) {
        let mut racers = JoinSet::new();
        for (node, product) in nodes.iter().zip(["a", "b"]) {
            let (node, name) = (node.clone(), format!("{product}{round}"));
            let request = json!({ "id": name, "access": "licensed" });
            assert_eq!(node.post("/products", &request).await.status, 201);
            let build = Build::new(&name, "1").pack("base", "base", pack.as_bytes());
            let registration = build.stored_registration(&origin, node.control.channel_key());
            racers.spawn(async move { node.post(&format!("/products/{name}/releases"), &registration).await.status });
        }
        let mut statuses: Vec<StatusCode> = racers.join_all().await;
        statuses.sort();
        assert_eq!(statuses, [StatusCode::CREATED, StatusCode::CONFLICT], "round {round}");
    }
    assert_heard(&database, &nodes);
}

/// Writes through a node until told to stop; returns the products that were acknowledged.
async fn write_on(node: Node, writer: usize, is_over: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for round in 0.. {
        let name = format!("p{writer}-{round}");
        while !is_over.load(Ordering::Relaxed) {
            let reply = node.post("/products", &json!({ "id": name, "access": "open" })).await;
            match reply.status.as_u16() {
                // 200: the commit before the server died was done, though nobody could say so.
                200 | 201 => {
                    acknowledged.push(name);
                    break;
                }
                503 => drop(reply.refused(503, "unavailable")),
                other => unreachable!("{other}: {}", String::from_utf8_lossy(&reply.body)),
            }
        }
        if is_over.load(Ordering::Relaxed) {
            break;
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_killed_loses_nothing_that_was_acknowledged() {
    let server = Arc::new(PostgresServer::start(Syncing::Skip, &[]));
    let database = with_password(&server.database());
    let dir = tempfile::tempdir().expect("temp dir");
    let origin = MemoryOrigin::new();
    let nodes = [Node::open(dir.path(), &database, &origin), Node::open(dir.path(), &database, &origin)];
    let is_over = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        writers.spawn(write_on(nodes[writer % 2].clone(), writer, Arc::clone(&is_over)));
    }
    for _ in 0..if full() { 20 } else { 3 } {
        let heard = nodes[0].sink.all().len();
        assert!(nodes[0].sink.await_len(heard + 25, WATCHDOG), "writing goes on");
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || {
            server.kill_9();
            server.restart();
        })
        .await
        .expect("restarted");
    }
    let heard = nodes[1].sink.all().len();
    assert!(nodes[1].sink.await_len(heard + 25, WATCHDOG), "writing goes on after the last restart");
    is_over.store(true, Ordering::Relaxed);
    let acknowledged: BTreeSet<String> = writers.join_all().await.into_iter().flatten().collect();
    assert!(acknowledged.len() > 75);
    assert_heard(&database, &nodes);
    let products: ProductsAnswer = nodes[0].get("/products").await.ok();
    let there: BTreeSet<String> = products.products.iter().map(|product| product.id.to_string()).collect();
    assert!(there.is_superset(&acknowledged));
    drop(nodes);
    settle(&database);
    let again = Node::open(dir.path(), &database, &origin);
    let replayed = again.sink.all().into_iter().filter_map(|change| match change {
        CatalogChange::Product(product) => Some(product.id.to_string()),
        _ => None,
    });
    let replayed: BTreeSet<String> = replayed.collect();
    assert!(replayed.is_superset(&acknowledged));
}

#[tokio::test]
async fn without_its_server_a_node_answers_that_it_cannot_and_then_goes_on() {
    let server = PostgresServer::start(Syncing::Skip, &[]);
    let database = with_password(&server.database());
    let dir = tempfile::tempdir().expect("temp dir");
    let node = Node::open(dir.path(), &database, &MemoryOrigin::new());
    node.product("before").await;
    server.kill_9();
    assert_eq!(node.get("/products").await.refused(503, "unavailable"), "");
    node.post("/products", &json!({ "id": "lost", "access": "open" })).await.refused(503, "unavailable");
    node.get("/status").await.refused(503, "unavailable");
    let none = open(dir.path(), &database, MemoryOrigin::new(), Arc::new(RecordingSink::default()));
    assert!(matches!(none, Err(ControlError::Record(RecordError::Unavailable(_)))));
    server.restart();
    // Every connection notices by itself.
    for _ in 0..8 {
        node.get("/products").await.ok::<ProductsAnswer>();
    }
    node.product("after").await;
    assert_heard(&database, &[node]);
}

#[tokio::test]
async fn tls_is_spoken_and_the_servers_certificate_checked() {
    let certificates = tempfile::tempdir().expect("temp dir");
    let (ours, other) = (certificates.path().join("ours"), certificates.path().join("other"));
    let [ours, other] = [ours, other].map(|dir| {
        std::fs::create_dir(&dir).expect("directory");
        Certificate::loopback(&dir).expect("certificate")
    });
    let server = PostgresServer::start_with_tls(&ours);
    let dir = tempfile::tempdir().expect("temp dir");
    let url = |host: &str, options: &str| {
        with_password(&format!("postgres://postgres@{host}:{}/postgres?{options}", server.port()))
    };
    let trusted = format!("sslmode=verify-full&sslrootcert={}", ours.ca.display());
    let database = url("localhost", &trusted);
    let open = |database: &Database| {
        open(dir.path(), database, MemoryOrigin::new(), Arc::new(RecordingSink::default())).map(drop)
    };
    open(&database).expect("a certificate of the named authority is believed");
    let statement = "SELECT COUNT(*) FROM pg_stat_ssl WHERE ssl AND version = 'TLSv1.3'";
    let node = Node::open(dir.path(), &database, &MemoryOrigin::new());
    assert!(server.run(statement).trim() != "0", "it is really spoken");
    node.product("game").await;
    for (host, authority) in [("localhost", &other.ca), ("127.0.0.2", &ours.ca)] {
        let refused = open(&url(host, &format!("sslrootcert={}&sslmode=require", authority.display())));
        assert!(matches!(refused, Err(ControlError::Record(RecordError::Unavailable(_)))), "{host}");
    }
    let unsupported = open(&url("localhost", "sslmode=prefer"));
    assert!(matches!(unsupported, Err(ControlError::Record(RecordError::Address(AddressError::Mode)))));
}
