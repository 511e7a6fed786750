//! AF_XDP: frames straight between the driver and our memory.
//!
//! The idea: an XDP program in the receive path of the NIC sends frames of ours into a socket that
//! shares a region of memory (UMEM) with the kernel. Chunks of it go round in four rings:
//!
//! ```text
//!   fill ------> kernel writes a frame ------> RX ------> caller reads it in place --- recycle --> fill
//!   allocate --> caller writes a frame -- commit --> TX -- flush (kick) --> completion ----> allocate
//! ```
//!
//! The first half of the chunks serves receiving, the rest sending; each ring has room for all chunks
//! that can be in it, so no ring is ever full.
//!
//! Opening goes down a ladder, and every refusal is kept with its reason in [`PortInfo::why`]:
//! zero-copy (the NIC itself reads and writes our chunks) -> native copy (program in the driver, one
//! copy by the kernel) -> generic copy (works on every interface). Zero-copy follows the kernel's
//! documentation but none of the machines it was developed on has a NIC for it: unproven.
//!
//! Privileges: root, or `CAP_NET_RAW` + `CAP_BPF` + `CAP_NET_ADMIN` (and `CAP_IPC_LOCK` or a large
//! `RLIMIT_MEMLOCK`), for opening only.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use crate::error::{DriverError, Result};
use crate::filter::Filter;
use crate::frame_memory::{CHUNK_SIZE, FrameMemory, FreeList, KeptChunks, Pages};
use crate::interface::{self, Interface};
use crate::port::{BURST_MAX, Burst, Port, PortInfo, PortStatistics, RxFrame, TxFrame};
use crate::prefetch::{LINE, prefetch};
use crate::purpose::Purpose;
use crate::retry::retry_while_busy;
use crate::xdp_program::{AttachMode, XdpAttachment};
use crate::xsk_ring::{ConsumerRing, Mapping, ProducerRing, RingOffsets};

const ETHERNET_HEADER: usize = 14;
/// Room that XDP keeps in front of every received frame (`XDP_PACKET_HEADROOM`).
const XDP_HEADROOM: usize = 256;
/// Room for a VLAN tag and the frame check sequence beyond the MTU.
const FRAME_SLACK: usize = 8;
/// Lines of a received frame that are asked for beforehand.
const LINES_ASKED_FOR: usize = 16;
/// Copy mode sends at most this many frames in one system call, so that a kick has a bound.
const TX_BUDGET: u32 = 128;
/// Bytes of frames in flight that the kernel allows in copy mode.
const SEND_BUFFER: i32 = 8 << 20;

/// `XDP_MAX_TX_SKB_BUDGET` (linux/if_xdp.h, 6.17).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// `SO_PREFER_BUSY_POLL` (asm-generic/socket.h, 5.11).
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
/// `SO_BUSY_POLL_BUDGET` (asm-generic/socket.h, 5.11).
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;
/// `SO_BUSY_POLL`.
const SO_BUSY_POLL: libc::c_int = 46;

/// The kernel's driver polls from our thread instead of from interrupts.
///
/// Worth it on a NIC whose interrupts would otherwise land on our core; needs
/// `/sys/class/net/<if>/napi_defer_hard_irqs` and `gro_flush_timeout` to be set. On veth it only adds
/// system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// `SO_BUSY_POLL`, microseconds.
    pub poll_us: u32,
    /// `SO_BUSY_POLL_BUDGET`, frames in one poll.
    pub budget: u32,
    /// At least this long between two polls, nanoseconds; polling without a pause starves sending.
    pub interval_ns: u64,
}

impl Default for BusyPoll {
    fn default() -> Self {
        BusyPoll { poll_us: 20, budget: 64, interval_ns: 5_000 }
    }
}

/// How to open an AF_XDP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfXdpConfig {
    /// Interface name.
    pub interface: String,
    /// Receive queue to serve. Flows must be steered to it (`ethtool -N` or one queue only).
    pub queue: u32,
    /// What is ours.
    pub filter: Filter,
    /// Chunks for receiving; a power of two.
    pub rx_frames: u32,
    /// Chunks for sending; a power of two.
    pub tx_frames: u32,
    /// Whether zero-copy may be tried.
    pub zero_copy: bool,
    /// Whether the native XDP program may be tried.
    pub native: bool,
    /// Whether the generic XDP program may be tried.
    pub generic: bool,
    /// Busy polling, off by default.
    pub busy_poll: Option<BusyPoll>,
    /// How long to wait for a queue that is still taken by a process that has just died.
    pub busy_patience: Duration,
}

