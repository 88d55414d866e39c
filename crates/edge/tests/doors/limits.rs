//! What one peer may take: connections, heads, time, and patience.

use crate::rig::{
    BodyEnd, Http2, PATIENCE, Rig, body_text, certificate, clients, config, frames, get, http1, http2, start, tls,
    write_certificate,
};
use http_body_util::BodyExt;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

async fn plain(rig: &Rig) -> TcpStream {
    TcpStream::connect(rig.http.expect("http")).await.expect("a connection")
}

/// A connection whose receive buffer is so small that the server feels each byte left unread.
async fn narrow(rig: &Rig) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(rig.http.expect("http")).await.expect("a connection")
}

#[test]
fn one_peer_gets_its_share_then_an_explanation_then_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), "[limits]\nconnections_per_address = 1\naddress_exempt = []"));
    clients(async {
        let mut first = http1(plain(&rig).await).await;
        assert_eq!(first.send_request(get("/")).await.expect("served").status(), 200);

        let refused = http1(plain(&rig).await).await.send_request(get("/")).await.expect("told why");
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()["retry-after"], "5");
        assert_eq!(refused.headers()["connection"], "close");
        assert_eq!(body_text(refused).await, "too_many_requests");

        // More than a little too many: closed without an answer.
        let mut held = Vec::new();
        for _ in 0..12 {
            held.push(plain(&rig).await);
        }
        let mut closed = 0;
        for stream in &mut held {
            _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let mut answer = Vec::new();
            _ = stream.read_to_end(&mut answer).await;
            closed += usize::from(answer.is_empty());
        }
        // On a busy machine one may come when another has its explanation and is gone.
        assert!(closed >= 1, "{closed} of 12 were closed at once");
        first.ready().await.expect("the first connection is not disturbed");
        assert_eq!(first.send_request(get("/")).await.expect("served").status(), 200);
    });
}

#[test]
fn a_full_node_says_503_and_has_room_again_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), "[limits]\nconnections_max = 1"));
    clients(async {
        let mut first = http1(plain(&rig).await).await;
        assert_eq!(first.send_request(get("/")).await.expect("served").status(), 200);
        let refused = http1(plain(&rig).await).await.send_request(get("/")).await.expect("told why");
        assert_eq!(refused.status(), 503);
        drop(first);
        loop {
            let answer = http1(plain(&rig).await).await.send_request(get("/")).await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                break;
            }
        }
    });
}

#[test]
fn a_head_that_does_not_come_in_time_is_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), "[limits]\nheader_seconds = 1\nkeep_alive_seconds = 60"));
    clients(async {
        for first_request in [false, true] {
            let mut stream = plain(&rig).await;
            if first_request {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
                let mut answer = [0; 1024];
                assert!(stream.read(&mut answer).await.expect("answered") > 0);
            }
            let began = Instant::now();
            // A byte now and then does not help.
            let mut slow = tokio::time::interval(Duration::from_millis(100));
            let mut rest = [0; 1024];
            stream.write_all(b"GET / HT").await.expect("sent");
            loop {
                tokio::select! {
                    read = stream.read(&mut rest) => match read {
                        Ok(0) | Err(_) => break,
                        Ok(_) => {}
                    },
                    _ = slow.tick() => { _ = stream.write_all(b"T").await; }
                }
            }
            assert!(began.elapsed() >= Duration::from_millis(900), "cut too early: {:?}", began.elapsed());
            assert!(began.elapsed() < Duration::from_secs(5), "cut too late: {:?}", began.elapsed());
        }
    });
}

#[test]
fn a_silent_handshake_is_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let rig = start(config(dir.path(), "[limits]\nhandshake_seconds = 1"));
    clients(async {
        let mut stream = TcpStream::connect(rig.https.expect("https")).await.expect("a connection");
        let mut nothing = Vec::new();
        _ = stream.read_to_end(&mut nothing).await;
        assert!(nothing.is_empty());
    });
}

