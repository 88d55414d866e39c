//! Rows of `releases` and `release_blobs`.

use super::products::access_class;
use super::{RecordError, blob_id, from_sql, name, next_number, to_sql};
use crate::audience::KnownUse;
use penstock_core::blob::BlobId;
use penstock_core::catalog::{BlobMember, Release, ReleaseState};
use penstock_core::desk::IncompleteRelease;
use penstock_core::id::{AccessGroup, Platform, ProductId, Version};
use penstock_core::limits::{PAGE_ROWS_MAX, RELEASES_LISTED_MAX};
use penstock_core::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params_from_iter};
use std::collections::BTreeSet;

/// A release and its number in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleaseRow {
    pub(crate) id: i64,
    pub(crate) release: Release,
}

/// A use of a blob, with the release it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlobUseRow {
    pub(crate) known: KnownUse,
    pub(crate) version: Version,
}

impl AsRef<KnownUse> for BlobUseRow {
    fn as_ref(&self) -> &KnownUse {
        &self.known
    }
}

const COLUMNS: &str =
    "id, product, platform, version, manifest, manifest_bytes, content_bytes, entry_count, registered, state";

/// One release.
pub(crate) fn get(
    connection: &Connection,
    product: &ProductId,
    platform: &Platform,
    version: &Version,
) -> Result<Option<ReleaseRow>, RecordError> {
    let sql = format!("SELECT {COLUMNS} FROM releases WHERE product = $1 AND platform = $2 AND version = $3");
    let mut statement = connection.prepare_cached(&sql)?;
    let names = (product.as_str(), platform.as_str(), version.as_str());
    statement.query_row(names, |row| Ok(read_row(row))).optional()?.transpose()
}

/// A product's releases, newest first.
pub(crate) fn list(connection: &Connection, product: &ProductId) -> Result<Vec<ReleaseRow>, RecordError> {
    let sql = format!("SELECT {COLUMNS} FROM releases WHERE product = $1 ORDER BY id DESC LIMIT $2");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map((product.as_str(), to_sql(RELEASES_LISTED_MAX as u64)?), |row| Ok(read_row(row)))?;
    rows.map(|row| row?).collect()
}

/// Every release, oldest first: the replay.
pub(crate) fn all(connection: &Connection) -> Result<Vec<ReleaseRow>, RecordError> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM releases ORDER BY id"))?;
    statement.query_map([], |row| Ok(read_row(row)))?.map(|row| row?).collect()
}

/// A release's blobs, by name.
pub(crate) fn members(connection: &Connection, id: i64) -> Result<Vec<BlobMember>, RecordError> {
    let mut statement = connection.prepare_cached(
        "SELECT blob, component, access_group FROM release_blobs WHERE release_id = $1 ORDER BY blob, component",
    )?;
    let rows = statement.query_map([id], |row| Ok(read_member(row)))?;
    rows.map(|row| row?).collect()
}

/// Writes a new release and its blobs, which `blobs` knows already; one that was removed meanwhile
/// is refused by the database itself, so nobody needs to look before.
pub(crate) fn insert(connection: &Connection, release: &Release, members: &[BlobMember]) -> Result<i64, RecordError> {
    let id = next_number(connection, "releases")?;
    connection.execute(
        "INSERT INTO releases (id, product, platform, version, manifest, manifest_bytes, content_bytes, entry_count, registered, state)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        (
            id,
            release.product.as_str(),
            release.platform.as_str(),
            release.version.as_str(),
            release.manifest.as_bytes(),
            to_sql(release.manifest_bytes)?,
            to_sql(release.content_bytes)?,
            to_sql(release.entry_count)?,
            to_sql(release.registered.0)?,
            state_text(release.state),
        ),
    )
    .map_err(no_blob(release.manifest))?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO release_blobs (release_id, blob, component, access_group) VALUES ($1, $2, $3, $4)",
    )?;
    for member in members {
        statement
            .execute((id, member.blob.as_bytes(), member.component.as_str(), member.group.as_str()))
            .map_err(no_blob(member.blob))?;
    }
    Ok(id)
}

/// What a refused reference to a blob means.
fn no_blob(blob: BlobId) -> impl FnOnce(rusqlite::Error) -> RecordError {
    move |error| match error.sqlite_error() {
        Some(cause) if cause.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY => RecordError::NoBlob(blob),
        _ => error.into(),
    }
}