impl AfXdpConfig {
    /// Queue 0, 4096 receive and 1024 transmit chunks (20 MiB), the whole ladder, no busy polling.
    pub fn new(interface: impl Into<String>, filter: Filter) -> AfXdpConfig {
        AfXdpConfig {
            interface: interface.into(),
            queue: 0,
            filter,
            rx_frames: 4096,
            tx_frames: 1024,
            zero_copy: true,
            native: true,
            generic: true,
            busy_poll: None,
            busy_patience: Duration::from_secs(2),
        }
    }
}

/// How the socket is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BindMode {
    ZeroCopy,
    Copy,
}

/// An AF_XDP port. See the module.
pub struct AfXdp {
    // Fields are dropped in this order: no more redirects, then no more kernel use of the rings and
    // of the memory.
    _attachment: Arc<XdpAttachment>,
    socket: XskSocket,
    memory: FrameMemory,
    free: FreeList,
    kept: KeptChunks,
    info: PortInfo,
    /// Largest frame that may be sent.
    capacity: u32,
    /// The kernel has not yet taken everything that was published.
    kick_pending: bool,
    busy_poll: Option<BusyPoll>,
    last_busy_poll_ns: u64,
    statistics: PortStatistics,
}

impl AfXdp {
    /// Opens a port with an XDP program of its own.
    ///
    /// # Errors
    /// If no permitted step of the ladder works: [`DriverError::NoLink`] with every refusal.
    pub fn open(config: &AfXdpConfig) -> Result<AfXdp> {
        let interface = check(config)?;
        let mut why = Vec::new();
        for (mode, permitted) in [(AttachMode::Native, config.native), (AttachMode::Generic, config.generic)] {
            if !permitted {
                why.push(format!("{} XDP: not permitted by the configuration", mode_name(mode)));
                continue;
            }
            let attachment = match XdpAttachment::attach(&interface, config.filter, mode, config.busy_patience) {
                Ok(attachment) => Arc::new(attachment),
                Err(error) => {
                    why.push(format!("{} XDP: {}", mode_name(mode), error.one_line()));
                    continue;
                }
            };
            if let Some(port) = AfXdp::bind(config, &interface, &attachment, &mut why)? {
                return Ok(port);
            }
        }
        Err(DriverError::NoLink { interface: config.interface.clone(), tried: why })
    }

    /// Opens a port for one queue of an interface on which the XDP program is already attached: for
    /// several queues of one interface. `filter`, `native` and `generic` of the configuration are not
    /// consulted; the attachment has decided them.
    ///
    /// # Errors
    /// If the attachment is on another interface, or neither zero-copy nor copy can be bound.
    pub fn open_on(config: &AfXdpConfig, attachment: &Arc<XdpAttachment>) -> Result<AfXdp> {
        let interface = check(config)?;
        if attachment.ifindex() != interface.index {
            return Err(DriverError::Config(format!("the XDP program is not attached to {}", interface.name)));
        }
        let mut why = Vec::new();
        AfXdp::bind(config, &interface, attachment, &mut why)?
            .ok_or(DriverError::NoLink { interface: config.interface.clone(), tried: why })
    }

    /// Tries the bind modes that go with the attachment. `None` if all were refused (see `why`).
    fn bind(config: &AfXdpConfig, interface: &Interface, attachment: &Arc<XdpAttachment>, why: &mut Vec<String>) -> Result<Option<AfXdp>> {
        let memory = FrameMemory::new(config.rx_frames + config.tx_frames, CHUNK_SIZE, Pages::HugeOrOrdinary)?;
        let native = attachment.mode() == AttachMode::Native;
        for mode in [BindMode::ZeroCopy, BindMode::Copy] {
            let name = match mode {
                BindMode::ZeroCopy => "zero-copy",
                BindMode::Copy => "copy",
            };
            if mode == BindMode::ZeroCopy && !(native && config.zero_copy) {
                // Generic XDP has no zero-copy at all.
                if native {
                    why.push("zero-copy: not permitted by the configuration".to_owned());
                }
                continue;
            }
            match XskSocket::open(config, interface, &memory, mode) {
                Ok(socket) => return AfXdp::assemble(config, interface, attachment, memory, socket, why).map(Some),
                Err(error) => {
                    let driver = interface::kernel_driver(&interface.name).unwrap_or_else(|| "unknown".to_owned());
                    why.push(format!("{name} on the {} program (driver {driver}): {}", mode_name(attachment.mode()), error.one_line()));
                }
            }
        }
        Ok(None)
    }

