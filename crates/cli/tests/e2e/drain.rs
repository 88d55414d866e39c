//! A drain never cuts a body: SIGTERM while clients download.

use crate::world::{World, assert_same, document, run, said, text};
use penstock_testkit::{Tree, noise};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

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

#[test]
fn a_client_under_way_when_the_node_stops_is_finished_by_another_node_of_the_same_content() {
    let mut world = World::awake();
    let tree = Tree::small_game(21, 6_000_000);
    world.publish(&tree, "1.0");
    let into = world.path("install");
    let mut pull = world.pull_command(&into);
    pull.args(["--limit-rate", "4MB"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = pull.spawn().expect("starts");
    let status = world.daemon().terminate().expect("ends");
    assert_eq!(status.code(), Some(0), "{}", world.daemon().log());
    // It was done before the node stopped, or it failed cleanly: either way it is simply run again.
    let _ = child.wait_with_output().expect("our own child");
    world.wake();
    world.pull(&into);
    assert_same(&tree, &into);
}
