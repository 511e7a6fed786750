//! The floor on the wire: datagrams as long as a tick and an order, with nothing in them and nothing done about them.
//!
//! The venue's end is a kernel socket as for all clients, so the tap sees it; the client's end is AF_XDP, bare: it finds the
//! number in a frame, writes it into a frame that is ready otherwise, and sends that. UDP, because no less will pass a kernel
//! socket. Between the two passages at the venue's interface is nothing but the wire, AF_XDP in and AF_XDP out.

use super::venue::{Patience, Running, Slice};
use super::{Client, ORDER_FRAME, PORT, Rig, TICK_FRAME, VENUE_ADDRESS, Wired, clock::Clock};
use anyhow::{Context, ensure};
use drivers::filter::Filter;
use drivers::port::{Burst, Port};
use drivers::select::{self, AnyPort, Link, LinkConfig};
use drivers::testbed::{ENGINE_ADDRESS, Testbed};
use std::io::ErrorKind;
use std::net::UdpSocket;

/// Ethernet, IPv4, UDP.
const HEADERS: usize = 14 + 20 + 8;
const NUMBER: std::ops::Range<usize> = HEADERS..HEADERS + 4;

/// The venue's end.
pub struct DatagramVenue {
    socket: UdpSocket,
    tick: [u8; TICK_FRAME - HEADERS],
    number: u32,
}

impl DatagramVenue {
    /// Sends a datagram when it is due, and gives the time at which the answer was there.
    pub fn exchange(&mut self, due_ns: u64, patience: &Patience<'_>) -> anyhow::Result<u64> {
        let DatagramVenue { socket, tick, number } = self;
        *number = number.wrapping_add(1);
        tick[..4].copy_from_slice(&number.to_be_bytes());
        let sent_ns = patience.until(due_ns);
        ensure!(socket.send(tick)? == tick.len(), "a datagram was cut");
        let (mut order, mut spins) = ([0; ORDER_FRAME], 0_u32);
        loop {
            match socket.recv(&mut order) {
                Ok(len) => {
                    let done_ns = patience.now_ns();
                    ensure!(len == ORDER_FRAME - HEADERS && order[..4] == number.to_be_bytes(), "not the answer to datagram {number}");
                    return Ok(done_ns);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    spins = spins.wrapping_add(1);
                    if spins.is_multiple_of(64) {
                        patience.check(sent_ns)?;
                    }
                }
                Err(error) => return Err(error).context("waiting for a datagram"),
            }
        }
    }
}

/// The client's end.
pub struct Echo {
    port: AnyPort,
    burst: Burst,
    order: [u8; ORDER_FRAME],
    clock: Clock,
    /// After the port, which is closed while its interface is still there.
    _bed: Testbed,
}

impl Echo {
    /// On AF_XDP.
    pub fn open(rig: &Rig) -> anyhow::Result<(Wired, Echo)> {
        let (bed, tap) = super::tapped(false)?;
        let config = LinkConfig::new(Link::AfXdp, bed.left_interface(), Filter::Address(ENGINE_ADDRESS));
        let port = bed.left().run(|| select::open(&config))??.port;
        let venue = super::introduce(&bed, &port)?;
        let socket = bed.right().run(|| UdpSocket::bind((VENUE_ADDRESS, PORT)))??;
        socket.connect((ENGINE_ADDRESS, PORT))?;
        socket.set_nonblocking(true)?;
        let order = datagram(port.info().mac, venue);
        let connection = rig.venue.adopt(DatagramVenue { socket, tick: [0x5a; TICK_FRAME - HEADERS], number: 0 })?;
        Ok((Wired { connection, tap: Some(tap) }, Echo { port, burst: Burst::new(), order, clock: Clock::new(), _bed: bed }))
    }

    #[inline]
    fn answer_what_has_come(&mut self) -> anyhow::Result<()> {
        let Echo { port, burst, order, clock, .. } = self;
        let now_ns = clock.now_ns();
        if port.receive(now_ns, burst) == 0 {
            return Ok(());
        }
        for index in 0..burst.len() {
            let frame = burst.frames()[index];
            let Ok(tick) = <&[u8; TICK_FRAME]>::try_from(&*port.frame(frame)) else { continue };
            order[NUMBER].copy_from_slice(&tick[NUMBER]);
            let frame = port.allocate().context("no free frame")?;
            port.buffer(&frame)[..ORDER_FRAME].copy_from_slice(&*order);
            port.commit(frame, ORDER_FRAME);
            port.flush(now_ns)?;
        }
        port.recycle(burst);
        Ok(())
    }
}

impl Client for Echo {
    fn answer(&mut self, _slice: Slice, running: &Running) -> anyhow::Result<()> {
        while !running.is_over() {
            self.answer_what_has_come()?;
        }
        Ok(())
    }
}

/// From us to the venue, without a checksum of UDP's (RFC 768: none is zero).
fn datagram(us: [u8; 6], venue: [u8; 6]) -> [u8; ORDER_FRAME] {
    const UDP: u8 = 17;
    let mut frame = [0x5a; ORDER_FRAME];
    let packet = super::floor::frame(ORDER_FRAME, UDP, (us, ENGINE_ADDRESS), (venue, VENUE_ADDRESS));
    frame[..HEADERS - 8].copy_from_slice(&packet[..HEADERS - 8]);
    let length = (ORDER_FRAME - (HEADERS - 8)) as u16;
    for (at, field) in [PORT, PORT, length, 0].into_iter().enumerate() {
        frame[HEADERS - 8 + 2 * at..][..2].copy_from_slice(&field.to_be_bytes());
    }
    frame
}
