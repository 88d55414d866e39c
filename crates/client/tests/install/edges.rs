//! Edges that lie, stall, break off or redirect, one beside a true one; tokens and TLS.

use crate::publisher::{Node, Tree, noise};
use crate::server::{Edge, Fault};
use crate::{Stage, assert_is, first};
use penstock_client::{Intent, PullError, PullReport, PullRequest, Silent, Token, Tuning, pull};
use std::fs;

/// A stage whose first edge misbehaves and whose second is true.
fn beside_a_liar(fault: Fault) -> (Stage, Result<PullReport, PullError>) {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    let liar = Edge::plain();
    liar.load(&stage.publisher);
    liar.fault(fault);
    let request = PullRequest {
        edges: vec![liar.url().parse().expect("url"), stage.edge.url().parse().expect("url")],
        ..stage.request()
    };
    let report = pull(&request, &Silent);
    assert!(liar.seen().iter().any(|seen| seen.path.starts_with("/v1/blobs/")), "the liar was asked");
    (stage, report)
}

#[test]
fn every_kind_of_bad_edge_is_survived_by_a_good_one() {
    let cases = [
        (Fault::WrongBytes, Some("do not match their hash")),
        (Fault::Endless, Some("more bytes than asked for")),
        (Fault::WrongRange, Some("another range")),
        (Fault::Redirect("http://127.0.0.1:1/".into()), Some("redirects")),
        (Fault::NotFound, None),
        (Fault::Short, None),
        (Fault::Stall, None),
        (Fault::Cut(70_000), None),
    ];
    for (fault, dropped) in cases {
        let (stage, report) = beside_a_liar(fault.clone());
        let report = report.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_is(&stage.dir(), &first(), &[]);
        if let Some(words) = dropped {
            assert_eq!(report.dropped_edges.len(), 1, "{fault:?}: {:?}", report.dropped_edges);
            assert!(report.dropped_edges[0].contains(words), "{fault:?}: {:?}", report.dropped_edges);
        }
    }
}

#[test]
fn alone_with_a_liar_nothing_is_installed() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    stage.offer("2", &crate::second());
    stage.edge.fault(Fault::WrongBytes);
    let refused = stage.pull().expect_err("all bytes are wrong");
    assert!(matches!(refused, PullError::Session(_)), "{refused:?}");
    assert_is(&stage.dir(), &first(), &[]);
    assert!(stage.verify().intact);
    stage.edge.fault(Fault::None);
    stage.pull().expect("true again");
    assert_is(&stage.dir(), &crate::second(), &[]);
}

#[test]
fn a_busy_edge_is_waited_for_and_a_flaky_one_is_resumed() {
    let mut stage = Stage::new();
    let mut tree = Tree::new();
    tree.insert("big".into(), Node::File(noise(1, 3_000_000)));
    stage.offer("1", &tree);
    // More often than an edge may fail: several requests run at once and are refused together.
    stage.edge.fault(Fault::Busy(7));
    stage.pull().expect("busy seven times");
    assert_is(&stage.dir(), &tree, &[]);
    tree.insert("more".into(), Node::File(noise(2, 3_000_000)));
    stage.offer("2", &tree);
    // Every answer breaks off after 900 kB: the rest is asked for, from where it broke.
    stage.edge.fault(Fault::Cut(900_000));
    let report = stage.pull().expect("flaky");
    assert_is(&stage.dir(), &tree, &[]);
    assert!(report.downloaded_bytes < 3_300_000, "{} bytes: resumed, not begun again", report.downloaded_bytes);
}

#[test]
fn nobody_answers() {
    let stage = Stage::new();
    let edges = vec!["http://127.0.0.1:1".parse().expect("url")];
    let error = pull(&PullRequest { edges, ..stage.request() }, &Silent).expect_err("nobody is there");
    assert!(matches!(error, PullError::NoAnswer { .. }), "{error:?}");
    assert_eq!(error.class().exit_code(), 1);
    assert!(matches!(pull(&PullRequest { edges: Vec::new(), ..stage.request() }, &Silent), Err(PullError::NoEdges)));
    let unknown = stage.pull().expect_err("nothing is offered");
    assert!(matches!(&unknown, PullError::Unknown { code, .. } if code == "unknown"), "{unknown:?}");
    assert!(unknown.to_string().contains("product game, channel stable, platform any"), "{unknown}");
    assert_eq!(unknown.class().exit_code(), 1, "a name that is not there is no refusal by policy");
    assert!(!stage.dir().exists());
}

