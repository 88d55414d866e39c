//! A build that changes while it is being published is noticed, whenever it changes.

use crate::common::*;
use penstock_publish::{FillError, Phase, Progress, PublishError, SourceError, publish};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Does something to the build at a moment of the publish.
struct Meddler<F: Fn(&Path) + Sync> {
    dir: PathBuf,
    at: Moment,
    phase_is_chunk: AtomicBool,
    done: AtomicBool,
    meddle: F,
}

#[derive(Clone, Copy, PartialEq)]
enum Moment {
    BeforeReading,
    WhileReading,
    BeforePacking,
}

impl<F: Fn(&Path) + Sync> Meddler<F> {
    fn once(&self) {
        if !self.done.swap(true, Ordering::SeqCst) {
            (self.meddle)(&self.dir);
        }
    }
}

impl<F: Fn(&Path) + Sync> Progress for Meddler<F> {
    fn begin(&self, phase: Phase, _: u64) {
        self.phase_is_chunk.store(phase == Phase::Chunk, Ordering::SeqCst);
        match (self.at, phase) {
            (Moment::BeforeReading, Phase::Chunk) | (Moment::BeforePacking, Phase::Pack) => self.once(),
            _ => {}
        }
    }
    fn advance(&self, _: u64) {
        if self.at == Moment::WhileReading && self.phase_is_chunk.load(Ordering::SeqCst) {
            self.once();
        }
    }
    fn note(&self, _: &str) {}
}

fn publish_while(at: Moment, meddle: impl Fn(&Path) + Sync) -> PublishError {
    let dir = tempfile::tempdir().expect("dir");
    // Larger than any read buffer, so that the first progress comes before the end.
    let build = [
        ("big", Node::File(noise(1, 12 << 20))),
        ("empty", Node::File(Vec::new())),
        ("small", Node::File(b"small".to_vec())),
    ];
    write(&tree(build), dir.path());
    let node = node();
    let meddler = Meddler {
        dir: dir.path().to_owned(),
        at,
        phase_is_chunk: AtomicBool::new(false),
        done: AtomicBool::new(false),
        meddle,
    };
    let error = publish(request(dir.path(), "1"), &node, &meddler).expect_err("the build changed");
    assert!(node.registration(&product(), &version("1")).is_none(), "nothing is registered");
    error
}

fn changed(error: &PublishError) -> &str {
    match error {
        PublishError::Source(SourceError::Changed { path })
        | PublishError::Fill(FillError::Source(SourceError::Changed { path })) => path.as_str(),
        other => panic!("{other:?}"),
    }
}

fn append(path: &Path) {
    let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("open");
    file.write_all(b"more").expect("append");
}

#[test]
fn a_file_that_grows_is_noticed() {
    for at in [Moment::BeforeReading, Moment::WhileReading, Moment::BeforePacking] {
        assert_eq!(changed(&publish_while(at, |dir| append(&dir.join("big")))), "big");
    }
}

/// An empty file has no chunk whose hash would tell.
#[test]
fn an_empty_file_that_is_filled_or_replaced_is_noticed() {
    let fillers: [fn(&Path); 3] = [
        |path| append(path),
        |path| std::fs::remove_file(path).expect("remove"),
        |path| {
            std::fs::remove_file(path).expect("remove");
            std::os::unix::fs::symlink("/etc/hostname", path).expect("link");
        },
    ];
    for fill in fillers {
        assert_eq!(changed(&publish_while(Moment::BeforeReading, |dir| fill(&dir.join("empty")))), "empty");
    }
}

#[test]
fn a_file_that_shrinks_is_noticed() {
    for at in [Moment::BeforeReading, Moment::WhileReading, Moment::BeforePacking] {
        let error = publish_while(at, |dir| {
            let file = std::fs::OpenOptions::new().write(true).open(dir.join("big")).expect("open");
            file.set_len(5 << 20).expect("truncate");
        });
        assert_eq!(changed(&error), "big");
    }
}

#[test]
fn a_file_that_is_rewritten_in_place_is_noticed() {
    let error = publish_while(Moment::BeforePacking, |dir| {
        std::fs::write(dir.join("big"), noise(2, 12 << 20)).expect("rewrite");
    });
    assert_eq!(changed(&error), "big");
}

#[test]
fn a_file_that_is_replaced_by_something_else_is_noticed() {
    let replace = |make: fn(&Path)| {
        move |dir: &Path| {
            std::fs::remove_file(dir.join("small")).expect("remove");
            make(&dir.join("small"));
        }
    };
    let makers: [fn(&Path); 4] = [
        |path| std::os::unix::fs::symlink("/etc/hostname", path).expect("link"),
        |path| std::fs::write(path, b"other").expect("another file"),
        |path| {
            let status = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
            assert!(status.success());
        },
        |_| (),
    ];
    for make in makers {
        assert_eq!(changed(&publish_while(Moment::BeforeReading, replace(make))), "small");
    }
}
