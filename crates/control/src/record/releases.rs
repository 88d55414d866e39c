//! Rows of `releases` and `release_blobs`.

use super::blobs::{self, ASKED_AT_ONCE, bound, numbered, read_name};
use super::filter::Select;
use super::{RecordError, blob_id, from_sql, name, next_number, to_sql};
use crate::audience::KnownUse;
use crate::sql::{Connection, Row, SqlErrorKind, Value, placeholders, values};
use penstock_core::audience::Audience;
use penstock_core::blob::BlobId;
use penstock_core::catalog::{BlobMember, Release, ReleaseState};
use penstock_core::desk::IncompleteRelease;
use penstock_core::desk::ReleasesQuery;
use penstock_core::id::{Platform, ProductId, Version};
use penstock_core::limits::{PAGE_ROWS_MAX, RELEASES_LISTED_MAX};
use penstock_core::time::UnixSeconds;
use std::collections::{BTreeMap, BTreeSet};

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
    connection.query_optional(&sql, values![product.as_str(), platform.as_str(), version.as_str()], read_row)
}

/// A product's releases, newest first.
pub(crate) fn list(
    connection: &Connection,
    product: &ProductId,
    wanted: &ReleasesQuery,
) -> Result<Vec<ReleaseRow>, RecordError> {
    let mut select = Select::new(format!("SELECT {COLUMNS} FROM releases WHERE product ="), product.as_str());
    select.and("state =", wanted.state.map(state_text));
    select.and("platform =", wanted.platform.as_ref().map(Platform::as_str));
    select.rows(connection, "id DESC", to_sql(RELEASES_LISTED_MAX as u64)?, read_row)
}

/// Every release, oldest first: the replay.
pub(crate) fn all(connection: &Connection) -> Result<Vec<ReleaseRow>, RecordError> {
    connection.query(&format!("SELECT {COLUMNS} FROM releases ORDER BY id"), &[], read_row)
}

/// A release's blobs, by name.
pub(crate) fn members(connection: &Connection, id: i64) -> Result<Vec<BlobMember>, RecordError> {
    let sql =
        "SELECT blob, component, access_group, whole FROM release_blobs WHERE release_id = $1 ORDER BY blob, component";
    connection.query(sql, values![id], read_member)
}

/// Writes a new release and its blobs, which `blobs` knows already; one that was removed meanwhile
/// is refused by the database itself, so nobody needs to look before.
pub(crate) fn insert(connection: &Connection, release: &Release, members: &[BlobMember]) -> Result<i64, RecordError> {
    let id = next_number(connection, "releases")?;
    let release_row = values![
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
    ];
    let sql = format!("INSERT INTO releases ({COLUMNS}) VALUES {}", placeholders(1, release_row.len()));
    refer(connection, &sql, release_row, &[release.manifest])?;
    for some in members.chunks(ASKED_AT_ONCE) {
        let sql = format!(
            "INSERT INTO release_blobs (release_id, blob, component, access_group, whole) VALUES {}",
            placeholders(some.len(), 5)
        );
        let mut rows: Vec<Value<'_>> = Vec::with_capacity(some.len() * 5);
        for member in some {
            let (component, group) = (member.component.as_str(), member.group.as_str());
            rows.extend(values![id, member.blob.as_bytes(), component, group, i64::from(member.whole)]);
        }
        let blobs: Vec<BlobId> = some.iter().map(|member| member.blob).collect();
        refer(connection, &sql, &rows, &blobs)?;
    }
    Ok(id)
}

