//! Packs: round trip of the index, and every way to lie about it.

use super::*;
use proptest::prelude::*;

fn wire() -> PackWire {
    let mut wire = PackWire {
        format: PACK_FORMAT,
        product: "game".to_owned(),
        component: "base".to_owned(),
        group: "base".to_owned(),
        ..PackWire::default()
    };
    // Frame 0: raw, two chunks; frame 1: a delta with one base.
    for (kind, stored, content, outputs, bases) in [(0, 7, 7, 2, 0), (2, 3, 9, 1, 1)] {
        column::put(&mut wire.frame_kinds, kind);
        column::put(&mut wire.frame_stored, stored);
        column::put(&mut wire.frame_content, content);
        column::put(&mut wire.frame_outputs, outputs);
        column::put(&mut wire.frame_bases, bases);
    }
    for (name, bytes) in [(b"a", 3), (b"b", 4), (b"c", 9)] {
        wire.outputs.extend_from_slice(ChunkId::of(name).as_bytes());
        column::put(&mut wire.output_bytes, bytes);
    }
    wire.bases.extend_from_slice(ChunkId::of(b"old").as_bytes());
    wire
}

fn pack(wire: &PackWire, frame_count: u32) -> Vec<u8> {
    let index = wire.to_bytes();
    let trailer = Trailer {
        index_bytes: u32::try_from(index.len()).expect("small"),
        frame_count,
        index_hash: *blake3::hash(&index).as_bytes(),
    };
    [b"0123456789".as_slice(), &index, &trailer.encode()].concat()
}

#[test]
fn a_pack_with_a_delta_frame_explains_itself() {
    let index = PackIndex::of(&pack(&wire(), 2)).expect("good");
    assert_eq!(index.frames[0].outputs, [(ChunkId::of(b"a"), 3), (ChunkId::of(b"b"), 4)]);
    assert_eq!(index.frames[1].kind, FrameKind::ZstdDelta);
    assert_eq!(index.frames[1].bases, [ChunkId::of(b"old")]);
    assert_eq!((index.frames[1].offset, index.frames[1].content_bytes), (7, 9));
}

#[test]
fn kinds_of_later_versions_can_still_be_looked_at() {
    let mut wire = wire();
    wire.frame_kinds = vec![0, 77];
    let index = PackIndex::of(&pack(&wire, 2)).expect("good");
    assert_eq!(index.frames[1].kind, FrameKind::Other(77));
}

#[test]
fn each_lie_has_its_own_refusal() {
    type Case = (&'static str, fn(&mut PackWire), fn(&PackError) -> bool);
    let cases: [Case; 10] = [
        ("format", |w| w.format = 32, |e| matches!(e, PackError::Format(32))),
        ("feature", |w| w.requires = "seal-1".to_owned(), |e| matches!(e, PackError::Requires(_))),
        ("name", |w| w.group = "../x".to_owned(), |e| matches!(e, PackError::Name(_))),
        ("payload", |w| w.frame_stored = vec![7, 4], |e| matches!(e, PackError::Sums("frame lengths and size"))),
        ("content", |w| w.frame_content = vec![7, 8], |e| matches!(e, PackError::Sums("outputs and frames"))),
        ("too few outputs", |w| w.frame_outputs = vec![2, 2], |e| matches!(e, PackError::Sums(_))),
        ("stray output", |w| w.frame_outputs = vec![1, 1], |e| matches!(e, PackError::Sums(_))),
        ("stray base", |w| w.frame_bases = vec![0, 0], |e| matches!(e, PackError::Sums(_))),
        ("cut hash", |w| w.outputs.truncate(95), |e| matches!(e, PackError::Column(_))),
        ("column", |w| w.frame_kinds.push(0), |e| matches!(e, PackError::Column(_))),
    ];
    for (name, spoil, expected) in cases {
        let mut wire = wire();
        spoil(&mut wire);
        let error = PackIndex::of(&pack(&wire, 2)).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
    }
}

#[test]
fn a_trailer_that_lies_is_refused_before_anything_is_allocated() {
    let good = pack(&wire(), 2);
    let spoiled = |at: usize, bytes: &[u8]| {
        let mut pack = good.clone();
        let at = pack.len() - TRAILER_BYTES + at;
        pack[at..at + bytes.len()].copy_from_slice(bytes);
        PackIndex::of(&pack).expect_err("spoiled")
    };
    assert_eq!(spoiled(44, b"PSPX"), PackError::Magic);
    assert_eq!(spoiled(40, &[2, 0, 0, 0]), PackError::Format(2));
    assert_eq!(spoiled(0, &u32::MAX.to_le_bytes()), PackError::Sums("index length and size"));
    assert_eq!(spoiled(4, &u32::MAX.to_le_bytes()), PackError::Sums("frame count and limit"));
    assert_eq!(spoiled(8, &[0; 32]), PackError::Hash);
    assert!(matches!(spoiled(4, &9u32.to_le_bytes()), PackError::Column(_)));
    assert_eq!(PackIndex::of(&good[..20]), Err(PackError::Magic));
}

proptest! {
    #[test]
    fn hostile_indexes_never_panic(index in proptest::collection::vec(any::<u8>(), 0..300), frames in 0u32..10) {
        let trailer = Trailer { index_bytes: 0, frame_count: frames, index_hash: *blake3::hash(&index).as_bytes() };
        let _ = PackIndex::decode(&trailer, 10, &index);
    }

    #[test]
    fn damaged_messages_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut index = wire().to_bytes();
        let at = at.index(index.len());
        index[at] = value;
        let trailer = Trailer { index_bytes: 0, frame_count: 2, index_hash: *blake3::hash(&index).as_bytes() };
        let _ = PackIndex::decode(&trailer, 10, &index);
    }
}
