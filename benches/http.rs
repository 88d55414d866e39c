//! The smallest HTTP/1.1 client that measures: one kept connection, one request after the other, heads read as they come.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body of a success as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!((200..300).contains(&self.status), "an answer of status {}: {text}", self.status);
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {text}"))
    }
}

/// A kept connection.
pub(crate) struct Client {
    stream: TcpStream,
    host: String,
    answers: Answers,
}

impl Client {
    /// Connects to a base address such as `http://127.0.0.1:80`.
    pub(crate) fn connect(base: &str) -> Result<Self> {
        let host = base.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).with_context(|| format!("cannot connect to {host}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, host, answers: Answers::default() })
    }

    /// One request and its answer. `head` are whole lines, each with its end.
    pub(crate) fn ask(&mut self, method: &str, path: &str, head: &str, body: &[u8]) -> Result<Answer> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{head}", self.host);
        if !body.is_empty() {
            text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes)?;
        let mut piece = [0; 16 * 1024];
        loop {
            if let Some(answer) = self.answers.next()? {
                return Ok(answer);
            }
            let length = self.stream.read(&mut piece)?;
            ensure!(length > 0, "{} closed the connection", self.host);
            self.answers.take(&piece[..length]);
        }
    }
}

/// Answers, taken from the bytes of a connection as they come. Only those with a length: nothing here is chunked.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    bytes: Vec<u8>,
}

impl Answers {
    /// Takes bytes that came.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next answer, once it is whole.
    pub(crate) fn next(&mut self) -> Result<Option<Answer>> {
        let Some(end) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else {
            ensure!(self.bytes.len() < HEAD_BYTES_MAX, "an answer's head has no end");
            return Ok(None);
        };
        let head = std::str::from_utf8(&self.bytes[..end]).context("an answer's head is text")?;
        let status: u16 = head.get(9..12).and_then(|text| text.parse().ok()).context("an answer has a status")?;
        let length = length_of(head)?;
        if self.bytes.len() < end + length {
            return Ok(None);
        }
        let rest = self.bytes.split_off(end + length);
        let body = std::mem::replace(&mut self.bytes, rest).split_off(end);
        Ok(Some(Answer { status, body }))
    }
}

fn length_of(head: &str) -> Result<usize> {
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().to_owned())
    };
    match head.lines().find_map(field) {
        Some(length) => length.parse().context("a length is a number"),
        None if head.get(9..12) == Some("204") => Ok(0),
        None => bail!("an answer without a length: {head}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_any_pieces() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 401 X\r\nContent-Length: 1\r\n\r\nz";
        for size in [1, 7, text.len()] {
            let mut answers = Answers::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                answers.take(piece);
                while let Some(answer) = answers.next().expect("answers") {
                    found.push((answer.status, answer.body));
                }
            }
            assert_eq!(found, [(200, b"abc".to_vec()), (204, Vec::new()), (401, b"z".to_vec())], "{size}");
        }
    }

    #[test]
    fn an_answer_without_a_length_is_refused() {
        let mut answers = Answers::default();
        answers.take(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        assert!(answers.next().is_err());
    }
}