/// A TLS stage: the request trusts the edge's own certificate.
fn secure(alpn: &[&[u8]], offer_http2: bool) -> (Stage, PullRequest) {
    let mut stage = Stage::new();
    stage.edge = Edge::secure(alpn);
    stage.offer("1", &first());
    let ca = stage.temp.path().join("ca.pem");
    fs::write(&ca, stage.edge.ca_pem.as_ref().expect("tls")).expect("write");
    let tuning = Tuning { offer_http2, ..stage.request().tuning };
    let request = PullRequest { ca_file: Some(ca), tuning, ..stage.request() };
    (stage, request)
}

#[test]
fn both_http_versions_over_tls_with_a_token() {
    for (alpn, offer_http2) in [(&b"h2"[..], true), (&b"http/1.1"[..], true), (&b"http/1.1"[..], false)] {
        let (stage, request) = secure(&[alpn], offer_http2);
        let token = Some(Token::new("secret-token").expect("token"));
        pull(&PullRequest { token, ..request }, &Silent).expect("pull");
        assert_is(&stage.dir(), &first(), &[]);
        let bearer = |seen: &crate::server::Seen| seen.authorization.as_deref() == Some("Bearer secret-token");
        assert!(stage.edge.seen().iter().all(bearer));
    }
}

/// Passes bytes on between clients and an edge; the first connection falls silent after `bytes` from the edge, as one
/// does whose network is gone: nobody closes it.
fn freezing_proxy(to: std::net::SocketAddr, bytes: usize) -> u16 {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let client = client.expect("accepted");
            let edge = std::net::TcpStream::connect(to).expect("edge");
            let (mut up_from, mut up_to) = (client.try_clone().expect("clone"), edge.try_clone().expect("clone"));
            std::thread::spawn(move || std::io::copy(&mut up_from, &mut up_to).ok());
            std::thread::spawn(move || {
                let (mut from, mut to) = (edge, client);
                let (mut buffer, mut passed) = (vec![0; 16 * 1024], 0);
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    passed += read;
                    if number == 0 && passed > bytes {
                        loop {
                            std::thread::park();
                        }
                    }
                    if to.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                to.shutdown(std::net::Shutdown::Both).ok();
            });
        }
    });
    port
}

/// Found in review: a shared HTTP/2 connection that had gone silent was used again for every further request.
#[test]
fn a_connection_that_fell_silent_is_not_used_again() {
    let (stage, request) = secure(&[b"h2"], true);
    let port = freezing_proxy(stage.edge.address, 300_000);
    let edges = vec![format!("https://127.0.0.1:{port}").parse().expect("url")];
    let report = pull(&PullRequest { edges, ..request }, &Silent).expect("a fresh connection helps");
    assert_is(&stage.dir(), &first(), &[]);
    assert!(report.seconds < 20.0, "{}", report.seconds);
}

#[test]
fn a_token_never_follows_a_redirect_and_never_travels_in_the_clear() {
    let (stage, request) = secure(&[b"http/1.1"], false);
    let elsewhere = Edge::plain();
    elsewhere.load(&stage.publisher);
    stage.edge.fault(Fault::Redirect(format!("{}/v1/blobs/x", elsewhere.url())));
    let token = Some(Token::new("secret-token").expect("token"));
    let error = pull(&PullRequest { token: token.clone(), ..request.clone() }, &Silent).expect_err("redirects");
    assert!(error.to_string().contains("redirects"), "{error}");
    assert_eq!(elsewhere.seen().len(), 0, "the redirect was not followed");
    let edges = vec![stage.edge.url().parse().expect("url"), elsewhere.url().parse().expect("url")];
    let error = pull(&PullRequest { token, edges, ..request }, &Silent).expect_err("one edge is plain");
    assert!(matches!(error, PullError::TokenOverPlainHttp(_)));
    assert_eq!(elsewhere.seen().len(), 0);
}

#[test]
fn a_certificate_that_is_not_trusted_ends_it() {
    let (stage, request) = secure(&[b"h2"], true);
    let (other, _) = secure(&[b"h2"], true);
    let ca = stage.temp.path().join("other.pem");
    fs::write(&ca, other.edge.ca_pem.as_ref().expect("tls")).expect("write");
    let error = pull(&PullRequest { ca_file: Some(ca), ..request }, &Silent).expect_err("wrong authority");
    assert!(error.to_string().contains("not trusted"), "{error}");
    assert!(!stage.dir().exists());
}

#[test]
fn a_dry_run_needs_no_install_directory_to_be_writable() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    let into = stage.temp.path().join("a/b/c");
    let request = PullRequest { intent: Intent::DryRun, into: into.clone(), ..stage.request() };
    pull(&request, &Silent).expect("plan");
    assert!(!stage.temp.path().join("a").exists());
    pull(&PullRequest { intent: Intent::Apply, ..request }, &Silent).expect("pull");
    assert_is(&into, &first(), &[]);
}
