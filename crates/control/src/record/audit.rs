//! Rows of `audit`: what was done by whom, each entry chained to the one before.
//!
//! Entries are written while the lock of the change log is held, so they come one after the other in all processes.

use super::filter::Select;
use super::{RecordError, from_sql, next_number, to_sql};
use crate::actor::Actor;
use crate::sql::{Connection, Row, values};
use penstock_core::audit::{AuditEntry, ChainEntry, ChainHash};
use penstock_core::time::UnixSeconds;
use serde::Serialize;

/// The most that an entry keeps of how something was or is, in bytes of JSON. What is longer is kept as its length and
/// hash: the audit proves it, and the request's sender has it.
const BODY_BYTES_MAX: usize = 64 * 1024;

const COLUMNS: &str = "sequence, at, actor, role, verb, subject, before_body, after_body, hash";

/// What somebody did: a verb, its subject, and how that was before and is after. Never put a secret into it.
pub(crate) struct Deed {
    verb: &'static str,
    subject: String,
    before: String,
    after: String,
}

impl Deed {
    /// A verb such as `account.put`, done to something such as `account/alice`.
    pub(crate) const fn new(verb: &'static str, subject: String) -> Self {
        Self { verb, subject, before: String::new(), after: String::new() }
    }
    /// How it was.
    pub(crate) fn before(mut self, before: &impl Serialize) -> Result<Self, RecordError> {
        self.before = body(before)?;
        Ok(self)
    }
    /// How it was, if it was there, and how it is.
    pub(crate) fn change(self, before: Option<&impl Serialize>, after: &impl Serialize) -> Result<Self, RecordError> {
        match before {
            Some(before) => self.before(before)?.after(after),
            None => self.after(after),
        }
    }
    /// How it is.
    pub(crate) fn after(mut self, after: &impl Serialize) -> Result<Self, RecordError> {
        self.after = body(after)?;
        Ok(self)
    }
}

/// Which entries are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// With larger numbers.
    pub(crate) after: u64,
    /// About this, or anything below it: `product/game` finds `product/game/stable` too.
    pub(crate) subject: Option<String>,
    /// By this one.
    pub(crate) actor: Option<String>,
}

/// An entry as it is stored.
pub(crate) struct StoredEntry {
    pub(crate) sequence: u64,
    at: UnixSeconds,
    actor: String,
    role: String,
    verb: String,
    subject: String,
    before: String,
    after: String,
    pub(crate) hash: ChainHash,
}

impl StoredEntry {
    /// Its hash as it ought to be behind `previous`.
    pub(crate) fn expected_hash(&self, previous: &ChainHash) -> ChainHash {
        let entry = ChainEntry {
            sequence: self.sequence,
            at: self.at,
            actor: &self.actor,
            role: &self.role,
            verb: &self.verb,
            subject: &self.subject,
            before: &self.before,
            after: &self.after,
        };
        entry.hash(previous)
    }
}

/// Appends an entry.
pub(super) fn append(connection: &Connection, actor: &Actor, deed: &Deed, now: UnixSeconds) -> Result<(), RecordError> {
    let number = next_number(connection, "audit")?;
    let previous = match number {
        1 => ChainHash::START,
        _ => hash_of(connection, number - 1)?.ok_or(RecordError::Damaged { what: "audit without gaps" })?,
    };
    let role = actor.role().as_str();
    let entry = ChainEntry {
        sequence: from_sql(number)?,
        at: now,
        actor: actor.name(),
        role,
        verb: deed.verb,
        subject: &deed.subject,
        before: &deed.before,
        after: &deed.after,
    };
    let hash = entry.hash(&previous);
    connection.execute(
        &format!("INSERT INTO audit ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"),
        values![
            number,
            to_sql(now.0)?,
            actor.name(),
            role,
            deed.verb,
            deed.subject.as_str(),
            deed.before.as_str(),
            deed.after.as_str(),
            hash.as_bytes()
        ],
    )?;
    Ok(())
}

