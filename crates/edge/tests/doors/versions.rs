//! Which HTTP a door speaks, and who the client is.

use crate::rig::{self, body_text, certificate, clients, config, get, http1, http2, start, tls, write_certificate};
use http::Version;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

#[test]
fn alpn_chooses_the_version_and_aes_128_comes_first() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let rig = start(config(dir.path(), ""));
    let (https, trusted) = (rig.https.expect("https"), certificate(dir.path()));
    clients(async {
        let stream = tls(https, &trusted, &[b"h2", b"http/1.1"]).await;
        let suite = stream.get_ref().1.negotiated_cipher_suite().expect("a suite").suite();
        assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        let response = http2(stream).await.send_request(get("/")).await.expect("an answer");
        assert_eq!(response.version(), Version::HTTP_2);
        assert!(body_text(response).await.ends_with(" https http/2 0"));

        let mut sender = http1(tls(https, &trusted, &[b"http/1.1"]).await).await;
        for _ in 0..3 {
            sender.ready().await.expect("kept alive");
            let response = sender.send_request(get("/")).await.expect("an answer");
            assert_eq!(response.version(), Version::HTTP_11);
            assert!(body_text(response).await.ends_with(" https http/1.1 0"));
        }
        // A client without ALPN is an old one: HTTP/1.1.
        let response = http1(tls(https, &trusted, &[]).await).await.send_request(get("/")).await.expect("an answer");
        assert!(body_text(response).await.ends_with(" https http/1.1 0"));
    });
}

#[test]
fn large_bodies_arrive_whole_over_every_door() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let rig = start(config(dir.path(), ""));
    let trusted = certificate(dir.path());
    let bytes = 20_000_001;
    clients(async {
        let path = format!("/bytes/{bytes}");
        let plain = TcpStream::connect(rig.http.expect("http")).await.expect("a connection");
        let one = http1(plain).await.send_request(get(&path)).await.expect("an answer");
        let https = rig.https.expect("https");
        let two = http1(tls(https, &trusted, &[b"http/1.1"]).await).await.send_request(get(&path)).await.expect("ok");
        let three = http2(tls(https, &trusted, &[b"h2"]).await).await.send_request(get(&path)).await.expect("ok");
        for response in [one, two, three] {
            let body = response.into_body().collect().await.expect("whole").to_bytes();
            assert_eq!(body.len(), bytes);
        }
    });
}

#[test]
fn many_streams_share_an_http2_connection() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let rig = start(config(dir.path(), ""));
    let trusted = certificate(dir.path());
    clients(async {
        let sender = http2(tls(rig.https.expect("https"), &trusted, &[b"h2"]).await).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..300 {
            let mut sender = sender.clone();
            tasks.spawn(async move {
                sender.ready().await.expect("ready");
                let response = sender.send_request(get("/bytes/100000")).await.expect("an answer");
                response.into_body().collect().await.expect("whole").to_bytes().len()
            });
        }
        assert!(tasks.join_all().await.into_iter().all(|bytes| bytes == 100_000));
    });
}

#[test]
fn the_admin_socket_is_the_operators_and_takes_uploads() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("node.sock");
    let rig = rig::start_with(config(dir.path(), ""), Some(&path), Default::default());
    clients(async {
        let stream = UnixStream::connect(&path).await.expect("a connection");
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("http/1");
        tokio::spawn(connection);
        let upload = Full::new(bytes::Bytes::from(vec![0; 5_000_000]));
        let request = http::Request::put("/").header("host", "localhost").body(upload).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(body_text(response).await, "none admin_socket http/1.1 5000000");
        let admin = TcpStream::connect(rig.node.addresses().admin.expect("admin")).await.expect("a connection");
        let response = http1(admin).await.send_request(get("/")).await.expect("an answer");
        assert!(body_text(response).await.ends_with(" admin http/1.1 0"));
    });
    drop(rig);
    assert!(!path.exists(), "the socket file goes with the node");
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let rig = start(config(dir.path(), "proxy_from = \"127.0.0.0/8\""));
    clients(async {
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\x00\x02\x07\x0a\x00\x00\x01\x1f\x90\x01\xbb".as_slice();
        for header in [b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 443\r\n".as_slice(), v2] {
            let mut stream = TcpStream::connect(rig.http.expect("http")).await.expect("a connection");
            stream.write_all(header).await.expect("sent");
            let response = http1(stream).await.send_request(get("/")).await.expect("an answer");
            assert_eq!(body_text(response).await, "192.0.2.7:8080 http http/1.1 0");
        }
        let mut stream = TcpStream::connect(rig.http.expect("http")).await.expect("a connection");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let mut answer = Vec::new();
        // Closed with our bytes unread, so the end may come as a reset.
        _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "a trusted proxy that sends no header gets no answer");
    });
}

#[test]
fn a_proxy_that_is_not_trusted_is_not_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = start(config(dir.path(), "proxy_from = \"10.0.0.0/8\""));
    clients(async {
        let mut stream = TcpStream::connect(rig.http.expect("http")).await.expect("a connection");
        stream.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\nGET / HTTP/1.1\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        _ = stream.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
}
