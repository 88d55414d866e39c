//! Who may come in: the bounds on connections, in all and from one peer, and on TLS handshakes.
//!
//! Counting is shared by all workers; the decisions are pure. It must not know sockets or HTTP.

use crate::config::{Limits, peer_prefix};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// It is served.
    Serve,
    /// It is over a bound, but little: its requests are told so (429 or 503 with `Retry-After`), then it is closed.
    Refuse,
    /// It is far over a bound: closed without a word, because words cost too.
    Close,
}

/// The lane of the `count`th connection (this one included) under a bound of `max`. A sixteenth on top, at least four,
/// gets an answer.
#[must_use]
pub const fn lane(count: usize, max: usize) -> Lane {
    let spare = if max / 16 > 4 { max / 16 } else { 4 };
    if count <= max {
        Lane::Serve
    } else if count - max <= spare {
        Lane::Refuse
    } else {
        Lane::Close
    }
}

/// The time a handshake gets: a quarter once half of the places are taken, so that silent peers cannot hold the door.
#[must_use]
pub fn handshake_time(in_flight: usize, limits: &Limits) -> Duration {
    if in_flight * 2 > limits.handshakes_max { limits.handshake / 4 } else { limits.handshake }
}

/// Shards of the table of peers: enough that workers seldom meet.
const SHARDS: usize = 64;

/// The counts. One for the data doors, one for the admin doors.
#[derive(Debug)]
pub struct Admission {
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    peers: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            peers: std::array::from_fn(|_| Mutex::new(HashMap::new())),
        }
    }
}

impl Admission {
    /// Counts a new connection against `max`. `None` means: close it.
    #[must_use]
    pub fn connection(self: &Arc<Self>, max: usize) -> Option<(Lane, ConnectionPermit)> {
        let count = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let permit = ConnectionPermit { admission: Arc::clone(self) };
        match lane(count, max) {
            Lane::Close => None,
            lane => Some((lane, permit)),
        }
    }

