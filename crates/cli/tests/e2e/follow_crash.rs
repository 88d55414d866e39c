//! kill -9 of control in the middle of imports and of what the feed tells, many times, on both engines: nothing that was
//! acknowledged is lost, the log has no gap, the audit's chain holds, and an edge that followed all along, and was killed
//! itself now and then, ends up knowing what control knows.

use crate::crash::wanted;
use crate::follow::{call, content, edge_of, known, lines, told, until};
use crate::world::World;
use penstock_core::account::AccountKey;
use penstock_core::catalog::CatalogChange;
use penstock_core::feed::Line;
use penstock_core::snapshot::Snapshot;
use penstock_testkit::PostgresServer;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Accounts of one import.
const LINES: u32 = 120;

#[test]
fn sqlite_loses_nothing() {
    nothing_is_lost(World::asleep_on_fixed_ports());
}

#[test]
fn postgres_loses_nothing() {
    let mut world = World::asleep_on_fixed_ports();
    let url = PostgresServer::shared().database();
    world.environment.push(("PENSTOCK__CONTROL__DATABASE".to_owned(), url));
    nothing_is_lost(world);
}

/// What control acknowledged.
#[derive(Default)]
struct Acknowledged {
    accounts: Mutex<BTreeSet<String>>,
    products: Mutex<BTreeSet<String>>,
}

fn nothing_is_lost(mut control: World) {
    control.wake();
    let mut edge = edge_of(&control);
    edge.wake();
    let acknowledged = Acknowledged::default();
    let rounds = wanted(6);
    for round in 0..rounds {
        if control.daemon.is_none() {
            control.wake();
        }
        write_until_killed(&mut control, round, &acknowledged);
        if round % 3 == 1 {
            edge.daemon().kill_9();
            edge.wake();
        }
    }
    control.wake();
    assert!(acknowledged.accounts.lock().expect("lock").len() > LINES as usize, "some imports were acknowledged");
    assert!(!acknowledged.products.lock().expect("lock").is_empty(), "and some products");

    // Whatever was imported is told by a snapshot, which a node that starts makes. An older one may be told until then.
    until("whatever was acknowledged is told", || lost(&control, &acknowledged).is_empty());
    until("the edge knows what control knows", || {
        let (_, number, state) = told(&control);
        known(&edge).is_some_and(|(last, known)| last == number && content(&known) == content(&state))
    });

    // Each number once, from the first: the reader checks it.
    let newest = told(&control).1;
    let (admin, token) = (control.url("admin_url"), control.admin_token());
    let mut last = 1;
    lines(&control, "/v1/feed?after=1", |line| {
        if let Line::Change { sequence, .. } = line {
            last = sequence;
        }
        last < newest
    });
    let (code, body) = call(&admin, "GET", "/admin/v1/audit/verify", &token, "").expect("an answer");
    let verified: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(code, 200, "{verified}");
    assert_eq!(verified["whole"], true, "{verified}");
}

/// Names that were acknowledged and that nobody who follows would hear of.
fn lost(control: &World, acknowledged: &Acknowledged) -> Vec<String> {
    let (hello, _, state) = told(control);
    let mut accounts: BTreeSet<AccountKey> = BTreeSet::new();
    let mut products = BTreeSet::new();
    let mut snapshot = None;
    for (_, change) in state.in_order() {
        match change {
            CatalogChange::Account { account, facts: Some(_) } => drop(accounts.insert(*account)),
            CatalogChange::Product(product) => drop(products.insert(product.id.to_string())),
            CatalogChange::AccountsSnapshot { blob, .. } => {
                let path = format!("/v1/feed/snapshots/{blob}");
                let answer = call(&control.url("admin_url"), "GET", &path, &control.admin_token(), "");
                // A newer one may have taken its place since.
                snapshot =
                    answer.filter(|(code, _)| *code == 200).map(|(_, bytes)| Snapshot::new(bytes).expect("sound"));
            }
            _ => {}
        }
    }
    let is_known = |name: &String| {
        let key = hello.pseudonym_key.account(name);
        accounts.contains(&key) || snapshot.as_ref().is_some_and(|one| one.get(&key).expect("sound").is_some())
    };
    let names = acknowledged.accounts.lock().expect("lock").iter().filter(|name| !is_known(name)).cloned().collect();
    let gone = |made: &BTreeSet<String>| made.difference(&products).cloned().collect::<Vec<_>>();
    [names, gone(&acknowledged.products.lock().expect("lock"))].concat()
}

/// Writes from several clients at once, and kills control under them at another moment of each round.
fn write_until_killed(control: &mut World, round: u32, acknowledged: &Acknowledged) {
    let (admin, token) = (control.url("admin_url"), control.admin_token());
    let is_begun = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let import = || {
            for number in 0.. {
                let names: Vec<String> = (0..LINES).map(|line| format!("i{round}-{number}-{line}")).collect();
                let lines: Vec<Value> = names.iter().map(|name| json!({ "account": name })).collect();
                let body = json!({ "lines": lines }).to_string();
                match call(&admin, "POST", "/admin/v1/imports", &token, &body) {
                    Some((200, _)) => acknowledged.accounts.lock().expect("lock").extend(names),
                    _ => return,
                }
                is_begun.store(true, Ordering::Release);
            }
        };
        let change = || {
            for number in 0.. {
                let name = format!("a{round}-{number}");
                let body = json!({ "kind": "individual" }).to_string();
                match call(&admin, "PUT", &format!("/admin/v1/accounts/{name}"), &token, &body) {
                    Some((200 | 201, _)) => acknowledged.accounts.lock().expect("lock").insert(name),
                    _ => return,
                };
                let name = format!("p{round}-{number}");
                let body = json!({ "id": name, "access": "open" }).to_string();
                match call(&admin, "POST", "/admin/v1/products", &token, &body) {
                    Some((200 | 201, _)) => acknowledged.products.lock().expect("lock").insert(name),
                    _ => return,
                };
            }
        };
        let writers = [scope.spawn(import), scope.spawn(change)];
        // The writers end with control, so it is killed whatever happens: the scope waits for them.
        let begun = std::panic::catch_unwind(|| {
            until("something was acknowledged", || is_begun.load(Ordering::Acquire));
            std::thread::park_timeout(Duration::from_millis(u64::from(37 * (round + 1) % 211)));
        });
        control.daemon().kill_9();
        if let Err(panic) = begun {
            std::panic::resume_unwind(panic);
        }
        for writer in writers {
            writer.join().expect("a writer ends when control does");
        }
    });
    control.daemon = None;
}
