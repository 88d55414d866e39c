//! Rows of `snapshots`, and the walk over all accounts in the order of a snapshot.

use super::accounts::{parse, standing};
use super::holdings::holding;
use super::{RecordError, blob_id, from_sql, to_sql};
use crate::sql::{Connection, Row, SqlError, values};
use penstock_core::account::{AccountFacts, AccountKey, Extras, Holding, PseudonymKey, Terms};
use penstock_core::blob::BlobId;
use penstock_core::time::UnixSeconds;
use std::collections::HashMap;
use std::sync::Arc;

/// A snapshot of all accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotRow {
    /// The last change that it holds.
    pub(crate) sequence: u64,
    /// Where it lies.
    pub(crate) blob: BlobId,
    /// How many imports it holds.
    pub(crate) imports: u64,
    /// How many accounts it holds.
    pub(crate) accounts: u64,
    /// When it was made.
    pub(crate) created: UnixSeconds,
}

/// The newest one.
pub(crate) fn newest(connection: &Connection) -> Result<Option<SnapshotRow>, RecordError> {
    let sql = "SELECT sequence, blob, imports, accounts, created FROM snapshots ORDER BY sequence DESC LIMIT 1";
    connection.query_optional(sql, &[], read_row)
}

/// All of them but the newest so many, oldest first.
pub(crate) fn older(connection: &Connection, keep: u64) -> Result<Vec<SnapshotRow>, RecordError> {
    let sql = "SELECT sequence, blob, imports, accounts, created FROM snapshots ORDER BY sequence";
    let rows = connection.query(sql, &[], read_row)?;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    Ok(rows[..rows.len().saturating_sub(keep)].to_vec())
}

/// Notes a snapshot that is stored.
pub(crate) fn put(connection: &Connection, row: SnapshotRow) -> Result<(), RecordError> {
    connection.execute(
        "INSERT INTO snapshots (sequence, blob, accounts, imports, created) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (sequence) DO UPDATE SET blob = excluded.blob, accounts = excluded.accounts,
             imports = excluded.imports, created = excluded.created",
        values![
            to_sql(row.sequence)?,
            &row.blob.as_bytes()[..],
            to_sql(row.accounts)?,
            to_sql(row.imports)?,
            to_sql(row.created.0)?
        ],
    )?;
    Ok(())
}

/// Forgets one.
pub(crate) fn remove(connection: &Connection, sequence: u64) -> Result<(), RecordError> {
    connection.execute("DELETE FROM snapshots WHERE sequence = $1", values![to_sql(sequence)?])?;
    Ok(())
}

/// How many imports there were.
pub(crate) fn imports(connection: &Connection) -> Result<u64, RecordError> {
    from_sql(connection.query_value("SELECT last FROM counters WHERE name = $1", values!["imports"])?)
}

/// Whether a blob is one of them.
pub(crate) fn has(connection: &Connection, blob: BlobId) -> Result<bool, RecordError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM snapshots WHERE blob = $1)";
    Ok(connection.query_value(sql, values![&blob.as_bytes()[..]])?)
}

/// Shows every account as edges see it, by pseudonym. One statement, so that a million accounts are not a million; both
/// halves come in the order asked for, so that neither engine has to sort them together.
pub(crate) fn each_account<E: From<RecordError> + From<SqlError>>(
    connection: &Connection,
    pseudonyms: &PseudonymKey,
    mut show: impl FnMut(AccountKey, AccountFacts) -> Result<(), E>,
) -> Result<(), E> {
    let terms = Shared::read(connection)?;
    let mut current: Option<(AccountKey, AccountFacts, Vec<Holding>)> = None;
    let mut done = |one: Option<(AccountKey, AccountFacts, Vec<Holding>)>| match one {
        None => Ok(()),
        Some((account, facts, holdings)) => show(account, AccountFacts { holdings: holdings.into(), ..facts }),
    };
    // What `record::holdings` says of some, for all.
    let sql = "SELECT a.pseudonym, a.standing, a.tokens_from, a.extras, e.id, e.terms, e.package, e.starts, e.ends
            FROM accounts a LEFT JOIN entitlements e ON e.account = a.id AND e.seats IS NULL AND e.revoked IS NULL
        UNION ALL
        SELECT a.pseudonym, a.standing, a.tokens_from, a.extras, e.id, e.terms, e.package, e.starts, e.ends
            FROM seats s JOIN accounts a ON a.id = s.account JOIN entitlements e ON e.id = s.entitlement
                JOIN accounts c ON c.id = e.account
            WHERE e.revoked IS NULL AND c.standing = 'active'
        ORDER BY 1, 5";
    connection.for_each(sql, &[], |row| {
        let account = pseudonym(&row.get::<Vec<u8>>(0)?)?;
        if current.as_ref().is_none_or(|(known, ..)| *known != account) {
            done(current.take())?;
            current = Some((account, read_facts(row, pseudonyms)?, Vec::new()));
        }
        if let (Some(_), Some((_, _, holdings))) = (row.get::<Option<i64>>(4)?, &mut current) {
            for terms in terms.of(row.get(5)?, row.get(6)?)? {
                holdings.push(holding(Arc::clone(terms), row.get(7)?, row.get(8)?)?);
            }
        }
        Ok::<_, E>(())
    })?;
    done(current.take())
}

