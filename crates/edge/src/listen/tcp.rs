//! Listening sockets: one per worker and address on `SO_REUSEPORT`, or as inherited from systemd.
//!
//! It binds and hands out; accepting is the worker's.

use super::conn::Door;
use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections that may wait to be accepted on one socket; the kernel clamps it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel refused.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A descriptor that systemd passed is no listening TCP socket.
    #[error("inherited descriptor {index} ({name}) is not a listening tcp socket")]
    Inherited {
        /// Its place, from 0.
        index: usize,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A descriptor has a name that is no door.
    #[error("inherited descriptor {index} is named \"{name}\": FileDescriptorName= must be https, http or admin")]
    Name {
        /// Its place, from 0.
        index: usize,
        /// Its name.
        name: String,
    },
}

/// One address and its sockets, one per worker.
#[derive(Debug)]
pub struct Bound {
    /// The door it is.
    pub door: Door,
    /// The address, with the port that the kernel chose where 0 was asked for.
    pub address: SocketAddr,
    /// As many as there are workers.
    pub sockets: Vec<TcpListener>,
}

/// Binds one address for `workers` workers; port 0 becomes one free port for all of them.
///
/// # Errors
/// The kernel's refusal, with the address.
pub fn bind(door: Door, address: SocketAddr, workers: usize) -> Result<Bound, BindError> {
    let fail = |source| BindError::Bind { address, source };
    // SO_REUSEPORT would let a second node of the same user share the port and the players with this one, silently:
    // so the address is first bound without it.
    let probe = open(address, Sharing::Exclusive).map_err(fail)?;
    let address = local_address(&probe).map_err(fail)?;
    drop(probe);
    let sockets = (0..workers)
        .map(|_| {
            let socket = open(address, Sharing::AmongWorkers)?;
            socket.listen(BACKLOG)?;
            Ok(TcpListener::from(socket))
        })
        .collect::<io::Result<Vec<_>>>()
        .map_err(fail)?;
    Ok(Bound { door, address, sockets })
}

/// Sockets that were passed to this process (`LISTEN_FDS`), by the name of their door.
///
/// The names come from `FileDescriptorName=` (`LISTEN_FDNAMES`); descriptors without names are all `https`. Per door and
/// address there is best one descriptor per worker (`ReusePort=yes` and the same `ListenStream=` repeated); a worker
/// without its own shares another's.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(Door, TcpListener)>,
}

impl Inherited {
    /// Takes the descriptors meant for this process, once; a second call finds none.
    ///
    /// # Errors
    /// A descriptor that is no listening TCP socket, or a name that is no door.
    pub fn from_process() -> Result<Self, BindError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').filter(|name| !name.is_empty()).collect();
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..descriptors.len() {
            let name = (*names.get(index).unwrap_or(&"https")).to_owned();
            let taken = descriptors.take_tcp_listener(index);
            let socket = match taken.map_err(|source| BindError::Inherited { index, name: name.clone(), source })? {
                Some(socket) => socket,
                None => continue,
            };
            let Some(door) = door_named(&name) else { return Err(BindError::Name { index, name }) };
            sockets.push((door, socket));
        }
        Ok(Self { sockets })
    }

    /// Takes the sockets of one door, grouped by address, dealt to `workers` workers.
    ///
    /// # Errors
    /// A socket that cannot be shared or asked for its address.
    pub fn take(&mut self, door: Door, workers: usize) -> Result<Vec<Bound>, BindError> {
        let (mine, others) = std::mem::take(&mut self.sockets).into_iter().partition(|(of, _)| *of == door);
        self.sockets = others;
        let mut groups: Vec<Bound> = Vec::new();
        for (index, (_, socket)) in mine.into_iter().enumerate() {
            let fail = |source| BindError::Inherited { index, name: door.name().to_owned(), source };
            let address = socket.local_addr().map_err(fail)?;
            socket.set_nonblocking(true).map_err(fail)?;
            match groups.iter_mut().find(|group| group.address == address) {
                Some(group) => group.sockets.push(socket),
                None => groups.push(Bound { door, address, sockets: vec![socket] }),
            }
        }
        for group in &mut groups {
            share(group, workers)?;
        }
        Ok(groups)
    }
}

/// Sockets that somebody else than systemd opened: listening ones, each for its door.
impl FromIterator<(Door, TcpListener)> for Inherited {
    fn from_iter<T: IntoIterator<Item = (Door, TcpListener)>>(sockets: T) -> Self {
        Self { sockets: sockets.into_iter().collect() }
    }
}

/// Gives each worker a socket: its own, or another's once more. None is left out, because what the kernel queues on a
/// socket that nobody accepts from is lost.
fn share(group: &mut Bound, workers: usize) -> Result<(), BindError> {
    let own = group.sockets.len();
    for index in own..workers.max(own) {
        let again = group.sockets[index % own].try_clone();
        let fail = |source| BindError::Inherited { index, name: group.door.name().to_owned(), source };
        group.sockets.push(again.map_err(fail)?);
    }
    Ok(())
}

fn door_named(name: &str) -> Option<Door> {
    // systemd's default name is the socket unit's own.
    let name = name.strip_suffix(".socket").unwrap_or(name);
    match name {
        "https" | "penstock" | "unknown" => Some(Door::Https),
        "http" => Some(Door::Http),
        "admin" => Some(Door::Admin),
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Sharing {
    Exclusive,
    AmongWorkers,
}

fn open(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // [::] takes IPv4 too, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    if matches!(sharing, Sharing::AmongWorkers) {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::other("the kernel names no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_free_port_and_a_second_node_does_not() {
        let bound = bind(Door::Http, "127.0.0.1:0".parse().expect("address"), 3).expect("a free port");
        assert_eq!(bound.sockets.len(), 3);
        assert_ne!(bound.address.port(), 0);
        assert!(bound.sockets.iter().all(|socket| socket.local_addr().expect("bound") == bound.address));
        let again = bind(Door::Http, bound.address, 1).expect_err("taken");
        assert!(matches!(again, BindError::Bind { ref source, .. } if source.kind() == io::ErrorKind::AddrInUse));
    }

    #[test]
    fn inherited_sockets_are_dealt_and_shared() {
        let socket = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut inherited = Inherited::from_iter([Door::Https, Door::Admin, Door::Https].map(|door| (door, socket())));
        let https = inherited.take(Door::Https, 2).expect("dealt");
        assert_eq!(https.iter().map(|group| group.sockets.len()).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(inherited.take(Door::Admin, 1).expect("dealt").len(), 1);
        assert!(inherited.take(Door::Http, 1).expect("none").is_empty());
    }
}
