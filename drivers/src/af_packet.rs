//! AF_PACKET: two rings of frames shared with the kernel (TPACKET_V2). Works on any NIC and kernel; slower than
//! AF_XDP, because every frame passes through the kernel's buffers.
//!
//! The idea: a ring is an array of equal slots, each with a header whose status word says who owns it.
//! Received frames are lent to the caller where they lie and their slots given back when recycled; the
//! kernel goes round in order and drops (counted) when the next slot is still on loan. V3 is not used:
//! it hands out blocks, and a lone frame waits for a timer.
//!
//! Frames to send are written into chunks of our own and copied into the next ring slot when
//! committed: the kernel sends slots strictly in order, and the copy (some 20 ns) is what lets frames
//! be committed in another order than they were allocated in. They bypass the queueing discipline.
//!
//! What to know:
//! - We see *copies*: the kernel's stack sees the same frames. A shield (see
//!   [`crate::xdp_program`]) keeps it from seeing ours; without one (Linux before 6.6) it may forward
//!   them, and on a shared address it would answer them with RST, so that is refused.
//! - A frame from this same machine (veth, tap, virtio) may come with its checksum left to hardware
//!   that does not exist (`TP_STATUS_CSUMNOTREADY`). The checksum is completed here.
//! - GRO merges received segments into frames larger than a slot, so it is switched off on the
//!   interface when the port is opened, and stays off. Frames that are too long all the same are
//!   dropped and counted as `rx_invalid`.
//! - The kernel takes VLAN tags out of the frame; tagged frames are not ours and are filtered out.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::af_xdp::{get_option, set_option};
use crate::error::{DriverError, Result};
use crate::filter::{ETHERTYPE_IPV4, FRAGMENT_MASK, Filter, PROTOCOL_TCP, PROTOCOL_UDP, offset};
use crate::frame_memory::{FrameMemory, FreeList, KeptChunks, Pages};
use crate::interface::{self, Interface, Offload};
use crate::port::{BURST_MAX, Burst, Port, PortInfo, PortStatistics, RxFrame, TxFrame};
use crate::purpose::Purpose;
use crate::socket_filter::socket_filter;
use crate::xdp_program::Shield;
use crate::xsk_ring::Mapping;

const ETHERNET_HEADER: usize = 14;

// linux/if_packet.h
const PACKET_RX_RING: libc::c_int = 5;
const PACKET_STATISTICS: libc::c_int = 6;
const PACKET_VERSION: libc::c_int = 10;
const PACKET_TX_RING: libc::c_int = 13;
const PACKET_LOSS: libc::c_int = 14;
const PACKET_QDISC_BYPASS: libc::c_int = 20;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const TPACKET_V2: libc::c_int = 1;

/// The slot is the kernel's (receive) or free (send).
const TP_STATUS_KERNEL: u32 = 0;
/// The slot holds a received frame.
const TP_STATUS_USER: u32 = 1;
/// The checksum was left to hardware.
const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
/// The frame had a VLAN tag.
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
/// The slot is to be sent.
const TP_STATUS_SEND_REQUEST: u32 = 1;
/// The slot was refused.
const TP_STATUS_WRONG_FORMAT: u32 = 1 << 2;

/// Bytes that the kernel puts before a frame in a slot, at most: header, address, alignment.
const SLOT_OVERHEAD: usize = 128;
/// Where a frame to send begins in its slot: behind the header.
const TX_DATA: usize = size_of::<SlotHeader>();
/// Ring memory is made of blocks of this size.
const BLOCK_SIZE: u32 = 64 << 10;
/// Bytes of frames in flight that the kernel allows.
const SEND_BUFFER: i32 = 8 << 20;

/// `struct tpacket2_hdr`.
#[repr(C)]
struct SlotHeader {
    status: AtomicU32,
    len: u32,
    captured: u32,
    mac_offset: u16,
    network_offset: u16,
    seconds: u32,
    nanoseconds: u32,
    vlan_tci: u16,
    vlan_tpid: u16,
    padding: [u8; 4],
}

