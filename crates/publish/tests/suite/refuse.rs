//! Trees that cannot be published are refused with the path, and nothing is uploaded.

use crate::common::*;
use penstock_core::id::{AccessGroup, ComponentName, Platform};
use penstock_publish::{ComponentRule, PublishError, ScanError, Silent, SourceError, publish};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

fn refusal(make: impl FnOnce(&Path)) -> ScanError {
    refusal_for("any", make)
}

fn refusal_for(platform: &str, make: impl FnOnce(&Path)) -> ScanError {
    let dir = tempfile::tempdir().expect("dir");
    std::fs::write(dir.path().join("good"), b"good").expect("file");
    make(dir.path());
    let node = node();
    let mut request = request(dir.path(), "1");
    request.platform = Platform::new(platform).expect("name");
    let error = publish(request, &node, &Silent).expect_err("refused");
    assert!(node.blobs().is_empty(), "nothing is uploaded");
    match error {
        PublishError::Scan(error) => error,
        other => panic!("{other:?}"),
    }
}

fn file(dir: &Path, path: &str) {
    write(&tree([(path, Node::File(b"x".to_vec()))]), dir);
}

#[test]
fn names_that_collide_on_a_case_insensitive_disk() {
    let error = refusal(|dir| {
        file(dir, "data/Readme.txt");
        file(dir, "data/README.TXT");
    });
    let ScanError::Collision { one, other } = &error else { panic!("{error:?}") };
    assert_eq!((one.as_str(), other.as_str()), ("data/README.TXT", "data/Readme.txt"));
    let directories = refusal(|dir| {
        file(dir, "Data/a");
        file(dir, "data/b");
    });
    assert!(matches!(directories, ScanError::Collision { .. }));
}

#[test]
fn names_that_are_not_text_or_not_paths() {
    let error = refusal(|dir| {
        std::fs::write(dir.join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"x").expect("file");
    });
    assert!(matches!(&error, ScanError::NotUtf8(path) if path.as_os_str().as_bytes().ends_with(b"bad\xff")));
    for name in ["a\\b", "line\nbreak", ".penstock/state", "C:evil"] {
        let error = refusal(|dir| file(dir, name));
        assert!(matches!(error, ScanError::Path(_)), "{name:?}: {error:?}");
    }
}

#[test]
fn names_that_windows_cannot_store_are_refused_wherever_a_player_may_have_windows() {
    for name in ["aux", "data/what?.txt", "trailing.", "data/aa:b"] {
        for platform in ["any", "windows-x86_64"] {
            let error = refusal_for(platform, |dir| file(dir, name));
            let ScanError::Windows { path, problem } = &error else { panic!("{error:?}") };
            assert_eq!(path.as_str(), name);
            assert!(error.to_string().contains(problem) && error.to_string().contains(name), "{error}");
        }
        let linux = |request: &mut penstock_publish::PublishRequest| {
            request.platform = Platform::new("linux-x86_64").expect("name");
        };
        publish_with(&tree([(name, Node::File(Vec::new()))]), "1", &node(), linux).expect("fine there");
    }
}

#[test]
fn links_to_names_that_windows_cannot_store() {
    let error = refusal(|dir| write(&tree([("d/link", Node::Link("../data/nul".to_owned()))]), dir));
    assert!(matches!(&error, ScanError::WindowsLink { target, .. } if target == "../data/nul"), "{error:?}");
}

#[test]
fn links_out_of_the_build() {
    for target in ["/etc/passwd", "../../outside", "d/../../outside"] {
        let error = refusal(|dir| write(&tree([("d/link", Node::Link(target.to_owned()))]), dir));
        assert!(matches!(&error, ScanError::Link { path, .. } if path.as_str() == "d/link"), "{target}: {error:?}");
    }
}

