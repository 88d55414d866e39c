//! Whatever happens to companies, users, seats, packages and allocations: what edges were told of every account is what a
//! slow and obvious reading of the tables says.

use crate::behind::tables;
use crate::support::{Engine, World, apart, full, now};
use http::Method;
use penstock_control::{Database, pseudonym_key};
use penstock_core::account::{AccountFacts, AccountKey, Extras, Holding, PseudonymKey, Standing, Terms};
use penstock_core::catalog::CatalogChange;
use penstock_core::snapshot::Snapshot;
use penstock_core::time::UnixSeconds;
use penstock_origin::Origin as _;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

crate::on_both_engines! { what_is_told_is_what_the_tables_say }

type Told = BTreeMap<AccountKey, AccountFacts>;

/// The facts that an edge has that heard all of this.
pub(crate) fn told(world: &World) -> Told {
    plain(heard(world))
}

/// The first second of 1970 is its second one in a snapshot.
fn plain(mut told: Told) -> Told {
    for holding in told.values_mut().flat_map(|facts| facts.holdings.iter_mut()) {
        holding.starts = holding.starts.max(UnixSeconds(1));
    }
    told
}

fn heard(world: &World) -> Told {
    let mut told = Told::new();
    let mut names = BTreeSet::new();
    let mut base = None;
    for change in world.sink.all() {
        match change {
            CatalogChange::Account { account, facts } => {
                names.insert(account);
                told.insert(account, facts.expect("accounts never go"));
            }
            // Numbers of changes aside: a test that makes a snapshot waits for it before it goes on.
            CatalogChange::AccountsSnapshot { blob, .. } => {
                base = Some(blob);
                told.clear();
            }
            _ => {}
        }
    }
    let Some(base) = base else { return told };
    let base = Snapshot::new(world.origin.read_all(&base, 1 << 30).expect("stored")).expect("a snapshot");
    let known: Vec<AccountKey> = slow(world).into_keys().chain(names).collect();
    for account in known {
        if let Some(facts) = base.get(&account).expect("sound") {
            told.entry(account).or_insert(facts);
        }
    }
    assert!(base.len() <= told.len(), "the snapshot has accounts that there are not");
    told
}

/// What the tables say of every account, rule by rule.
pub(crate) fn slow(world: &World) -> Told {
    let pseudonyms = pseudonym_key(world.dir.path()).expect("the node made it");
    plain(slow_reading(&world.database, &pseudonyms))
}

fn slow_reading(database: &Database, pseudonyms: &PseudonymKey) -> Told {
    let [accounts, entitlements, seats, users, items, terms] = tables(
        database,
        [
            "SELECT id, standing, CAST(tokens_from AS TEXT), extras FROM accounts",
            "SELECT CAST(e.id AS TEXT), account, CAST(terms AS TEXT), package, CAST(seats AS TEXT), CAST(starts AS TEXT),
                CAST(ends AS TEXT) FROM entitlements e WHERE revoked IS NULL ORDER BY e.id",
            "SELECT CAST(entitlement AS TEXT), account FROM seats",
            "SELECT account, company FROM users",
            "SELECT package, CAST(terms AS TEXT) FROM package_items i ORDER BY package, i.position",
            "SELECT CAST(id AS TEXT), body FROM terms",
        ],
    );
    let number = |text: &Option<String>| UnixSeconds(text.as_ref().expect("a number").parse().expect("a number"));
    let is_active =
        |id: &Option<String>| accounts.iter().any(|row| row[0] == *id && row[1].as_deref() == Some("active"));
    let body = |wanted: &Option<String>| -> Arc<Terms> {
        let row = terms.iter().find(|row| row[0] == *wanted).expect("terms");
        Arc::new(serde_json::from_str(row[1].as_ref().expect("a body")).expect("terms"))
    };
    let mut all = Told::new();
    for account in &accounts {
        let mut holdings = Vec::new();
        for entitlement in &entitlements {
            let is_own = entitlement[1] == account[0] && entitlement[4].is_none();
            let is_seated = entitlement[4].is_some()
                && seats.iter().any(|seat| seat[0] == entitlement[0] && seat[1] == account[0])
                && users.iter().any(|user| user[0] == account[0] && user[1] == entitlement[1])
                && is_active(&entitlement[1]);
            if !is_own && !is_seated {
                continue;
            }
            let (starts, ends) = (number(&entitlement[5]), entitlement[6].is_some().then(|| number(&entitlement[6])));
            let of_package = items.iter().filter(|item| item[0] == entitlement[3]).map(|item| &item[1]);
            let of_terms = entitlement[2].is_some().then_some(&entitlement[2]);
            holdings.extend(of_terms.into_iter().chain(of_package).map(|terms| Holding {
                terms: body(terms),
                starts,
                ends,
            }));
        }
        let extras = account[3].as_deref().filter(|text| !text.is_empty());
        let extras: Value = serde_json::from_str(extras.unwrap_or("{}")).expect("extras");
        let texts = |name: &str| -> Vec<String> {
            let list = extras[name].as_array().cloned().unwrap_or_default();
            list.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
        };
        let extras = Extras {
            agreements: texts("agreements").into_iter().collect(),
            devices: texts("devices").iter().map(|device| pseudonyms.device(device)).collect(),
            attributes: serde_json::from_value(extras["attributes"].clone()).unwrap_or_default(),
        };
        let standing = account[1].clone().expect("a standing");
        let facts = AccountFacts {
            standing: serde_json::from_value::<Standing>(standing.into()).expect("a standing"),
            tokens_from: account[2].is_some().then(|| number(&account[2])),
            holdings: holdings.into(),
            extras: (extras != Extras::default()).then(|| Box::new(extras)),
        };
        all.insert(pseudonyms.account(account[0].as_ref().expect("a name")), facts);
    }
    all
}

