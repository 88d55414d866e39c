//! `/admin/v1/own/…`: what a company's or a reseller's credential may do, always for the account that it names.
//!
//! The same operations as for the studio's desk: whose users, seats, customers and allocations they reach, and which names
//! new accounts may have, is decided there, by [`penstock_core::delegate`].

use super::extract::{Answer, JsonOf, PageQuery, PathOf, QueryOf};
use super::people::{give_seat, seats, take_seat};
use super::products::status;
use super::table::{Routes, delete, get, post, put};
use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::permit::Permission::{Delegated, DelegatedSales, DelegatedUsers};
use crate::{accounts, entitlements, minting, people, resellers};
use axum::extract::State;
use http::StatusCode;
use penstock_core::account::AccountId;
use penstock_core::api::{MintToken, TokenAnswer};
use penstock_core::desk::{
    Account, AccountDetail, AccountsAnswer, AllocationsAnswer, Entitlement, PostEntitlement, PutCustomer, PutUser,
    User, UsersAnswer,
};

pub(super) fn routes() -> Routes {
    let (user, seat) = ("/admin/v1/own/users/{user}", "/admin/v1/own/entitlements/{id}/seats/{user}");
    let customer = "/admin/v1/own/customers/{customer}";
    Routes::new()
        .add(get("/admin/v1/own", Delegated, "Show the credential's account and what it was given", show))
        .add(
            post("/admin/v1/own/tokens", Delegated, "Sign a token for an own user or customer", mint)
                .answers(&[201])
                .secret(),
        )
        .add(get("/admin/v1/own/users", DelegatedUsers, "List the company's users, page by page", users))
        .add(
            put(user, DelegatedUsers, "Make an account a user of the company, or change its role", put_user)
                .answers(&[200, 201]),
        )
        .add(delete(user, DelegatedUsers, "End a user's belonging to the company, seats included", remove_user))
        .add(get("/admin/v1/own/entitlements/{id}/seats", DelegatedUsers, "List who has seats, page by page", seats))
        .add(put(seat, DelegatedUsers, "Give a seat to a user of the company", give_seat).answers(&[200, 201]))
        .add(delete(seat, DelegatedUsers, "Take a seat back", take_seat))
        .add(get("/admin/v1/own/customers", DelegatedSales, "List the reseller's customers, page by page", customers))
        .add(
            put(customer, DelegatedSales, "Make an account a customer of the reseller", put_customer)
                .answers(&[200, 201]),
        )
        .add(delete(customer, DelegatedSales, "End an account's being a customer", remove_customer))
        .add(get("/admin/v1/own/allocations", DelegatedSales, "List what the reseller may give", allocations))
        .add(
            post("/admin/v1/own/entitlements", DelegatedSales, "Give something out of an allocation", grant)
                .answers(&[201]),
        )
        .add(delete("/admin/v1/own/entitlements/{id}", DelegatedSales, "Take back what was given out of one", revoke))
}

/// The account that the credential names.
fn own(actor: &Actor) -> Result<AccountId, CallError> {
    actor.account().cloned().ok_or_else(|| CallError::Forbidden(actor.role()))
}

async fn show(State(handle): State<Handle>, actor: Actor) -> Result<Answer<AccountDetail>, CallError> {
    let own = own(&actor)?;
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, move |node| accounts::get(node, &own)).await?))
}

async fn mint(
    State(handle): State<Handle>,
    actor: Actor,
    JsonOf(wanted): JsonOf<MintToken>,
) -> Result<Answer<TokenAnswer>, CallError> {
    let minted = handle.run(Lane::Read, move |node| minting::mint(node, &actor, &wanted)).await?;
    Ok(Answer(StatusCode::CREATED, minted))
}

async fn users(
    State(handle): State<Handle>,
    actor: Actor,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Answer<UsersAnswer>, CallError> {
    let own = own(&actor)?;
    let page = move |node: &_| people::users(node, &actor, &own, query.after.as_ref(), query.limit);
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, page).await?))
}

/// 201 for a new user, 200 for one that was there.
async fn put_user(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(user): PathOf<AccountId>,
    JsonOf(wanted): JsonOf<PutUser>,
) -> Result<Answer<User>, CallError> {
    let own = own(&actor)?;
    let put = move |node: &_| people::put_user(node, &actor, &own, &user, &wanted);
    let (user, made) = handle.run(Lane::Write, put).await?;
    Ok(Answer(status(made), user))
}

async fn remove_user(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(user): PathOf<AccountId>,
) -> Result<Answer<User>, CallError> {
    let own = own(&actor)?;
    let removed = handle.run(Lane::Write, move |node| people::remove_user(node, &actor, &own, &user)).await?;
    Ok(Answer(StatusCode::OK, removed))
}

async fn customers(
    State(handle): State<Handle>,
    actor: Actor,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Answer<AccountsAnswer>, CallError> {
    let own = own(&actor)?;
    let page = move |node: &_| resellers::customers(node, &actor, &own, query.after.as_ref(), query.limit);
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, page).await?))
}

/// 201 for a new customer, 200 for one that was there.
async fn put_customer(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(customer): PathOf<AccountId>,
    JsonOf(wanted): JsonOf<PutCustomer>,
) -> Result<Answer<Account>, CallError> {
    let own = own(&actor)?;
    let put = move |node: &_| resellers::put_customer(node, &actor, &own, &customer, &wanted);
    let (customer, made) = handle.run(Lane::Write, put).await?;
    Ok(Answer(status(made), customer))
}

async fn remove_customer(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(customer): PathOf<AccountId>,
) -> Result<Answer<Account>, CallError> {
    let own = own(&actor)?;
    let remove = move |node: &_| resellers::remove_customer(node, &actor, &own, &customer);
    Ok(Answer(StatusCode::OK, handle.run(Lane::Write, remove).await?))
}

async fn allocations(State(handle): State<Handle>, actor: Actor) -> Result<Answer<AllocationsAnswer>, CallError> {
    let own = own(&actor)?;
    let list = handle.run(Lane::Read, move |node| resellers::allocations(node, &actor, &own)).await?;
    Ok(Answer(StatusCode::OK, list))
}

async fn grant(
    State(handle): State<Handle>,
    actor: Actor,
    JsonOf(wanted): JsonOf<PostEntitlement>,
) -> Result<Answer<Entitlement>, CallError> {
    let given = handle.run(Lane::Write, move |node| entitlements::grant(node, &actor, &wanted)).await?;
    Ok(Answer(StatusCode::CREATED, given))
}

async fn revoke(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(id): PathOf<u64>,
) -> Result<Answer<Entitlement>, CallError> {
    let revoked = handle.run(Lane::Write, move |node| entitlements::revoke(node, &actor, &condition, id)).await?;
    Ok(Answer(StatusCode::OK, revoked))
}
