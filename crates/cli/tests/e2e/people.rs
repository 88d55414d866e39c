//! Companies with seats and resellers with allocations, from the desk to the disks of their people.

use crate::entitled::{desk, licensed, pull, refused, token};
use crate::world::{World, assert_same, command, document, said, text};
use penstock_testkit::Tree;
use serde_json::{Value, json};
use std::process::Output;

/// A desk command that does not work out.
fn fails(world: &World, args: &[&str]) -> Output {
    let output = command().args(args).args(["--to", text(&world.data()), "--json"]).output().expect("starts");
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", said(&output));
    output
}

#[test]
fn two_seats_serve_two_users_of_a_company_until_it_is_suspended() {
    let tree = Tree::small_game(71, 200_000);
    let mut world = licensed(&tree);
    desk(&world, &["account", "add", "acme", "--kind", "business"]);
    let given = desk(
        &world,
        &["entitlement", "add", "--account", "acme", "--product", "game", "--seats", "2", "--for", "365d"],
    );
    let id = given["id"].to_string();
    let users = ["acme-ann", "acme-bob", "acme-cat"];
    for user in users {
        assert_eq!(desk(&world, &["account", "user", "add", "acme", user])["company"], "acme");
    }
    for user in &users[..2] {
        desk(&world, &["entitlement", "seat", "give", &id, user]);
    }
    let output = fails(&world, &["entitlement", "seat", "give", &id, users[2]]);
    assert!(said(&output).contains("all 2 seats"), "{}", said(&output));
    let [ann, bob, cat] = users.map(|user| token(&world, user, &["--ttl", "1h"]));
    let mut installs = 0;
    let mut into = |world: &World| {
        installs += 1;
        world.path(&format!("install-{installs}"))
    };
    for holder in [&ann, &bob] {
        let install = into(&world);
        let output = pull(&world, Some(holder), &install);
        assert!(output.status.success(), "{}", said(&output));
        assert_same(&tree, &install);
    }
    refused(&pull(&world, Some(&cat), &into(&world)), "not_entitled");
    let company = token(&world, "acme", &[]);
    refused(&pull(&world, Some(&company), &into(&world)), "not_entitled");

    // A seat moves: at once, for tokens that were used before.
    assert_eq!(desk(&world, &["entitlement", "seat", "take", &id, users[0]])["taken"], 1);
    desk(&world, &["entitlement", "seat", "give", &id, users[2]]);
    refused(&pull(&world, Some(&ann), &into(&world)), "not_entitled");
    assert!(pull(&world, Some(&cat), &into(&world)).status.success());
    let listed = desk(&world, &["entitlement", "seat", "list", &id]);
    assert_eq!((&listed["taken"], listed["holders"].as_array().map(Vec::len)), (&json!(2), Some(2)));

    desk(&world, &["account", "set", "acme", "--standing", "suspended"]);
    for holder in [&bob, &cat] {
        refused(&pull(&world, Some(holder), &into(&world)), "not_entitled");
    }
    // Also after a restart.
    world.daemon().terminate().expect("ends well");
    world.wake();
    refused(&pull(&world, Some(&bob), &into(&world)), "not_entitled");
    desk(&world, &["account", "set", "acme", "--standing", "active"]);
    assert!(pull(&world, Some(&bob), &into(&world)).status.success());
    desk(&world, &["account", "user", "rm", "acme", users[1]]);
    refused(&pull(&world, Some(&bob), &into(&world)), "not_entitled");
    assert_eq!(desk(&world, &["account", "user", "list", "acme"])["users"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_reseller_gives_out_of_its_allocation_and_the_customer_installs() {
    let tree = Tree::small_game(72, 200_000);
    let world = licensed(&tree);
    desk(&world, &["package", "set", "suite", "--product", "game", "--title", "The game and more"]);
    desk(&world, &["account", "add", "shop", "--kind", "reseller"]);
    let allocated = desk(
        &world,
        &["account", "allocation", "add", "shop", "--package", "suite", "--quantity", "1", "--for", "30d"],
    );
    let number = allocated["id"].to_string();
    for customer in ["bob", "eve"] {
        assert_eq!(desk(&world, &["account", "customer", "add", "shop", customer])["seller"], "shop");
    }
    let [bob, eve] = ["bob", "eve"].map(|customer| token(&world, customer, &[]));
    refused(&pull(&world, Some(&bob), &world.path("one")), "not_entitled");
    let give = |customer| ["entitlement", "add", "--account", customer, "--allocation", number.as_str()];
    let given = desk(&world, &give("bob"));
    assert_eq!((&given["package"], &given["ends"]), (&json!("suite"), &allocated["ends"]));
    let output = fails(&world, &give("eve"));
    assert!(said(&output).contains("has 0 left"), "{}", said(&output));
    let output = pull(&world, Some(&bob), &world.path("one"));
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&tree, &world.path("one"));
    refused(&pull(&world, Some(&eve), &world.path("two")), "not_entitled");
    // What is taken back can be given to somebody else.
    desk(&world, &["entitlement", "rm", &given["id"].to_string()]);
    desk(&world, &give("eve"));
    assert!(pull(&world, Some(&eve), &world.path("two")).status.success());
    refused(&pull(&world, Some(&bob), &world.path("three")), "not_entitled");
    let list = desk(&world, &["account", "allocation", "list", "shop"]);
    assert_eq!(list["allocations"][0]["used"], 1);
    // The package changes, and with it what everybody has.
    desk(&world, &["product", "add", "tools", "--access", "licensed"]);
    desk(&world, &["package", "set", "suite", "--product", "tools"]);
    refused(&pull(&world, Some(&eve), &world.path("four")), "not_entitled");
}

#[test]
fn devices_and_agreements_are_noted_one_by_one() {
    let tree = Tree::small_game(73, 200_000);
    let world = licensed(&tree);
    desk(&world, &["account", "add", "alice"]);
    desk(&world, &["entitlement", "add", "--account", "alice", "--product", "game", "--agreement", "eula@3"]);
    let alice = token(&world, "alice", &[]);
    refused(&pull(&world, Some(&alice), &world.path("one")), "agreement_required");
    let file = world.path("eula.txt");
    std::fs::write(&file, "be kind").expect("written");
    let accepted = desk(&world, &["account", "accept", "alice", "eula@3", "--text", text(&file)]);
    let hash = penstock_core::blob::BlobId::of(b"be kind").to_string();
    assert_eq!(accepted["accepted"]["eula@3"]["text"], json!(hash));
    assert!(pull(&world, Some(&alice), &world.path("one")).status.success());
    let added = desk(&world, &["account", "device", "add", "alice", "pc 1"]);
    assert!(added["registered"]["pc 1"].is_u64(), "{added}");
    let removed = desk(&world, &["account", "device", "rm", "alice", "pc 1"]);
    assert!(removed.get("devices").is_none(), "{removed}");
}

/// What somebody does with a credential of its own, over the network.
struct Caller<'w> {
    world: &'w World,
    secret: std::path::PathBuf,
}

impl<'w> Caller<'w> {
    fn new(world: &'w World, name: &str, role: &str, account: &str) -> Self {
        let secret = world.path(&format!("{name}.secret"));
        let add = ["credential", "add", name, "--role", role, "--account", account, "--out", text(&secret)];
        desk(world, &add);
        Self { world, secret }
    }
    fn run(&self, args: &[&str]) -> Output {
        let url = self.world.url("admin_url");
        let node = ["--to", &url, "--admin-token-file", text(&self.secret), "--json"];
        command().arg("own").args(args).args(node).output().expect("starts")
    }
    fn own(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        document(&output)
    }
}

#[test]
fn a_companys_admin_runs_seats_and_tokens_with_a_credential_of_its_own() {
    let tree = Tree::small_game(74, 200_000);
    let world = licensed(&tree);
    desk(&world, &["account", "add", "acme", "--kind", "business"]);
    let id = desk(&world, &["entitlement", "add", "--account", "acme", "--product", "game", "--seats", "1"])["id"]
        .to_string();
    desk(&world, &["account", "user", "add", "acme", "ann", "--role", "admin"]);
    let ann = Caller::new(&world, "ann", "company", "ann");
    assert_eq!(ann.own(&["show"])["id"], "acme");
    assert_eq!(ann.own(&["user", "add", "acme/jane"])["role"], "member");
    assert_eq!(ann.own(&["user", "list"])["users"].as_array().map(Vec::len), Some(2));
    assert_eq!(ann.own(&["seat", "give", &id, "acme/jane"])["account"], "acme/jane");
    assert_eq!(ann.own(&["seat", "list", &id])["taken"], 1);
    let token = world.path("jane.jwt");
    let minted = ann.own(&["token", "--sub", "acme/jane", "--ttl", "1h"]);
    std::fs::write(&token, minted["token"].as_str().expect("a token")).expect("written");
    let output = pull(&world, Some(&token), &world.path("one"));
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&tree, &world.path("one"));
    assert_eq!(ann.own(&["seat", "take", &id, "acme/jane"])["taken"], 0);
    refused(&pull(&world, Some(&token), &world.path("two")), "not_entitled");
    assert_eq!(ann.own(&["user", "rm", "acme/jane"])["account"], "acme/jane");
    // What is not its own, and what it may not do any more.
    for args in [&["customer", "list"][..], &["allocations"], &["user", "add", "bob"]] {
        assert_eq!(ann.run(args).status.code(), Some(2), "{args:?}");
    }
    desk(&world, &["account", "set", "acme", "--standing", "suspended"]);
    let output = ann.run(&["user", "add", "acme/zoe"]);
    assert!(output.status.code() == Some(2) && said(&output).contains("not active"), "{}", said(&output));
    ann.own(&["show"]);
}

