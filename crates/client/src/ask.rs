//! Small questions to edges: what a channel offers, what a release is, the manifest root.
//!
//! Every body is read with a bound. One edge after another is asked until one gives an answer that the
//! caller believes; what the last one said is the error.

use crate::drive::Network;
use crate::error::{PullError, with_causes};
use crate::progress::Progress;
use crate::request::EdgeUrl;
use crate::session::{DropReason, EdgeIndex, Failure};
use crate::transport::{GetRequest, Transport, TransportError};
use penstock_core::api::ProblemDocument;
use penstock_core::limits::ANSWER_JSON_BYTES_MAX;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Longest silence of an edge before its answer, and within it.
const SILENCE_SECONDS_MAX: u64 = 30;
/// Slowest acceptable mean of an answer, in bytes per second, beyond that silence: the largest manifest root
/// takes a modem half an hour, and an edge that only drips ends some day.
const BYTES_PER_SECOND_MIN: u64 = 4 * 1024;
/// Rounds over all edges before a question is given up.
const ROUNDS: u32 = 3;
/// First pause between rounds, doubled with each further one.
const ROUND_PAUSE_MS: u64 = 400;
/// Longest `Retry-After` that is waited for in full; a longer one is waited for so long, too, and then asked again.
const RETRY_AFTER_SECONDS_MAX: u64 = 60;

/// A small question.
pub(crate) struct Query<'a> {
    /// Path and query.
    pub(crate) target: &'a str,
    /// Most bytes of an answer.
    pub(crate) max: usize,
    /// What is asked for, in words: an edge that has nothing under a name cannot say which part of it is wrong.
    pub(crate) asked: &'a str,
    /// Codes of refusals that are answers: an edge that gives one is of use.
    pub(crate) answers: &'a [&'a str],
}

