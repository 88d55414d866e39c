//! New content becomes packs: read in release order, compressed over all cores, packed in order.
//!
//! One thread reads and forms frames, workers check and compress them, one thread puts them back in
//! order and packs them, uploads run beside. Everything between is bounded, so memory does not grow
//! with the build; order is that of the build, so the same build makes the same packs.

use crate::merge::{Chunks, Packs, Place, UniqueChunk};
use crate::pack::{NewFrame, PackWriter};
use crate::progress::Progress;
use crate::registry::{Registry, RegistryError};
use crate::request::ComponentPlan;
use crate::scan::{Scanned, SourceKind};
use crate::source::{self, SourceError, Stamp};
use crate::spool::Spool;
use crate::squeeze::{SqueezeError, Squeezer};
use crate::upload::{Outbox, Parcel, Stopped, Tally, uploading};
use crossbeam_channel::{Receiver, Sender, bounded};
use penstock_core::blob::ChunkId;
use penstock_core::id::ProductId;
use penstock_frames::frame::FrameKind;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Files up to this size share frames with their neighbours: alone they compress badly.
const SMALL_FILE_BYTES: u64 = 32 * 1024;
/// Content of a shared frame, about.
const SHARED_FRAME_BYTES: usize = 128 * 1024;
/// Most chunks in a shared frame.
const SHARED_FRAME_CHUNKS: usize = 512;
/// Frames on their way per worker: one in its hands, one waiting, two waiting for their turn.
const FRAMES_PER_WORKER: usize = 4;

/// Why new content could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// A file of the build is not what it was.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A frame did not come out right.
    #[error("cannot compress {path:?}")]
    Squeeze {
        /// A file whose content it holds.
        path: penstock_core::path::InstallPath,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A temporary file of ours cannot be used.
    #[error("cannot use the temporary directory")]
    Spool(#[source] std::io::Error),
    /// An upload failed.
    #[error("cannot upload new content")]
    Registry(#[from] RegistryError),
    /// Another thread failed, whose error is told instead of this one.
    #[error("stopped, because another part of the publish failed")]
    Stopped,
}

impl From<Stopped> for FillError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What was packed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Filled {
    pub(crate) packs: u64,
    pub(crate) frames: u64,
    pub(crate) raw_frames: u64,
    pub(crate) content_bytes: u64,
    pub(crate) stored_bytes: u64,
}

/// What a fill works on.
pub(crate) struct Fill<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) product: &'a ProductId,
    pub(crate) plans: &'a [ComponentPlan],
    pub(crate) scanned: &'a Scanned,
    pub(crate) chunks: &'a Chunks,
    pub(crate) spool: &'a Spool,
    pub(crate) level: i32,
    pub(crate) threads: usize,
    pub(crate) progress: &'a dyn Progress,
}