#[test]
fn a_resting_connection_is_closed_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), "[limits]\nkeep_alive_seconds = 1\nheader_seconds = 60"));
    clients(async {
        let mut stream = plain(&rig).await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("closed in order, not reset");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    });
}

#[test]
fn a_reader_that_stops_is_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), "[limits]\nstall_seconds = 1\nrate_bytes_per_second_min = 0"));
    clients(async {
        let mut stream = narrow(&rig).await;
        stream.write_all(b"GET /bytes/1000000000 HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let ended = rig.ends.recv_timeout(PATIENCE);
        assert_eq!(ended, Ok(BodyEnd::Broken));
        let mut rest = Vec::new();
        assert!(stream.read_to_end(&mut rest).await.is_err(), "unsent bytes are thrown away, not lingered over");
    });
}

#[test]
fn a_reader_that_trickles_is_cut_and_one_that_is_merely_slow_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let more = "unsent_bytes_max = 4096\n[limits]\nstall_seconds = 10\nrate_bytes_per_second_min = 200000\nrate_window_seconds = 2";
    let rig = start(config(dir.path(), more));
    clients(async {
        let trickle = read_at(narrow(&rig).await, "/bytes/1000000000", 512);
        assert!(trickle.await.is_err(), "100 times 512 bytes a second is below the least rate");
        assert_eq!(rig.ends.recv_timeout(PATIENCE), Ok(BodyEnd::Broken));
        let slow = read_at(plain(&rig).await, "/bytes/2000000", 5_000);
        assert!(slow.await.expect("finishes") > 2_000_000, "500 KB/s is above it");
        assert_eq!(rig.ends.recv_timeout(PATIENCE), Ok(BodyEnd::Whole));
    });
}

/// Reads an answer in steps of `bytes` a hundredth of a second until it ends; its length, or the cut.
async fn read_at(mut stream: TcpStream, path: &str, bytes: usize) -> std::io::Result<usize> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let mut buffer = vec![0; bytes];
    let mut total = 0;
    loop {
        pace.tick().await;
        match stream.read(&mut buffer).await? {
            0 => return Ok(total),
            read => total += read,
        }
    }
}

#[test]
fn operators_see_who_was_cut_and_who_was_turned_away() {
    let metrics = penstock_edge::metrics::install();
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), "[limits]\nheader_seconds = 1\nconnections_max = 1"));
    clients(async {
        let mut silent = plain(&rig).await;
        let mut crowd = Vec::new();
        for _ in 0..8 {
            crowd.push(plain(&rig).await);
        }
        _ = silent.read(&mut [0; 16]).await;
        for wanted in
            ["_cut_total{reason=\"slow_head\"}", "_rejected_total{reason=\"connections\"}", "_open{door=\"http\"}"]
        {
            while !metrics.render().contains(&format!("penstock_edge_connections{wanted}")) {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn a_body_that_does_not_come_is_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), "[limits]\nstall_seconds = 1"));
    clients(async {
        let mut stream = plain(&rig).await;
        stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf").await.expect("sent");
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "there was no whole request to answer");
    });
}

#[test]
fn an_http2_reader_that_closes_its_window_is_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let rig = start(config(dir.path(), "[limits]\nstall_seconds = 1"));
    let trusted = certificate(dir.path());
    clients(async {
        // The body is never read, so hyper's client stops opening the window while the socket itself stays writable.
        // Pings go back and forth all the time: bytes, but none that anybody waits for.
        for pings in [None, Some(Duration::from_millis(20))] {
            let mut sender = pinging(tls(rig.https.expect("https"), &trusted, &[b"h2"]).await, pings).await;
            let response = sender.send_request(get("/bytes/1000000000")).await.expect("an answer");
            assert_eq!(rig.ends.recv_timeout(PATIENCE), Ok(BodyEnd::Broken));
            assert!(response.into_body().collect().await.is_err());
        }
    });
}