/// `struct tpacket_req`.
#[repr(C)]
struct RingRequest {
    block_size: u32,
    blocks: u32,
    slot_size: u32,
    slots: u32,
}

/// `struct tpacket_stats`.
#[repr(C)]
struct KernelStatistics {
    packets: u32,
    drops: u32,
}

/// How to open an AF_PACKET port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfPacketConfig {
    /// Interface name.
    pub interface: String,
    /// What is ours.
    pub filter: Filter,
    /// Slots for receiving; a power of two.
    pub rx_frames: u32,
    /// Slots for sending; a power of two.
    pub tx_frames: u32,
}

impl AfPacketConfig {
    /// 4096 receive and 1024 transmit slots (10 MiB at an MTU of 1500).
    pub fn new(interface: impl Into<String>, filter: Filter) -> AfPacketConfig {
        AfPacketConfig { interface: interface.into(), filter, rx_frames: 4096, tx_frames: 1024 }
    }
}

/// An AF_PACKET port. See the module.
pub struct AfPacket {
    _shield: Option<Shield>,
    fd: OwnedFd,
    _mapping: Mapping,
    rx: Slots,
    tx: Slots,
    /// Next receive slot that the kernel will fill.
    rx_next: u32,
    /// Which receive slots the caller has.
    lent: Box<[bool]>,
    /// Next transmit slot to write.
    tx_next: u32,
    /// Oldest transmit slot that the kernel may still have.
    tx_oldest: u32,
    /// Chunks given to the caller and not yet committed; each has a slot reserved.
    tx_allocated: u32,
    staging: FrameMemory,
    free: FreeList,
    kept: KeptChunks,
    capacity: u32,
    kick_pending: bool,
    info: PortInfo,
    statistics: PortStatistics,
    /// Reading the kernel's drop counter resets it; this is the sum.
    dropped: Cell<u64>,
}

/// One ring of slots.
struct Slots {
    base: NonNull<u8>,
    slot_size: u32,
    slots: u32,
}

// SAFETY: the pointer leads into the mapping that the port owns and that moves along with it.
unsafe impl Send for Slots {}

impl Slots {
    #[inline]
    fn index(&self, counter: u32) -> u32 {
        counter & (self.slots - 1)
    }

    #[inline]
    fn slot(&self, counter: u32) -> NonNull<u8> {
        // SAFETY: the masked index is below `slots`, all of which lie in the mapping.
        unsafe { self.base.add(self.index(counter) as usize * self.slot_size as usize) }
    }

    #[inline]
    fn header(&mut self, counter: u32) -> NonNull<SlotHeader> {
        self.slot(counter).cast()
    }

    #[inline]
    fn status(&self, counter: u32) -> &AtomicU32 {
        // SAFETY: every slot begins with a header, at a multiple of its alignment, and the kernel
        // treats the status as an atomic word.
        unsafe { &(*self.slot(counter).cast::<SlotHeader>().as_ptr()).status }
    }

    /// Pointer to `len` bytes at `offset` of the ring.
    #[inline]
    fn pointer(&self, offset: u64, len: u32) -> *mut u8 {
        let end = offset.checked_add(u64::from(len));
        assert!(end.is_some_and(|end| end <= u64::from(self.slots) * u64::from(self.slot_size)), "frame handle outside the ring");
        // SAFETY: the offset lies within the ring, as just asserted.
        unsafe { self.base.add(offset as usize) }.as_ptr()
    }
}

