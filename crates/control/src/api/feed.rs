//! `GET /v1/feed`, `GET /v1/feed/snapshots/{blob}`, `POST …/{blob}/damaged`: what edges elsewhere live on.
//!
//! The first is an answer without an end: lines of `core::feed`, one after the other, for as long as the follower listens.

use super::extract::{Answer, PathOf, QueryOf};
use super::table::{Routes, get, post};
use crate::actor::Actor;
use crate::control::{Handle, Lane};
use crate::credentials;
use crate::error::{CallError, chain};
use crate::feed::{self, Next, PIECES_MAX, Piece};
use crate::permit::Permission;
use crate::snapshots;
use crate::upload;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use penstock_core::blob::BlobId;
use penstock_core::feed::{Mark, Resume, SnapshotAnswer};
use serde::Deserialize;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::timeout;

/// How often a feed says something though nothing happened. Smaller costs a query and a packet for each follower, larger
/// lets an edge believe for longer that it is current.
const BEAT: Duration = Duration::from_secs(2);
/// Pieces of an answer that wait for the connection.
const QUEUE_MAX: usize = 2;

pub(super) fn routes() -> Routes {
    Routes::new()
        .add(
            get(
                "/v1/feed",
                Permission::FeedRead,
                "What edges are told: the state, then each change as it happens",
                follow,
            )
            .media("application/x-ndjson"),
        )
        .add(get("/v1/feed/snapshots/{blob}", Permission::FeedRead, "The bytes of a snapshot of accounts", snapshot))
        .add(post(
            "/v1/feed/snapshots/{blob}/damaged",
            Permission::FeedRead,
            "Looks at a snapshot that an edge found damaged, and makes another if it is",
            damaged,
        ))
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct FeedQuery {
    /// The last change that the follower has.
    after: Option<u64>,
    /// That change's mark.
    mark: Option<Mark>,
}

async fn follow(
    State(handle): State<Handle>,
    actor: Actor,
    QueryOf(query): QueryOf<FeedQuery>,
) -> Result<Response, CallError> {
    let permit = handle.node.feeds.followers.clone().try_acquire_owned().map_err(|_| CallError::TooManyFollowers)?;
    // Before the log is read, so that nothing comes between.
    let news = handle.node.record.news();
    let (hello, start) = handle.run(Lane::Read, move |node| feed::greet(node, query.after, query.mark)).await?;
    let (pieces, body) = mpsc::channel(QUEUE_MAX);
    let follower = Follower { handle, actor, news, pieces, _permit: permit };
    tokio::spawn(async move {
        if let Err(error) = follower.tell(hello, start).await {
            // A follower that hung up is nobody's failure.
            if !matches!(error, CallError::FollowerGone) {
                tracing::warn!(error = chain(&error), "a feed was broken off");
            }
        }
    });
    let mut response = Response::new(Body::new(Pieces(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// One follower, on a task of its own that ends when its connection does.
struct Follower {
    handle: Handle,
    /// Whose credential it is. A feed may last for months, so it is looked at again with each piece.
    actor: Actor,
    news: watch::Receiver<u64>,
    pieces: mpsc::Sender<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    async fn tell(mut self, hello: Bytes, start: Resume) -> Result<(), CallError> {
        self.send(hello).await?;
        let mut last = match start {
            Resume::After(last) => last,
            Resume::Whole => self.tell_state().await?,
        };
        loop {
            self.news.borrow_and_update();
            let actor = self.actor.clone();
            let next = move |node: &_| {
                credentials::check_live(node, &actor)?;
                feed::next(node, last)
            };
            match self.handle.run(Lane::Read, next).await? {
                Next::Changes { text, last: told } => {
                    self.send(text).await?;
                    last = told;
                }
                Next::Beat(beat) => {
                    self.send(beat).await?;
                    tokio::select! {
                        heard = timeout(BEAT, self.news.changed()) => match heard {
                            Ok(Ok(())) | Err(_) => {}
                            // The node is going away.
                            Ok(Err(_)) => return Ok(()),
                        },
                        () = self.pieces.closed() => return Err(CallError::FollowerGone),
                    }
                }
                Next::TooLate => {
                    tracing::info!(last, "a follower fell behind what the log holds and is cut off");
                    return Ok(());
                }
            }
        }
    }

    /// Tells the whole state; returns its number.
    async fn tell_state(&self) -> Result<u64, CallError> {
        let permit = self.handle.node.feeds.states.clone().acquire_owned().await.map_err(|_| CallError::Busy)?;
        let node = self.handle.node.clone();
        let (sender, mut pieces) = mpsc::channel::<Piece>(PIECES_MAX);
        let told = tokio::task::spawn_blocking(move || {
            let _held_until_told = permit;
            feed::tell_state(&node, &sender)
        });
        while let Some(piece) = pieces.recv().await {
            self.send(piece?).await?;
        }
        told.await.map_err(CallError::GivenUp)?
    }

    /// Waits until the connection takes it: the listener cuts one that takes nothing.
    async fn send(&self, piece: Bytes) -> Result<(), CallError> {
        self.pieces.send(piece).await.map_err(|_| CallError::FollowerGone)
    }
}

/// What was sent to it, as a body.
struct Pieces(mpsc::Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.get_mut().0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A snapshot's bytes, for whoever may follow: over the data plane nobody can read them.
async fn snapshot(State(handle): State<Handle>, PathOf(blob): PathOf<BlobId>) -> Result<Response, CallError> {
    handle.run(Lane::Read, move |node| snapshots::check_is_one(node, blob)).await?;
    let (body, bytes) = upload::send(&handle, blob).await?;
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    Ok(response)
}

/// An edge found a snapshot damaged: control looks at its own, and makes another where that is damaged too.
async fn damaged(
    State(handle): State<Handle>,
    PathOf(blob): PathOf<BlobId>,
) -> Result<Answer<SnapshotAnswer>, CallError> {
    tracing::error!(%blob, "an edge found a snapshot of accounts damaged");
    let permit = handle.node.feeds.states.clone().acquire_owned().await.map_err(|_| CallError::Busy)?;
    let node = handle.node.clone();
    let answer = tokio::task::spawn_blocking(move || {
        let _held_until_done = permit;
        snapshots::look_at(&node, blob)
    });
    Ok(Answer(StatusCode::OK, answer.await.map_err(CallError::GivenUp)??))
}
