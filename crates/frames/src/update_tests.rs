//! Update indexes: a vector, every lie with its refusal, hostile bytes.

use super::*;
use proptest::prelude::*;

/// Two frames of one pack. The first yields the chunks 5 and 6 of the new list from one named chunk
/// and the old chunk 9; the second, of a kind to come, yields chunk 2 from old chunk 0.
fn wire() -> UpdateWire {
    let mut wire = UpdateWire {
        format: UPDATE_FORMAT,
        from: BlobId::of(b"old").as_bytes().to_vec(),
        target: BlobId::of(b"new").as_bytes().to_vec(),
        packs: BlobId::of(b"pack").as_bytes().to_vec(),
        frame_packs: vec![0, 0],
        frame_stored: vec![30, 7],
        frame_content: vec![100, 50],
        frame_kinds: vec![2, 9],
        frame_outputs: vec![2, 1],
        frame_bases: vec![2, 1],
        named: ChunkId::of(b"x").as_bytes().to_vec(),
        bases: vec![0, 10, 1],
        ..UpdateWire::default()
    };
    [100, 3].iter().for_each(|gap| column::put_signed(&mut wire.frame_gaps, *gap));
    [6, 1, -4].iter().for_each(|step| column::put_signed(&mut wire.outputs, *step));
    wire
}

fn seal(content: &[u8], items: u32) -> (PartRef, Vec<u8>) {
    let stored = zstd::bulk::compress(content, 3).expect("compress");
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small");
    let part =
        PartRef { blob: BlobId::of(&stored), stored_bytes: length(&stored), content_bytes: length(content), items };
    (part, stored)
}

fn decode(wire: &UpdateWire) -> Result<UpdateIndex, PartError> {
    let (part, stored) = seal(&wire.to_bytes(), 2);
    UpdateIndex::decode(&part, &stored)
}

const VECTOR_HASH: &str = "eeba6d73880ab27f66b2a35bf71680bcbf0dbf305aa163771b7379867deb5433";

#[test]
fn the_vector_reads_as_written() {
    let first = UpdateFrame {
        pack: 0,
        offset: 100,
        stored_bytes: 30,
        content_bytes: 100,
        kind: FrameKind::ZstdDelta,
        outputs: vec![5, 6],
        bases: vec![Base::Named(ChunkId::of(b"x")), Base::Old(9)],
    };
    let second = UpdateFrame {
        pack: 0,
        offset: 133,
        stored_bytes: 7,
        content_bytes: 50,
        kind: FrameKind::Other(9),
        outputs: vec![2],
        bases: vec![Base::Old(0)],
    };
    let expected = UpdateIndex {
        from: Some(BlobId::of(b"old")),
        target: BlobId::of(b"new"),
        packs: vec![BlobId::of(b"pack")],
        frames: vec![first, second],
    };
    assert_eq!(decode(&wire()), Ok(expected));
    assert_eq!(blake3::hash(&wire().to_bytes()).to_string(), VECTOR_HASH, "the update index's layout changed");
}

#[test]
fn each_lie_has_its_own_refusal() {
    type Case = (&'static str, fn(&mut UpdateWire), fn(&PartError) -> bool);
    let cases: [Case; 13] = [
        ("format", |w| w.format = 42, |e| matches!(e, PartError::Format { found: 42, .. })),
        ("feature", |w| w.requires = "x-1".to_owned(), |e| matches!(e, PartError::Requires(_))),
        ("no target", |w| w.target.clear(), |e| matches!(e, PartError::Number { what: "manifest", .. })),
        ("half a name", |w| w.from.truncate(16), |e| matches!(e, PartError::Number { what: "manifest", .. })),
        ("pack", |w| w.frame_packs[1] = 1, |e| matches!(e, PartError::Number { field: "pack", index: 1, .. })),
        ("offset", |w| w.frame_gaps[0] = 1, |e| matches!(e, PartError::Column(_) | PartError::Number { .. })),
        ("empty frame", |w| w.frame_stored[0] = 0, |e| matches!(e, PartError::Number { field: "stored length", .. })),
        ("no content", |w| w.frame_content[0] = 0, |e| matches!(e, PartError::Number { field: "content length", .. })),
        ("no output", |w| w.frame_outputs = vec![3, 0], |e| matches!(e, PartError::Number { field: "output", .. })),
        (
            "output below zero",
            |w| {
                w.outputs.clear();
                [0, 1, 1].iter().for_each(|step| column::put_signed(&mut w.outputs, *step));
            },
            |e| matches!(e, PartError::Number { field: "output", index: 0, .. }),
        ),
        ("outputs left over", |w| w.outputs.push(2), |e| matches!(e, PartError::Column(_))),
        ("old base of nothing", |w| w.from.clear(), |e| matches!(e, PartError::Number { field: "base", .. })),
        (
            "base past any list",
            |w| {
                w.bases.clear();
                [0, 10, CHUNKS_MAX + 1].iter().for_each(|number| column::put(&mut w.bases, *number));
            },
            |e| matches!(e, PartError::Number { field: "base", index: 1, .. }),
        ),
    ];
    for (name, spoil, expected) in cases {
        let mut wire = wire();
        spoil(&mut wire);
        let error = decode(&wire).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
    }
}

#[test]
fn an_index_without_a_past_names_its_bases() {
    let mut wire = wire();
    wire.from.clear();
    wire.bases = vec![0, 0, 0];
    let index = decode(&wire).expect("any-version frames");
    assert_eq!((index.from, &index.frames[1].bases[..]), (None, &[Base::Named(ChunkId::of(b"x"))][..]));
}

proptest! {
    #[test]
    fn hostile_messages_never_panic(content in proptest::collection::vec(any::<u8>(), 0..300), items in 0u32..50) {
        let (part, stored) = seal(&content, items);
        let _ = UpdateIndex::decode(&part, &stored);
    }

    #[test]
    fn damaged_messages_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut content = wire().to_bytes();
        let at = at.index(content.len());
        content[at] = value;
        let (part, stored) = seal(&content, 2);
        let _ = UpdateIndex::decode(&part, &stored);
    }
}
