//! `Repr-Digest` when it is wanted (RFC 9530): SHA-256 of the whole blob, whatever part of it is sent.
//!
//! The registry has no BLAKE3 entry; the BLAKE3 name is the `ETag`. It must not hash: `shelf` gets the digest from the
//! store, which computes it once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// Whether `Want-Repr-Digest` lines ask for SHA-256: its preference is the highest that we know, and above 0.
///
/// The field is a dictionary of integers (RFC 9530, section 4; RFC 8941, section 3.2). Of a repeated key the last
/// counts; a member that is no integer from 0 to 10 is malformed and leaves nothing wanted.
pub(crate) fn wants_sha256<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> bool {
    let mut wanted = false;
    for line in lines {
        let Ok(text) = line.to_str() else { return false };
        for member in text.split(',') {
            let (key, value) = member.split_once('=').unwrap_or((member, ""));
            // Parameters of a member mean nothing here.
            let value = value.split(';').next().unwrap_or("").trim();
            if key.trim() == "sha-256" {
                match value.parse::<u8>() {
                    Ok(preference @ 0..=10) => wanted = preference > 0,
                    _ => return false,
                }
            }
        }
    }
    wanted
}

/// The value of `Repr-Digest`: the digest as a byte sequence (RFC 8941, section 3.3.5).
pub(crate) fn repr_digest(sha256: &[u8; 32]) -> HeaderValue {
    HeaderValue::try_from(format!("sha-256=:{}:", STANDARD.encode(sha256))).expect("base64 is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(lines: &[&'static str]) -> bool {
        let lines: Vec<_> = lines.iter().map(|line| HeaderValue::from_static(line)).collect();
        wants_sha256(&lines)
    }

    #[test]
    fn preferences() {
        assert!(!wants(&[]));
        assert!(wants(&["sha-256=1"]), "RFC 9530, appendix C.1");
        assert!(wants(&["sha-512=3, sha-256=10, unixsum=0"]), "RFC 9530, section 4");
        assert!(wants(&["sha-512=3", "sha-256=10;x=1"]));
        assert!(!wants(&["sha-512=3"]));
        assert!(!wants(&["sha-256=0"]));
        assert!(!wants(&["sha-256=1, sha-256=0"]));
        for malformed in ["sha-256", "sha-256=11", "sha-256=a", "sha-256=", "sha-256=1.5", "sha-256=-1", "SHA-256=1"] {
            assert!(!wants(&[malformed]), "{malformed}");
        }
    }

    #[test]
    fn the_value_is_a_byte_sequence() {
        assert_eq!(repr_digest(&[0; 32]), "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:");
    }
}
