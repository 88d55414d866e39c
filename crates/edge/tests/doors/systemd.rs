//! A node as systemd's child: inherited sockets, READY, RELOADING, STOPPING, WATCHDOG, signals.

use crate::rig::{PATIENCE, body_text, clients, config, get, http1, start, start_with, text, try_start_with};
use penstock_edge::config::{Config, Environment};
use penstock_edge::listen::Door;
use penstock_edge::listen::tcp::Inherited;
use penstock_edge::node::StartError;
use penstock_edge::supervise::{Orders, Supervisor};
use rustix::process::{Pid, Signal, kill_process};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Set in the child.
const CHILD_DIR: &str = "EDGE_TEST_CHILD_DIR";

#[test]
#[ignore = "what the child process of the test below runs"]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let inherited = Inherited::from_process().expect("sockets from the parent");
    let rig = start_with(config(dir.as_ref(), ""), None, inherited);
    let drained = Supervisor::new(rig.node).run().expect("supervised");
    assert_eq!(drained.cut, 0);
}

#[test]
fn a_service_with_an_inherited_socket_tells_its_state_and_obeys_signals() {
    let dir = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let notify_path = dir.path().join("notify");
    let notify = UnixDatagram::bind(&notify_path).expect("a notify socket");
    notify.set_read_timeout(Some(PATIENCE)).expect("a bound");

    // systemd passes sockets from descriptor 3 on and names the process they are for.
    let script = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=http; exec \"$@\"";
    let mut child = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "systemd::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir.path())
        .env("NOTIFY_SOCKET", &notify_path)
        .env("WATCHDOG_USEC", "6000000")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .spawn()
        .expect("a child");
    let pid = Pid::from_child(&child);
    let heard = |wanted: &str| {
        let mut message = [0; 4096];
        loop {
            let length = notify.recv(&mut message).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == wanted) {
                break;
            }
        }
    };
    heard("READY=1");
    clients(async {
        // Two workers share the one descriptor.
        for _ in 0..8 {
            let stream = TcpStream::connect(address).await.expect("a connection");
            let response = http1(stream).await.send_request(get("/")).await.expect("an answer");
            assert!(body_text(response).await.ends_with(" http http/1.1 0"));
        }
    });
    kill_process(pid, Signal::HUP).expect("sent");
    heard("RELOADING=1");
    heard("READY=1");
    heard("WATCHDOG=1");
    kill_process(pid, Signal::TERM).expect("sent");
    heard("STOPPING=1");
    assert!(child.wait().expect("ended").success());
}

#[test]
#[ignore = "what the child process of the test below runs"]
fn early_child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let orders = Orders::listen().expect("handlers");
    for signal in [Signal::HUP, Signal::TERM] {
        assert!(!orders.is_stopping());
        kill_process(rustix::process::getpid(), signal).expect("sent");
    }
    let until = Instant::now() + PATIENCE;
    while !orders.is_stopping() {
        assert!(Instant::now() < until, "the signal was not heard");
        std::thread::sleep(Duration::from_millis(1));
    }
    let rig = start(config(dir.as_ref(), ""));
    let drained = Supervisor::new(rig.node).with(orders).run().expect("supervised");
    assert_eq!(drained.cut, 0);
}

/// Such a signal once killed the process, with the node's files left behind; here a start that was told to stop ends as any
/// node does.
#[test]
fn signals_before_there_is_a_node_are_kept_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "systemd::early_child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("a child");
    let until = Instant::now() + PATIENCE;
    let ended = loop {
        match child.try_wait().expect("asked") {
            Some(ended) => break ended,
            None if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            None => {
                child.kill().expect("killed");
                panic!("it was told to stop and runs on");
            }
        }
    };
    assert!(ended.success(), "{ended}");
}

/// Sockets from the service manager are enough to serve on; without them a file that names no address is refused.
#[test]
fn inherited_sockets_are_enough_to_serve_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = text(dir.path(), "").replace("http = \"127.0.0.1:0\"\n", "");
    let config = || Config::parse(&text, &Environment::default(), Some(dir.path())).expect("only notes");
    assert!(config().notes().iter().any(|note| note.message.contains("nothing to serve on")));
    let refused = try_start_with(config(), None, Inherited::default()).err().expect("no door");
    assert!(matches!(refused, StartError::NoDoor), "{refused}");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let rig = start_with(config(), None, Inherited::from_iter([(Door::Http, listener)]));
    assert_eq!(rig.http, Some(address));
    clients(async {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let response = http1(stream).await.send_request(get("/")).await.expect("an answer");
        assert!(body_text(response).await.ends_with(" http http/1.1 0"));
    });
}

/// A filter without it answers every question whether a page is resident with EPERM, and all windows take the IO pool.
#[test]
fn the_unit_lets_pages_be_probed() {
    let unit = include_str!("../../../../deploy/penstock.service");
    let allowed = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    assert!(
        allowed.filter(|calls| !calls.starts_with('~')).any(|calls| calls.split(' ').any(|call| call == "mincore"))
    );
}