    fn assemble(
        config: &AfXdpConfig,
        interface: &Interface,
        attachment: &Arc<XdpAttachment>,
        memory: FrameMemory,
        mut socket: XskSocket,
        why: &mut Vec<String>,
    ) -> Result<AfXdp> {
        for chunk in 0..config.rx_frames {
            socket.fill.write(u64::from(chunk) * u64::from(CHUNK_SIZE));
        }
        socket.fill.publish();
        attachment.connect(config.queue, socket.fd.as_fd())?;
        let mut refused = Vec::new();
        let busy_poll = config.busy_poll.filter(|busy_poll| socket.set_busy_poll(busy_poll, &mut refused));
        socket.set_optional_limits(config);
        why.append(&mut refused);
        why.extend_from_slice(memory.why());
        let mode = match (socket.is_zero_copy()?, attachment.mode()) {
            (true, _) => "zero-copy",
            (false, AttachMode::Native) => "native copy",
            (false, AttachMode::Generic) => "generic copy",
        };
        let info = PortInfo {
            interface: interface.name.clone(),
            driver: "af_xdp",
            mode,
            why: std::mem::take(why),
            mac: interface.mac,
            mtu: interface.mtu,
            huge_pages: memory.huge_pages(),
        };
        Ok(AfXdp {
            _attachment: attachment.clone(),
            free: FreeList::new(config.rx_frames, config.tx_frames, CHUNK_SIZE),
            kept: KeptChunks::new(config.rx_frames, config.tx_frames, CHUNK_SIZE),
            capacity: (interface.mtu + ETHERNET_HEADER) as u32,
            memory,
            socket,
            info,
            kick_pending: false,
            busy_poll,
            last_busy_poll_ns: 0,
            statistics: PortStatistics::default(),
        })
    }

    /// Takes back the chunks that the kernel has finished sending.
    #[inline]
    fn reclaim(&mut self) {
        while let Some(offset) = self.socket.completion.read() {
            let chunk = self.memory.chunk_of(offset);
            if !self.kept.arrive(chunk) {
                self.free.give(chunk);
            }
        }
        self.socket.completion.release();
    }
}

fn mode_name(mode: AttachMode) -> &'static str {
    match mode {
        AttachMode::Native => "native",
        AttachMode::Generic => "generic",
    }
}

/// Refuses what cannot work, before anything is touched.
fn check(config: &AfXdpConfig) -> Result<Interface> {
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
    let room = CHUNK_SIZE as usize - XDP_HEADROOM;
    if interface.mtu + ETHERNET_HEADER + FRAME_SLACK > room {
        return Err(DriverError::Config(format!(
            "MTU {} of {} does not fit a {CHUNK_SIZE}-byte chunk: lower it to {} or less",
            interface.mtu,
            interface.name,
            room - ETHERNET_HEADER - FRAME_SLACK
        )));
    }
    Ok(interface)
}

