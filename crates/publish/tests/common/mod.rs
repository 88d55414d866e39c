//! Builds on disk, requests, and an install made from what was published, with the client's decoders.

use penstock_core::blob::{BlobId, ChunkId};
use penstock_core::id::{Platform, ProductId, Version};
use penstock_core::keys::TrustSet;
use penstock_core::manifest::{Expected, Root, verify};
use penstock_core::sign::SecretKey;
use penstock_core::time::UnixSeconds;
use penstock_frames::frame::decode_frame;
use penstock_frames::pack::PackIndex;
use penstock_frames::part::{ChunkPart, ComponentCheck, EntryKind, TreePart};
use penstock_publish::memory::MemoryRegistry;
use penstock_publish::{PublishError, PublishReport, PublishRequest, Silent, publish};
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

/// A build, by path.
pub(crate) type Tree = BTreeMap<String, Node>;

/// One entry of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    File(Vec<u8>),
    Program(Vec<u8>),
    Directory,
    Link(String),
}

pub(crate) fn product() -> ProductId {
    ProductId::new("game").expect("name")
}

pub(crate) fn version(text: &str) -> Version {
    Version::new(text).expect("name")
}

pub(crate) fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

pub(crate) fn node() -> MemoryRegistry {
    MemoryRegistry::with_product(&product())
}

pub(crate) fn request(dir: &Path, text: &str) -> PublishRequest {
    let mut request =
        PublishRequest::new(dir.to_owned(), product(), version(text), Platform::any(), vec![key()], UnixSeconds(1000));
    request.level = 3;
    request.threads = 2;
    request
}

/// Publishes a tree from a directory of its own.
pub(crate) fn publish_tree(tree: &Tree, text: &str, node: &MemoryRegistry) -> Result<PublishReport, PublishError> {
    publish_with(tree, text, node, |_| ())
}

pub(crate) fn publish_with(
    tree: &Tree,
    text: &str,
    node: &MemoryRegistry,
    change: impl FnOnce(&mut PublishRequest),
) -> Result<PublishReport, PublishError> {
    let dir = tempfile::tempdir().expect("dir");
    write(tree, dir.path());
    let mut request = request(dir.path(), text);
    change(&mut request);
    publish(request, node, &Silent)
}

/// Whether to run the long matrices, as `cargo xtask full` does.
pub(crate) fn full() -> bool {
    std::env::var_os("PENSTOCK_FULL").is_some_and(|value| value == "1")
}

/// Bytes that look random and compress not at all.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

pub(crate) fn tree<const N: usize>(nodes: [(&str, Node); N]) -> Tree {
    nodes.into_iter().map(|(path, node)| (path.to_owned(), node)).collect()
}

pub(crate) fn write(tree: &Tree, dir: &Path) {
    for (path, node) in tree {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().expect("below the build")).expect("directory");
        match node {
            Node::File(content) => std::fs::write(&path, content).expect("file"),
            Node::Program(content) => {
                std::fs::write(&path, content).expect("file");
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
            }
            Node::Directory => std::fs::create_dir_all(&path).expect("directory"),
            Node::Link(target) => symlink(target, &path).expect("link"),
        }
    }
}

/// A published release's root, checked as a client does.
pub(crate) fn root(node: &MemoryRegistry, text: &str) -> Root {
    let (product, version) = (product(), version(text));
    let id = node.registration(&product, &version).expect("registered").manifest;
    let bytes = node.blob(&id).expect("manifest");
    let expected = Expected { id, product: &product, platform: &Platform::any(), version: &version };
    verify(&bytes, &TrustSet::single(key().public()), &expected).expect("signed").root().clone()
}

/// Makes an install of a release in memory; every chunk is checked.
pub(crate) fn install(node: &MemoryRegistry, text: &str) -> Tree {
    let mut tree = Tree::new();
    for component in &root(node, text).components {
        let mut check = ComponentCheck::default();
        let stored = |blob: &BlobId| node.blob(blob).expect("part");
        let trees: Vec<TreePart> =
            component.tree.iter().map(|part| TreePart::decode(part, &stored(&part.blob)).expect("tree part")).collect();
        let parts: Vec<ChunkPart> = component
            .chunks
            .iter()
            .map(|part| ChunkPart::decode(part, &stored(&part.blob)).expect("chunk part"))
            .collect();
        trees.iter().for_each(|part| check.tree(part).expect("a tree"));
        parts.iter().for_each(|part| check.chunks(part).expect("chunks"));
        check.finish(component).expect("sums");
        let mut chunks = parts.iter().flat_map(|part| part.chunks.iter().map(move |chunk| (part, chunk)));
        for entry in trees.into_iter().flat_map(|part| part.entries) {
            let node = match entry.kind {
                EntryKind::File { executable, chunks: count, .. } => {
                    let content =
                        chunks.by_ref().take(count as usize).flat_map(|(part, chunk)| read(node, part, chunk));
                    let content = content.collect();
                    if executable { Node::Program(content) } else { Node::File(content) }
                }
                EntryKind::Directory => Node::Directory,
                EntryKind::Link { target } => Node::Link(target),
            };
            tree.insert(entry.path.to_string(), node);
        }
    }
    tree
}

fn read(node: &MemoryRegistry, part: &ChunkPart, chunk: &penstock_frames::part::ChunkLoc) -> Vec<u8> {
    let frame = part.frames[chunk.frame as usize];
    let pack = node.blob(&part.packs[frame.pack as usize]).expect("pack");
    let start = usize::try_from(frame.offset).expect("small");
    let stored = &pack[start..start + frame.stored_bytes as usize];
    let mut content = Vec::new();
    decode_frame(frame.kind, stored, frame.content_bytes, &[], &mut content).expect("frame");
    let content = content[chunk.at as usize..][..chunk.bytes as usize].to_vec();
    assert_eq!(ChunkId::of(&content), chunk.id);
    content
}

/// All packs of a node with their indexes.
pub(crate) fn packs(node: &MemoryRegistry) -> Vec<(BlobId, PackIndex)> {
    let blobs = node.blobs().into_iter();
    blobs.filter_map(|blob| Some((blob, PackIndex::of(&node.blob(&blob)?).ok()?))).collect()
}

/// Runs one test of this binary in a process of its own, as another user if asked; its output must
/// not be lost, because that is where its failure is told.
pub(crate) fn run_alone(test: &str, marker: &str, unprivileged: Option<u32>) -> Output {
    use std::os::unix::process::CommandExt as _;
    // The other user may not be able to reach the build directory.
    let dir = tempfile::tempdir().expect("dir");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
    let program = dir.path().join("test");
    std::fs::copy(std::env::current_exe().expect("this binary"), &program).expect("copy");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let mut command = Command::new(&program);
    command.args([test, "--exact", "--nocapture"]).env(marker, "1");
    if let Some(uid) = unprivileged {
        command.uid(uid).gid(uid);
    }
    command.output().expect("the test binary runs")
}
