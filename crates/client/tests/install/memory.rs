//! How much memory a plan takes (its share of the 64 MiB that a pull may have): an update of a synthetic build, planned in a process of its own. The files are sparse
//! and the content does not exist, because planning looks at neither.
//!
//! With `PENSTOCK_FULL=1` the build has 200,000 files, 1,000,000 chunks and 60 GB of content, otherwise a tenth of that.

use crate::Stage;
use crate::publisher::Published;
use penstock_client::{Intent, PullRequest, Silent, pull};
use penstock_core::blob::{BlobId, ChunkId};
use penstock_core::id::{AccessGroup, ComponentName, Platform, Version};
use penstock_core::manifest::{Chunker, Component, PartRef, Root};
use penstock_frames::column::{put, put_signed};
use penstock_frames::part::{CHUNK_FORMAT, KIND_FILE, TREE_FORMAT};
use penstock_frames::wire::{ChunkWire, TreeWire};
use prost::Message as _;
use std::fs;
use std::path::Path;
use std::process::Command;

const CHILD: &str = "PENSTOCK_TEST_PLANNER";
const CHUNKS_PER_FILE: usize = 5;
const CHUNK_LENGTH: usize = 60_000;
const CHUNK_BYTES: u64 = CHUNK_LENGTH as u64;
const PART_ENTRIES: usize = 2000;
const PART_CHUNKS: usize = 4000;

fn path(file: usize) -> String {
    format!("data/region{:03}/textures/set{:05}/surface{file:07}.dds", file / 2000, file / 100)
}

/// A release of `files` files. In version 2, one chunk of every second file is another; or, if there are `real` files,
/// all chunks of the first so many, and only these have content that an edge could serve.
fn publish(stage: &mut Stage, version: u64, files: usize, real: usize) -> Published {
    let changed = 2;
    let is_real = |chunk: usize| version == 2 && chunk / CHUNKS_PER_FILE < real;
    let content = |chunk: usize| crate::publisher::noise(chunk as u64, CHUNK_LENGTH);
    let id = |chunk: usize| {
        if is_real(chunk) {
            return ChunkId::of(&content(chunk));
        }
        let version = if real > 0 { 1 } else { version };
        let is_new =
            version == 2 && (chunk / CHUNKS_PER_FILE).is_multiple_of(changed) && chunk.is_multiple_of(CHUNKS_PER_FILE);
        ChunkId::of(&[chunk.to_le_bytes(), usize::from(is_new).to_le_bytes()].concat())
    };
    let numbers: Vec<usize> = (0..files).collect();
    let tree = numbers.chunks(PART_ENTRIES).map(|part| {
        let mut wire = TreeWire { format: TREE_FORMAT, ..TreeWire::default() };
        for file in part {
            let path = path(*file);
            wire.kinds.push(KIND_FILE);
            put(&mut wire.shared, 0);
            put(&mut wire.rest_lens, path.len() as u64);
            wire.rests.push_str(&path);
            put(&mut wire.sizes, CHUNKS_PER_FILE as u64 * CHUNK_BYTES);
            put(&mut wire.chunk_counts, CHUNKS_PER_FILE as u64);
        }
        stage.publisher.part(&wire.encode_to_vec(), part.len())
    });
    let tree: Vec<PartRef> = tree.collect();
    let numbers: Vec<usize> = (0..files * CHUNKS_PER_FILE).collect();
    let chunks = numbers.chunks(PART_CHUNKS).map(|part| {
        let mut wire = ChunkWire { format: CHUNK_FORMAT, ..ChunkWire::default() };
        for (at, chunk) in part.iter().enumerate() {
            // Each chunk is a raw frame; a pack holds a hundred of them.
            if at % 100 == 0 {
                let pack = BlobId::of(&chunk.to_le_bytes());
                wire.packs.extend_from_slice(pack.as_bytes());
                if is_real(*chunk) {
                    stage.publisher.blobs.insert(pack, (*chunk..chunk + 100).flat_map(content).collect());
                }
            }
            put(&mut wire.frame_packs, (at / 100) as u64);
            put_signed(&mut wire.frame_gaps, 0);
            put(&mut wire.frame_stored, CHUNK_BYTES);
            put(&mut wire.frame_extra, 0);
            put(&mut wire.frame_kinds, 0);
            wire.chunks.extend_from_slice(id(*chunk).as_bytes());
            put(&mut wire.chunk_bytes, CHUNK_BYTES);
            put_signed(&mut wire.chunk_frames, i64::from(at > 0));
            put_signed(&mut wire.chunk_gaps, 0);
        }
        stage.publisher.part(&wire.encode_to_vec(), part.len())
    });
    let chunks: Vec<PartRef> = chunks.collect();
    let root = Root {
        product: stage.publisher.product.clone(),
        platform: Platform::any(),
        version: Version::new(&version.to_string()).expect("version"),
        created: crate::NOW,
        chunker: Chunker::default(),
        components: vec![Component {
            name: ComponentName::base(),
            group: AccessGroup::base(),
            optional: false,
            entry_count: files as u64,
            content_bytes: (files * CHUNKS_PER_FILE) as u64 * CHUNK_BYTES,
            chunk_count: (files * CHUNKS_PER_FILE) as u64,
            tree,
            chunks,
        }],
    };
    stage.publisher.sign(root)
}

