//! Rows of `users` and `seats`, and who is whose customer.

use super::holdings::EACH_TERMS;
use super::{ROWS_MAX, RecordError, from_sql, name, to_sql};
use crate::sql::{Connection, Row, Value, placeholders, values};
use penstock_core::account::AccountId;
use penstock_core::desk::{Seat, User, UserRole};
use penstock_core::id::ProductId;
use penstock_core::time::UnixSeconds;
use std::collections::{BTreeMap, BTreeSet};

const USER: &str = "SELECT account, company, role, added FROM users";
const SEAT: &str = "SELECT s.entitlement, s.account, s.given FROM seats s";

/// The company that an account is a user of, and what it may do for it.
pub(crate) fn user(connection: &Connection, account: &AccountId) -> Result<Option<User>, RecordError> {
    connection.query_optional(&format!("{USER} WHERE account = $1"), values![account.as_str()], read_user)
}

/// As [`user`], for many.
pub(crate) fn users_named(connection: &Connection, names: &[&AccountId]) -> Result<Vec<User>, RecordError> {
    let mut found = Vec::new();
    for names in names.chunks(ROWS_MAX) {
        let sql = format!("{USER} WHERE account IN {}", placeholders(1, names.len()));
        let names: Vec<Value<'_>> = names.iter().map(|name| name.as_str().into()).collect();
        found.extend(connection.query(&sql, &names, read_user)?);
    }
    Ok(found)
}

/// Users of a company by name, from the one after `after` on.
pub(crate) fn users(
    connection: &Connection,
    company: &AccountId,
    after: &str,
    limit: u64,
) -> Result<Vec<User>, RecordError> {
    let sql = format!("{USER} WHERE company = $1 AND account > $2 ORDER BY account LIMIT $3");
    connection.query(&sql, values![company.as_str(), after, to_sql(limit)?], read_user)
}

/// How many users a company has.
pub(crate) fn count_users(connection: &Connection, company: &AccountId) -> Result<u64, RecordError> {
    let sql = "SELECT COUNT(*) FROM users WHERE company = $1";
    from_sql(connection.query_value(sql, values![company.as_str()])?)
}

/// Writes a user, new or with another role.
pub(crate) fn put_user(connection: &Connection, user: &User) -> Result<(), RecordError> {
    connection.execute(
        "INSERT INTO users (account, company, role, added) VALUES ($1, $2, $3, $4)
         ON CONFLICT (account) DO UPDATE SET role = excluded.role",
        values![user.account.as_str(), user.company.as_str(), role_text(user.role), to_sql(user.added.0)?],
    )?;
    Ok(())
}

/// Forgets a user and all its seats, those of entitlements that were taken back included; returns the seats: since when, by
/// entitlement.
pub(crate) fn remove_user(
    connection: &Connection,
    account: &AccountId,
) -> Result<BTreeMap<u64, UnixSeconds>, RecordError> {
    let mut gone = BTreeMap::new();
    connection.for_each(&format!("{SEAT} WHERE s.account = $1"), values![account.as_str()], |row| {
        let Seat { entitlement, given, .. } = read_seat(row)?;
        gone.insert(entitlement, given);
        Ok::<_, RecordError>(())
    })?;
    connection.execute("DELETE FROM seats WHERE account = $1", values![account.as_str()])?;
    connection.execute("DELETE FROM users WHERE account = $1", values![account.as_str()])?;
    Ok(gone)
}

/// One seat.
pub(crate) fn seat(
    connection: &Connection,
    entitlement: u64,
    account: &AccountId,
) -> Result<Option<Seat>, RecordError> {
    let sql = format!("{SEAT} WHERE s.entitlement = $1 AND s.account = $2");
    connection.query_optional(&sql, values![to_sql(entitlement)?, account.as_str()], read_seat)
}

/// Who has seats of an entitlement, by name, from the one after `after` on.
pub(crate) fn seats(
    connection: &Connection,
    entitlement: u64,
    after: &str,
    limit: u64,
) -> Result<Vec<Seat>, RecordError> {
    let sql = format!("{SEAT} WHERE s.entitlement = $1 AND s.account > $2 ORDER BY s.account LIMIT $3");
    connection.query(&sql, values![to_sql(entitlement)?, after, to_sql(limit)?], read_seat)
}

/// Seats that an account has of entitlements in force, by number.
pub(crate) fn seats_of(connection: &Connection, account: &AccountId) -> Result<Vec<Seat>, RecordError> {
    let sql = format!(
        "{SEAT} JOIN entitlements e ON e.id = s.entitlement WHERE s.account = $1 AND e.revoked IS NULL ORDER BY e.id"
    );
    connection.query(&sql, values![account.as_str()], read_seat)
}

/// Writes a seat that is not there.
pub(crate) fn give_seat(connection: &Connection, seat: &Seat) -> Result<(), RecordError> {
    connection.execute(
        "INSERT INTO seats (entitlement, account, given) VALUES ($1, $2, $3)",
        values![to_sql(seat.entitlement)?, seat.account.as_str(), to_sql(seat.given.0)?],
    )?;
    Ok(())
}

/// Takes a seat back.
pub(crate) fn take_seat(connection: &Connection, entitlement: u64, account: &AccountId) -> Result<(), RecordError> {
    let sql = "DELETE FROM seats WHERE entitlement = $1 AND account = $2";
    connection.execute(sql, values![to_sql(entitlement)?, account.as_str()])?;
    Ok(())
}

