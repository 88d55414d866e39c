//! The PROXY protocol, versions 1 and 2: who the client behind a load balancer is.
//!
//! Only for peers that the config trusts; the caller bounds the time. It reads exactly the header and not a byte more,
//! so that TLS or HTTP finds the stream untouched.

use ppp::{HeaderResult, v1, v2};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest version 1 line, by the protocol's section 2.1.
const V1_BYTES_MAX: usize = 107;
/// Longest version 2 header taken: addresses and a few extensions. The format would allow 64 KiB.
const V2_BYTES_MAX: usize = 4096;
/// Every header is at least as long as version 2's signature.
const SIGNATURE_BYTES: usize = v2::PROTOCOL_PREFIX.len();
/// Version 2's signature, command, family and length.
const V2_HEAD_BYTES: usize = SIGNATURE_BYTES + 4;

/// Why a connection from a trusted proxy is closed.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The stream ended or failed.
    #[error("the connection ended inside the PROXY header")]
    Io(#[from] io::Error),
    /// Not a header of either version.
    #[error("the connection does not start with a PROXY header")]
    Malformed,
    /// Its addresses belong to another transport than TCP.
    #[error("the PROXY header is not about a TCP connection")]
    Transport,
    /// An extension (TLV) is longer than what is left of the header.
    #[error("an extension reaches beyond the PROXY header")]
    Extension,
    /// Longer than is taken.
    #[error("the PROXY header has {0} bytes, too many")]
    TooLong(usize),
}

/// Source and destination as a trusted proxy reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    /// The client.
    pub source: SocketAddr,
    /// The address it connected to.
    pub destination: SocketAddr,
}

/// Reads one header. `None` means that the proxy speaks for itself (a health check) or does not know.
///
/// # Errors
/// The stream's end or failure, a header that is none, or one that is too long.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<Proxied>, ProxyError> {
    let mut header = vec![0; SIGNATURE_BYTES];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        read_v2_rest(stream, &mut header).await?;
    } else if header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        read_v1_rest(stream, &mut header).await?;
    } else {
        return Err(ProxyError::Malformed);
    }
    parse(&header)
}