impl Fill<'_> {
    /// Content that has no place yet, in bytes.
    pub(crate) fn new_bytes(&self) -> std::io::Result<u64> {
        let mut total = 0;
        for number in 0..self.chunks.len() {
            if self.chunks.place(number)?.is_none() {
                total += u64::from(self.chunks.chunk(number)?.bytes);
            }
        }
        Ok(total)
    }

    /// Packs and uploads every chunk that has no place yet, and notes its place.
    pub(crate) fn run(&self, registry: &dyn Registry, packs: &mut Packs) -> Result<(Filled, Tally), FillError> {
        uploading(registry, |outbox| self.pipeline(outbox, packs))
    }

    fn pipeline(&self, outbox: &Outbox<'_>, packs: &mut Packs) -> Result<Filled, FillError> {
        let on_their_way = self.threads * FRAMES_PER_WORKER;
        let (job_in, job_out) = bounded::<Job>(self.threads);
        let (done_in, done_out) = bounded::<Result<Done, FillError>>(on_their_way);
        // A frame is formed only when there is a permit; the packer gives it back.
        let (permit_in, permit_out) = bounded::<()>(on_their_way);
        for _ in 0..on_their_way {
            permit_in.send(()).map_err(|_| FillError::Stopped)?;
        }
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                let (jobs, done) = (job_out.clone(), done_in.clone());
                scope.spawn(move || self.squeeze_all(&jobs, &done));
            }
            drop((job_out, done_in));
            let feeder = scope.spawn(move || Feeder::new(self, job_in, permit_out).run());
            let packed = Packer::new(self, outbox, packs).run(done_out, &permit_in);
            drop(permit_in);
            let fed = feeder.join().expect("the feeder does not panic");
            // The feeder and the workers stop when the packer does; whoever failed first has a real error.
            match (packed, fed) {
                (Err(FillError::Stopped) | Ok(_), Err(error)) => Err(error),
                (packed, _) => packed,
            }
        })
    }

    fn squeeze_all(&self, jobs: &Receiver<Job>, done: &Sender<Result<Done, FillError>>) {
        let mut squeezer = None;
        for job in jobs {
            let result = self.squeeze_one(&mut squeezer, job);
            let failed = result.is_err();
            if done.send(result).is_err() || failed {
                return;
            }
        }
    }

    fn squeeze_one(&self, squeezer: &mut Option<Squeezer>, job: Job) -> Result<Done, FillError> {
        let mut at = 0;
        for item in &job.items {
            let content = &job.content[at..at + item.bytes as usize];
            if ChunkId::of(content) != item.id {
                let path = self.scanned.entries[item.entry as usize].path.clone();
                return Err(SourceError::Changed { path }.into());
            }
            at += item.bytes as usize;
        }
        let failed = |source: SqueezeError| {
            let path = self.scanned.entries[job.items[0].entry as usize].path.clone();
            FillError::Squeeze { path, source: Box::new(source) }
        };
        let squeezer = match squeezer {
            Some(squeezer) => squeezer,
            none => none.insert(Squeezer::new(self.level).map_err(failed)?),
        };
        let squeezed = squeezer.squeeze(&job.content).map_err(failed)?;
        Ok(Done {
            number: job.number,
            component: job.component,
            items: job.items,
            kind: squeezed.kind,
            stored: squeezed.stored,
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Item {
    chunk: u32,
    id: ChunkId,
    bytes: u32,
    entry: u32,
}

/// A frame to be.
#[derive(Debug)]
struct Job {
    number: u64,
    component: u32,
    items: Vec<Item>,
    content: Vec<u8>,
}

/// A frame.
#[derive(Debug)]
struct Done {
    number: u64,
    component: u32,
    items: Vec<Item>,
    kind: FrameKind,
    stored: Vec<u8>,
}

/// Reads new chunks in order and forms frames of them.
struct Feeder<'a> {
    fill: &'a Fill<'a>,
    jobs: Sender<Job>,
    permits: Receiver<()>,
    open: Option<(u32, File)>,
    shared: Option<Job>,
    next: u64,
}

impl<'a> Feeder<'a> {
    const fn new(fill: &'a Fill<'a>, jobs: Sender<Job>, permits: Receiver<()>) -> Self {
        Self { fill, jobs, permits, open: None, shared: None, next: 0 }
    }

    fn run(mut self) -> Result<(), FillError> {
        for number in 0..self.fill.chunks.len() {
            if self.fill.chunks.place(number).map_err(FillError::Spool)?.is_some() {
                continue;
            }
            let chunk = self.fill.chunks.chunk(number).map_err(FillError::Spool)?;
            self.take(number, &chunk)?;
        }
        self.send_shared()
    }

    fn take(&mut self, number: u32, chunk: &UniqueChunk) -> Result<(), FillError> {
        let component = self.fill.scanned.entries[chunk.entry as usize].component;
        let stamp = self.stamp(chunk.entry);
        let item = Item { chunk: number, id: chunk.id, bytes: chunk.bytes, entry: chunk.entry };
        if self.shared.as_ref().is_some_and(|job| job.component != component) {
            self.send_shared()?;
        }
        if stamp.bytes > SMALL_FILE_BYTES {
            let mut job = Job { number: 0, component, items: vec![item], content: Vec::new() };
            self.read(chunk, &stamp, &mut job.content)?;
            return self.send(job);
        }
        let mut job =
            self.shared.take().unwrap_or(Job { number: 0, component, items: Vec::new(), content: Vec::new() });
        self.read(chunk, &stamp, &mut job.content)?;
        job.items.push(item);
        let full = job.content.len() >= SHARED_FRAME_BYTES || job.items.len() >= SHARED_FRAME_CHUNKS;
        self.shared = Some(job);
        if full { self.send_shared() } else { Ok(()) }
    }

    fn stamp(&self, entry: u32) -> Stamp {
        match &self.fill.scanned.entries[entry as usize].kind {
            SourceKind::File { stamp, .. } => *stamp,
            SourceKind::Directory | SourceKind::Link { .. } => unreachable!("only files have chunks"),
        }
    }

    fn read(&mut self, chunk: &UniqueChunk, stamp: &Stamp, content: &mut Vec<u8>) -> Result<(), FillError> {
        let path = &self.fill.scanned.entries[chunk.entry as usize].path;
        let file = match self.open.take() {
            Some((entry, file)) if entry == chunk.entry => file,
            _ => source::open(self.fill.dir, path, stamp)?,
        };
        let start = content.len();
        content.resize(start + chunk.bytes as usize, 0);
        file.read_exact_at(&mut content[start..], chunk.offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => SourceError::Changed { path: path.clone() },
            _ => SourceError::Unreadable { path: path.clone(), source: error },
        })?;
        self.open = Some((chunk.entry, file));
        Ok(())
    }

    fn send_shared(&mut self) -> Result<(), FillError> {
        self.shared.take().map_or(Ok(()), |job| self.send(job))
    }

    fn send(&mut self, mut job: Job) -> Result<(), FillError> {
        self.permits.recv().map_err(|_| FillError::Stopped)?;
        job.number = self.next;
        self.next += 1;
        self.jobs.send(job).map_err(|_| FillError::Stopped)
    }
}

/// Puts frames back in order and into packs.
struct Packer<'a> {
    fill: &'a Fill<'a>,
    outbox: &'a Outbox<'a>,
    packs: &'a mut Packs,
    open: Option<OpenPack>,
    filled: Filled,
}