/// Asks edges in turn until `believe` accepts an answer. An edge that is of no use is told of when another one, or a
/// further round, follows.
pub(crate) fn ask<T>(
    network: &Network,
    query: &Query<'_>,
    progress: &dyn Progress,
    mut believe: impl FnMut(&[u8]) -> Result<T, PullError>,
) -> Result<T, PullError> {
    let mut last = PullError::NoEdges;
    let others = network.edges().len() > 1;
    for round in 0..ROUNDS {
        let mut pause_ms = pause_ms_after(round, None);
        let mut may_pass = false;
        for (index, edge) in network.edges().iter().enumerate() {
            let answer = network.ask(|transport| {
                let (target, max) = (query.target.to_owned(), query.max);
                async move { get(transport.as_ref(), EdgeIndex(index), &target, max).await }
            });
            let mut passes = false;
            let error = match answer {
                Ok(Answered::Body(bytes)) => match believe(&bytes) {
                    Ok(value) => {
                        network.answered(EdgeIndex(index));
                        return Ok(value);
                    }
                    Err(error) => error,
                },
                Ok(Answered::Status { status, retry_after_seconds, body }) => {
                    if matches!(status, 408 | 425 | 429 | 500..=599) {
                        passes = true;
                        pause_ms = pause_ms.max(pause_ms_after(round, retry_after_seconds));
                    }
                    refusal(edge, status, &body, query.asked)
                }
                Err(error) => {
                    passes = matches!(&error, Trouble::Transport(error) if error.failure() == Failure::Broken);
                    PullError::NoAnswer { edge: edge.to_string(), reason: words(edge, &error) }
                }
            };
            may_pass |= passes;
            if matches!(&error, PullError::EdgeRefused { code, .. } if query.answers.contains(&code.as_str())) {
                network.answered(EdgeIndex(index));
                last = prefer(last, error);
                continue;
            }
            let is_news = network.no_use(EdgeIndex(index), reason(&error));
            if is_news && (others || passes) {
                let next = if others { "asking the others" } else { "trying again" };
                progress.note(&format!("{edge}: {}, {next}", reason(&error)));
            }
            last = prefer(last, error);
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

/// An edge's failing, without its address.
fn reason(error: &PullError) -> String {
    match error {
        PullError::NoAnswer { reason, .. } => format!("not answering ({reason})"),
        PullError::Unknown { asked, .. } => format!("it has nothing under this name: {asked}"),
        PullError::EdgeRefused { status, code, .. } => format!("it refused with status {status} ({code})"),
        other => with_causes(other),
    }
}

/// How long to wait after a round: what an edge asked for, within bounds.
fn pause_ms_after(round: u32, retry_after_seconds: Option<u64>) -> u64 {
    let asked = retry_after_seconds.unwrap_or(0).min(RETRY_AFTER_SECONDS_MAX);
    (asked * 1000).max(ROUND_PAUSE_MS << round)
}

/// A refusal or a broken signature says more than an edge that cannot be reached.
fn prefer(old: PullError, new: PullError) -> PullError {
    let weight = |error: &PullError| match error {
        PullError::NoEdges => 0,
        PullError::NoAnswer { .. } => 1,
        PullError::Unknown { .. } => 2,
        PullError::EdgeRefused { .. } => 3,
        _ => 4,
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
    #[error("it was silent for {SILENCE_SECONDS_MAX} s")]
    Silent,
    #[error("it sends less than {BYTES_PER_SECOND_MIN} bytes per second")]
    Slow,
    #[error("its answer is larger than {0} bytes")]
    TooLarge(usize),
}

async fn get(transport: &dyn Transport, edge: EdgeIndex, target: &str, max: usize) -> Result<Answered, Trouble> {
    let silence = Duration::from_secs(SILENCE_SECONDS_MAX);
    let started = Instant::now();
    let request = GetRequest { target: target.to_owned(), range: None };
    let answer = timeout(silence, transport.get(edge, request)).await.map_err(|_| Trouble::Silent)?;
    let mut answer = answer.map_err(Trouble::Transport)?;
    let good = answer.head.status == 200;
    // A refusal explains itself in more words than a small part has bytes.
    let max = if good { max } else { ANSWER_JSON_BYTES_MAX };
    let mut body = Vec::new();
    // The size is bounded and known, so a slow link is given the time it needs as long as something comes.
    while let Some(piece) = timeout(silence, answer.body.next()).await.map_err(|_| Trouble::Silent)? {
        let piece = piece.map_err(Trouble::Transport)?;
        if body.len() + piece.len() > max {
            return Err(Trouble::TooLarge(max));
        }
        body.extend_from_slice(&piece);
        if started.elapsed() > silence + Duration::from_secs(body.len() as u64 / BYTES_PER_SECOND_MIN) {
            return Err(Trouble::Slow);
        }
    }
    let (status, retry_after_seconds) = (answer.head.status, answer.head.retry_after_seconds);
    Ok(if good { Answered::Body(body) } else { Answered::Status { status, retry_after_seconds, body } })
}

fn refusal(edge: &EdgeUrl, status: u16, body: &[u8], asked: &str) -> PullError {
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
    if status == 404 {
        return PullError::Unknown { edge, asked: asked.to_owned(), code };
    }
    PullError::EdgeRefused { edge, status, code, detail }
}

/// An edge's words, fit for a terminal.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// An error with its causes, and what may help.
fn words(edge: &EdgeUrl, error: &Trouble) -> String {
    let Trouble::Transport(error) = error else { return error.to_string() };
    let words = with_causes(error);
    let is_no_http = matches!(error, TransportError::Http(error) if error.is_parse());
    if is_no_http && !edge.is_secure() { format!("{words}; is it an https address?") } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::AnswerHead;
    use crate::transport::{Answer, AnswerBody, BoxFuture};
    use bytes::Bytes;

    /// An edge that sends `pieces` of a size, one every so many seconds. Time is tokio's, which the tests move.
    #[derive(Clone, Copy)]
    struct Slow {
        pieces: usize,
        bytes: usize,
        seconds: u64,
    }

    impl AnswerBody for Slow {
        fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
            Box::pin(async move {
                self.pieces = self.pieces.checked_sub(1)?;
                tokio::time::sleep(Duration::from_secs(self.seconds)).await;
                Some(Ok(Bytes::from(vec![0; self.bytes])))
            })
        }
    }

    impl Transport for Slow {
        fn get(&self, _: EdgeIndex, _: GetRequest) -> BoxFuture<'_, Result<Answer, TransportError>> {
            let head = AnswerHead { status: 200, content_range: None, content_length: None, retry_after_seconds: None };
            Box::pin(async move { Ok(Answer { head, body: Box::new(*self) }) })
        }
    }

    fn fetched(edge: Slow) -> Result<usize, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let answer = runtime.expect("runtime").block_on(get(&edge, EdgeIndex(0), "/v1/x", 8 << 20));
        match answer {
            Ok(Answered::Body(body)) => Ok(body.len()),
            Ok(Answered::Status { status, .. }) => Err(status.to_string()),
            Err(trouble) => Err(trouble.to_string()),
        }
    }

    /// Found in review: thirty seconds for up to 8 MiB, with no resume, shut out slow links.
    #[test]
    fn a_slow_link_gets_the_time_it_needs_and_a_dripping_edge_does_not() {
        assert_eq!(fetched(Slow { pieces: 512, bytes: 16 << 10, seconds: 2 }), Ok(8 << 20));
        let silent = fetched(Slow { pieces: 2, bytes: 16 << 10, seconds: 31 });
        assert_eq!(silent, Err("it was silent for 30 s".to_owned()));
        let dripping = fetched(Slow { pieces: 1000, bytes: 1, seconds: 20 });
        assert_eq!(dripping, Err("it sends less than 4096 bytes per second".to_owned()));
    }

    #[test]
    fn retry_after_is_obeyed_up_to_a_minute() {
        assert_eq!(pause_ms_after(0, None), 400);
        assert_eq!(pause_ms_after(2, Some(0)), 1600);
        assert_eq!(pause_ms_after(0, Some(45)), 45_000);
        assert_eq!(pause_ms_after(0, Some(3600)), 60_000);
    }
}
