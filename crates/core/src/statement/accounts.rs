//! The word of control's channel key for a snapshot of accounts.
//!
//! | field | notice |
//! |---|---|
//! | 1 | blob, a hash |
//! | 2 | sequence: the last change that it holds |
//! | 3 | issued |
//! | 4 | accounts in it |
//! | 5 | *requires* |

use super::{StatementError, check_features, check_sequence, decode};
use crate::blob::BlobId;
use crate::envelope::{Envelope, EnvelopeError, Purpose, SignatureError};
use crate::keys::{PublicKey, TrustSet};
use crate::sign::{SecretKey, seal};
use crate::time::UnixSeconds;
use prost::Message as _;

/// What a snapshot of accounts is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountsNotice {
    /// Where it lies.
    pub blob: BlobId,
    /// Number of the last change that it holds.
    pub sequence: u64,
    /// When it was made.
    pub issued: UnixSeconds,
    /// How many accounts there are.
    pub accounts: u64,
}

/// A notice that the channel key signed. Made by [`AccountsNotice::verify`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedAccounts(AccountsNotice);

/// Why a notice is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    /// No envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Not signed by the key.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Not a notice.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// It is of another snapshot than the change that brought it.
    #[error("the notice is of another snapshot than the change that brought it")]
    Other,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    blob: Vec<u8>,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(uint64, tag = "3")]
    issued: u64,
    #[prost(uint64, tag = "4")]
    accounts: u64,
    #[prost(string, repeated, tag = "5")]
    requires: Vec<String>,
}

impl AccountsNotice {
    /// The signed form, as [`crate::catalog::CatalogChange::AccountsSnapshot`] carries it.
    #[must_use]
    pub fn sign(&self, key: &SecretKey) -> Vec<u8> {
        let wire = Wire {
            blob: self.blob.as_bytes().to_vec(),
            sequence: self.sequence,
            issued: self.issued.0,
            accounts: self.accounts,
            requires: Vec::new(),
        };
        seal(Purpose::Accounts, wire.encode_to_vec(), &[key]).encode()
    }

    /// Checks that `key` signed a notice of this blob and number.
    ///
    /// # Errors
    /// [`NoticeError`].
    pub fn verify(notice: &[u8], key: PublicKey, blob: BlobId, sequence: u64) -> Result<VerifiedAccounts, NoticeError> {
        let envelope = Envelope::decode(notice)?;
        let payload = envelope.verify(Purpose::Accounts, &TrustSet::single(key))?;
        let wire: Wire = decode(payload.bytes())?;
        check_features(&wire.requires)?;
        check_sequence(wire.sequence)?;
        let found = Self {
            blob: BlobId::from_slice(&wire.blob).ok_or(StatementError::Hash("snapshot's name"))?,
            sequence: wire.sequence,
            issued: UnixSeconds(wire.issued),
            accounts: wire.accounts,
        };
        if (found.blob, found.sequence) != (blob, sequence) {
            return Err(NoticeError::Other);
        }
        Ok(VerifiedAccounts(found))
    }
}

impl VerifiedAccounts {
    /// What was signed.
    #[must_use]
    pub const fn notice(&self) -> &AccountsNotice {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_holds_for_its_key_its_blob_and_its_number() {
        let key = SecretKey::from_seed(&[1; 32]);
        let blob = BlobId::of(b"accounts");
        let notice = AccountsNotice { blob, sequence: 7, issued: UnixSeconds(5), accounts: 3 };
        let signed = notice.sign(&key);
        let verify = |key: &SecretKey, blob, sequence| AccountsNotice::verify(&signed, key.public(), blob, sequence);
        assert_eq!(verify(&key, blob, 7).map(|verified| *verified.notice()), Ok(notice));
        assert_eq!(verify(&key, BlobId::of(b"other"), 7), Err(NoticeError::Other));
        assert_eq!(verify(&key, blob, 8), Err(NoticeError::Other));
        let stranger = SecretKey::from_seed(&[2; 32]);
        assert!(matches!(verify(&stranger, blob, 7), Err(NoticeError::Signature(SignatureError::Threshold { .. }))));
        // A head by the same key is no notice.
        let payload = Envelope::decode(&signed).expect("an envelope").unverified_payload().to_vec();
        let head = seal(Purpose::Head, payload, &[&key]).encode();
        let refused = AccountsNotice::verify(&head, key.public(), blob, 7);
        assert!(matches!(refused, Err(NoticeError::Signature(SignatureError::Purpose { .. }))));
    }

    #[test]
    fn the_layout_is_frozen() {
        let key = SecretKey::from_seed(&[1; 32]);
        let notice = AccountsNotice { blob: BlobId::of(b"m"), sequence: 7, issued: UnixSeconds(1000), accounts: 5 };
        let payload = Envelope::decode(&notice.sign(&key)).expect("an envelope").unverified_payload().to_vec();
        assert_eq!((&payload[..2], &payload[34..]), (&b"\x0a\x20"[..], &b"\x10\x07\x18\xe8\x07\x20\x05"[..]));
        let restricted = [payload.as_slice(), b"\x2a\x01x"].concat();
        let restricted = seal(Purpose::Accounts, restricted, &[&key]).encode();
        let refused = AccountsNotice::verify(&restricted, key.public(), notice.blob, 7);
        assert_eq!(refused, Err(NoticeError::Statement(StatementError::Requires("x".to_owned()))));
    }
}
