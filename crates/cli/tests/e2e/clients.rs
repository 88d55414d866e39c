//! Real clients: whatever fetches a blob gets the bytes that its name says.
//!
//! A missing program fails the test with the package to install: a test that skips proves nothing.

use crate::world::{World, document, run, said, text};
use penstock_testkit::{noise, require_tool};
use std::path::Path;
use std::process::Command;

struct Served {
    world: World,
    content: Vec<u8>,
    blob: String,
}

impl Served {
    fn new(bytes: usize) -> Self {
        let world = World::awake();
        let content = noise(41, bytes);
        let file = world.path("content.bin");
        std::fs::write(&file, &content).expect("written");
        let added = run(["blob", "add", text(&file), "--open", "--to", text(&world.data()), "--json"]);
        assert!(added.status.success(), "{}", said(&added));
        let blob = document(&added)["blob"].as_str().expect("a name").to_owned();
        Self { world, content, blob }
    }

    fn https(&self) -> String {
        format!("{}/v1/blobs/{}", self.world.url("https_url"), self.blob)
    }

    fn http(&self) -> String {
        format!("{}/v1/blobs/{}", self.world.url("http_url"), self.blob)
    }

    fn ca(&self) -> &str {
        text(&self.world.certificate.ca)
    }

    fn assert_fetched(&self, path: &Path) {
        let fetched = std::fs::read(path).expect("fetched");
        assert_eq!(fetched.len(), self.content.len());
        assert!(fetched == self.content, "other bytes came");
    }
}

fn must(command: &mut Command) -> String {
    let output = command.output().expect("starts");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_over_http_1_and_2_and_plain() {
    require_tool("curl", "curl");
    let served = Served::new(5_000_000);
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let out = served.world.path(version);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", flag, "--cacert", served.ca(), "--output", text(&out)]);
        let spoken = must(curl.args(["--write-out", "%{http_version}", &served.https()]));
        assert_eq!(spoken, version);
        served.assert_fetched(&out);
    }
    let out = served.world.path("plain");
    must(Command::new("curl").args(["--silent", "--show-error", "--fail", "--output", text(&out), &served.http()]));
    served.assert_fetched(&out);
}

#[test]
fn curl_ranges_resumes_and_conditions() {
    require_tool("curl", "curl");
    let served = Served::new(1_000_000);
    let fetch = |extra: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--cacert", served.ca(), "--dump-header", "-", "--output"]);
        let out = served.world.path("part");
        let _ = std::fs::remove_file(&out);
        let head = must(curl.arg(text(&out)).args(extra).arg(served.https()));
        (head, std::fs::read(&out).unwrap_or_default())
    };
    let (head, body) = fetch(&["--range", "1000-1999"]);
    assert!(head.contains(" 206"), "{head}");
    assert!(head.to_lowercase().contains("content-range: bytes 1000-1999/1000000"), "{head}");
    assert_eq!(body, served.content[1000..2000]);
    let (head, body) = fetch(&["--range", "-5"]);
    assert!(head.contains(" 206") && body == served.content[999_995..], "{head}");
    let (head, _) = fetch(&["--range", "2000000-"]);
    assert!(head.contains(" 416") && head.to_lowercase().contains("content-range: bytes */1000000"), "{head}");
    let (head, body) = fetch(&["--range", "0-9,100-109"]);
    assert!(head.contains(" 206") && head.to_lowercase().contains("multipart/byteranges"), "{head}");
    let has = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    assert!(has(&served.content[0..10]) && has(&served.content[100..110]));
    let tag = format!("If-None-Match: \"{}\"", served.blob);
    let (head, body) = fetch(&["--header", &tag]);
    assert!(head.contains(" 304") && body.is_empty(), "{head}");
    let (head, _) = fetch(&["--header", "If-Match: \"other\""]);
    assert!(head.contains(" 412"), "{head}");
    let (head, body) = fetch(&["--head"]);
    assert!(
        head.to_lowercase().contains("content-length: 1000000") && !body.starts_with(&served.content[..16]),
        "{head}"
    );
}

#[test]
fn aria2c_with_sixteen_ranges_at_once() {
    require_tool("aria2c", "aria2");
    let served = Served::new(40_000_000);
    let mut aria = Command::new("aria2c");
    aria.args(["-x16", "-s16", "--min-split-size=1M", "--allow-overwrite=true", "--quiet=true", "--out=aria.bin"]);
    aria.arg(format!("--ca-certificate={}", served.ca())).arg(format!("--dir={}", served.world.dir.path().display()));
    must(aria.arg(served.https()));
    served.assert_fetched(&served.world.path("aria.bin"));
}

#[test]
fn wget_continues_where_it_stopped() {
    require_tool("wget", "wget");
    let served = Served::new(3_000_000);
    let out = served.world.path("wget.bin");
    std::fs::write(&out, &served.content[..1_234_567]).expect("written");
    let mut wget = Command::new("wget");
    wget.args(["--quiet", "--continue", "--output-document", text(&out)]);
    must(wget.arg(format!("--ca-certificate={}", served.ca())).arg(served.https()));
    served.assert_fetched(&out);
}

/// Debian's interpreter first (`python3-requests`), then whichever is on the path.
fn python_with_requests() -> Command {
    for python in ["/usr/bin/python3", "python3"] {
        let asked = Command::new(python).args(["-c", "import requests"]).output();
        if asked.is_ok_and(|output| output.status.success()) {
            return Command::new(python);
        }
    }
    panic!("this test needs the Python library requests: run `apt-get install python3-requests`");
}

#[test]
fn python_requests_streams_and_ranges() {
    let served = Served::new(2_000_000);
    let script = "import sys, requests\n\
        url, ca, out = sys.argv[1:4]\n\
        with requests.Session() as session:\n\
        \x20   session.trust_env, session.verify = False, ca\n\
        \x20   with session.get(url, stream=True, timeout=30) as answer:\n\
        \x20       answer.raise_for_status()\n\
        \x20       with open(out, 'wb') as file:\n\
        \x20           for piece in answer.iter_content(65536):\n\
        \x20               file.write(piece)\n\
        \x20   part = session.get(url, headers={'Range': 'bytes=5-9'}, timeout=30)\n\
        \x20   assert part.status_code == 206 and len(part.content) == 5, part.status_code\n\
        \x20   gone = session.get(url[:-1] + ('0' if url[-1] != '0' else '1'), timeout=30)\n\
        \x20   assert gone.status_code == 404 and gone.json()['code'] == 'unknown', gone.text\n";
    let out = served.world.path("requests.bin");
    must(python_with_requests().args(["-c", script, &served.https(), served.ca(), text(&out)]));
    served.assert_fetched(&out);
}
