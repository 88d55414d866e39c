//! Envelopes and what they carry: decoding is total, and what decodes has exactly one encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_core::envelope::{Envelope, Purpose};
use penstock_core::keys::TrustSet;
use penstock_core::manifest::Root;
use penstock_core::sign::SecretKey;
use penstock_core::statement::{Delegation, Head, Rotation};

fuzz_target!(|data: &[u8]| {
    if let Ok(envelope) = Envelope::decode(data) {
        assert_eq!(envelope.encode(), data, "an envelope has one encoding");
        let trust = TrustSet::single(SecretKey::from_seed(&[7; 32]).public());
        for purpose in [Purpose::Manifest, Purpose::Delegation, Purpose::Head, Purpose::Rotation] {
            // Nobody outside knows this key, so nothing that a fuzzer makes up may pass.
            assert!(envelope.verify(purpose, &trust).is_err());
        }
        check_payload(envelope.unverified_payload());
    }
    check_payload(data);
});

/// Payloads may hold unknown fields, so the first decoding may lose bytes; from then on nothing changes.
fn check_payload(payload: &[u8]) {
    if let Ok(head) = Head::decode(payload) {
        assert_eq!(Head::decode(&head.encode()), Ok(head));
    }
    if let Ok(delegation) = Delegation::decode(payload) {
        assert_eq!(Delegation::decode(&delegation.encode()), Ok(delegation));
    }
    if let Ok(rotation) = Rotation::decode(payload) {
        assert_eq!(Rotation::decode(&rotation.encode()), Ok(rotation));
    }
    if let Ok(root) = Root::decode(payload) {
        assert_eq!(Root::decode(&root.encode()).ok().as_ref(), Some(&root));
        assert!(root.parts().count() as u64 <= u64::from(u32::MAX));
    }
}