/// Changes whether a release may be fetched.
pub(crate) fn set_state(connection: &Connection, id: i64, state: ReleaseState) -> Result<(), RecordError> {
    connection.execute("UPDATE releases SET state = $1 WHERE id = $2", (state_text(state), id))?;
    Ok(())
}

/// Blobs asked about in one statement: few enough for any engine's bound on parameters.
const ASKED_AT_ONCE: usize = 500;

/// Of `blobs`, wanted by `product` for `group`, those that some release uses and none of the same
/// product for the same group or the base: the few that [`crate::audience`] must judge one by one.
///
/// Asked for many at a time, because a large release has 100,000 blobs, nearly all of them its own.
pub(crate) fn used_otherwise(
    connection: &Connection,
    product: &ProductId,
    group: &AccessGroup,
    blobs: &[BlobId],
) -> Result<Vec<BlobId>, RecordError> {
    let mut found = Vec::new();
    for some in blobs.chunks(ASKED_AT_ONCE) {
        // SQLite numbers parameters by where they first stand, so the blobs come before the names.
        let rows: Vec<String> = (1..=some.len()).map(|number| format!("(${number})")).collect();
        let (product_at, group_at) = (some.len() + 1, some.len() + 2);
        let mut statement = connection.prepare_cached(&format!(
            "WITH wanted (blob) AS (VALUES {})
             SELECT w.blob FROM wanted w
             WHERE EXISTS (SELECT 1 FROM release_blobs b WHERE b.blob = w.blob)
               AND NOT EXISTS (
                   SELECT 1 FROM release_blobs b JOIN releases r ON r.id = b.release_id
                   WHERE b.blob = w.blob AND r.product = ${product_at} AND b.access_group IN ('base', ${group_at}))",
            rows.join(",")
        ))?;
        let blobs: Vec<&[u8]> = some.iter().map(|blob| blob.as_bytes().as_slice()).collect();
        let names = [product.as_str(), group.as_str()];
        let names = names.iter().map(|text| text as &dyn ToSql);
        let parameters = blobs.iter().map(|blob| blob as &dyn ToSql).chain(names);
        for blob in statement.query_map(params_from_iter(parameters), |row| row.get::<_, Vec<u8>>(0))? {
            found.push(blob_id(&blob?)?);
        }
    }
    Ok(found)
}

/// Every use of a blob by a release, oldest first, uses by one audience once.
pub(crate) fn uses_of(connection: &Connection, blob: BlobId) -> Result<Vec<BlobUseRow>, RecordError> {
    let mut statement = connection.prepare_cached(
        "SELECT r.product, p.access, r.state, b.access_group, r.version
         FROM release_blobs b JOIN releases r ON r.id = b.release_id JOIN products p ON p.id = r.product
         WHERE b.blob = $1 ORDER BY r.id",
    )?;
    let rows = statement.query_map([blob.as_bytes()], |row| Ok(read_use(row)))?;
    let mut uses: Vec<BlobUseRow> = Vec::new();
    for row in rows {
        let row = row??;
        if !uses.iter().any(|seen| seen.known == row.known) {
            uses.push(row);
        }
    }
    Ok(uses)
}

/// Releases that refer to any of `missing`, with how many and one of them.
pub(crate) fn incomplete(
    connection: &Connection,
    missing: &BTreeSet<BlobId>,
) -> Result<Vec<IncompleteRelease>, RecordError> {
    let mut found: Vec<IncompleteRelease> = Vec::new();
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT r.id, r.product, r.platform, r.version
         FROM release_blobs b JOIN releases r ON r.id = b.release_id WHERE b.blob = $1 ORDER BY r.id",
    )?;
    for blob in missing {
        let rows = statement.query_map([blob.as_bytes()], |row| {
            Ok((row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
        })?;
        for row in rows {
            let (product, platform, version) = row?;
            let (product, platform, version): (ProductId, Platform, Version) =
                (name(&product, "product")?, name(&platform, "platform")?, name(&version, "version")?);
            let at = found
                .iter()
                .position(|one| (&one.product, &one.platform, &one.version) == (&product, &platform, &version));
            match at {
                Some(at) => found[at].missing += 1,
                None if found.len() < PAGE_ROWS_MAX => {
                    found.push(IncompleteRelease { product, platform, version, missing: 1, example: *blob });
                }
                None => {}
            }
        }
    }
    Ok(found)
}

/// How many releases there are.
pub(crate) fn count(connection: &Connection) -> Result<u64, RecordError> {
    from_sql(connection.query_row("SELECT COUNT(*) FROM releases", [], |row| row.get(0))?)
}

const fn state_text(state: ReleaseState) -> &'static str {
    match state {
        ReleaseState::Live => "live",
        ReleaseState::Withdrawn => "withdrawn",
    }
}

