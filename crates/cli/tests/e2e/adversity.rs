//! The real binary on a disk that is full, as a user who may not, on a blob that is cut under its readers, behind a
//! service manager and behind a balancer.

use crate::world::{BINARY, World, assert_same, command, document, run, said, text};
use penstock_testkit::{Daemon, Tree, Volume, noise};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `nobody` on every Debian machine.
const NOBODY: u32 = 65_534;

fn volume(world: &World, name: &str, mebibytes: u64) -> Volume {
    let dir = world.path(name);
    fs::create_dir(&dir).expect("mkdir");
    Volume::new(&world.path(&format!("{name}.image")), &dir, mebibytes).expect("a volume")
}

fn add(world: &World, content: &[u8]) -> std::process::Output {
    let file = world.path("blob.bin");
    fs::write(&file, content).expect("written");
    run(["blob", "add", text(&file), "--open", "--to", text(&world.data()), "--json"])
}

#[test]
fn a_full_disk_is_refused_and_leaves_a_node_that_works() {
    let mut world = World::asleep();
    let data = volume(&world, "data", 24);
    world.wake();
    let large = Tree::default().file("pak", noise(1, 40 << 20));
    let output = world.publish_command(&large, "1.0").output().expect("starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("space") || words.contains("full"), "{}", said(&output));
    let drafts = |dir: &Path| fs::read_dir(dir).map(|entries| entries.count()).unwrap_or_default();
    assert_eq!(drafts(&data.dir().join("blobs/tmp")), 0, "no draft is left");

    // What is not used by any release can go, and then there is room again.
    let listed = document(&run(["blob", "list", "--to", text(&world.data()), "--json"]));
    for row in listed["blobs"].as_array().expect("a list") {
        let removed = run(["blob", "rm", row["blob"].as_str().expect("a name"), "--to", text(&world.data())]);
        assert!(removed.status.success(), "{}", said(&removed));
    }
    let small = Tree::default().file("pak", noise(2, 4 << 20));
    world.publish(&small, "1.1");
    let into = world.path("install");
    world.pull(&into);
    assert_same(&small, &into);
}

#[test]
fn a_pull_that_does_not_fit_writes_nothing() {
    let mut world = World::asleep();
    world.wake();
    world.publish(&Tree::default().file("pak", noise(3, 30 << 20)), "1.0");
    let disk = volume(&world, "disk", 16);
    let into = disk.dir().join("install");
    let output = world.pull_command(&into).output().expect("starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not enough space"), "{}", said(&output));
    assert!(!into.exists(), "nothing was written");
}