/// What a complete header says.
///
/// # Errors
/// [`ProxyError::Malformed`], [`ProxyError::Transport`], [`ProxyError::Extension`].
pub fn parse(header: &[u8]) -> Result<Option<Proxied>, ProxyError> {
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(ip) => {
                proxied(ip.source_address.into(), ip.source_port, ip.destination_address.into(), ip.destination_port)
            }
            v1::Addresses::Tcp6(ip) => {
                proxied(ip.source_address.into(), ip.source_port, ip.destination_address.into(), ip.destination_port)
            }
        }),
        HeaderResult::V2(Ok(header)) if is_foreign(&header) => Err(ProxyError::Transport),
        // With LOCAL all that follows is to be ignored, whatever it is (section 2.2).
        HeaderResult::V2(Ok(header))
            if header.command == v2::Command::Proxy && header.tlvs().any(|tlv| tlv.is_err()) =>
        {
            Err(ProxyError::Extension)
        }
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (v2::Command::Local, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
            (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => {
                proxied(ip.source_address.into(), ip.source_port, ip.destination_address.into(), ip.destination_port)
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => {
                proxied(ip.source_address.into(), ip.source_port, ip.destination_address.into(), ip.destination_port)
            }
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(ProxyError::Malformed),
    }
}

/// Whether a header gives internet addresses of a connection that is none over TCP, which cannot be what we accepted.
fn is_foreign(header: &v2::Header<'_>) -> bool {
    let is_internet = matches!(header.addresses, v2::Addresses::IPv4(_) | v2::Addresses::IPv6(_));
    header.command == v2::Command::Proxy && is_internet && header.protocol != v2::Protocol::Stream
}

#[expect(clippy::unnecessary_wraps, reason = "every arm of the matches above is an Option")]
const fn proxied(source: IpAddr, source_port: u16, destination: IpAddr, destination_port: u16) -> Option<Proxied> {
    Some(Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

async fn read_v2_rest<S: AsyncRead + Unpin>(stream: &mut S, header: &mut Vec<u8>) -> Result<(), ProxyError> {
    header.resize(V2_HEAD_BYTES, 0);
    stream.read_exact(&mut header[SIGNATURE_BYTES..]).await?;
    let rest = usize::from(u16::from_be_bytes([header[V2_HEAD_BYTES - 2], header[V2_HEAD_BYTES - 1]]));
    if V2_HEAD_BYTES + rest > V2_BYTES_MAX {
        return Err(ProxyError::TooLong(V2_HEAD_BYTES + rest));
    }
    header.resize(V2_HEAD_BYTES + rest, 0);
    stream.read_exact(&mut header[V2_HEAD_BYTES..]).await?;
    Ok(())
}

/// Version 1 ends with a line break and has no length: byte by byte, so that nothing behind it is taken.
async fn read_v1_rest<S: AsyncRead + Unpin>(stream: &mut S, header: &mut Vec<u8>) -> Result<(), ProxyError> {
    while !header.ends_with(v1::PROTOCOL_SUFFIX.as_bytes()) {
        if header.len() >= V1_BYTES_MAX {
            return Err(ProxyError::TooLong(header.len()));
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V2_IPV4: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\x00\x02\x07\x0a\x00\x00\x01\x1f\x90\x01\xbb";

    /// Reads a header and says what is left of the stream.
    fn read_all(bytes: &[u8]) -> (Result<Option<Proxied>, ProxyError>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut stream = bytes;
        let read = runtime.block_on(read(&mut stream));
        (read, stream.len())
    }

    fn proxied(source: &str, destination: &str) -> Proxied {
        Proxied { source: source.parse().expect("address"), destination: destination.parse().expect("address") }
    }

    #[test]
    fn both_versions_are_read_and_nothing_behind_them() {
        let (read, left) = read_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 443\r\nGET /");
        assert_eq!(read.expect("a header"), Some(proxied("192.0.2.7:8080", "10.0.0.1:443")));
        assert_eq!(left, 5);
        let (read, left) = read_all(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n");
        assert_eq!(read.expect("a header"), Some(proxied("[2001:db8::1]:1", "[2001:db8::2]:2")));
        assert_eq!(left, 0);
        let (read, left) = read_all(&[V2_IPV4, b"\x16\x03"].concat());
        assert_eq!(read.expect("a header"), Some(proxied("192.0.2.7:8080", "10.0.0.1:443")));
        assert_eq!(left, 2);
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_keeps_its_address() {
        assert_eq!(read_all(b"PROXY UNKNOWN\r\n").0.expect("a header"), None);
        assert_eq!(read_all(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").0.expect("a header"), None);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        assert!(matches!(read_all(b"GET / HTTP/1.1\r\n\r\n").0, Err(ProxyError::Malformed)));
        assert!(matches!(read_all(b"PROXY TCP4 nobody\r\n").0, Err(ProxyError::Malformed)));
        assert!(matches!(read_all(b"PROXY TC").0, Err(ProxyError::Io(_))));
        let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        assert!(matches!(read_all(&endless).0, Err(ProxyError::TooLong(V1_BYTES_MAX))));
        assert!(matches!(read_all(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff").0, Err(ProxyError::TooLong(65_551))));
    }

    /// A version 2 header: command, family and transport, then `rest`.
    fn v2_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    #[test]
    fn only_tcp_is_taken_from_version_2() {
        const LOCAL: u8 = 0x20;
        const PROXY: u8 = 0x21;
        for (family, bytes) in [(0x10, 12), (0x20, 36)] {
            for transport in 0..=2 {
                let read = |command| read_all(&v2_header(command, family | transport, &vec![1; bytes])).0;
                match (transport, read(PROXY)) {
                    (1, Ok(Some(_))) | (0 | 2, Err(ProxyError::Transport)) => {}
                    (_, other) => panic!("family and transport {:#04x}: {other:?}", family | transport),
                }
                assert_eq!(read(LOCAL).expect("whatever it is about"), None);
            }
        }
        // The proxy does not know, or its client came over a Unix socket: its own address stands.
        for (family, bytes) in [(0x00, 0), (0x31, 216)] {
            assert_eq!(
                read_all(&v2_header(PROXY, family, &vec![0; bytes])).0.expect("a header"),
                None,
                "{family:#04x}"
            );
        }
    }

    #[test]
    fn extensions_must_fit_into_their_header() {
        let read = |command, tlvs: &[u8]| read_all(&v2_header(command, 0x11, &[&V2_IPV4[16..], tlvs].concat())).0;
        let fits: [&[u8]; 4] = [&[], &[4, 0, 0], &[4, 0, 2, 9, 9], &[4, 0, 1, 9, 2, 0, 1, b'h']];
        for tlvs in fits {
            assert_eq!(
                read(0x21, tlvs).expect("a header"),
                Some(proxied("192.0.2.7:8080", "10.0.0.1:443")),
                "{tlvs:?}"
            );
        }
        let wrong: [&[u8]; 5] = [&[4], &[4, 0], &[4, 0xff, 0xff, 9, 9], &[4, 0, 3, 9, 9], &[4, 0, 0, 9]];
        for tlvs in wrong {
            assert!(matches!(read(0x21, tlvs), Err(ProxyError::Extension)), "{tlvs:?}");
            assert_eq!(read(0x20, tlvs).expect("ignored"), None, "{tlvs:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_read_past_the_bound(bytes in proptest::collection::vec(any::<u8>(), 0..300), v2: bool) {
            let prefix: &[u8] = if v2 { v2::PROTOCOL_PREFIX } else { b"PROXY TCP4 1" };
            let stream = [prefix, &bytes].concat();
            let (_, left) = read_all(&stream);
            prop_assert!(stream.len() - left <= V2_BYTES_MAX);
        }
    }
}