impl AfPacket {
    /// Opens a port.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, if the interface is missing or down, or if the address is shared with
    /// the kernel and the kernel cannot be kept from answering.
    pub fn open(config: &AfPacketConfig) -> Result<AfPacket> {
        config.filter.validate()?;
        for (what, frames) in [("rx_frames", config.rx_frames), ("tx_frames", config.tx_frames)] {
            if !frames.is_power_of_two() || !(BURST_MAX as u32..=65_536).contains(&frames) {
                return Err(DriverError::Config(format!("{what} = {frames} is no power of two within {BURST_MAX} to 65536")));
            }
        }
        let interface = Interface::open(&config.interface)?;
        if !interface.up {
            return Err(DriverError::Config(format!("interface {} is down: `ip link set {} up`", interface.name, interface.name)));
        }
        let mut why = Vec::new();
        let fd = open_socket(&config.filter)?;
        let slot_size = (interface.mtu + ETHERNET_HEADER + SLOT_OVERHEAD).next_power_of_two().max(2048);
        let slot_size = u32::try_from(slot_size)
            .ok()
            .filter(|size| *size <= BLOCK_SIZE)
            .ok_or_else(|| DriverError::Config(format!("MTU {} of {} is too large for AF_PACKET rings", interface.mtu, interface.name)))?;
        let (mapping, rx, tx) = make_rings(&fd, config, slot_size)?;

        let shield = match config.filter {
            // To take an interface away from the kernel altogether would be more than was asked for.
            Filter::Everything => None,
            Filter::Address(_) => match Shield::attach(&interface, &config.filter) {
                Ok(shield) => Some(shield),
                Err(error) => {
                    why.push(format!("the kernel sees our frames too (harmless unless it forwards): {}", error.one_line()));
                    None
                }
            },
            Filter::Ports { .. } => Some(Shield::attach(&interface, &config.filter)?),
        };
        if let Err(error) = interface::set_offload(&interface.name, Offload::GenericReceive, false) {
            why.push(format!("GRO stays on, merged frames will be dropped: {}", error.one_line()));
        }
        bind(&fd, &interface)?;

        let capacity = interface.mtu + ETHERNET_HEADER;
        let staging = FrameMemory::new(config.tx_frames, capacity.next_power_of_two().max(2048) as u32, Pages::Ordinary)?;
        why.extend_from_slice(staging.why());
        let info = PortInfo {
            interface: interface.name.clone(),
            driver: "af_packet",
            mode: "tpacket_v2",
            why,
            mac: interface.mac,
            mtu: interface.mtu,
            huge_pages: false,
        };
        Ok(AfPacket {
            _shield: shield,
            fd,
            _mapping: mapping,
            rx,
            tx,
            rx_next: 0,
            lent: vec![false; config.rx_frames as usize].into_boxed_slice(),
            tx_next: 0,
            tx_oldest: 0,
            tx_allocated: 0,
            free: FreeList::new(0, config.tx_frames, staging.chunk_size()),
            kept: KeptChunks::new(0, config.tx_frames, staging.chunk_size()),
            staging,
            capacity: capacity as u32,
            kick_pending: false,
            info,
            statistics: PortStatistics::default(),
            dropped: Cell::new(0),
        })
    }

    /// Puts the reasons against better ports in front of our own.
    pub(crate) fn prepend_why(&mut self, mut reasons: Vec<String>) {
        reasons.append(&mut self.info.why);
        self.info.why = reasons;
    }

    /// Looks which slots the kernel has finished sending.
    #[inline]
    fn reclaim(&mut self) {
        while self.tx_oldest != self.tx_next {
            let status = self.tx.status(self.tx_oldest).load(Ordering::Acquire);
            if status & TP_STATUS_WRONG_FORMAT != 0 {
                self.statistics.tx_invalid += 1;
                self.tx.status(self.tx_oldest).store(TP_STATUS_KERNEL, Ordering::Release);
            } else if status != TP_STATUS_KERNEL {
                break;
            }
            self.tx_oldest = self.tx_oldest.wrapping_add(1);
        }
    }

