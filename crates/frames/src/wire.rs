//! The protobuf messages of parts and pack indexes. Field numbers are frozen; unknown fields are
//! ignored; what an older reader must not ignore is named in `requires`.
//!
//! Every `bytes` field called a column is a packed repeated varint field on the wire (protobuf
//! makes no difference between the two), so any protobuf tool reads these messages with
//! `repeated uint64 … [packed = true]` in their place. Meaning and units: [`crate::part`] and
//! [`crate::pack`].

use prost::Message;

/// A tree part; see [`crate::part`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TreeWire {
    /// Format number.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// Comma-separated features that a reader must know.
    #[prost(string, tag = "2")]
    pub requires: String,
    /// One byte per entry: kind in the low two bits, flags above.
    #[prost(bytes = "vec", tag = "3")]
    pub kinds: Vec<u8>,
    /// Column: bytes shared with the path before.
    #[prost(bytes = "vec", tag = "4")]
    pub shared: Vec<u8>,
    /// Column: length of the rest of the path.
    #[prost(bytes = "vec", tag = "5")]
    pub rest_lens: Vec<u8>,
    /// The rests, back to back.
    #[prost(string, tag = "6")]
    pub rests: String,
    /// Column, files only: size in bytes.
    #[prost(bytes = "vec", tag = "7")]
    pub sizes: Vec<u8>,
    /// Column, files only: number of chunks.
    #[prost(bytes = "vec", tag = "8")]
    pub chunk_counts: Vec<u8>,
    /// Column, links only: length of the target.
    #[prost(bytes = "vec", tag = "9")]
    pub target_lens: Vec<u8>,
    /// The targets, back to back.
    #[prost(string, tag = "10")]
    pub targets: String,
    /// Access group it was written for, so that two audiences never share a part; readers ignore it.
    #[prost(string, tag = "11")]
    pub group: String,
    /// Component it was written for, likewise.
    #[prost(string, tag = "12")]
    pub component: String,
    /// Product it was written for, likewise.
    #[prost(string, tag = "13")]
    pub product: String,
}

/// A chunk part; see [`crate::part`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ChunkWire {
    /// Format number.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// Comma-separated features that a reader must know.
    #[prost(string, tag = "2")]
    pub requires: String,
    /// 32 bytes per pack.
    #[prost(bytes = "vec", tag = "3")]
    pub packs: Vec<u8>,
    /// Column: index of the frame's pack.
    #[prost(bytes = "vec", tag = "4")]
    pub frame_packs: Vec<u8>,
    /// Signed column: offset less the end of the frame before it in this part and pack.
    #[prost(bytes = "vec", tag = "5")]
    pub frame_gaps: Vec<u8>,
    /// Column: stored length.
    #[prost(bytes = "vec", tag = "6")]
    pub frame_stored: Vec<u8>,
    /// Column: content length less the highest end of a chunk of this part in it.
    #[prost(bytes = "vec", tag = "7")]
    pub frame_extra: Vec<u8>,
    /// Column: frame kind.
    #[prost(bytes = "vec", tag = "8")]
    pub frame_kinds: Vec<u8>,
    /// 32 bytes per chunk.
    #[prost(bytes = "vec", tag = "9")]
    pub chunks: Vec<u8>,
    /// Column: chunk length.
    #[prost(bytes = "vec", tag = "10")]
    pub chunk_bytes: Vec<u8>,
    /// Signed column: index of the chunk's frame less that of the chunk before.
    #[prost(bytes = "vec", tag = "11")]
    pub chunk_frames: Vec<u8>,
    /// Signed column: offset in the frame's content less the end of the chunk before, if that is in the same frame.
    #[prost(bytes = "vec", tag = "12")]
    pub chunk_gaps: Vec<u8>,
    /// Access group it was written for, so that two audiences never share a part; readers ignore it.
    #[prost(string, tag = "13")]
    pub group: String,
    /// Component it was written for, likewise.
    #[prost(string, tag = "14")]
    pub component: String,
    /// Product it was written for, likewise.
    #[prost(string, tag = "15")]
    pub product: String,
}