/// Says whose customer an account is.
pub(crate) fn set_seller(
    connection: &Connection,
    account: &AccountId,
    seller: Option<&AccountId>,
) -> Result<(), RecordError> {
    let sql = "UPDATE accounts SET seller = $1 WHERE id = $2";
    connection.execute(sql, values![seller.map(AccountId::as_str), account.as_str()])?;
    Ok(())
}

/// Whether an account holds something that this reseller did not give: anything at all, when none is named. A seat is what
/// a company gave.
pub(crate) fn holds_more(
    connection: &Connection,
    account: &AccountId,
    reseller: Option<&AccountId>,
) -> Result<bool, RecordError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM entitlements e LEFT JOIN allocations a ON a.id = e.allocation
        WHERE e.account = $1 AND e.revoked IS NULL AND (a.reseller IS NULL OR a.reseller <> $2))
        OR EXISTS (SELECT 1 FROM seats s JOIN entitlements e ON e.id = s.entitlement
        WHERE s.account = $1 AND e.revoked IS NULL)";
    // No account's name is empty.
    Ok(connection.query_value(sql, values![account.as_str(), reseller.map_or("", AccountId::as_str)])?)
}

/// Products that an account holds otherwise than by way of a company or a reseller: bought, given by the studio, or by
/// way of somebody else. A token names products and no terms, so one for such a product would reach those terms too.
pub(crate) fn products_otherwise(
    connection: &Connection,
    bearer: &AccountId,
    party: &AccountId,
) -> Result<BTreeSet<ProductId>, RecordError> {
    let sql = format!(
        "SELECT t.product FROM entitlements e LEFT JOIN allocations a ON a.id = e.allocation {EACH_TERMS}
            WHERE e.account = $1 AND e.seats IS NULL AND e.revoked IS NULL
            AND (a.reseller IS NULL OR a.reseller <> $2)
         UNION
         SELECT t.product FROM seats s JOIN entitlements e ON e.id = s.entitlement {EACH_TERMS}
            WHERE s.account = $1 AND e.account <> $2 AND e.revoked IS NULL"
    );
    products(connection, &sql, bearer, party)
}

/// Products that a user holds by seats of its company.
pub(crate) fn products_by_seats(
    connection: &Connection,
    user: &AccountId,
    company: &AccountId,
) -> Result<BTreeSet<ProductId>, RecordError> {
    let sql = format!(
        "SELECT DISTINCT t.product FROM seats s JOIN entitlements e ON e.id = s.entitlement {EACH_TERMS}
            WHERE s.account = $1 AND e.account = $2 AND e.revoked IS NULL"
    );
    products(connection, &sql, user, company)
}

/// Products that a customer holds out of a reseller's allocations.
pub(crate) fn products_by_allocations(
    connection: &Connection,
    customer: &AccountId,
    reseller: &AccountId,
) -> Result<BTreeSet<ProductId>, RecordError> {
    let sql = format!(
        "SELECT DISTINCT t.product FROM entitlements e JOIN allocations a ON a.id = e.allocation {EACH_TERMS}
            WHERE e.account = $1 AND a.reseller = $2 AND e.seats IS NULL AND e.revoked IS NULL"
    );
    products(connection, &sql, customer, reseller)
}

fn products(
    connection: &Connection,
    sql: &str,
    bearer: &AccountId,
    party: &AccountId,
) -> Result<BTreeSet<ProductId>, RecordError> {
    let mut found = BTreeSet::new();
    connection.for_each(sql, values![bearer.as_str(), party.as_str()], |row| {
        found.insert(name(&row.get::<String>(0)?, "product")?);
        Ok::<_, RecordError>(())
    })?;
    Ok(found)
}

/// What keeps an account from becoming another kind of account.
pub(crate) fn ties(connection: &Connection, account: &AccountId) -> Result<Option<&'static str>, RecordError> {
    let looks = [
        ("users", "SELECT EXISTS (SELECT 1 FROM users WHERE company = $1)"),
        (
            "entitlements with seats",
            "SELECT EXISTS (SELECT 1 FROM entitlements WHERE account = $1 AND seats IS NOT NULL AND revoked IS NULL)",
        ),
        ("a company whose user it is", "SELECT EXISTS (SELECT 1 FROM users WHERE account = $1)"),
        ("customers", "SELECT EXISTS (SELECT 1 FROM accounts WHERE seller = $1)"),
        ("allocations", "SELECT EXISTS (SELECT 1 FROM allocations WHERE reseller = $1 AND closed IS NULL)"),
    ];
    for (what, sql) in looks {
        if connection.query_value(sql, values![account.as_str()])? {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn read_user(row: &Row<'_>) -> Result<User, RecordError> {
    Ok(User {
        account: name(&row.get::<String>(0)?, "account")?,
        company: name(&row.get::<String>(1)?, "account")?,
        role: role(&row.get::<String>(2)?)?,
        added: UnixSeconds(from_sql(row.get(3)?)?),
    })
}

fn read_seat(row: &Row<'_>) -> Result<Seat, RecordError> {
    Ok(Seat {
        entitlement: from_sql(row.get(0)?)?,
        account: name(&row.get::<String>(1)?, "account")?,
        given: UnixSeconds(from_sql(row.get(2)?)?),
    })
}

const fn role_text(role: UserRole) -> &'static str {
    match role {
        UserRole::Admin => "admin",
        UserRole::Member => "member",
    }
}

fn role(text: &str) -> Result<UserRole, RecordError> {
    match text {
        "admin" => Ok(UserRole::Admin),
        "member" => Ok(UserRole::Member),
        _ => Err(RecordError::Damaged { what: "role of a user" }),
    }
}
