//! What an import changed, account by account, as the audit keeps it.
//!
//! Pure. An import of 5,000 lines must not become 5,000 entries, each chained and indexed, nor one that is too long to be
//! kept. So what is alike is said once, with the accounts that it is alike for, and the whole is cut into entries that
//! each fit: about 20 bytes for an account that is made, and as many for an entitlement.

use crate::record::RecordError;
use crate::record::entitlements::{NewEntitlement, What};
use penstock_core::account::AccountId;
use penstock_core::desk::{Account, Seat, User};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

/// Where an entry is cut, in bytes of JSON: one that is cut here has at most two more names in it, and stays below what
/// the audit keeps of a body.
const PART_BYTES: usize = 40 * 1024;
/// Longest terms that stand in an entry, in bytes of JSON. Of longer ones their hash does: their row of `terms` never
/// changes and is never removed.
const TERMS_BYTES_MAX: usize = 8 * 1024;

/// One entry: how things were and how they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) before: Map<String, Value>,
    pub(super) after: Map<String, Value>,
}

/// The changes of one import, on their way to entries.
#[derive(Default)]
pub(super) struct Ledger {
    done: Vec<Part>,
    part: Part,
    bytes: usize,
}

impl Ledger {
    /// Accounts that are made.
    pub(super) fn made(&mut self, accounts: &[&Account]) -> Result<(), RecordError> {
        let mut alike: BTreeMap<String, (Value, Vec<&AccountId>)> = BTreeMap::new();
        for account in accounts {
            let mut value = value(account)?;
            if let Some(members) = value.as_object_mut() {
                members.remove("id");
            }
            alike.entry(value.to_string()).or_insert_with(|| (value, Vec::new())).1.push(&account.id);
        }
        for (as_made, names) in alike.into_values() {
            self.group("made", &names, |_| json!({ "as": as_made }));
        }
        Ok(())
    }

    /// An account that is changed: what an import can change of it.
    pub(super) fn changed(&mut self, before: &Account, after: &Account) -> Result<(), RecordError> {
        let part = |of: &Account| -> Result<Value, RecordError> {
            Ok(json!({
                "account": of.id, "kind": value(&of.kind)?, "standing": value(&of.standing)?,
                "attributes": value(&of.attributes)?,
            }))
        };
        self.push("changed", Some(part(before)?), part(after)?);
        Ok(())
    }

    /// A user that is made or has another role.
    pub(super) fn user(&mut self, before: Option<&User>, after: &User) -> Result<(), RecordError> {
        let before = before.map(value).transpose()?;
        self.push("users", before, value(after)?);
        Ok(())
    }

    /// Entitlements that are given, alike ones beside each other; the first of them has the number `first`.
    pub(super) fn given(
        &mut self,
        given: &[NewEntitlement],
        first: u64,
        terms: &HashMap<i64, &str>,
    ) -> Result<(), RecordError> {
        let mut number = first;
        for alike in given.chunk_by(is_alike) {
            let one = &alike[0];
            let of = match &one.what {
                What::Package(package) => json!({ "package": package }),
                What::Terms(row) => json!({ "terms": terms_value(terms.get(row).copied().unwrap_or_default())? }),
            };
            let names: Vec<&AccountId> = alike.iter().map(|one| &one.account).collect();
            self.group("given", &names, |skipped| {
                let mut of = of.clone();
                of["first"] = (number + skipped).into();
                of["starts"] = one.starts.0.into();
                for (name, number) in [("ends", one.ends.map(|ends| ends.0)), ("seats", one.seats)] {
                    if let Some(number) = number {
                        of[name] = number.into();
                    }
                }
                of
            });
            number += alike.len() as u64;
        }
        Ok(())
    }