/// A pack's index; see [`crate::pack`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PackWire {
    /// Format number.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// Comma-separated features that a reader must know.
    #[prost(string, tag = "2")]
    pub requires: String,
    /// Product whose content this is.
    #[prost(string, tag = "3")]
    pub product: String,
    /// Component whose content this is.
    #[prost(string, tag = "4")]
    pub component: String,
    /// Who may read it.
    #[prost(string, tag = "5")]
    pub group: String,
    /// Column: frame kind.
    #[prost(bytes = "vec", tag = "6")]
    pub frame_kinds: Vec<u8>,
    /// Column: stored length; frames lie back to back from offset 0.
    #[prost(bytes = "vec", tag = "7")]
    pub frame_stored: Vec<u8>,
    /// Column: content length.
    #[prost(bytes = "vec", tag = "8")]
    pub frame_content: Vec<u8>,
    /// Column: how many chunks the frame yields.
    #[prost(bytes = "vec", tag = "9")]
    pub frame_outputs: Vec<u8>,
    /// Column: how many bases the frame needs.
    #[prost(bytes = "vec", tag = "10")]
    pub frame_bases: Vec<u8>,
    /// 32 bytes per output: the chunks, frame by frame, back to back in each frame's content.
    #[prost(bytes = "vec", tag = "11")]
    pub outputs: Vec<u8>,
    /// Column: length of each output.
    #[prost(bytes = "vec", tag = "12")]
    pub output_bytes: Vec<u8>,
    /// 32 bytes per base: chunks, frame by frame, in reference order.
    #[prost(bytes = "vec", tag = "13")]
    pub bases: Vec<u8>,
}

/// An update index; see [`crate::update`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct UpdateWire {
    /// Format number.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// Comma-separated features that a reader must know.
    #[prost(string, tag = "2")]
    pub requires: String,
    /// Manifest blob of the old release, 32 bytes; empty when all bases are named.
    #[prost(bytes = "vec", tag = "3")]
    pub from: Vec<u8>,
    /// Manifest blob of the new release, 32 bytes.
    #[prost(bytes = "vec", tag = "4")]
    pub target: Vec<u8>,
    /// 32 bytes per pack.
    #[prost(bytes = "vec", tag = "5")]
    pub packs: Vec<u8>,
    /// Column: index of the frame's pack.
    #[prost(bytes = "vec", tag = "6")]
    pub frame_packs: Vec<u8>,
    /// Signed column: offset less the end of the frame before it in this index and pack.
    #[prost(bytes = "vec", tag = "7")]
    pub frame_gaps: Vec<u8>,
    /// Column: stored length.
    #[prost(bytes = "vec", tag = "8")]
    pub frame_stored: Vec<u8>,
    /// Column: content length.
    #[prost(bytes = "vec", tag = "9")]
    pub frame_content: Vec<u8>,
    /// Column: frame kind.
    #[prost(bytes = "vec", tag = "10")]
    pub frame_kinds: Vec<u8>,
    /// Column: how many chunks the frame yields.
    #[prost(bytes = "vec", tag = "11")]
    pub frame_outputs: Vec<u8>,
    /// Column: how many bases the frame needs.
    #[prost(bytes = "vec", tag = "12")]
    pub frame_bases: Vec<u8>,
    /// Signed column: position of each output less that of the output before; the first counts from −1.
    #[prost(bytes = "vec", tag = "13")]
    pub outputs: Vec<u8>,
    /// 32 bytes per chunk that is named by hash.
    #[prost(bytes = "vec", tag = "14")]
    pub named: Vec<u8>,
    /// Column: each base, a number below the count of `named`, or that count plus an old position.
    #[prost(bytes = "vec", tag = "15")]
    pub bases: Vec<u8>,
}

macro_rules! to_bytes {
    ($($name:ident),*) => { $(
        impl $name {
            /// The message as protobuf; canonical, because fields are written in order of their numbers.
            #[must_use]
            pub fn to_bytes(&self) -> Vec<u8> {
                self.encode_to_vec()
            }
        }
    )* };
}

to_bytes!(TreeWire, ChunkWire, PackWire, UpdateWire);