/// Writes rows that refer to `blobs`. The database refuses all of them when one is not there, and
/// then it is looked up which.
fn refer(connection: &Connection, sql: &str, rows: &[Value<'_>], blobs: &[BlobId]) -> Result<(), RecordError> {
    let error = match connection.attempt(|| connection.execute(sql, rows)) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    if error.kind() == SqlErrorKind::ForeignKey
        && let Some(missing) = blobs::unknown(connection, blobs.iter().copied())?.first()
    {
        return Err(RecordError::NoBlob(*missing));
    }
    Err(error.into())
}

/// Changes whether a release may be fetched.
pub(crate) fn set_state(connection: &Connection, id: i64, state: ReleaseState) -> Result<(), RecordError> {
    connection.execute("UPDATE releases SET state = $1 WHERE id = $2", values![state_text(state), id])?;
    Ok(())
}

/// Of `blobs`, wanted by `product` for `audience`, those that some release uses and none of the same
/// product for an audience that covers it: the few that [`crate::audience`] must judge one by one.
///
/// Asked for many at a time, because a large release has 100,000 blobs, nearly all of them its own.
pub(crate) fn used_otherwise(
    connection: &Connection,
    product: &ProductId,
    audience: &Audience<'_>,
    blobs: &[BlobId],
) -> Result<Vec<BlobId>, RecordError> {
    let mut found = Vec::new();
    for some in blobs.chunks(ASKED_AT_ONCE) {
        let (product_at, component_at, group_at) = (some.len() + 1, some.len() + 2, some.len() + 3);
        let sql = format!(
            "SELECT DISTINCT u.blob FROM release_blobs u
             WHERE u.blob IN ({}) AND NOT EXISTS (
                 SELECT 1 FROM release_blobs b JOIN releases r ON r.id = b.release_id
                 WHERE b.blob = u.blob AND r.product = ${product_at}
                 AND b.component IN ('base', ${component_at}) AND b.access_group IN ('base', ${group_at}))",
            numbered(some.len())
        );
        let mut parameters = bound(some);
        parameters.extend(values![product.as_str(), audience.component.as_str(), audience.group.as_str()]);
        found.extend(connection.query(&sql, &parameters, read_name)?);
    }
    Ok(found)
}

/// Every use of a blob by a release, oldest first, uses by one audience once.
pub(crate) fn uses_of(connection: &Connection, blob: BlobId) -> Result<Vec<BlobUseRow>, RecordError> {
    let sql = "SELECT r.product, b.component, b.access_group, r.version
         FROM release_blobs b JOIN releases r ON r.id = b.release_id WHERE b.blob = $1 ORDER BY r.id";
    let mut uses: Vec<BlobUseRow> = Vec::new();
    connection.for_each(sql, values![blob.as_bytes()], |row| {
        let row = read_use(row)?;
        if !uses.iter().any(|seen| seen.known == row.known) {
            uses.push(row);
        }
        Ok::<_, RecordError>(())
    })?;
    Ok(uses)
}

/// Of `blobs`, those that some release lists.
pub(crate) fn listed(connection: &Connection, blobs: &[BlobId]) -> Result<BTreeSet<BlobId>, RecordError> {
    let mut found = BTreeSet::new();
    for some in blobs.chunks(ASKED_AT_ONCE) {
        let sql = format!("SELECT DISTINCT blob FROM release_blobs WHERE blob IN ({})", numbered(some.len()));
        found.extend(connection.query(&sql, &bound(some), read_name)?);
    }
    Ok(found)
}

/// A release that all of a blob is content of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) release: i64,
    pub(crate) platform: Platform,
    pub(crate) version: Version,
}

/// Of each of `blobs`, the releases of a product that all of it is content of, oldest first.
pub(crate) fn filled(
    connection: &Connection,
    product: &ProductId,
    blobs: &[BlobId],
) -> Result<BTreeMap<BlobId, Vec<Filled>>, RecordError> {
    let mut found: BTreeMap<BlobId, Vec<Filled>> = BTreeMap::new();
    for some in blobs.chunks(ASKED_AT_ONCE) {
        let sql = format!(
            "SELECT b.blob, r.id, r.platform, r.version FROM release_blobs b JOIN releases r ON r.id = b.release_id
             WHERE b.blob IN ({}) AND b.whole = 1 AND r.product = ${} ORDER BY r.id",
            numbered(some.len()),
            some.len() + 1
        );
        let mut parameters = bound(some);
        parameters.extend(values![product.as_str()]);
        connection.for_each(&sql, &parameters, |row| {
            let (platform, version): (String, String) = (row.get(2)?, row.get(3)?);
            found.entry(read_name(row)?).or_default().push(Filled {
                release: row.get(1)?,
                platform: name(&platform, "platform")?,
                version: name(&version, "version")?,
            });
            Ok::<_, RecordError>(())
        })?;
    }
    Ok(found)
}

/// Releases that refer to any of `missing`, with how many and one of them.
pub(crate) fn incomplete(
    connection: &Connection,
    missing: &BTreeSet<BlobId>,
) -> Result<Vec<IncompleteRelease>, RecordError> {
    let mut found: Vec<IncompleteRelease> = Vec::new();
    let sql = "SELECT DISTINCT r.id, r.product, r.platform, r.version
         FROM release_blobs b JOIN releases r ON r.id = b.release_id WHERE b.blob = $1 ORDER BY r.id";
    for blob in missing {
        let rows = connection.query(sql, values![blob.as_bytes()], |row| {
            let product: ProductId = name(&row.get::<String>(1)?, "product")?;
            let platform: Platform = name(&row.get::<String>(2)?, "platform")?;
            Ok::<_, RecordError>((product, platform, name::<Version>(&row.get::<String>(3)?, "version")?))
        })?;
        for (product, platform, version) in rows {
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
    from_sql(connection.query_value("SELECT COUNT(*) FROM releases", &[])?)
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
        whole: row.get::<i64>(3)? == 1,
    })
}