/// A line of an import: account, company, what it is given, seats, seat.
type Line = (usize, Option<usize>, Option<usize>, Option<u64>, Option<u64>);

/// Something that the desk does.
#[derive(Debug, Clone)]
enum Deed {
    Put(usize, &'static str),
    Standing(usize, &'static str),
    AddUser(usize, usize),
    RemoveUser(usize, usize),
    Grant { to: usize, what: usize, seats: Option<u64>, ends: Option<u64> },
    Revoke(u64),
    GiveSeat(u64, usize),
    TakeSeat(u64, usize),
    Package(usize, Vec<usize>),
    Device(usize, usize),
    RemoveDevice(usize, usize),
    Accept(usize, usize),
    Customer(usize, usize),
    RemoveCustomer(usize, usize),
    Allocate { to: usize, what: usize, quantity: u64 },
    GiveOut { allocation: u64, to: usize, seats: Option<u64> },
    Import(Vec<Line>),
    Snapshot,
    Restart,
}

/// Two companies, two resellers, five people, one of them in a company's own name.
const NAMES: [&str; 9] = ["c0", "c1", "r0", "r1", "u0", "u1", "u2", "u3", "c0/jane"];
const KINDS: [&str; 3] = ["individual", "business", "reseller"];
const STANDINGS: [&str; 4] = ["active", "active", "suspended", "on_hold"];
/// Entitlements and allocations have small numbers.
const NUMBERS: u64 = 14;

fn what() -> impl Strategy<Value = usize> {
    0..6_usize
}

fn deed() -> impl Strategy<Value = Deed> {
    let name = || 0..NAMES.len();
    let seats = || proptest::option::of(1..4_u64);
    let line = (
        name(),
        proptest::option::of(0..2_usize),
        proptest::option::of(what()),
        seats(),
        proptest::option::of(1..NUMBERS),
    );
    prop_oneof![
        1 => (name(), proptest::sample::select(&KINDS[..])).prop_map(|(who, kind)| Deed::Put(who, kind)),
        3 => (name(), proptest::sample::select(&STANDINGS[..])).prop_map(|(who, standing)| Deed::Standing(who, standing)),
        5 => (0..2_usize, 4..9_usize).prop_map(|(company, user)| Deed::AddUser(company, user)),
        2 => (0..2_usize, 4..9_usize).prop_map(|(company, user)| Deed::RemoveUser(company, user)),
        6 => (name(), what(), seats(), proptest::option::of(Just(4_000_000_000)))
            .prop_map(|(to, what, seats, ends)| Deed::Grant { to, what, seats, ends }),
        2 => (1..NUMBERS).prop_map(Deed::Revoke),
        10 => (1..NUMBERS, 4..9_usize).prop_map(|(id, user)| Deed::GiveSeat(id, user)),
        3 => (1..NUMBERS, 4..9_usize).prop_map(|(id, user)| Deed::TakeSeat(id, user)),
        3 => (0..2_usize, proptest::collection::vec(0..4_usize, 1..4)).prop_map(|(id, items)| Deed::Package(id, items)),
        1 => (name(), 0..3_usize).prop_map(|(who, device)| Deed::Device(who, device)),
        1 => (name(), 0..3_usize).prop_map(|(who, device)| Deed::RemoveDevice(who, device)),
        1 => (name(), 0..2_usize).prop_map(|(who, agreement)| Deed::Accept(who, agreement)),
        2 => (2..4_usize, name()).prop_map(|(reseller, customer)| Deed::Customer(reseller, customer)),
        1 => (2..4_usize, name()).prop_map(|(reseller, customer)| Deed::RemoveCustomer(reseller, customer)),
        2 => (2..4_usize, what(), 1..4_u64).prop_map(|(to, what, quantity)| Deed::Allocate { to, what, quantity }),
        4 => (1..6_u64, name(), seats()).prop_map(|(allocation, to, seats)| Deed::GiveOut { allocation, to, seats }),
        2 => proptest::collection::vec(line, 1..4).prop_map(Deed::Import),
        1 => Just(Deed::Snapshot),
        1 => Just(Deed::Restart),
    ]
}

/// Terms 0 to 3, or packages 0 and 1.
fn subject(what: usize) -> (&'static str, Value) {
    if what < 4 { ("terms", terms(what)) } else { ("package", json!(format!("p{}", what - 4))) }
}

fn terms(number: usize) -> Value {
    match number {
        0 => json!({ "product": "game" }),
        1 => json!({ "product": "game", "channels": ["beta"] }),
        2 => json!({ "product": "tools", "expiry": "revoke" }),
        _ => json!({ "product": "tools", "groups": ["hires"], "agreement": "eula@1" }),
    }
}

async fn act(world: World, deed: &Deed) -> World {
    let account = |who: usize| format!("/accounts/{}", NAMES[who].replace('/', "%2F"));
    let user = |company: usize, user: usize| format!("{}/users/{}", account(company), NAMES[user].replace('/', "%2F"));
    let seat = |id: u64, user: usize| format!("/entitlements/{id}/seats/{}", NAMES[user].replace('/', "%2F"));
    let delete = |path: String| (Method::DELETE, path, Value::Null);
    let (method, path, body) = match deed {
        Deed::Put(who, kind) => (Method::PUT, account(*who), json!({ "kind": kind })),
        Deed::Standing(who, standing) => (Method::PUT, account(*who), json!({ "standing": standing })),
        Deed::AddUser(company, member) => (Method::PUT, user(*company, *member), json!({})),
        Deed::RemoveUser(company, member) => delete(user(*company, *member)),
        Deed::Grant { to, what, seats, ends } => {
            let (field, value) = subject(*what);
            let body = json!({ "account": NAMES[*to], field: value, "seats": seats, "ends": ends });
            (Method::POST, "/entitlements".to_owned(), body)
        }
        Deed::Revoke(id) => delete(format!("/entitlements/{id}")),
        Deed::GiveSeat(id, member) => (Method::PUT, seat(*id, *member), Value::Null),
        Deed::TakeSeat(id, member) => delete(seat(*id, *member)),
        Deed::Package(id, items) => {
            let items: BTreeSet<usize> = items.iter().copied().collect();
            let items: Vec<Value> = items.into_iter().map(terms).collect();
            (Method::PUT, format!("/packages/p{id}"), json!({ "items": items }))
        }
        Deed::Device(who, device) => (Method::PUT, format!("{}/devices/d{device}", account(*who)), Value::Null),
        Deed::RemoveDevice(who, device) => delete(format!("{}/devices/d{device}", account(*who))),
        Deed::Accept(who, agreement) => {
            (Method::PUT, format!("{}/agreements/eula@{agreement}", account(*who)), json!({}))
        }
        Deed::Customer(reseller, customer) => {
            let path = format!("{}/customers/{}", account(*reseller), NAMES[*customer].replace('/', "%2F"));
            (Method::PUT, path, json!({}))
        }
        Deed::RemoveCustomer(reseller, customer) => {
            delete(format!("{}/customers/{}", account(*reseller), NAMES[*customer].replace('/', "%2F")))
        }
        Deed::Allocate { to, what, quantity } => {
            let (field, value) = subject(*what);
            (Method::POST, format!("{}/allocations", account(*to)), json!({ field: value, "quantity": quantity }))
        }
        Deed::GiveOut { allocation, to, seats } => {
            let body = json!({ "account": NAMES[*to], "allocation": allocation, "seats": seats });
            (Method::POST, "/entitlements".to_owned(), body)
        }
        Deed::Import(lines) => {
            let line = |(who, company, what, seats, seat): &Line| {
                let mut line =
                    json!({ "account": NAMES[*who], "company": company.map(|one| NAMES[one]), "seat": seat });
                if let Some(what) = what {
                    let (field, value) = subject(*what);
                    line[field] = value;
                    line["seats"] = json!(seats);
                }
                line
            };
            let lines: Vec<Value> = lines.iter().map(line).collect();
            (Method::POST, "/imports".to_owned(), json!({ "lines": lines }))
        }
        Deed::Snapshot => (Method::POST, "/snapshots".to_owned(), json!({})),
        Deed::Restart => {
            let world = world.restarted();
            apart(|| world.control.renew_snapshot(now())).expect("renewed");
            return world;
        }
    };
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).expect("json") };
    let reply = world.call(method, &path, body).await;
    assert!(reply.status.as_u16() < 500, "{deed:?}: {}", String::from_utf8_lossy(&reply.body));
    if matches!(deed, Deed::Import(_)) {
        apart(|| world.control.renew_snapshot(now())).expect("renewed");
    }
    world
}

