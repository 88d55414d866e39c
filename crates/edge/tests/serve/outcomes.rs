//! One outcome for each request, however it ends.

use crate::rig::{Over, Rig, content, read_answer, read_head, send};
use penstock_core::reply::Problem;
use penstock_core::request::Method;
use penstock_edge::outcome::{AccessLog, End, Ledger, OutcomeSink as _, Route};
use penstock_edge::serve::PlainTokens;
use penstock_store::Reading;
use std::io::{Read as _, Write as _};

#[test]
fn each_request_has_one() {
    let rig = Rig::new();
    let blob = rig.put_open(&content(100_000));
    let path = format!("/v1/blobs/{blob}");
    rig.get(&path, &[]);
    rig.get(&path, &[("range", "bytes=0-9,20-29")]);
    rig.ask("HEAD", &path, &[]);
    rig.get(&path, &[("if-none-match", "*")]);
    rig.get("/v1/catalog?sig=secret", &[]);
    let refused = rig.get("/nothing", &[]);
    let outcomes = rig.outcomes.wait(6);
    let seen: Vec<_> = outcomes.iter().map(|one| (one.route, one.status, one.ranges, one.end)).collect();
    assert_eq!(
        seen,
        [
            (Route::Blob, 200, 0, End::Complete),
            (Route::Blob, 206, 2, End::Complete),
            (Route::Blob, 200, 0, End::Complete),
            (Route::Blob, 304, 0, End::Complete),
            (Route::Catalog, 200, 0, End::Complete),
            (Route::Unknown, 404, 0, End::Complete),
        ]
    );
    assert!(outcomes.iter().all(|one| one.sent_bytes == one.planned_bytes));
    assert_eq!((outcomes[0].sent_bytes, outcomes[0].blob), (100_000, Some(blob)));
    assert_eq!((outcomes[2].sent_bytes, outcomes[2].method), (0, Method::Head));
    assert_eq!((outcomes[0].method_name, outcomes[2].method_name), ("GET", "HEAD"));
    assert_eq!(outcomes[5].problem.map(Problem::code), Some("unknown"));
    assert_eq!(refused.header("x-request-id"), Some(outcomes[5].request_id.to_string().as_str()));
    assert!(outcomes.iter().all(|one| one.head_after <= one.duration));
}

#[test]
fn methods_are_named_as_far_as_they_are_standard() {
    let rig = Rig::new();
    for (method, name) in [("PUT", "PUT"), ("DELETE", "DELETE"), ("BREW", "other")] {
        assert_eq!(rig.ask(method, "/v1/catalog", &[]).status, 405);
        let outcome = rig.outcomes.wait(1).pop().expect("one");
        assert_eq!((outcome.method, outcome.method_name), (Method::Other, name));
    }
}

#[test]
fn a_peer_that_leaves_has_one_too() {
    for over in [Over::Plain, Over::Tls] {
        let rig = Rig::with(over, Reading::Map, PlainTokens::Refuse);
        let blob = rig.put_open(&content(32 << 20));
        let mut socket = rig.connect();
        send(&mut socket, "GET", &format!("/v1/blobs/{blob}"), &[]);
        assert_eq!(read_head(&mut socket).expect("a head").status, 200);
        drop(socket);
        let outcomes = rig.outcomes.wait(1);
        assert_eq!((outcomes[0].status, outcomes[0].end), (200, End::Gone));
        assert!(outcomes[0].sent_bytes < outcomes[0].planned_bytes);
        assert_eq!(rig.get("/v1/catalog", &[]).status, 200);
        assert_eq!(rig.outcomes.wait(2).len(), 2, "and not more than one");
        assert!(rig.store.size_of(&blob).is_some(), "a peer that leaves says nothing about the blob");
    }
}

/// A reader that takes nothing for a while: what is handed over for it stays below two windows and what the kernel takes,
/// however large the blob is and however fast others are served meanwhile.
#[test]
fn a_reader_that_waits_is_handed_little() {
    for (over, reading) in [(Over::Plain, Reading::Map), (Over::Tls, Reading::Map), (Over::Tls, Reading::Pread)] {
        let rig = Rig::narrow(over, reading);
        let whole = content(16 << 20);
        let path = format!("/v1/blobs/{}", rig.put_open(&whole));
        let mut waiting = rig.connect();
        send(&mut waiting, "GET", &path, &[]);
        assert_eq!(read_head(&mut waiting).expect("a head").status, 200);
        // As much time as somebody else needs for all of it.
        assert!(rig.get(&path, &[]).body == whole);
        drop(waiting);
        let outcomes = rig.outcomes.wait(2);
        assert_eq!((outcomes[0].end, outcomes[1].end), (End::Complete, End::Gone));
        let handed = outcomes[1].sent_bytes;
        assert!((1..=1_500_000).contains(&handed), "{over:?} {reading:?}: {handed} bytes were handed over");
    }
}