#[test]
fn a_reseller_gives_and_takes_with_a_credential_of_its_own() {
    let tree = Tree::small_game(75, 200_000);
    let world = licensed(&tree);
    desk(&world, &["account", "add", "shop", "--kind", "reseller"]);
    let number = desk(&world, &["account", "allocation", "add", "shop", "--product", "game", "--quantity", "1"])["id"]
        .to_string();
    let shop = Caller::new(&world, "shop", "reseller", "shop");
    assert_eq!(shop.own(&["allocations"])["allocations"][0]["quantity"], 1);
    assert_eq!(shop.own(&["customer", "add", "shop/bob"])["seller"], "shop");
    assert_eq!(shop.own(&["customer", "list"])["accounts"].as_array().map(Vec::len), Some(1));
    let given = shop.own(&["give", &number, "shop/bob", "--for", "30d"]);
    let minted = shop.own(&["token", "--sub", "shop/bob"]);
    let token = world.path("bob.jwt");
    std::fs::write(&token, minted["token"].as_str().expect("a token")).expect("written");
    assert!(pull(&world, Some(&token), &world.path("one")).status.success());
    assert!(shop.own(&["take", &given["id"].to_string()])["revoked"].is_u64());
    refused(&pull(&world, Some(&token), &world.path("two")), "not_entitled");
    assert_eq!(shop.own(&["customer", "rm", "shop/bob"])["id"], "shop/bob");
}