    /// Copies a frame into the next slot, which the caller knows to be free, for sending.
    #[inline]
    fn queue(&mut self, offset: u64, len: usize) {
        let from = self.staging.pointer(offset, len as u32);
        let slot = self.tx.slot(self.tx_next);
        let mut header = self.tx.header(self.tx_next);
        // SAFETY: the caller has seen that there is a slot with which the kernel has finished; slots are at least
        // `capacity + SLOT_OVERHEAD` long, and no frame is longer; the staged bytes are bounds-checked.
        unsafe {
            std::ptr::copy_nonoverlapping(from, slot.add(TX_DATA).as_ptr(), len);
            header.as_mut().len = len as u32;
        }
        self.tx.status(self.tx_next).store(TP_STATUS_SEND_REQUEST, Ordering::Release);
        self.tx_next = self.tx_next.wrapping_add(1);
        self.kick_pending = true;
        self.statistics.tx_frames += 1;
        self.statistics.tx_bytes += len as u64;
    }

    /// Slots that are neither with the kernel nor reserved for an allocated chunk.
    #[inline]
    fn has_slot(&self) -> bool {
        self.tx_next.wrapping_sub(self.tx_oldest) + self.tx_allocated < self.tx.slots
    }
}

/// A packet socket that hears nothing yet and, once bound, only what is ours.
fn open_socket(filter: &Filter) -> Result<OwnedFd> {
    // Protocol 0: no frame is delivered before the filter is in place and the socket bound.
    // SAFETY: plain system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(DriverError::last_os("socket(AF_PACKET) (needs CAP_NET_RAW)"));
    }
    // SAFETY: the descriptor was just created and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut program = socket_filter(filter)?;
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
        .map_err(|error| DriverError::io("SO_ATTACH_FILTER", error))?;
    set_option(fd.as_fd(), libc::SOL_PACKET, PACKET_VERSION, &TPACKET_V2).map_err(|error| DriverError::io("PACKET_VERSION", error))?;
    // A slot with an impossible length is skipped instead of blocking the ring.
    set_option(fd.as_fd(), libc::SOL_PACKET, PACKET_LOSS, &1_i32).map_err(|error| DriverError::io("PACKET_LOSS", error))?;
    set_option(fd.as_fd(), libc::SOL_PACKET, PACKET_QDISC_BYPASS, &1_i32).map_err(|error| DriverError::io("PACKET_QDISC_BYPASS", error))?;
    // Linux 4.20; before it, the filter does the same a little later.
    let _ = set_option(fd.as_fd(), libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32);
    if set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER).is_err() {
        let _ = set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER);
    }
    Ok(fd)
}

/// Asks for both rings and maps them: receive slots first, transmit slots behind them.
fn make_rings(fd: &OwnedFd, config: &AfPacketConfig, slot_size: u32) -> Result<(Mapping, Slots, Slots)> {
    for (option, name, slots) in
        [(PACKET_RX_RING, "PACKET_RX_RING", config.rx_frames), (PACKET_TX_RING, "PACKET_TX_RING", config.tx_frames)]
    {
        let bytes = slots * slot_size;
        let block_size = BLOCK_SIZE.min(bytes);
        let request = RingRequest { block_size, blocks: bytes / block_size, slot_size, slots };
        set_option(fd.as_fd(), libc::SOL_PACKET, option, &request)
            .map_err(|error| DriverError::io(format!("{name} of {slots} slots of {slot_size} bytes"), error))?;
    }
    let (rx_bytes, tx_bytes) = (config.rx_frames as usize * slot_size as usize, config.tx_frames as usize * slot_size as usize);
    let mapping = Mapping::of(fd.as_fd(), rx_bytes + tx_bytes, 0).map_err(|error| DriverError::io("mmap of the packet rings", error))?;
    let rx = Slots { base: mapping.base(), slot_size, slots: config.rx_frames };
    // SAFETY: the mapping is rx_bytes + tx_bytes long.
    let tx = Slots { base: unsafe { mapping.base().add(rx_bytes) }, slot_size, slots: config.tx_frames };
    Ok((mapping, rx, tx))
}

