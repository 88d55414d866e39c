//! An open loop: so many requests a second, whether or not the ones before were answered.

use crate::http::Answers;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Kept connections that the requests go over in turn.
const CONNECTIONS: usize = 64;
/// Requests are due by the clock; those of one such step go out together.
const STEP: Duration = Duration::from_millis(1);
/// Share of the rate that must really have gone out, in percent: less is another load than was meant.
const SENT_PERCENT_MIN: u64 = 95;

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    /// Answers by status.
    pub(crate) answered: BTreeMap<u16, u64>,
}

/// Sends `rate` requests a second to an address until told to stop. `request` makes the bytes of each.
pub(crate) fn run(
    address: &str,
    rate: u64,
    is_over: &AtomicBool,
    mut request: impl FnMut() -> Vec<u8>,
) -> Result<Counts> {
    let mut connections = (0..CONNECTIONS).map(|_| Connection::open(address)).collect::<Result<Vec<_>>>()?;
    let mut counts = Counts::default();
    let begun = Instant::now();
    let mut due = 0;
    while !is_over.load(Ordering::Relaxed) {
        due = u64::try_from(begun.elapsed().as_micros())? * rate / 1_000_000;
        while counts.sent < due {
            let turn = usize::try_from(counts.sent)? % CONNECTIONS;
            connections[turn].send(&request(), address)?;
            counts.sent += 1;
        }
        for connection in connections.iter_mut().filter(|connection| connection.open > 0) {
            connection.hear(&mut counts)?;
        }
        thread::sleep(STEP);
    }
    ensure!(counts.sent * 100 >= due * SENT_PERCENT_MIN, "{} of {due} requests went out in time", counts.sent);
    Ok(counts)
}

struct Connection {
    stream: TcpStream,
    answers: Answers,
    /// Requests without an answer yet.
    open: u64,
}

impl Connection {
    fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, answers: Answers::default(), open: 0 })
    }

    fn send(&mut self, request: &[u8], address: &str) -> Result<()> {
        if self.stream.write(request).ok() != Some(request.len()) {
            // Closed, or so far behind that its buffers are full: an attacker would take another one.
            *self = Self::open(address)?;
            ensure!(self.stream.write(request)? == request.len(), "a fresh connection takes no request");
        }
        self.open += 1;
        Ok(())
    }

    fn hear(&mut self, counts: &mut Counts) -> Result<()> {
        let mut piece = [0; 8192];
        match self.stream.read(&mut piece) {
            Ok(0) => self.open = 0,
            Ok(length) => self.answers.take(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("a connection of the flood failed"),
        }
        while let Some(answer) = self.answers.next()? {
            self.open = self.open.saturating_sub(1);
            *counts.answered.entry(answer.status).or_default() += 1;
        }
        Ok(())
    }
}
