//! The key ring in use, and the task that keeps it fresh.
//!
//! Owns the swap: requests read one pointer, and see the ring before or after a change and never half of one. When to
//! fetch is [`Refresher`]'s to say, how is [`JwksFetcher`]'s.

use super::fetch::{FetchError, JwksFetcher};
use super::issuer::Issuer;
use super::jwks::{JwksError, JwksKeys};
use super::refresh::{Next, Refresher};
use super::refusal::UnknownKey;
use super::ring::{KeyRing, KeyRingError};
use crate::web::WebUrl as JwksUrl;
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// An issuer whose keys are fetched.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The issuer.
    pub issuer: Issuer,
    /// Where it publishes its keys.
    pub url: JwksUrl,
    /// How long its keys stay in use after they should have been fetched again.
    pub stale: Duration,
}

/// The handle that requests and the reloading of files share.
#[derive(Debug)]
pub struct KeyRings {
    current: ArcSwap<KeyRing>,
    /// Rises with every change of a key.
    generation: AtomicU64,
    remotes: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    remote: Remote,
    refresher: Mutex<Refresher>,
    /// Told when an unknown key brought the next fetch forward.
    hastened: Notify,
}

impl KeyRings {
    /// Starts with the keys that are known, and none yet for issuers whose keys are fetched. [`Self::run`] fetches them.
    ///
    /// # Errors
    /// [`KeyRingError`].
    pub fn new(known: Vec<(Issuer, JwksKeys)>, remotes: Vec<Remote>) -> Result<Self, KeyRingError> {
        let now = Instant::now().into_std();
        let empty = remotes.iter().map(|remote| (remote.issuer.clone(), JwksKeys::default()));
        let ring = KeyRing::new(known.into_iter().chain(empty).collect())?;
        let keep = |remote: Remote| {
            let refresher = Mutex::new(Refresher::new(remote.stale, now));
            Kept { remote, refresher, hastened: Notify::new() }
        };
        Ok(Self {
            current: ArcSwap::from_pointee(ring),
            generation: AtomicU64::new(0),
            remotes: remotes.into_iter().map(keep).collect(),
        })
    }

    /// The ring to verify with.
    #[must_use]
    pub fn current(&self) -> Arc<KeyRing> {
        self.current.load_full()
    }

    /// A token named a key that its issuer does not have here. Cheap: whether that causes a fetch is bounded.
    pub fn note_unknown(&self, key: &UnknownKey) {
        let Some(kept) = self.remotes.iter().find(|kept| kept.remote.issuer.name() == key.issuer()) else { return };
        let noted = kept.lock().note_unknown(key.kid(), Instant::now().into_std());
        if noted == super::Unknown::Hastened {
            kept.hastened.notify_one();
        }
    }

    /// Puts other keys in the place of an issuer's, such as those of a file that changed.
    pub fn replace(&self, issuer: &str, keys: &JwksKeys) {
        if self.current.load().has_same(issuer, keys) {
            return;
        }
        self.current.rcu(|ring| ring.with(issuer, keys.clone()));
        // Only now: whoever sees the new number verifies with the new keys.
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// A number that changes with every change of a key: what was verified under another one is verified again.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Keeps the keys of all remote issuers fresh, until `stop`.
    pub async fn run<F: JwksFetcher>(self: Arc<Self>, fetcher: Arc<F>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for index in 0..self.remotes.len() {
            let (rings, fetcher) = (Arc::clone(&self), Arc::clone(&fetcher));
            tasks.spawn(async move { rings.keep_fresh(index, &*fetcher).await });
        }
        // Dropping the set ends the tasks.
        stop.cancelled().await;
    }

    async fn keep_fresh<F: JwksFetcher>(&self, index: usize, fetcher: &F) {
        let Some(kept) = self.remotes.get(index) else { return };
        let name = kept.remote.issuer.name();
        loop {
            let now = Instant::now().into_std();
            let next = kept.lock().next(now);
            match next {
                Next::Fetch => {
                    kept.lock().begin(now);
                    let result = get(fetcher, &kept.remote.url).await;
                    self.take(kept, result);
                }
                Next::Drop => {
                    kept.lock().drop_keys();
                    self.replace(name, &JwksKeys::default());
                    tracing::error!(
                        issuer = name,
                        "the issuer's keys are too old and were dropped: its tokens are refused"
                    );
                }
                Next::Wait(until) => {
                    let wait = async {
                        match until {
                            Some(until) => tokio::time::sleep_until(until.into()).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = wait => {}
                        () = kept.hastened.notified() => {}
                    }
                }
            }
        }
    }

    fn take(&self, kept: &Kept, result: Result<(JwksKeys, Option<Duration>), Unusable>) {
        let (now, jitter) = (Instant::now().into_std(), jitter());
        let Remote { issuer, url, .. } = &kept.remote;
        match result {
            Ok((keys, fresh)) => {
                for skipped in keys.skipped() {
                    tracing::debug!(%issuer, index = skipped.index, reason = %skipped.reason, "a key is not used");
                }
                kept.lock().done(keys.clone(), fresh, jitter, now);
                self.replace(issuer.name(), &keys);
            }
            Err(error) => {
                let (has_keys, failures) = {
                    let mut refresher = kept.lock();
                    refresher.failed(jitter, now);
                    (refresher.keys().is_some(), refresher.failures())
                };
                let error: &(dyn std::error::Error + 'static) = &error;
                if matches!(error.downcast_ref(), Some(Unusable::Document(JwksError::Secret(_)))) {
                    tracing::error!(%issuer, %url, error, "the issuer has published a secret");
                } else {
                    tracing::warn!(%issuer, %url, has_keys, failures, error, "the issuer's keys were not refreshed");
                }
            }
        }
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Refresher> {
        self.refresher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a fetch was of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Document(#[from] JwksError),
}

async fn get<F: JwksFetcher>(fetcher: &F, url: &JwksUrl) -> Result<(JwksKeys, Option<Duration>), Unusable> {
    let fetched = fetcher.fetch(url).await?;
    Ok((JwksKeys::parse(&fetched.body)?, fetched.max_age))
}

/// A random number; without a source of them, edges that start together ask together, and that is all.
fn jitter() -> u16 {
    let mut bytes = [0; 2];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