impl Port for AfXdp {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, now_ns: u64, burst: &mut Burst) -> usize {
        if let Some(busy_poll) = self.busy_poll
            && now_ns.wrapping_sub(self.last_busy_poll_ns) >= busy_poll.interval_ns
        {
            self.last_busy_poll_ns = now_ns;
            self.statistics.wakeups += 1;
            self.socket.wake_receive();
        } else if self.socket.fill.needs_wakeup() {
            self.statistics.wakeups += 1;
            self.socket.wake_receive();
        }
        let mut added = 0;
        self.socket.rx.expect();
        while burst.room() > 0 {
            let Some(descriptor) = self.socket.rx.read() else { break };
            // All of it will be read at once, and another core has just written it.
            let frame = self.memory.address(descriptor.addr);
            for line in 0..(descriptor.len as usize / LINE + 1).min(LINES_ASKED_FOR) {
                prefetch(frame.wrapping_add(line * LINE));
            }
            burst.push(RxFrame { offset: descriptor.addr, len: descriptor.len });
            self.statistics.rx_bytes += u64::from(descriptor.len);
            added += 1;
        }
        self.socket.rx.release();
        self.statistics.rx_frames += added as u64;
        added
    }

    fn frame(&mut self, frame: RxFrame) -> &mut [u8] {
        let pointer = self.memory.pointer(frame.offset, frame.len);
        // SAFETY: bounds-checked; the kernel gave this chunk to us with the RX descriptor and leaves it
        // alone until it is in the fill ring again; `&mut self` keeps us from making a second slice.
        unsafe { std::slice::from_raw_parts_mut(pointer, frame.len as usize) }
    }

    fn recycle(&mut self, burst: &mut Burst) {
        for frame in burst.frames() {
            let room = self.socket.fill.write(self.memory.chunk_of(frame.offset));
            debug_assert!(room, "the fill ring has room for twice the receive chunks; one was recycled twice");
        }
        self.socket.fill.publish();
        burst.clear();
    }

    fn allocate(&mut self) -> Option<TxFrame> {
        if self.free.is_empty() {
            self.reclaim();
        }
        match self.free.take() {
            Some(offset) => Some(TxFrame { offset, capacity: self.capacity }),
            None => {
                self.statistics.tx_exhausted += 1;
                None
            }
        }
    }

    fn buffer(&mut self, frame: &TxFrame) -> &mut [u8] {
        let pointer = self.memory.pointer(frame.offset, frame.capacity);
        // SAFETY: bounds-checked; an allocated chunk belongs to the caller until it is committed, and
        // `&mut self` keeps us from making a second slice of it.
        unsafe { std::slice::from_raw_parts_mut(pointer, frame.capacity as usize) }
    }

    fn commit(&mut self, frame: TxFrame, len: usize) {
        let descriptor = libc::xdp_desc { addr: frame.offset, len: len as u32, options: 0 };
        if len < ETHERNET_HEADER || len > self.capacity as usize || !self.socket.tx.write(descriptor) {
            self.statistics.tx_invalid += 1;
            self.free.give(frame.offset);
            return;
        }
        self.statistics.tx_frames += 1;
        self.statistics.tx_bytes += len as u64;
    }

    fn abandon(&mut self, frame: TxFrame) {
        self.free.give(frame.offset);
    }

    fn keep(&mut self) -> Option<TxFrame> {
        if !self.kept.has_room() {
            return None;
        }
        if self.free.is_empty() {
            self.reclaim();
        }
        let offset = self.free.take()?;
        self.kept.keep(offset);
        Some(TxFrame { offset, capacity: CHUNK_SIZE })
    }

    fn is_at_rest(&self, frame: &TxFrame) -> bool {
        self.kept.is_at_rest(frame.offset)
    }

    /// Not inlined: a rehearsal must go through the very same code.
    #[inline(never)]
    fn commit_kept_for(&mut self, purpose: Purpose, frame: &TxFrame, start: usize, len: usize) -> bool {
        let fits = len >= ETHERNET_HEADER && len <= self.capacity as usize && start + len <= frame.capacity as usize;
        if !fits || !self.kept.is_at_rest(frame.offset) {
            return false;
        }
        let descriptor = libc::xdp_desc { addr: frame.offset + start as u64, len: len as u32, options: 0 };
        if !self.socket.tx.write(descriptor) {
            return false;
        }
        self.kept.depart(frame.offset);
        self.statistics.tx_frames += purpose.count(1);
        self.statistics.tx_bytes += purpose.count(len as u64);
        if purpose == Purpose::Rehearse {
            self.socket.tx.take_back();
            self.kept.arrive(frame.offset);
        }
        true
    }

    fn has_room(&mut self, kept: bool) -> bool {
        // The ring has room for every chunk, so a kept frame always has its place in it.
        if !kept && self.free.is_empty() {
            self.reclaim();
        }
        let room = kept || !self.free.is_empty();
        self.statistics.tx_exhausted += u64::from(!room);
        room
    }

    fn release(&mut self, frame: TxFrame) {
        if self.kept.release(frame.offset) {
            self.free.give(frame.offset);
        }
    }

    fn flush(&mut self, _now_ns: u64) -> io::Result<()> {
        if self.socket.tx.publish() {
            self.kick_pending = true;
        }
        if !self.kick_pending {
            return Ok(());
        }
        self.reclaim();
        // The kernel sets the flag and then looks at the ring; we have written the ring and now look at
        // the flag. Without a full barrier both could miss each other.
        fence(Ordering::SeqCst);
        if !self.socket.tx.needs_wakeup() {
            self.kick_pending = false;
            return Ok(());
        }
        self.statistics.kicks += 1;
        match self.socket.wake_transmit() {
            Ok(()) => {
                self.kick_pending = false;
                Ok(())
            }
            Err(error) if is_momentary(&error) => {
                self.statistics.kicks_deferred += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn statistics(&self) -> PortStatistics {
        let mut statistics = self.statistics;
        if let Ok(kernel) = self.socket.statistics() {
            statistics.rx_dropped += kernel.rx_dropped + kernel.rx_ring_full;
            statistics.rx_invalid += kernel.rx_invalid_descs;
            statistics.tx_invalid += kernel.tx_invalid_descs;
            statistics.fill_ring_empty += kernel.rx_fill_ring_empty_descs;
        }
        statistics
    }
}

/// A refusal that means "later", not "never".
fn is_momentary(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR))
}

