//! What the kernel says of a TCP socket and no safe function asks, and what it is told that no safe function says.
//!
//! # Contract of the unsafe code
//!
//! `SIOCOUTQ` (linux/sockios.h) writes one C `int` through the pointer it is given and
//! reads nothing from it; the descriptor is borrowed for as long as the call takes.
//!
//! `SO_MAX_PACING_RATE` (socket(7)) is set by `setsockopt`, which reads as many bytes as it is told of from the pointer it
//! is given, here those of one C `unsigned long` on our stack, and keeps neither; the descriptor is borrowed as above.
#![expect(unsafe_code, reason = "one ioctl and one setsockopt; the contract is above")]

use rustix::ioctl::{Getter, Opcode, ioctl};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

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

/// Makes TCP spread what it sends so that it does not exceed a rate, in bytes a second; `u64::MAX` is no bound.
///
/// # Errors
/// No TCP socket, or a kernel that cannot.
pub(crate) fn set_max_pacing_rate(socket: impl AsFd, bytes_per_second: u64) -> io::Result<()> {
    let rate = libc::c_ulong::try_from(bytes_per_second).unwrap_or(libc::c_ulong::MAX);
    let length = libc::socklen_t::try_from(size_of::<libc::c_ulong>()).expect("eight bytes at most");
    let descriptor = socket.as_fd();
    // SAFETY: `rate` is an unsigned long of `length` bytes that outlives the call; the descriptor is open while borrowed.
    let failed = unsafe {
        libc::setsockopt(
            descriptor.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            (&raw const rate).cast(),
            length,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