#[test]
fn a_user_who_may_not_is_told_where_and_nothing_changes() {
    let world = World::awake();
    world.publish(&Tree::small_game(61, 300_000), "1.0");
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("root may");
    open(world.dir.path());

    // Root's directory: the client says so and leaves nothing.
    let roots = world.path("roots");
    fs::create_dir(&roots).expect("mkdir");
    let output = world.pull_command(&roots.join("game")).uid(NOBODY).gid(NOBODY).output().expect("starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ermission"), "{}", said(&output));
    assert_eq!(fs::read_dir(&roots).expect("there").count(), 0);

    // Their own: it works, and a file that only root may replace is named.
    let own = world.path("own");
    fs::create_dir(&own).expect("mkdir");
    chown(&own, Some(NOBODY), Some(NOBODY)).expect("root may");
    let into = own.join("game");
    let output = world.pull_command(&into).uid(NOBODY).gid(NOBODY).output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    chown(into.join("scripts"), Some(0), Some(0)).expect("root may");
    open(&into.join("scripts"));
    world.publish(&Tree::small_game(61, 300_000).file("scripts/07.lua", "return 7\n"), "1.1");
    let output = world.pull_command(&into).uid(NOBODY).gid(NOBODY).output().expect("starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("scripts"), "{}", said(&output));
    assert_same(&Tree::small_game(61, 300_000), &into);

    // A node on a directory that is not its user's.
    let config = world.path("other.toml");
    fs::write(&config, "role = \"all\"\n[data]\ndir = \"roots\"\n[listen]\nhttp = \"127.0.0.1:0\"\nhttps = []\n")
        .expect("written");
    let output = command().args(["serve", "--config", text(&config)]).uid(NOBODY).gid(NOBODY).output().expect("starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("roots"), "{}", said(&output));
    assert_eq!(fs::read_dir(&roots).expect("there").count(), 0);
}

#[test]
fn a_blob_that_is_cut_under_its_readers_is_never_served_as_good() {
    let mut world = World::awake();
    let content = noise(4, 32 << 20);
    let added = document(&add(&world, &content));
    let blob = added["blob"].as_str().expect("a name").to_owned();
    let address = world.url("http_url").trim_start_matches("http://").to_owned();
    let whole = document(&add(&world, b"another blob"))["blob"].as_str().expect("a name").to_owned();
    let ask = |blob: &str| {
        let mut stream = TcpStream::connect(&address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let request = format!("GET /v1/blobs/{blob} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        stream
    };
    let mut readers: Vec<TcpStream> = (0..4).map(|_| ask(&blob)).collect();
    for reader in &mut readers {
        reader.read_exact(&mut [0; 1]).expect("the answer is under way");
    }
    let file = world.data().join("blobs").join(&blob[..2]).join(&blob);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("root may");
    fs::OpenOptions::new().write(true).open(&file).expect("opened").set_len(1 << 20).expect("cut");
    for reader in &mut readers {
        let mut answer = Vec::new();
        // A reset is as good an end as any.
        reader.read_to_end(&mut answer).ok();
        let at = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let body = &answer[at..];
        assert!(body.len() < content.len(), "a blob that was cut came whole");
        assert!(body == &content[..body.len()], "bytes that are not the blob's were served");
    }
    let status = |blob: &str| {
        let mut answer = String::new();
        ask(blob).take(12).read_to_string(&mut answer).expect("answered");
        answer
    };
    assert_eq!(status(&blob), "HTTP/1.1 503", "it is in quarantine: {}", world.daemon().log());
    assert_eq!(status(&whole), "HTTP/1.1 200", "the node lives");
    // What was cut is simply given again.
    let again = add(&world, &content);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(status(&blob), "HTTP/1.1 200");
}

/// As systemd passes them: from descriptor 3 on, one for each worker, with their names.
#[test]
fn sockets_of_a_service_manager_are_served_on() {
    let world = World::asleep();
    let socket = || {
        let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
        let socket = socket.expect("a socket");
        rustix::net::sockopt::set_socket_reuseport(&socket, true).expect("set");
        socket
    };
    let first = socket();
    rustix::net::bind(&first, &"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("an address")).expect("bound");
    let first = TcpListener::from(first);
    let address = first.local_addr().expect("bound");
    let second = socket();
    rustix::net::bind(&second, &address).expect("bound to the same port");
    for listener in [&OwnedFd::from(first.try_clone().expect("cloned")), &second] {
        rustix::net::listen(listener, 128).expect("listens");
    }
    let config = world.path("penstock.toml");
    let words = fs::read_to_string(&config).expect("there").replace("http = \"127.0.0.1:0\"\n", "");
    fs::write(&config, format!("{words}[log]\naccess = false\n")).expect("written");

    let script = "exec 3<&0 4>&1 </dev/null >/dev/null; export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=http:http; \
                  exec \"$@\"";
    let mut child = Command::new("sh")
        .args(["-c", script, "sh", BINARY, "serve", "--config", text(&config)])
        .stdin(Stdio::from(OwnedFd::from(first)))
        .stdout(Stdio::from(second))
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    // The kernel spreads connections over both sockets: one that nobody accepts from would time out.
    for _ in 0..32 {
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        stream.write_all(b"GET /v1/catalog HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
    assert!(child.wait().expect("our own child").success());
}

#[test]
fn a_balancers_word_is_taken_for_the_peers_address() {
    let world = World::asleep();
    let config = world.path("penstock.toml");
    let words = fs::read_to_string(&config).expect("there");
    fs::write(&config, words.replace("[listen]\n", "[listen]\nproxy_from = [\"127.0.0.1/32\"]\n")).expect("written");
    let mut serve = command();
    serve.args(["serve", "--config", text(&config)]);
    let mut daemon = Daemon::start(serve, &world.data().join("node.json")).unwrap_or_else(|error| panic!("{error}"));
    let address = daemon.addresses.text("http_url").trim_start_matches("http://").to_owned();
    let ask = |preface: &[u8]| {
        let mut stream = TcpStream::connect(&address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        stream.write_all(preface).expect("sent");
        // A node that refuses the preface may have closed already.
        stream.write_all(b"GET /v1/catalog HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        answer
    };
    assert!(ask(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n").starts_with("HTTP/1.1 200"));
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    second.extend_from_slice(&[198, 51, 100, 9, 192, 0, 2, 1, 0x12, 0x67, 0x01, 0xBB]);
    assert!(ask(&second).starts_with("HTTP/1.1 200"));
    assert_eq!(ask(b""), "", "who says nothing of the kind is not served");
    let until = Instant::now() + Duration::from_secs(10);
    let told = |daemon: &Daemon| daemon.log().contains("192.0.2.7:4711") && daemon.log().contains("198.51.100.9:4711");
    while !told(&daemon) {
        assert!(Instant::now() < until, "{}", daemon.log());
        std::thread::park_timeout(Duration::from_millis(50));
    }
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.await_end(Duration::from_secs(60)).expect("ends").success());
}
