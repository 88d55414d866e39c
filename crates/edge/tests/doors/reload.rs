//! Taking a new configuration while connections live.

use crate::rig::{
    Heard, PATIENCE, certificate, clients, get, http1, start, start_told, text, tls, try_tls, write_certificate,
};
use penstock_edge::config::{Config, Environment};
use penstock_edge::geo::Geo;
use penstock_edge::reload::ReloadError;
use penstock_edge::supervise::{Order, Supervisor};
use penstock_testkit::GeoFile;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
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
    write_config(dir.path(), "tokens_over_http = true\nadmin_hosts = \"x.example\"\n[limits]\nconnections_max = 1");
    let (reloaded, heard) = Heard::during(|| rig.node.reload().expect("good"));
    assert_eq!(reloaded.at_next_start, ["listen.tokens_over_http"]);
    let expected = "WARN message=configuration reloaded, but for keys that are taken at the next start \
                    at_next_start=[\"listen.tokens_over_http\"]";
    assert_eq!(heard.last().map(String::as_str), Some(expected));
    clients(async {
        let mut one = http1(TcpStream::connect(http).await.expect("a connection")).await;
        assert_eq!(one.send_request(get("/")).await.expect("served").status(), 200);
        let mut two = http1(TcpStream::connect(http).await.expect("a connection")).await;
        assert_eq!(two.send_request(get("/")).await.expect("told why").status(), 503);
    });
}

#[test]
fn keys_that_wait_for_the_next_start_wait_until_then() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = write_config(dir.path(), "");
    let rig = start(Config::load(Some(&path), &Environment::default()).expect("good"));
    let change = |from: &str, to: &str, more: &str| {
        std::fs::write(&path, text(dir.path(), more).replace(from, to)).expect("written");
        rig.node.reload().expect("good").at_next_start
    };
    // The database's file is named from the data directory; it is not what was changed.
    let moved = change("dir = \"data\"", "dir = \"elsewhere\"\nopen_blobs_max = 99", "[log]\nformat = \"text\"");
    assert_eq!(moved, ["data.dir", "data.open_blobs_max", "log.format"]);
    assert_eq!(change("http = \"127", "http = \"127.0.0.1:1\" # \"127", ""), ["listen.http"]);
    // Still the same file, and still not what runs.
    assert_eq!(rig.node.reload().expect("good").at_next_start, ["listen.http"]);
    assert_eq!(change("", "", "[control]\ndatabase = \"sqlite:other\""), ["control.database"]);
    let (taken_back, heard) = Heard::during(|| change("", "", "[log]\nlevel = \"debug\""));
    assert_eq!(taken_back, Vec::<&str>::new());
    assert_eq!(heard, ["INFO message=configuration reloaded"]);
}

/// Notes come along with errors; they are neither counted among them nor logged as such.
#[test]
fn a_refused_reload_tells_errors_from_notes() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = write_config(dir.path(), "");
    let rig = start(Config::load(Some(&path), &Environment::default()).expect("good"));
    write_config(dir.path(), "speed = 1\n[limits]\nheader_seconds = 0\n[quic]\ngso = false");
    let (refused, heard) = Heard::during(|| rig.node.reload().expect_err("refused"));
    assert_eq!(refused.to_string(), "the configuration has 1 error(s)");
    let levels: Vec<_> = heard.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(levels, ["WARN", "ERROR", "WARN", "ERROR"], "{heard:?}");
    assert!(heard[1].contains("limits.header_seconds"), "{heard:?}");
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

/// The whole way from a replaced file to the next lookup: the directory is watched, and what is no database is refused.
#[test]
fn a_replaced_database_of_places_is_noticed_and_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let places = dir.path().join("places.mmdb");
    let replace = |bytes: &[u8]| {
        std::fs::write(dir.path().join("new.mmdb"), bytes).expect("written");
        std::fs::rename(dir.path().join("new.mmdb"), &places).expect("renamed");
    };
    let germany = GeoFile::new("GeoLite2-Country", 1).with("192.0.2.0/24", "DE").bytes();
    replace(&germany);
    let path = write_config(dir.path(), "[geo]\ndatabase = \"places.mmdb\"");
    let config = Config::load(Some(&path), &Environment::default()).expect("good");
    let geo = Arc::new(Geo::open(config.geo.database.as_deref()).expect("a good database"));
    let taken = Arc::clone(&geo);
    let rig = start_told(config, Box::new(move |config| taken.reload(config.geo.database.as_deref())));
    let supervisor = Supervisor::new(rig.node);
    let orders = supervisor.orders();
    let running = std::thread::spawn(move || supervisor.run());
    let place = || geo.place("192.0.2.1".parse().expect("an address")).map(|place| place.0.to_string());
    let until = |expected: &str, built: u64| {
        // Again and again, because a watch begins a moment after it is asked for.
        for built in built..built + 20 {
            replace(&GeoFile::new("GeoLite2-Country", built).with("192.0.2.0/24", expected).bytes());
            let begun = Instant::now();
            while place().as_deref() != Some(expected) && begun.elapsed() < Duration::from_secs(3) {
                std::thread::sleep(Duration::from_millis(20));
            }
            if place().as_deref() == Some(expected) {
                return;
            }
        }
        panic!("{expected} was not taken");
    };
    assert_eq!(place().as_deref(), Some("DE"));
    until("FR", 10);
    replace(&germany[..germany.len() / 2]);
    // A later file that is good is taken, so the bad one was looked at or skipped; it was never believed.
    until("IT", 1000);
    orders.give(Order::Stop);
    assert_eq!(running.join().expect("no panic").expect("supervised").cut, 0);
}

/// Files that change all the time once filled the queue of orders, and a stop that came then was lost.
#[test]
fn a_stop_is_obeyed_however_many_orders_wait() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = write_config(dir.path(), "");
    let rig = start(Config::load(Some(&path), &Environment::default()).expect("good"));
    let supervisor = Supervisor::new(rig.node);
    let orders = supervisor.orders();
    (0..100).for_each(|_| orders.give(Order::Files));
    orders.give(Order::Stop);
    let (ended, end) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || ended.send(supervisor.run()));
    let drained = end.recv_timeout(PATIENCE).expect("the stop was lost").expect("supervised");
    assert_eq!(drained.cut, 0);
}

/// Writes a certificate again and again until it is noticed, because a watch begins a moment after it is asked for.
async fn renewed(dir: &Path, https: SocketAddr) {
    for attempt in 0.. {
        write_certificate(dir, &format!("renewed {attempt}"));
        let renewed = certificate(dir);
        let noticed = async { while try_tls(https, &renewed, &[]).await.is_err() {} };
        if tokio::time::timeout(Duration::from_secs(3), noticed).await.is_ok() {
            break;
        }
    }
}