fn read_use(row: &Row<'_>) -> Result<BlobUseRow, RecordError> {
    let (product, component): (String, String) = (row.get(0)?, row.get(1)?);
    let (group, version): (String, String) = (row.get(2)?, row.get(3)?);
    Ok(BlobUseRow {
        known: KnownUse {
            product: name(&product, "product")?,
            component: name(&component, "component")?,
            group: name(&group, "access group")?,
        },
        version: name(&version, "version")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{blobs, products};
    use crate::sql::Access;
    use crate::sql::tests::writers;
    use penstock_core::blob::BlobSize;
    use penstock_core::catalog::{AccessClass, Product};
    use penstock_core::id::{AccessGroup, ComponentName};

    /// Between the look at the store and the transaction somebody may remove a blob.
    #[test]
    fn a_release_cannot_refer_to_a_blob_that_was_removed() {
        for (_dir, _source, db) in writers() {
            crate::schema::migrate(&db, UnixSeconds(5)).expect("migrated");
            let db = db.transaction(Access::Write).expect("begins");
            check_references(&db);
        }
    }

    fn check_references(db: &Connection) {
        let id = ProductId::new("game").expect("name");
        let product =
            Product { id: id.clone(), title: String::new(), access: AccessClass::Open, export_class: String::new() };
        products::put(db, &product, UnixSeconds(5)).expect("product");
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
        let member =
            |blob| BlobMember { blob, component: ComponentName::base(), group: AccessGroup::base(), whole: true };
        let members = [member(manifest), member(pack)];
        let refused = |error| matches!(error, Err(RecordError::NoBlob(blob)) if blob == pack);
        let add = |blob| blobs::add(db, blob, BlobSize(1), UnixSeconds(5)).expect("added");
        assert!(matches!(insert(db, &release, &members), Err(RecordError::NoBlob(blob)) if blob == manifest));
        add(manifest);
        assert!(refused(insert(db, &release, &members)));
        db.execute("DELETE FROM release_blobs", &[]).expect("as a rollback would");
        db.execute("DELETE FROM releases", &[]).expect("as a rollback would");
        add(pack);
        // More than fit in one statement, the last of them unknown.
        let mut many: Vec<BlobMember> =
            (0..2 * ASKED_AT_ONCE as u64).map(|n| member(BlobId::of(&n.to_le_bytes()))).collect();
        many.iter().for_each(|member| add(member.blob));
        let last = BlobId::of(b"last");
        many.push(member(last));
        assert!(matches!(insert(db, &release, &many), Err(RecordError::NoBlob(blob)) if blob == last));
        db.execute("DELETE FROM release_blobs", &[]).expect("as a rollback would");
        db.execute("DELETE FROM releases", &[]).expect("as a rollback would");
        let id = insert(db, &release, &members).expect("all there");
        assert_eq!(super::members(db, id).expect("listed").len(), 2);
        let ask = |product: &str, component: &str, group: &str, blob| {
            let (product, group) = (ProductId::new(product).expect("name"), AccessGroup::new(group).expect("name"));
            let component = ComponentName::new(component).expect("name");
            let audience = Audience { component: &component, group: &group };
            used_otherwise(db, &product, &audience, &[BlobId::of(b"x"), blob]).expect("asked")
        };
        assert_eq!(ask("game", "base", "base", pack), [], "its own");
        assert_eq!(ask("game", "dlc", "owners", pack), [], "an add-on may use the base's");
        assert_eq!(ask("other", "base", "base", pack), [pack]);
        let add_on = BlobId::of(b"add-on");
        add(add_on);
        let (version, component) = (Version::new("2").expect("name"), ComponentName::new("dlc").expect("name"));
        let member = BlobMember { blob: add_on, component, group: AccessGroup::base(), whole: true };
        insert(db, &Release { version, ..release }, &[member]).expect("all there");
        assert_eq!(ask("game", "dlc", "base", add_on), [], "its own");
        assert_eq!(ask("game", "dlc", "owners", add_on), [], "it is sold now");
        for (component, group) in [("base", "base"), ("lang", "base"), ("lang", "owners")] {
            assert_eq!(ask("game", component, group, add_on), [add_on], "{component} {group}");
        }
        assert_eq!(blobs::unknown(db, [manifest, BlobId::of(b"x"), pack]).expect("asked"), [BlobId::of(b"x")]);
    }
}
