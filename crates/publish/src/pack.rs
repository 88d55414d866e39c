//! Writing packs: frames into a temporary file, index and trailer at its end. The layout is
//! described in `penstock_frames::pack`.

use penstock_core::blob::{BlobId, ChunkId};
use penstock_core::id::{AccessGroup, ComponentName, ProductId};
use penstock_core::limits::PACK_BYTES_TARGET;
use penstock_frames::column;
use penstock_frames::frame::FrameKind;
use penstock_frames::pack::{PACK_FORMAT, TRAILER_BYTES, Trailer};
use penstock_frames::wire::PackWire;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// A pack is closed at this many outputs even if it is small, so that its index stays small.
const OUTPUTS_TARGET: usize = 32_768;

/// One frame to be written.
#[derive(Debug)]
pub(crate) struct NewFrame<'a> {
    pub(crate) kind: FrameKind,
    pub(crate) stored: &'a [u8],
    /// The chunks in its content, back to back.
    pub(crate) outputs: &'a [(ChunkId, u32)],
}

/// A pack that is being written.
#[derive(Debug)]
pub(crate) struct PackWriter {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    payload_bytes: u64,
    frame_count: u32,
    output_count: usize,
    wire: PackWire,
}

/// A pack that is complete.
#[derive(Debug)]
pub(crate) struct FinishedPack {
    pub(crate) blob: BlobId,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

impl PackWriter {
    /// Starts a pack of one audience.
    pub(crate) fn create(
        path: &Path,
        product: &ProductId,
        component: &ComponentName,
        group: &AccessGroup,
    ) -> io::Result<Self> {
        let wire = PackWire {
            format: PACK_FORMAT,
            product: product.to_string(),
            component: component.to_string(),
            group: group.to_string(),
            ..PackWire::default()
        };
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(256 * 1024, File::create_new(path)?),
            hasher: blake3::Hasher::new(),
            payload_bytes: 0,
            frame_count: 0,
            output_count: 0,
            wire,
        })
    }

    /// Adds a frame; returns its offset.
    pub(crate) fn push(&mut self, frame: &NewFrame<'_>) -> io::Result<u32> {
        let offset = u32::try_from(self.payload_bytes).expect("a pack is at most 16 MiB");
        self.write(frame.stored)?;
        self.payload_bytes += frame.stored.len() as u64;
        self.frame_count += 1;
        self.output_count += frame.outputs.len();
        let content: u64 = frame.outputs.iter().map(|(_, bytes)| u64::from(*bytes)).sum();
        column::put(&mut self.wire.frame_kinds, u64::from(frame.kind.number()));
        column::put(&mut self.wire.frame_stored, frame.stored.len() as u64);
        column::put(&mut self.wire.frame_content, content);
        column::put(&mut self.wire.frame_outputs, frame.outputs.len() as u64);
        column::put(&mut self.wire.frame_bases, 0);
        for (id, bytes) in frame.outputs {
            self.wire.outputs.extend_from_slice(id.as_bytes());
            column::put(&mut self.wire.output_bytes, u64::from(*bytes));
        }
        Ok(offset)
    }

    /// Whether the pack should be closed now.
    pub(crate) const fn is_full(&self) -> bool {
        self.payload_bytes >= PACK_BYTES_TARGET || self.output_count >= OUTPUTS_TARGET
    }

    /// Writes index and trailer.
    pub(crate) fn finish(mut self) -> io::Result<FinishedPack> {
        let index = std::mem::take(&mut self.wire).to_bytes();
        let trailer = Trailer {
            index_bytes: u32::try_from(index.len()).map_err(io::Error::other)?,
            frame_count: self.frame_count,
            index_hash: *blake3::hash(&index).as_bytes(),
        };
        self.write(&index)?;
        self.write(&trailer.encode())?;
        self.file.flush()?;
        let bytes = self.payload_bytes + index.len() as u64 + TRAILER_BYTES as u64;
        Ok(FinishedPack { blob: self.hasher.finalize().into(), path: self.path, bytes })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_frames::pack::PackIndex;

    fn write(dir: &Path, frames: &[NewFrame<'_>]) -> FinishedPack {
        let name = |text: &str| ProductId::new(text).expect("name");
        let path = dir.join("pack");
        let mut writer =
            PackWriter::create(&path, &name("game"), &ComponentName::base(), &AccessGroup::base()).expect("create");
        frames.iter().for_each(|frame| {
            writer.push(frame).expect("push");
        });
        writer.finish().expect("finish")
    }

    #[test]
    fn a_pack_explains_itself_and_its_bytes_are_frozen() {
        let dir = tempfile::tempdir().expect("dir");
        let (a, b, c) = (ChunkId::of(b"aa"), ChunkId::of(b"b"), ChunkId::of(b"cccc"));
        let finished = write(
            dir.path(),
            &[
                NewFrame { kind: FrameKind::Raw, stored: b"aab", outputs: &[(a, 2), (b, 1)] },
                NewFrame { kind: FrameKind::Raw, stored: b"cccc", outputs: &[(c, 4)] },
            ],
        );
        let bytes = std::fs::read(&finished.path).expect("read");
        assert_eq!(bytes.len() as u64, finished.bytes);
        assert_eq!(BlobId::of(&bytes), finished.blob);
        assert_eq!(
            finished.blob.to_string(),
            "5c6da1753e24dbafdc71ee2bde27d8bbe52c9154c8057944fc108443c6ae9535",
            "the pack format changed: readers in the field would not understand it"
        );
        let index = PackIndex::of(&bytes).expect("own pack");
        assert_eq!(index.frames.len(), 2);
        assert_eq!(index.frames[0].outputs, [(a, 2), (b, 1)]);
        assert_eq!((index.frames[1].offset, index.frames[1].stored_bytes), (3, 4));
        assert_eq!((index.product.as_str(), index.component.as_str()), ("game", "base"));
    }
}
