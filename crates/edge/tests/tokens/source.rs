//! Fetching key sets from real sockets on this machine: what a source may do, and what it may not.

use penstock_edge::token::{
    FetchError, Fetched, HttpFetcher, JWKS_BYTES_MAX, JwksFetcher as _, JwksUrl, client_config,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const SET: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// Answers one request on `stream` with these bytes, and then with nothing for as long as the peer stays.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: String, body: Vec<u8>) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return String::new(),
        }
    }
    // The peer may leave in the middle: that is what some tests are about.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.flush().await;
    let _ = stream.read(&mut [0]).await;
    String::from_utf8(request).expect("text")
}

/// A source for one request: its URL, and what it was asked.
async fn source(head: &str, body: impl Into<Vec<u8>>) -> (JwksUrl, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (head, body) = (head.to_owned(), body.into());
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        answer(stream, head, body).await
    });
    (JwksUrl::parse(&format!("http://{address}/keys?tenant=1")).expect("a url"), task)
}

async fn fetch(url: &JwksUrl) -> Result<Fetched, FetchError> {
    HttpFetcher::new(None).within(Duration::from_millis(700)).fetch(url).await
}

fn head(status: &str, more: &str, length: usize) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{more}\r\n")
}

#[tokio::test]
async fn a_set_is_fetched() {
    let (url, asked) = source(&head("200 OK", "cache-control: public, max-age=120\r\n", SET.len()), SET).await;
    let fetched = fetch(&url).await.expect("fetched");
    assert_eq!((&fetched.body[..], fetched.max_age), (SET, Some(Duration::from_secs(120))));
    let asked = asked.await.expect("asked").to_ascii_lowercase();
    assert!(asked.starts_with("get /keys?tenant=1 http/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nhost: 127.0.0.1:") && asked.contains("\r\naccept-encoding: identity\r\n"), "{asked}");
}

/// Without a length, the body ends with the connection; with chunks, at the last one.
#[tokio::test]
async fn a_set_in_chunks() {
    let (first, last) = SET.split_at(10);
    let body = [b"a\r\n", first, format!("\r\n{:x}\r\n", last.len()).as_bytes(), last, b"\r\n0\r\n\r\n"].concat();
    let (url, _) = source("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", body).await;
    assert_eq!(fetch(&url).await.expect("fetched").body, SET);
}

#[tokio::test]
async fn a_body_has_a_bound() {
    let whole = vec![b' '; JWKS_BYTES_MAX];
    let (url, _) = source(&head("200 OK", "", whole.len()), whole.clone()).await;
    assert_eq!(fetch(&url).await.expect("fetched").body.len(), JWKS_BYTES_MAX);
    let (url, _) = source(&head("200 OK", "", JWKS_BYTES_MAX + 1), [whole.clone(), vec![b' ']].concat()).await;
    assert!(matches!(fetch(&url).await, Err(FetchError::TooLarge)));
    // Nor can it be got around by not saying how long it is, or by never ending.
    let chunk = [format!("{:x}\r\n", whole.len()).as_bytes(), &whole, b"\r\n"].concat();
    let (url, _) = source("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk.repeat(4)).await;
    assert!(matches!(fetch(&url).await, Err(FetchError::TooLarge)));
    let (url, _) = source("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", whole.repeat(4)).await;
    assert!(matches!(fetch(&url).await, Err(FetchError::TooLarge)));
    let (url, _) = source(&format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(100_000)), SET).await;
    assert!(matches!(fetch(&url).await, Err(FetchError::Http(_))));
}

#[tokio::test]
async fn a_slow_source_is_given_up() {
    let cases = [("", &b""[..]), ("HTTP/1.1 200 OK\r\n", b""), (&head("200 OK", "", SET.len()), &SET[..10])];
    for (head, body) in cases {
        let (url, _) = source(head, body).await;
        let start = Instant::now();
        assert!(matches!(fetch(&url).await, Err(FetchError::Timeout(_))), "{head}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let location = format!("location: http://{}/keys\r\n", elsewhere.local_addr().expect("an address"));
        let (url, _) = source(&head(status, &location, SET.len()), SET).await;
        assert!(matches!(fetch(&url).await, Err(FetchError::Redirect(300..=308))), "{status}");
        let nobody = tokio::time::timeout(Duration::from_millis(20), elsewhere.accept()).await;
        assert!(nobody.is_err(), "nobody goes there");
    }
}

#[tokio::test]
async fn other_answers_are_failures() {
    for status in ["404 Not Found", "500 Oops", "204 No Content", "206 Partial Content"] {
        let (url, _) = source(&head(status, "", 0), "").await;
        assert!(matches!(fetch(&url).await, Err(FetchError::Status(_))), "{status}");
    }
    let (url, _) = source(&head("200 OK", "content-encoding: gzip\r\n", SET.len()), SET).await;
    assert!(matches!(fetch(&url).await, Err(FetchError::Encoding)));
    let (url, _) = source("SSH-2.0-OpenSSH\r\n\r\n", "").await;
    assert!(matches!(fetch(&url).await, Err(FetchError::Http(_))));
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let url = JwksUrl::parse(&format!("http://{gone}/")).expect("a url");
    assert!(matches!(fetch(&url).await, Err(FetchError::Connect(_))));
    let url = JwksUrl::parse(&format!("https://{gone}/")).expect("a url");
    assert!(fetch(&url).await.is_err());
}

/// Over TLS, with a certificate of an authority of ours; and refused without that authority, or for another name.
#[tokio::test]
async fn a_set_over_tls() {
    let dir = tempfile::tempdir().expect("a directory");
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, cert.pem()).expect("written");
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, head("200 OK", "", SET.len()), SET.to_vec()).await;
            }
        }
    });
    let url = |host: &str| JwksUrl::parse(&format!("https://{host}:{port}/keys")).expect("a url");
    let ours = HttpFetcher::new(Some(client_config(Some(&ca)).expect("tls")));
    assert_eq!(ours.fetch(&url("localhost")).await.expect("fetched").body, SET);
    assert!(matches!(ours.fetch(&url("127.0.0.1")).await, Err(FetchError::Tls(_))), "another name");
    std::fs::write(&ca, rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("another").cert.pem())
        .expect("written");
    let other = HttpFetcher::new(Some(client_config(Some(&ca)).expect("tls")));
    assert!(matches!(other.fetch(&url("localhost")).await, Err(FetchError::Tls(_))), "another authority");
    assert!(matches!(HttpFetcher::new(None).fetch(&url("localhost")).await, Err(FetchError::Tls(_))));
    std::fs::write(&ca, "no certificate").expect("written");
    assert!(client_config(Some(&ca)).is_err());
}
