//! A real PostgreSQL server for tests: in a directory of its own, on a Unix socket, gone when the test is.
//!
//! The server is the child of a small shell that does what it reads from a pipe: `start` for each line, and at the
//! pipe's end an immediate shutdown and the removal of the directory. The pipe ends with the test, however that ends,
//! kill -9 included, so no server and no directory outlives it. PostgreSQL refuses to run as root, so root's tests
//! run all of this as the user nobody.

use crate::certificate::Certificate;
use rustix::fs::{Gid, Uid, chown};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The user nobody and its group, on every Linux.
const NOBODY: u32 = 65_534;
/// A server that is not ready after this is a failed test.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often the server's own word on its state is read.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the shell runs: `$1` is the directory, the rest is the server. Signals of a test runner that clears up its
/// process group must not keep it from clearing up itself.
const KEEPER: &str = r#"trap '' INT TERM HUP
dir=$1; shift
while read -r word; do "$@" >>"$dir/log" 2>&1 </dev/null & pid=$!; done
[ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null
wait
rm -rf "$dir""#;

/// Whether a server syncs what it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncing {
    /// As in production.
    Sync,
    /// It relies on the kernel: safe from kill -9, not from a power cut, and several times as fast.
    Skip,
}

/// A running server.
#[derive(Debug)]
pub struct PostgresServer {
    dir: PathBuf,
    programs: PathBuf,
    keeper: Mutex<(Child, Option<ChildStdin>)>,
    databases: AtomicU32,
    port: u16,
}

impl PostgresServer {
    /// The server that all tests of this process share; it does not sync.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(Syncing::Skip, &[]))
    }

    /// A server for one test, with more settings such as `["log_statement=all"]`.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start(syncing: Syncing, settings: &[&str]) -> Self {
        let programs = programs();
        let dir = tempfile::Builder::new().prefix("penstock-postgres-").tempdir().expect("a directory can be made");
        // The shell removes it: it is there when the process no longer is.
        let dir = dir.keep();
        give_away(&dir);
        make_cluster(&programs, &dir);
        let port = free_port();
        let mut options: Vec<OsString> = vec!["-D".into(), dir.join("data").into(), "-k".into(), dir.clone().into()];
        let listen = format!("port={port}");
        let sync = if syncing == Syncing::Skip { "fsync=off" } else { "fsync=on" };
        let ours = ["listen_addresses=127.0.0.1", &listen, sync, "max_connections=200", "shared_buffers=32MB"];
        options.extend(ours.iter().chain(settings).flat_map(|setting| ["-c".into(), (*setting).into()]));
        let mut shell = unprivileged(Command::new("sh"));
        shell.args(["-c", KEEPER, "keeper"]).arg(&dir).arg(programs.join("postgres")).args(options);
        // A group of its own, so that what is meant for the test's group does not reach it.
        shell.process_group(0).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = shell.spawn().expect("a shell starts");
        let pipe = child.stdin.take();
        let keeper = Mutex::new((child, pipe));
        let server = Self { dir, programs, keeper, databases: AtomicU32::new(0), port };
        server.restart();
        server
    }

    /// A server for one test that speaks TLS to whoever asks.
    ///
    /// # Panics
    /// As [`PostgresServer::start`].
    #[must_use]
    pub fn start_with_tls(certificate: &Certificate) -> Self {
        // The server wants its key to be nobody else's.
        let dir = tempfile::tempdir().expect("a directory can be made");
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("cert.key"));
        for (from, to) in [(&certificate.cert, &cert), (&certificate.key, &key)] {
            fs::copy(from, to).expect("the certificate is there");
            fs::set_permissions(to, fs::Permissions::from_mode(0o600)).expect("it is ours");
        }
        for path in [dir.path(), &cert, &key] {
            give_away(path);
        }
        let settings = ["ssl=on".to_owned(), setting("ssl_cert_file", &cert), setting("ssl_key_file", &key)];
        // Both files were read once it is ready.
        Self::start(Syncing::Skip, &settings.each_ref().map(String::as_str))
    }

    /// The URL of a new and empty database, by the Unix socket.
    ///
    /// # Panics
    /// When the server refuses to make one.
    #[must_use]
    pub fn database(&self) -> String {
        let name = match self.databases.fetch_add(1, Ordering::Relaxed) {
            // Most tests need one, and every cluster comes with one.
            0 => "postgres".to_owned(),
            number => {
                let name = format!("test_{number}");
                self.run(&format!("CREATE DATABASE {name}"));
                name
            }
        };
        format!("postgres://postgres@/{name}?host={}&port={}", self.dir.display(), self.port)
    }

    /// Runs one statement as the administrator and returns what it prints: values, one row a line.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, sql: &str) -> String {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-c", sql]);
        must(psql.arg("-h").arg(&self.dir).args(["-p", &self.port.to_string()]))
    }

    /// Where it listens on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL for the server and all its processes at once, and waits until they are gone.
    ///
    /// # Panics
    /// When the server does not run.
    pub fn kill_9(&self) {
        let server = self.pid().expect("the server runs");
        let children = children_of(server);
        for pid in std::iter::once(server).chain(children.iter().copied()) {
            // One that is gone already is what was wanted.
            kill_process(process(pid), Signal::KILL).ok();
        }
        let began = Instant::now();
        while std::iter::once(server).chain(children.iter().copied()).any(is_alive) {
            assert!(began.elapsed() < READY_MAX, "a killed server is still there");
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Starts it again after [`PostgresServer::kill_9`], and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self) {
        let pid_file = self.dir.join("data/postmaster.pid");
        // What a killed server left would be taken for the new one's word.
        fs::remove_file(&pid_file).ok();
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.1.as_mut().expect("it is there until the drop").write_all(b"start\n").expect("the shell reads");
        drop(keeper);
        let began = Instant::now();
        while !fs::read_to_string(&pid_file).is_ok_and(|text| text.lines().nth(7).is_some_and(|l| l.trim() == "ready"))
        {
            assert!(began.elapsed() < READY_MAX, "PostgreSQL does not start:\n{}", self.log());
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.dir.join("log")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.dir.join("data/postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let keeper = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(keeper.1.take());
        keeper.0.wait().ok();
    }
}

/// Makes an empty cluster in `dir/data`, or copies one that was made before: that is ten times as fast.
fn make_cluster(programs: &Path, dir: &Path) {
    let data = dir.join("data");
    let template = template(programs);
    if let Some(template) = template.as_deref().filter(|template| template.exists()) {
        must(Command::new("cp").arg("-r").arg(template).arg(&data));
        if is_root() {
            must(Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(&data));
        }
        return;
    }
    let mut initdb = unprivileged(Command::new(programs.join("initdb")));
    initdb.args(["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", "--username=postgres", "-D"]);
    must(initdb.arg(&data).current_dir("/"));
    if let Some(template) = template {
        // Renamed when it is whole. Who comes second finds the name taken, and that is as good.
        let copy = template.with_extension(std::process::id().to_string());
        must(Command::new("cp").arg("-r").arg(&data).arg(&copy));
        if fs::rename(&copy, &template).is_err() {
            fs::remove_dir_all(&copy).ok();
        }
    }
}

/// Where an empty cluster is kept for later test runs: beside what was built, so `cargo clean` removes it.
fn template(programs: &Path) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let target = program.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists())?;
    let version = programs.to_string_lossy().replace('/', "_");
    let dir = target.join("tmp");
    fs::create_dir_all(&dir).ok()?;
    Some(dir.join(format!("postgres-cluster{version}")))
}

