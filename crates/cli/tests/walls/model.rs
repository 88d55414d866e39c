//! What happens in a history, and who is owed what: slow, obvious, and without a line of the product's own rules.

use crate::people::Person;
use penstock_core::blob::BlobId;
use penstock_core::time::UnixSeconds;
use std::collections::BTreeSet;

/// Different contents there are. One is one file and one chunk.
pub(crate) const CONTENTS: usize = 7;

/// A content's bytes: smaller than a chunk may be, so that several share a frame and all of them a pack.
pub(crate) fn content(number: usize) -> Vec<u8> {
    let mut bytes = vec![0; 3000 + number];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A component of a release to be: its files are contents, by number.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) component: &'static str,
    pub(crate) group: &'static str,
    pub(crate) files: BTreeSet<usize>,
}

/// A wrong publisher: a blob that some release has is listed as one of this release's component.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) blob: proptest::sample::Index,
    pub(crate) component: proptest::sample::Index,
}

/// One thing that somebody does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Publish {
        product: &'static str,
        platform: &'static str,
        channel: Option<&'static str>,
        parts: Vec<Part>,
        claim: Option<Claim>,
    },
    /// The same release once more.
    PublishAgain(proptest::sample::Index),
    /// A channel moves to a release that is there, or back to one.
    Move {
        release: proptest::sample::Index,
        channel: &'static str,
    },
    Withdraw(proptest::sample::Index),
    Restore(proptest::sample::Index),
    /// The desk tries to open a blob of a release to everyone.
    Open(proptest::sample::Index),
    /// A product changes its access class.
    Access {
        product: &'static str,
        access: &'static str,
    },
}

/// A release as it was registered.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) product: &'static str,
    pub(crate) platform: &'static str,
    pub(crate) version: String,
    pub(crate) manifest: BlobId,
    pub(crate) parts: Vec<Part>,
    pub(crate) channels: BTreeSet<&'static str>,
    pub(crate) registered: UnixSeconds,
    pub(crate) withdrawn: bool,
}

/// A product's access and export class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) name: &'static str,
    pub(crate) access: &'static str,
    /// Whether its content may not be sent to Germany.
    pub(crate) is_strict: bool,
}

/// How near one looks at a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// May this very release be fetched? Whether it was withdrawn counts.
    Release,
    /// Is its content owed at all?
    Content,
}

/// Whether somebody may have a component of a release.
pub(crate) fn is_owed(
    person: &Person,
    product: &Product,
    release: &Published,
    part: &Part,
    now: UnixSeconds,
    look: Look,
) -> bool {
    if release.product != product.name || product.is_strict && person.is_in_germany {
        return false;
    }
    if look == Look::Release && release.withdrawn {
        return false;
    }
    match product.access {
        "open" => true,
        "registered" => person.is_known,
        _ => person.deals.iter().any(|deal| {
            let is_time = match deal.ends {
                Some(ends) if now >= ends => release.registered <= ends,
                _ => true,
            };
            let has_component =
                part.component == "base" || deal.components.is_empty() || deal.components.contains(&part.component);
            let has_group = part.group == "base" || deal.groups.contains(&part.group);
            let has_channel =
                deal.channels.is_empty() || deal.channels.iter().any(|channel| release.channels.contains(channel));
            let has_platform =
                deal.platforms.is_empty() || release.platform == "any" || deal.platforms.contains(&release.platform);
            let fits = has_channel && has_platform;
            deal.product == product.name && is_time && has_component && has_group && fits
        }),
    }
}
