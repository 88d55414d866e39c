//! Parts: a vector written by hand, every lie with its refusal, hostile bytes.

use super::*;
use crate::column;
use crate::frame::FrameKind;
use crate::wire::{ChunkWire, TreeWire};
use penstock_core::blob::ChunkId;
use penstock_core::limits::{CHUNK_BYTES_MAX, FRAME_CONTENT_BYTES_MAX};
use proptest::prelude::*;

fn seal(content: &[u8], items: u32) -> (PartRef, Vec<u8>) {
    let stored = zstd::bulk::compress(content, 3).expect("compress");
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small");
    let part =
        PartRef { blob: BlobId::of(&stored), stored_bytes: length(&stored), content_bytes: length(content), items };
    (part, stored)
}

/// Entries: a/b (executable, launch, 300 bytes in 1 chunk), a/c → b, a/empty (directory), d (no bytes).
fn tree_wire() -> TreeWire {
    TreeWire {
        format: TREE_FORMAT,
        kinds: vec![12, 2, 1, 0],
        shared: vec![0, 2, 2, 0],
        rest_lens: vec![3, 1, 5, 1],
        rests: "a/bcemptyd".to_owned(),
        sizes: vec![0xac, 0x02, 0],
        chunk_counts: vec![1, 0],
        target_lens: vec![1],
        targets: "b".to_owned(),
        ..TreeWire::default()
    }
}

/// The same as protobuf, byte by byte: tag and length, then the field.
const VECTOR_TREE: &[u8] = b"\x08\x0b\x1a\x04\x0c\x02\x01\x00\x22\x04\x00\x02\x02\x00\x2a\x04\x03\x01\x05\x01\
    \x32\x0aa/bcemptyd\x3a\x03\xac\x02\x00\x42\x02\x01\x00\x4a\x01\x01\x52\x01b";

fn decode_tree(wire: &TreeWire) -> Result<TreePart, PartError> {
    let (part, stored) = seal(&wire.to_bytes(), u32::try_from(wire.kinds.len()).expect("small"));
    TreePart::decode(&part, &stored)
}

/// One pack; frame 0 holds two chunks of 10 and 20 bytes and 5 bytes more, frame 1 a raw chunk of 7.
fn chunk_wire() -> ChunkWire {
    let mut wire = ChunkWire {
        format: CHUNK_FORMAT,
        packs: BlobId::of(b"pack").as_bytes().to_vec(),
        frame_packs: vec![0, 0],
        frame_stored: vec![30, 7],
        frame_extra: vec![5, 0],
        frame_kinds: vec![1, 0],
        chunk_bytes: vec![10, 20, 7],
        ..ChunkWire::default()
    };
    [100, 3].iter().for_each(|gap| column::put_signed(&mut wire.frame_gaps, *gap));
    [0, 0, 1].iter().for_each(|step| column::put_signed(&mut wire.chunk_frames, *step));
    [0, 0, 0].iter().for_each(|gap| column::put_signed(&mut wire.chunk_gaps, *gap));
    for name in [b"x", b"y", b"z"] {
        wire.chunks.extend_from_slice(ChunkId::of(name).as_bytes());
    }
    wire
}

fn decode_chunks(wire: &ChunkWire) -> Result<ChunkPart, PartError> {
    let (part, stored) = seal(&wire.to_bytes(), u32::try_from(wire.chunks.len() / 32).expect("small"));
    ChunkPart::decode(&part, &stored)
}

#[test]
fn the_tree_vector_reads_as_written() {
    assert_eq!(tree_wire().to_bytes(), VECTOR_TREE);
    let path = |text| InstallPath::new(text).expect("valid");
    let file = |executable, bytes, chunks, launch| EntryKind::File { executable, bytes, chunks, launch };
    let expected = vec![
        Entry { path: path("a/b"), kind: file(true, 300, 1, true) },
        Entry { path: path("a/c"), kind: EntryKind::Link { target: "b".to_owned() } },
        Entry { path: path("a/empty"), kind: EntryKind::Directory },
        Entry { path: path("d"), kind: file(false, 0, 0, false) },
    ];
    assert_eq!(decode_tree(&tree_wire()).expect("good").entries, expected);
}

#[test]
fn the_chunk_vector_reads_as_written() {
    let part = decode_chunks(&chunk_wire()).expect("good");
    assert_eq!(part.packs, [BlobId::of(b"pack")]);
    let frame =
        |offset, stored_bytes, content_bytes, kind| FrameLoc { pack: 0, offset, stored_bytes, content_bytes, kind };
    assert_eq!(part.frames, [frame(100, 30, 35, FrameKind::Zstd), frame(133, 7, 7, FrameKind::Raw)]);
    let chunk = |name: &[u8], bytes, frame, at| ChunkLoc { id: ChunkId::of(name), bytes, frame, at };
    assert_eq!(part.chunks, [chunk(b"x", 10, 0, 0), chunk(b"y", 20, 0, 10), chunk(b"z", 7, 1, 0)]);
    let hash = blake3::hash(&chunk_wire().to_bytes()).to_string();
    assert_eq!(hash, VECTOR_CHUNK_HASH, "the chunk part's layout changed");
}