    /// Counts a connection of a peer. `None` means: close it. The permit is `None` for peers that are exempt.
    #[must_use]
    pub fn peer(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<(Lane, Option<PeerPermit>)> {
        self.peer_within(limits.connections_per_address, address, limits)
    }

    /// As [`Self::peer`], for the admin doors: one peer gets a quarter of the admin connections at most, so that no single
    /// one shuts out the others and the probes. Loopback is always exempt: it is the operator's own machine.
    #[must_use]
    pub fn admin_peer(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<(Lane, Option<PeerPermit>)> {
        if address.to_canonical().is_loopback() {
            return Some((Lane::Serve, None));
        }
        let quarter = (limits.admin_connections_max / 4).max(1);
        self.peer_within(limits.connections_per_address.min(quarter), address, limits)
    }

    fn peer_within(
        self: &Arc<Self>,
        max: usize,
        address: IpAddr,
        limits: &Limits,
    ) -> Option<(Lane, Option<PeerPermit>)> {
        if limits.address_exempt.iter().any(|network| network.contains(address)) {
            return Some((Lane::Serve, None));
        }
        let peer = peer_prefix(address);
        let count = {
            let mut peers = self.shard(peer);
            let count = peers.entry(peer).or_insert(0);
            *count += 1;
            *count
        };
        let permit = PeerPermit { admission: Arc::clone(self), peer };
        match lane(count, max) {
            Lane::Close => None,
            lane => Some((lane, Some(permit))),
        }
    }

    /// Counts a handshake; `None` means that as many as may be are in flight.
    #[must_use]
    pub fn handshake(self: &Arc<Self>, limits: &Limits) -> Option<(Duration, HandshakePermit)> {
        let count = self.handshakes.fetch_add(1, Ordering::Relaxed) + 1;
        let permit = HandshakePermit { admission: Arc::clone(self) };
        (count <= limits.handshakes_max).then(|| (handshake_time(count, limits), permit))
    }

    /// Connections open now.
    #[must_use]
    pub fn connections_open(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn shard(&self, peer: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        let shard = match peer {
            // The last bytes of what distinguishes peers: the host for IPv4, the subnet for IPv6.
            IpAddr::V4(v4) => v4.octets()[3],
            IpAddr::V6(v6) => v6.octets()[7] ^ v6.octets()[5],
        };
        self.peers[usize::from(shard) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One counted connection; dropping it gives the place back.
#[derive(Debug)]
pub struct ConnectionPermit {
    admission: Arc<Admission>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.admission.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One counted connection of a peer; dropping it gives the place back.
#[derive(Debug)]
pub struct PeerPermit {
    admission: Arc<Admission>,
    peer: IpAddr,
}

impl Drop for PeerPermit {
    fn drop(&mut self) {
        let mut peers = self.admission.shard(self.peer);
        if let Some(count) = peers.get_mut(&self.peer) {
            *count -= 1;
            // Only peers with a connection have an entry, so the table is never larger than the connections.
            if *count == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

/// One counted handshake; dropping it gives the place back.
#[derive(Debug)]
pub struct HandshakePermit {
    admission: Arc<Admission>,
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        self.admission.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};
    use proptest::prelude::*;

    fn limits(text: &str) -> Limits {
        Config::parse(&format!("[limits]\n{text}"), &Environment::default(), None).expect("good limits").limits
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn a_little_too_much_is_answered_and_far_too_much_is_closed() {
        let lanes: Vec<Lane> = (1..=8).map(|count| lane(count, 2)).collect();
        assert_eq!(lanes[..2], [Lane::Serve; 2]);
        assert_eq!(lanes[2..6], [Lane::Refuse; 4]);
        assert_eq!(lanes[6..], [Lane::Close; 2]);
        assert_eq!(lane(1600 + 100, 1600), Lane::Refuse);
        assert_eq!(lane(1600 + 101, 1600), Lane::Close);
    }

    #[test]
    fn places_come_back_and_tables_stay_small() {
        let admission = Arc::new(Admission::default());
        let limits = limits("connections_per_address = 1\naddress_exempt = []\n");
        let first = admission.peer(address("192.0.2.1"), &limits).expect("room");
        assert_eq!(first.0, Lane::Serve);
        assert_eq!(admission.peer(address("::ffff:192.0.2.1"), &limits).expect("told").0, Lane::Refuse);
        assert_eq!(admission.peer(address("192.0.2.2"), &limits).expect("another peer").0, Lane::Serve);
        drop(first);
        assert_eq!(admission.peer(address("192.0.2.1"), &limits).expect("room again").0, Lane::Serve);
        assert!(admission.peers.iter().all(|shard| shard.lock().expect("unpoisoned").is_empty()));
    }

    #[test]
    fn loopback_is_exempt_by_default() {
        let admission = Arc::new(Admission::default());
        let limits = limits("connections_per_address = 1\n");
        let held: Vec<_> = (0..50).map(|_| admission.peer(address("127.0.0.1"), &limits).expect("exempt")).collect();
        assert!(held.iter().all(|(lane, permit)| *lane == Lane::Serve && permit.is_none()));
    }

    /// Idle peers off loopback once took all admin places, and the probes and publishers had none.
    #[test]
    fn one_peer_cannot_shut_the_admin_doors() {
        let admission = Arc::new(Admission::default());
        let limits = limits("admin_connections_max = 16\naddress_exempt = []\n");
        let lanes =
            |host: &str| -> Vec<_> { (0..20).map_while(|_| admission.admin_peer(address(host), &limits)).collect() };
        let greedy = lanes("192.0.2.1");
        assert_eq!(greedy.iter().filter(|(lane, _)| *lane == Lane::Serve).count(), 4);
        assert!(greedy.len() < limits.admin_connections_max, "answers cost places too");
        assert_eq!(lanes("192.0.2.2")[0].0, Lane::Serve, "another peer is not disturbed");
        assert_eq!(lanes("127.0.0.1").len(), 20, "nor is the operator's own machine, whatever is exempt");
        assert_eq!(lanes("::ffff:127.0.0.1").len(), 20);
    }

    #[test]
    fn handshakes_get_less_time_when_many_wait() {
        let admission = Arc::new(Admission::default());
        let limits = limits("handshakes_max = 2\nhandshake_seconds = 8\n");
        let first = admission.handshake(&limits).expect("room");
        let second = admission.handshake(&limits).expect("room");
        assert_eq!((first.0, second.0), (Duration::from_secs(8), Duration::from_secs(2)));
        assert!(admission.handshake(&limits).is_none());
        drop(second);
        assert!(admission.handshake(&limits).is_some());
    }

    proptest! {
        #[test]
        fn counts_return_to_zero(hosts in proptest::collection::vec(0u8..4, 0..64)) {
            let admission = Arc::new(Admission::default());
            let limits = limits("connections_per_address = 3\naddress_exempt = []\n");
            let mut held = Vec::new();
            let mut open = [0usize; 4];
            for host in hosts {
                let expected = lane(open[usize::from(host)] + 1, 3);
                match admission.peer(IpAddr::from([10, 0, 0, host]), &limits) {
                    Some((lane, permit)) => {
                        prop_assert_eq!(lane, expected);
                        open[usize::from(host)] += 1;
                        held.push(permit);
                    }
                    None => prop_assert_eq!(expected, Lane::Close),
                }
            }
            drop(held);
            prop_assert!(admission.peers.iter().all(|shard| shard.lock().expect("unpoisoned").is_empty()));
        }
    }
}
