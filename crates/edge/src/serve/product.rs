//! Channels, releases and the catalogue: small JSON documents, rendered when the catalogue changed. A channel has one for
//! each release that a caller may be told of, and chooses.

use super::Server;
use super::blob::preconditions;
use crate::body::Body;
use crate::catalog::{Document, Found, Offered};
use crate::listen::ConnInfo;
use crate::reply::Refused;
use crate::turn::{self, Inquirer};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use penstock_core::channel::Choice;
use penstock_core::entitle::{ProductGrant, Refusal, Silent, Visibility, decide_product};
use penstock_core::id::{ChannelName, Platform, ProductId, Version};
use penstock_core::place::Whereabouts;
use penstock_core::reply::Problem;
use penstock_core::request::InstallId;

/// What a document says about caching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caching {
    /// It depends on the caller.
    Never,
    /// Anyone may keep it, and asks whether it changed before using it again.
    Revalidate,
}

/// What a channel is asked.
pub(super) struct ChannelAsked {
    pub(super) product: ProductId,
    pub(super) channel: ChannelName,
    pub(super) platform: Option<Platform>,
    pub(super) install: Option<InstallId>,
    pub(super) have: Option<Version>,
    pub(super) by_hand: bool,
}

impl Server {
    /// `/v1/products/{p}/channels/{c}`. What to install depends on who asks, so it is never kept.
    pub(super) fn channel(
        &self,
        asked: &ChannelAsked,
        head: &Parts,
        conn: &ConnInfo,
    ) -> Result<Response<Body>, Refused> {
        let ChannelAsked { product, channel, platform, .. } = asked;
        // The grant to learn what the channel offers. Its content is asked for blob by blob.
        let _grant: ProductGrant = self.decide(head, conn, |caller, scene| {
            self.catalog.with_channel(product, Some(channel), platform.as_ref(), |known| {
                decide_product(known, caller, scene, &mut Silent)
            })
        })?;
        let offered = found(self.catalog.offered(product, channel, platform.as_ref(), asked.have.as_ref()))?;
        let choice = self.choice(&offered, asked, head, conn)?;
        respond(found(offered.answer(choice))?, Caching::Never, head)
    }

    /// Whose turn it is. The token is asked for once more only where segments turn on it, also that of an open product; one
    /// that is worth nothing is nobody's there.
    fn choice(
        &self,
        offered: &Offered,
        asked: &ChannelAsked,
        head: &Parts,
        conn: &ConnInfo,
    ) -> Result<Choice, Refused> {
        let now = (self.clock)();
        let asks_who = offered.rollout().is_some_and(|rollout| !turn::named(rollout).is_empty());
        let presented = if asks_who { self.presented(head, conn, now)? } else { None };
        let passport =
            presented.as_ref().and_then(|presented| presented.as_deref().ok()).filter(|passport| !passport.is_revoked);
        let find = || self.place(conn);
        let place = Whereabouts::Found(&find);
        let (install, have) = (asked.install.as_ref(), asked.have.as_ref());
        let inquirer = Inquirer { install, by_hand: asked.by_hand, have, passport, place };
        let brake = self.policies.brake(&asked.product, &asked.channel);
        Ok(offered.choose(brake, |rollout| {
            inquirer.turn(rollout, &self.policies.segments(), &self.passports.pseudonyms(), now)
        }))
    }

    /// `/v1/products/{p}/releases/{version}`.
    pub(super) fn release(
        &self,
        product: &ProductId,
        version: &Version,
        platform: Option<&Platform>,
        head: &Parts,
        conn: &ConnInfo,
    ) -> Result<Response<Body>, Refused> {
        let grant: ProductGrant = self.decide(head, conn, |caller, scene| {
            self.catalog
                .with_release(product, version, platform, |known| decide_product(known, caller, scene, &mut Silent))
        })?;
        let caching = match grant.visibility() {
            Visibility::Public => Caching::Revalidate,
            Visibility::Private => Caching::Never,
        };
        respond(found(self.catalog.release(product, version, platform))?, caching, head)
    }

    /// `/v1/catalog`.
    pub(super) fn listing(&self, head: &Parts) -> Result<Response<Body>, Refused> {
        respond(self.catalog.listing(), Caching::Revalidate, head)
    }
}

fn found<T>(found: Found<T>) -> Result<T, Refused> {
    match found {
        Found::One(one) => Ok(one),
        Found::Unknown => Err(Refusal::Unknown.into()),
        Found::Withdrawn => Err(Refusal::Withdrawn.into()),
        Found::NamePlatform(platforms) => {
            let names: Vec<_> = platforms.iter().map(Platform::as_str).collect();
            Err(Refused::because(
                Problem::BadRequest,
                format!("name a platform with platform=, one of {}", names.join(", ")),
            ))
        }
    }
}

fn respond(document: Document, caching: Caching, head: &Parts) -> Result<Response<Body>, Refused> {
    let cache = match caching {
        Caching::Never => "private, no-store",
        Caching::Revalidate => "public, no-cache",
    };
    let is_modified = preconditions(&document.tag, &head.headers)?.is_some();
    let mut response =
        if is_modified { Response::new(Body::full(document.json)) } else { Response::new(Body::empty()) };
    if is_modified {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    } else {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response.headers_mut().insert(ETAG, document.etag);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    Ok(response)
}
