//! Which link to use: `auto` takes the best that works, and says which and why not the better ones.
//!
//! [`AnyPort`] is one type for all ports, so that the engine is compiled once and each call is a jump
//! over a few cases instead of a call through a pointer.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use crate::af_packet::{AfPacket, AfPacketConfig};
use crate::af_xdp::{AfXdp, AfXdpConfig, BusyPoll};
use crate::error::{DriverError, Result};
use crate::filter::Filter;
use crate::interface::kernel_port_range;
use crate::memory::{self, MemoryConfig, MemoryPort};
use crate::port::{Burst, Port, PortInfo, PortStatistics, RxFrame, TxFrame};
use crate::purpose::Purpose;
use crate::tap::{Tap, TapConfig, TapStatistics};

/// What the configuration may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// AF_XDP if it works, else AF_PACKET. Never the memory link, which leads nowhere.
    #[default]
    Auto,
    /// AF_XDP or nothing.
    AfXdp,
    /// AF_PACKET or nothing.
    AfPacket,
    /// The in-process link.
    Memory,
}

impl Link {
    /// The name used in configuration and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Link::Auto => "auto",
            Link::AfXdp => "af_xdp",
            Link::AfPacket => "af_packet",
            Link::Memory => "memory",
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Link {
    type Err = DriverError;

    fn from_str(text: &str) -> Result<Link> {
        [Link::Auto, Link::AfXdp, Link::AfPacket, Link::Memory]
            .into_iter()
            .find(|link| link.name() == text)
            .ok_or_else(|| DriverError::Config(format!("link {text:?} is none of auto, af_xdp, af_packet, memory")))
    }
}

/// A link to be opened.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Which.
    pub link: Link,
    /// Interface name (not for `memory`).
    pub interface: String,
    /// Receive queue (AF_XDP only).
    pub queue: u32,
    /// What is ours (not for `memory`, where everything is).
    pub filter: Filter,
    /// Chunks or slots for receiving; a power of two.
    pub rx_frames: u32,
    /// Chunks or slots for sending; a power of two.
    pub tx_frames: u32,
    /// Busy polling (AF_XDP only).
    pub busy_poll: Option<BusyPoll>,
    /// How long to wait for a queue whose owner has just died.
    pub busy_patience: Duration,
    /// The in-process link, if it is asked for.
    pub memory: MemoryConfig,
}

impl LinkConfig {
    /// A link with the defaults of its driver.
    pub fn new(link: Link, interface: impl Into<String>, filter: Filter) -> LinkConfig {
        let defaults = AfXdpConfig::new(interface, filter);
        LinkConfig {
            link,
            interface: defaults.interface,
            queue: defaults.queue,
            filter,
            rx_frames: defaults.rx_frames,
            tx_frames: defaults.tx_frames,
            busy_poll: defaults.busy_poll,
            busy_patience: defaults.busy_patience,
            memory: MemoryConfig::default(),
        }
    }

    fn af_xdp(&self) -> AfXdpConfig {
        AfXdpConfig {
            queue: self.queue,
            rx_frames: self.rx_frames,
            tx_frames: self.tx_frames,
            busy_poll: self.busy_poll,
            busy_patience: self.busy_patience,
            ..AfXdpConfig::new(self.interface.as_str(), self.filter)
        }
    }

    fn af_packet(&self) -> AfPacketConfig {
        AfPacketConfig { interface: self.interface.clone(), filter: self.filter, rx_frames: self.rx_frames, tx_frames: self.tx_frames }
    }
}

/// An open link.
pub struct Opened {
    /// The port for the engine.
    pub port: AnyPort,
    /// The far end, if the link is in process.
    pub far_end: Option<MemoryPort>,
}

impl Opened {
    fn wire(port: AnyPort) -> Opened {
        Opened { port, far_end: None }
    }
}

/// Opens the link that the configuration asks for. Which one it became is in [`PortInfo`], and the
/// reasons against better ones in [`PortInfo::why`].
///
/// # Errors
/// If it does not work; for `auto`, [`DriverError::NoLink`] with every attempt and its reason.
pub fn open(config: &LinkConfig) -> Result<Opened> {
    if config.link != Link::Memory
        && let Some(kernel) = kernel_port_range()
    {
        config.filter.validate_beside_kernel(kernel)?;
    }
    match config.link {
        Link::AfXdp => AfXdp::open(&config.af_xdp()).map(|port| Opened::wire(AnyPort::AfXdp(port))),
        Link::AfPacket => AfPacket::open(&config.af_packet()).map(|port| Opened::wire(AnyPort::AfPacket(port))),
        Link::Memory => memory::pair(&config.memory).map(|(near, far)| Opened { port: AnyPort::Memory(near), far_end: Some(far) }),
        Link::Auto => open_best(config),
    }
}

