//! The real binary as a child process: started on free ports, awaited without sleeping, killed on drop.
//!
//! Readiness is what systemd would be told: the child sends `READY=1` to `NOTIFY_SOCKET`, which is
//! ours. Its addresses stand in the file that it writes before that.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A child that is not ready after this is a failed test.
const READY_MAX: Duration = Duration::from_secs(120);
/// How often a child that says nothing is looked at, to notice its death.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a daemon did not start, with its log.
#[derive(Debug)]
pub struct DaemonError(String);

impl std::fmt::Display for DaemonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DaemonError {}

/// What a ready node says about itself: the document that it writes.
#[derive(Debug, Clone)]
pub struct Addresses(pub serde_json::Value);

impl Addresses {
    /// One text field of the document, such as `https_url`.
    ///
    /// # Panics
    /// When the field is not there or not a text.
    #[must_use]
    pub fn text(&self, field: &str) -> String {
        let value = self.0.get(field).and_then(serde_json::Value::as_str);
        value.unwrap_or_else(|| missing(field, &self.0)).to_owned()
    }
}

#[expect(clippy::panic, reason = "a test that asks for a field that is not there has failed")]
fn missing(field: &str, document: &serde_json::Value) -> ! {
    panic!("the node's document has no text {field:?}: {document}")
}

/// A running node.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    notify: UnixDatagram,
    /// What it says about itself.
    pub addresses: Addresses,
    _scratch: TempDir,
}

impl Daemon {
    /// Starts `command`, waits until it says that it is ready, and reads `document`.
    ///
    /// # Errors
    /// [`DaemonError`] with the child's log when it ends or says nothing in time.
    pub fn start(mut command: Command, document: &Path) -> Result<Self, DaemonError> {
        let failed = |what: &str, error: io::Error| DaemonError(format!("cannot {what}: {error}"));
        let scratch = tempfile::tempdir().map_err(|error| failed("make a directory", error))?;
        let socket = scratch.path().join("notify");
        let notify = UnixDatagram::bind(&socket).map_err(|error| failed("bind the notify socket", error))?;
        notify.set_read_timeout(Some(LOOK_EVERY)).map_err(|error| failed("set a timeout", error))?;
        let log = scratch.path().join("log");
        let file = File::create(&log).map_err(|error| failed("make the log", error))?;
        let twin = file.try_clone().map_err(|error| failed("share the log", error))?;
        command.env("NOTIFY_SOCKET", &socket).stdin(Stdio::null()).stdout(file).stderr(twin);
        let child = command.spawn().map_err(|error| failed("start the binary", error))?;
        let addresses = Addresses(serde_json::Value::Null);
        let mut daemon = Self { child, log, notify, addresses, _scratch: scratch };
        daemon.await_ready()?;
        let bytes = fs::read(document).map_err(|error| failed(&format!("read {}", document.display()), error))?;
        let value = serde_json::from_slice(&bytes).map_err(|error| failed("parse the document", error.into()))?;
        daemon.addresses = Addresses(value);
        Ok(daemon)
    }

    fn await_ready(&mut self) -> Result<(), DaemonError> {
        let began = Instant::now();
        while began.elapsed() < READY_MAX {
            if self.heard("READY=1") {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(DaemonError(format!("the node ended with {status} before it was ready:\n{}", self.log())));
            }
        }
        Err(DaemonError(format!("the node was not ready in {READY_MAX:?}:\n{}", self.log())))
    }

    /// Waits a moment for one message to the service manager; whether it carried `state`.
    fn heard(&self, state: &str) -> bool {
        let mut message = [0u8; 4096];
        let Ok(length) = self.notify.recv(&mut message) else { return false };
        String::from_utf8_lossy(&message[..length]).lines().any(|line| line == state)
    }

    /// Waits until the node tells the service manager `state`, such as `STOPPING=1`; whether it did in time.
    #[must_use]
    pub fn await_state(&self, state: &str, within: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < within {
            if self.heard(state) {
                return true;
            }
        }
        false
    }

    /// The child's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it wrote to stdout and stderr so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the child is gone already.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).expect("the node is our own child and not reaped yet");
    }

    fn process(&self) -> Pid {
        let id = i32::try_from(self.child.id()).expect("process ids fit an i32");
        Pid::from_raw(id).expect("a child's id is not 0")
    }

    /// SIGKILL at once, and waits until it is gone.
    pub fn kill_9(&mut self) {
        // An error means that it is gone already, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// [`DaemonError`] with the log when it does not end in time.
    pub fn terminate(&mut self) -> Result<ExitStatus, DaemonError> {
        self.signal(Signal::TERM);
        self.await_end(READY_MAX)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`DaemonError`] with the log when it does not end in time.
    pub fn await_end(&mut self, within: Duration) -> Result<ExitStatus, DaemonError> {
        let began = Instant::now();
        while began.elapsed() < within {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            // The socket is the clock: it wakes after LOOK_EVERY, or at once when the node says something.
            let _ = self.heard("");
        }
        Err(DaemonError(format!("the node did not end in {within:?}:\n{}", self.log())))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill_9();
        if std::thread::panicking() {
            say(&format!("--- log of the node under test ---\n{}", self.log()));
        }
    }
}

#[expect(clippy::print_stderr, reason = "the log of a failed test belongs to its output")]
fn say(text: &str) {
    eprintln!("{text}");
}
