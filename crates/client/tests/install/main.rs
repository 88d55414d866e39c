//! The client against real sockets and disks: every promise of `pull`, `verify`, `repair` and
//! `rollback`, with edges that lie and processes that are killed.

#![expect(clippy::panic, reason = "helpers of tests, where clippy does not see that they are")]

mod attacks;
mod crash;
mod edges;
mod lifecycle;
mod memory;
mod newcomer;
mod publisher;
mod review;
mod rollout;
mod server;
mod space;

use penstock_client::{
    Check, Components, Intent, PullError, PullReport, PullRequest, RepairReport, RepairRequest, RollbackReport,
    RollbackRequest, Silent, Target, Tuning, VerifyReport, VerifyRequest, pull, repair, rollback, verify,
};
use penstock_core::id::{ChannelName, Platform, Version};
use publisher::{NOW, Node, Publisher, Tree, half_noise, noise};
use server::Edge;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A publisher, an edge and an install directory.
pub(crate) struct Stage {
    pub(crate) publisher: Publisher,
    pub(crate) edge: Edge,
    pub(crate) temp: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { publisher: Publisher::new(), edge: Edge::plain(), temp: tempfile::tempdir().expect("temp") }
    }
    pub(crate) fn offer(&mut self, version: &str, tree: &Tree) {
        let published = self.publisher.publish(version, tree);
        self.edge.offer(&mut self.publisher, &published);
    }
    pub(crate) fn dir(&self) -> PathBuf {
        self.temp.path().join("install")
    }
    pub(crate) fn request(&self) -> PullRequest {
        PullRequest {
            edges: vec![self.edge.url().parse().expect("url")],
            product: self.publisher.product.clone(),
            platform: Platform::any(),
            target: Target::Channel(ChannelName::new("stable").expect("name")),
            check: Check::Scheduled,
            components: Components::AsBefore,
            token: None,
            trust: self.publisher.trust(),
            ca_file: None,
            into: self.dir(),
            intent: Intent::Apply,
            keep_previous: false,
            now: NOW.plus(10),
            tuning: Tuning { stall_ms: 400, ..Tuning::default() },
        }
    }
    pub(crate) fn pull(&self) -> Result<PullReport, PullError> {
        pull(&self.request(), &Silent)
    }
    pub(crate) fn pull_version(&self, version: &str) -> Result<PullReport, PullError> {
        let target = Target::Version(Version::new(version).expect("version"));
        pull(&PullRequest { target, ..self.request() }, &Silent)
    }
    pub(crate) fn verify(&self) -> VerifyReport {
        verify(&VerifyRequest { dir: self.dir(), tuning: Tuning::default() }, &Silent).expect("verify")
    }
    pub(crate) fn repair(&self) -> Result<RepairReport, PullError> {
        let request = RepairRequest {
            dir: self.dir(),
            edges: Vec::new(),
            token: None,
            ca_file: None,
            intent: Intent::Apply,
            tuning: Tuning { stall_ms: 400, ..Tuning::default() },
        };
        repair(&request, &Silent)
    }
    pub(crate) fn rollback(&self) -> Result<RollbackReport, PullError> {
        rollback(&RollbackRequest { dir: self.dir(), tuning: Tuning::default() }, &Silent)
    }
}

/// A small game: paks, a program, texts, a link, an empty directory.
pub(crate) fn first() -> Tree {
    let mut tree = Tree::new();
    tree.insert("bin/game".into(), Node::Program(half_noise(1, 300_000)));
    tree.insert("data/world.pak".into(), Node::File(half_noise(2, 3_000_000)));
    tree.insert("data/old.pak".into(), Node::File(noise(3, 500_000)));
    tree.insert("data/music.ogg".into(), Node::File(noise(4, 700_000)));
    tree.insert("empty.txt".into(), Node::File(Vec::new()));
    tree.insert("saves".into(), Node::Directory);
    tree.insert("latest".into(), Node::Link("data/world.pak".into()));
    for text in 0..60 {
        tree.insert(format!("texts/{text:03}.txt"), Node::File(half_noise(100 + text, 2_000)));
    }
    tree
}

/// The next version: a rename, growth in the middle, a deletion, a mode change, new and changed texts.
pub(crate) fn second() -> Tree {
    let mut tree = first();
    let music = tree.remove("data/music.ogg").expect("there");
    tree.insert("media/theme.ogg".into(), music);
    tree.remove("data/old.pak");
    let Some(Node::File(pak)) = tree.get_mut("data/world.pak") else { panic!("there") };
    let middle = pak.len() / 2;
    pak.splice(middle..middle, half_noise(50, 120_000));
    let Some(Node::Program(game)) = tree.get_mut("bin/game") else { panic!("there") };
    game[1000] ^= 1;
    tree.insert("bin/tool".into(), Node::Program(half_noise(60, 40_000)));
    tree.insert("texts/005.txt".into(), Node::Program(half_noise(105, 2_000)));
    tree.insert("texts/007.txt".into(), Node::File(half_noise(999, 2_100)));
    tree.insert("latest".into(), Node::Link("media/theme.ogg".into()));
    tree
}

/// Compares a directory with a tree byte for byte; `extra` are files that may be there too.
pub(crate) fn assert_is(dir: &Path, tree: &Tree, extra: &[&str]) {
    if let Some(difference) = difference(dir, tree, extra) {
        panic!("{difference}");
    }
}

pub(crate) fn difference(dir: &Path, tree: &Tree, extra: &[&str]) -> Option<String> {
    for (path, node) in tree {
        let full = dir.join(path);
        let Ok(found) = fs::symlink_metadata(&full) else { return Some(format!("{path} is missing")) };
        let same = match node {
            Node::Directory => found.is_dir(),
            Node::Link(target) => found.is_symlink() && fs::read_link(&full).expect("link") == Path::new(target),
            Node::File(bytes) | Node::Program(bytes) => {
                let program = matches!(node, Node::Program(_));
                let is_program = found.permissions().mode() & 0o100 != 0;
                found.is_file() && is_program == program && fs::read(&full).expect("read") == *bytes
            }
        };
        if !same {
            return Some(format!("{path} differs"));
        }
    }
    let mut open = vec![dir.to_owned()];
    while let Some(current) = open.pop() {
        for entry in fs::read_dir(&current).expect("list") {
            let path = entry.expect("entry").path();
            let name = path.strip_prefix(dir).expect("inside").to_str().expect("utf-8").to_owned();
            if name == ".penstock" {
                continue;
            }
            let kind = fs::symlink_metadata(&path).expect("stat");
            if kind.is_dir() {
                open.push(path);
            } else if !tree.contains_key(&name) && !extra.contains(&name.as_str()) {
                return Some(format!("{name} should not be there"));
            }
        }
    }
    None
}
