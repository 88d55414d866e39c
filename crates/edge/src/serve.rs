//! The data plane's pipeline: request head → target → grant → view → ranges → response head → body → outcome.
//!
//! One readable function, [`Server::answer`]; what each kind of target needs is in [`blob`] and [`product`]. Nothing
//! here touches a socket, and no blob is opened without a `Grant`.

mod blob;
mod product;

use self::product::ChannelAsked;
use crate::body::Body;
use crate::catalog::EdgeCatalog;
use crate::config::Checked;
use crate::feed::Standing;
use crate::geo::Geo;
use crate::listen::{ConnInfo, Handler, Wire};
use crate::outcome::{OutcomeSink, Pen, Route, note_bad_head};
use crate::passport::{Passports, Presented, Proof};
use crate::policy::Policies;
use crate::reply::{Refused, finish};
use crate::shelf::Shelf;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use penstock_core::entitle::{Caller, Passport, Refusal, Scene, TokenFault, Verdict};
use penstock_core::grace::Freshness;
use penstock_core::link;
use penstock_core::place::{Place, Whereabouts};
use penstock_core::reply::Problem;
use penstock_core::request::{Method, Target};
use penstock_core::time::UnixSeconds;
use penstock_store::Store;
use std::cell::OnceCell;
use std::sync::Arc;

/// Whether tokens are taken over plain HTTP, where anyone on the path reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainTokens {
    /// A request that carries one is refused.
    Refuse,
    /// `[listen] tokens_over_http = true`.
    Accept,
}

/// What a server is made of.
pub struct ServerParts {
    /// The blobs.
    pub store: Store,
    /// Who may read what.
    pub catalog: Arc<EdgeCatalog>,
    /// Jobs that may wait for the disk at once: `[data] io_threads`.
    pub io_threads: usize,
    /// What becomes of tokens over plain HTTP.
    pub plain_tokens: PlainTokens,
    /// Who asks.
    pub passports: Arc<Passports>,
    /// What may not be sent where.
    pub policies: Arc<Policies>,
    /// Where peers are.
    pub geo: Arc<Geo>,
    /// What is known of control elsewhere; `None` beside control.
    pub standing: Option<Standing>,
    /// The clock.
    pub clock: fn() -> UnixSeconds,
    /// Where outcomes go, usually a [`crate::outcome::Ledger`].
    pub outcomes: Arc<dyn OutcomeSink>,
}

/// Whoever a token names, or what is wrong with it.
type Named = Result<Arc<Passport>, Nameless>;

/// Why a token or a link names nobody here.
enum Nameless {
    /// It is worth nothing.
    Faulty(TokenFault),
    /// The link is good for other paths.
    Elsewhere,
}

/// Answers requests on the data doors. One for all workers.
pub struct Server {
    shelf: Shelf,
    catalog: Arc<EdgeCatalog>,
    standing: Option<Standing>,
    passports: Arc<Passports>,
    policies: Arc<Policies>,
    geo: Arc<Geo>,
    clock: fn() -> UnixSeconds,
    plain_tokens: PlainTokens,
    outcomes: Arc<dyn OutcomeSink>,
}

impl Server {
    /// Puts a server together.
    #[must_use]
    pub fn new(parts: ServerParts) -> Self {
        Self {
            shelf: Shelf::new(parts.store, parts.io_threads),
            catalog: parts.catalog,
            passports: parts.passports,
            standing: parts.standing,
            policies: parts.policies,
            geo: parts.geo,
            clock: parts.clock,
            plain_tokens: parts.plain_tokens,
            outcomes: parts.outcomes,
        }
    }

