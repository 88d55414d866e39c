//! From each file's cuts to one ordered list of chunks per component, each different one once.
//!
//! Chunks are numbered by first appearance in release order. A chunk that the base has is the base's,
//! whoever else has it; content of two other components is never the same chunk, even when it is the
//! same bytes, because somebody may be owed one of them alone.

use crate::cut::{CUT_BYTES, Cuts, read_cut};
use crate::request::ComponentPlan;
use crate::scan::Scanned;
use crate::source::SourceError;
use crate::spool::{Records, Spool};
use crate::table::{Found, Table};
use penstock_core::audience::Audience;
use penstock_core::blob::{BlobId, ChunkId};
use penstock_core::id::{AccessGroup, ComponentName};
use penstock_frames::frame::FrameKind;
use std::io;

/// Width of a chunk's record: name 32, length 4, entry 4, offset in the file 8.
const CHUNK_RECORD_BYTES: usize = 48;
/// Width of a place: pack + 1 (0 is none) 4, offset 4, stored 4, content 4, at 4, kind 4.
const PLACE_BYTES: usize = 24;

/// One different chunk of the release.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UniqueChunk {
    pub(crate) id: ChunkId,
    pub(crate) bytes: u32,
    /// Entry whose file has it first.
    pub(crate) entry: u32,
    /// Where in that file, in bytes.
    pub(crate) offset: u64,
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index into [`Packs`].
    pub(crate) pack: u32,
    /// Offset of the frame in the pack.
    pub(crate) offset: u32,
    pub(crate) stored_bytes: u32,
    pub(crate) content_bytes: u32,
    /// Offset of the chunk in the frame's content.
    pub(crate) at: u32,
    pub(crate) kind: FrameKind,
}

/// All different chunks of the release and where they lie, as far as is known.
#[derive(Debug)]
pub(crate) struct Chunks {
    chunks: Records,
    places: Records,
    /// Per component, base first: its audience and its own chunks by name.
    tables: Vec<(OwnAudience, Table)>,
    /// Per component, in release order: the numbers of its files' chunks.
    pub(crate) orders: Vec<Vec<u32>>,
}

/// Merges all cuts.
pub(crate) fn merge(
    scanned: &Scanned,
    plans: &[ComponentPlan],
    cuts: &Cuts,
    spool: &Spool,
) -> Result<Chunks, SourceError> {
    Merge::new(scanned, plans, spool).and_then(|merge| merge.run(cuts)).map_err(SourceError::Spool)
}

struct Merge<'a> {
    scanned: &'a Scanned,
    plans: &'a [ComponentPlan],
    chunks: Chunks,
}

impl<'a> Merge<'a> {
    fn new(scanned: &'a Scanned, plans: &'a [ComponentPlan], spool: &Spool) -> io::Result<Self> {
        let chunks = Chunks {
            chunks: spool.records("chunks", CHUNK_RECORD_BYTES)?,
            places: spool.records("places", PLACE_BYTES)?,
            tables: Vec::new(),
            orders: Vec::new(),
        };
        Ok(Self { scanned, plans, chunks })
    }

    fn run(mut self, cuts: &Cuts) -> io::Result<Chunks> {
        let mut by_component: Vec<Vec<u32>> = vec![Vec::new(); self.plans.len()];
        let mut counts = vec![0usize; self.plans.len()];
        for (index, entry, _) in self.scanned.files() {
            let component = entry.component as usize;
            by_component[component].push(u32::try_from(index).expect("entries are limited"));
            counts[component] += cuts.files[index].count as usize;
        }
        for (plan, count) in self.plans.iter().zip(&counts) {
            self.chunks.tables.push((OwnAudience::of(plan.audience()), Table::with_room_for(*count)));
        }
        for (component, entries) in by_component.into_iter().enumerate() {
            let mut order = Vec::with_capacity(counts[component]);
            for entry in entries {
                self.file(component, entry, cuts, &mut order)?;
            }
            self.chunks.orders.push(order);
        }
        self.chunks.chunks.flush()?;
        self.chunks.places.zero(self.chunks.chunks.len())?;
        Ok(self.chunks)
    }

