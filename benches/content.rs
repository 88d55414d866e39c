//! Released content to fetch: products of either kind with a pack large enough for ranges, and players who hold them.

use crate::args::Args;
use crate::fixture::{fresh_dir, noise_file};
use crate::node::{Desk, Node, Setup};
use crate::players::{self, Provider};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A pack's name and its size in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pack {
    pub(crate) blob: String,
    pub(crate) bytes: u64,
}

/// A node with a studio whose players hold its game.
pub(crate) struct Studio {
    pub(crate) node: Node,
    pub(crate) provider: Provider,
    /// A pack of the game: for its holders.
    pub(crate) game: Pack,
    /// A pack of the demo: for everybody.
    pub(crate) demo: Pack,
    /// Tokens of its players.
    pub(crate) tokens: Vec<String>,
    /// The same, one on each line.
    pub(crate) tokens_file: PathBuf,
}

impl Studio {
    /// A node in a fresh directory of this name, with `players` who hold the game.
    pub(crate) fn start(args: &Args, name: &str, players: usize) -> Result<Self> {
        let dir = fresh_dir(&args.dir, name)?;
        let provider = Provider::new()?;
        let setup = Setup { desk: Desk::Open, tables: provider.config(&dir)?, ..Setup::default() };
        let node = Node::start_as(args, dir, &setup)?;
        let work = fresh_dir(&args.dir, &format!("{name}-work"))?;
        let game = publish(&node, &work, "game", "licensed")?;
        let demo = publish(&node, &work, "demo", "open")?;
        let list = work.join("players.csv");
        players::csv(&list, players, &["game"])?;
        node.desk(&["account", "import", list.to_str().context("paths are text")?])?;
        let tokens = players::tokens(&provider, players)?;
        let tokens_file = work.join("tokens");
        std::fs::write(&tokens_file, tokens.join("\n"))?;
        Ok(Self { node, provider, game, demo, tokens, tokens_file })
    }

    /// Where a pack is fetched.
    pub(crate) fn url(&self, pack: &Pack) -> String {
        format!("{}/v1/blobs/{}", self.node.http, pack.blob)
    }
}

/// Publishes a release of noise and returns its largest pack.
pub(crate) fn publish(node: &Node, work: &Path, product: &str, access: &str) -> Result<Pack> {
    // Another length is other noise: products never share content.
    const BYTES: u64 = 14 << 20;
    let tree = fresh_dir(work, product)?;
    noise_file(&tree.join("data.bin"), BYTES + product.len() as u64 + access.len() as u64)?;
    let key = work.join(format!("{product}.key"));
    let text = |path: &Path| path.to_str().map(str::to_owned).context("paths are text");
    let mut made = node.command(&["key", "new", "--out"]);
    ensure!(made.arg(&key).stdout(std::process::Stdio::null()).status()?.success(), "key new failed");
    let before = blobs(node)?;
    let words = ["publish", "--product", product, "--access", access, "--version", "1", "--channel", "stable", "--key"];
    node.desk(&[&words[..], &[&text(&key)?, &text(&tree)?]].concat())?;
    let new = blobs(node)?.into_iter().filter(|(blob, _)| !before.contains_key(blob));
    let (blob, bytes) = new.max_by_key(|(_, bytes)| *bytes).context("a publish brings blobs")?;
    Ok(Pack { blob, bytes })
}

fn blobs(node: &Node) -> Result<HashMap<String, u64>> {
    let answer = node.desk(&["blob", "list", "--all"])?;
    let rows = answer.get("blobs").and_then(Value::as_array).context("blob list --json has blobs")?;
    let row = |row: &Value| Some((row.get("blob")?.as_str()?.to_owned(), row.get("bytes")?.as_u64()?));
    rows.iter().map(|one| row(one).context("a row has a blob and its bytes")).collect()
}
