//! A drain never cuts a body: SIGTERM while clients download.

use crate::world::{World, assert_same, document, run, said, text};
use penstock_testkit::{Tree, noise};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn bodies_under_way_are_finished_and_new_connections_are_not_taken() {
    let mut world = World::awake();
    let file = world.path("large.bin");
    let content = noise(1, 24 << 20);
    std::fs::write(&file, &content).expect("written");
    let added = run(["blob", "add", text(&file), "--open", "--to", text(&world.data()), "--json"]);
    assert!(added.status.success(), "{}", said(&added));
    let blob = document(&added)["blob"].as_str().expect("a name").to_owned();
    let address = world.url("http_url").trim_start_matches("http://").to_owned();

    let mut readers: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(&address).expect("connects");
            stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
            let request = format!("GET /v1/blobs/{blob} HTTP/1.1\r\nHost: {address}\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("sent");
            // One byte back proves that the answer is under way.
            let mut first = [0u8; 1];
            stream.read_exact(&mut first).expect("answered");
            stream
        })
        .collect();
    world.daemon().signal(rustix::process::Signal::TERM);
    assert!(world.daemon().await_state("STOPPING=1", Duration::from_secs(20)), "{}", world.daemon().log());
    // The readers have not read on, so the drain is under way now, and the port must be closed already.
    assert!(refused_within(&address, Duration::from_secs(10)), "new connections are taken during a drain");

    for stream in &mut readers {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the body is not cut");
        let body = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        assert_eq!(answer.len() - body, content.len(), "the whole body came");
        assert!(answer[body..] == content[..], "and its bytes are right");
    }
    let status = world.daemon().await_end(Duration::from_secs(60)).expect("ends");
    assert_eq!(status.code(), Some(0), "{}", world.daemon().log());
    assert!(TcpStream::connect(&address).is_err(), "nobody listens any more");
}

/// Whether the address stops taking connections. The doors close right after the node said that it stops.
fn refused_within(address: &str, within: Duration) -> bool {
    let until = Instant::now() + within;
    while Instant::now() < until {
        if TcpStream::connect(address).is_err() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    false
}

#[test]
fn a_client_goes_on_at_another_node_when_its_own_is_stopped() {
    let mut world = World::asleep();
    let tree = Tree::small_game(21, 6_000_000);
    world.publish(&tree, "1.0");
    let mut other = world.twin();
    world.wake();
    other.wake();
    let into = world.path("install");
    let both = format!("{},{}", world.url("http_url"), other.url("http_url"));
    let mut pull = world.pull_from(&both, &into);
    // Six megabytes at this rate take long enough to stop a node in the middle.
    pull.args(["--limit-rate", "1MB"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pull.spawn().expect("starts");
    assert!(arrives_within(&into, Duration::from_secs(60)), "nothing was fetched");
    let status = world.daemon().terminate().expect("ends");
    assert_eq!(status.code(), Some(0), "{}", world.daemon().log());
    assert!(child.try_wait().expect("our own child").is_none(), "it was done before the node stopped");
    let output = child.wait_with_output().expect("our own child");
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&tree, &into);
}

/// Whether content arrives in the client's staging.
fn arrives_within(into: &Path, within: Duration) -> bool {
    let staging = into.join(".penstock/staging");
    let until = Instant::now() + within;
    while Instant::now() < until {
        let staged = std::fs::read_dir(&staging).map(|list| {
            list.flatten().filter_map(|entry| entry.metadata().ok()).filter(std::fs::Metadata::is_file).count()
        });
        if staged.is_ok_and(|count| count > 0) {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    false
}