/// Not a test: plans in another process and says what it took.
#[test]
fn child_planner() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let fields: Vec<&str> = order.split('\n').collect();
    let [url, into, ca] = fields[..] else { panic!("bad order") };
    let stage = Stage::new();
    let request = PullRequest {
        edges: vec![url.parse().expect("url")],
        into: into.into(),
        intent: if ca.is_empty() { Intent::DryRun } else { Intent::Apply },
        ca_file: (!ca.is_empty()).then(|| ca.into()),
        ..stage.request()
    };
    let before = resident_peak_bytes();
    let report = pull(&request, &Silent).expect("plan");
    let (peak, preflight) = (resident_peak_bytes(), report.preflight);
    let milliseconds = (report.seconds * 1000.0).round();
    println!("PLAN {before} {peak} {} {} {milliseconds}", preflight.payload_bytes, preflight.reuse_bytes);
}

fn resident_peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("number") * 1024
}

#[test]
fn a_plan_for_a_large_build_stays_small() {
    let full = std::env::var_os("PENSTOCK_FULL").is_some_and(|value| value == "1");
    let files = if full { 200_000 } else { 20_000 };
    let stage = large_update(Stage::new(), files, 0);
    let [before, peak, payload, reuse, _] = in_a_child(&stage.edge.url(), &stage.dir(), "");
    println!("{files} files: {} MiB before, {} MiB at the peak", before >> 20, peak >> 20);
    // Half of the files change, each in one of its chunks.
    assert_eq!(payload, files as u64 / 2 * CHUNK_BYTES);
    assert_eq!(reuse, files as u64 / 2 * (CHUNKS_PER_FILE as u64 - 1) * CHUNK_BYTES);
    let bound = if full { 64 << 20 } else { 40 << 20 };
    assert!(peak <= bound, "{} MiB", peak >> 20);
}

/// Runs [`child_planner`]: resident bytes before and at the peak, bytes to fetch and to reuse, milliseconds.
fn in_a_child(url: &str, dir: &Path, ca: &str) -> [u64; 5] {
    let output = Command::new(std::env::current_exe().expect("exe"))
        .args(["--exact", "memory::child_planner", "--nocapture"])
        .env(CHILD, format!("{url}\n{}\n{ca}", dir.display()))
        .output()
        .expect("child");
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = words.lines().find_map(|line| line.split_once("PLAN ")).map(|(_, numbers)| numbers.to_owned());
    let line = line.unwrap_or_else(|| panic!("{words}{}", String::from_utf8_lossy(&output.stderr)));
    let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().expect("number")).collect();
    numbers.try_into().expect("five numbers")
}