/// The pack at hand, and what will be known of its chunks once it has a name.
struct OpenPack {
    writer: PackWriter,
    component: u32,
    places: Vec<(u32, Place)>,
}

impl<'a> Packer<'a> {
    fn new(fill: &'a Fill<'a>, outbox: &'a Outbox<'a>, packs: &'a mut Packs) -> Self {
        Self { fill, outbox, packs, open: None, filled: Filled::default() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "dropping the receiver on failure is what stops the workers")]
    fn run(mut self, done: Receiver<Result<Done, FillError>>, permits: &Sender<()>) -> Result<Filled, FillError> {
        let mut waiting: BTreeMap<u64, Done> = BTreeMap::new();
        let mut next = 0;
        for frame in &done {
            let frame = frame?;
            waiting.insert(frame.number, frame);
            while let Some(frame) = waiting.remove(&next) {
                self.push(&frame)?;
                next += 1;
                // The feeder may be gone already.
                let _ = permits.try_send(());
            }
        }
        self.close()?;
        Ok(self.filled)
    }

    fn push(&mut self, frame: &Done) -> Result<(), FillError> {
        if self.outbox.failed() {
            return Err(FillError::Stopped);
        }
        if self.open.as_ref().is_some_and(|open| open.component != frame.component || open.writer.is_full()) {
            self.close()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_pack(frame.component)?,
        };
        let outputs: Vec<(ChunkId, u32)> = frame.items.iter().map(|item| (item.id, item.bytes)).collect();
        let new = NewFrame { kind: frame.kind, stored: &frame.stored, outputs: &outputs };
        let offset = open.writer.push(&new).map_err(FillError::Spool)?;
        let content_bytes = outputs.iter().map(|(_, bytes)| bytes).sum();
        let stored_bytes = u32::try_from(frame.stored.len()).expect("a frame is small");
        let mut at = 0;
        for item in &frame.items {
            let place = Place { pack: 0, offset, stored_bytes, content_bytes, at, kind: frame.kind };
            open.places.push((item.chunk, place));
            at += item.bytes;
        }
        self.filled.frames += 1;
        self.filled.raw_frames += u64::from(frame.kind == FrameKind::Raw);
        self.filled.content_bytes += u64::from(content_bytes);
        self.filled.stored_bytes += u64::from(stored_bytes);
        self.fill.progress.advance(u64::from(content_bytes));
        self.open = Some(open);
        Ok(())
    }

    fn open_pack(&self, component: u32) -> Result<OpenPack, FillError> {
        let plan = &self.fill.plans[component as usize];
        let path = self.fill.spool.path(&format!("pack-{}", self.filled.packs));
        let writer = PackWriter::create(&path, self.fill.product, &plan.name, &plan.group);
        Ok(OpenPack { writer: writer.map_err(FillError::Spool)?, component, places: Vec::new() })
    }

    fn close(&mut self) -> Result<(), FillError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let finished = open.writer.finish().map_err(FillError::Spool)?;
        let pack = self.packs.made(finished.blob, self.fill.plans[open.component as usize].audience());
        for (chunk, place) in open.places {
            self.fill.chunks.set_place(chunk, Some(Place { pack, ..place })).map_err(FillError::Spool)?;
        }
        self.filled.packs += 1;
        let parcel = Parcel::File { blob: finished.blob, path: finished.path, bytes: finished.bytes };
        Ok(self.outbox.send(parcel)?)
    }
}
