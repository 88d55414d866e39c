//! TLS 1.3 records sealed straight from the map: AES-GCM reads the plaintext where it lies and writes the record.
//!
//! rustls copies a record's plaintext into the record's buffer and encrypts it there. A window of a map is read from
//! memory by that copy, and once more by the cipher; here the cipher reads it alone. Only sealing differs: everything
//! else is the provider's own, the cipher included (aws-lc's, by way of `TlsRecordSealingKey`).
//!
//! Source: RFC 8446, sections 5.2 (records) and 5.3 (nonces).

use aws_lc_rs::aead::{self, Aad, TlsProtocolId, TlsRecordSealingKey};
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, Nonce, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm, UnsupportedOperationError, make_tls13_aad,
};
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, SupportedCipherSuite, Tls13CipherSuite,
};

/// Bytes of an AES-GCM tag.
const TAG_BYTES: usize = 16;
/// A TLS 1.3 record's plaintext ends with its inner content type.
const TYPE_BYTES: usize = 1;

/// The same suite with records sealed here; suites that are not AES-GCM of TLS 1.3 come back as they are.
///
/// What is made lives as long as the process: call it once for each suite.
pub(super) fn sealed_from_the_map(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls13(theirs) = suite else { return suite };
    let algorithm = match theirs.common.suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => &aead::AES_128_GCM,
        CipherSuite::TLS13_AES_256_GCM_SHA384 => &aead::AES_256_GCM,
        _ => return suite,
    };
    let aead_alg: &'static Algorithm = Box::leak(Box::new(Algorithm { theirs: theirs.aead_alg, algorithm }));
    let ours = Tls13CipherSuite {
        common: rustls::crypto::CipherSuiteCommon {
            suite: theirs.common.suite,
            hash_provider: theirs.common.hash_provider,
            confidentiality_limit: theirs.common.confidentiality_limit,
        },
        hkdf_provider: theirs.hkdf_provider,
        aead_alg,
        quic: theirs.quic,
    };
    SupportedCipherSuite::Tls13(Box::leak(Box::new(ours)))
}

struct Algorithm {
    theirs: &'static dyn Tls13AeadAlgorithm,
    algorithm: &'static aead::Algorithm,
}

impl Tls13AeadAlgorithm for Algorithm {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        match TlsRecordSealingKey::new(self.algorithm, TlsProtocolId::TLS13, key.as_ref()) {
            Ok(key) => Box::new(Sealer { key, iv }),
            // Only a key of another length is refused, and rustls asks for the length first.
            Err(_) => self.theirs.encrypter(key, iv),
        }
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.theirs.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.theirs.key_len()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.theirs.extract_keys(key, iv)
    }
}

struct Sealer {
    key: TlsRecordSealingKey,
    iv: Iv,
}

impl MessageEncrypter for Sealer {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let length = message.payload.len();
        let total = self.encrypted_payload_len(length);
        let nonce = aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, seq).0);
        let aad = Aad::from(make_tls13_aad(total));
        let mut record = PrefixedPayload::with_capacity(total);
        let kind = message.typ.to_array();
        let sealed = if let Some(plain) = in_one_piece(&message.payload) {
            record.extend_from_slice(&ZEROS[..total.min(ZEROS.len())]);
            let (text, rest) = record.as_mut().split_at_mut_checked(length).ok_or(Error::EncryptError)?;
            self.key.seal_out_of_place_scatter(nonce, aad, plain, text, &kind, rest)
        } else {
            record.extend_from_chunks(&message.payload);
            record.extend_from_slice(&kind);
            self.key.seal_in_place_append_tag(nonce, aad, &mut record)
        };
        sealed.map_err(|_| Error::EncryptError)?;
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, record))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + TYPE_BYTES + TAG_BYTES
    }
}

/// What a record's buffer is first filled with: safe code hands over no memory that was never written.
static ZEROS: [u8; RECORD_BYTES_MAX + TYPE_BYTES + TAG_BYTES] = [0; RECORD_BYTES_MAX + TYPE_BYTES + TAG_BYTES];
/// Most plaintext of a record.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// The plaintext, unless it is spread over several slices (a response's head and its body in one record).
fn in_one_piece<'a>(payload: &OutboundChunks<'a>) -> Option<&'a [u8]> {
    match *payload {
        OutboundChunks::Single(plain) => Some(plain),
        OutboundChunks::Multiple { chunks, start, end } => {
            let mut before = 0;
            for chunk in chunks {
                if start < before + chunk.len() {
                    return chunk.get(start - before..end.checked_sub(before)?);
                }
                before += chunk.len();
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_inside_one_slice_is_found() {
        let (head, body): (&[u8], &[u8]) = (b"head", b"the body");
        let chunks = [head, body];
        let piece = |start, end| in_one_piece(&OutboundChunks::Multiple { chunks: &chunks, start, end });
        assert_eq!(piece(0, 4), Some(head));
        assert_eq!(piece(4, 12), Some(body));
        assert_eq!(piece(5, 7), Some(&b"he"[..]));
        assert_eq!(piece(3, 5), None, "it needs both");
        assert_eq!(piece(12, 12), None);
        assert_eq!(in_one_piece(&OutboundChunks::Single(body)), Some(body));
    }

    #[test]
    fn other_suites_are_left_alone() {
        use rustls::crypto::aws_lc_rs::cipher_suite::{
            TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256,
        };
        for suite in [TLS13_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256] {
            assert_eq!(sealed_from_the_map(suite), suite);
        }
        let ours = sealed_from_the_map(TLS13_AES_128_GCM_SHA256);
        assert_eq!(ours.suite(), TLS13_AES_128_GCM_SHA256.suite());
    }

    /// Records of every interesting length, in one slice and in two, open with the provider's own decrypter.
    #[test]
    fn what_is_sealed_here_is_opened_by_the_provider() {
        use rustls::crypto::aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
        for theirs in [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384] {
            let ours = sealed_from_the_map(theirs).tls13().expect("a suite of TLS 1.3").aead_alg;
            let key = || AeadKey::from([7_u8; 32]);
            if ours.key_len() != 32 {
                // `AeadKey` has no public way to be shorter: connections of the tests in `doors` use this suite.
                continue;
            }
            let iv = || Iv::copy(&[9; 12]);
            let (mut sealer, mut opener) = (ours.encrypter(key(), iv()), ours.decrypter(key(), iv()));
            for (seq, length) in (0..).zip([1, 15, 16, 17, 1000, 16_367, RECORD_BYTES_MAX]) {
                let text: Vec<u8> = (0..=250).cycle().take(length).collect();
                for (seq, payload) in [
                    (2 * seq, OutboundChunks::Single(&text)),
                    (2 * seq + 1, OutboundChunks::new(&[&text[..1], &text[1..]])),
                ] {
                    let message = OutboundPlainMessage {
                        typ: ContentType::ApplicationData,
                        version: ProtocolVersion::TLSv1_3,
                        payload,
                    };
                    let mut record = sealer.encrypt(message, seq).expect("sealed").encode();
                    let inbound = rustls::crypto::cipher::InboundOpaqueMessage::new(
                        ContentType::ApplicationData,
                        ProtocolVersion::TLSv1_2,
                        &mut record[5..],
                    );
                    let opened = opener.decrypt(inbound, seq).expect("opens");
                    assert_eq!((opened.typ, opened.payload), (ContentType::ApplicationData, &text[..]), "{length}");
                }
            }
        }
    }
}
