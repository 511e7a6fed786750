//! A place for a connection: whose it is, where its frames go, and the TCP in it.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::socket::{SocketSettings, TcpSocket};
use super::wire::ETHERNET_HEADER;
use crate::tcp::Beginning;
use crate::transport::{CloseReason, SocketState};

/// How long a released connection may take to say its last word: its RST waits for room, or for the next hop.
const LINGER_NS: u64 = 1_000_000_000;

/// Who holds a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Nobody.
    Free,
    /// The layer above.
    Held,
    /// Nobody, but its last segments are still under way.
    Lingering {
        /// When it is cut off, unless it is in TIME-WAIT.
        until_ns: u64,
    },
}

/// See the module's head.
pub(super) struct Slot<T> {
    pub(super) tcp: T,
    pub(super) life: Life,
    pub(super) generation: u32,
    pub(super) local: SocketAddrV4,
    pub(super) remote: SocketAddrV4,
    /// Whom the frames go to.
    pub(super) next_hop: Ipv4Addr,
    /// The next hop's hardware address is known.
    pub(super) reachable: bool,
    /// When it must have its turn without being asked.
    pub(super) wake_ns: u64,
}

impl<T: TcpSocket> Slot<T> {
    pub(super) fn new(settings: &SocketSettings) -> Slot<T> {
        let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Slot {
            tcp: T::new(settings),
            life: Life::Free,
            generation: 0,
            local: nobody,
            remote: nobody,
            next_hop: Ipv4Addr::UNSPECIFIED,
            reachable: false,
            wake_ns: u64::MAX,
        }
    }

    /// Takes the slot for a connection; the SYN leaves on its first turn once the next hop is known.
    pub(super) fn connect(
        &mut self,
        local: SocketAddrV4,
        remote: SocketAddrV4,
        next_hop: Option<Ipv4Addr>,
        beginning: Beginning,
        now_ns: u64,
    ) {
        self.generation = self.generation.wrapping_add(1);
        self.life = Life::Held;
        (self.local, self.remote) = (local, remote);
        self.wake_ns = now_ns;
        self.reachable = false;
        self.next_hop = next_hop.unwrap_or(Ipv4Addr::UNSPECIFIED);
        if !self.tcp.connect(local, remote, beginning, now_ns) || next_hop.is_none() {
            self.tcp.abort(CloseReason::Unreachable);
        }
    }

    /// Nobody holds the slot any more.
    pub(super) fn release(&mut self, now_ns: u64) {
        if !matches!(self.tcp.state(), SocketState::Closed(_)) {
            self.tcp.abort(CloseReason::Aborted);
        }
        self.life = Life::Lingering { until_ns: now_ns.saturating_add(LINGER_NS) };
    }

    /// When the connection is cut off that nobody holds: TIME-WAIT has its time (RFC 9293 section 3.6.1). `None`: it is held, or
    /// there is none.
    pub(super) fn lingers_until_ns(&self) -> Option<u64> {
        match self.life {
            Life::Lingering { until_ns } => Some(self.tcp.time_wait_ends_ns().unwrap_or(until_ns)),
            Life::Free | Life::Held => None,
        }
    }

    /// The next hop has this hardware address, as its frames' header says.
    pub(super) fn reach(&mut self, header: &[u8; ETHERNET_HEADER]) {
        self.tcp.set_ethernet(header);
        self.reachable = true;
    }
}
