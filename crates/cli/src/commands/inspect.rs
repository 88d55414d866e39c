//! `inspect`: what a blob, a manifest or an install is made of. Reads only, believes nothing.

use crate::args::tools::Inspect;
use crate::commands::Done;
use crate::failure::Failure;
use crate::output::Output;
use crate::words::{bytes, count, counted, platform};
use anyhow::Context as _;
use penstock_client::InstallSummary;
use penstock_core::blob::BlobId;
use penstock_core::envelope::Envelope;
use penstock_core::envelope::Purpose;
use penstock_core::id::ComponentName;
use penstock_core::limits::ENVELOPE_BYTES_MAX;
use penstock_core::limits::PACK_BYTES_MAX;
use penstock_core::manifest::Root;
use penstock_core::statement::{Delegation, Head};
use penstock_frames::pack::PackIndex;
use penstock_frames::part::{self, AnyPart, EntryKind};
use serde::Serialize;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Larger files are neither pack, part nor manifest; they are hashed and not looked into.
const LOOK_BYTES_MAX: u64 =
    if PACK_BYTES_MAX > ENVELOPE_BYTES_MAX as u64 { PACK_BYTES_MAX } else { ENVELOPE_BYTES_MAX as u64 };

#[derive(Serialize)]
struct Document {
    blob: String,
    bytes: u64,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Content {
    Manifest {
        product: String,
        platform: String,
        version: String,
        created: u64,
        signers: Vec<String>,
        content_bytes: u64,
        entries: u64,
        chunk_target_bytes: u32,
        components: Vec<ComponentRow>,
    },
    Delegation {
        product: String,
        keys: String,
        sequence: u64,
        signers: Vec<String>,
    },
    ChannelHead {
        product: String,
        platform: String,
        channel: String,
        sequence: u64,
        version: String,
        expires: u64,
        signers: Vec<String>,
    },
    OtherStatement {
        purpose: String,
        signers: Vec<String>,
    },
    Pack {
        product: String,
        component: String,
        group: String,
        frames: u64,
        chunks: u64,
        content_bytes: u64,
    },
    TreePart {
        entries: u64,
        files: u64,
        content_bytes: u64,
        paths: Vec<String>,
    },
    ChunkPart {
        chunks: u64,
        frames: u64,
        packs: Vec<String>,
    },
    Opaque,
}

#[derive(Serialize)]
struct ComponentRow {
    name: String,
    group: String,
    optional: bool,
    entries: u64,
    content_bytes: u64,
    chunks: u64,
    parts: u64,
}

/// Prints what it is.
pub(crate) fn run(args: &Inspect, output: &Output) -> Done {
    let name = args.what.to_str().unwrap_or_default();
    let (path, wanted) = match &args.data {
        None if name.parse::<BlobId>().is_ok() && !args.what.exists() => {
            return Err(Failure::usage("to look at a blob by its name, say which node has it: --data DATA_DIR"));
        }
        None => (args.what.clone(), None),
        Some(data) => {
            let blob: BlobId =
                name.parse().map_err(|error| Failure::usage(format!("{name:?} is not a blob's name: {error}")))?;
            (sealed_file(data, blob), Some(blob))
        }
    };
    if path.is_dir() {
        let summary = penstock_client::inspect(&path).map_err(super::install::classify)?;
        output.result(&summary, &install_text(&summary))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut file = std::fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    describe(&mut file, wanted, output)
}

fn install_text(summary: &InstallSummary) -> String {
    let mut text = format!("{} {} for {}", summary.product, summary.version, platform(&summary.platform));
    if let (Some(size), Some(entries)) = (summary.content_bytes, summary.entries) {
        text.push_str(&format!(": {} in {}", bytes(size), counted(entries)));
    }
    if let Some(channel) = &summary.channel {
        text.push_str(&format!("\n  follows channel {channel}"));
    }
    text.push_str(&format!("\n  manifest {}", summary.manifest));
    if !summary.left_out.is_empty() {
        let names: Vec<&str> = summary.left_out.iter().map(ComponentName::as_str).collect();
        text.push_str(&format!("\n  without {}", names.join(", ")));
    }
    text.push_str(&format!("\n  signed by {}", summary.trust));
    if !summary.edges.is_empty() {
        text.push_str(&format!("\n  from {}", summary.edges.join(", ")));
    }
    if let Some(previous) = &summary.previous {
        text.push_str(&format!("\n  {previous} is kept: `penstock rollback` brings it back"));
    }
    if let Some(version) = &summary.unfinished {
        text.push_str(&format!("\n  an update to {version} was interrupted: run pull again"));
    }
    if summary.commit_pending {
        text.push_str("\n  files were being put in place: the next pull, repair or rollback finishes that");
    }
    text
}

/// Where a node keeps a sealed blob. Read past the store, so that a running node is not in the way.
fn sealed_file(data: &Path, blob: BlobId) -> PathBuf {
    let name = blob.to_string();
    data.join("blobs").join(&name[..2]).join(name)
}

/// Says what the bytes are; those of a blob must be what its name says.
fn describe(reader: &mut dyn std::io::Read, wanted: Option<BlobId>, output: &Output) -> Done {
    let mut start = Vec::new();
    reader.take(LOOK_BYTES_MAX + 1).read_to_end(&mut start)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&start);
    let rest = std::io::copy(reader, &mut hasher)?;
    let total = start.len() as u64 + rest;
    let content = if total > LOOK_BYTES_MAX { Content::Opaque } else { look(&start) };
    let blob = BlobId::from(hasher.finalize());
    if let Some(wanted) = wanted.filter(|wanted| *wanted != blob) {
        let what = "its bytes were changed on disk; publish it again, or remove it with `penstock blob rm`";
        return Err(Failure::Failed(anyhow::anyhow!(
            "blob {wanted} is damaged ({} hash to {blob}): {what}",
            bytes(total)
        )));
    }
    let document = Document { blob: blob.to_string(), bytes: total, content };
    output.result(&document, &text(&document))?;
    Ok(ExitCode::SUCCESS)
}

/// What the bytes say they are; `Opaque` when they say nothing we know.
fn look(content: &[u8]) -> Content {
    if let Ok(envelope) = Envelope::decode(content) {
        return look_envelope(&envelope);
    }
    if let Ok(index) = PackIndex::of(content) {
        return Content::Pack {
            product: index.product.to_string(),
            component: index.component.to_string(),
            group: index.group.to_string(),
            frames: index.frames.len() as u64,
            chunks: index.frames.iter().map(|frame| frame.outputs.len() as u64).sum(),
            content_bytes: index.frames.iter().map(|frame| u64::from(frame.content_bytes)).sum(),
        };
    }
    match part::inspect(content) {
        Ok(AnyPart::Tree(tree)) => {
            let sizes = tree.entries.iter().filter_map(|entry| match entry.kind {
                EntryKind::File { bytes, .. } => Some(bytes),
                EntryKind::Directory | EntryKind::Link { .. } => None,
            });
            Content::TreePart {
                entries: tree.entries.len() as u64,
                files: sizes.clone().count() as u64,
                content_bytes: sizes.sum(),
                paths: tree.entries.iter().map(|entry| entry.path.to_string()).collect(),
            }
        }
        Ok(AnyPart::Chunks(chunks)) => Content::ChunkPart {
            chunks: chunks.chunks.len() as u64,
            frames: chunks.frames.len() as u64,
            packs: chunks.packs.iter().map(ToString::to_string).collect(),
        },
        Err(_) => Content::Opaque,
    }
}

fn look_envelope(envelope: &Envelope) -> Content {
    let signers: Vec<String> = envelope.signers().map(|signer| signer.to_string()).collect();
    let payload = envelope.unverified_payload();
    let other = |signers| Content::OtherStatement { purpose: envelope.purpose().name().to_owned(), signers };
    match envelope.purpose() {
        Purpose::Manifest => match Root::decode(payload) {
            Ok(root) => manifest(&root, signers),
            Err(_) => other(signers),
        },
        Purpose::Delegation => match Delegation::decode(payload) {
            Ok(delegation) => Content::Delegation {
                product: delegation.product.to_string(),
                keys: delegation.keys.to_string(),
                sequence: delegation.sequence,
                signers,
            },
            Err(_) => other(signers),
        },
        Purpose::Head => match Head::decode(payload) {
            Ok(head) => Content::ChannelHead {
                product: head.product.to_string(),
                platform: head.platform.to_string(),
                channel: head.channel.to_string(),
                sequence: head.sequence,
                version: head.target.version.to_string(),
                expires: head.expires.0,
                signers,
            },
            Err(_) => other(signers),
        },
        Purpose::Rotation | Purpose::Accounts => other(signers),
    }
}

fn manifest(root: &Root, signers: Vec<String>) -> Content {
    let row = |component: &penstock_core::manifest::Component| ComponentRow {
        name: component.name.to_string(),
        group: component.group.to_string(),
        optional: component.optional,
        entries: component.entry_count,
        content_bytes: component.content_bytes,
        chunks: component.chunk_count,
        parts: (component.tree.len() + component.chunks.len()) as u64,
    };
    Content::Manifest {
        product: root.product.to_string(),
        platform: root.platform.to_string(),
        version: root.version.to_string(),
        created: root.created.0,
        signers,
        content_bytes: root.content_bytes(),
        entries: root.entry_count(),
        chunk_target_bytes: root.chunker.target_bytes,
        components: root.components.iter().map(row).collect(),
    }
}

fn text(document: &Document) -> String {
    let what = match &document.content {
        Content::Manifest { product, platform, version, content_bytes, entries, components, signers, .. } => {
            let mut text = format!(
                "manifest of {product} {version} for {platform}: {} in {}; signed (not checked here) by {}",
                bytes(*content_bytes),
                counted(*entries),
                signers.join(", "),
            );
            for row in components {
                let optional = if row.optional { ", optional" } else { "" };
                text.push_str(&format!(
                    "\n  component {} (group {}{optional}): {} in {}, {}, {}",
                    row.name,
                    row.group,
                    bytes(row.content_bytes),
                    counted(row.entries),
                    count(row.chunks, "chunk"),
                    count(row.parts, "part"),
                ));
            }
            text
        }
        Content::Delegation { product, keys, sequence, .. } => format!("delegation {sequence} for {product} to {keys}"),
        Content::ChannelHead { product, platform, channel, sequence, version, .. } => {
            format!("head {sequence} of {product}/{channel} for {platform}: offers {version}")
        }
        Content::OtherStatement { purpose, .. } => format!("a signed {purpose}"),
        Content::Pack { product, component, group, frames, chunks, content_bytes } => format!(
            "pack of {product}, component {component}, group {group}: {} and {} of {} content",
            count(*frames, "frame"),
            count(*chunks, "chunk"),
            bytes(*content_bytes),
        ),
        Content::TreePart { entries, files, content_bytes, .. } => {
            format!("tree part: {}, {} of {}", counted(*entries), count(*files, "file"), bytes(*content_bytes))
        }
        Content::ChunkPart { chunks, frames, packs } => format!(
            "chunk part: {} in {} of {}",
            count(*chunks, "chunk"),
            count(*frames, "frame"),
            count(packs.len() as u64, "pack"),
        ),
        Content::Opaque => "content of no format of ours".to_owned(),
    };
    format!("{} ({})\n{what}", document.blob, bytes(document.bytes))
}