/// The directory of the newest server's programs.
#[expect(clippy::panic, reason = "a missing tool must fail the test, loudly")]
fn programs() -> PathBuf {
    // Debian keeps them out of the path, because several versions can be there at once.
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, dir)| dir.join("postgres").exists() && dir.join("psql").exists())
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let newest = versions.pop().map(|(_, dir)| dir);
    let found = newest.or_else(|| std::env::split_paths(&path).find(|dir| dir.join("initdb").exists()));
    found.unwrap_or_else(|| {
        panic!("this test needs PostgreSQL: run `apt-get install postgresql` (or `cargo xtask test`, which does)")
    })
}

fn unprivileged(mut command: Command) -> Command {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Makes a file the server's.
fn give_away(path: &Path) {
    if is_root() {
        chown(path, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))).expect("root may give it away");
    }
}

fn setting(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

fn is_root() -> bool {
    geteuid().is_root()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// The processes whose parent is `pid`.
fn children_of(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| stat_of(*id).is_some_and(|(_, parent)| parent == pid)).collect()
}

fn is_alive(pid: u32) -> bool {
    // One that nobody waited for yet is as good as gone.
    stat_of(pid).is_some_and(|(state, _)| state != "Z")
}

/// State and parent of a process.
fn stat_of(pid: u32) -> Option<(String, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, blanks and brackets too.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn process(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the kernel's ids are positive and fit")
}

#[expect(clippy::panic, reason = "a fixture that cannot be made has failed the test")]
fn must(command: &mut Command) -> String {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => panic!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{command:?}: {error}"),
    }
}
