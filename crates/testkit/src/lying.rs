//! An edge that lies: it passes every question on to a true edge and spoils the answers about blobs.
//!
//! Plain HTTP/1.1, a thread per connection, one request per connection: simple enough to be believed.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a blob's answer is spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// One byte in the middle is another.
    WrongBytes,
    /// The head promises all, the connection ends after half.
    ShortBody,
    /// The head promises fewer bytes than were asked for.
    WrongLength,
    /// A body without a length that never ends.
    EndlessBody,
    /// Half of the body, then silence with the connection open.
    Stall,
    /// A redirect to somewhere else, to see whether a token follows it.
    Redirect,
    /// A status that makes no sense for a blob that is there.
    NotFound,
}

/// Bytes of an endless body before even a test has seen enough.
const ENDLESS_BYTES: u64 = 64 << 20;
/// Longest answer that is passed on.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

struct Shared {
    lie: Lie,
    upstream: SocketAddr,
    stop: AtomicBool,
    lies: AtomicU64,
    heads: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
}

/// The running liar; stops when dropped.
pub struct LyingEdge {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl LyingEdge {
    /// Starts a liar in front of a true edge's plain listener.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(lie: Lie, upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            lie,
            upstream,
            stop: AtomicBool::new(false),
            lies: AtomicU64::new(0),
            heads: Mutex::new(Vec::new()),
            open: Mutex::new(Vec::new()),
        });
        let mine = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &mine));
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many answers were spoiled so far.
    #[must_use]
    pub fn lies_told(&self) -> u64 {
        self.shared.lies.load(Ordering::Relaxed)
    }

    /// The request heads that came, to look for what should not be in them.
    ///
    /// # Panics
    /// When a connection's thread panicked.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().expect("no thread panics with the lock").clone()
    }
}

impl Drop for LyingEdge {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Ok(open) = self.shared.open.lock() {
            for stream in open.iter() {
                // Already closed is as good.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if let (Ok(twin), Ok(mut open)) = (stream.try_clone(), shared.open.lock()) {
            open.push(twin);
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A peer that hangs up on a liar is what the tests hope for.
            let _ = serve(&stream, &shared);
        });
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    if let Ok(mut heads) = shared.heads.lock() {
        heads.push(head.clone());
    }
    let answer = ask(shared.upstream, &head)?;
    let is_blob = head.split(' ').nth(1).is_some_and(|target| target.starts_with("/v1/blobs/"));
    let mut out = stream;
    if is_blob && answer.body.len() > 1 {
        shared.lies.fetch_add(1, Ordering::Relaxed);
        return lie(out, shared, &answer);
    }
    out.write_all(answer.head(answer.body.len()).as_bytes())?;
    out.write_all(&answer.body)
}

fn lie(mut out: &TcpStream, shared: &Shared, answer: &Answer) -> io::Result<()> {
    let body = &answer.body;
    let half = body.len() / 2;
    match shared.lie {
        Lie::WrongBytes => {
            let mut body = body.clone();
            body[half] ^= 0x01;
            out.write_all(answer.head(body.len()).as_bytes())?;
            out.write_all(&body)
        }
        Lie::ShortBody => {
            out.write_all(answer.head(body.len()).as_bytes())?;
            out.write_all(&body[..half])
        }
        Lie::WrongLength => {
            out.write_all(answer.head(half).as_bytes())?;
            out.write_all(&body[..half])
        }
        Lie::EndlessBody => {
            let head = answer.lines_without_length();
            out.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
            out.write_all(body)?;
            let mut sent = 0;
            while sent < ENDLESS_BYTES && !shared.stop.load(Ordering::Relaxed) {
                out.write_all(&[0x42; 65_536])?;
                sent += 65_536;
            }
            Ok(())
        }
        Lie::Stall => {
            out.write_all(answer.head(body.len()).as_bytes())?;
            out.write_all(&body[..half])?;
            // Silence until the peer gives up or the test ends.
            let mut rest = Vec::new();
            out.take(ANSWER_BYTES_MAX).read_to_end(&mut rest).map(drop)
        }
        Lie::Redirect => {
            let target = format!("http://{}/v1/catalog", shared.upstream);
            let head =
                format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            out.write_all(head.as_bytes())
        }
        Lie::NotFound => out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

struct Answer {
    /// Status line and header lines, each with its line end.
    lines: Vec<String>,
    body: Vec<u8>,
}

impl Answer {
    fn lines_without_length(&self) -> String {
        let kept = self.lines.iter().filter(|line| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !matches!(name.as_str(), "content-length" | "connection" | "transfer-encoding" | "keep-alive")
        });
        kept.map(String::as_str).collect()
    }

    fn head(&self, length: usize) -> String {
        format!("{}Content-Length: {length}\r\nConnection: close\r\n\r\n", self.lines_without_length())
    }
}

/// Asks the true edge the same question on a connection of its own.
fn ask(upstream: SocketAddr, head: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(upstream)?;
    let mut lines: Vec<&str> = head.lines().collect();
    lines.retain(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let host = format!("Host: {upstream}");
    for line in &mut lines {
        if line.to_ascii_lowercase().starts_with("host:") {
            *line = &host;
        }
    }
    stream.write_all(format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    let mut reader = BufReader::new(stream).take(ANSWER_BYTES_MAX);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        lines.push(line);
    }
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    Ok(Answer { lines, body })
}