fn bind(fd: &OwnedFd, interface: &Interface) -> Result<()> {
    // SAFETY: sockaddr_ll is plain data; all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = i32::try_from(interface.index).map_err(|_| DriverError::Config("interface index".to_owned()))?;
    // SAFETY: the address is a live sockaddr_ll of the given size.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t) };
    if bound < 0 {
        return Err(DriverError::last_os(format!("bind(AF_PACKET) to {}", interface.name)));
    }
    Ok(())
}

impl Port for AfPacket {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, _now_ns: u64, burst: &mut Burst) -> usize {
        let mut added = 0;
        // Bounded even if every frame is refused: at most one round of the ring.
        for _ in 0..self.rx.slots {
            let index = self.rx.index(self.rx_next) as usize;
            if burst.room() == 0 || self.lent.get(index).copied().unwrap_or(true) {
                break;
            }
            let status = self.rx.status(self.rx_next).load(Ordering::Acquire);
            if status & TP_STATUS_USER == 0 {
                break;
            }
            // SAFETY: the status (acquire) says that the kernel has written this slot and left it to us.
            let header = unsafe { self.rx.header(self.rx_next).as_ref() };
            let (start, captured, len) = (u32::from(header.mac_offset), header.captured, header.len);
            let whole = captured == len && start.checked_add(captured).is_some_and(|end| end <= self.rx.slot_size);
            if !whole || status & TP_STATUS_VLAN_VALID != 0 {
                self.statistics.rx_invalid += 1;
                self.rx.status(self.rx_next).store(TP_STATUS_KERNEL, Ordering::Release);
                self.rx_next = self.rx_next.wrapping_add(1);
                continue;
            }
            let frame = RxFrame { offset: index as u64 * u64::from(self.rx.slot_size) + u64::from(start), len: captured };
            if status & TP_STATUS_CSUMNOTREADY != 0 {
                complete_checksum(self.frame(frame));
            }
            if let Some(lent) = self.lent.get_mut(index) {
                *lent = true;
            }
            burst.push(frame);
            self.rx_next = self.rx_next.wrapping_add(1);
            self.statistics.rx_bytes += u64::from(captured);
            added += 1;
        }
        self.statistics.rx_frames += added as u64;
        added
    }

    fn frame(&mut self, frame: RxFrame) -> &mut [u8] {
        let pointer = self.rx.pointer(frame.offset, frame.len);
        // SAFETY: bounds-checked; the kernel leaves the slot alone until its status is written by
        // `recycle`, and `&mut self` keeps us from making a second slice of it.
        unsafe { std::slice::from_raw_parts_mut(pointer, frame.len as usize) }
    }

    fn recycle(&mut self, burst: &mut Burst) {
        for frame in burst.frames() {
            let index = (frame.offset / u64::from(self.rx.slot_size)) as u32;
            if let Some(lent) = self.lent.get_mut(index as usize)
                && std::mem::take(lent)
            {
                self.rx.status(index).store(TP_STATUS_KERNEL, Ordering::Release);
            }
        }
        burst.clear();
    }

    fn allocate(&mut self) -> Option<TxFrame> {
        if !self.has_slot() {
            self.reclaim();
        }
        let offset = if self.has_slot() { self.free.take() } else { None };
        match offset {
            Some(offset) => {
                self.tx_allocated += 1;
                Some(TxFrame { offset, capacity: self.capacity })
            }
            None => {
                self.statistics.tx_exhausted += 1;
                None
            }
        }
    }

    fn buffer(&mut self, frame: &TxFrame) -> &mut [u8] {
        let pointer = self.staging.pointer(frame.offset, frame.capacity);
        // SAFETY: bounds-checked memory of our own; an allocated chunk is not handed out twice, and
        // `&mut self` keeps us from making a second slice of it.
        unsafe { std::slice::from_raw_parts_mut(pointer, frame.capacity as usize) }
    }

    fn commit(&mut self, frame: TxFrame, len: usize) {
        if len < ETHERNET_HEADER || len > self.capacity as usize {
            self.statistics.tx_invalid += 1;
            self.abandon(frame);
            return;
        }
        self.queue(frame.offset, len);
        self.tx_allocated -= 1;
        self.free.give(frame.offset);
    }

    fn abandon(&mut self, frame: TxFrame) {
        self.tx_allocated -= 1;
        self.free.give(frame.offset);
    }

    // Frames are copied into the ring when they are committed, so a kept chunk is always at rest.
    fn keep(&mut self) -> Option<TxFrame> {
        if !self.kept.has_room() {
            return None;
        }
        let offset = self.free.take()?;
        self.kept.keep(offset);
        Some(TxFrame { offset, capacity: self.staging.chunk_size() })
    }

    fn is_at_rest(&self, frame: &TxFrame) -> bool {
        self.kept.is_at_rest(frame.offset)
    }

    fn commit_kept_for(&mut self, purpose: Purpose, frame: &TxFrame, start: usize, len: usize) -> bool {
        let fits = len >= ETHERNET_HEADER && len <= self.capacity as usize && start + len <= frame.capacity as usize;
        if !fits || !self.kept.is_at_rest(frame.offset) || purpose == Purpose::Rehearse {
            return false;
        }
        if !self.has_slot() {
            self.reclaim();
        }
        if !self.has_slot() {
            return false;
        }
        self.queue(frame.offset + start as u64, len);
        true
    }

    fn has_room(&mut self, kept: bool) -> bool {
        if !self.has_slot() {
            self.reclaim();
        }
        let room = self.has_slot() && (kept || !self.free.is_empty());
        self.statistics.tx_exhausted += u64::from(!room);
        room
    }

    fn release(&mut self, frame: TxFrame) {
        if self.kept.release(frame.offset) {
            self.free.give(frame.offset);
        }
    }

    fn flush(&mut self, _now_ns: u64) -> io::Result<()> {
        if !self.kick_pending {
            return Ok(());
        }
        self.statistics.kicks += 1;
        // SAFETY: a send of nothing; no pointer is followed.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT) };
        if sent < 0 {
            let error = io::Error::last_os_error();
            // Frames that were refused for the moment keep their place in the ring.
            if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR)) {
                return Err(error);
            }
            self.statistics.kicks_deferred += 1;
            return Ok(());
        }
        self.kick_pending = false;
        self.reclaim();
        Ok(())
    }

    fn statistics(&self) -> PortStatistics {
        let mut kernel = KernelStatistics { packets: 0, drops: 0 };
        if get_option(self.fd.as_fd(), libc::SOL_PACKET, PACKET_STATISTICS, &mut kernel).is_ok() {
            self.dropped.set(self.dropped.get() + u64::from(kernel.drops));
        }
        let mut statistics = self.statistics;
        statistics.rx_dropped += self.dropped.get();
        statistics
    }
}

