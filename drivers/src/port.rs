//! The interface that all ports share.

use crate::purpose::Purpose;
use std::io;

/// A received frame on loan from a port's frame memory. Plain handle: it is only valid between the
/// [`Port::receive`] that produced it and the [`Port::recycle`] that returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxFrame {
    /// Offset of the first byte of the Ethernet header in frame memory (ports without one region use
    /// an index of their own).
    pub offset: u64,
    /// Length in bytes, Ethernet header included, FCS not.
    pub len: u32,
}

/// How many frames one burst can hold.
pub const BURST_MAX: usize = 64;

/// A batch of received frames. Reused by the caller; never allocates.
#[derive(Debug)]
pub struct Burst {
    frames: [RxFrame; BURST_MAX],
    len: usize,
}

impl Default for Burst {
    fn default() -> Self {
        Burst::new()
    }
}

impl Burst {
    /// An empty burst.
    pub const fn new() -> Burst {
        Burst { frames: [RxFrame { offset: 0, len: 0 }; BURST_MAX], len: 0 }
    }

    /// The frames, oldest first.
    #[inline]
    pub fn frames(&self) -> &[RxFrame] {
        &self.frames[..self.len]
    }

    /// How many frames.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more fit.
    #[inline]
    pub fn room(&self) -> usize {
        BURST_MAX - self.len
    }

    /// Adds a frame; for ports. Returns false when full.
    #[inline]
    pub fn push(&mut self, frame: RxFrame) -> bool {
        if self.len == BURST_MAX {
            return false;
        }
        self.frames[self.len] = frame;
        self.len += 1;
        true
    }

    /// Forgets all frames; for ports, after recycling them.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

/// A transmit frame being filled. Must be given to [`Port::commit`] or [`Port::abandon`]; one from [`Port::keep`] to
/// [`Port::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "commit or abandon the frame, or its chunk is lost"]
pub struct TxFrame {
    /// Offset in frame memory (or the port's own index).
    pub offset: u64,
    /// Bytes that fit.
    pub capacity: u32,
}

/// What a port is and how it came to be that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortInfo {
    /// Interface name, or a name of the in-process link.
    pub interface: String,
    /// `af_xdp`, `af_packet`, `memory`, `dpdk`.
    pub driver: &'static str,
    /// `zero-copy`, `native copy`, `generic copy`, `tpacket_v2`, `in-process`.
    pub mode: &'static str,
    /// Why not a better mode: one line for each step that was tried and refused, oldest first.
    pub why: Vec<String>,
    /// Our MAC address.
    pub mac: [u8; 6],
    /// Largest IP packet (Ethernet header not counted).
    pub mtu: usize,
    /// True if frame memory lies on 2 MiB huge pages.
    pub huge_pages: bool,
}

/// Counters of a port; all monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStatistics {
    /// Frames handed to the caller.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames committed.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames dropped before we saw them (kernel counters: ring full, no fill, dropped).
    pub rx_dropped: u64,
    /// `XDP_STATISTICS` `rx_invalid_descs`.
    pub rx_invalid: u64,
    /// `XDP_STATISTICS` `tx_invalid_descs`, or send errors on AF_PACKET.
    pub tx_invalid: u64,
    /// `XDP_STATISTICS` `rx_fill_ring_empty_descs`.
    pub fill_ring_empty: u64,
    /// Times that [`Port::allocate`] found no free chunk.
    pub tx_exhausted: u64,
    /// System calls made for sending.
    pub kicks: u64,
    /// System calls made for receiving.
    pub wakeups: u64,
    /// Kicks that the kernel refused for the moment (EAGAIN, EBUSY, ENOBUFS); retried at the next flush.
    pub kicks_deferred: u64,
}

/// A poll-mode port: one queue of one interface, owned by one thread.
///
/// Calls never block and, apart from the kick in [`Port::flush`] (and a wake-up in [`Port::receive`]
/// where the kernel demands one), make no system call. `now_ns` is the caller's clock; ports never
/// read one (the in-process link and the tap need it).
pub trait Port {
    /// What this port is.
    fn info(&self) -> &PortInfo;

    /// Adds received frames to `burst` (at most [`Burst::room`]); returns how many were added.
    fn receive(&mut self, now_ns: u64, burst: &mut Burst) -> usize;

