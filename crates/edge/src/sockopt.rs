//! What the kernel says of a TCP socket and no safe function asks.
//!
//! # Contract of the unsafe code
//!
//! `SIOCOUTQ` (linux/sockios.h) writes one C `int` through the pointer it is given and
//! reads nothing from it; the descriptor is borrowed for as long as the call takes.
#![expect(unsafe_code, reason = "one ioctl; the contract is above")]

use rustix::ioctl::{Getter, Opcode, ioctl};
use std::io;
use std::os::fd::AsFd;

/// The same on all architectures that we build for, and in a type that differs between them in `libc`.
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes that were handed to the kernel and that the peer has not acknowledged. A FIN that was sent counts as one, so 0
/// after the shutdown means that the peer's kernel has everything.
///
/// # Errors
/// No connected TCP socket.
pub(crate) fn unacknowledged_bytes(socket: impl AsFd) -> io::Result<usize> {
    // SAFETY: SIOCOUTQ answers with one `int`.
    let getter = unsafe { Getter::<SIOCOUTQ, libc::c_int>::new() };
    // SAFETY: as above; the descriptor is open while `socket` is borrowed.
    let bytes = unsafe { ioctl(socket, getter) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    #[test]
    fn what_a_reader_has_not_taken_is_unacknowledged_until_it_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut reader = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (mut writer, _) = listener.accept().expect("accepted");
        writer.set_nonblocking(true).expect("set");
        let mut written = 0;
        while let Ok(bytes) = writer.write(&[7; 65_536]) {
            written += bytes;
        }
        writer.shutdown(Shutdown::Write).expect("a FIN");
        assert!(unacknowledged_bytes(&writer).expect("asked") > 0, "the reader's window is full");
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("all of it");
        assert_eq!(read.len(), written);
        let until = Instant::now() + Duration::from_secs(10);
        while unacknowledged_bytes(&writer).expect("asked") > 0 {
            assert!(Instant::now() < until, "everything was read, the FIN too");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
