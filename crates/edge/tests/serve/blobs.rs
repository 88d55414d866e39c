//! `/v1/blobs/{blob}`: statuses, fields and bytes.

use crate::rig::{Answer, Over, Rig, content, read_head, send};
use penstock_core::blob::BlobId;
use penstock_edge::serve::PlainTokens;
use penstock_store::Reading;
use sha2::Digest as _;
use std::io::Read as _;

/// Each with its reason: nothing, one byte, held in memory, just mapped, a window, several windows and a bit.
const SIZES: [usize; 6] = [0, 1, 16_384, 16_385, 262_144, 700_001];

fn blob(rig: &Rig, content: &[u8]) -> (String, String) {
    let blob = rig.put_open(content);
    (format!("/v1/blobs/{blob}"), format!("\"{blob}\""))
}

#[test]
fn whole_blobs_arrive_whole_in_every_mode() {
    for over in [Over::Plain, Over::Tls] {
        for reading in [Reading::Map, Reading::Pread] {
            let rig = Rig::with(over, reading, PlainTokens::Refuse);
            for size in SIZES {
                let content = content(size);
                let (path, etag) = blob(&rig, &content);
                let answer = rig.get(&path, &[]);
                assert_eq!(answer.status, 200);
                assert!(answer.body == content, "{size} bytes over {over:?}, {reading:?}");
                assert_eq!(answer.header("etag"), Some(etag.as_str()));
                assert_eq!(answer.header("accept-ranges"), Some("bytes"));
                assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
                assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
                assert_eq!(answer.header("content-range"), None);
                assert_eq!(answer.header("repr-digest"), None);
                assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
                assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 36 && &id[14..15] == "7"));
            }
        }
    }
}

#[test]
fn head_says_what_get_says_without_a_body() {
    let rig = Rig::new();
    let content = content(700_001);
    let (path, _) = blob(&rig, &content);
    let (get, head) = (rig.get(&path, &[]), rig.ask("HEAD", &path, &[]));
    let comparable = |answer: &Answer| {
        let varies = |name: &str| name == "x-request-id" || name == "date";
        let mut fields: Vec<_> = answer.headers.iter().filter(|(name, _)| !varies(name)).cloned().collect();
        fields.sort();
        (answer.status, fields)
    };
    assert_eq!(comparable(&get), comparable(&head));
    assert_eq!(head.body, b"");
    let ranged = rig.ask("HEAD", &path, &[("range", "bytes=0-9")]);
    assert_eq!(comparable(&ranged), comparable(&head), "RFC 9110, section 14.2: Range is defined for GET alone");
}

#[test]
fn single_ranges() {
    let rig = Rig::new();
    let content = content(700_001);
    let (path, etag) = blob(&rig, &content);
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 700_001),
        ("bytes=262143-262144", 262_143, 262_145),
        ("bytes=100000-600000", 100_000, 600_001),
        ("bytes=-1", 700_000, 700_001),
        ("bytes=699999-99999999999999999999999", 699_999, 700_001),
        ("bytes=5-9,0-4,10-10", 0, 11),
    ] {
        let answer = rig.get(&path, &[("range", range)]);
        assert_eq!(answer.status, 206, "{range}");
        assert!(answer.body == content[start..end], "{range}");
        assert_eq!(answer.header("content-range"), Some(format!("bytes {start}-{}/700001", end - 1).as_str()));
        assert_eq!(answer.header("etag"), Some(etag.as_str()));
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    }
}

