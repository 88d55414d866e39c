//! Who may vouch for players on this node: control itself, and the issuers of the config, with their keys kept fresh.

use penstock_control::Control;
use penstock_core::feed::Hello;
use penstock_core::keys::PublicKey;
use penstock_edge::config::{Checked, IssuerConfig, KeysFrom};
use penstock_edge::passport::TokenGate;
use penstock_edge::token::{
    HttpFetcher, Issuer, JwksError, JwksKeys, KeyRingError, KeyRings, LinkKeysError, Remote, TlsSetupError,
    client_config, load, load_link_keys,
};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Why issuers cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssuersError {
    /// A file of keys.
    #[error("cannot use the keys of issuer {issuer} in {file:?}")]
    Keys {
        /// Whose.
        issuer: String,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: JwksError,
    },
    /// A file of keys of links.
    #[error("cannot use the keys of links in {file:?}")]
    LinkKeys {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: LinkKeysError,
    },
    /// Two issuers cannot be told apart, or there are too many.
    #[error(transparent)]
    Ring(#[from] KeyRingError),
    /// TLS for fetching keys.
    #[error("cannot fetch keys over TLS")]
    Tls(#[from] TlsSetupError),
    /// The thread that fetches keys.
    #[error("the system gives no thread to fetch keys on")]
    Thread(#[source] std::io::Error),
}

/// The issuers of a node.
pub(crate) struct Issuers {
    rings: Arc<KeyRings>,
    gate: Arc<TokenGate>,
    links: Arc<Mutex<LinkKeys>>,
    is_remote_secure: Option<bool>,
}

/// The keys that verify links.
#[derive(Debug, Default)]
struct LinkKeys {
    /// Of the control node that this node is, or follows.
    control: Option<PublicKey>,
    /// Of the config's file.
    others: Vec<PublicKey>,
}

impl LinkKeys {
    fn all(&self) -> Vec<PublicKey> {
        self.control.into_iter().chain(self.others.iter().copied()).collect()
    }
}

/// Changes the keys of links, and tells the gate.
fn set_link_keys(links: &Mutex<LinkKeys>, gate: &TokenGate, change: impl FnOnce(&mut LinkKeys)) {
    let mut links = links.lock().unwrap_or_else(PoisonError::into_inner);
    let before = links.all();
    change(&mut links);
    // Whatever is cached was verified with the keys before, so that nothing is told without need.
    if links.all() != before {
        gate.set_link_keys(links.all());
    }
}

impl Issuers {
    /// Reads the keys that lie in files. Those of URLs come later, from [`Self::fetch`]; that of a control node elsewhere
    /// with its feed.
    ///
    /// # Errors
    /// [`IssuersError`].
    pub(crate) fn open(config: &Checked, control: Option<&Control>) -> Result<Self, IssuersError> {
        let own = control.map(|control| JwksKeys::of_control(&control.token_key())).unwrap_or_default();
        let mut known = vec![(Issuer::control(), own)];
        let mut remotes = Vec::new();
        let mut is_remote_secure = None;
        for IssuerConfig { issuer, keys, .. } in &config.tokens.issuers {
            match keys {
                KeysFrom::File(file) => known.push((issuer.clone(), read(issuer, file)?)),
                KeysFrom::Url { url, stale } => {
                    is_remote_secure = Some(is_remote_secure.unwrap_or(false) || url.is_secure());
                    remotes.push(Remote { issuer: issuer.clone(), url: url.clone(), stale: *stale });
                }
            }
        }
        let rings = Arc::new(KeyRings::new(known, remotes)?);
        let prefix = |one: &IssuerConfig| (one.issuer.name().to_owned(), one.account_prefix.clone());
        let prefixes: HashMap<String, String> = config.tokens.issuers.iter().map(prefix).collect();
        let gate = Arc::new(TokenGate::new(Arc::clone(&rings), config.limits.address_exempt.clone(), prefixes));
        let links = Arc::new(Mutex::default());
        let others = link_keys(config)?;
        set_link_keys(&links, &gate, |keys| *keys = LinkKeys { control: control.map(Control::link_key), others });
        Ok(Self { rings, gate, links, is_remote_secure })
    }

    /// What verifies tokens.
    pub(crate) fn gate(&self) -> Arc<TokenGate> {
        Arc::clone(&self.gate)
    }

    /// What takes the keys of a control node elsewhere: those of its tokens and its links.
    pub(crate) fn take_control_keys(&self) -> impl Fn(&Hello) + Send + use<> {
        let (rings, gate, links) = (Arc::clone(&self.rings), Arc::clone(&self.gate), Arc::clone(&self.links));
        move |hello| {
            rings.replace(Issuer::control().name(), &JwksKeys::of_control(&hello.token_key));
            set_link_keys(&links, &gate, |keys| keys.control = Some(hello.link_key));
        }
    }

    /// What takes files of keys again, and the networks that may fail.
    pub(crate) fn reloader(&self) -> impl Fn(&Checked) + Send + Sync + use<> {
        let (rings, gate, links) = (Arc::clone(&self.rings), Arc::clone(&self.gate), Arc::clone(&self.links));
        move |config| {
            gate.exempt(config.limits.address_exempt.clone());
            match link_keys(config) {
                Ok(others) => set_link_keys(&links, &gate, |keys| keys.others = others),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the keys of links stay as they were");
                }
            }
            for IssuerConfig { issuer, keys, .. } in &config.tokens.issuers {
                let KeysFrom::File(file) = keys else { continue };
                match read(issuer, file) {
                    Ok(keys) => rings.replace(issuer.name(), &keys),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(%issuer, error, "the issuer's keys stay as they were");
                    }
                }
            }
        }
    }

    /// Keeps the keys of URLs fresh, until the answer is dropped; `None` when there are none.
    ///
    /// # Errors
    /// [`IssuersError`].
    pub(crate) fn fetch(&self) -> Result<Option<Fetching>, IssuersError> {
        let Some(is_secure) = self.is_remote_secure else { return Ok(None) };
        let tls = if is_secure { Some(client_config(None)?) } else { None };
        let fetcher = Arc::new(HttpFetcher::new(tls));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(IssuersError::Thread)?;
        let (rings, stop) = (Arc::clone(&self.rings), CancellationToken::new());
        let ear = stop.clone();
        let thread = std::thread::Builder::new().name("penstock-keys".to_owned());
        let thread = thread.spawn(move || runtime.block_on(rings.run(fetcher, ear))).map_err(IssuersError::Thread)?;
        Ok(Some(Fetching { stop, thread: Some(thread) }))
    }
}

/// The thread that fetches keys. Ends when this is dropped.
pub(crate) struct Fetching {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.stop.cancel();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that fetched keys broke down");
        }
    }
}

/// The keys of links in the config's file.
fn link_keys(config: &Checked) -> Result<Vec<PublicKey>, IssuersError> {
    let Some(file) = &config.tokens.link_keys else { return Ok(Vec::new()) };
    load_link_keys(file).map_err(|source| IssuersError::LinkKeys { file: file.clone(), source })
}

fn read(issuer: &Issuer, file: &std::path::Path) -> Result<JwksKeys, IssuersError> {
    let failed = |source| IssuersError::Keys { issuer: issuer.name().to_owned(), file: file.to_owned(), source };
    load(file).map_err(failed)
}
