//! Request targets and conditional headers: any text is refused or understood, never more than it says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_core::blob::BlobId;
use penstock_core::conditional::{Conditions, Precondition, Tag, evaluate};
use penstock_core::limits::TARGET_BYTES_MAX;
use penstock_core::request::{Method, Target};

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    if let (Ok(path), Ok(query)) = (std::str::from_utf8(line()), std::str::from_utf8(line())) {
        check_target(path, query);
    }
    check_conditions([line(), line(), line()]);
});

fn check_target(path: &str, query: &str) {
    let Ok(target) = Target::parse(path, Some(query)) else { return };
    assert!(path.len() + query.len() < TARGET_BYTES_MAX);
    assert!(target.takes(Method::Get) != target.takes(Method::Post));
    assert!(!target.allow().is_empty());
    // A personal name never shows in a log line.
    if let Target::Channel { install: Some(install), .. } = &target {
        assert_eq!(format!("{install:?}"), "InstallId(****)");
    }
    if let Target::Blob(blob) = target {
        assert_eq!(path, format!("/v1/blobs/{blob}"));
    }
}

fn check_conditions([if_match, if_none_match, if_range]: [&[u8]; 3]) {
    let tag = Tag::of_blob(BlobId::of(b"fuzz"));
    let some = |line: &'static [u8]| Some(line);
    let all = Conditions {
        if_match: Some(if_match).filter(|line| !line.is_empty()),
        if_none_match: Some(if_none_match).filter(|line| !line.is_empty()),
        if_range: Some(if_range).filter(|line| !line.is_empty()),
    };
    let verdict = evaluate(&tag, all);
    // Only text that holds the tag itself (or a star) can claim to have the bytes.
    let holds = |line: &[u8]| {
        line.contains(&b'*') || line.windows(tag.quoted().len()).any(|window| window == tag.quoted().as_bytes())
    };
    assert!(verdict != Precondition::NotModified || holds(if_none_match));
    assert!(verdict == Precondition::Failed || if_match.is_empty() || holds(if_match));
    let none = Conditions { if_match: None, if_none_match: some(b"*"), if_range: None };
    assert_eq!(evaluate(&tag, none), Precondition::NotModified);
}
