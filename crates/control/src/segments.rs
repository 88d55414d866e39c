//! Segments: make, change, list, remove, and who is in. Ids of a list are kept as they were given and told as pseudonyms.

use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::Node;
use crate::error::CallError;
use crate::products::Made;
use crate::record::audit::Deed;
use crate::record::{accounts, rollouts, segments};
use crate::sql::Connection;
use crate::state::Teller;
use penstock_core::account::PseudonymKey;
use penstock_core::catalog::CatalogChange;
use penstock_core::desk::policy::{
    PutSegment, RuleKind, SegmentDetail, SegmentRow, SegmentVerdict, SegmentsAnswer, TestSegment,
};
use penstock_core::id::SegmentName;
use penstock_core::limits::SUBJECT_BYTES_MAX;
use penstock_core::segment::{Attributes, Rule, Segment};

/// Segments of one system: each is looked at when an edge learns of an account.
const SEGMENTS_MAX: u64 = 256;
/// Ids of one list: they travel in one change, of some 4 MB.
const LIST_IDS_MAX: usize = 100_000;
/// Ids of all lists together: every edge keeps them, in about 100 bytes each.
const ALL_IDS_MAX: u64 = 1_000_000;
/// Largest other rule, in bytes of JSON.
const RULE_BYTES_MAX: usize = 1 << 20;

/// Makes a segment or replaces its rule. The same rule again changes nothing.
pub(crate) fn put(
    node: &Node,
    actor: &Actor,
    condition: &Condition,
    name: SegmentName,
    wanted: PutSegment,
) -> Result<(SegmentDetail, Made), CallError> {
    actor.require_no_limit()?;
    let rule = wanted.rule;
    check(&name, &rule)?;
    let listed = match &rule {
        Rule::List(ids) => ids.len() as u64,
        Rule::Where(_) | Rule::Score { .. } => 0,
    };
    node.record.write(actor, node.now(), |batch| {
        let known = segments::get(batch.connection(), &name)?;
        condition.check(known.as_ref())?;
        let made = if known.is_some() { Made::Before } else { Made::New };
        if let Some(known) = known.as_ref().filter(|known| known.rule == rule) {
            return Ok((known.clone(), made));
        }
        let others = segments::totals_without(batch.connection(), &name)?;
        if others.segments >= SEGMENTS_MAX {
            return Err(CallError::TooLarge { what: "the segments of one system", max: SEGMENTS_MAX });
        }
        if others.listed + listed > ALL_IDS_MAX {
            return Err(CallError::TooLarge { what: "the ids of all segments' lists together", max: ALL_IDS_MAX });
        }
        let version = segments::next_version(batch.connection())?;
        let row = SegmentRow { name, version, kind: RuleKind::of(&rule), listed, changed: batch.now() };
        let segment = SegmentDetail { row, rule };
        segments::put(batch.connection(), &segment)?;
        let deed = Deed::new("segment.put", subject(&segment.row.name));
        batch.audit(&deed.change(known.as_ref(), &segment)?)?;
        batch.tell(told(&segment, &node.keys.pseudonyms))?;
        Ok((segment, made))
    })
}

/// One segment with its rule.
pub(crate) fn get(node: &Node, name: &SegmentName) -> Result<SegmentDetail, CallError> {
    node.record.read(|connection| find(connection, name))
}

/// All segments, by name.
pub(crate) fn list(node: &Node) -> Result<SegmentsAnswer, CallError> {
    node.record.read(|connection| {
        let mut rows = Vec::new();
        segments::each(connection, |segment| {
            rows.push(segment.row);
            Ok::<_, CallError>(())
        })?;
        Ok(SegmentsAnswer { segments: rows })
    })
}

