//! The client's session under any order of events: it never loses an item, never asks more than it may, hands
//! out items of exactly their length, and ends.
//!
//! The session is pure, so its module is compiled here by itself, without the client's TLS and HTTP.

#![no_main]
#![allow(dead_code, unused_imports)] // Of the module below, only what events need is used.

#[path = "../../crates/client/src/session/mod.rs"]
mod session;

use libfuzzer_sys::fuzz_target;
use penstock_core::blob::{BlobId, ByteRange};
use session::{Action, AnswerHead, Failure, Item, ItemId, Millis, RangeRequest, Session, SessionLimits, Verdict};
use std::collections::{BTreeMap, BTreeSet};

const PARALLEL: usize = 3;
/// Events after which a session that has an honest edge, and is told the truth, must have ended.
const STEPS_MAX: usize = 20_000;

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let edges = 1 + usize::from(script.next() % 4);
    let limits = SessionLimits { parallel: PARALLEL, stall_ms: 1000, ..SessionLimits::default() };
    let mut world = World {
        session: Session::new(edges, limits, 1),
        now: Millis(0),
        items: BTreeMap::new(),
        running: BTreeMap::new(),
        lied: false,
        edges,
        blamed: BTreeSet::new(),
    };
    world.want(&mut script);
    while !script.0.is_empty() {
        if world.step(Some(&mut script)) {
            return;
        }
    }
    // From here on every edge is honest and prompt.
    for _ in 0..STEPS_MAX {
        if world.step(None) {
            return;
        }
    }
    panic!("the session does not end: {} items are left, {} requests run", world.items.len(), world.running.len());
});

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
}

struct World {
    session: Session,
    now: Millis,
    items: BTreeMap<ItemId, Item>,
    running: BTreeMap<u64, (RangeRequest, bool, u64)>,
    /// Whether any edge has sent wrong bytes so far.
    lied: bool,
    edges: usize,
    /// Edges that ever did anything but answer promptly and truly.
    blamed: BTreeSet<usize>,
}

impl World {
    fn want(&mut self, script: &mut Script<'_>) {
        let blobs = [BlobId::of(b"a"), BlobId::of(b"b")];
        let mut starts = [0u64; 2];
        for index in 0..1 + u32::from(script.next() % 12) {
            let choice = script.next();
            let at = usize::from(choice & 1);
            let gap = if choice & 2 == 0 { 0 } else { u64::from(script.next()) * 200 };
            let length = 1 + u64::from(script.next()) * if choice & 4 == 0 { 1 } else { 300 };
            let range = ByteRange::new(starts[at] + gap, starts[at] + gap + length).expect("not empty");
            starts[at] = range.end();
            self.items.insert(ItemId(index), Item { id: ItemId(index), blob: blobs[at], range });
        }
        let items: Vec<Item> = self.items.values().copied().collect();
        self.session.want(items);
    }

    /// One action and one event; whether the session has ended.
    fn step(&mut self, script: Option<&mut Script<'_>>) -> bool {
        match self.session.next_action(self.now) {
            Action::Start(request) => {
                assert!(self.session.dropped().all(|(edge, _)| edge != request.edge), "a dropped edge is asked");
                self.running.insert(request.id.0, (request, false, request.range.start()));
                assert!(self.running.len() <= PARALLEL, "more requests than allowed");
            }
            Action::Cancel(id) => {
                // It stalled, or its edge was dropped for something else.
                if let Some((request, ..)) = self.running.remove(&id.0) {
                    self.blamed.insert(request.edge.0);
                }
            }
            Action::Idle => {
                assert!(self.items.is_empty(), "{} items are forgotten", self.items.len());
                return true;
            }
            Action::Fail(error) => {
                assert_eq!(self.blamed.len(), self.edges, "gave up although an honest edge is left: {error}");
                return true;
            }
            Action::Wait(until) => {
                assert!(until > self.now);
                if self.running.is_empty() {
                    self.now = until;
                }
            }
        }
        match script {
            Some(script) => self.scripted(script),
            None => self.honest(),
        }
        false
    }

    fn pick(&self, choice: u8) -> Option<RangeRequest> {
        let index = usize::from(choice) % self.running.len().max(1);
        self.running.values().nth(index).map(|(request, ..)| *request)
    }