/// Completes the checksum of a TCP or UDP segment in an unfragmented IPv4 packet, as hardware would
/// have done (RFC 9293 3.1, RFC 768). Anything else is left as it is; returns whether it was done.
pub fn complete_checksum(frame: &mut [u8]) -> bool {
    let u16_at = |bytes: &[u8], at: usize| bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    if u16_at(frame, offset::ETHERTYPE) != Some(ETHERTYPE_IPV4) {
        return false;
    }
    let Some(packet) = frame.get_mut(offset::PAYLOAD..) else { return false };
    let (Some(&first), Some(total), Some(fragment), Some(&protocol)) =
        (packet.first(), u16_at(packet, 2), u16_at(packet, 6), packet.get(9))
    else {
        return false;
    };
    let header = usize::from(first & 0x0f) * 4;
    let at = match protocol {
        PROTOCOL_TCP => 16,
        PROTOCOL_UDP => 6,
        _ => return false,
    };
    if first >> 4 != 4 || header < 20 || fragment & FRAGMENT_MASK != 0 {
        return false;
    }
    let Some(addresses) = packet.get(12..20).map(sum_words) else { return false };
    let Some(segment) = packet.get_mut(header..usize::from(total)) else { return false };
    let Some(field) = segment.get_mut(at..at + 2) else { return false };
    field.fill(0);
    let mut sum = addresses + u64::from(protocol) + segment.len() as u64 + sum_words(segment);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // A UDP checksum of zero would mean that there is none.
    let checksum = match !(sum as u16) {
        0 if protocol == PROTOCOL_UDP => 0xffff,
        checksum => checksum,
    };
    if let Some(field) = segment.get_mut(at..at + 2) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    true
}

