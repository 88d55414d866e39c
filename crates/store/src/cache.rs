//! The views that stay open between requests: bounded, with second-chance eviction.
//!
//! A hit takes a read lock and sets one bit. No lock is held while a view is opened or dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use penstock_core::blob::BlobId;

use crate::view::BlobView;

#[derive(Debug)]
struct Entry {
    view: BlobView,
    used: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    views: HashMap<BlobId, Entry>,
    /// Every key of `views` once, in the order in which the hand meets them.
    ring: VecDeque<BlobId>,
}

/// Open views by name.
#[derive(Debug)]
pub(crate) struct OpenViews {
    max: usize,
    inner: RwLock<Inner>,
}

impl OpenViews {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, inner: RwLock::default() }
    }

    pub(crate) fn get(&self, blob: &BlobId) -> Option<BlobView> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let entry = inner.views.get(blob)?;
        entry.used.store(true, Ordering::Relaxed);
        Some(entry.view.clone())
    }

    /// Keeps a view, unless another one of the same blob was faster: then that one is returned.
    pub(crate) fn insert(&self, view: BlobView) -> BlobView {
        let mut evicted = None;
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = inner.views.get(view.id()) {
            return entry.view.clone();
        }
        if inner.views.len() >= self.max {
            evicted = inner.evict();
        }
        inner.ring.push_back(*view.id());
        inner.views.insert(*view.id(), Entry { view: view.clone(), used: AtomicBool::new(false) });
        drop(inner);
        // The last holder unmaps: outside the lock.
        drop(evicted);
        view
    }

    pub(crate) fn remove(&self, blob: &BlobId) -> Option<BlobView> {
        self.remove_if(blob, |_| true)
    }

    /// Removes the blob's view if it is the one that is meant.
    pub(crate) fn remove_if(&self, blob: &BlobId, is_meant: impl FnOnce(&BlobView) -> bool) -> Option<BlobView> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if !is_meant(&inner.views.get(blob)?.view) {
            return None;
        }
        let entry = inner.views.remove(blob)?;
        inner.ring.retain(|kept| kept != blob);
        drop(inner);
        Some(entry.view)
    }

    /// Most views that stay open.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).views.len()
    }
}

impl Inner {
    /// Takes out the first view that was not used since the hand last passed: at most one round.
    fn evict(&mut self) -> Option<BlobView> {
        while let Some(blob) = self.ring.pop_front() {
            if let Some(entry) = self.views.get(&blob)
                && entry.used.swap(false, Ordering::Relaxed)
            {
                self.ring.push_back(blob);
                continue;
            }
            return self.views.remove(&blob).map(|entry| entry.view);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_what_was_used_stays() {
        let cache = OpenViews::new(3);
        let views: Vec<BlobView> = (0..5_u8).map(|byte| BlobView::in_memory(&[byte])).collect();
        for view in &views[..3] {
            cache.insert(view.clone());
        }
        assert!(cache.get(views[0].id()).is_some());
        cache.insert(views[3].clone());
        assert!(cache.get(views[0].id()).is_some(), "used since the hand passed");
        assert!(cache.get(views[1].id()).is_none(), "the first unused one");
        cache.insert(views[3].clone());
        assert_eq!(cache.len(), 3, "the same blob twice counts once");
        assert!(cache.remove(views[3].id()).is_some());
        assert!(cache.remove(views[3].id()).is_none());
        cache.insert(views[4].clone());
        assert_eq!(cache.len(), 3);
    }
}