    fn file(&mut self, table: usize, entry: u32, cuts: &Cuts, order: &mut Vec<u32>) -> io::Result<()> {
        let file = cuts.files[entry as usize];
        let mut offset = 0u64;
        let mut block = vec![0u8; CUT_BYTES * 1024];
        let (mut next, end) = (file.first, file.first + u64::from(file.count));
        while next < end {
            let count = usize::try_from((end - next).min(1024)).expect("at most 1024");
            let block = &mut block[..count * CUT_BYTES];
            cuts.records[file.worker as usize].read(next, block)?;
            for record in block.chunks_exact(CUT_BYTES) {
                let (id, bytes) = read_cut(record);
                order.push(self.chunks.number(table, UniqueChunk { id, bytes, entry, offset })?);
                offset += u64::from(bytes);
            }
            next += count as u64;
        }
        Ok(())
    }
}

impl Chunks {
    /// The number of a chunk of a component, given one if it is new there and in the base.
    fn number(&mut self, table: usize, chunk: UniqueChunk) -> io::Result<u32> {
        if let Some(number) = self.in_base(table, &chunk.id)? {
            return Ok(number);
        }
        match self.tables[table].1.find(&chunk.id, |number| Ok(self.read_id(number)? == chunk.id))? {
            Found::Number(number) => Ok(number),
            Found::Vacant(slot) => {
                let number = u32::try_from(self.chunks.len()).expect("chunks are limited");
                self.tables[table].1.put(slot, &chunk.id, number);
                self.chunks.append(&chunk.to_record())?;
                Ok(number)
            }
        }
    }

    /// The base's chunk of this name, for another audience that may read it too.
    fn in_base(&self, table: usize, id: &ChunkId) -> io::Result<Option<u32>> {
        let (audience, base) = &self.tables[0];
        if table == 0 || !audience.get().covers(&self.tables[table].0.get()) {
            return Ok(None);
        }
        match base.find(id, |number| Ok(self.read_id(number)? == *id))? {
            Found::Number(number) => Ok(Some(number)),
            Found::Vacant(_) => Ok(None),
        }
    }

    /// Chunks of this name whose whole audience may read content of `wide`: their numbers and audiences.
    pub(crate) fn readable_with(&self, wide: &Audience<'_>, id: &ChunkId) -> io::Result<Vec<(u32, Audience<'_>)>> {
        let mut found = Vec::new();
        for (audience, table) in self.tables.iter().filter(|(audience, _)| wide.covers(&audience.get())) {
            if let Found::Number(number) = table.find(id, |number| Ok(self.read_id(number)? == *id))? {
                found.push((number, audience.get()));
            }
        }
        Ok(found)
    }

    /// How many different chunks there are.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.chunks.len()).expect("chunks are limited")
    }

    fn read_id(&self, number: u32) -> io::Result<ChunkId> {
        Ok(self.chunk(number)?.id)
    }

    /// A chunk by number.
    pub(crate) fn chunk(&self, number: u32) -> io::Result<UniqueChunk> {
        let mut record = [0u8; CHUNK_RECORD_BYTES];
        self.chunks.read(u64::from(number), &mut record)?;
        Ok(UniqueChunk::from_record(&record))
    }

    /// Where a chunk lies, if that is known.
    pub(crate) fn place(&self, number: u32) -> io::Result<Option<Place>> {
        let mut record = [0u8; PLACE_BYTES];
        self.places.read(u64::from(number), &mut record)?;
        Ok(Place::from_record(&record))
    }

    /// Notes where a chunk lies; `None` takes it back.
    pub(crate) fn set_place(&self, number: u32, place: Option<Place>) -> io::Result<()> {
        let record = place.map_or([0; PLACE_BYTES], Place::to_record);
        self.places.write(u64::from(number), &record)
    }
}

