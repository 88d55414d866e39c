//! `blob add|get|verify|rm|list`: blobs outside any release.

use crate::args::desk::{Blob as Args, BlobAdd, BlobGet, BlobList, BlobRm, BlobVerb, BlobVerify, EdgeSource};
use crate::commands::{Done, install};
use crate::desk;
use crate::failure::{self, Failure};
use crate::fetch::{Edge, FetchError};
use crate::output::Output;
use crate::runtime;
use crate::words::bytes;
use anyhow::Context as _;
use penstock_core::api::BlobAnswer;
use penstock_core::blob::BlobId;
use penstock_core::desk::{BlobRow, BlobsAnswer};
use penstock_publish::Content;
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Serialize)]
struct Rows {
    blobs: Vec<BlobRow>,
}

#[derive(Serialize)]
struct Removed {
    blob: BlobId,
}

#[derive(Serialize)]
struct Verified {
    blob: BlobId,
    bytes: Option<u64>,
    intact: bool,
    reason: Option<String>,
}

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        BlobVerb::Add(args) => add(&args, output),
        BlobVerb::Get(args) => get(&args, output),
        BlobVerb::Verify(args) => verify(&args, output),
        BlobVerb::Rm(args) => rm(&args, output),
        BlobVerb::List(args) => list(&args, output),
    }
}

fn add(args: &BlobAdd, output: &Output) -> Done {
    let failed = || format!("cannot read {}", args.file.display());
    let mut file = File::open(&args.file).with_context(failed)?;
    let mut hasher = blake3::Hasher::new();
    let length = io::copy(&mut file, &mut hasher).with_context(failed)?;
    let blob = BlobId::from(hasher.finalize());
    let session = desk::connect_or_make(&args.desk, output)?;
    if !session.registry().missing(&[blob])?.is_empty() {
        session.registry().put_blob(&blob, Content::File { path: &args.file, bytes: length })?;
    }
    if args.open {
        let _: BlobAnswer = session.post(&format!("/admin/v1/blobs/{blob}/open"), &())?;
    }
    output.result(&BlobAnswer { blob, bytes: length }, &blob.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn list(args: &BlobList, output: &Output) -> Done {
    let session = desk::connect(&args.desk)?;
    let mut rows: Vec<BlobRow> = Vec::new();
    let mut after = String::new();
    loop {
        let page: BlobsAnswer = session.get(&format!("/admin/v1/blobs{after}"))?;
        rows.extend(page.blobs.into_iter().filter(|row| args.all || row.releases == 0));
        let Some(next) = page.next else { break };
        after = format!("?after={next}");
    }
    let line = |row: &BlobRow| {
        let open = if row.open { "open" } else { "not open" };
        format!("{} {} {open}, in {} releases", row.blob, bytes(row.bytes), row.releases)
    };
    let lines: Vec<String> = rows.iter().map(line).collect();
    let text = if lines.is_empty() { "no blobs".to_owned() } else { lines.join("\n") };
    output.result(&Rows { blobs: rows }, &text)?;
    Ok(ExitCode::SUCCESS)
}

fn rm(args: &BlobRm, output: &Output) -> Done {
    let session = desk::connect(&args.desk)?;
    session.delete(&format!("/admin/v1/blobs/{}", args.blob))?;
    output.result(&Removed { blob: args.blob }, &format!("removed {}", args.blob))?;
    Ok(ExitCode::SUCCESS)
}

fn get(args: &BlobGet, output: &Output) -> Done {
    let temporary = beside(&args.out);
    let cannot = || format!("cannot write {}", args.out.display());
    let file = File::create(&temporary).with_context(cannot)?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    let fetched = fetch(args.blob, &args.source, &mut writer);
    let placed = fetched.and_then(|length| {
        writer.flush().and_then(|()| writer.get_ref().sync_all()).with_context(cannot)?;
        std::fs::rename(&temporary, &args.out).with_context(cannot)?;
        Ok(length)
    });
    let length = placed.inspect_err(|_| {
        // Best effort: the failure that is about to be told is the news.
        let _ = std::fs::remove_file(&temporary);
    })?;
    let answer = BlobAnswer { blob: args.blob, bytes: length };
    output.result(&answer, &format!("{}: {}, every byte checked", args.out.display(), bytes(length)))?;
    Ok(ExitCode::SUCCESS)
}

fn verify(args: &BlobVerify, output: &Output) -> Done {
    let (document, code) = match fetch(args.blob, &args.source, &mut io::sink()) {
        Ok(length) => {
            (Verified { blob: args.blob, bytes: Some(length), intact: true, reason: None }, ExitCode::SUCCESS)
        }
        Err(Failure::Refused(error)) if error.downcast_ref::<FetchError>().is_some_and(is_proof) => {
            let reason = error.root_cause().to_string();
            let document = Verified { blob: args.blob, bytes: None, intact: false, reason: Some(reason) };
            (document, ExitCode::from(failure::REFUSED))
        }
        Err(failure) => return Err(failure),
    };
    let text = match &document.reason {
        None => format!("{} is what its name says ({})", args.blob, bytes(document.bytes.unwrap_or_default())),
        Some(reason) => format!("{} is not what its name says: {reason}", args.blob),
    };
    output.result(&document, &text)?;
    Ok(code)
}

const fn is_proof(error: &FetchError) -> bool {
    matches!(error, FetchError::Proof(_))
}

fn fetch(blob: BlobId, source: &EdgeSource, out: &mut dyn io::Write) -> Result<u64, Failure> {
    let token = install::token(source.token_file.as_deref())?;
    if token.is_some() && !source.from.is_secure() {
        return Err(Failure::Refused(anyhow::anyhow!("a token is never sent over plain http, and {} is", source.from)));
    }
    let edge = Edge::new(&source.from, source.ca.as_deref(), token.as_ref())?;
    match runtime::start()?.block_on(edge.fetch(blob, out)) {
        Ok(size) => Ok(size.0),
        Err(error) if error.is_refusal() => Err(Failure::Refused(error.into())),
        Err(error) => Err(error.into()),
    }
}

/// A name in the same directory, so that the rename at the end stays on one volume.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    PathBuf::from(name)
}
