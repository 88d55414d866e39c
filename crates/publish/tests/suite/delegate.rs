//! What a publish delegates: the node's present key, no other unasked, and nothing when that is in
//! force already. So publishes beside each other come through.

use crate::common::*;
use penstock_core::api::{
    ChannelsAnswer, MoveChannel, RegisterRelease, ReleasesAnswer, ReuseAnswer, ReuseQuestion, SigningAnswer,
};
use penstock_core::blob::BlobId;
use penstock_core::id::{ChannelName, Platform, ProductId};
use penstock_core::sign::SecretKey;
use penstock_publish::memory::MemoryRegistry;
use penstock_publish::{
    Content, OtherKeys, PublishError, PublishReport, PublishRequest, Registry, RegistryError, Silent, publish,
};
use std::sync::Mutex;

fn build() -> Tree {
    tree([("data", Node::File(noise(1, 300_000)))])
}

fn key_text(seed: u8) -> String {
    SecretKey::from_seed(&[seed; 32]).public().to_string()
}

fn delegated(node: &MemoryRegistry) -> String {
    node.delegated(&product()).expect("the product is there")
}

#[test]
fn a_stolen_channel_key_leaves_with_the_next_publish() {
    let node = node();
    node.renew_channel_key(1);
    publish_tree(&build(), "1", &node).expect("published");
    assert_eq!(delegated(&node), key_text(1));
    node.renew_channel_key(2);
    publish_tree(&build(), "2", &node).expect("published");
    assert_eq!(delegated(&node), key_text(2));
    // The same version again is enough: the release is there, only the delegation is sent.
    node.renew_channel_key(3);
    let report = publish_tree(&build(), "2", &node).expect("published");
    assert_eq!((report.already_published, report.blobs_uploaded), (true, 0));
    assert_eq!(delegated(&node), key_text(3));
    // Nodes with keys of their own are kept when that is asked for.
    node.renew_channel_key(4);
    publish_with(&build(), "3", &node, |request| request.other_keys = OtherKeys::Keep).expect("published");
    assert!(delegated(&node).contains(&key_text(3)) && delegated(&node).contains(&key_text(4)));
    publish_tree(&build(), "3", &node).expect("published");
    assert_eq!(delegated(&node), key_text(4));
}

#[test]
fn a_delegation_in_force_is_not_signed_again() {
    let node = node();
    publish_tree(&build(), "1", &node).expect("published");
    let first = node.signing(&product()).expect("signing");
    publish_tree(&build(), "2", &node).expect("published");
    assert_eq!(node.signing(&product()).expect("signing"), first);
    assert!(node.registration(&product(), &version("2")).expect("registered").delegation.is_empty());
}

type Event<'a> = Box<dyn FnOnce() + Send + 'a>;

/// A node where something happens at the last moment before each registration arrives.
struct Busy<'a> {
    node: &'a MemoryRegistry,
    events: Mutex<Vec<Event<'a>>>,
    registrations: Mutex<u32>,
}

impl<'a> Busy<'a> {
    fn new(node: &'a MemoryRegistry, events: Vec<Event<'a>>) -> Self {
        Self { node, events: Mutex::new(events), registrations: Mutex::new(0) }
    }
}

impl Registry for Busy<'_> {
    fn signing(&self, product: &ProductId) -> Result<SigningAnswer, RegistryError> {
        self.node.signing(product)
    }
    fn releases(&self, product: &ProductId) -> Result<ReleasesAnswer, RegistryError> {
        self.node.releases(product)
    }
    fn channels(&self, product: &ProductId) -> Result<ChannelsAnswer, RegistryError> {
        self.node.channels(product)
    }
    fn read_blob(&self, blob: &BlobId, bytes_max: u64) -> Result<Vec<u8>, RegistryError> {
        self.node.read_blob(blob, bytes_max)
    }
    fn missing(&self, blobs: &[BlobId]) -> Result<Vec<BlobId>, RegistryError> {
        self.node.missing(blobs)
    }
    fn reuse(&self, product: &ProductId, question: &ReuseQuestion) -> Result<ReuseAnswer, RegistryError> {
        self.node.reuse(product, question)
    }
    fn put_blob(&self, blob: &BlobId, content: Content<'_>) -> Result<(), RegistryError> {
        self.node.put_blob(blob, content)
    }
    fn register(&self, product: &ProductId, release: &RegisterRelease) -> Result<(), RegistryError> {
        *self.registrations.lock().expect("lock") += 1;
        let event = self.events.lock().expect("lock").pop();
        if let Some(event) = event {
            event();
        }
        self.node.register(product, release)
    }
    fn move_channel(&self, product: &ProductId, channel: &ChannelName, to: &MoveChannel) -> Result<(), RegistryError> {
        self.node.move_channel(product, channel, to)
    }
}

fn publish_to(
    registry: &dyn Registry,
    text: &str,
    change: impl FnOnce(&mut PublishRequest),
) -> Result<PublishReport, PublishError> {
    let dir = tempfile::tempdir().expect("dir");
    write(&build(), dir.path());
    let mut request = request(dir.path(), text);
    change(&mut request);
    publish(request, registry, &Silent)
}

fn on(platform: &'static str) -> impl FnOnce(&mut PublishRequest) {
    move |request| request.platform = Platform::new(platform).expect("name")
}

/// One version for Windows and for Linux from two jobs: both asked what is in force before either
/// registered, and both signed the delegation with number 1.
#[test]
fn two_first_publishes_beside_each_other_both_come_through() {
    let node = node();
    // A second later, so that its delegation is not the very same bytes.
    let later = |request: &mut PublishRequest| {
        on("windows-x86_64")(request);
        request.created = request.created.plus(1);
    };
    let windows = || drop(publish_to(&node, "1", later).expect("published first"));
    let busy = Busy::new(&node, vec![Box::new(windows)]);
    publish_to(&busy, "1", on("linux-x86_64")).expect("published second");
    assert_eq!(*busy.registrations.lock().expect("lock"), 2);
    assert_eq!(node.releases(&product()).expect("list").releases.len(), 2);
    assert_eq!(node.signing(&product()).expect("signing").delegation_sequence, 1, "one delegation was enough");
}

#[test]
fn trying_again_ends() {
    let node = node();
    let renew = |seed: u8| -> Event<'_> {
        let node = &node;
        Box::new(move || node.renew_channel_key(seed))
    };
    let busy = Busy::new(&node, (1..=20).map(renew).collect());
    let error = publish_to(&busy, "1", |_| ()).expect_err("somebody else is always faster");
    assert!(error.is_conflict(), "{error:?}");
    assert_eq!(*busy.registrations.lock().expect("lock"), 8);
}

#[test]
fn a_conflict_about_the_version_is_told_at_once() {
    let node = node();
    let other = || {
        let tree = tree([("data", Node::File(b"other".to_vec()))]);
        publish_tree(&tree, "1", &node).expect("published first");
    };
    let busy = Busy::new(&node, vec![Box::new(other)]);
    let error = publish_to(&busy, "1", |_| ()).expect_err("the version is taken");
    assert!(error.is_conflict(), "{error:?}");
    assert!(*busy.registrations.lock().expect("lock") <= 2);
}
