//! How a desk command reaches a node: over its admin URL, over `node.sock`, or, when no node runs on the
//! directory, by being that node for the duration of the command.
//!
//! All three end in the same admin API, so a command cannot tell them apart.

use crate::args::whereto::{Desk, Destination};
use crate::node::{Assembled, DataDirLock, Doors, LockError, assemble_held, private_config};
use crate::output::Output;
use crate::secrets;
use anyhow::bail;
use penstock_core::api::PutProduct;
use penstock_core::catalog::Product;
use penstock_publish::Registry;
use penstock_publish::remote::{AdminClient, Endpoint, HttpRegistry, Roots, Timing};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a directory may be busy (a node that starts or stops, another command) before we give up.
const BUSY_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks at a busy directory.
const BUSY_LOOK: Duration = Duration::from_millis(50);

/// A connection to a node's admin API, and the node itself where it lives in this process.
pub(crate) struct Session {
    client: Arc<AdminClient>,
    registry: HttpRegistry,
    node: Option<Private>,
}

/// A node of our own. Fields are dropped in this order: the doors close before the directory is removed.
struct Private {
    node: Assembled,
    _socket_dir: SocketDir,
}

/// A directory of mode 0700 for a private socket, removed when dropped.
struct SocketDir(PathBuf);

impl Drop for SocketDir {
    fn drop(&mut self) {
        // Best effort: a leftover holds nothing and is in nobody's way.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What to do about a data directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// Say so: a mistyped name must not become a node with nothing in it.
    Refuse,
    /// Make it: this command brings the first content.
    Make,
}

/// Connects as `--to` says.
///
/// # Errors
/// No token, no answer, no such directory, or one that stays busy.
pub(crate) fn connect(desk: &Desk) -> anyhow::Result<Session> {
    connect_to(desk, Absent::Refuse)
}

/// As [`connect`], for commands that may bring a new data directory its first content.
///
/// # Errors
/// No token, no answer, a directory with other things in it, or one that stays busy.
pub(crate) fn connect_or_make(desk: &Desk, output: &Output) -> anyhow::Result<Session> {
    let new = match &desk.to {
        Destination::DataDir(dir) if !DataDirLock::exists(dir) => Some(dir),
        Destination::DataDir(_) | Destination::Url(_) => None,
    };
    let session = connect_to(desk, Absent::Make)?;
    if let Some(dir) = new {
        output.note(&format!("{} is a new data directory: no node serves from it yet", dir.display()));
    }
    Ok(session)
}

fn connect_to(desk: &Desk, absent: Absent) -> anyhow::Result<Session> {
    match &desk.to {
        Destination::Url(url) => {
            let token = secrets::from_file_or_env(desk.admin_token_file.as_deref(), "PENSTOCK_ADMIN_TOKEN")?;
            let Some(token) = token else {
                bail!(
                    "the admin API at {url} wants a token: set PENSTOCK_ADMIN_TOKEN or name a file with --admin-token-file"
                );
            };
            let roots = desk.ca.clone().map_or(Roots::System, Roots::File);
            Ok(Session::new(AdminClient::for_url(url, Some(token.reveal()), &roots)?))
        }
        Destination::DataDir(dir) if absent == Absent::Refuse && !DataDirLock::exists(dir) => {
            bail!("{} is no node's data directory: name [data] dir of its config, or its admin URL", dir.display())
        }
        Destination::DataDir(dir) => {
            if !DataDirLock::exists(dir) && has_entries(dir) {
                bail!(
                    "{} is no node's data directory and has other things in it: name a node's, or a new one",
                    dir.display()
                );
            }
            at_directory(dir)
        }
    }
}

/// Whether there is anything in a directory. What cannot be looked into is found out by working on it.
fn has_entries(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// The node that runs on the directory, or this process in its place.
fn at_directory(dir: &Path) -> anyhow::Result<Session> {
    let socket = dir.join("node.sock");
    let began = Instant::now();
    loop {
        match DataDirLock::take(dir) {
            Ok(lock) => return Session::in_process(dir, lock),
            Err(LockError::Held(_)) if answers(&socket) => return Session::over_socket(&socket),
            Err(LockError::Held(path)) if began.elapsed() > BUSY_MAX => {
                bail!("{} is busy: another process has its lock and does not answer on node.sock", path.display());
            }
            // Another command works on it, or a node starts or stops: both pass.
            Err(LockError::Held(_)) => std::thread::sleep(BUSY_LOOK),
            Err(error) => return Err(error.into()),
        }
    }
}

fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

impl Session {
    fn new(client: AdminClient) -> Self {
        let client = Arc::new(client);
        Self { registry: HttpRegistry::new(Arc::clone(&client)), client, node: None }
    }

    /// A session with the node that answers on this socket.
    pub(crate) fn over_socket(socket: &Path) -> anyhow::Result<Self> {
        let endpoint = Endpoint::Unix(socket.to_owned());
        Ok(Self::new(AdminClient::new(endpoint, None, &Roots::System, Timing::default())?))
    }

    fn in_process(dir: &Path, lock: DataDirLock) -> anyhow::Result<Self> {
        let socket_dir = SocketDir::make()?;
        let socket = socket_dir.0.join("node.sock");
        let node = assemble_held(private_config(dir)?, Doors::Private(socket.clone()), Box::new(|_| {}), lock)?;
        let mut session = Self::over_socket(&socket)?;
        session.node = Some(Private { node, _socket_dir: socket_dir });
        Ok(session)
    }

    /// What a publish asks of a node.
    pub(crate) const fn registry(&self) -> &dyn Registry {
        &self.registry
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(self.client.get_json(path)?)
    }

    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        Ok(self.client.post_json(path, body)?)
    }

    pub(crate) fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        Ok(self.client.put_json(path, body)?)
    }

    /// Deletes, and reads what is left to say.
    pub(crate) fn delete_for<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(self.client.delete_json(path)?)
    }

    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<()> {
        Ok(self.client.delete(path)?)
    }

    /// Makes a product or changes it.
    pub(crate) fn put_product(&self, wanted: &PutProduct) -> anyhow::Result<Product> {
        self.post("/admin/v1/products", wanted)
    }
}

/// A text as one part of a path or a value of a query.
pub(crate) fn path_part(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A flat document as a query: what it leaves open is not asked for.
pub(crate) fn query(of: &impl Serialize) -> String {
    let mut query = String::new();
    for (name, value) in serde_json::to_value(of).ok().as_ref().and_then(Value::as_object).into_iter().flatten() {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => path_part(text),
            other => other.to_string(),
        };
        query.push_str(&format!("{}{name}={text}", if query.is_empty() { '?' } else { '&' }));
    }
    query
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(Private { node, _socket_dir }) = self.node.take() {
            node.stop();
        }
    }
}

impl SocketDir {
    fn make() -> anyhow::Result<Self> {
        let name = format!("penstock-{}-{:016x}", std::process::id(), getrandom::u64()?);
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::desk::{AccountsQuery, EntitlementState, EntitlementsQuery};

    #[test]
    fn a_query_names_what_is_asked_for_and_nothing_else() {
        assert_eq!(query(&AccountsQuery::default()), "");
        let wanted = AccountsQuery { prefix: "a&b/".parse().ok(), limit: Some(7), ..AccountsQuery::default() };
        assert_eq!(query(&wanted), "?limit=7&prefix=a%26b%2F");
        let wanted = EntitlementsQuery { state: Some(EntitlementState::Live), ..EntitlementsQuery::default() };
        assert_eq!(query(&wanted), "?state=live");
    }
}