    fn scripted(&mut self, script: &mut Script<'_>) {
        let event = script.next();
        self.now = self.now.plus(u64::from(event >> 4) * 7);
        let Some(request) = self.pick(script.next()) else { return };
        match event & 15 {
            0..=2 => self.head(request, good_head(request.range)),
            3 => {
                self.blamed.insert(request.edge.0);
                self.head(request, strange_head(request.range, script));
            }
            4..=8 => self.body(request, 1 + u64::from(script.next()) * 40, false),
            9 => self.body(request, 1 + u64::from(script.next()) * 40, true),
            10 => self.body(request, request.range.len() + 1, false),
            11 => self.end(request, |session, now| session.on_end(request.id, now)),
            12 => self.end(request, |session, now| session.on_failure(request.id, Failure::Broken, now)),
            13 => self.end(request, |session, now| session.on_failure(request.id, Failure::Malformed, now)),
            14 => self.now = self.now.plus(1500),
            _ => {}
        }
    }

    fn honest(&mut self) {
        self.now = self.now.plus(1);
        let Some(request) = self.pick(0) else { return };
        self.head(request, good_head(request.range));
        self.body(request, request.range.len(), false);
    }

    fn head(&mut self, request: RangeRequest, head: AnswerHead) {
        let Some((_, headed, _)) = self.running.get_mut(&request.id.0) else { return };
        // A driver tells each head once.
        if std::mem::replace(headed, true) {
            return;
        }
        if !self.session.on_head(request.id, &head, self.now) {
            self.running.remove(&request.id.0);
        }
    }

    fn body(&mut self, request: RangeRequest, length: u64, lie: bool) {
        let Some((_, true, cursor)) = self.running.get_mut(&request.id.0) else { return };
        let from = *cursor;
        // Only the event that sends too much goes past the end.
        let length = if length > request.range.len() { length } else { length.min(request.range.end() - from) };
        *cursor += length;
        let over = *cursor >= request.range.end();
        let bytes: Vec<u8> = (from..from + length).map(|at| byte_at(at) ^ u8::from(lie)).collect();
        self.lied |= lie;
        if lie || length > request.range.len() {
            self.blamed.insert(request.edge.0);
        }
        let arrived = self.session.on_bytes(request.id, &bytes, self.now);
        if over {
            self.running.remove(&request.id.0);
        }
        let mut seen = BTreeSet::new();
        for one in arrived {
            assert!(seen.insert(one.item), "an item arrived twice at once");
            let item = *self.items.get(&one.item).expect("only wanted items arrive");
            assert_eq!(one.bytes.len() as u64, item.range.len(), "an item of another length");
            let good = one.bytes.iter().zip(item.range.start()..).all(|(byte, at)| *byte == byte_at(at));
            assert!(good || self.lied, "honest edges, wrong bytes");
            if good {
                self.items.remove(&one.item);
            }
            self.session.on_verdict(one.item, if good { Verdict::Good } else { Verdict::Bad }, self.now);
        }
    }

    fn end(&mut self, request: RangeRequest, tell: impl FnOnce(&mut Session, Millis)) {
        self.running.remove(&request.id.0);
        self.blamed.insert(request.edge.0);
        tell(&mut self.session, self.now);
    }
}

const fn byte_at(at: u64) -> u8 {
    (at * 31 % 251) as u8
}

const fn good_head(range: ByteRange) -> AnswerHead {
    AnswerHead {
        status: 206,
        content_range: Some((range.start(), range.end() - 1)),
        content_length: Some(range.len()),
        retry_after_seconds: None,
    }
}

fn strange_head(range: ByteRange, script: &mut Script<'_>) -> AnswerHead {
    let statuses = [200, 206, 301, 404, 429, 451, 503, 100];
    AnswerHead {
        status: statuses[usize::from(script.next() % 8)],
        content_range: (script.next() & 1 == 0).then_some((range.start() + 1, range.end())),
        content_length: Some(range.len() + u64::from(script.next() & 1)),
        retry_after_seconds: (script.next() & 1 == 0).then_some(1),
    }
}
