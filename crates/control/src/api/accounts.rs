//! `/admin/v1/accounts`, `…/{id}`, `…/{id}/devices/{device}`, `…/{id}/agreements/{agreement}`, `/admin/v1/entitlements`, `…/{id}`, `/admin/v1/imports`,
//! `/admin/v1/snapshots`.

use super::extract::{Answer, JsonOf, PathOf, QueryOf, Tagged};
use super::products::status;
use super::table::{Routes, delete, get, post, put};
use crate::accounts;
use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::{Handle, Lane};
use crate::entitlements;
use crate::error::CallError;
use crate::imports;
use crate::permit::Permission;
use crate::snapshots;
use axum::extract::State;
use http::StatusCode;
use penstock_core::account::AccountId;
use penstock_core::desk::{
    AccountDetail, AccountsAnswer, AccountsQuery, Entitlement, EntitlementsAnswer, EntitlementsQuery, ImportAnswer,
    PostEntitlement, PostImport, PutAcceptance, PutAccount, SnapshotAnswer,
};

pub(super) fn routes() -> Routes {
    let (account_of, entitlement_of) = ("/admin/v1/accounts/{id}", "/admin/v1/entitlements/{id}");
    let device_of = "/admin/v1/accounts/{id}/devices/{device}";
    let agreement_of = "/admin/v1/accounts/{id}/agreements/{agreement}";
    Routes::new()
        .add(get("/admin/v1/accounts", Permission::AccountsRead, "List accounts, page by page", list))
        .add(get(account_of, Permission::AccountsRead, "Show an account and what it was given", show))
        .add(put(account_of, Permission::AccountsPut, "Make an account or change it", put_account).answers(&[200, 201]))
        .add(put(device_of, Permission::DevicesWrite, "Register a device", put_device).answers(&[200, 201]))
        .add(delete(device_of, Permission::DevicesWrite, "Take a device away", remove_device))
        .add(
            put(agreement_of, Permission::AccountsWrite, "Note that an agreement was accepted", accept)
                .answers(&[200, 201]),
        )
        .add(get(
            "/admin/v1/entitlements",
            Permission::AccountsRead,
            "List entitlements, page by page",
            list_entitlements,
        ))
        .add(
            post("/admin/v1/entitlements", Permission::EntitlementsWrite, "Give a product to an account", grant)
                .answers(&[201]),
        )
        .add(get(entitlement_of, Permission::AccountsRead, "Show an entitlement", entitlement))
        .add(delete(entitlement_of, Permission::EntitlementsWrite, "Take an entitlement back", revoke))
        .add(post("/admin/v1/imports", Permission::EntitlementsWrite, "Import accounts and entitlements", import))
        .add(
            post("/admin/v1/snapshots", Permission::SnapshotsWrite, "Write all accounts down for edges", snapshot)
                .answers(&[201]),
        )
}

async fn list(
    State(handle): State<Handle>,
    QueryOf(wanted): QueryOf<AccountsQuery>,
) -> Result<Answer<AccountsAnswer>, CallError> {
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, move |node| accounts::page(node, &wanted)).await?))
}

async fn list_entitlements(
    State(handle): State<Handle>,
    QueryOf(wanted): QueryOf<EntitlementsQuery>,
) -> Result<Answer<EntitlementsAnswer>, CallError> {
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, move |node| entitlements::page(node, &wanted)).await?))
}

async fn show(State(handle): State<Handle>, PathOf(id): PathOf<AccountId>) -> Result<Tagged<AccountDetail>, CallError> {
    let detail = handle.run(Lane::Read, move |node| accounts::get(node, &id)).await?;
    Ok(Tagged(StatusCode::OK, detail))
}

/// 201 for a new account, 200 for one that was there.
async fn put_account(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(id): PathOf<AccountId>,
    JsonOf(wanted): JsonOf<PutAccount>,
) -> Result<Tagged<AccountDetail>, CallError> {
    let (detail, made) =
        handle.run(Lane::Write, move |node| accounts::put(node, &actor, &condition, id, &wanted)).await?;
    Ok(Tagged(status(made), detail))
}

/// 201 for a new device, 200 for one that was there.
async fn put_device(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf((id, device)): PathOf<(AccountId, String)>,
) -> Result<Tagged<AccountDetail>, CallError> {
    let (detail, made) = handle.run(Lane::Write, move |node| accounts::put_device(node, &actor, &id, &device)).await?;
    Ok(Tagged(status(made), detail))
}

async fn remove_device(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf((id, device)): PathOf<(AccountId, String)>,
) -> Result<Tagged<AccountDetail>, CallError> {
    let detail = handle.run(Lane::Write, move |node| accounts::remove_device(node, &actor, &id, &device)).await?;
    Ok(Tagged(StatusCode::OK, detail))
}

/// 201 for an agreement that was not accepted before, else 200.
async fn accept(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf((id, agreement)): PathOf<(AccountId, String)>,
    JsonOf(wanted): JsonOf<PutAcceptance>,
) -> Result<Tagged<AccountDetail>, CallError> {
    let accept = move |node: &_| accounts::accept(node, &actor, &id, &agreement, &wanted);
    let (detail, made) = handle.run(Lane::Write, accept).await?;
    Ok(Tagged(status(made), detail))
}

async fn grant(
    State(handle): State<Handle>,
    actor: Actor,
    JsonOf(wanted): JsonOf<PostEntitlement>,
) -> Result<Tagged<Entitlement>, CallError> {
    let made = handle.run(Lane::Write, move |node| entitlements::grant(node, &actor, &wanted)).await?;
    Ok(Tagged(StatusCode::CREATED, made))
}

async fn entitlement(State(handle): State<Handle>, PathOf(id): PathOf<u64>) -> Result<Tagged<Entitlement>, CallError> {
    let found = handle.run(Lane::Read, move |node| entitlements::get(node, id)).await?;
    Ok(Tagged(StatusCode::OK, found))
}

async fn revoke(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(id): PathOf<u64>,
) -> Result<Tagged<Entitlement>, CallError> {
    let revoked = handle.run(Lane::Write, move |node| entitlements::revoke(node, &actor, &condition, id)).await?;
    Ok(Tagged(StatusCode::OK, revoked))
}

/// Lines that are refused are named in the answer, which is a success all the same: the others were taken.
async fn import(
    State(handle): State<Handle>,
    actor: Actor,
    JsonOf(wanted): JsonOf<PostImport>,
) -> Result<Answer<ImportAnswer>, CallError> {
    let answer = handle.run(Lane::Write, move |node| imports::take(node, &actor, &wanted.lines)).await?;
    Ok(Answer(StatusCode::OK, answer))
}

/// Long, but most of it only reads: other changes get between.
async fn snapshot(State(handle): State<Handle>) -> Result<Answer<SnapshotAnswer>, CallError> {
    let made = handle.run(Lane::Check, |node| snapshots::make(node, node.now())).await?;
    Ok(Answer(StatusCode::CREATED, SnapshotAnswer { sequence: made.sequence, blob: made.blob }))
}
