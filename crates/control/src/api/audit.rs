//! `/admin/v1/audit`, `/admin/v1/audit/verify`.

use super::extract::{Answer, QueryOf};
use super::table::{Routes, get};
use crate::audit;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::permit::Permission;
use crate::record::audit::Filter;
use axum::extract::State;
use http::StatusCode;
use penstock_core::audit::{AuditAnswer, AuditVerified};
use serde::Deserialize;

pub(super) fn routes() -> Routes {
    Routes::new()
        .add(get("/admin/v1/audit", Permission::AuditRead, "Who changed what, oldest first, page by page", list))
        .add(get("/admin/v1/audit/verify", Permission::AuditRead, "Whether the audit's chain holds", verify))
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    /// Entries with larger numbers only.
    #[serde(default)]
    after: u64,
    limit: Option<u64>,
    /// Entries about this, such as `account/alice`, or about anything below it.
    subject: Option<String>,
    /// Entries by this actor.
    actor: Option<String>,
}

async fn list(
    State(handle): State<Handle>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Answer<AuditAnswer>, CallError> {
    let PageQuery { after, limit, subject, actor } = query;
    let filter = Filter { after, subject, actor };
    let page = handle.run(Lane::Read, move |node| audit::page(node, &filter, limit)).await?;
    Ok(Answer(StatusCode::OK, page))
}

/// Long, and only reads: not beside more than one other long check.
async fn verify(State(handle): State<Handle>) -> Result<Answer<AuditVerified>, CallError> {
    Ok(Answer(StatusCode::OK, handle.run(Lane::Check, audit::verify).await?))
}
