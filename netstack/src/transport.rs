//! The seam of TCP: what the layers above may ask of a byte stream, whoever implements it.
//!
//! One idea: bytes are lent, not copied. [`Transport::read`] lends received bytes where they lie,
//! mutable, so that TLS opens records in place; [`Transport::write`] lends room where a record is sealed.
//! Nothing blocks; time is an argument; what a socket became is asked for with [`Transport::state`].
//!
//! The layers above (`session`) are generic over this trait: a TCP of our own takes the place of
//! smoltcp's without a change in them.

use std::net::{Ipv4Addr, SocketAddrV4};

use drivers::purpose::Purpose;

/// A socket, told apart from earlier users of its slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SocketId {
    /// Place in the transport's table.
    pub index: u16,
    /// Grows by one each time the place is used again.
    pub generation: u32,
}

/// Why a socket is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// Both sides closed in order.
    Closed,
    /// We gave it up ([`Transport::abort`]).
    Aborted,
    /// The peer answered the SYN with RST.
    Refused,
    /// The peer sent RST on an open connection.
    Reset,
    /// No answer to the SYN, or no acknowledgement for longer than the user time-out (RFC 9293 section 3.8.3).
    TimedOut,
    /// No route, or the next hop's hardware address cannot be found.
    Unreachable,
}

/// What a socket is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketState {
    /// SYN sent.
    Connecting,
    /// Bytes flow both ways.
    Open,
    /// The peer has sent FIN; what it sent before can still be read.
    PeerClosed,
    /// Gone. Release it.
    Closed(CloseReason),
}

/// Why a connection cannot be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// All sockets are in use.
    #[error("all sockets are in use")]
    NoSocket,
    /// All local ports to this peer are in use.
    #[error("all local ports are in use")]
    NoPort,
    /// The interface has no address yet (DHCP has not answered).
    #[error("the interface has no address yet")]
    NoAddress,
}

/// What is known of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// Asked; call again.
    Pending,
    /// Its address.
    Address(Ipv4Addr),
    /// There is no such name, or no server answered in time.
    Failed(ResolveError),
}

/// Why a name has no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name server says that there is no such name, or no IPv4 address for it.
    #[error("no such name")]
    NoSuchName,
    /// No name server answered in time.
    #[error("no name server answered")]
    TimedOut,
    /// The name is no DNS name, or no name server is configured.
    #[error("not a name that can be asked for (or no name server is configured)")]
    Invalid,
    /// Too many names are being asked for at once.
    #[error("too many questions at once")]
    Busy,
}

/// Byte streams over IP. See the module header.
pub trait Transport {
    /// Looks a name up: an address literal, the hosts table, the cache, then DNS. Never blocks; call it
    /// again while it is [`Resolution::Pending`].
    fn resolve(&mut self, host: &str, now_ns: u64) -> Resolution;

    /// Starts a connection.
    ///
    /// # Errors
    /// If nothing could be started; what comes later is in [`Transport::state`].
    fn connect(&mut self, remote: SocketAddrV4, now_ns: u64) -> Result<SocketId, ConnectError>;

    /// What the socket is now. A socket that was released is [`CloseReason::Aborted`].
    fn state(&self, socket: SocketId) -> SocketState;

    /// Lends received bytes, in order, where they lie (empty if there are none; not always all that are there).
    /// `take` returns how many bytes it has used up, and its result. The rest is lent again, as it was left:
    /// a record that was opened in place stays opened.
    fn read<R>(&mut self, socket: SocketId, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> R;

    /// True if [`Transport::read`] would certainly lend nothing now. For callers that would rather not ask in vain; false
    /// says nothing.
    fn is_drained(&self, _socket: SocketId) -> bool {
        false
    }

    /// Lends room for `room` bytes that will follow what was written before. `fill` returns how many bytes
    /// at the front it wrote, and its result. `None`, without a call, if there is no room for so many now.
    fn write<R>(&mut self, socket: SocketId, room: usize, fill: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R>;

    /// [`Transport::write`], for this purpose. What is rehearsed goes the way of a message as far as the transport can take
    /// it back: nothing of it is sent, and nothing has changed.
    fn write_for<R>(&mut self, purpose: Purpose, socket: SocketId, room: usize, fill: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        self.write(socket, room, |room| {
            let (written, result) = fill(room);
            (purpose.count(written), result)
        })
    }

    /// Bytes written and not yet acknowledged by the peer.
    fn unacknowledged(&self, socket: SocketId) -> usize;

    /// Sends FIN after what was written.
    fn close(&mut self, socket: SocketId);

    /// Sends RST and forgets what was written.
    fn abort(&mut self, socket: SocketId);

    /// Gives the socket back (aborts it if it is not closed).
    fn release(&mut self, socket: SocketId);
}