/// The socket and its four rings.
struct XskSocket {
    fd: OwnedFd,
    fill: ProducerRing<u64>,
    completion: ConsumerRing<u64>,
    rx: ConsumerRing<libc::xdp_desc>,
    tx: ProducerRing<libc::xdp_desc>,
}

impl XskSocket {
    /// A bound socket. While the queue is taken, tries again, each time with a fresh socket.
    fn open(config: &AfXdpConfig, interface: &Interface, memory: &FrameMemory, mode: BindMode) -> Result<XskSocket> {
        let mut step = "";
        retry_while_busy(config.busy_patience, || XskSocket::try_open(config, interface, memory, mode, &mut step)).map_err(|error| {
            let hint = match error.raw_os_error() {
                Some(libc::EPERM) => " (needs CAP_NET_RAW)",
                Some(libc::EBUSY) => " (another socket has the queue)",
                Some(libc::EOPNOTSUPP) => " (the driver has no zero-copy)",
                Some(libc::EINVAL) => " (no such queue, or the driver refuses the mode)",
                Some(libc::EAFNOSUPPORT) => " (the kernel has no AF_XDP)",
                Some(libc::ENOBUFS | libc::ENOMEM) => " (RLIMIT_MEMLOCK too small?)",
                _ => "",
            };
            DriverError::io(format!("{step} on {} queue {}{hint}", interface.name, config.queue), error)
        })
    }

    fn try_open(
        config: &AfXdpConfig,
        interface: &Interface,
        memory: &FrameMemory,
        mode: BindMode,
        step: &mut &'static str,
    ) -> io::Result<XskSocket> {
        *step = "socket(AF_XDP)";
        // SAFETY: plain system call without pointers.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just created and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };

        *step = "XDP_UMEM_REG";
        // SAFETY: xdp_umem_reg is plain data; all zeroes is a valid value.
        let mut registration: libc::xdp_umem_reg = unsafe { std::mem::zeroed() };
        registration.addr = memory.base() as u64;
        registration.len = memory.len() as u64;
        registration.chunk_size = memory.chunk_size();
        set_option(fd.as_fd(), libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)?;

        *step = "AF_XDP ring set-up";
        // The kernel shows us frames before it says that it has taken their chunks out of the fill ring (xsk_flush):
        // with room for twice as many as there are, they can be recycled in between.
        let fill_entries = config.rx_frames * 2;
        for (option, entries) in [
            (libc::XDP_UMEM_FILL_RING, fill_entries),
            (libc::XDP_UMEM_COMPLETION_RING, config.tx_frames),
            (libc::XDP_RX_RING, config.rx_frames),
            (libc::XDP_TX_RING, config.tx_frames),
        ] {
            set_option(fd.as_fd(), libc::SOL_XDP, option, &entries)?;
        }
        // SAFETY: xdp_mmap_offsets is plain data; all zeroes is a valid value.
        let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
        get_option(fd.as_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
        let map = |offsets: &RingOffsets, entries: u32, entry: usize, page: u64| {
            Mapping::of(fd.as_fd(), offsets.desc as usize + entries as usize * entry, page as libc::off_t)
        };
        let descriptor = size_of::<libc::xdp_desc>();
        let fill = map(&offsets.fr, fill_entries, 8, libc::XDP_UMEM_PGOFF_FILL_RING)?;
        let completion = map(&offsets.cr, config.tx_frames, 8, libc::XDP_UMEM_PGOFF_COMPLETION_RING)?;
        let rx = map(&offsets.rx, config.rx_frames, descriptor, libc::XDP_PGOFF_RX_RING as u64)?;
        let tx = map(&offsets.tx, config.tx_frames, descriptor, libc::XDP_PGOFF_TX_RING as u64)?;
        let socket = XskSocket {
            fill: ProducerRing::new(fill, &offsets.fr, fill_entries)?,
            completion: ConsumerRing::new(completion, &offsets.cr, config.tx_frames)?,
            rx: ConsumerRing::new(rx, &offsets.rx, config.rx_frames)?,
            tx: ProducerRing::new(tx, &offsets.tx, config.tx_frames)?,
            fd,
        };

        *step = match mode {
            BindMode::ZeroCopy => "bind(XDP_ZEROCOPY)",
            BindMode::Copy => "bind(XDP_COPY)",
        };
        let flag = match mode {
            BindMode::ZeroCopy => libc::XDP_ZEROCOPY,
            BindMode::Copy => libc::XDP_COPY,
        };
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flag | libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: interface.index,
            sxdp_queue_id: config.queue,
            sxdp_shared_umem_fd: 0,
        };
        // SAFETY: the address is a live sockaddr_xdp of the given size.
        let bound =
            unsafe { libc::bind(socket.fd.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_xdp>() as libc::socklen_t) };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(socket)
    }