    /// Seats that are given.
    pub(super) fn seats(&mut self, seats: &[Seat]) {
        let mut alike: BTreeMap<u64, Vec<&AccountId>> = BTreeMap::new();
        for seat in seats {
            alike.entry(seat.entitlement).or_default().push(&seat.account);
        }
        for (entitlement, names) in alike {
            self.group("seats", &names, |_| json!({ "entitlement": entitlement }));
        }
    }

    /// The entries.
    pub(super) fn into_parts(mut self) -> Vec<Part> {
        self.cut();
        self.done
    }

    /// Something with the names that it is so for; `head` says what, behind so many of the names.
    fn group(&mut self, section: &'static str, names: &[&AccountId], head: impl Fn(u64) -> Value) {
        let mut rest = names;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|name| {
                bytes += name.as_str().len() + 3;
                bytes <= PART_BYTES / 2
            });
            let (some, others) = rest.split_at(fits.count().max(1));
            let mut item = head((names.len() - rest.len()) as u64);
            item["accounts"] = some.iter().map(|name| name.as_str()).collect();
            self.push(section, None, item);
            rest = others;
        }
    }

    fn push(&mut self, section: &'static str, before: Option<Value>, after: Value) {
        let bytes = after.to_string().len() + before.as_ref().map_or(0, |before| before.to_string().len());
        if self.bytes + bytes > PART_BYTES {
            self.cut();
        }
        self.bytes += bytes;
        list(&mut self.part.before, section).extend(before);
        list(&mut self.part.after, section).push(after);
    }

    fn cut(&mut self) {
        self.bytes = 0;
        let mut part = std::mem::take(&mut self.part);
        part.before.retain(|_, list| list.as_array().is_some_and(|list| !list.is_empty()));
        if !part.after.is_empty() {
            self.done.push(part);
        }
    }
}

/// Whether two entitlements differ in their accounts only.
fn is_alike(one: &NewEntitlement, other: &NewEntitlement) -> bool {
    order(one) == order(other)
}

/// What entitlements are sorted by, so that those that are alike stand beside each other.
pub(super) fn order(one: &NewEntitlement) -> impl Ord + use<> {
    let (row, package) = match &one.what {
        What::Terms(row) => (*row, None),
        What::Package(package) => (0, Some(package.clone())),
    };
    (row, package, one.seats, one.starts, one.ends)
}

fn list<'m>(members: &'m mut Map<String, Value>, section: &'static str) -> &'m mut Vec<Value> {
    let slot = members.entry(section).or_insert_with(|| Value::Array(Vec::new()));
    slot.as_array_mut().expect("only lists are put there")
}

fn terms_value(body: &str) -> Result<Value, RecordError> {
    if body.len() > TERMS_BYTES_MAX {
        return Ok(json!({ "blake3": blake3::hash(body.as_bytes()).to_hex().as_str(), "bytes": body.len() }));
    }
    serde_json::from_str(body).map_err(|_| RecordError::Damaged { what: "terms" })
}