#[test]
fn an_http2_stream_that_stands_still_does_not_hide_behind_another() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let rig = start(config(dir.path(), "[limits]\nstall_seconds = 1\nrate_bytes_per_second_min = 0"));
    let trusted = certificate(dir.path());
    clients(async {
        let mut sender = http2(tls(rig.https.expect("https"), &trusted, &[b"h2"]).await).await;
        let standing = sender.send_request(get("/bytes/100000000000")).await.expect("an answer");
        let mut moving = sender.send_request(get("/bytes/100000000000")).await.expect("an answer").into_body();
        while moving.frame().await.is_some_and(|frame| frame.is_ok()) {}
        assert_eq!(rig.ends.iter().take(2).collect::<Vec<_>>(), [BodyEnd::Broken, BodyEnd::Broken]);
        assert!(standing.into_body().collect().await.is_err());
    });
}

/// HTTP/2 that pings all the time, where an interval is given.
async fn pinging<S>(stream: S, interval: Option<Duration>) -> Http2
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let executor = hyper_util::rt::TokioExecutor::new();
    let mut builder = hyper::client::conn::http2::Builder::new(executor);
    builder.timer(hyper_util::rt::TokioTimer::new()).keep_alive_interval(interval).keep_alive_while_idle(true);
    let (sender, connection) = builder.handshake(hyper_util::rt::TokioIo::new(stream)).await.expect("http/2");
    tokio::spawn(connection);
    sender
}

/// hyper answers these by itself and no handler hears of them.
#[test]
fn heads_that_are_no_request_are_counted() {
    let metrics = penstock_edge::metrics::install();
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), "[limits]\nheader_bytes_max = 8192"));
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "y".repeat(20_000));
    clients(async {
        for (head, status, reason) in [("nonsense\r\n\r\n", "400", "malformed"), (&*large, "431", "too_large")] {
            let mut stream = plain(&rig).await;
            stream.write_all(head.as_bytes()).await.expect("sent");
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(answer, *format!("HTTP/1.1 {status}").as_bytes());
            let line = format!("penstock_edge_bad_heads_total{{reason=\"{reason}\"}} 1");
            while !metrics.render().contains(&line) {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn heads_are_bounded() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let rig = start(config(dir.path(), "[limits]\nheader_bytes_max = 8192"));
    let trusted = certificate(dir.path());
    let large = || {
        let mut request = get("/");
        request.headers_mut().insert("x-large", "y".repeat(20_000).parse().expect("a value"));
        request
    };
    clients(async {
        let one = http1(plain(&rig).await).await.send_request(large()).await.expect("told why");
        assert_eq!(one.status(), 431);
        let two = http2(tls(rig.https.expect("https"), &trusted, &[b"h2"]).await).await;
        let two = two.clone().send_request(large()).await;
        assert!(two.is_err() || two.is_ok_and(|answer| answer.status() == 431));
    });
}

#[test]
fn rapid_resets_end_the_connection() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let rig = start(config(dir.path(), "[limits]\nreset_streams_max = 10"));
    let trusted = certificate(dir.path());
    clients(async {
        let mut stream = tls(rig.https.expect("https"), &trusted, &[b"h2"]).await;
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        for stream_id in (1u32..400).step_by(2) {
            // HEADERS with END_STREAM and END_HEADERS: GET https / from HPACK's static table; then RST_STREAM CANCEL.
            bytes.extend_from_slice(b"\0\0\x03\x01\x05");
            bytes.extend_from_slice(&stream_id.to_be_bytes());
            bytes.extend_from_slice(b"\x82\x87\x84\0\0\x04\x03\0");
            bytes.extend_from_slice(&stream_id.to_be_bytes());
            bytes.extend_from_slice(b"\0\0\0\x08");
        }
        stream.write_all(&bytes).await.expect("sent");
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer).await;
        let goaway = frames(&answer).find(|(kind, _)| *kind == 7).expect("a GOAWAY").1;
        assert_eq!(goaway[4..8], 0xb_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    });
}
