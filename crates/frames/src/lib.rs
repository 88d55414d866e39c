//! The stored formats below the manifest root: parts, frames, packs, and the chunker's cuts.
//!
//! Owns decoding and checking, for the client as for `inspect`: every length is bounded before it
//! is allocated, every number is checked before it is used. It must not do IO, and it compresses
//! nothing: encoders live in `publish`, so that a player's machine carries none.
//!
//! | module | format |
//! |---|---|
//! | [`part`] | tree parts and chunk parts of a manifest |
//! | [`frame`] | one compressed piece of content, the unit of a download |
//! | [`pack`] | the blob that carries frames, with the index at its end |
//! | [`chunker`] | where a file is cut |
//! | [`update`] | which delta frames lead from one release to another |
//! | [`mod@column`], [`wire`] | the protobuf messages under parts and pack indexes |

pub mod chunker;
pub mod column;
pub mod frame;
pub mod limits;
pub mod order;
pub mod pack;
pub mod part;
pub mod update;
pub mod wire;
mod zstd_frame;