/// Removes a segment that nothing refers to.
pub(crate) fn remove(
    node: &Node,
    actor: &Actor,
    condition: &Condition,
    name: &SegmentName,
) -> Result<SegmentDetail, CallError> {
    actor.require_no_limit()?;
    node.record.write(actor, node.now(), |batch| {
        let known = find(batch.connection(), name)?;
        condition.check(Some(&known))?;
        if let Some(row) = rollouts::naming(batch.connection(), name)? {
            let (segment, product, channel) = (name.clone(), row.product, row.channel);
            return Err(CallError::SegmentInUse { segment, product, channel });
        }
        segments::remove(batch.connection(), name)?;
        batch.audit(&Deed::new("segment.remove", subject(name)).before(&known)?)?;
        batch.tell(CatalogChange::SegmentGone { name: name.clone() })?;
        Ok(known)
    })
}

/// Whether an account or an install is in, and why.
pub(crate) fn test(node: &Node, name: &SegmentName, wanted: &TestSegment) -> Result<SegmentVerdict, CallError> {
    if wanted.account.is_none() && wanted.install.is_none() {
        return Err(CallError::Malformed("name an account or an install".to_owned()));
    }
    node.record.read(|connection| {
        let SegmentDetail { row, rule } = find(connection, name)?;
        let attributes = match &wanted.account {
            Some(id) => accounts::get(connection, id)?.ok_or_else(|| CallError::NoAccount(id.clone()))?.attributes,
            None => Attributes::new(),
        };
        let ids = [wanted.account.as_ref().map(|id| id.as_str()), wanted.install.as_deref()];
        let ids: Vec<&str> = ids.into_iter().flatten().collect();
        let segment = Segment { name: row.name, version: row.version, rule };
        let (is_in, reason) = segment.explain(&ids, &attributes);
        Ok(SegmentVerdict { name: segment.name, version: segment.version, is_in, reason })
    })
}

/// Tells all segments.
pub(crate) fn tell_all(
    node: &Node,
    connection: &Connection,
    newest: u64,
    tell: &mut Teller<'_>,
) -> Result<(), CallError> {
    segments::each(connection, |segment| tell(newest, told(&segment, &node.keys.pseudonyms)))
}

/// The segment, or the error that says how to make it.
fn find(connection: &Connection, name: &SegmentName) -> Result<SegmentDetail, CallError> {
    segments::get(connection, name)?.ok_or_else(|| CallError::NoSegment(name.clone()))
}

/// That all these segments are there.
pub(crate) fn check_there<'a>(
    connection: &Connection,
    names: impl IntoIterator<Item = &'a SegmentName>,
) -> Result<(), CallError> {
    names.into_iter().try_for_each(|name| find(connection, name).map(drop))
}

fn subject(name: &SegmentName) -> String {
    format!("segment/{name}")
}

/// What edges learn of a segment.
fn told(segment: &SegmentDetail, pseudonyms: &PseudonymKey) -> CatalogChange {
    let rule = match &segment.rule {
        Rule::List(ids) => Rule::List(ids.iter().map(|id| pseudonyms.account(id).to_string()).collect()),
        other => other.clone(),
    };
    CatalogChange::Segment(Segment { name: segment.row.name.clone(), version: segment.row.version, rule })
}

fn check(name: &SegmentName, rule: &Rule) -> Result<(), CallError> {
    let segment = Segment { name: name.clone(), version: 0, rule: rule.clone() };
    segment.check().map_err(|error| CallError::Malformed(format!("rule: {error}")))?;
    if let Rule::List(ids) = rule {
        if ids.len() > LIST_IDS_MAX {
            return Err(CallError::TooLarge { what: "the ids of one segment's list", max: LIST_IDS_MAX as u64 });
        }
        let is_id = |id: &String| !id.is_empty() && id.len() <= SUBJECT_BYTES_MAX && !id.chars().any(char::is_control);
        if !ids.iter().all(is_id) {
            let words = format!("rule.list: each id has 1 to {SUBJECT_BYTES_MAX} bytes and no control characters");
            return Err(CallError::Malformed(words));
        }
        return Ok(());
    }
    let bytes = serde_json::to_vec(rule).map_or(usize::MAX, |text| text.len());
    if bytes > RULE_BYTES_MAX {
        return Err(CallError::TooLarge { what: "the bytes of a segment's rule", max: RULE_BYTES_MAX as u64 });
    }
    Ok(())
}
