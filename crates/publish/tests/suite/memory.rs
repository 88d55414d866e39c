//! The publisher's memory does not grow with the build.

use crate::common::*;
use penstock_core::api::{
    ChannelsAnswer, MoveChannel, RegisterRelease, ReleasesAnswer, ReuseAnswer, ReuseQuestion, SigningAnswer,
};
use penstock_core::blob::BlobId;
use penstock_core::id::{ChannelName, ProductId};
use penstock_publish::{Content, Registry, RegistryError, Silent, publish};
use std::io::Write as _;

/// A node that forgets everything: what it kept would count as ours.
struct Forgetful;

impl Registry for Forgetful {
    fn signing(&self, _: &ProductId) -> Result<SigningAnswer, RegistryError> {
        Ok(SigningAnswer {
            channel_key: key().public(),
            delegation_sequence: 0,
            delegated: String::new(),
            delegation_expires: None,
            publisher: String::new(),
        })
    }
    fn releases(&self, _: &ProductId) -> Result<ReleasesAnswer, RegistryError> {
        Ok(ReleasesAnswer { releases: Vec::new() })
    }
    fn channels(&self, _: &ProductId) -> Result<ChannelsAnswer, RegistryError> {
        Ok(ChannelsAnswer { channels: Vec::new() })
    }
    fn read_blob(&self, _: &BlobId, _: u64) -> Result<Vec<u8>, RegistryError> {
        Err(RegistryError::Answer("nothing is kept".to_owned()))
    }
    fn missing(&self, blobs: &[BlobId]) -> Result<Vec<BlobId>, RegistryError> {
        Ok(blobs.to_vec())
    }
    fn reuse(&self, _: &ProductId, _: &ReuseQuestion) -> Result<ReuseAnswer, RegistryError> {
        Ok(ReuseAnswer { limited: false, unfit: Vec::new() })
    }
    fn put_blob(&self, _: &BlobId, _: Content<'_>) -> Result<(), RegistryError> {
        Ok(())
    }
    fn register(&self, _: &ProductId, _: &RegisterRelease) -> Result<(), RegistryError> {
        Ok(())
    }
    fn move_channel(&self, _: &ProductId, _: &ChannelName, _: &MoveChannel) -> Result<(), RegistryError> {
        Ok(())
    }
}

const BUILD_BYTES: u64 = 320 << 20;

/// Runs in a process of its own, so that the peak is this publish's alone. Two thirds of the build
/// compress, one third does not.
#[test]
fn peak_memory_is_far_below_the_builds_size() {
    const MARKER: &str = "PENSTOCK_TEST_MEMORY";
    if std::env::var_os(MARKER).is_none() {
        let output = run_alone("memory::peak_memory_is_far_below_the_builds_size", MARKER, None);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    let dir = tempfile::tempdir().expect("dir");
    let mut file = std::fs::File::create(dir.path().join("pak")).expect("file");
    let piece = 1 << 20;
    for number in 0..BUILD_BYTES / piece {
        let mut bytes = noise(number, usize::try_from(piece).expect("small"));
        if number % 3 != 0 {
            bytes.iter_mut().for_each(|byte| *byte &= 0x11);
        }
        file.write_all(&bytes).expect("write");
    }
    drop(file);
    let report = publish(request(dir.path(), "1"), &Forgetful, &Silent).expect("published");
    assert_eq!(report.new_content_bytes, BUILD_BYTES);
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("peak");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    assert!(kib < 128 << 10, "peak memory was {} MiB", kib >> 10);
}
