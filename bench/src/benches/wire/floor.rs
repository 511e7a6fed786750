//! The floor: frames as long as a tick's and an order's, back and forth between the same two threads, with nothing in them
//! and nothing done about them.
//!
//! The client's end is AF_XDP. The venue's end is one of two: AF_PACKET, whose frames go through the kernel as the
//! venue's TCP segments do, only not through TCP, or AF_XDP, the shortest way there is. Ours is held against both, though
//! the venue, which has the kernel's network alone, could never be as quick as the second.

use super::venue::{Patience, Running, Slice, Venue};
use super::{Client, ORDER_FRAME, TICK_FRAME, VENUE_ADDRESS, Wired, clock::Clock};
use anyhow::{Context, ensure};
use drivers::filter::Filter;
use drivers::port::{Burst, Port};
use drivers::select::{self, AnyPort, Link, LinkConfig};
use drivers::testbed::{ENGINE_ADDRESS, Testbed, TestbedConfig};
use std::net::Ipv4Addr;

const ETHERNET: usize = 14;
const IPV4: usize = 20;

/// What nobody speaks (RFC 3692: for experiments).
const NOBODYS: u8 = 253;

/// An IPv4 packet of this protocol in a frame of `len` bytes.
pub fn frame(len: usize, protocol: u8, (from_mac, from): ([u8; 6], Ipv4Addr), (to_mac, to): ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut frame = Vec::with_capacity(len);
    frame.extend_from_slice(&to_mac);
    frame.extend_from_slice(&from_mac);
    frame.extend_from_slice(&[8, 0]);
    let packet = (len - ETHERNET) as u16;
    frame.extend_from_slice(&[0x45, 0]);
    frame.extend_from_slice(&packet.to_be_bytes());
    // Don't fragment; 64 hops; the checksum follows.
    frame.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend_from_slice(&from.octets());
    frame.extend_from_slice(&to.octets());
    let sum: u32 = frame[ETHERNET..].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_be_bytes());
    frame.resize(len.max(ETHERNET + IPV4), 0x5a);
    frame
}

/// One end: sends its frame, waits for the other's.
struct End {
    port: AnyPort,
    burst: Burst,
    sends: Vec<u8>,
    awaits: usize,
}

impl End {
    /// How many of the other's frames have come.
    #[inline]
    fn received(&mut self, now_ns: u64) -> usize {
        if self.port.receive(now_ns, &mut self.burst) == 0 {
            return 0;
        }
        // Whatever else the kernel says on a link is shorter.
        let count = self.burst.frames().iter().filter(|frame| frame.len as usize == self.awaits).count();
        self.port.recycle(&mut self.burst);
        count
    }

    #[inline]
    fn send(&mut self, now_ns: u64) -> anyhow::Result<()> {
        let frame = self.port.allocate().context("no free frame")?;
        self.port.buffer(&frame)[..self.sends.len()].copy_from_slice(&self.sends);
        self.port.commit(frame, self.sends.len());
        self.port.flush(now_ns)?;
        Ok(())
    }
}

/// The venue's end.
pub struct RawVenue {
    end: End,
}

impl RawVenue {
    /// Sends a frame when it is due, and gives the time at which the answer was there.
    pub fn exchange(&mut self, due_ns: u64, patience: &Patience<'_>) -> anyhow::Result<u64> {
        let sent_ns = patience.until(due_ns);
        self.end.send(sent_ns)?;
        let mut spins = 0_u32;
        loop {
            let now_ns = patience.now_ns();
            match self.end.received(now_ns) {
                0 => {}
                1 => return Ok(patience.now_ns()),
                more => anyhow::bail!("{more} answers to one frame"),
            }
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(256) {
                patience.check(sent_ns)?;
                // What the kernel refused for the moment.
                self.end.port.flush(now_ns)?;
            }
        }
    }
}

/// The client's end.
pub struct Floor {
    end: End,
    clock: Clock,
    /// After the port, which is closed while its interface is still there.
    _bed: Testbed,
}

impl Floor {
    /// A link with the venue's end on this driver.
    pub fn open(venue: &Venue, link: Link) -> anyhow::Result<(Wired, Floor)> {
        // No kernel has an address here: none answers.
        let bed = Testbed::create(TestbedConfig { left: None, right: None, ..TestbedConfig::default() })?;
        let near = LinkConfig::new(Link::AfXdp, bed.left_interface(), Filter::Address(ENGINE_ADDRESS));
        let far = LinkConfig::new(link, bed.right_interface(), Filter::Address(VENUE_ADDRESS));
        let near = bed.left().run(|| select::open(&near))??.port;
        let far = bed.right().run(|| select::open(&far))??.port;
        let (us, them) = ((near.info().mac, ENGINE_ADDRESS), (far.info().mac, VENUE_ADDRESS));
        let (order, tick) = (frame(ORDER_FRAME, NOBODYS, us, them), frame(TICK_FRAME, NOBODYS, them, us));
        let raw = RawVenue { end: End { port: far, burst: Burst::new(), sends: tick, awaits: ORDER_FRAME } };
        let end = End { port: near, burst: Burst::new(), sends: order, awaits: TICK_FRAME };
        Ok((Wired { connection: venue.adopt(raw)?, tap: None }, Floor { end, clock: Clock::new(), _bed: bed }))
    }
}

impl Client for Floor {
    fn answer(&mut self, _slice: Slice, running: &Running) -> anyhow::Result<()> {
        while !running.is_over() {
            let now_ns = self.clock.now_ns();
            let frames = self.end.received(now_ns);
            ensure!(frames <= 1, "{frames} frames at once");
            if frames == 1 {
                self.end.send(now_ns)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_sound_ipv4() {
        let bytes = frame(100, NOBODYS, ([2; 6], ENGINE_ADDRESS), ([4; 6], VENUE_ADDRESS));
        assert_eq!((bytes.len(), &bytes[..6]), (100, &[4; 6][..]));
        let sum: u32 = bytes[14..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the header's checksum");
        assert_eq!(u16::from_be_bytes([bytes[16], bytes[17]]), 86);
    }
}
