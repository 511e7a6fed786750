//! What smoltcp sees instead of a network card: one IP packet in, or frames straight into the port.
//!
//! smoltcp works at the IP level here: the Ethernet header of each socket is ours, ready made, so no
//! neighbour look-up lies on a segment's way. A received packet never needs a free transmit frame: what
//! smoltcp answers at once (a duplicate acknowledgement, a challenge) goes to a small buffer first, so a
//! full transmit ring does not stop receiving.

use drivers::port::{Port, TxFrame};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use super::smoltcp_wire::Sent;
use super::wire::ETHERNET_HEADER;

/// Room for what smoltcp may answer at once: headers with all options, no payload.
pub(super) const REPLY_MAX: usize = 128;

/// Received checksums are verified (and counted) before smoltcp sees a packet.
pub(super) fn capabilities(mtu: usize) -> DeviceCapabilities {
    let mut checksum = ChecksumCapabilities::default();
    checksum.ipv4 = Checksum::Tx;
    checksum.tcp = Checksum::Tx;
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    capabilities.checksum = checksum;
    capabilities
}

/// An answer that smoltcp gave while it took a packet in.
#[derive(Debug)]
pub(super) struct Reply {
    bytes: [u8; REPLY_MAX],
    len: usize,
}

impl Reply {
    pub(super) fn new() -> Reply {
        Reply { bytes: [0; REPLY_MAX], len: 0 }
    }

    /// The IP packet, empty if there is none.
    pub(super) fn packet(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// One received IP packet.
pub(super) struct Ingress<'a> {
    pub(super) packet: Option<&'a [u8]>,
    pub(super) reply: &'a mut Reply,
    pub(super) mtu: usize,
}

impl Device for Ingress<'_> {
    type RxToken<'t>
        = IngressPacket<'t>
    where
        Self: 't;
    type TxToken<'t>
        = ReplyToken<'t>
    where
        Self: 't;

    fn receive(&mut self, _timestamp: Instant) -> Option<(IngressPacket<'_>, ReplyToken<'_>)> {
        let packet = self.packet.take()?;
        Some((IngressPacket(packet), ReplyToken(self.reply)))
    }

    fn transmit(&mut self, _timestamp: Instant) -> Option<ReplyToken<'_>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

/// The packet, for smoltcp to read.
pub(super) struct IngressPacket<'a>(&'a [u8]);

impl RxToken for IngressPacket<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// Room for an answer.
pub(super) struct ReplyToken<'a>(&'a mut Reply);

impl TxToken for ReplyToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        match self.0.bytes.get_mut(..len) {
            Some(room) => {
                let result = write(room);
                self.0.len = len;
                result
            }
            // Never so with TCP: an answer has no payload. It is dropped like a lost frame.
            None => write(&mut vec![0; len]),
        }
    }
}

/// Frames of one socket, written where the port will send them from.
pub(super) struct Egress<'a, P: Port> {
    pub(super) port: &'a mut P,
    /// The Ethernet header to the next hop.
    pub(super) header: &'a [u8; ETHERNET_HEADER],
    pub(super) mtu: usize,
    /// What the socket has sent, for the books kept beside smoltcp.
    pub(super) sent: &'a mut Sent,
    /// Frames committed.
    pub(super) committed: usize,
    /// True if the port had no free frame.
    pub(super) exhausted: bool,
}

impl<P: Port> Device for Egress<'_, P> {
    type RxToken<'t>
        = IngressPacket<'t>
    where
        Self: 't;
    type TxToken<'t>
        = EgressFrame<'t, P>
    where
        Self: 't;

    fn receive(&mut self, _timestamp: Instant) -> Option<(IngressPacket<'_>, EgressFrame<'_, P>)> {
        None
    }

    #[inline]
    fn transmit(&mut self, _timestamp: Instant) -> Option<EgressFrame<'_, P>> {
        match self.port.allocate() {
            Some(frame) => Some(EgressFrame {
                port: self.port,
                header: self.header,
                sent: self.sent,
                committed: &mut self.committed,
                frame: Some(frame),
            }),
            None => {
                self.exhausted = true;
                None
            }
        }
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

/// One transmit frame; goes back to the port if smoltcp does not use it.
pub(super) struct EgressFrame<'a, P: Port> {
    port: &'a mut P,
    header: &'a [u8; ETHERNET_HEADER],
    sent: &'a mut Sent,
    committed: &'a mut usize,
    frame: Option<TxFrame>,
}

impl<P: Port> TxToken for EgressFrame<'_, P> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, write: F) -> R {
        let Some(frame) = self.frame.take() else { return write(&mut vec![0; len]) };
        let total = ETHERNET_HEADER + len;
        let room = self.port.buffer(&frame);
        let Some(room) = room.get_mut(..total) else {
            // Never so: packets are cut to the port's own MTU.
            self.port.abandon(frame);
            return write(&mut vec![0; len]);
        };
        let (ethernet, packet) = room.split_at_mut(ETHERNET_HEADER);
        ethernet.copy_from_slice(self.header);
        let result = write(packet);
        self.sent.note(packet);
        self.port.commit(frame, total);
        *self.committed += 1;
        result
    }
}

impl<P: Port> Drop for EgressFrame<'_, P> {
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            self.port.abandon(frame);
        }
    }
}