fn state(text: &str) -> Result<ReleaseState, RecordError> {
    match text {
        "live" => Ok(ReleaseState::Live),
        "withdrawn" => Ok(ReleaseState::Withdrawn),
        _ => Err(RecordError::Damaged { what: "release state" }),
    }
}

fn read_row(row: &Row<'_>) -> Result<ReleaseRow, RecordError> {
    let (product, platform, version): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let (manifest, state_column): (Vec<u8>, String) = (row.get(4)?, row.get(9)?);
    Ok(ReleaseRow {
        id: row.get(0)?,
        release: Release {
            product: name(&product, "product")?,
            platform: name(&platform, "platform")?,
            version: name(&version, "version")?,
            manifest: blob_id(&manifest)?,
            manifest_bytes: from_sql(row.get(5)?)?,
            content_bytes: from_sql(row.get(6)?)?,
            entry_count: from_sql(row.get(7)?)?,
            registered: UnixSeconds(from_sql(row.get(8)?)?),
            state: state(&state_column)?,
        },
    })
}

fn read_member(row: &Row<'_>) -> Result<BlobMember, RecordError> {
    let (blob, component, group): (Vec<u8>, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(BlobMember {
        blob: blob_id(&blob)?,
        component: name(&component, "component")?,
        group: name(&group, "access group")?,
    })
}

fn read_use(row: &Row<'_>) -> Result<BlobUseRow, RecordError> {
    let (product, access, state_column): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (group, version): (String, String) = (row.get(3)?, row.get(4)?);
    Ok(BlobUseRow {
        known: KnownUse {
            product: name(&product, "product")?,
            access: access_class(&access)?,
            state: state(&state_column)?,
            group: name(&group, "access group")?,
        },
        version: name(&version, "version")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{blobs, products};
    use penstock_core::blob::BlobSize;
    use penstock_core::catalog::{AccessClass, Product};
    use penstock_core::id::ComponentName;

    /// Between the look at the store and the transaction somebody may remove a blob.
    #[test]
    fn a_release_cannot_refer_to_a_blob_that_was_removed() {
        let mut db = Connection::open_in_memory().expect("memory database");
        db.pragma_update(None, "foreign_keys", true).expect("pragma");
        crate::schema::migrate(&mut db, UnixSeconds(5)).expect("migrated");
        let id = ProductId::new("game").expect("name");
        let product =
            Product { id: id.clone(), title: String::new(), access: AccessClass::Open, export_class: String::new() };
        products::put(&db, &product, UnixSeconds(5)).expect("product");
        let (manifest, pack) = (BlobId::of(b"manifest"), BlobId::of(b"pack"));
        let release = Release {
            product: id,
            platform: Platform::any(),
            version: Version::new("1").expect("name"),
            manifest,
            manifest_bytes: 1,
            content_bytes: 1,
            entry_count: 1,
            registered: UnixSeconds(5),
            state: ReleaseState::Live,
        };
        let member = |blob| BlobMember { blob, component: ComponentName::base(), group: AccessGroup::base() };
        let members = [member(manifest), member(pack)];
        let refused = |error| matches!(error, Err(RecordError::NoBlob(blob)) if blob == pack);
        let add = |blob| blobs::add(&db, blob, BlobSize(1), UnixSeconds(5)).expect("added");
        assert!(matches!(insert(&db, &release, &members), Err(RecordError::NoBlob(blob)) if blob == manifest));
        add(manifest);
        assert!(refused(insert(&db, &release, &members)));
        db.execute("DELETE FROM release_blobs", []).expect("as a rollback would");
        db.execute("DELETE FROM releases", []).expect("as a rollback would");
        add(pack);
        insert(&db, &release, &members).expect("all there");
        let ask = |product: &str, group: &str| {
            let (product, group) = (ProductId::new(product).expect("name"), AccessGroup::new(group).expect("name"));
            used_otherwise(&db, &product, &group, &[BlobId::of(b"x"), pack]).expect("asked")
        };
        assert_eq!(ask("game", "base"), [], "its own");
        assert_eq!(ask("game", "owners"), [], "an add-on may use the base's");
        assert_eq!(ask("other", "base"), [pack]);
        assert_eq!(blobs::unknown(&db, [manifest, BlobId::of(b"x"), pack]).expect("asked"), [BlobId::of(b"x")]);
    }
}