#[test]
fn several_ranges_are_a_multipart_to_the_byte() {
    let rig = Rig::with(Over::Tls, Reading::Map, PlainTokens::Refuse);
    let content = content(700_001);
    let (path, _) = blob(&rig, &content);
    let answer = rig.get(&path, &[("range", "bytes=600000-700000,0-9, 100-300000")]);
    assert_eq!(answer.status, 206);
    assert_eq!(answer.header("content-range"), None, "RFC 9110, section 15.3.7.2");
    let boundary =
        answer.header("content-type").and_then(|value| value.strip_prefix("multipart/byteranges; boundary="));
    let boundary = boundary.expect("a multipart");
    let mut expected = Vec::new();
    for (start, end) in [(600_000, 700_001), (0, 10), (100, 300_001)] {
        let before = if expected.is_empty() { "" } else { "\r\n" };
        let head = format!(
            "{before}--{boundary}\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes {start}-{}/700001\r\n\r\n",
            end - 1
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&content[start..end]);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(answer.body == expected);
}

#[test]
fn ranges_that_do_not_count_and_ranges_that_do_not_exist() {
    let rig = Rig::new();
    let content = content(20_000);
    let (path, _) = blob(&rig, &content);
    let many = format!("bytes={}", (0..257).map(|i| format!("{}-{}", 2 * i, 2 * i)).collect::<Vec<_>>().join(","));
    for ignored in ["bytes=2-1", "bytes=x", "items=0-1", "bytes=", many.as_str()] {
        let answer = rig.get(&path, &[("range", ignored)]);
        assert_eq!((answer.status, answer.body.len()), (200, 20_000), "{ignored}");
    }
    let twice = rig.get(&path, &[("range", "bytes=0-1"), ("range", "bytes=2-3")]);
    assert_eq!(twice.status, 200, "Range is one field, not a list");
    let answer = rig.get(&path, &[("range", "bytes=20000-")]);
    answer.assert_problem(416, "range_not_satisfiable");
    assert_eq!(answer.header("content-range"), Some("bytes */20000"));
    let (empty, _) = blob(&rig, b"");
    rig.get(&empty, &[("range", "bytes=0-")]).assert_problem(416, "range_not_satisfiable");
    assert_eq!(rig.get(&empty, &[("range", "bytes=-5")]).status, 200);
}

#[test]
fn conditions() {
    let rig = Rig::new();
    let content = content(20_000);
    let (path, etag) = blob(&rig, &content);
    let answer = rig.get(&path, &[("if-none-match", &etag)]);
    assert_eq!((answer.status, answer.body.len()), (304, 0));
    assert_eq!(answer.header("etag"), Some(etag.as_str()));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(rig.ask("HEAD", &path, &[("if-none-match", "*")]).status, 304);
    assert_eq!(rig.get(&path, &[("if-none-match", "\"other\"")]).status, 200);
    rig.get(&path, &[("if-match", "\"other\"")]).assert_problem(412, "precondition_failed");
    assert_eq!(rig.get(&path, &[("if-match", &etag), ("range", "bytes=0-1")]).status, 206);
    assert_eq!(rig.get(&path, &[("if-range", &etag), ("range", "bytes=0-1")]).status, 206);
    assert_eq!(rig.get(&path, &[("if-range", "\"other\""), ("range", "bytes=0-1")]).status, 200);
    assert_eq!(rig.get(&path, &[("if-range", "\"other\""), ("range", "bytes=20000-")]).status, 200);
    let date = "Sat, 29 Oct 1994 19:43:31 GMT";
    assert_eq!(rig.get(&path, &[("if-unmodified-since", date)]).status, 200, "RFC 9110, section 13.1.4");
    assert_eq!(rig.get(&path, &[("if-modified-since", "Sat, 29 Oct 2094 19:43:31 GMT")]).status, 200, "13.1.3");
}

#[test]
fn digests_when_wanted() {
    use base64::Engine as _;
    let rig = Rig::new();
    for size in [0, 100, 700_001] {
        let content = content(size);
        let (path, _) = blob(&rig, &content);
        let sha256 = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(&content));
        let expected = format!("sha-256=:{sha256}:");
        for range in ["bytes=-1", "nothing"] {
            let answer = rig.get(&path, &[("want-repr-digest", "sha-512=3, sha-256=10"), ("range", range)]);
            assert_eq!(answer.header("repr-digest"), Some(expected.as_str()), "of the whole, whatever part is sent");
        }
        let head = rig.ask("HEAD", &path, &[("want-repr-digest", "sha-256=1")]);
        assert_eq!(head.header("repr-digest"), Some(expected.as_str()));
        assert_eq!(rig.get(&path, &[("want-repr-digest", "sha-256=0")]).header("repr-digest"), None);
    }
}

/// A digest costs a walk through the whole blob: a refusal must not be a way to have it made.
#[test]
fn no_digest_is_computed_for_a_refusal() {
    let rig = Rig::new();
    let name = rig.put_open(&content(700_001));
    let path = format!("/v1/blobs/{name}");
    let kept = rig.blob_path(&name).with_extension("sha2");
    let wanted = ("want-repr-digest", "sha-256=10");
    rig.get(&path, &[wanted, ("range", "bytes=700001-")]).assert_problem(416, "range_not_satisfiable");
    assert_eq!(rig.get(&path, &[wanted, ("if-none-match", "*")]).status, 304);
    assert!(!kept.exists(), "it was computed");
    assert_eq!(rig.get(&path, &[wanted, ("range", "bytes=0-0")]).status, 206);
    assert!(kept.exists());
}

/// Each blob under way keeps a file open, whatever the cache of open blobs has dropped. Above the bound others wait, and
/// those that are open already are served on.
#[test]
fn blobs_under_way_are_bounded() {
    use penstock_edge::listen::Handler as _;
    for reading in [Reading::Map, Reading::Pread] {
        let rig = Rig::narrow(Over::Plain, reading);
        rig.server.set_live_blobs_max(2);
        let path = |blob: BlobId| format!("/v1/blobs/{blob}");
        let [one, two, three] = [8_000_001, 8_000_002, 8_000_003].map(|size| path(rig.put_open(&content(size))));
        let small = path(rig.put_open(b"held in memory, without a file"));
        let [mut first, mut second] = [&one, &two].map(|path| {
            let mut socket = rig.connect();
            send(&mut socket, "GET", path, &[]);
            assert_eq!(read_head(&mut socket).expect("a head").status, 200);
            socket
        });
        let refused = rig.get(&three, &[]);
        refused.assert_problem(503, "unavailable");
        assert_eq!(refused.header("retry-after"), Some("10"));
        assert_eq!(rig.get(&one, &[]).body.len(), 8_000_001, "its file is open anyhow");
        assert_eq!(rig.get(&small, &[]).status, 200);
        let mut rest = Vec::new();
        first.read_to_end(&mut rest).expect("the rest");
        assert_eq!(rest.len(), 8_000_001);
        // The outcome comes with the end of the body, and the place is free once it is dropped.
        while rig.get(&three, &[]).status == 503 {}
        second.read_to_end(&mut rest).expect("the rest");
    }
}