fn value(of: &impl serde::Serialize) -> Result<Value, RecordError> {
    serde_json::to_value(of).map_err(|_| RecordError::Damaged { what: "audited value" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::desk::UserRole;
    use penstock_core::time::UnixSeconds;

    fn name(text: &str) -> AccountId {
        text.parse().expect("a name")
    }

    fn entitlement(account: &str, row: i64, ends: Option<u64>) -> NewEntitlement {
        NewEntitlement {
            account: name(account),
            what: What::Terms(row),
            seats: None,
            allocation: None,
            starts: UnixSeconds(5),
            ends: ends.map(UnixSeconds),
        }
    }

    #[test]
    fn what_is_alike_is_said_once_with_its_numbers() {
        let account = |id: &str| crate::accounts::new(name(id), UnixSeconds(7));
        let mut ledger = Ledger::default();
        ledger.made(&[&account("a"), &account("b")]).expect("made");
        let after = Account { standing: penstock_core::account::Standing::Suspended, ..account("c") };
        ledger.changed(&account("c"), &after).expect("changed");
        let user = User { account: name("a"), company: name("acme"), role: UserRole::Admin, added: UnixSeconds(7) };
        ledger.user(None, &user).expect("user");
        let given = [entitlement("a", 1, None), entitlement("b", 1, None), entitlement("a", 2, Some(9))];
        let terms = HashMap::from([(1, r#"{"product":"game"}"#), (2, r#"{"product":"dlc"}"#)]);
        ledger.given(&given, 40, &terms).expect("given");
        ledger.seats(&[Seat { entitlement: 3, account: name("a"), given: UnixSeconds(7) }]);
        let parts = ledger.into_parts();
        assert_eq!(parts.len(), 1);
        assert_eq!(
            Value::Object(parts[0].before.clone()),
            json!({ "changed": [{ "account": "c", "kind": "individual", "standing": "active", "attributes": {} }] })
        );
        assert_eq!(
            Value::Object(parts[0].after.clone()),
            json!({
                "made": [{ "as": { "kind": "individual", "standing": "active", "created": 7 }, "accounts": ["a", "b"] }],
                "changed": [{ "account": "c", "kind": "individual", "standing": "suspended", "attributes": {} }],
                "users": [{ "account": "a", "company": "acme", "role": "admin", "added": 7 }],
                "given": [
                    { "terms": { "product": "game" }, "first": 40, "starts": 5, "accounts": ["a", "b"] },
                    { "terms": { "product": "dlc" }, "first": 42, "starts": 5, "ends": 9, "accounts": ["a"] },
                ],
                "seats": [{ "entitlement": 3, "accounts": ["a"] }],
            })
        );
        assert_eq!(Ledger::default().into_parts(), []);
    }

    #[test]
    fn a_large_import_is_cut_into_entries_that_fit_and_every_name_is_in_one() {
        let names: Vec<AccountId> =
            (0..5000).map(|n| name(&format!("player-{n:06}-{}", "x".repeat(n % 200)))).collect();
        let given: Vec<NewEntitlement> =
            names.iter().map(|name| NewEntitlement { account: name.clone(), ..entitlement("a", 1, None) }).collect();
        let long = format!(r#"{{"product":"game","agreement":"{}"}}"#, "y".repeat(2 * TERMS_BYTES_MAX));
        let mut ledger = Ledger::default();
        ledger.given(&given, 1, &HashMap::from([(1, long.as_str())])).expect("given");
        let mut found = Vec::new();
        for part in ledger.into_parts() {
            assert!(Value::Object(part.after.clone()).to_string().len() <= 64 * 1024);
            for item in part.after["given"].as_array().expect("a list") {
                assert_eq!(item["first"], json!(found.len() + 1));
                assert_eq!(item["terms"]["bytes"], json!(long.len()));
                let names = item["accounts"].as_array().expect("names").iter();
                found.extend(names.map(|name| name.as_str().expect("text").to_owned()));
            }
        }
        assert!(found.iter().map(String::as_str).eq(names.iter().map(AccountId::as_str)));
    }

    #[test]
    fn names_that_json_must_escape_stay_below_the_bound_too() {
        let names: Vec<AccountId> = (0..500).map(|n| name(&format!("{n}{}", "\"".repeat(250)))).collect();
        let given: Vec<NewEntitlement> =
            names.iter().map(|name| NewEntitlement { account: name.clone(), ..entitlement("a", 1, None) }).collect();
        let mut ledger = Ledger::default();
        ledger.given(&given, 1, &HashMap::from([(1, "{}")])).expect("given");
        let parts = ledger.into_parts();
        assert!(parts.iter().all(|part| Value::Object(part.after.clone()).to_string().len() <= 64 * 1024));
        let count = |part: &Part| part.after["given"][0]["accounts"].as_array().map_or(0, Vec::len);
        assert_eq!(parts.iter().map(count).sum::<usize>(), 500);
    }
}
