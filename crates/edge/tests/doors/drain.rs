//! Stopping: no body is cut inside its time, and none outlives it.

use crate::rig::{
    BodyEnd, Heard, PATIENCE, body_text, certificate, clients, config, frames, get, http1, http2, start, tls,
    write_certificate,
};
use http_body_util::BodyExt;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LARGE: usize = 64 << 20;

#[test]
fn bodies_under_way_finish_while_the_node_drains() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let rig = start(config(dir.path(), ""));
    let (http, https) = (rig.http.expect("http"), rig.https.expect("https"));
    let trusted = certificate(dir.path());
    clients(async {
        let path = format!("/bytes/{LARGE}");
        let plain = TcpStream::connect(http).await.expect("a connection");
        let one = http1(plain).await.send_request(get(&path)).await.expect("an answer");
        let mut sender = http2(tls(https, &trusted, &[b"h2"]).await).await;
        let two = sender.send_request(get(&path)).await.expect("an answer");
        // A connection at rest is closed at once; it must not hold the drain.
        let mut resting = TcpStream::connect(http).await.expect("a connection");
        resting.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        assert!(resting.read(&mut [0; 4096]).await.expect("answered") > 0);

        let node = rig.node;
        let drained = tokio::task::spawn_blocking(move || node.drain(PATIENCE, || false));
        assert_eq!(resting.read(&mut [0; 16]).await.expect("closed in order"), 0);
        // Both listeners are gone before the bodies are.
        while TcpStream::connect(http).await.is_ok() {}
        for body in [one.into_body(), two.into_body()] {
            assert_eq!(slowly(body).await, LARGE);
        }
        assert_eq!(drained.await.expect("no panic").cut, 0);
        while !sender.is_closed() {
            tokio::task::yield_now().await;
        }
        assert!(sender.send_request(get("/")).await.is_err(), "no new streams after GOAWAY");
    });
    assert_eq!(rig.ends.iter().take(2).collect::<Vec<_>>(), [BodyEnd::Whole, BodyEnd::Whole]);
}

/// Reads a body frame by frame, letting everything else run in between.
async fn slowly(mut body: hyper::body::Incoming) -> usize {
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        total += frame.expect("never cut").into_data().map_or(0, |data| data.len());
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
    total
}

/// The kernel holds the end of a body for a reader that is slow but well within the drain's time. No byte is under way in
/// the node itself, and yet the connection must not be thrown away.
#[test]
fn a_slow_http2_reader_gets_the_end_of_its_body() {
    const BYTES: usize = 200_000;
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let rig = start(config(dir.path(), ""));
    let trusted = certificate(dir.path());
    clients(async {
        let mut stream = tls(rig.https.expect("https"), &trusted, &[b"h2"]).await;
        // SETTINGS: streams may send 1 MiB; WINDOW_UPDATE: so may the connection. GET https / with a literal :path.
        let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\x10\0\0".to_vec();
        request.extend_from_slice(
            b"\0\0\x04\x08\0\0\0\0\0\0\x10\0\0\0\0\x11\x01\x05\0\0\0\x01\x82\x87\x04\x0d/bytes/200000",
        );
        stream.write_all(&request).await.expect("sent");
        assert_eq!(rig.ends.recv_timeout(PATIENCE), Ok(BodyEnd::Whole), "all of it is handed over");
        let node = rig.node;
        let drained = tokio::task::spawn_blocking(move || node.drain(PATIENCE, || false));
        // Slower than the five seconds that a connection gets which has rested before it is told to close.
        let mut pace = tokio::time::interval(Duration::from_millis(300));
        let (mut answer, mut piece) = (Vec::new(), [0; 10_000]);
        let body = |answer: &[u8]| -> usize {
            frames(answer).filter(|(kind, _)| *kind == 0).map(|(_, data)| data.len()).sum()
        };
        while body(&answer) < BYTES {
            pace.tick().await;
            let read = stream.read(&mut piece).await.expect("not cut");
            assert!(read > 0, "closed with {} bytes of the body missing", BYTES - body(&answer));
            answer.extend_from_slice(&piece[..read]);
        }
        drop(stream);
        assert_eq!(drained.await.expect("no panic").cut, 0);
    });
}

#[test]
fn what_outlives_the_drain_is_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), ""));
    clients(async {
        let mut stream = TcpStream::connect(rig.http.expect("http")).await.expect("a connection");
        stream.write_all(b"GET /bytes/1000000000 HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        assert!(stream.read(&mut [0; 16]).await.expect("under way") > 0);
        let node = rig.node;
        let drain = move || Heard::during(|| node.drain(Duration::from_millis(300), || false));
        let (drained, heard) = tokio::task::spawn_blocking(drain).await.expect("no panic");
        assert_eq!(drained.cut, 1);
        assert_eq!(heard, ["WARN message=drain time is over, cutting connections connections=1"]);
        assert_eq!(rig.ends.recv_timeout(PATIENCE), Ok(BodyEnd::Broken));
        let mut rest = Vec::new();
        assert!(stream.read_to_end(&mut rest).await.is_err(), "cut, so that nobody takes it for whole");
    });
}