#[test]
fn methods_names_and_paths() {
    let rig = Rig::new();
    let (path, _) = blob(&rig, b"x");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"] {
        let answer = rig.ask(method, &path, &[]);
        answer.assert_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    rig.get("/v1/blobs/abc", &[]).assert_problem(400, "bad_request");
    rig.get(&path.to_uppercase().replace("/V1/BLOBS", "/v1/blobs"), &[]).assert_problem(400, "bad_request");
    rig.get("/", &[]).assert_problem(404, "unknown");
    rig.get("/healthz", &[]).assert_problem(404, "unknown");
    rig.get("/v1/reports", &[]).assert_problem(404, "unknown");
    rig.ask("POST", "/v1/reports", &[("content-length", "0")]).assert_problem(404, "unknown");
    rig.get(&format!("/v1/catalog?{}", "a".repeat(9000)), &[]).assert_problem(414, "target_too_long");
    let unknown = rig.get(&format!("/v1/blobs/{}", BlobId::of(b"never stored")), &[]);
    unknown.assert_problem(404, "unknown");
    let head = rig.ask("HEAD", &format!("/v1/blobs/{}", BlobId::of(b"never stored")), &[]);
    assert_eq!((head.status, head.body.len()), (404, 0));
    assert_eq!(head.header("content-length"), unknown.header("content-length"));
}

#[test]
fn a_blob_that_nobody_was_told_of_does_not_exist() {
    let rig = Rig::new();
    let blob = rig.put(b"secret");
    for part in ["", "/outboard", "/verified"] {
        rig.get(&format!("/v1/blobs/{blob}{part}"), &[]).assert_problem(404, "unknown");
    }
}

#[test]
fn tokens_over_plain_http() {
    let token = [("authorization", "Bearer abc")];
    let refusing = Rig::new();
    let (path, _) = blob(&refusing, b"x");
    refusing.get(&path, &token).assert_problem(400, "token_over_plain_http");
    let accepting = Rig::with(Over::Plain, Reading::Map, PlainTokens::Accept);
    let (path, _) = blob(&accepting, b"x");
    assert_eq!(accepting.get(&path, &token).status, 200);
    let tls = Rig::with(Over::Tls, Reading::Map, PlainTokens::Refuse);
    let (path, _) = blob(&tls, b"x");
    assert_eq!(tls.get(&path, &token).status, 200);
}

/// Pages that were dropped from the cache come from the disk by way of the pool.
#[test]
fn cold_pages() {
    penstock_edge::metrics::install();
    for reading in [Reading::Map, Reading::Pread] {
        let rig = Rig::with(Over::Plain, reading, PlainTokens::Refuse);
        let content = content(3_000_000);
        let (path, _) = blob(&rig, &content);
        let name = rig.put_open(&content);
        let file = std::fs::File::open(rig.blob_path(&name)).expect("the blob");
        let before = cold_windows();
        // The kernel leaves pages that somebody looks at just then, such as a scan of all memory.
        for _ in 0..40 {
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
            assert!(rig.get(&path, &[]).body == content);
            if cold_windows() > before {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(cold_windows() > before, "{reading:?}: the file was not cold; is the directory on a tmpfs?");
    }
}

fn cold_windows() -> u64 {
    let text = penstock_edge::metrics::install().render();
    let line = text.lines().find_map(|line| line.strip_prefix("penstock_edge_cold_windows_total "));
    line.map_or(0, |count| count.parse().expect("a number"))
}

/// HTTP/2: the same pipeline, many streams on one connection.
#[test]
fn over_http2() {
    use http_body_util::{BodyExt as _, Empty};
    let rig = Rig::new();
    let content = content(700_001);
    let (path, etag) = blob(&rig, &content);
    rig.runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(rig.address).await.expect("connected");
        let executor = hyper_util::rt::TokioExecutor::new();
        let io = hyper_util::rt::TokioIo::new(socket);
        let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.expect("http/2");
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for start in 0..8 {
            let request = hyper::Request::get(format!("http://localhost{path}"))
                .header("range", format!("bytes={start}-699999"))
                .body(Empty::<bytes::Bytes>::new())
                .expect("a request");
            answers.push(tokio::spawn(sender.clone().send_request(request)));
        }
        for (start, answer) in answers.into_iter().enumerate() {
            let response = answer.await.expect("no panic").expect("an answer");
            assert_eq!(response.status(), 206);
            assert_eq!(response.headers()["etag"], etag);
            assert!(response.into_body().collect().await.expect("a body").to_bytes() == content[start..700_000]);
        }
    });
}