const VECTOR_CHUNK_HASH: &str = "066ca903ded311a6b5a2e261c4b43ce9db8ceabe3c9e67c3a17ee1b37886d7d4";

#[test]
fn the_blob_must_be_what_the_root_says() {
    let (part, stored) = seal(&tree_wire().to_bytes(), 4);
    let decode = |part: &PartRef, stored: &[u8]| TreePart::decode(part, stored).expect_err("spoiled");
    assert!(matches!(decode(&part, &stored[1..]), PartError::Size { .. }));
    let mut other = stored.clone();
    other[10] ^= 1;
    assert!(matches!(decode(&part, &other), PartError::Hash { .. }));
    let lie = |change: fn(&mut PartRef)| {
        let mut part = part.clone();
        change(&mut part);
        decode(&part, &stored)
    };
    assert!(matches!(lie(|part| part.content_bytes += 1), PartError::Zstd(_)));
    assert!(matches!(lie(|part| part.items = 5), PartError::Number { field: "count", .. }));
    assert!(matches!(lie(|part| part.content_bytes = u32::MAX), PartError::Size { .. }));
}

#[test]
fn a_bomb_is_refused_by_its_head() {
    let stored = zstd::bulk::compress(&vec![0; 64 << 20], 1).expect("compress");
    let part = PartRef {
        blob: BlobId::of(&stored),
        stored_bytes: u32::try_from(stored.len()).expect("small"),
        content_bytes: 1000,
        items: 1,
    };
    assert!(matches!(TreePart::decode(&part, &stored), Err(PartError::Zstd(ZstdError::ContentSize { .. }))));
    assert!(matches!(inspect(&stored), Err(PartError::Size { .. })));
}

#[test]
fn parts_of_later_versions_ask_for_a_newer_launcher() {
    let mut tree = tree_wire();
    tree.format = 12;
    let mut feature = tree_wire();
    feature.requires = "acl-1,xattr-1".to_owned();
    let mut kind = tree_wire();
    kind.kinds[2] = 3;
    let mut flag = tree_wire();
    flag.kinds[3] = 16;
    for wire in [tree, feature, kind, flag] {
        let error = decode_tree(&wire).expect_err("later version");
        assert!(error.to_string().contains("update the launcher"), "{error}");
    }
    let mut frame = chunk_wire();
    frame.frame_kinds = vec![1, 5];
    assert_eq!(decode_chunks(&frame), Err(PartError::Unknown { what: "frame kind", number: 5 }));
}

