//! A network in CIDR notation: parsing and membership, nothing else.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// All addresses that share a prefix. IPv4 addresses mapped into IPv6 (`::ffff:a.b.c.d`) count as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// Why a text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not `ADDRESS` or `ADDRESS/BITS`.
    #[error("is not an address or ADDRESS/BITS")]
    Shape,
    /// More bits than the address has.
    #[error("has more prefix bits than its address family ({0})")]
    Bits(u8),
    /// Bits behind the prefix are set, so that it is unclear what was meant.
    #[error("has bits set behind its prefix")]
    HostBits,
}

impl Network {
    /// Whether `address` is in this network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (u32::from(network) ^ u32::from(address)).checked_shr(32 - u32::from(self.prefix_bits)).unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = u128::from(network) ^ u128::from(address);
                differing.checked_shr(128 - u32::from(self.prefix_bits)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Shape)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => most,
            Some(bits) => bits.parse().map_err(|_| NetworkError::Shape)?,
        };
        if prefix_bits > most {
            return Err(NetworkError::Bits(most));
        }
        let host_bits = match address {
            IpAddr::V4(v4) => u32::from(v4).checked_shl(u32::from(prefix_bits)).unwrap_or(0) != 0,
            IpAddr::V6(v6) => u128::from(v6).checked_shl(u32::from(prefix_bits)).unwrap_or(0) != 0,
        };
        if host_bits {
            return Err(NetworkError::HostBits);
        }
        Ok(Self { address, prefix_bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix_bits)
    }
}

/// The part of an address that stands for one peer: all of an IPv4 address, the /64 of an IPv6 address (a household or
/// a server has at least that much, so counting single addresses would bound nobody).
#[must_use]
pub(crate) fn peer_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(text: &str) -> Network {
        text.parse().expect(text)
    }

    #[test]
    fn membership_follows_the_prefix() {
        assert!(network("127.0.0.0/8").contains("127.9.9.9".parse().expect("address")));
        assert!(!network("127.0.0.0/8").contains("128.0.0.0".parse().expect("address")));
        assert!(network("127.0.0.0/8").contains("::ffff:127.0.0.1".parse().expect("address")));
        assert!(network("::1").contains("::1".parse().expect("address")));
        assert!(!network("::1").contains("::2".parse().expect("address")));
        assert!(network("0.0.0.0/0").contains("8.8.8.8".parse().expect("address")));
        assert!(!network("0.0.0.0/0").contains("2001:db8::1".parse().expect("address")));
        assert!(network("::/0").contains("2001:db8::1".parse().expect("address")));
    }

    #[test]
    fn what_is_unclear_is_refused() {
        assert_eq!("10.0.0.1/8".parse::<Network>(), Err(NetworkError::HostBits));
        assert_eq!("10.0.0.0/33".parse::<Network>(), Err(NetworkError::Bits(32)));
        assert_eq!("localhost".parse::<Network>(), Err(NetworkError::Shape));
        assert_eq!("::/-1".parse::<Network>(), Err(NetworkError::Shape));
    }

    #[test]
    fn a_peer_is_an_ipv4_address_or_an_ipv6_64() {
        let of = |text: &str| peer_prefix(text.parse().expect("address")).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    proptest! {
        #[test]
        fn membership_equals_comparing_bit_by_bit(network: u32, bits in 0u8..=32, address: u32) {
            let base = network.checked_shr(32 - u32::from(bits)).unwrap_or(0).checked_shl(32 - u32::from(bits)).unwrap_or(0);
            let parsed: Network = format!("{}/{bits}", std::net::Ipv4Addr::from(base)).parse().expect("canonical");
            let slow = (0..bits).all(|bit| (base >> (31 - bit)) & 1 == (address >> (31 - bit)) & 1);
            prop_assert_eq!(parsed.contains(IpAddr::V4(address.into())), slow);
        }
    }
}
