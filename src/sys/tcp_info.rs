//! What the kernel knows of a TCP connection (`TCP_INFO`, tcp(7)). The only `unsafe` of ours: no library wraps this call.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// A part of `struct tcp_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    /// Since the last acknowledgement came.
    pub(crate) since_acknowledged: Duration,
    /// Segments that were sent and not acknowledged.
    pub(crate) unacknowledged: u32,
    /// Bytes that were not even sent.
    pub(crate) not_sent: u32,
    /// Segments sent again, since the connection began.
    pub(crate) retransmitted: u32,
    /// The smoothed time of a round trip.
    pub(crate) round_trip: Duration,
}

/// Asks the kernel.
///
/// Cost: one system call, about half a microsecond.
///
/// # Errors
/// It is no TCP socket.
#[allow(unsafe_code, reason = "the call is wrapped by no library")]
pub(crate) fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).expect("a struct of some hundred bytes");
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; `info` is writable for `length` bytes, of which the
    // kernel writes at most so many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all of it was set to zero, and a struct of integers may have any bits: what an older kernel does not write
    // stays zero.
    let info = unsafe { info.assume_init() };
    Ok(TcpInfo {
        since_acknowledged: Duration::from_millis(info.tcpi_last_ack_recv.into()),
        unacknowledged: info.tcpi_unacked,
        not_sent: info.tcpi_notsent_bytes,
        retransmitted: info.tcpi_total_retrans,
        round_trip: Duration::from_micros(info.tcpi_rtt.into()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_kernel_tells_what_is_on_its_way() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (mut server, _) = listener.accept().expect("a connection");
        server.write_all(b"hello").expect("it is written");
        client.read_exact(&mut [0; 5]).expect("it is read");
        let info = tcp_info(server.as_fd()).expect("a TCP socket");
        assert!(info.round_trip > Duration::ZERO && info.not_sent == 0 && info.retransmitted == 0, "{info:?}");

        // Nobody reads, so that the window closes.
        server.set_nonblocking(true).expect("an option");
        while server.write(&[0; 65_536]).is_ok() {}
        let info = tcp_info(server.as_fd()).expect("a TCP socket");
        assert!(info.not_sent > 0, "{info:?}");
    }

    #[test]
    fn other_sockets_have_none() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert!(tcp_info(one.as_fd()).is_err());
    }
}