impl UniqueChunk {
    fn to_record(self) -> [u8; CHUNK_RECORD_BYTES] {
        let mut record = [0u8; CHUNK_RECORD_BYTES];
        record[..32].copy_from_slice(self.id.as_bytes());
        record[32..36].copy_from_slice(&self.bytes.to_le_bytes());
        record[36..40].copy_from_slice(&self.entry.to_le_bytes());
        record[40..].copy_from_slice(&self.offset.to_le_bytes());
        record
    }

    fn from_record(record: &[u8; CHUNK_RECORD_BYTES]) -> Self {
        let (id, rest) = record.split_first_chunk::<32>().expect("a record holds a name");
        let (head, offset) = rest.split_at(8);
        Self {
            id: ChunkId::from_bytes(*id),
            bytes: word(head, 0),
            entry: word(head, 1),
            offset: u64::from(word(offset, 0)) | u64::from(word(offset, 1)) << 32,
        }
    }
}

impl Place {
    fn to_record(self) -> [u8; PLACE_BYTES] {
        let words = [self.pack + 1, self.offset, self.stored_bytes, self.content_bytes, self.at, self.kind.number()];
        let mut record = [0u8; PLACE_BYTES];
        for (field, word) in record.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *field = word.to_le_bytes();
        }
        record
    }

    fn from_record(record: &[u8; PLACE_BYTES]) -> Option<Self> {
        Some(Self {
            pack: word(record, 0).checked_sub(1)?,
            offset: word(record, 1),
            stored_bytes: word(record, 2),
            content_bytes: word(record, 3),
            at: word(record, 4),
            kind: FrameKind::from_number(word(record, 5)),
        })
    }
}

fn word(record: &[u8], index: usize) -> u32 {
    let bytes = record[4 * index..4 * index + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes)
}

/// An [`Audience`] that is kept.
#[derive(Debug, Clone)]
struct OwnAudience(ComponentName, AccessGroup);

impl OwnAudience {
    fn of(audience: Audience<'_>) -> Self {
        Self(audience.component.clone(), audience.group.clone())
    }
    const fn get(&self) -> Audience<'_> {
        Audience { component: &self.0, group: &self.1 }
    }
}

/// The packs that the release may refer to, each with one audience that may read all of it.
#[derive(Debug, Default)]
pub(crate) struct Packs {
    list: Vec<(BlobId, OwnAudience)>,
    numbers: std::collections::HashMap<BlobId, u32>,
    /// Those that this publish made, of this release's content and nothing else.
    made: std::collections::BTreeSet<BlobId>,
}

impl Packs {
    /// The number of a pack; the audience named first stays.
    pub(crate) fn number(&mut self, blob: BlobId, audience: Audience<'_>) -> u32 {
        *self.numbers.entry(blob).or_insert_with(|| {
            self.list.push((blob, OwnAudience::of(audience)));
            u32::try_from(self.list.len() - 1).expect("fewer packs than chunks")
        })
    }

    /// The number of a pack that was made here; it may be the very same as one of an earlier release.
    pub(crate) fn made(&mut self, blob: BlobId, audience: Audience<'_>) -> u32 {
        self.made.insert(blob);
        self.number(blob, audience)
    }

    /// Packs of earlier releases, of which this one uses a part.
    pub(crate) fn shared(&self) -> std::collections::BTreeSet<BlobId> {
        self.list.iter().map(|(blob, _)| *blob).filter(|blob| !self.made.contains(blob)).collect()
    }

    /// The blob of a pack.
    pub(crate) fn blob(&self, number: u32) -> BlobId {
        self.list[number as usize].0
    }

    /// Who may read a pack, by number.
    pub(crate) fn audience(&self, number: u32) -> Audience<'_> {
        self.list[number as usize].1.get()
    }

    /// Who may read a pack, by name.
    pub(crate) fn audience_of(&self, blob: &BlobId) -> Option<Audience<'_>> {
        self.numbers.get(blob).map(|number| self.audience(*number))
    }

    /// All of them, in order of their numbers.
    pub(crate) fn blobs(&self) -> Vec<BlobId> {
        self.list.iter().map(|(blob, _)| *blob).collect()
    }
}
