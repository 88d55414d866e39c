//! Files that change behind the server's back: cut off, never served as good, and the process lives.

use crate::rig::{Over, Rig, content, read_answer, read_head, send};
use penstock_core::blob::BlobId;
use penstock_edge::outcome::End;
use penstock_edge::serve::PlainTokens;
use penstock_store::Reading;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn truncate(path: &Path, len: u64) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("writable");
    std::fs::OpenOptions::new().write(true).open(path).expect("open").set_len(len).expect("cut");
}

/// Many readers are in the middle of a blob when its file is cut: each gets right bytes and then a cut connection, or
/// the whole blob if all of it was on its way already; nobody gets wrong bytes in a whole answer.
#[test]
fn truncation_under_load() {
    for (over, reading) in [(Over::Plain, Reading::Map), (Over::Tls, Reading::Map), (Over::Tls, Reading::Pread)] {
        let rig = Rig::with(over, reading, PlainTokens::Refuse);
        let whole = content(32 << 20);
        let blob = rig.put_open(&whole);
        let path = format!("/v1/blobs/{blob}");
        let mut sockets: Vec<_> = (0..8)
            .map(|_| {
                let mut socket = rig.connect();
                send(&mut socket, "GET", &path, &[]);
                assert_eq!(read_head(&mut socket).expect("a head").status, 200);
                let mut first = vec![0; 100_000];
                socket.read_exact(&mut first).expect("bytes");
                assert!(first == whole[..100_000]);
                socket
            })
            .collect();
        truncate(&rig.blob_path(&blob), 50_000);
        for socket in &mut sockets {
            let mut rest = Vec::new();
            // An error and an early end are both a cut; what counts is which bytes came before.
            let ended = socket.read_to_end(&mut rest);
            let good = whole[100_000..].iter().zip(&rest).take_while(|(a, b)| a == b).count();
            assert!(
                rest.len() < whole.len() - 100_000,
                "{over:?} {reading:?}: a whole answer from a cut file: {ended:?}"
            );
            assert_eq!(good, rest.len(), "{over:?} {reading:?}: wrong bytes");
        }
        let outcomes = rig.outcomes.wait(8);
        assert!(
            outcomes.iter().all(|outcome| outcome.end != End::Complete && outcome.sent_bytes < outcome.planned_bytes)
        );
        rig.get(&path, &[]).assert_problem(503, "blob_damaged");
        assert!(rig.store.size_of(&blob).is_none(), "it is in quarantine");
        let other = rig.put_open(b"another");
        assert_eq!(rig.get(&format!("/v1/blobs/{other}"), &[]).status, 200, "the node serves on");
    }
}

/// The end of a blob has been handed to the connection and waits there for a slow reader when the file loses ten bytes
/// inside its last page. The kernel raises no signal for that and reads zeros: they must not arrive as the blob's end.
#[test]
fn a_cut_behind_what_was_handed_over_is_noticed() {
    for over in [Over::Plain, Over::Tls] {
        let rig = Rig::narrow(over, Reading::Map);
        let whole = content(400_000);
        let blob = rig.put_open(&whole);
        let mut socket = rig.connect();
        send(&mut socket, "GET", &format!("/v1/blobs/{blob}"), &[]);
        assert_eq!(read_head(&mut socket).expect("a head").status, 200);
        assert_eq!(rig.outcomes.wait(1)[0].end, End::Complete, "all of it is handed over");
        truncate(&rig.blob_path(&blob), 399_990);
        let mut body = Vec::new();
        _ = socket.read_to_end(&mut body);
        assert!(body.len() < whole.len(), "{over:?}: a whole answer from a cut file");
        assert!(whole.starts_with(&body), "{over:?}: wrong bytes");
        rig.get(&format!("/v1/blobs/{blob}"), &[]).assert_problem(503, "blob_damaged");
        assert!(rig.store.size_of(&blob).is_none(), "it is in quarantine");
    }
}

/// Cut before it is opened, cut while it is open, deleted: 503 with `Retry-After`, whatever was asked for.
#[test]
fn damage_found_before_the_head_is_a_503() {
    for reading in [Reading::Map, Reading::Pread] {
        let rig = Rig::with(Over::Plain, reading, PlainTokens::Refuse);
        let cut = rig.put_open(&content(100_000));
        truncate(&rig.blob_path(&cut), 99_999);
        let deleted = rig.put_open(&content(100_001));
        std::fs::remove_file(rig.blob_path(&deleted)).expect("deleted");
        for blob in [cut, deleted] {
            for part in ["", "/outboard", "/verified"] {
                let answer = rig.get(&format!("/v1/blobs/{blob}{part}"), &[]);
                answer.assert_problem(503, "blob_damaged");
                assert_eq!(answer.header("retry-after"), Some("60"));
            }
        }
    }
}

/// A blob that is open and idle is cut inside its last page, where the kernel raises no signal.
#[test]
fn a_cut_inside_the_last_page_is_noticed() {
    let rig = Rig::with(Over::Tls, Reading::Map, PlainTokens::Refuse);
    let whole = content(100_000);
    let blob: BlobId = rig.put_open(&whole);
    let path = format!("/v1/blobs/{blob}");
    assert!(rig.get(&path, &[]).body == whole);
    truncate(&rig.blob_path(&blob), 99_990);
    let mut socket = rig.connect();
    send(&mut socket, "GET", &path, &[("range", "bytes=-20")]);
    if let Ok(answer) = read_answer(&mut socket, "GET") {
        answer.assert_problem(503, "blob_damaged");
    }
    rig.get(&path, &[]).assert_problem(503, "blob_damaged");
}
