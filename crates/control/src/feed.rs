//! The feed's blocking half: where a follower goes on, what comes next, and the whole state.
//!
//! Nothing is kept for a follower but its place: what it is told next is read from the log when it has room for it. So a
//! slow one costs no memory; one that is so slow that the log no longer reaches its place is cut off, and gets the state
//! when it comes back.

use crate::control::Node;
use crate::error::CallError;
use crate::{log, state};
use bytes::Bytes;
use penstock_core::feed::{FORMAT, Hello, Line, Mark, Resume, resume};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{Semaphore, mpsc};

/// Followers at once. Each holds a connection of the admin listener, which takes 256 by default, and asks the record
/// after every change; a larger fleet follows several control nodes.
pub(crate) const FOLLOWERS_MAX: usize = 192;
/// States told at once. Each holds a connection to the database and one moment of it, which grows SQLite's log meanwhile.
const STATES_AT_ONCE: usize = 4;
/// Changes read at once for one follower.
const CHANGES_AT_ONCE: u64 = 1000;
/// Bytes read at once for one follower, but for a single larger change.
const BYTES_AT_ONCE: u64 = 1 << 20;
/// A state is sent in pieces of about this many bytes, so that small parts are not a packet each.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces of a state that wait for a follower.
pub(crate) const PIECES_MAX: usize = 4;
/// How long a follower may take for one piece of a state before it is cut off: it holds a moment of the database. The
/// listener cuts it earlier unless something between reads for it.
const PIECE_TIME: Duration = Duration::from_secs(60);

/// Bounds on followers.
pub(crate) struct Feeds {
    pub(crate) followers: Arc<Semaphore>,
    pub(crate) states: Arc<Semaphore>,
}

impl Default for Feeds {
    fn default() -> Self {
        Self { followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)), states: Arc::new(Semaphore::new(STATES_AT_ONCE)) }
    }
}

/// The first line for a follower that has all up to `after`, and where it goes on.
pub(crate) fn greet(node: &Node, after: Option<u64>, mark: Option<Mark>) -> Result<(Bytes, Resume), CallError> {
    node.record.read(|connection| {
        let (newest, oldest) = (log::newest(connection)?, log::oldest(connection)?);
        // A number that no log can have is in none.
        let at = after.filter(|after| *after <= newest);
        let found = at.map(|after| log::line(connection, after)).transpose()?.flatten();
        let hello = Hello {
            format: FORMAT,
            channel_key: node.keys.channel.public(),
            token_key: node.keys.token.public(),
            link_key: node.keys.link.public(),
            pseudonym_key: node.keys.pseudonyms,
            newest,
            oldest,
        };
        let found = found.map(|line| Mark::of_line(&line));
        Ok((Line::Hello(hello).encode().into(), resume(after, mark, newest, found)))
    })
}

/// What comes next for a follower.
pub(crate) enum Next {
    /// Changes, up to this one.
    Changes {
        /// Their lines.
        text: Bytes,
        /// The number of the last.
        last: u64,
    },
    /// Nothing yet; this says so.
    Beat(Bytes),
    /// The log does not reach its place any more.
    TooLate,
}

/// What comes after a change.
pub(crate) fn next(node: &Node, after: u64) -> Result<Next, CallError> {
    let at = node.now();
    node.record.read(|connection| {
        Ok(match log::lines_after(connection, after, CHANGES_AT_ONCE, BYTES_AT_ONCE)? {
            None => Next::TooLate,
            Some(lines) if lines.last > after => Next::Changes { text: lines.text.into(), last: lines.last },
            Some(_) => {
                let newest = log::newest(connection)?;
                // A log that is empty but for its number was compacted to nothing behind this follower.
                if newest == after { Next::Beat(Line::Beat { newest, at }.encode().into()) } else { Next::TooLate }
            }
        })
    })
}

/// A piece of a state, or why there is none.
pub(crate) type Piece = Result<Bytes, CallError>;

/// Tells the whole state into a channel; its number is the last thing that it says. Blocks for as long as the follower
/// takes, on a thread that belongs to a runtime.
pub(crate) fn tell_state(node: &Node, pieces: &mpsc::Sender<Piece>) -> Result<u64, CallError> {
    let runtime = Runtime::current();
    let send = |piece: Vec<u8>| {
        let sent = tokio::time::timeout(PIECE_TIME, pieces.send(Ok(piece.into())));
        match runtime.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(CallError::FollowerGone),
        }
    };
    node.record.read_apart(|connection| {
        let newest = log::newest(connection)?;
        let mut piece = Line::State { sequence: newest }.encode();
        state::tell_at(node, connection, &mut |sequence, change| {
            piece.extend_from_slice(&Line::Part { sequence, change }.encode());
            if piece.len() >= PIECE_BYTES { send(std::mem::take(&mut piece)) } else { Ok(()) }
        })?;
        let mark = log::line(connection, newest)?.map(|line| Mark::of_line(&line)).unwrap_or_default();
        piece.extend_from_slice(&Line::Whole { sequence: newest, mark }.encode());
        send(piece)?;
        Ok(newest)
    })
}