/// A whole pull over TLS and HTTP/2: what is on its way to disk takes a bounded share of memory. Says how fast it was, too.
#[test]
fn a_pull_holds_little_of_what_it_fetches() {
    let full = std::env::var_os("PENSTOCK_FULL").is_some_and(|value| value == "1");
    let mut stage = Stage::new();
    stage.edge = crate::server::Edge::secure(&[b"h2"]);
    let size = if full { 100 << 20 } else { 12 << 20 };
    let file = |seed| (format!("pak{seed}"), crate::publisher::Node::File(crate::publisher::half_noise(seed, size)));
    let tree = (0..8).map(file).collect();
    stage.offer("1", &tree);
    let ca = stage.temp.path().join("ca.pem");
    fs::write(&ca, stage.edge.ca_pem.as_ref().expect("tls")).expect("write");
    let [before, peak, payload, _, milliseconds] =
        in_a_child(&stage.edge.url(), &stage.dir(), ca.to_str().expect("utf-8"));
    let content = 8 * size as u64;
    println!(
        "{} MB, {} MB fetched, in {milliseconds} ms: {} MB/s; {} MiB before, {} MiB at the peak",
        content / 1_000_000,
        payload / 1_000_000,
        content / milliseconds.max(1) / 1000,
        before >> 20,
        peak >> 20
    );
    crate::assert_is(&stage.dir(), &tree, &[]);
    assert!(peak <= 64 << 20, "{} MiB", peak >> 20);
}

/// An install of version 1 whose files are sparse, and an edge that offers version 2.
fn large_update(mut stage: Stage, files: usize, real: usize) -> Stage {
    let (one, two) = (publish(&mut stage, 1, files, real), publish(&mut stage, 2, files, real));
    let dir = stage.dir();
    let blobs = dir.join(".penstock/blobs");
    fs::create_dir_all(&blobs).expect("mkdir");
    for part in one.root.parts().map(|part| part.blob).chain([one.manifest]) {
        fs::write(blobs.join(part.to_string()), &stage.publisher.blobs[&part]).expect("write");
    }
    for file in 0..files {
        let path = dir.join(path(file));
        if file % 100 == 0 {
            fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        }
        let made = fs::File::create(&path).expect("create");
        made.set_len(CHUNKS_PER_FILE as u64 * CHUNK_BYTES).expect("sparse");
    }
    let state = serde_json::json!({
        "format": 1, "product": "game", "platform": "any", "channel": null,
        "installed": { "version": "1", "manifest": one.manifest, "manifest_bytes": one.manifest_bytes },
        "unfinished": null, "previous": null, "given_trust": "", "trust": "", "memory": {}, "edges": [], "ca_file": null,
    });
    fs::write(dir.join(".penstock/state.json"), state.to_string()).expect("write");
    stage.edge.offer(&mut stage.publisher, &two);
    stage
}

/// Both at once: the large build's plan stays in memory while real content for some of its files comes in.
#[test]
fn a_pull_into_a_large_build_stays_small() {
    let full = std::env::var_os("PENSTOCK_FULL").is_some_and(|value| value == "1");
    let files = if full { 200_000 } else { 20_000 };
    let real = 400;
    let stage = large_update(Stage { edge: crate::server::Edge::secure(&[b"h2"]), ..Stage::new() }, files, real);
    let ca = stage.temp.path().join("ca.pem");
    fs::write(&ca, stage.edge.ca_pem.as_ref().expect("tls")).expect("write");
    let [before, peak, payload, _, _] = in_a_child(&stage.edge.url(), &stage.dir(), ca.to_str().expect("utf-8"));
    println!("pull into {files} files: {} MiB before, {} MiB at the peak", before >> 20, peak >> 20);
    assert_eq!(payload, (real * CHUNKS_PER_FILE) as u64 * CHUNK_BYTES);
    let bytes = fs::read(stage.dir().join(path(real - 1))).expect("there");
    let last = crate::publisher::noise((real * CHUNKS_PER_FILE - 1) as u64, CHUNK_LENGTH);
    assert!(bytes.ends_with(&last));
    let bound = if full { 64 << 20 } else { 48 << 20 };
    assert!(peak <= bound, "{} MiB", peak >> 20);
}