#[test]
fn each_lie_in_a_tree_has_its_own_refusal() {
    type Case = (&'static str, fn(&mut TreeWire), fn(&PartError) -> bool);
    let cases: [Case; 12] = [
        ("escape", |w| w.rests = "../cemptyd".to_owned(), |e| matches!(e, PartError::Path(_))),
        ("order", |w| w.rests = "b/bcemptya".to_owned(), |e| matches!(e, PartError::Tree(_))),
        ("shared too long", |w| w.shared = vec![0, 9, 2, 0], |e| matches!(e, PartError::Text("paths"))),
        ("first shares", |w| w.shared = vec![1, 2, 2, 0], |e| matches!(e, PartError::Text("paths"))),
        ("text left over", |w| w.rests.push('x'), |e| matches!(e, PartError::Text("paths"))),
        ("text cut off", |w| w.rests.truncate(9), |e| matches!(e, PartError::Text("paths"))),
        ("escaping link", |w| w.targets = "/".to_owned(), |e| matches!(e, PartError::Link { .. })),
        ("target left over", |w| w.targets.push('x'), |e| matches!(e, PartError::Text("link targets"))),
        ("bytes without chunks", |w| w.chunk_counts = vec![0, 0], |e| matches!(e, PartError::Number { .. })),
        ("chunks without bytes", |w| w.chunk_counts = vec![1, 1], |e| matches!(e, PartError::Number { .. })),
        ("size column", |w| w.sizes.push(1), |e| matches!(e, PartError::Column(_))),
        ("flag on a link", |w| w.kinds[1] |= 4, |e| matches!(e, PartError::Unknown { .. })),
    ];
    for (name, spoil, expected) in cases {
        let mut wire = tree_wire();
        spoil(&mut wire);
        let error = decode_tree(&wire).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
    }
}

#[test]
fn each_lie_about_chunks_has_its_own_refusal() {
    type Case = (&'static str, fn(&mut ChunkWire), &'static str);
    fn big(number: u32) -> Vec<u8> {
        let mut column = Vec::new();
        column::put(&mut column, u64::from(number));
        column
    }
    fn steps(list: [i64; 3]) -> Vec<u8> {
        let mut column = Vec::new();
        list.iter().for_each(|step| column::put_signed(&mut column, *step));
        column
    }
    let cases: [Case; 12] = [
        ("no such pack", |w| w.frame_packs = vec![0, 1], "pack"),
        ("before the pack", |w| w.frame_gaps = vec![1, 3], "offset"),
        ("past any pack", |w| w.frame_gaps = [big(u32::MAX), vec![0]].concat(), "offset"),
        ("empty frame", |w| w.frame_stored = vec![0, 7], "stored length"),
        ("raw of other length", |w| w.frame_stored = vec![30, 8], "stored length"),
        ("content too large", |w| w.frame_extra = [big(FRAME_CONTENT_BYTES_MAX), vec![0]].concat(), "content length"),
        ("delta", |w| w.frame_kinds = vec![2, 0], "kind (it needs bases)"),
        ("no such frame", |w| w.chunk_frames = steps([0, 0, 2]), "frame"),
        ("frame below zero", |w| w.chunk_frames = steps([-1, 0, 0]), "frame"),
        ("unused frame", |w| w.chunk_frames = steps([0, 0, 0]), "use (none)"),
        ("empty chunk", |w| w.chunk_bytes = vec![0, 20, 7], "length"),
        ("chunk too large", |w| w.chunk_bytes = [big(CHUNK_BYTES_MAX + 1), vec![20, 7]].concat(), "length"),
    ];
    for (name, spoil, expected) in cases {
        let mut wire = chunk_wire();
        spoil(&mut wire);
        match decode_chunks(&wire).expect_err(name) {
            PartError::Number { field, .. } => assert_eq!(field, expected, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let mut stray = chunk_wire();
    stray.packs.extend_from_slice(&[0; 32]);
    assert!(matches!(decode_chunks(&stray), Err(PartError::Number { what: "pack", .. })), "unused pack");
}

#[test]
fn inspect_tells_the_two_kinds_apart() {
    let (_, tree) = seal(&tree_wire().to_bytes(), 0);
    assert!(matches!(inspect(&tree), Ok(AnyPart::Tree(part)) if part.entries.len() == 4));
    let (_, chunks) = seal(&chunk_wire().to_bytes(), 0);
    assert!(matches!(inspect(&chunks), Ok(AnyPart::Chunks(part)) if part.chunks.len() == 3));
    assert!(inspect(b"something else").is_err());
}

#[test]
fn parts_must_add_up_to_their_component() {
    use penstock_core::id::{AccessGroup, ComponentName};
    use penstock_core::manifest::Component;
    let mut tree = decode_tree(&tree_wire()).expect("good");
    tree.entries[0].kind = EntryKind::File { executable: false, bytes: 37, chunks: 3, launch: false };
    let chunks = decode_chunks(&chunk_wire()).expect("good");
    let good = Component {
        name: ComponentName::base(),
        group: AccessGroup::base(),
        optional: false,
        tree: Vec::new(),
        chunks: Vec::new(),
        entry_count: 4,
        content_bytes: 37,
        chunk_count: 3,
    };
    let run = |tree: &TreePart, component: &Component| {
        let mut check = ComponentCheck::default();
        check.tree(tree)?;
        check.chunks(&chunks)?;
        check.finish(component)
    };
    assert_eq!(run(&tree, &good), Ok(()));
    assert_eq!(run(&tree, &Component { entry_count: 5, ..good.clone() }), Err(ComponentError::Sums("entries")));
    assert_eq!(run(&tree, &Component { content_bytes: 1, ..good.clone() }), Err(ComponentError::Sums("content sizes")));
    assert_eq!(run(&tree, &Component { chunk_count: 4, ..good.clone() }), Err(ComponentError::Sums("chunks")));
    for (bytes, chunks, expected) in [
        (36, 3, ComponentError::FileSize(0)),
        (38, 3, ComponentError::FileSize(0)),
        (30, 2, ComponentError::StrayChunks),
        (40, 4, ComponentError::Sums("content sizes")),
    ] {
        let mut tree = tree.clone();
        tree.entries[0].kind = EntryKind::File { executable: false, bytes, chunks, launch: false };
        assert_eq!(run(&tree, &good), Err(expected));
    }
    assert!(matches!(run(&TreePart { entries: Vec::new() }, &good), Err(ComponentError::StrayChunks)));
}

proptest! {
    #[test]
    fn hostile_messages_never_panic(content in proptest::collection::vec(any::<u8>(), 0..400), items in 0u32..50) {
        let (part, stored) = seal(&content, items);
        let _ = TreePart::decode(&part, &stored);
        let _ = ChunkPart::decode(&part, &stored);
        let _ = inspect(&content);
    }

    #[test]
    fn damaged_messages_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        for mut content in [tree_wire().to_bytes(), chunk_wire().to_bytes()] {
            let at = at.index(content.len());
            content[at] = value;
            let (part, stored) = seal(&content, 4);
            let _ = TreePart::decode(&part, &stored);
            let _ = inspect(&stored);
        }
    }
}