#[test]
fn a_drain_can_be_hurried_and_clears_readiness() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), ""));
    assert!(rig.node.ready());
    clients(async {
        let mut stream = TcpStream::connect(rig.http.expect("http")).await.expect("a connection");
        stream.write_all(b"GET /bytes/1000000000 HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        assert!(stream.read(&mut [0; 16]).await.expect("under way") > 0);
        let node = rig.node;
        let drain = move || Heard::during(|| node.drain(Duration::from_secs(3600), || true));
        let (drained, heard) = tokio::task::spawn_blocking(drain).await.expect("no panic");
        assert_eq!(drained.cut, 1);
        assert_eq!(heard, ["WARN message=asked again: cutting connections now connections=1"]);
    });
}

#[test]
fn the_admin_door_answers_while_data_drains() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), ""));
    let admin = rig.node.addresses().admin.expect("admin");
    clients(async {
        let stream = TcpStream::connect(rig.http.expect("http")).await.expect("a connection");
        let response = http1(stream).await.send_request(get("/bytes/50000000")).await.expect("an answer");
        let node = rig.node;
        let drained = tokio::task::spawn_blocking(move || node.drain(PATIENCE, || false));
        let stream = TcpStream::connect(admin).await.expect("the admin door is open");
        let answer = http1(stream).await.send_request(get("/")).await.expect("an answer");
        assert!(body_text(answer).await.ends_with(" admin http/1.1 0"));
        assert_eq!(slowly(response.into_body()).await, 50_000_000);
        assert_eq!(drained.await.expect("no panic").cut, 0);
    });
}

/// A publisher's upload outlives the data doors by more than any grace, and an admin connection at rest does not hold it.
#[test]
fn an_admin_body_has_the_whole_drain() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), ""));
    let admin = rig.node.addresses().admin.expect("admin");
    clients(async {
        let mut resting = TcpStream::connect(admin).await.expect("a connection");
        resting.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        assert!(resting.read(&mut [0; 4096]).await.expect("answered") > 0);
        let mut upload = TcpStream::connect(admin).await.expect("a connection");
        upload.write_all(b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n01234").await.expect("sent");
        let node = rig.node;
        let begun = Instant::now();
        let drained = tokio::task::spawn_blocking(move || node.drain(PATIENCE, || false));
        assert_eq!(resting.read(&mut [0; 16]).await.expect("closed in order"), 0);
        assert!(begun.elapsed() < Duration::from_secs(2), "at rest, and closed only after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(2500)).await;
        upload.write_all(b"56789").await.expect("still open");
        let mut answer = String::new();
        upload.read_to_string(&mut answer).await.expect("not cut");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(" admin http/1.1 10"), "{answer}");
        drop(upload);
        assert_eq!(drained.await.expect("no panic").cut, 0);
    });
}

#[test]
fn an_admin_body_that_outlives_the_drain_is_cut_and_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    for (hurried, line) in [
        (false, "WARN message=drain time is over, cutting connections admin_connections=1"),
        (true, "WARN message=asked again: cutting connections now admin_connections=1"),
    ] {
        let rig = start(config(dir.path(), ""));
        let admin = rig.node.addresses().admin.expect("admin");
        clients(async {
            let mut upload = TcpStream::connect(admin).await.expect("a connection");
            upload.write_all(b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n01234").await.expect("sent");
            let node = rig.node;
            let within = Duration::from_secs(if hurried { 3600 } else { 1 });
            let drain = move || Heard::during(|| node.drain(within, || hurried));
            let (drained, heard) = tokio::task::spawn_blocking(drain).await.expect("no panic");
            assert_eq!((drained.cut, heard), (1, vec![line.to_owned()]));
            assert!(upload.read_to_end(&mut Vec::new()).await.is_err(), "cut, so that nobody takes it for taken");
        });
    }
}

/// A peer that has the whole body and our FIN, and neither asks nor closes: it may do so for a while, but neither holds
/// the drain until its end nor is cut by it.
#[test]
fn a_peer_that_has_everything_does_not_hold_the_drain() {
    const BYTES: usize = 20 << 20;
    let dir = tempfile::tempdir().expect("a directory");
    for (within, at_most) in [(Duration::from_secs(3600), Duration::from_secs(12)), (Duration::from_secs(3), PATIENCE)]
    {
        let rig = start(config(dir.path(), ""));
        clients(async {
            let mut stream = TcpStream::connect(rig.http.expect("http")).await.expect("a connection");
            stream.write_all(format!("GET /bytes/{BYTES} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.expect("sent");
            assert!(stream.read(&mut [0; 16]).await.expect("under way") > 0);
            let node = rig.node;
            let begun = Instant::now();
            let drain = move || Heard::during(|| node.drain(within, || false));
            let drained = tokio::task::spawn_blocking(drain);
            while TcpStream::connect(rig.http.expect("http")).await.is_ok() {}
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("all of it, and a FIN");
            assert!(answer.len() > BYTES);
            let (drained, heard) = drained.await.expect("no panic");
            assert_eq!((drained.cut, heard), (0, Vec::new()));
            assert!(begun.elapsed() < at_most, "held for {:?}", begun.elapsed());
            drop(stream);
        });
    }
}