    /// The walk of a request. Everything that is not an answer is a [`Refused`].
    async fn answer(
        &self,
        head: &Parts,
        conn: &ConnInfo,
        method: Method,
        pen: &mut Pen,
    ) -> Result<Response<Body>, Refused> {
        check_host(head)?;
        if self.standing.as_ref().is_some_and(|standing| !standing.is_whole()) {
            // Nothing is known, so nobody may be told that something does not exist.
            return Err(Refused::because(
                Problem::Unavailable,
                "this edge has heard nothing from its control node yet",
            ));
        }
        let target = Target::parse(head.uri.path(), head.uri.query())?;
        pen.outcome().route = Route::of(&target);
        if target == Target::Reports {
            // Reports are taken by a later version; until then the path does not exist.
            return Err(Refusal::Unknown.into());
        }
        if !target.takes(method) {
            return Err(Refused::method(target.allow()));
        }
        self.check_credentials(head, conn)?;
        match target {
            Target::Blob(blob) => self.blob(blob, head, conn, method, pen).await,
            Target::Outboard(blob) => self.outboard(blob, head, conn, pen).await,
            Target::Verified { blob, range } => self.verified(blob, range, head, conn, pen).await,
            Target::Channel { product, channel, platform, install, have, by_hand } => {
                let asked = ChannelAsked { product, channel, platform, install, have, by_hand };
                self.channel(&asked, head, conn)
            }
            Target::Release { product, version, platform } => {
                self.release(&product, &version, platform.as_ref(), head, conn)
            }
            Target::Catalog => self.listing(head),
            // No release is preloaded yet, so no release has a key.
            Target::ReleaseKey { .. } | Target::Reports => Err(Refusal::Unknown.into()),
        }
    }

    /// Asks `decide`, first for somebody without a token, because most of what is open asks for none, then for whoever the
    /// token names. What is not there asks for the token, too: the time of an answer tells nothing of closed products.
    fn decide<G>(
        &self,
        head: &Parts,
        conn: &ConnInfo,
        decide: impl Fn(Caller<'_>, &Scene<'_>) -> Verdict<G>,
    ) -> Result<G, Refused> {
        let now = (self.clock)();
        let embargo = self.policies.embargo();
        // Looked up at most once, and only when something turns on it.
        let place = OnceCell::new();
        let find = || *place.get_or_init(|| self.place(conn));
        let freshness = Freshness { age_seconds: self.age_seconds(now), grace: self.policies.grace() };
        let scene = Scene { now, place: Whereabouts::Found(&find), embargo: &embargo, freshness };
        let refusal = match decide(Caller::Nobody, &scene) {
            Verdict::Allow(grant) => {
                self.pace(conn, None);
                return Ok(grant);
            }
            Verdict::Refuse(refusal) => refusal,
        };
        let Some(presented) = self.presented(head, conn, now)? else { return Err(refusal.into()) };
        let caller = match &presented {
            Ok(passport) => Caller::Known(passport),
            Err(Nameless::Faulty(fault)) => Caller::Faulty(*fault),
            Err(Nameless::Elsewhere) => Caller::Elsewhere,
        };
        match decide(caller, &scene) {
            Verdict::Allow(grant) => {
                self.pace(conn, presented.as_deref().ok());
                Ok(grant)
            }
            Verdict::Refuse(refusal) => Err(refusal.into()),
        }
    }

    /// Whom the request's token or link names, or why nobody; `None` when it has neither.
    fn presented(&self, head: &Parts, conn: &ConnInfo, now: UnixSeconds) -> Result<Option<Named>, Refused> {
        let mut lines = head.headers.get_all(AUTHORIZATION).into_iter();
        let proof = match (lines.next(), lines.next()) {
            (Some(line), None) => Ok(Proof::Token(line.as_bytes())),
            (Some(_), Some(_)) => Err(TokenFault::Malformed),
            (None, _) => match link::of_query(head.uri.query().unwrap_or_default()) {
                Ok(None) => return Ok(None),
                Ok(Some(text)) => Ok(Proof::Link { text, path: head.uri.path() }),
                Err(fault) => Err(fault),
            },
        };
        let presented = match proof {
            Ok(proof) => self.passports.of_request(proof, &conn.memo, conn.peer.map(|peer| peer.ip()), now),
            Err(fault) => Presented::Faulty(fault),
        };
        match presented {
            Presented::Known(passport) => Ok(Some(Ok(passport))),
            Presented::Faulty(fault) => Ok(Some(Err(Nameless::Faulty(fault)))),
            Presented::Elsewhere => Ok(Some(Err(Nameless::Elsewhere))),
            Presented::Busy => Err(Refused::because(Problem::Unavailable, "too many tokens are being verified")),
            Presented::TooMany { retry_after_seconds } => Err(Refused::too_many_failures(retry_after_seconds)),
        }
    }

