//! `/admin/v1/packages`, `…/{package}`.

use super::extract::{Answer, JsonOf, PathOf, Tagged};
use super::products::status;
use super::table::{Routes, delete, get, put};
use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::packages;
use crate::permit::Permission;
use axum::extract::State;
use http::StatusCode;
use penstock_core::desk::{Package, PackagesAnswer, PutPackage};
use penstock_core::id::PackageId;

pub(super) fn routes() -> Routes {
    let package = "/admin/v1/packages/{package}";
    let (read, write) = (Permission::AccountsRead, Permission::EntitlementsWrite);
    Routes::new()
        .add(get("/admin/v1/packages", read, "List packages", list))
        .add(get(package, read, "Show a package", show))
        .add(
            put(package, write, "Make a package, or change it for everyone who has it", put_package)
                .answers(&[200, 201]),
        )
        .add(delete(package, write, "Forget a package that nobody was ever given", remove))
}

async fn list(State(handle): State<Handle>) -> Result<Answer<PackagesAnswer>, CallError> {
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, packages::list).await?))
}

async fn show(State(handle): State<Handle>, PathOf(id): PathOf<PackageId>) -> Result<Tagged<Package>, CallError> {
    Ok(Tagged(StatusCode::OK, handle.run(Lane::Read, move |node| packages::get(node, &id)).await?))
}

/// 201 for a new package, 200 for one that was there.
async fn put_package(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(id): PathOf<PackageId>,
    JsonOf(wanted): JsonOf<PutPackage>,
) -> Result<Tagged<Package>, CallError> {
    let put = move |node: &_| packages::put(node, &actor, &condition, &id, wanted);
    let (package, made) = handle.run(Lane::Write, put).await?;
    Ok(Tagged(status(made), package))
}

async fn remove(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(id): PathOf<PackageId>,
) -> Result<Tagged<Package>, CallError> {
    let remove = move |node: &_| packages::remove(node, &actor, &condition, &id);
    Ok(Tagged(StatusCode::OK, handle.run(Lane::Write, remove).await?))
}
