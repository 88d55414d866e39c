//! Memory of an idle daemon, and of connections that rest.

use crate::args::Args;
use crate::figures::{Figures, Goal, number};
use crate::fixture::noise_file;
use crate::node::Node;
use crate::process::memory_beside_maps_bytes;
use anyhow::Result;
use penstock_load::LoadPlan;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

const MIB: f64 = 1_048_576.0;

/// Measures a daemon that has served and rests again, then with resting connections.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let node = Node::start(args, "memory")?;
    let source = args.dir.join("memory-source");
    noise_file(&source, args.pick(8 << 20, 256 << 20))?;
    let blob = node.add_open_blob(&source)?;
    std::fs::remove_file(&source)?;
    let weigh = || memory_beside_maps_bytes(node.pid(), &node.data_dir()).map(number);
    figures.judge("daemon, fresh: resident beside maps", "MiB", vec![weigh()? / MIB], Goal::AtMost(30.0));
    let plan =
        LoadPlan { duration_ms: args.pick(200, 3000), ..LoadPlan::new(format!("{}/v1/blobs/{blob}", node.http)) };
    penstock_load::run(&plan)?;
    let rested = weigh()?;
    figures.judge("daemon, idle after load: resident beside maps", "MiB", vec![rested / MIB], Goal::AtMost(30.0));

    let count = args.pick(50, 2000);
    let mut resting = Vec::new();
    for _ in 0..count {
        resting.push(served_once(&node, &blob)?);
    }
    let per_connection = (weigh()? - rested) / number(count) / 1024.0;
    figures.add("resting plain HTTP/1.1 connection", "KiB", vec![per_connection]);
    drop(resting);
    node.stop()?;
    Ok(())
}

/// A connection that has got one small answer and is kept open.
fn served_once(node: &Node, blob: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(node.http.trim_start_matches("http://"))?;
    write!(stream, "GET /v1/blobs/{blob} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-0\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        let length = stream.read(&mut piece)?;
        anyhow::ensure!(length > 0, "the daemon closed a fresh connection");
        answer.extend_from_slice(&piece[..length]);
    }
    Ok(stream)
}
