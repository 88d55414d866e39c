//! A publish from end to end, in the order that makes it safe to interrupt: everything is there and
//! proven before the release is registered, and the channel moves last, only if asked.

use crate::compare::{Build, CompareError};
use crate::cut::{self, Cuts};
use crate::encode::{EncodeError, EncodedComponent, Encoding};
use crate::fill::{Fill, FillError, Filled};
use crate::known::{self, History, Known, KnownError};
use crate::merge::{Chunks, Packs, merge};
use crate::progress::{Phase, Progress};
use crate::registry::{Registry, RegistryError};
use crate::release::{self, Line};
use crate::report::PublishReport;
use crate::request::{Checked, PublishRequest, RequestError};
use crate::scan::{ScanError, Scanned, scan};
use crate::source::SourceError;
use crate::spool::Spool;
use crate::upload::{Parcel, Tally, uploading};
use penstock_core::api::{MoveChannel, RegisterRelease, SigningAnswer};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{Release, ReleaseState};
use penstock_core::id::{Platform, ProductId, Version};
use penstock_core::keys::KeyError;
use penstock_core::manifest::{Chunker, ManifestError};
use penstock_frames::chunker::{ChunkerError, Cutter};
use std::collections::BTreeSet;
use std::time::Instant;

/// Why a publish did not come to its end. Nothing was offered; running it again goes on.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The request contradicts itself.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The build tree cannot be published.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A file of the build cannot be read or changed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The temporary directory cannot be made.
    #[error("cannot make a temporary directory")]
    Spool(#[source] std::io::Error),
    /// The node does not know the product.
    #[error("the node has no product {0}: create it first")]
    NoProduct(ProductId),
    /// The product belongs to other keys.
    #[error("product {product} belongs to the publisher {pinned}; the given key makes {given}")]
    Publisher {
        /// Product.
        product: ProductId,
        /// In force on the node.
        pinned: String,
        /// Given.
        given: String,
    },
    /// The version is taken.
    #[error("version {version} for {platform}")]
    Version {
        /// Version.
        version: Version,
        /// Platform.
        platform: Platform,
        /// Why that does not do.
        #[source]
        source: Box<CompareError>,
    },
    /// The version was taken back.
    #[error("version {version} for {platform} was withdrawn: publish under a new version")]
    Withdrawn {
        /// Version.
        version: Version,
        /// Platform.
        platform: Platform,
    },
    /// An earlier release cannot be read.
    #[error("cannot read what the product already published")]
    Known(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// New content cannot be packed.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// The manifest cannot be made.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The client's own function refuses the manifest.
    #[error("the new manifest does not pass the client's checks")]
    Manifest(#[source] Box<ManifestError>),
    /// The delegation in force on the node makes no sense.
    #[error("the node's delegation is not understood")]
    Delegation(#[from] KeyError),
    /// The chunker's frozen parameters are broken.
    #[error(transparent)]
    Chunker(#[from] ChunkerError),
    /// The node refused or could not be reached.
    #[error("cannot {doing}")]
    Node {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: RegistryError,
    },
}

impl PublishError {
    /// Whether the version exists with other content, or was withdrawn.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        match self {
            Self::Version { source, .. } => matches!(**source, CompareError::Different(_)),
            Self::Withdrawn { .. } => true,
            Self::Node { source, .. } => source.is_conflict(),
            _ => false,
        }
    }
}

/// Publishes a build tree.
///
/// The same version with the same content succeeds again and uploads nothing; with other content it
/// is refused. Blocks, and uses all cores. Memory is some 20 bytes a chunk and 200 bytes a file beside
/// buffers of fixed size: below 512 MiB up to 20 million chunks (1.5 TB of content) in few files. It
/// does not grow with what the product published before.
///
/// # Errors
/// [`PublishError`].
#[expect(clippy::needless_pass_by_value, reason = "the secret keys in it are gone when the publish ends")]
pub fn publish(
    request: PublishRequest,
    registry: &dyn Registry,
    progress: &dyn Progress,
) -> Result<PublishReport, PublishError> {
    Run::start(&request, registry, progress)?.finish()
}

struct Run<'a> {
    started: Instant,
    request: &'a PublishRequest,
    registry: &'a dyn Registry,
    progress: &'a dyn Progress,
    checked: Checked,
    chunker: Chunker,
    threads: usize,
    spool: Spool,
    signing: SigningAnswer,
    releases: Vec<Release>,
}

/// The build, listed and cut.
struct CutBuild {
    scanned: Scanned,
    chunk_counts: Vec<u32>,
    chunks: Chunks,
    chunk_seconds: f64,
}

impl<'a> Run<'a> {
    /// Everything that can be refused before the build is looked at.
    fn start(
        request: &'a PublishRequest,
        registry: &'a dyn Registry,
        progress: &'a dyn Progress,
    ) -> Result<Self, PublishError> {
        let started = Instant::now();
        let checked = Checked::new(request)?;
        let signing = ask_signing(registry, &request.product, &checked)?;
        let releases = registry
            .releases(&request.product)
            .map_err(|source| PublishError::Node { doing: "list the product's releases", source })?
            .releases;
        let parent = request.spool.clone().unwrap_or_else(std::env::temp_dir);
        let spool = Spool::create(&parent).map_err(PublishError::Spool)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if request.threads == 0 { cores } else { request.threads }.min(MAX_THREADS);
        let chunker = Chunker::default();
        Ok(Self { started, request, registry, progress, checked, chunker, threads, spool, signing, releases })
    }

    fn finish(self) -> Result<PublishReport, PublishError> {
        let build = self.cut()?;
        let mut report = self.empty_report(&build);
        let same =
            |release: &&Release| release.version == self.request.version && release.platform == self.request.platform;
        match self.releases.iter().find(same) {
            Some(release) => self.again(release, &build, &mut report)?,
            None => self.anew(&build, &mut report)?,
        }
        if let Some(channel) = &self.request.channel {
            let to = MoveChannel { platform: self.request.platform.clone(), version: self.request.version.clone() };
            self.registry
                .move_channel(&self.request.product, channel, &to)
                .map_err(|source| PublishError::Node { doing: "move the channel", source })?;
            report.channel = Some(channel.clone());
        }
        report.seconds = self.started.elapsed().as_secs_f64();
        Ok(report)
    }

    fn cut(&self) -> Result<CutBuild, PublishError> {
        self.progress.begin(Phase::Scan, 0);
        let scanned = scan(self.request, &self.checked)?;
        self.progress.begin(Phase::Chunk, scanned.content_bytes);
        let cutting = Instant::now();
        let cutter = Cutter::new(&self.chunker)?;
        let cuts: Cuts = cut::cut(&self.request.dir, &scanned, cutter, self.threads, &self.spool, self.progress)?;
        let chunk_seconds = cutting.elapsed().as_secs_f64();
        let chunk_counts = cuts.files.iter().map(|file| file.count).collect();
        let chunks = merge(&scanned, &self.checked.components, &cuts, &self.spool)?;
        Ok(CutBuild { scanned, chunk_counts, chunks, chunk_seconds })
    }

    /// The version exists: it must be this very build.
    fn again(&self, release: &Release, build: &CutBuild, report: &mut PublishReport) -> Result<(), PublishError> {
        let (version, platform) = (release.version.clone(), release.platform.clone());
        if release.state == ReleaseState::Withdrawn {
            return Err(PublishError::Withdrawn { version, platform });
        }
        self.progress.begin(Phase::Reuse, 0);
        let compare = Build {
            scanned: &build.scanned,
            plans: &self.checked.components,
            chunk_counts: &build.chunk_counts,
            chunks: &build.chunks,
        };
        let compared = known::read_manifest(self.registry, release, &self.checked.publisher)
            .map_err(CompareError::from)
            .and_then(|manifest| compare.same_as(self.registry, &manifest));
        let lines = compared.map_err(|source| PublishError::Version { version, platform, source: Box::new(source) })?;
        report.already_published = true;
        report.manifest = release.manifest;
        report.manifest_bytes = release.manifest_bytes;
        report.chunks_reused = u64::from(build.chunks.len());
        // A node whose channel key is new needs the publisher's word for it, and one that was taken back must go.
        if self.delegation(&self.signing)?.is_empty() {
            return Ok(());
        }
        // It is registered already, so that nobody takes this for the first word on it.
        let shared = lines.iter().flat_map(|line| line.packs.iter().copied()).collect();
        self.register(release.manifest, &lines, &shared)
    }

    fn anew(&self, build: &CutBuild, report: &mut PublishReport) -> Result<(), PublishError> {
        self.progress.begin(Phase::Reuse, 0);
        let mut packs = Packs::default();
        let channels = self
            .registry
            .channels(&self.request.product)
            .map_err(|source| PublishError::Node { doing: "ask what the channels offer", source })?
            .channels;
        let history = History {
            registry: self.registry,
            trust: &self.checked.publisher,
            releases: known::worth_reading(&self.releases, &channels, &self.request.platform),
            product: &self.request.product,
            platform: &self.request.platform,
            channel: self.request.channel.as_ref(),
        };
        let known = history.reuse(&build.chunks, &mut packs).map_err(|error| match error {
            KnownError::Registry(source) => PublishError::Node { doing: "read what is already published", source },
            other => PublishError::Known(Box::new(other)),
        })?;
        report.chunks_reused = known.chunks;
        let filled = self.fill(build, &mut packs, report)?;
        report.packs = filled.packs;
        report.frames = filled.frames;
        report.raw_frames = filled.raw_frames;
        report.new_content_bytes = filled.content_bytes;
        report.new_stored_bytes = filled.stored_bytes;
        let (manifest, lines) = self.manifest(build, &known, &packs, report)?;
        self.register(manifest, &lines, &packs.shared())
    }

    fn fill(&self, build: &CutBuild, packs: &mut Packs, report: &mut PublishReport) -> Result<Filled, PublishError> {
        let fill = Fill {
            dir: &self.request.dir,
            product: &self.request.product,
            plans: &self.checked.components,
            scanned: &build.scanned,
            chunks: &build.chunks,
            spool: &self.spool,
            level: self.request.level,
            threads: self.threads,
            progress: self.progress,
        };
        let new_bytes = fill.new_bytes().map_err(PublishError::Spool)?;
        self.progress.begin(Phase::Pack, new_bytes);
        let (filled, tally) = fill.run(self.registry, packs)?;
        add(report, tally);
        Ok(filled)
    }

    /// Makes, proves and uploads parts and root.
    fn manifest(
        &self,
        build: &CutBuild,
        known: &Known,
        packs: &Packs,
        report: &mut PublishReport,
    ) -> Result<(BlobId, Vec<Line>), PublishError> {
        self.progress.begin(Phase::Manifest, 0);
        let encoding = Encoding {
            product: &self.request.product,
            scanned: &build.scanned,
            chunk_counts: &build.chunk_counts,
            chunks: &build.chunks,
            packs,
        };
        let (lines, tally) = uploading(self.registry, |outbox| {
            let mut lines = Vec::new();
            for (index, plan) in self.checked.components.iter().enumerate() {
                let before = known.part_sizes.get(plan.name.as_str()).copied();
                let EncodedComponent { component, packs } = encoding.component(index, plan, before, outbox)?;
                lines.push(Line { component, packs });
            }
            Ok::<_, EncodeError>(lines)
        })?;
        add(report, tally);
        let signed = release::sign(self.request, &self.checked.publisher, &lines, self.chunker)
            .map_err(|error| PublishError::Manifest(Box::new(error)))?;
        let id = signed.verified.id();
        report.manifest = id;
        report.manifest_bytes = signed.bytes.len() as u64;
        report.parts = signed.verified.root().parts().count() as u64;
        report.part_bytes = signed.verified.root().parts().map(|part| u64::from(part.stored_bytes)).sum();
        let ((), tally) = uploading(self.registry, |outbox| {
            outbox.send(Parcel::Memory { blob: id, content: signed.bytes }).map_err(EncodeError::from)
        })?;
        add(report, tally);
        Ok((id, lines))
    }

    /// Registers the release. When somebody else changed the product's delegation meanwhile, the node
    /// refuses ours; then it is asked again what is in force, and told again.
    fn register(&self, manifest: BlobId, lines: &[Line], shared: &BTreeSet<BlobId>) -> Result<(), PublishError> {
        self.progress.begin(Phase::Register, 0);
        let request = self.request;
        let mut release = RegisterRelease {
            version: request.version.clone(),
            platform: request.platform.clone(),
            manifest,
            members: release::members(manifest, lines, shared),
            publisher: self.checked.publisher.to_string(),
            delegation: self.delegation(&self.signing)?,
        };
        let mut signing = self.signing.clone();
        let mut tries = 1;
        loop {
            let Err(source) = self.registry.register(&request.product, &release) else { return Ok(()) };
            let may_help = source.is_conflict() && tries < REGISTER_TRIES;
            let in_force = if may_help { self.ask_signing()? } else { signing.clone() };
            // A conflict about something else: trying again would not change it.
            if in_force == signing {
                return Err(PublishError::Node { doing: "register the release", source });
            }
            release.delegation = self.delegation(&in_force)?;
            signing = in_force;
            tries += 1;
        }
    }

    /// What to send as delegation, given what is in force.
    fn delegation(&self, signing: &SigningAnswer) -> Result<Vec<u8>, PublishError> {
        let request = self.request;
        Ok(release::delegate(&request.keys, &request.product, signing, request.other_keys, request.created)?)
    }

    fn ask_signing(&self) -> Result<SigningAnswer, PublishError> {
        ask_signing(self.registry, &self.request.product, &self.checked)
    }

    fn empty_report(&self, build: &CutBuild) -> PublishReport {
        let chunks: u64 = build.chunk_counts.iter().map(|count| u64::from(*count)).sum();
        PublishReport {
            product: self.request.product.clone(),
            version: self.request.version.clone(),
            platform: self.request.platform.clone(),
            manifest: BlobId::from_bytes([0; 32]),
            manifest_bytes: 0,
            already_published: false,
            channel: None,
            entries: build.scanned.entries.len() as u64,
            files: build.scanned.file_count,
            content_bytes: build.scanned.content_bytes,
            chunks,
            chunks_repeated: chunks - u64::from(build.chunks.len()),
            chunks_reused: 0,
            new_content_bytes: 0,
            new_stored_bytes: 0,
            raw_frames: 0,
            frames: 0,
            packs: 0,
            parts: 0,
            part_bytes: 0,
            blobs_uploaded: 0,
            uploaded_bytes: 0,
            blobs_present: 0,
            chunk_seconds: build.chunk_seconds,
            seconds: 0.0,
        }
    }
}

/// The node's channel key and delegation, if the product is there and this publisher's.
fn ask_signing(registry: &dyn Registry, product: &ProductId, checked: &Checked) -> Result<SigningAnswer, PublishError> {
    let signing = registry.signing(product).map_err(|source| {
        if source.is_not_found() {
            return PublishError::NoProduct(product.clone());
        }
        PublishError::Node { doing: "ask the node for its channel key", source }
    })?;
    let given = checked.publisher.to_string();
    if !signing.publisher.is_empty() && signing.publisher != given {
        return Err(PublishError::Publisher { product: product.clone(), pinned: signing.publisher, given });
    }
    Ok(signing)
}

/// Registrations tried before giving up: each further one means that somebody changed the product's
/// delegation since, which publishes beside each other do once, not for ever.
const REGISTER_TRIES: u32 = 8;
/// More threads than this would only hold memory: each worker of the chunker has a 4 MiB buffer and
/// each compressor some 2 MiB of tables and frames.
const MAX_THREADS: usize = 32;

const fn add(report: &mut PublishReport, tally: Tally) {
    report.blobs_uploaded += tally.uploaded;
    report.uploaded_bytes += tally.uploaded_bytes;
    report.blobs_present += tally.present;
}