/// No allocation is used more than it allows, and each is used as much as entitlements in force say.
fn assert_allocations(world: &World) {
    let [rows] = tables(
        &world.database,
        ["SELECT CAST(a.used AS TEXT), CAST(a.quantity AS TEXT), CAST((SELECT CAST(COALESCE(SUM(COALESCE(e.seats, 1)), 0) AS BIGINT)
            FROM entitlements e WHERE e.allocation = a.id AND e.revoked IS NULL) AS TEXT) FROM allocations a"],
    );
    for row in rows {
        let [used, quantity, given]: [u64; 3] =
            std::array::from_fn(|at| row[at].as_ref().expect("a number").parse().expect("a number"));
        assert!(used == given && used <= quantity, "{used} of {quantity} used, {given} given");
    }
}

async fn what_is_told_is_what_the_tables_say(engine: Engine) {
    let mut runner = TestRunner::default();
    let deeds = proptest::collection::vec(deed(), 60..120);
    for _ in 0..if full() { 40 } else { 3 } {
        let deeds = deeds.new_tree(&mut runner).expect("deeds").current();
        let mut world = World::new(engine);
        for product in ["game", "tools"] {
            world.product(product, "licensed").await;
        }
        for who in 0..4 {
            world = act(world, &Deed::Put(who, if who < 2 { "business" } else { "reseller" })).await;
        }
        for (number, deed) in deeds.iter().enumerate() {
            world = act(world, deed).await;
            if number % 3 == 0 || matches!(deed, Deed::Restart | Deed::Snapshot | Deed::Import(_)) {
                assert_eq!(told(&world), slow(&world), "after {:#?}", &deeds[..=number]);
            }
        }
        assert_allocations(&world);
        // What a snapshot holds is the same again, and so is what a restart tells with none.
        world = act(world, &Deed::Snapshot).await;
        assert_eq!(told(&world), slow(&world), "from a snapshot, after {deeds:#?}");
        crate::behind::execute(&world.database, "DELETE FROM snapshots");
        world = world.restarted();
        assert_eq!(told(&world), slow(&world), "after a restart, after {deeds:#?}");
    }
}
