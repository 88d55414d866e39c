//! kill -9 in the middle of writing: what was acknowledged is there, and nothing is half there.

use crate::behind::{change_log, settle};
use crate::support::{Build, Engine, MemoryOrigin, RecordingSink, World, full, open};
use http::Method;
use penstock_control::{Database, SecretText};
use penstock_core::api::{ChannelsAnswer, ProductsAnswer};
use penstock_core::audit::{AuditAnswer, AuditVerified};
use penstock_core::catalog::CatalogChange;
use penstock_core::desk::StatusAnswer;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const CHILD: &str = "PENSTOCK_CONTROL_CRASH_DIR";
/// The server's URL; a file in the directory is the database without it.
const CHILD_URL: &str = "PENSTOCK_CONTROL_CRASH_URL";

crate::on_both_engines! { what_was_acknowledged_survives_a_kill_at_any_instant }

/// Not a test of its own: the process that is killed. It writes for ever and says what was acknowledged.
#[tokio::test]
#[ignore = "the process that the test below starts and kills"]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = tempfile::TempDir::new_in(dir).expect("temp dir");
    let mut out = std::io::stdout().lock();
    writeln!(out, "dir {}", dir.path().display()).expect("stdout");
    let database = match std::env::var(CHILD_URL) {
        Ok(url) => Database::Postgres(SecretText::new(url)),
        Err(_) => Engine::Sqlite.database(dir.path()),
    };
    let world = World::at(dir, database, MemoryOrigin::new(), Arc::new(RecordingSink::default()));
    world.product("game", "open").await;
    for version in ["a", "b"] {
        world.register(&Build::new("game", version)).await.ok::<Value>();
    }
    for round in 0u64.. {
        world.product(&format!("p{round}"), "open").await;
        writeln!(out, "product p{round}").expect("stdout");
        let version = if round % 2 == 0 { "a" } else { "b" };
        world.offer("game", "stable", version).await.ok::<Value>();
        writeln!(out, "head {}", round + 1).expect("stdout");
        out.flush().expect("stdout");
    }
}

async fn what_was_acknowledged_survives_a_kill_at_any_instant(engine: Engine) {
    let parent = tempfile::tempdir().expect("temp dir");
    // Different numbers of acknowledgements before the kill land it at different points of a write.
    let few = vec![1usize, 2, 5, 12, 31, 50];
    for acknowledged in if full() { (1..=60).chain([100, 200, 400]).collect() } else { few } {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        let server = engine.database(parent.path());
        if let Database::Postgres(url) = &server {
            command.env(CHILD_URL, url.expose());
        }
        let mut child = command
            .args([
                "--exact",
                "crash::child_that_writes_until_it_is_killed",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(CHILD, parent.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("child starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("utf-8"));
        let dir = lines.by_ref().find_map(|l| l.split_once("dir ").map(|(_, d)| d.to_owned())).expect("says where");
        let mut said: Vec<String> = lines
            .by_ref()
            .filter(|line| line.starts_with("product ") || line.starts_with("head "))
            .take(acknowledged)
            .collect();
        child.kill().expect("SIGKILL");
        said.extend(lines.filter(|line| line.starts_with("product ") || line.starts_with("head ")));
        child.wait().expect("gone");
        assert!(said.len() >= acknowledged);
        let dir = Path::new(&dir);
        let database = match engine {
            Engine::Sqlite => engine.database(dir),
            Engine::Postgres => server,
        };
        settle(&database);
        check(dir, &database, &said).await;
    }
}

async fn check(dir: &Path, database: &Database, said: &[String]) {
    let sink = Arc::new(RecordingSink::default());
    let control = open(dir, database, MemoryOrigin::new(), Arc::clone(&sink) as _).expect("opens");
    let router = control.router(penstock_control::Credentials::Socket);
    let get = async |path: &str| {
        let request = http::Request::builder().method(Method::GET).uri(format!("/admin/v1{path}"));
        crate::support::send(&router, request.body(axum::body::Body::empty()).expect("a request")).await
    };
    let products: ProductsAnswer = get("/products").await.ok();
    let channels: ChannelsAnswer = get("/products/game/channels").await.ok();
    let sequence = channels.channels.first().map_or(0, |row| row.sequence);
    for line in said {
        match line.split_once(' ') {
            Some(("product", name)) => assert!(products.products.iter().any(|p| p.id.as_str() == name), "{line}"),
            Some(("head", number)) => assert!(sequence >= number.parse().expect("number"), "{line}: {sequence}"),
            _ => unreachable!("only these lines were kept: {line}"),
        }
    }
    let log = change_log(database);
    let numbers: Vec<i64> = log.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>(), "gap-free");
    let status: StatusAnswer = get("/status").await.ok();
    assert_eq!(status.change_sequence, numbers.len() as u64);
    // Each entry of the log and what it is about were written together.
    let logged = log.iter().filter(|(_, change)| matches!(change, CatalogChange::Product(_))).count();
    assert_eq!(logged, products.products.len());
    let heads = log.iter().filter(|(_, change)| matches!(change, CatalogChange::Offer(_))).count();
    assert_eq!(heads as u64, sequence);
    // So were each change and its entry in the audit, whose chain holds.
    let audit: AuditVerified = get("/audit/verify").await.ok();
    assert!(audit.whole, "{audit:?}");
    let entries: AuditAnswer = get("/audit").await.ok();
    let audited = |verb: &str| entries.entries.iter().filter(|entry| entry.verb == verb).count();
    if entries.next.is_none() {
        assert_eq!((audited("product.put"), audited("channel.move") as u64), (products.products.len(), sequence));
    }
    // The store of the dead process was in its memory: its releases are incomplete, and that is said.
    assert_eq!(status.incomplete.len(), 2);
}