fn open_best(config: &LinkConfig) -> Result<Opened> {
    let mut tried = match AfXdp::open(&config.af_xdp()) {
        Ok(port) => return Ok(Opened::wire(AnyPort::AfXdp(port))),
        Err(DriverError::NoLink { tried, .. }) => tried.into_iter().map(|reason| format!("af_xdp: {reason}")).collect(),
        Err(error) => vec![format!("af_xdp: {}", error.one_line())],
    };
    match AfPacket::open(&config.af_packet()) {
        Ok(mut port) => {
            port.prepend_why(tried);
            Ok(Opened::wire(AnyPort::AfPacket(port)))
        }
        Err(error) => {
            tried.push(format!("af_packet: {}", error.one_line()));
            Err(DriverError::NoLink { interface: config.interface.clone(), tried })
        }
    }
}

/// Any port, chosen at run time and dispatched without pointers.
pub enum AnyPort {
    /// AF_XDP.
    AfXdp(AfXdp),
    /// AF_PACKET.
    AfPacket(AfPacket),
    /// One end of an in-process link.
    Memory(MemoryPort),
    /// Any of these with a recorder around it.
    Tapped(Box<Tap<AnyPort>>),
}

impl AnyPort {
    /// Puts a recorder around the port.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn tapped(self, config: &TapConfig) -> Result<AnyPort> {
        Tap::new(self, config).map(|tap| AnyPort::Tapped(Box::new(tap)))
    }

    /// What the recorder did, if there is one.
    pub fn tap_statistics(&self) -> Option<TapStatistics> {
        match self {
            AnyPort::Tapped(tap) => Some(tap.tap_statistics()),
            _ => None,
        }
    }
}

/// Calls the same method of whichever port it is.
macro_rules! each_port {
    ($any:expr, $port:ident => $call:expr) => {
        match $any {
            AnyPort::AfXdp($port) => $call,
            AnyPort::AfPacket($port) => $call,
            AnyPort::Memory($port) => $call,
            AnyPort::Tapped($port) => $call,
        }
    };
}

impl Port for AnyPort {
    fn info(&self) -> &PortInfo {
        each_port!(self, port => port.info())
    }
    #[inline]
    fn receive(&mut self, now_ns: u64, burst: &mut Burst) -> usize {
        each_port!(self, port => port.receive(now_ns, burst))
    }
    #[inline]
    fn frame(&mut self, frame: RxFrame) -> &mut [u8] {
        each_port!(self, port => port.frame(frame))
    }
    #[inline]
    fn recycle(&mut self, burst: &mut Burst) {
        each_port!(self, port => port.recycle(burst));
    }
    #[inline]
    fn allocate(&mut self) -> Option<TxFrame> {
        each_port!(self, port => port.allocate())
    }
    #[inline]
    fn buffer(&mut self, frame: &TxFrame) -> &mut [u8] {
        each_port!(self, port => port.buffer(frame))
    }
    #[inline]
    fn commit(&mut self, frame: TxFrame, len: usize) {
        each_port!(self, port => port.commit(frame, len));
    }
    #[inline]
    fn abandon(&mut self, frame: TxFrame) {
        each_port!(self, port => port.abandon(frame));
    }
    #[inline]
    fn keep(&mut self) -> Option<TxFrame> {
        each_port!(self, port => port.keep())
    }
    #[inline]
    fn is_at_rest(&self, frame: &TxFrame) -> bool {
        each_port!(self, port => port.is_at_rest(frame))
    }
    #[inline]
    fn commit_kept_for(&mut self, purpose: Purpose, frame: &TxFrame, start: usize, len: usize) -> bool {
        each_port!(self, port => port.commit_kept_for(purpose, frame, start, len))
    }
    #[inline]
    fn has_room(&mut self, kept: bool) -> bool {
        each_port!(self, port => port.has_room(kept))
    }
    #[inline]
    fn release(&mut self, frame: TxFrame) {
        each_port!(self, port => port.release(frame));
    }
    #[inline]
    fn flush(&mut self, now_ns: u64) -> io::Result<()> {
        each_port!(self, port => port.flush(now_ns))
    }
    fn statistics(&self) -> PortStatistics {
        each_port!(self, port => port.statistics())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn links_are_named_as_they_are_written() {
        for link in [Link::Auto, Link::AfXdp, Link::AfPacket, Link::Memory] {
            assert_eq!(link.to_string().parse::<Link>().expect("own name"), link);
        }
        assert!("dpdk".parse::<Link>().expect_err("unknown").to_string().contains("af_xdp"));
    }

    #[test]
    fn a_memory_link_brings_its_far_end() {
        let opened = open(&LinkConfig::new(Link::Memory, "", Filter::Everything)).expect("memory link");
        assert_eq!((opened.port.info().driver, opened.port.info().mode), ("memory", "in-process"));
        assert!(opened.far_end.is_some());
    }

    #[test]
    fn auto_without_a_working_link_names_every_attempt() {
        let config = LinkConfig::new(Link::Auto, "pgn-none", Filter::Address(Ipv4Addr::new(10, 0, 0, 1)));
        match open(&config).map(|_| ()) {
            Err(DriverError::NoLink { interface, tried }) => {
                assert_eq!(interface, "pgn-none");
                assert!(tried.iter().any(|line| line.starts_with("af_xdp: ")), "{tried:?}");
                assert!(tried.iter().any(|line| line.starts_with("af_packet: ")), "{tried:?}");
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}