#[test]
fn pipes_sockets_and_devices() {
    let error = refusal(|dir| {
        let status = std::process::Command::new("mkfifo").arg(dir.join("pipe")).status().expect("mkfifo runs");
        assert!(status.success());
    });
    assert!(matches!(&error, ScanError::Special { path, what: "pipe" } if path.as_str() == "pipe"));
    let error = refusal(|dir| drop(std::os::unix::net::UnixListener::bind(dir.join("socket")).expect("socket")));
    assert!(matches!(&error, ScanError::Special { path, what: "socket" } if path.as_str() == "socket"));
    if rustix::process::geteuid().is_root() {
        let error = refusal(|dir| {
            let status = std::process::Command::new("mknod").arg(dir.join("null")).args(["c", "1", "3"]).status();
            assert!(status.expect("mknod runs").success());
        });
        assert!(matches!(&error, ScanError::Special { path, what: "device" } if path.as_str() == "null"));
    }
}

/// A release cannot be changed, so that a mistyped pattern would stay for good.
#[test]
fn patterns_that_match_nothing_are_named_before_anything_is_uploaded() {
    let build = tree([("bin/game", Node::Program(b"game".to_vec())), ("lang/de/a", Node::File(b"de".to_vec()))]);
    let refusal = |launch: &[&str], components: &[(&str, &str)]| {
        let node = node();
        let published = publish_with(&build, "1", &node, |request| {
            request.launch = launch.iter().map(|pattern| pattern.parse().expect("pattern")).collect();
            request.components = components.iter().map(|(name, pattern)| rule(name, pattern)).collect();
        });
        assert_eq!(published.is_err(), node.blobs().is_empty(), "nothing is uploaded");
        published.err().map(|error| error.to_string())
    };
    let mistyped = refusal(&["bin/game", "bin/gmae.exe"], &[]).expect("refused");
    assert!(mistyped.contains("\"bin/gmae.exe\" matches no file"), "{mistyped}");
    let mistyped = refusal(&[], &[("lang.de", "lang/de/"), ("lang.xx", "lang/xx/")]).expect("refused");
    assert!(mistyped.contains("\"lang/xx/\" of component lang.xx matches nothing"), "{mistyped}");
    assert_eq!(refusal(&["./bin/"], &[("lang", "lang/"), ("lang", "lang/de/*")]), None);
}

fn rule(name: &str, pattern: &str) -> ComponentRule {
    ComponentRule {
        name: ComponentName::new(name).expect("name"),
        pattern: pattern.parse().expect("pattern"),
        group: AccessGroup::base(),
        optional: true,
    }
}

#[test]
fn an_empty_or_absent_build() {
    let dir = tempfile::tempdir().expect("dir");
    let scan = |dir: &Path| match publish(request(dir, "1"), &node(), &Silent) {
        Err(PublishError::Scan(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(scan(dir.path()), ScanError::Empty(_)));
    assert!(matches!(scan(&dir.path().join("absent")), ScanError::Unreadable { .. }));
    std::fs::write(dir.path().join("file"), b"").expect("file");
    assert!(matches!(scan(&dir.path().join("file")), ScanError::NotADirectory(_)));
}

/// Root may read everything, so as root this runs once more as nobody.
#[test]
fn files_and_directories_that_may_not_be_read() {
    const MARKER: &str = "PENSTOCK_TEST_UNPRIVILEGED";
    if rustix::process::geteuid().is_root() {
        assert!(std::env::var_os(MARKER).is_none(), "the child is still root: refusals cannot be tested");
        let output = run_alone("refuse::files_and_directories_that_may_not_be_read", MARKER, Some(65534));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let forbid = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o000)).expect("chmod");
    let dir = tempfile::tempdir().expect("dir");
    file(dir.path(), "data/secret");
    forbid(&dir.path().join("data/secret"));
    let error = publish(request(dir.path(), "1"), &node(), &Silent).expect_err("unreadable");
    let PublishError::Source(SourceError::Unreadable { path, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(path.as_str(), "data/secret");
    forbid(&dir.path().join("data"));
    let error = publish(request(dir.path(), "1"), &node(), &Silent).expect_err("unreadable");
    let PublishError::Scan(ScanError::Unreadable { path, .. }) = &error else { panic!("{error:?}") };
    assert!(path.ends_with("data"), "{path:?}");
    std::fs::set_permissions(dir.path().join("data"), std::fs::Permissions::from_mode(0o700)).expect("chmod");
}