    /// Asks for busy polling; false (and the reasons) if the kernel refuses what it needs.
    fn set_busy_poll(&self, busy_poll: &BusyPoll, refused: &mut Vec<String>) -> bool {
        for (name, option, value) in [
            ("SO_PREFER_BUSY_POLL", SO_PREFER_BUSY_POLL, 1),
            ("SO_BUSY_POLL", SO_BUSY_POLL, busy_poll.poll_us),
            ("SO_BUSY_POLL_BUDGET", SO_BUSY_POLL_BUDGET, busy_poll.budget),
        ] {
            if let Err(error) = set_option(self.fd.as_fd(), libc::SOL_SOCKET, option, &value) {
                refused.push(format!("busy polling: {name} = {value} refused: {error}"));
                return false;
            }
        }
        true
    }

    /// Raises limits where the kernel has them. A refusal costs only more kicks for a long burst.
    fn set_optional_limits(&self, config: &AfXdpConfig) {
        let budget = TX_BUDGET.min(config.tx_frames);
        let _ = set_option(self.fd.as_fd(), libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget);
        if set_option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER).is_err() {
            let _ = set_option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER);
        }
    }

    fn is_zero_copy(&self) -> Result<bool> {
        let mut options = libc::xdp_options { flags: 0 };
        get_option(self.fd.as_fd(), libc::SOL_XDP, libc::XDP_OPTIONS, &mut options)
            .map_err(|error| DriverError::io("XDP_OPTIONS", error))?;
        Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    fn statistics(&self) -> io::Result<libc::xdp_statistics> {
        // SAFETY: xdp_statistics is plain data; all zeroes is a valid value.
        let mut statistics: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        get_option(self.fd.as_fd(), libc::SOL_XDP, libc::XDP_STATISTICS, &mut statistics)?;
        Ok(statistics)
    }

    /// Makes the kernel look at the fill ring (or poll the driver). A dead interface shows at the next
    /// send.
    fn wake_receive(&self) {
        // SAFETY: a receive of nothing into nothing; no pointer is followed.
        unsafe {
            libc::recvfrom(self.fd.as_raw_fd(), std::ptr::null_mut(), 0, libc::MSG_DONTWAIT, std::ptr::null_mut(), std::ptr::null_mut())
        };
    }

    /// Makes the kernel look at the TX ring.
    fn wake_transmit(&self) -> io::Result<()> {
        // SAFETY: a send of nothing; no pointer is followed.
        let sent = unsafe { libc::sendto(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// `setsockopt` with a plain value.
pub(crate) fn set_option<T>(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is live for the call and its size is given; the kernel copies it.
    let outcome =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `getsockopt` into a plain value.
pub(crate) fn get_option<T>(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is live and writable for `len` bytes, and every bit pattern that the kernel
    // writes into these plain structures is valid.
    let outcome = unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, std::ptr::from_mut(value).cast(), &raw mut len) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
