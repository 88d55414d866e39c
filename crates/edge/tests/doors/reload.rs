//! Taking a new configuration while connections live.

use crate::rig::{certificate, clients, get, http1, start, text, tls, try_tls, write_certificate};
use penstock_edge::config::{Config, Environment};
use penstock_edge::reload::ReloadError;
use penstock_edge::supervise::{Order, Supervisor};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::TcpStream;

fn write_config(dir: &Path, more: &str) -> PathBuf {
    let path = dir.join("penstock.toml");
    std::fs::write(&path, text(dir, more)).expect("written");
    path
}

#[test]
fn a_new_certificate_is_taken_and_no_connection_is_dropped() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "first");
    let path = write_config(dir.path(), "");
    let rig = start(Config::load(Some(&path), &Environment::default()).expect("good"));
    let https = rig.https.expect("https");
    let first = certificate(dir.path());
    clients(async {
        let mut live = http1(tls(https, &first, &[]).await).await;
        assert_eq!(live.send_request(get("/")).await.expect("served").status(), 200);

        write_certificate(dir.path(), "second");
        let second = certificate(dir.path());
        assert!(try_tls(https, &second, &[]).await.is_err(), "not taken before the reload");
        assert_eq!(rig.node.reload().expect("good").at_next_start, Vec::<&str>::new());

        live.ready().await.expect("the live connection lives");
        assert_eq!(live.send_request(get("/")).await.expect("served").status(), 200);
        assert!(try_tls(https, &first, &[]).await.is_err(), "the old one is gone");
        let mut new = http1(tls(https, &second, &[]).await).await;
        assert_eq!(new.send_request(get("/")).await.expect("served").status(), 200);
    });
}

#[test]
fn what_is_wrong_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "first");
    let path = write_config(dir.path(), "");
    let rig = start(Config::load(Some(&path), &Environment::default()).expect("good"));
    let (https, first) = (rig.https.expect("https"), certificate(dir.path()));

    // A good certificate beside a bad limit: neither is taken.
    write_certificate(dir.path(), "second");
    write_config(dir.path(), "[limits]\nheader_seconds = 0");
    assert!(
        matches!(rig.node.reload(), Err(ReloadError::Config(problems)) if problems[0].key == "limits.header_seconds")
    );
    // A good file beside a key that does not fit: neither is taken.
    write_config(dir.path(), "[limits]\nconnections_max = 1");
    let key = std::fs::read(dir.path().join("key.pem")).expect("a key");
    write_certificate(dir.path(), "third");
    std::fs::write(dir.path().join("key.pem"), key).expect("written");
    assert!(matches!(rig.node.reload(), Err(ReloadError::Tls(_))));
    clients(async {
        let mut one = http1(tls(https, &first, &[]).await).await;
        let mut two = http1(tls(https, &first, &[]).await).await;
        assert_eq!(one.send_request(get("/")).await.expect("served").status(), 200);
        assert_eq!(two.send_request(get("/")).await.expect("served").status(), 200);
    });
}

#[test]
fn limits_are_taken_and_the_rest_waits_for_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = write_config(dir.path(), "");
    let rig = start(Config::load(Some(&path), &Environment::default()).expect("good"));
    let http = rig.http.expect("http");
    write_config(dir.path(), "tokens_over_http = true\n[limits]\nconnections_max = 1");
    assert_eq!(rig.node.reload().expect("good").at_next_start, ["listen"]);
    clients(async {
        let mut one = http1(TcpStream::connect(http).await.expect("a connection")).await;
        assert_eq!(one.send_request(get("/")).await.expect("served").status(), 200);
        let mut two = http1(TcpStream::connect(http).await.expect("a connection")).await;
        assert_eq!(two.send_request(get("/")).await.expect("told why").status(), 503);
    });
}

#[test]
fn a_changed_file_is_noticed_and_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "first");
    let path = write_config(dir.path(), "");
    let rig = start(Config::load(Some(&path), &Environment::default()).expect("good"));
    let https = rig.https.expect("https");
    let supervisor = Supervisor::new(rig.node);
    let orders = supervisor.orders();
    let running = std::thread::spawn(move || supervisor.run());
    clients(async {
        renewed(dir.path(), https).await;
        // The configuration moves to a certificate elsewhere; from then on that one is watched.
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).expect("a directory");
        write_certificate(&elsewhere, "moved");
        let moved =
            text(dir.path(), "").replace("cert.pem", "elsewhere/cert.pem").replace("key.pem", "elsewhere/key.pem");
        std::fs::write(&path, moved).expect("written");
        while try_tls(https, &certificate(&elsewhere), &[]).await.is_err() {}
        renewed(&elsewhere, https).await;
    });
    orders.give(Order::Stop);
    assert_eq!(running.join().expect("no panic").expect("supervised").cut, 0);
}

/// Writes a certificate again and again until it is noticed, because a watch begins a moment after it is asked for.
async fn renewed(dir: &Path, https: SocketAddr) {
    for attempt in 0.. {
        write_certificate(dir, &format!("renewed {attempt}"));
        let renewed = certificate(dir);
        let noticed = async { while try_tls(https, &renewed, &[]).await.is_err() {} };
        if tokio::time::timeout(std::time::Duration::from_secs(3), noticed).await.is_ok() {
            break;
        }
    }
}
