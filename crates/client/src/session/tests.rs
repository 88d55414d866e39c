//! The session against scripted edges: examples for each fault, then a property over all of them.

#![expect(clippy::cast_possible_truncation, reason = "test sizes are small")]

use super::*;
use proptest::prelude::*;

fn blob_bytes(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

fn items(sizes: &[u64]) -> Vec<Item> {
    let blob = BlobId::of(b"pack");
    let mut at = 0;
    let mut list = Vec::new();
    for (index, size) in sizes.iter().enumerate() {
        let range = ByteRange::new(at, at + size).expect("sizes are positive");
        list.push(Item { id: ItemId(index as u32), blob, range });
        at += size;
    }
    list
}

fn good_head(range: ByteRange) -> AnswerHead {
    AnswerHead {
        status: 206,
        content_range: Some((range.start(), range.end() - 1)),
        content_length: Some(range.len()),
        retry_after_seconds: None,
    }
}

fn status(status: u16, retry_after_seconds: Option<u64>) -> AnswerHead {
    AnswerHead { status, content_range: None, content_length: None, retry_after_seconds }
}

fn start(session: &mut Session, now: Millis) -> RangeRequest {
    match session.next_action(now) {
        Action::Start(request) => request,
        other => panic!("expected a request, got {other:?}"),
    }
}

#[test]
fn resumes_at_the_byte_where_another_edge_broke_off() {
    let mut session = Session::new(2, SessionLimits { parallel: 1, ..SessionLimits::default() }, 1);
    session.want(items(&[100, 100]));
    let first = start(&mut session, Millis(0));
    assert_eq!(first.range.len(), 200);
    assert!(session.on_head(first.id, &good_head(first.range), Millis(1)));
    let bytes = blob_bytes(200);
    assert_eq!(session.on_bytes(first.id, &bytes[..130], Millis(2)).len(), 1);
    session.on_failure(first.id, Failure::Broken, Millis(3));
    let second = start(&mut session, Millis(3));
    assert_ne!(second.edge, first.edge);
    assert_eq!((second.range.start(), second.range.end()), (130, 200));
    session.on_head(second.id, &good_head(second.range), Millis(4));
    let arrived = session.on_bytes(second.id, &bytes[130..], Millis(5));
    assert_eq!(arrived[0].bytes, &bytes[100..]);
    // The mix of two edges is wrong: nobody is condemned, but the item is fetched from one alone.
    session.on_verdict(ItemId(1), Verdict::Bad, Millis(6));
    assert_eq!(session.dropped().count(), 0);
    let third = start(&mut session, Millis(5_000));
    assert_eq!((third.range.start(), third.range.end()), (100, 200));
}

#[test]
fn a_liar_is_dropped_and_its_other_requests_are_cancelled() {
    let mut session = Session::new(2, SessionLimits::default(), 1);
    session.want(items(&[REQUEST_BYTES_MAX, REQUEST_BYTES_MAX, REQUEST_BYTES_MAX]));
    let one = start(&mut session, Millis(0));
    let _two = start(&mut session, Millis(0));
    let three = start(&mut session, Millis(0));
    assert_eq!(one.edge, three.edge);
    session.on_head(one.id, &good_head(one.range), Millis(1));
    let bytes = vec![0; REQUEST_BYTES_MAX as usize];
    assert_eq!(session.on_bytes(one.id, &bytes, Millis(2)).len(), 1);
    session.on_verdict(ItemId(0), Verdict::Bad, Millis(3));
    assert_eq!(session.dropped().collect::<Vec<_>>(), [(one.edge, DropReason::WrongBytes)]);
    assert_eq!(session.next_action(Millis(3)), Action::Cancel(three.id));
    for _ in 0..2 {
        assert_ne!(start(&mut session, Millis(3)).edge, one.edge);
    }
}

#[test]
fn each_bad_answer_is_known_for_what_it_is() {
    type Case = (fn(&mut Session, RangeRequest), Option<DropReason>);
    let cases: [Case; 7] = [
        (|s, r| assert!(!s.on_head(r.id, &status(302, None), Millis(1))), Some(DropReason::Redirected)),
        (|s, r| assert!(!s.on_head(r.id, &status(200, None), Millis(1))), Some(DropReason::WrongRange)),
        (|s, r| assert!(!s.on_head(r.id, &status(451, None), Millis(1))), Some(DropReason::Refused(451))),
        (|s, r| assert!(!s.on_head(r.id, &status(503, Some(3)), Millis(1))), None),
        (|s, r| assert!(!s.on_head(r.id, &status(429, Some(100_000)), Millis(1))), Some(DropReason::Unreachable)),
        (
            |s, r| {
                s.on_head(r.id, &good_head(r.range), Millis(1));
                s.on_bytes(r.id, &[0; 101], Millis(2));
            },
            Some(DropReason::TooMuch),
        ),
        (|s, r| s.on_failure(r.id, Failure::Untrusted, Millis(1)), Some(DropReason::Untrusted)),
    ];
    for (index, (answer, expected)) in cases.into_iter().enumerate() {
        let mut session = Session::new(1, SessionLimits::default(), 1);
        session.want(items(&[100]));
        let request = start(&mut session, Millis(0));
        answer(&mut session, request);
        assert_eq!(session.dropped().next().map(|(_, reason)| reason), expected, "case {index}");
    }
}

/// Found by fuzzing: the rest of an item was being fetched from a second edge when the first one, which had sent its
/// beginning, was caught lying about another item. The session took the rest for the beginning and waited for ever.
#[test]
fn an_item_whose_beginning_is_discarded_during_its_resume_is_asked_for_again() {
    let limits = SessionLimits { parallel: 2, ..SessionLimits::default() };
    let mut session = Session::new(2, limits, 1);
    let other = Item { id: ItemId(9), blob: BlobId::of(b"other"), range: ByteRange::new(0, 50).expect("not empty") };
    session.want(items(&[100]).into_iter().chain([other]));
    let bytes = blob_bytes(100);
    let begun = start(&mut session, Millis(0));
    session.on_head(begun.id, &good_head(begun.range), Millis(1));
    session.on_bytes(begun.id, &bytes[..40], Millis(2));
    let lie = loop {
        let request = start(&mut session, Millis(3));
        if request.blob == other.blob && request.edge == begun.edge {
            break request;
        }
        // The liar must be the edge that began the first item.
        session.on_failure(request.id, Failure::Broken, Millis(3));
    };
    session.on_failure(begun.id, Failure::Broken, Millis(4));
    let resumed = start(&mut session, Millis(300));
    assert_ne!(resumed.edge, begun.edge);
    assert_eq!(resumed.range.start(), 40);
    session.on_head(resumed.id, &good_head(resumed.range), Millis(301));
    session.on_head(lie.id, &good_head(lie.range), Millis(301));
    let wrong = session.on_bytes(lie.id, &[7; 50], Millis(302));
    session.on_verdict(wrong[0].item, Verdict::Bad, Millis(302));
    assert_eq!(session.dropped().map(|(edge, _)| edge).collect::<Vec<_>>(), [begun.edge]);
    assert!(session.on_bytes(resumed.id, &bytes[40..], Millis(303)).is_empty());
    let again: Vec<RangeRequest> = (0..2).map(|_| start(&mut session, Millis(304))).collect();
    let again = again.iter().find(|request| request.blob != other.blob).expect("the item is asked for again");
    assert_eq!((again.range.start(), again.range.end()), (0, 100));
    session.on_head(again.id, &good_head(again.range), Millis(305));
    assert_eq!(session.on_bytes(again.id, &bytes, Millis(306))[0].bytes, bytes);
}

#[test]
fn retry_after_is_obeyed_and_a_stall_is_cancelled() {
    let mut session = Session::new(1, SessionLimits { stall_ms: 1000, ..SessionLimits::default() }, 1);
    session.want(items(&[100]));
    let request = start(&mut session, Millis(0));
    session.on_head(request.id, &status(503, Some(7)), Millis(10));
    assert_eq!(session.next_action(Millis(11)), Action::Wait(Millis(7010)));
    let again = start(&mut session, Millis(7010));
    assert_eq!(session.next_action(Millis(7020)), Action::Wait(Millis(8010)));
    assert_eq!(session.next_action(Millis(8010)), Action::Cancel(again.id));
    assert!(matches!(session.next_action(Millis(8010)), Action::Wait(_)));
}

#[test]
fn an_unreachable_edge_ends_in_an_error_that_names_the_reason() {
    let mut session = Session::new(1, SessionLimits::default(), 1);
    session.want(items(&[100]));
    let mut now = Millis(0);
    for _ in 0..100 {
        match session.next_action(now) {
            Action::Start(request) => session.on_failure(request.id, Failure::Broken, now),
            Action::Wait(until) => now = until,
            Action::Fail(error) => {
                assert_eq!(error, SessionError::NoEdgeLeft(DropReason::Unreachable));
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("did not end");
}

/// One scripted thing an edge does with a request.
#[derive(Debug, Clone)]
enum Deed {
    Serve { piece: usize },
    Lie,
    BreakAt(u64),
    TooMuch,
    Stall,
    Status(u16),
    Shift,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1usize..70_000).prop_map(|piece| Deed::Serve { piece }),
        1 => Just(Deed::Lie),
        3 => (0u64..200_000).prop_map(Deed::BreakAt),
        1 => Just(Deed::TooMuch),
        1 => Just(Deed::Stall),
        1 => prop::sample::select(vec![200u16, 302, 404, 429, 500, 503]).prop_map(Deed::Status),
        1 => Just(Deed::Shift),
    ]
}

proptest! {
    /// Whatever edges do, the session ends, and what was accepted as good is what was published.
    #[test]
    fn always_ends_and_never_accepts_wrong_bytes(
        sizes in prop::collection::vec(1u64..120_000, 1..30),
        edges in 1usize..4,
        script in prop::collection::vec(deed(), 1..60),
        honest_last in any::<bool>(),
    ) {
        let list = items(&sizes);
        let total: u64 = sizes.iter().sum();
        let content = blob_bytes(total);
        let mut session = Session::new(edges, SessionLimits::default(), 7);
        session.want(list.clone());
        let mut now = Millis(0);
        let mut good = vec![false; list.len()];
        let mut turn = 0usize;
        let mut steps = 0usize;
        loop {
            steps += 1;
            prop_assert!(steps < 200_000, "does not end");
            match session.next_action(now) {
                Action::Idle => { prop_assert!(good.iter().all(|done| *done)); break; }
                Action::Fail(_) => break,
                Action::Cancel(_) => {}
                Action::Wait(until) => { prop_assert!(until > now); now = until; }
                Action::Start(request) => {
                    let honest = honest_last && request.edge.0 == edges - 1;
                    let deed = if honest { Deed::Serve { piece: 50_000 } } else { script[turn % script.len()].clone() };
                    turn += 1;
                    play(&mut session, request, &deed, &content, &list, &mut good, &mut now);
                }
            }
        }
        if honest_last {
            prop_assert!(good.iter().all(|done| *done), "an honest edge was there");
        }
    }
}

fn play(
    session: &mut Session,
    request: RangeRequest,
    deed: &Deed,
    content: &[u8],
    list: &[Item],
    good: &mut [bool],
    now: &mut Millis,
) {
    *now = now.plus(5);
    let (start, end) = (request.range.start() as usize, request.range.end() as usize);
    let mut body = content[start..end].to_vec();
    let mut piece = 16_384;
    match deed {
        Deed::Status(code) => {
            session.on_head(request.id, &status(*code, None), *now);
            return;
        }
        Deed::Shift => {
            let head = AnswerHead { content_range: Some((start as u64 + 1, end as u64)), ..good_head(request.range) };
            session.on_head(request.id, &head, *now);
            return;
        }
        Deed::Stall => {
            session.on_head(request.id, &good_head(request.range), *now);
            return;
        }
        Deed::Serve { piece: size } => piece = *size,
        Deed::Lie => body.iter_mut().for_each(|byte| *byte ^= 0x5a),
        Deed::BreakAt(at) => body.truncate(usize::try_from(*at).expect("small")),
        Deed::TooMuch => body.push(0),
    }
    if !session.on_head(request.id, &good_head(request.range), *now) {
        return;
    }
    for bytes in body.chunks(piece) {
        for arrived in session.on_bytes(request.id, bytes, *now) {
            let item = list[arrived.item.0 as usize];
            let expected = &content[item.range.start() as usize..item.range.end() as usize];
            let verdict = if arrived.bytes == expected { Verdict::Good } else { Verdict::Bad };
            if verdict == Verdict::Good {
                assert!(!std::mem::replace(&mut good[arrived.item.0 as usize], true), "delivered twice");
            }
            session.on_verdict(arrived.item, verdict, *now);
        }
    }
    session.on_end(request.id, *now);
}
