//! Flags of the commands that work without a node: keys, inspection, planning, load, completions.

use super::units::{Bytes, Span};
use clap::{Args, Subcommand};
use penstock_client::EdgeUrl;
use penstock_core::blob::BlobId;
use std::path::PathBuf;

/// See [`super::Command::Key`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock key new --out publisher.key")]
pub(crate) struct Key {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: KeyVerb,
}

/// Verbs of `key`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Make a publisher signing key (Ed25519) and print its public half.
    New(KeyNew),
    /// Print the public half of a key file.
    Show(KeyShow),
}

/// See [`KeyVerb::New`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock key new --out publisher.key\n\n\
    The file is made with mode 0600 and never overwritten. Keep it offline or in CI; clients get the printed half.")]
pub(crate) struct KeyNew {
    /// The file to make.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// See [`KeyVerb::Show`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock key show publisher.key")]
pub(crate) struct KeyShow {
    /// The key file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// See [`super::Command::Inspect`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock inspect ./game\n  penstock inspect ./manifest.bin\n  \
    penstock inspect 0000000000000000000000000000000000000000000000000000000000000000 --data ./data\n\n\
    Reads only. A manifest's signature is not checked: there is no key to check it with.")]
pub(crate) struct Inspect {
    /// An install directory, a file, or a blob's name with --data.
    #[arg(value_name = "BLOB|MANIFEST|DIR")]
    pub(crate) what: PathBuf,
    /// The node's data directory that holds the blob.
    #[arg(long, value_name = "DATA_DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// See [`super::Command::Plan`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock plan --clients 500000 --bytes 50MB --within 6h\n  \
    penstock plan --clients 500000 --bytes 50MB --within 6h --rate 3GB\n\n\
    The default rate, 1 GB/s, is what one two-core node gave over TLS with the load generator beside it. Measure your\n\
    own machine with bench and give its rate. One node in five is kept as headroom for failures and peaks.")]
pub(crate) struct Plan {
    /// Players that fetch the patch.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) clients: u64,
    /// Bytes that each of them fetches.
    #[arg(long, value_name = "B")]
    pub(crate) bytes: Bytes,
    /// The time in which all of them should have it.
    #[arg(long, value_name = "DURATION")]
    pub(crate) within: Span,
    /// What one edge sustains a second.
    #[arg(long, value_name = "BYTES/S", default_value = "1GB")]
    pub(crate) rate: Bytes,
}

/// See [`super::Command::Bench`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock bench --from https://127.0.0.1:8443 --ca ca.pem \
    --blob 0000000000000000000000000000000000000000000000000000000000000000 --connections 32 --for 10s")]
pub(crate) struct Bench {
    /// The edge to load.
    #[arg(long, value_name = "URL")]
    pub(crate) from: EdgeUrl,
    /// The blob to read; see `blob add --open`.
    #[arg(long, value_name = "BLOB")]
    pub(crate) blob: BlobId,
    /// Connections held open at once.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// Generator threads.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Bytes of each random range; the whole blob when larger than it.
    #[arg(long, value_name = "B", default_value = "1MiB")]
    pub(crate) range: Bytes,
    /// How long to measure.
    #[arg(long = "for", value_name = "DURATION", default_value = "10s")]
    pub(crate) duration: Span,
    /// Speak HTTP/2 instead of HTTP/1.1 (TLS only).
    #[arg(long)]
    pub(crate) http2: bool,
    /// PEM file with the authority of the edge's certificate; the system's when left out.
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CA")]
    pub(crate) ca: Option<PathBuf>,
}

/// See [`super::Command::Completions`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock completions bash > /etc/bash_completion.d/penstock")]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// See [`super::Command::Man`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock man --out /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// The directory to write to; made when missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}
