//! Manifest parts: any content of a part is refused or obeys every bound that the installer relies on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_core::path::InstallPath;
use penstock_frames::part::{AnyPart, ChunkPart, EntryKind, TreePart, inspect};

fuzz_target!(|data: &[u8]| {
    // The stored bytes as they are, and wrapped so that the fuzzer need not invent zstd.
    if let Ok(part) = inspect(data) {
        check(&part);
    }
    if let Ok(stored) = zstd::bulk::compress(data, 1)
        && let Ok(part) = inspect(&stored)
    {
        check(&part);
    }
});

fn check(part: &AnyPart) {
    match part {
        AnyPart::Tree(tree) => check_tree(tree),
        AnyPart::Chunks(chunks) => check_chunks(chunks),
    }
}

fn check_tree(tree: &TreePart) {
    for entry in &tree.entries {
        let path = entry.path.as_str();
        assert!(InstallPath::new(path).is_ok() && !path.starts_with('/') && !path.contains('\\'));
        assert!(entry.path.parts().all(|part| !matches!(part, "" | "." | "..")));
        if let EntryKind::File { bytes, chunks, .. } = entry.kind {
            assert_eq!(bytes == 0, chunks == 0, "an empty file has no chunks and others have some");
        }
    }
}

fn check_chunks(part: &ChunkPart) {
    for frame in &part.frames {
        assert!((frame.pack as usize) < part.packs.len());
        assert!(frame.offset.checked_add(u64::from(frame.stored_bytes)).is_some());
    }
    for chunk in &part.chunks {
        let frame = &part.frames[chunk.frame as usize];
        assert!(u64::from(chunk.at) + u64::from(chunk.bytes) <= u64::from(frame.content_bytes));
        assert!(chunk.bytes > 0);
    }
}