    /// The connection's rate, from here on.
    fn pace(&self, conn: &ConnInfo, passport: Option<&Passport>) {
        let segments = || Arc::clone(&self.policies.segments());
        self.policies.rates().pace(&conn.pacing, conn.protocol, passport, segments, &self.passports.pseudonyms());
    }

    /// Since when control has not confirmed what is known here.
    fn age_seconds(&self, now: UnixSeconds) -> u64 {
        self.standing.as_ref().map_or(0, |standing| standing.at(now).age_seconds)
    }

    /// Where the peer is, looked up when it is asked for.
    fn place(&self, conn: &ConnInfo) -> Option<Place> {
        self.geo.place_of(conn.peer.map(|peer| peer.ip()), &conn.place)
    }

    /// A token or a link that came over plain HTTP is already known to whoever listens; taking it would teach people to
    /// send it. And of two at once nobody could say which was meant.
    fn check_credentials(&self, head: &Parts, conn: &ConnInfo) -> Result<(), Refused> {
        let has_token = head.headers.contains_key(AUTHORIZATION);
        let has_link = head.uri.query().is_some_and(|query| link::of_query(query) != Ok(None));
        if has_token && has_link {
            return Err(Refused::because(Problem::BadRequest, "a token and a link at once: send one of them"));
        }
        let is_exposed = conn.wire == Wire::Plain && self.plain_tokens == PlainTokens::Refuse;
        if is_exposed && (has_token || has_link) {
            return Err(Refused::because(Problem::TokenOverPlainHttp, "use https, and revoke the token that was sent"));
        }
        Ok(())
    }
}

/// RFC 9112, section 3.2: a request of HTTP/1.1 without exactly one good `Host` is answered 400. What stands between us
/// and the peer may have taken it for another host's, and there is nothing that both would agree on.
fn check_host(head: &Parts) -> Result<(), Refused> {
    let mut lines = head.headers.get_all(HOST).into_iter();
    let wrong = match (head.version, lines.next(), lines.next()) {
        (Version::HTTP_10 | Version::HTTP_11, _, Some(_)) => "two Host fields",
        (Version::HTTP_10 | Version::HTTP_11, Some(line), None) if !is_host(line) => "a Host field that names no host",
        (Version::HTTP_11, None, _) => "no Host field",
        // HTTP/1.0 knows no `Host`, HTTP/2 has `:authority`.
        _ => return Ok(()),
    };
    Err(Refused::because(Problem::BadRequest, wrong))
}

/// `uri-host [ ":" port ]`, and nothing for a target that has no host.
fn is_host(line: &HeaderValue) -> bool {
    let is_authority = |bytes| Authority::try_from(bytes).is_ok_and(|host| !host.as_str().contains('@'));
    line.is_empty() || is_authority(line.as_bytes())
}

impl Handler for Server {
    type Body = Body;

    async fn handle(&self, request: Request<Incoming>, conn: &ConnInfo) -> Response<Body> {
        // No target reads a request's body; hyper skips what a peer sends all the same.
        let (head, _) = request.into_parts();
        let method = Method::new(head.method.as_str());
        let mut pen = Pen::new(Arc::clone(&self.outcomes), conn, method, head.uri.clone());
        pen.asked(&head.method);
        let answered = self.answer(&head, conn, method, &mut pen).await;
        finish(answered, method, pen)
    }

    fn refuse(&self, problem: Problem, conn: &ConnInfo) -> Response<Body> {
        let mut pen = Pen::new(Arc::clone(&self.outcomes), conn, Method::Other, http::Uri::default());
        pen.outcome().route = Route::Door;
        finish(Err(Refused::new(problem)), Method::Other, pen)
    }

    fn bad_head(&self, status: u16, conn: &ConnInfo) {
        note_bad_head(Pen::new(Arc::clone(&self.outcomes), conn, Method::Other, http::Uri::default()), status);
    }

    fn set_live_blobs_max(&self, max: usize) {
        self.shelf.set_live_max(max);
    }

    fn reloaded(&self, config: &Checked) {
        self.geo.reload(config.geo.database.as_deref());
        self.policies.configure(config);
    }
}