/// Sum of big-endian 16-bit words, an odd last byte padded with zero.
fn sum_words(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let sum: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    sum + rest.first().map_or(0, |last| u64::from(*last) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slot_header_has_the_kernels_layout() {
        assert_eq!(size_of::<SlotHeader>(), 32);
        assert_eq!(std::mem::offset_of!(SlotHeader, mac_offset), 12);
        assert_eq!(std::mem::offset_of!(SlotHeader, vlan_tci), 24);
    }

    /// UDP from 10.0.0.1:1 to 10.0.0.2:2, payload "a"; checksum worked out by hand:
    /// 0a00+0001+0a00+0002 + 0011+0009 + 0001+0002+0009+6100 = 7529, inverted 8ad6.
    #[test]
    fn checksum_of_a_known_datagram() {
        let mut frame = vec![0_u8; 14];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame.extend_from_slice(&[0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend_from_slice(&[0, 1, 0, 2, 0, 9, 0xde, 0xad, b'a']);
        frame.push(0); // Ethernet padding is not part of the datagram.
        assert!(complete_checksum(&mut frame));
        assert_eq!(frame[40..42], [0x8a, 0xd6]);
    }

    #[test]
    fn fragments_and_other_protocols_are_left_alone() {
        for (filter, frame) in [
            ("fragment", {
                let mut f = crate::filter::samples::ipv4(crate::filter::samples::OURS, PROTOCOL_TCP, 1);
                f[20] = 0x20;
                f
            }),
            ("icmp", crate::filter::samples::ipv4(crate::filter::samples::OURS, 1, 1)),
            ("arp", crate::filter::samples::arp(crate::filter::samples::OURS)),
        ] {
            let mut changed = frame.clone();
            assert!(!complete_checksum(&mut changed), "{filter}");
            assert_eq!(changed, frame, "{filter}");
        }
    }

    proptest! {
        /// Any bytes are survived, and a completed checksum verifies.
        #[test]
        fn completion_survives_anything_and_verifies(mut frame in prop::collection::vec(any::<u8>(), 0..200), plausible in any::<bool>()) {
            if plausible && frame.len() >= 54 {
                let total = (frame.len() - 14) as u16;
                frame[12..14].copy_from_slice(&[8, 0]);
                frame[14] = 0x45;
                frame[16..18].copy_from_slice(&total.to_be_bytes());
                frame[20..22].fill(0);
                frame[23] = PROTOCOL_TCP;
            }
            if complete_checksum(&mut frame) && frame[23] == PROTOCOL_TCP && frame[14] == 0x45 {
                let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
                let segment = &frame[34..14 + total];
                let mut sum = sum_words(&frame[26..34]) + 6 + segment.len() as u64 + sum_words(segment);
                while sum > 0xffff {
                    sum = (sum & 0xffff) + (sum >> 16);
                }
                prop_assert_eq!(sum, 0xffff);
            }
        }
    }
}