/// A reader that takes a little at a time gets everything.
#[test]
fn a_slow_reader_gets_everything() {
    for (over, reading) in [(Over::Plain, Reading::Map), (Over::Tls, Reading::Map), (Over::Tls, Reading::Pread)] {
        let rig = Rig::with(over, reading, PlainTokens::Refuse);
        let whole = content(3_000_001);
        let blob = rig.put_open(&whole);
        let mut socket = rig.connect();
        send(&mut socket, "GET", &format!("/v1/blobs/{blob}"), &[]);
        assert_eq!(read_head(&mut socket).expect("a head").status, 200);
        let (mut got, mut piece) = (Vec::new(), [0; 700]);
        loop {
            match socket.read(&mut piece).expect("bytes") {
                0 => break,
                read => got.extend_from_slice(&piece[..read]),
            }
        }
        assert!(got == whole, "{over:?} {reading:?}: {} bytes", got.len());
        assert_eq!(rig.outcomes.wait(1)[0].end, End::Complete);
    }
}

/// RFC 9112, section 3.2.
#[test]
fn a_request_of_http1_1_names_one_host() {
    let rig = Rig::new();
    let ask = |version: &str, path: &str, hosts: &[&str]| {
        let mut socket = rig.connect();
        let hosts: String = hosts.iter().map(|host| format!("host: {host}\r\n")).collect();
        let head = format!("GET {path} HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).expect("sent");
        read_answer(&mut socket, "GET").expect("an answer")
    };
    let good: [(&str, &[&str]); 8] = [
        ("1.1", &["localhost"]),
        ("1.1", &["localhost:8080"]),
        ("1.1", &["[::1]:8080"]),
        ("1.1", &["192.0.2.7"]),
        ("1.1", &[""]),
        ("1.0", &[]),
        ("1.0", &["localhost"]),
        ("1.0", &[""]),
    ];
    for (version, hosts) in good {
        assert_eq!(ask(version, "/v1/catalog", hosts).status, 200, "HTTP/{version} {hosts:?}");
    }
    let wrong: [(&str, &[&str]); 7] = [
        ("1.1", &[]),
        ("1.1", &["localhost", "localhost"]),
        ("1.1", &["localhost", "evil.example"]),
        ("1.1", &["a b"]),
        ("1.1", &["user@localhost"]),
        ("1.1", &["localhost/path"]),
        ("1.0", &["localhost", "localhost"]),
    ];
    for (version, hosts) in wrong {
        for path in ["/v1/catalog", "/nothing", "http://localhost/v1/catalog"] {
            ask(version, path, hosts).assert_problem(400, "bad_request");
        }
    }
}

/// Requests on a kept-alive connection each have their own, in order, with ids of their own.
#[test]
fn pipelined_requests_have_one_each() {
    let rig = Rig::new();
    let mut socket = rig.connect();
    let one = "GET /v1/catalog HTTP/1.1\r\nhost: localhost\r\n\r\n";
    socket.write_all(format!("{one}{one}").as_bytes()).expect("sent");
    send(&mut socket, "GET", "/nothing", &[]);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let head = read_head(&mut socket).expect("a head");
        let length: usize = head.header("content-length").expect("a length").parse().expect("a number");
        let mut body = vec![0; length];
        socket.read_exact(&mut body).expect("a body");
        ids.push(head.header("x-request-id").expect("an id").to_owned());
    }
    ids.push(read_answer(&mut socket, "GET").expect("an answer").header("x-request-id").expect("an id").to_owned());
    let written: Vec<_> = rig.outcomes.wait(3).iter().map(|one| one.request_id.to_string()).collect();
    assert_eq!(written, ids);
}

#[test]
fn the_ledger_counts_what_it_is_told() {
    let handle = penstock_edge::metrics::install();
    let rig = Rig::new();
    rig.get("/v1/catalog", &[]);
    rig.get("/v1/blobs/abc", &[]);
    let ledger = Ledger::new(AccessLog::Write);
    for outcome in rig.outcomes.wait(2) {
        ledger.record(&outcome);
    }
    handle.run_upkeep();
    let text = handle.render();
    for line in [
        "penstock_edge_requests_total{route=\"catalog\",status=\"200\"} 1",
        "penstock_edge_requests_total{route=\"unknown\",status=\"400\"} 1",
        "penstock_edge_problems_total{code=\"bad_request\"} 1",
        "penstock_edge_door_requests_total{door=\"http\",protocol=\"http/1.1\"} 2",
        "penstock_edge_request_ends_total{end=\"complete\"} 2",
        "penstock_edge_request_seconds_count{route=\"catalog\"} 1",
        "penstock_edge_head_seconds_bucket{route=\"catalog\",le=\"+Inf\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