    /// The bytes of a received frame. Mutable, because TLS opens records in place.
    ///
    /// # Panics
    /// If the handle is not one of this port's (a bug of the caller, not of the peer).
    fn frame(&mut self, frame: RxFrame) -> &mut [u8];

    /// Gives all frames of the burst back and clears it.
    fn recycle(&mut self, burst: &mut Burst);

    /// A free transmit chunk; `None` if all are in flight (counted).
    fn allocate(&mut self) -> Option<TxFrame>;

    /// The bytes of a transmit frame being filled, `capacity` long, from the Ethernet header on.
    fn buffer(&mut self, frame: &TxFrame) -> &mut [u8];

    /// Queues the first `len` bytes of the frame for sending.
    fn commit(&mut self, frame: TxFrame, len: usize);

    /// Returns a frame unsent.
    fn abandon(&mut self, frame: TxFrame);

    /// A free chunk that stays the caller's over any number of [`Port::commit_kept`], until [`Port::release`]: what may have
    /// to be sent again lies ready in it. `None` if the port has none to spare; some are always left to
    /// [`Port::allocate`].
    fn keep(&mut self) -> Option<TxFrame>;

    /// True if the port has done with the last [`Port::commit_kept`] of this frame: its bytes may be changed.
    fn is_at_rest(&self, frame: &TxFrame) -> bool;

    /// Queues `len` bytes of a kept frame, from `start` on, for sending. False, and nothing is sent, if the port has
    /// not done with the last one or has no room.
    fn commit_kept(&mut self, frame: &TxFrame, start: usize, len: usize) -> bool {
        self.commit_kept_for(Purpose::Send, frame, start, len)
    }

    /// [`Port::commit_kept`], for this purpose. What is rehearsed is queued and taken back again: nothing is sent, nothing is
    /// counted, what is queued stays queued. Ports that cannot do so do nothing.
    fn commit_kept_for(&mut self, purpose: Purpose, frame: &TxFrame, start: usize, len: usize) -> bool;

    /// True if one more frame could be sent now: a kept one that is at rest, or one that [`Port::allocate`] would give. Counted
    /// if not.
    fn has_room(&mut self, kept: bool) -> bool;

    /// Gives a kept frame back, also while it is being sent.
    fn release(&mut self, frame: TxFrame);

    /// Makes the NIC see what was committed, with at most one system call. A refusal for the moment is
    /// counted and retried at the next flush; an error means that the port is gone.
    fn flush(&mut self, now_ns: u64) -> io::Result<()>;

    /// The counters, kernel counters included (may make a system call: not for the hot loop).
    fn statistics(&self) -> PortStatistics;
}

impl<P: Port + ?Sized> Port for Box<P> {
    fn info(&self) -> &PortInfo {
        (**self).info()
    }
    fn receive(&mut self, now_ns: u64, burst: &mut Burst) -> usize {
        (**self).receive(now_ns, burst)
    }
    fn frame(&mut self, frame: RxFrame) -> &mut [u8] {
        (**self).frame(frame)
    }
    fn recycle(&mut self, burst: &mut Burst) {
        (**self).recycle(burst);
    }
    fn allocate(&mut self) -> Option<TxFrame> {
        (**self).allocate()
    }
    fn buffer(&mut self, frame: &TxFrame) -> &mut [u8] {
        (**self).buffer(frame)
    }
    fn commit(&mut self, frame: TxFrame, len: usize) {
        (**self).commit(frame, len);
    }
    fn abandon(&mut self, frame: TxFrame) {
        (**self).abandon(frame);
    }
    fn keep(&mut self) -> Option<TxFrame> {
        (**self).keep()
    }
    fn is_at_rest(&self, frame: &TxFrame) -> bool {
        (**self).is_at_rest(frame)
    }
    fn commit_kept_for(&mut self, purpose: Purpose, frame: &TxFrame, start: usize, len: usize) -> bool {
        (**self).commit_kept_for(purpose, frame, start, len)
    }
    fn has_room(&mut self, kept: bool) -> bool {
        (**self).has_room(kept)
    }
    fn release(&mut self, frame: TxFrame) {
        (**self).release(frame);
    }
    fn flush(&mut self, now_ns: u64) -> io::Result<()> {
        (**self).flush(now_ns)
    }
    fn statistics(&self) -> PortStatistics {
        (**self).statistics()
    }
}
