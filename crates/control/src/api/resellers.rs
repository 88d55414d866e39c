//! `/admin/v1/accounts/{id}/customers`, `…/customers/{customer}`, `/admin/v1/accounts/{id}/allocations`,
//! `/admin/v1/allocations/{id}`.

use super::extract::{Answer, JsonOf, PageQuery, PathOf, QueryOf};
use super::products::status;
use super::table::{Routes, delete, get, post, put};
use crate::actor::Actor;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::permit::Permission;
use crate::resellers;
use axum::extract::State;
use http::StatusCode;
use penstock_core::account::AccountId;
use penstock_core::desk::{Account, AccountsAnswer, Allocation, AllocationsAnswer, PostAllocation, PutCustomer};

pub(super) fn routes() -> Routes {
    let customer = "/admin/v1/accounts/{id}/customers/{customer}";
    let allocations_of = "/admin/v1/accounts/{id}/allocations";
    let (read, write) = (Permission::AccountsRead, Permission::EntitlementsWrite);
    Routes::new()
        .add(get("/admin/v1/accounts/{id}/customers", read, "List a reseller's customers, page by page", customers))
        .add(
            put(customer, Permission::AccountsWrite, "Make an account a customer of a reseller", put_customer)
                .answers(&[200, 201]),
        )
        .add(delete(customer, Permission::AccountsWrite, "End an account's being a customer", remove_customer))
        .add(get(allocations_of, read, "List what a reseller may give", allocations))
        .add(post(allocations_of, write, "Let a reseller give something, so many times", allocate).answers(&[201]))
        .add(delete("/admin/v1/allocations/{id}", write, "Let nothing more be given out of an allocation", close))
}

async fn customers(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(reseller): PathOf<AccountId>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Answer<AccountsAnswer>, CallError> {
    let page = move |node: &_| resellers::customers(node, &actor, &reseller, query.after.as_ref(), query.limit);
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, page).await?))
}

/// 201 for a new customer, 200 for one that was there.
async fn put_customer(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf((reseller, customer)): PathOf<(AccountId, AccountId)>,
    JsonOf(wanted): JsonOf<PutCustomer>,
) -> Result<Answer<Account>, CallError> {
    let put = move |node: &_| resellers::put_customer(node, &actor, &reseller, &customer, &wanted);
    let (customer, made) = handle.run(Lane::Write, put).await?;
    Ok(Answer(status(made), customer))
}

async fn remove_customer(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf((reseller, customer)): PathOf<(AccountId, AccountId)>,
) -> Result<Answer<Account>, CallError> {
    let remove = move |node: &_| resellers::remove_customer(node, &actor, &reseller, &customer);
    Ok(Answer(StatusCode::OK, handle.run(Lane::Write, remove).await?))
}

async fn allocations(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(reseller): PathOf<AccountId>,
) -> Result<Answer<AllocationsAnswer>, CallError> {
    let list = move |node: &_| resellers::allocations(node, &actor, &reseller);
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, list).await?))
}

async fn allocate(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(reseller): PathOf<AccountId>,
    JsonOf(wanted): JsonOf<PostAllocation>,
) -> Result<Answer<Allocation>, CallError> {
    let made = handle.run(Lane::Write, move |node| resellers::allocate(node, &actor, &reseller, &wanted)).await?;
    Ok(Answer(StatusCode::CREATED, made))
}

async fn close(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(id): PathOf<u64>,
) -> Result<Answer<Allocation>, CallError> {
    Ok(Answer(StatusCode::OK, handle.run(Lane::Write, move |node| resellers::close(node, &actor, id)).await?))
}