#[test]
fn lists_show_what_is_asked_for() {
    let tree = Tree::small_game(76, 200_000);
    let world = licensed(&tree);
    desk(&world, &["account", "add", "acme", "--kind", "business"]);
    desk(&world, &["account", "add", "alice", "--standing", "suspended"]);
    let names = |args: &[&str]| -> Vec<String> {
        let accounts = desk(&world, &[&["account", "list"], args].concat())["accounts"].clone();
        accounts.as_array().expect("a list").iter().map(|one| one["id"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&["--kind", "business"]), ["acme"]);
    assert_eq!(names(&["--standing", "suspended"]), ["alice"]);
    assert_eq!(names(&["--prefix", "a"]), ["acme", "alice"]);
    for account in ["acme", "alice"] {
        desk(&world, &["entitlement", "add", "--account", account, "--product", "game"]);
    }
    desk(&world, &["entitlement", "rm", "1"]);
    let numbers = |args: &[&str]| -> Vec<u64> {
        let list = desk(&world, &[&["entitlement", "list"], args].concat());
        list.as_array().expect("a list").iter().map(|one| one["id"].as_u64().expect("a number")).collect()
    };
    assert_eq!(numbers(&[]), [1, 2]);
    assert_eq!(numbers(&["--account", "alice"]), [2]);
    assert_eq!(numbers(&["--state", "revoked"]), [1]);
    assert_eq!(numbers(&["--product", "game", "--state", "live"]), [2]);
    assert_eq!(numbers(&["--limit", "1"]), [1]);
    assert_eq!(numbers(&["--limit", "1", "--after", "1"]), [2]);
    fails(&world, &["entitlement", "list", "--account", "nobody"]);
    desk(&world, &["release", "withdraw", "game", "1.0"]);
    let versions = |state: &str| desk(&world, &["release", "list", "game", "--state", state])["releases"].clone();
    assert_eq!((versions("withdrawn")[0]["version"].as_str(), versions("live")), (Some("1.0"), json!([])));
}
