//! `/admin/v1/accounts/{id}/users`, `…/users/{user}`, `/admin/v1/entitlements/{id}/seats`, `…/seats/{user}`.

use super::extract::{Answer, JsonOf, PageQuery, PathOf, QueryOf};
use super::products::status;
use super::table::{Routes, delete, get, put};
use crate::actor::Actor;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::people;
use crate::permit::Permission;
use axum::extract::State;
use http::StatusCode;
use penstock_core::account::AccountId;
use penstock_core::desk::{PutUser, Seat, SeatsAnswer, User, UsersAnswer};

pub(super) fn routes() -> Routes {
    let users_of = "/admin/v1/accounts/{id}/users";
    let (user, seat) = ("/admin/v1/accounts/{id}/users/{user}", "/admin/v1/entitlements/{id}/seats/{user}");
    let (read, write) = (Permission::AccountsRead, Permission::AccountsWrite);
    Routes::new()
        .add(get(users_of, read, "List a company's users, page by page", users))
        .add(put(user, write, "Make an account a user of a company, or change its role", put_user).answers(&[200, 201]))
        .add(delete(user, write, "End a user's belonging to a company, seats included", remove_user))
        .add(get("/admin/v1/entitlements/{id}/seats", read, "List who has seats, page by page", seats))
        .add(
            put(seat, Permission::EntitlementsWrite, "Give a seat to a user of the company", give_seat)
                .answers(&[200, 201]),
        )
        .add(delete(seat, Permission::EntitlementsWrite, "Take a seat back", take_seat))
}

async fn users(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(company): PathOf<AccountId>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Answer<UsersAnswer>, CallError> {
    let page = move |node: &_| people::users(node, &actor, &company, query.after.as_ref(), query.limit);
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, page).await?))
}

/// 201 for a new user, 200 for one that was there.
async fn put_user(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf((company, user)): PathOf<(AccountId, AccountId)>,
    JsonOf(wanted): JsonOf<PutUser>,
) -> Result<Answer<User>, CallError> {
    let put = move |node: &_| people::put_user(node, &actor, &company, &user, &wanted);
    let (user, made) = handle.run(Lane::Write, put).await?;
    Ok(Answer(status(made), user))
}

async fn remove_user(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf((company, user)): PathOf<(AccountId, AccountId)>,
) -> Result<Answer<User>, CallError> {
    let remove = move |node: &_| people::remove_user(node, &actor, &company, &user);
    Ok(Answer(StatusCode::OK, handle.run(Lane::Write, remove).await?))
}

pub(super) async fn seats(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(id): PathOf<u64>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Answer<SeatsAnswer>, CallError> {
    let page = move |node: &_| people::seats(node, &actor, id, query.after.as_ref(), query.limit);
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, page).await?))
}

/// 201 for a new seat, 200 for one that was there.
pub(super) async fn give_seat(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf((id, user)): PathOf<(u64, AccountId)>,
) -> Result<Answer<Seat>, CallError> {
    let give = move |node: &_| people::give_seat(node, &actor, id, &user);
    let (seat, made) = handle.run(Lane::Write, give).await?;
    Ok(Answer(status(made), seat))
}

pub(super) async fn take_seat(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf((id, user)): PathOf<(u64, AccountId)>,
) -> Result<Answer<SeatsAnswer>, CallError> {
    let take = move |node: &_| people::take_seat(node, &actor, id, &user);
    Ok(Answer(StatusCode::OK, handle.run(Lane::Write, take).await?))
}