/// Entries, oldest first.
pub(crate) fn page(connection: &Connection, filter: &Filter, limit: u64) -> Result<Vec<AuditEntry>, RecordError> {
    let below = filter.subject.as_ref().map(|subject| (format!("{subject}/"), format!("{subject}0")));
    let start = format!("SELECT {COLUMNS} FROM audit WHERE sequence >");
    let mut select = Select::new(start, to_sql(filter.after)?);
    if let (Some(subject), Some((from, to))) = (&filter.subject, &below) {
        // `0` follows `/`, and texts are compared byte by byte on both engines.
        select.and("(subject =", Some(subject.as_str()));
        select.push(" OR (subject >=");
        select.bind(from.as_str().into());
        select.push(" AND subject <");
        select.bind(to.as_str().into());
        select.push("))");
    }
    select.and("actor =", filter.actor.as_deref());
    select.rows(connection, "sequence", to_sql(limit)?, |row| read_entry(row)?.shown())
}

/// Shows every entry, oldest first, until `show` says false.
pub(crate) fn each(
    connection: &Connection,
    after: u64,
    limit: u64,
    mut show: impl FnMut(StoredEntry),
) -> Result<(), RecordError> {
    let sql = format!("SELECT {COLUMNS} FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2");
    connection.for_each(&sql, values![to_sql(after)?, to_sql(limit)?], |row| {
        show(read_entry(row)?);
        Ok(())
    })
}

/// The number of the newest entry; 0 when there is none.
pub(crate) fn newest(connection: &Connection) -> Result<u64, RecordError> {
    from_sql(connection.query_value("SELECT last FROM counters WHERE name = $1", values!["audit"])?)
}

fn hash_of(connection: &Connection, number: i64) -> Result<Option<ChainHash>, RecordError> {
    let sql = "SELECT hash FROM audit WHERE sequence = $1";
    let bytes: Option<Vec<u8>> =
        connection.query_optional(sql, values![number], |row| Ok::<_, RecordError>(row.get(0)?))?;
    bytes.map(|bytes| read_hash(&bytes)).transpose()
}

impl StoredEntry {
    fn shown(self) -> Result<AuditEntry, RecordError> {
        Ok(AuditEntry {
            sequence: self.sequence,
            at: self.at,
            before: shown_body(&self.before)?,
            after: shown_body(&self.after)?,
            hash: self.hash.to_string(),
            actor: self.actor,
            role: self.role,
            verb: self.verb,
            subject: self.subject,
        })
    }
}

fn read_entry(row: &Row<'_>) -> Result<StoredEntry, RecordError> {
    Ok(StoredEntry {
        sequence: from_sql(row.get(0)?)?,
        at: UnixSeconds(from_sql(row.get(1)?)?),
        actor: row.get(2)?,
        role: row.get(3)?,
        verb: row.get(4)?,
        subject: row.get(5)?,
        before: row.get(6)?,
        after: row.get(7)?,
        hash: read_hash(&row.get::<Vec<u8>>(8)?)?,
    })
}

fn read_hash(bytes: &[u8]) -> Result<ChainHash, RecordError> {
    ChainHash::from_slice(bytes).ok_or(RecordError::Damaged { what: "hash of the audit" })
}

/// Compact JSON with sorted keys.
fn body(of: &impl Serialize) -> Result<String, RecordError> {
    let value = serde_json::to_value(of).map_err(|_| RecordError::Damaged { what: "audited value" })?;
    let text = value.to_string();
    if text.len() <= BODY_BYTES_MAX {
        return Ok(text);
    }
    let hash = blake3::hash(text.as_bytes()).to_hex();
    Ok(serde_json::json!({ "blake3": hash.as_str(), "bytes": text.len() }).to_string())
}

fn shown_body(text: &str) -> Result<serde_json::Value, RecordError> {
    if text.is_empty() {
        return Ok(serde_json::Value::Null);
    }
    serde_json::from_str(text).map_err(|_| RecordError::Damaged { what: "audited value" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_kept_as_its_hash() {
        let short = body(&serde_json::json!({ "b": 1, "a": [2.5] })).expect("json");
        assert_eq!(short, r#"{"a":[2.5],"b":1}"#);
        let long = body(&"x".repeat(BODY_BYTES_MAX)).expect("json");
        assert!(long.starts_with(r#"{"blake3":""#) && long.ends_with("65538}"), "{long}");
    }
}