/// What entitlements share: they are millions, and these are few.
struct Shared {
    terms: HashMap<i64, Arc<Terms>>,
    packages: HashMap<String, Vec<Arc<Terms>>>,
}

impl Shared {
    fn read(connection: &Connection) -> Result<Self, RecordError> {
        let mut terms: HashMap<i64, Arc<Terms>> = HashMap::new();
        connection.for_each("SELECT id, body FROM terms", &[], |row| {
            terms.insert(row.get(0)?, Arc::new(parse(&row.get::<String>(1)?, "terms")?));
            Ok::<_, RecordError>(())
        })?;
        let mut packages: HashMap<String, Vec<Arc<Terms>>> = HashMap::new();
        let sql = "SELECT package, terms FROM package_items ORDER BY package, position";
        connection.for_each(sql, &[], |row| {
            let one = terms.get(&row.get(1)?).ok_or(RecordError::Damaged { what: "package's terms" })?;
            packages.entry(row.get(0)?).or_default().push(Arc::clone(one));
            Ok::<_, RecordError>(())
        })?;
        Ok(Self { terms, packages })
    }

    /// The terms that an entitlement stands for.
    fn of(&self, terms: Option<i64>, package: Option<String>) -> Result<&[Arc<Terms>], RecordError> {
        const DAMAGED: RecordError = RecordError::Damaged { what: "entitlement's terms" };
        match (terms, package) {
            (Some(number), None) => self.terms.get(&number).map(std::slice::from_ref).ok_or(DAMAGED),
            (None, Some(package)) => self.packages.get(&package).map(Vec::as_slice).ok_or(DAMAGED),
            _ => Err(DAMAGED),
        }
    }
}

fn read_facts(row: &Row<'_>, pseudonyms: &PseudonymKey) -> Result<AccountFacts, RecordError> {
    let tokens_from: Option<i64> = row.get(2)?;
    let extras: String = row.get(3)?;
    let extras = if extras.is_empty() { None } else { Some(Box::new(read_extras(&extras, pseudonyms)?)) };
    Ok(AccountFacts {
        standing: standing(&row.get::<String>(1)?)?,
        tokens_from: tokens_from.map(|moment| from_sql(moment).map(UnixSeconds)).transpose()?,
        holdings: Box::default(),
        extras,
    })
}

fn read_extras(text: &str, pseudonyms: &PseudonymKey) -> Result<Extras, RecordError> {
    let text: super::accounts::ExtrasText = parse(text, "extras")?;
    Ok(text.seen(pseudonyms))
}

fn pseudonym(bytes: &[u8]) -> Result<AccountKey, RecordError> {
    bytes.try_into().map(AccountKey).map_err(|_| RecordError::Damaged { what: "pseudonym" })
}

fn read_row(row: &Row<'_>) -> Result<SnapshotRow, RecordError> {
    Ok(SnapshotRow {
        sequence: from_sql(row.get(0)?)?,
        blob: blob_id(&row.get::<Vec<u8>>(1)?)?,
        imports: from_sql(row.get(2)?)?,
        accounts: from_sql(row.get(3)?)?,
        created: UnixSeconds(from_sql(row.get(4)?)?),
    })
}
