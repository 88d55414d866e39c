//! Small questions to edges: what a channel offers, what a release is, the manifest root.
//!
//! Every body is read with a bound. One edge after another is asked until one gives an answer that the
//! caller believes; what the last one said is the error.

use crate::drive::Network;
use crate::error::PullError;
use crate::request::EdgeUrl;
use crate::session::{DropReason, EdgeIndex, Failure};
use crate::transport::{GetRequest, Transport, TransportError};
use penstock_core::api::ProblemDocument;
use penstock_core::limits::ANSWER_JSON_BYTES_MAX;
use std::error::Error;
use std::time::Duration;

/// Longest wait for one small answer.
const ANSWER_SECONDS_MAX: u64 = 30;
/// Rounds over all edges before a question is given up.
const ROUNDS: u32 = 3;
/// Pause between rounds, and the longest `Retry-After` that is waited for here.
const ROUND_PAUSE_MS: u64 = 400;
const RETRY_AFTER_SECONDS_MAX: u64 = 10;

/// Asks edges in turn until `believe` accepts an answer of at most `max` bytes.
pub(crate) fn ask<T>(
    network: &Network,
    target: &str,
    max: usize,
    mut believe: impl FnMut(&[u8]) -> Result<T, PullError>,
) -> Result<T, PullError> {
    let mut last = PullError::NoEdges;
    for round in 0..ROUNDS {
        let mut pause_ms = ROUND_PAUSE_MS << round;
        let mut may_pass = false;
        for (index, edge) in network.edges().iter().enumerate() {
            let answer = network.ask(|transport| {
                let target = target.to_owned();
                async move { get(transport.as_ref(), EdgeIndex(index), &target, max).await }
            });
            match answer {
                Ok(Answered::Body(bytes)) => match believe(&bytes) {
                    Ok(value) => return Ok(value),
                    Err(error) => last = prefer(last, error),
                },
                Ok(Answered::Status { status, retry_after_seconds, body }) => {
                    if matches!(status, 408 | 425 | 429 | 500..=599) {
                        may_pass = true;
                        let asked = retry_after_seconds.unwrap_or(0).min(RETRY_AFTER_SECONDS_MAX);
                        pause_ms = pause_ms.max(asked * 1000);
                    }
                    last = prefer(last, refusal(edge, status, &body));
                }
                Err(error) => {
                    may_pass |= matches!(&error, Trouble::Transport(error) if error.failure() == Failure::Broken);
                    last = prefer(last, PullError::NoAnswer { edge: edge.to_string(), reason: words(&error) });
                }
            }
        }
        if !may_pass {
            break;
        }
        if round + 1 < ROUNDS {
            network.ask(|_| async move { tokio::time::sleep(Duration::from_millis(pause_ms)).await });
        }
    }
    Err(last)
}

/// A refusal or a broken signature says more than an edge that cannot be reached.
fn prefer(old: PullError, new: PullError) -> PullError {
    let weight = |error: &PullError| match error {
        PullError::NoEdges => 0,
        PullError::NoAnswer { .. } => 1,
        PullError::EdgeRefused { .. } => 2,
        _ => 3,
    };
    if weight(&new) >= weight(&old) { new } else { old }
}

enum Answered {
    Body(Vec<u8>),
    Status { status: u16, retry_after_seconds: Option<u64>, body: Vec<u8> },
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Transport(TransportError),
    #[error("no answer within {ANSWER_SECONDS_MAX} s")]
    Slow,
    #[error("its answer is larger than {0} bytes")]
    TooLarge(usize),
}

async fn get(transport: &dyn Transport, edge: EdgeIndex, target: &str, max: usize) -> Result<Answered, Trouble> {
    let talk = async {
        let request = GetRequest { target: target.to_owned(), range: None };
        let mut answer = transport.get(edge, request).await.map_err(Trouble::Transport)?;
        let good = answer.head.status == 200;
        let max = if good { max } else { max.min(ANSWER_JSON_BYTES_MAX) };
        let mut body = Vec::new();
        while let Some(piece) = answer.body.next().await {
            let piece = piece.map_err(Trouble::Transport)?;
            if body.len() + piece.len() > max {
                return Err(Trouble::TooLarge(max));
            }
            body.extend_from_slice(&piece);
        }
        let (status, retry_after_seconds) = (answer.head.status, answer.head.retry_after_seconds);
        Ok(if good { Answered::Body(body) } else { Answered::Status { status, retry_after_seconds, body } })
    };
    tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), talk).await.unwrap_or(Err(Trouble::Slow))
}

fn refusal(edge: &EdgeUrl, status: u16, body: &[u8]) -> PullError {
    let edge = edge.to_string();
    if (300..400).contains(&status) {
        return PullError::NoAnswer { edge, reason: DropReason::Redirected.to_string() };
    }
    if matches!(status, 408 | 425 | 429) || !(400..500).contains(&status) {
        return PullError::NoAnswer { edge, reason: format!("status {status}") };
    }
    let problem = serde_json::from_slice::<ProblemDocument>(body).ok();
    let (code, detail) = problem.map_or_else(
        || ("unknown".to_owned(), String::new()),
        |p| (clean(&p.code), clean(if p.detail.is_empty() { p.title.as_str() } else { p.detail.as_str() })),
    );
    PullError::EdgeRefused { edge, status, code, detail }
}

/// An edge's words, fit for a terminal.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// An error with its causes, for a message that has no other place for them.
fn words(error: &Trouble) -> String {
    let first: &(dyn Error + 'static) = match error {
        Trouble::Transport(error) => error,
        other => other,
    };
    let mut words = first.to_string();
    let mut cause = first.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
