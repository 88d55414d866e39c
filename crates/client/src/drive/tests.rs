//! The loop against transports that are scripts.

use super::*;
use crate::progress::Silent;
use crate::session::EdgeIndex;
use crate::transport::{Answer, AnswerBody, BoxFuture};
use penstock_core::blob::{BlobId, ByteRange};

/// Serves zeros.
struct Zeros;

struct Once(Option<Bytes>);

impl AnswerBody for Once {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
        Box::pin(async move { self.0.take().map(Ok) })
    }
}

impl Transport for Zeros {
    fn get(&self, _: EdgeIndex, request: GetRequest) -> BoxFuture<'_, Result<Answer, TransportError>> {
        let range = request.range.expect("blobs are asked for by range");
        let head = AnswerHead {
            status: 206,
            content_range: Some((range.start(), range.end() - 1)),
            content_length: Some(range.len()),
            retry_after_seconds: None,
        };
        let body = Bytes::from(vec![0; usize::try_from(range.len()).expect("small")]);
        Box::pin(async move { Ok(Answer { head, body: Box::new(Once(Some(body))) }) })
    }
}

struct Panics;

impl Sink for Panics {
    fn checker(&self) -> Checker<'_> {
        Box::new(|item, _| if item.0 == 3 { panic!("a bug") } else { Ok(Verdict::Good) })
    }
}

struct Agrees;

impl Sink for Agrees {
    fn checker(&self) -> Checker<'_> {
        Box::new(|_, _| Ok(Verdict::Good))
    }
}

fn items(count: u32) -> Vec<Item> {
    let item = |at: u32| {
        let start = u64::from(at) * 100;
        let range = ByteRange::new(start, start + 100).expect("not empty");
        Item { id: ItemId(at), blob: BlobId::of(b"pack"), range }
    };
    (0..count).map(item).collect()
}

/// A real build with thousands of small files hung: one piece of an answer held more items than both queues do, so
/// that the loop waited for the workers and the workers for the loop.
#[test]
fn more_tiny_items_than_the_queues_hold_come_through() {
    let edges = vec!["http://127.0.0.1:1".parse().expect("url")];
    let mut network = Network::new(&edges, Arc::new(Zeros), &Tuning::default()).expect("network");
    let many = u32::try_from(5 * WAITING_ITEMS_MAX).expect("small");
    network.fetch(items(many), &Agrees, &Silent).expect("all are good");
    assert_eq!(network.received_bytes(), u64::from(many) * 100);
}

/// Found in review: the verdict of an item whose check panicked never came, and the pull waited for ever.
#[test]
fn a_panic_in_a_check_ends_the_fetch_with_an_error() {
    let edges = vec!["http://127.0.0.1:1".parse().expect("url")];
    let mut network = Network::new(&edges, Arc::new(Zeros), &Tuning::default()).expect("network");
    let result = network.fetch(items(8), &Panics, &Silent);
    assert!(matches!(result, Err(PullError::Worker(_))), "{result:?}");
}

/// Refuses the first requests, then serves zeros.
struct Away(std::sync::atomic::AtomicU32);

impl Transport for Away {
    fn get(&self, edge: EdgeIndex, request: GetRequest) -> BoxFuture<'_, Result<Answer, TransportError>> {
        use std::sync::atomic::Ordering::SeqCst;
        if self.0.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            return Box::pin(async move { Err(TransportError::Connect(refused)) });
        }
        Zeros.get(edge, request)
    }
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _: crate::progress::Phase, _: u64) {}
    fn advance(&self, _: u64) {}
    fn note(&self, text: &str) {
        lock(&self.0).push(text.to_owned());
    }
}

/// When the only edge died, nothing was said for two minutes.
#[test]
fn an_edge_that_begins_to_fail_is_told_of_once() {
    let edges = vec!["http://127.0.0.1:1".parse().expect("url")];
    let away = Away(std::sync::atomic::AtomicU32::new(3));
    let mut network = Network::new(&edges, Arc::new(away), &Tuning::default()).expect("network");
    let notes = Notes::default();
    network.fetch(items(8), &Agrees, &notes).expect("it comes back");
    let expected = "http://127.0.0.1:1: not answering (cannot connect: connection refused), trying again";
    assert_eq!(*lock(&notes.0), [expected]);
}
