//! Hostile frames at the engine's address, from the venues' end of the wire, while it trades.

use crate::frames::{Connection, Dice, Intruder};
use crate::world::{BOTH, PATIENCE, Trouble, VenueName, World};
use peregrine::demo::stage::Wire;
use smoltcp::wire::{ArpOperation, IpProtocol, TcpControl};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Frames of one kind of garbage.
const MANY: usize = 1_000;

fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {reason}");
    eprintln!("skipped: {reason}");
}

/// A world on a wire, and a way onto that wire.
fn on_a_wire() -> Option<(World, Intruder)> {
    if let Some(reason) = drivers::testbed::unavailable() {
        skip(&reason);
        return None;
    }
    let world = World::usual();
    let Wire::Veth(bed) = &world.stage.wire else {
        skip("there is no wire to put frames on");
        return None;
    };
    let intruder = Intruder::enter(bed);
    Some((world, intruder))
}

/// Ports that the venues listen on for the engine's connections: market data and order entry of each.
fn venue_ports(world: &World) -> Vec<u16> {
    let mut ports = Vec::new();
    for venue in BOTH {
        let address = world.stage.sim.address(venue).expect("it is simulated");
        ports.extend([address.main.port(), address.second.port()]);
    }
    // Binance takes JSON streams and orders on one port.
    let binance = world.stage.sim.address(VenueName::Binance).expect("it is simulated");
    ports.retain(|port| *port != binance.second.port());
    ports
}

/// Nothing that was sent did anything: all connections are as before, and both venues are traded on.
#[track_caller]
fn nothing_happened(world: &World, troubles: [Trouble; 2], what: &str) {
    for (venue, before) in BOTH.into_iter().zip(troubles) {
        world.trades(venue);
        assert_eq!(world.trouble(venue).since(before), Trouble::default(), "{}: {what}", venue.as_str());
    }
}

/// Sends, and asserts that nothing happened but that the frames came in.
#[track_caller]
fn bombard(world: &World, intruder: &mut Intruder, what: &str, frames: &[Vec<u8>]) {
    let troubles = BOTH.map(|venue| world.trouble(venue));
    let seen = world.status().frames;
    for chunk in frames.chunks(100) {
        intruder.send(chunk);
        world.pass(Duration::from_millis(1));
    }
    world.until(&format!("{what}: frames come in"), PATIENCE, |w| w.status().frames > seen);
    nothing_happened(world, troubles, what);
}

fn garbage(intruder: &Intruder, dice: &mut Dice) -> Vec<Vec<u8>> {
    let protocols = [IpProtocol::Tcp, IpProtocol::Udp, IpProtocol::Icmp, IpProtocol::Unknown(132)];
    let mut frames = Vec::new();
    for round in 0..MANY {
        let len = dice.below(1_400);
        let payload = dice.bytes(len);
        let mut frame = intruder.ipv4(intruder.venue, protocols[round % protocols.len()], &payload);
        match round % 7 {
            // Shorter than its headers say.
            0 => frame.truncate(14 + dice.below(60)),
            // Longer, and shorter, than the IP header says.
            1 => frame[16..18].copy_from_slice(&(dice.roll() as u16).to_be_bytes()),
            // A wrong header checksum.
            2 => frame[24] ^= 0x55,
            // Options that are none, and another version.
            3 => frame[14] = dice.roll() as u8,
            // A fragment.
            4 => frame[20..22].copy_from_slice(&(dice.roll() as u16).to_be_bytes()),
            // Any byte of the headers.
            5 => {
                let at = 14 + dice.below(20);
                frame[at] = dice.roll() as u8;
            }
            _ => {}
        }
        frames.push(frame);
    }
    frames
}

fn bad_segments(intruder: &Intruder, connections: &[Connection], dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for round in 0..MANY {
        let c = connections[round % connections.len()];
        let len = dice.below(1_000);
        let payload = dice.bytes(len);
        let numbers = (c.next.wrapping_add(dice.below(10_000) as u32), Some(c.acknowledge));
        let mut frame = intruder.forged(&c, TcpControl::Psh, numbers, &payload);
        // The checksum says that it is damaged.
        frame[14 + 20 + 16] ^= 0xff;
        frames.push(frame);
    }
    frames
}

#[test]
fn garbage_floods_and_forged_segments_change_nothing() {
    let Some((world, mut intruder)) = on_a_wire() else { return };
    let mut dice = Dice(1);
    let ports = venue_ports(&world);

    let frames = garbage(&intruder, &mut dice);
    bombard(&world, &mut intruder, "garbage", &frames);

    let connections = intruder.connections(&ports);
    let frames = bad_segments(&intruder, &connections, &mut dice);
    bombard(&world, &mut intruder, "segments with a wrong checksum", &frames);

    // Resets far outside the window, and within it but not at its edge (RFC 5961 section 3.2).
    let mut frames = Vec::new();
    for connection in intruder.connections(&ports) {
        for round in 0..200 {
            let far = connection.next.wrapping_add(0x4000_0000 + dice.roll() as u32 % 0x8000_0000);
            let near = connection.next.wrapping_add(20_000 + 37 * round);
            for sequence in [far, near] {
                frames.push(intruder.forged(&connection, TcpControl::Rst, (sequence, None), &[]));
                frames.push(intruder.forged(&connection, TcpControl::Rst, (sequence, Some(connection.acknowledge)), &[]));
            }
        }
    }
    bombard(&world, &mut intruder, "resets at the wrong place", &frames);

    // A SYN on an open connection (RFC 5961 section 4.2), data and ends far outside of the window.
    let mut frames = Vec::new();
    for connection in intruder.connections(&ports) {
        for _ in 0..100 {
            let anywhere = dice.roll() as u32;
            frames.push(intruder.forged(&connection, TcpControl::Syn, (anywhere, None), &[]));
            let far = connection.next.wrapping_add(0x4000_0000 + dice.roll() as u32 % 0x8000_0000);
            for control in [TcpControl::Psh, TcpControl::Fin] {
                frames.push(intruder.forged(&connection, control, (far, Some(connection.acknowledge)), &[7; 100]));
            }
            // Acknowledges what was never sent (RFC 5961 section 5.2).
            let numbers = (connection.next, Some(connection.acknowledge.wrapping_add(0x3000_0000)));
            frames.push(intruder.forged(&connection, TcpControl::None, numbers, &[]));
        }
    }
    bombard(&world, &mut intruder, "SYNs, data, ends and acknowledgements at the wrong place", &frames);

    // SYNs to ports that nobody listens on, from everywhere.
    let mut frames = Vec::new();
    for _ in 0..5 * MANY {
        let source = Ipv4Addr::new(10, 77, 0, 10 + dice.below(200) as u8);
        let ends = (dice.roll() as u16 | 1, dice.roll() as u16 | 1);
        frames.push(intruder.tcp(source, ends, TcpControl::Syn, (dice.roll() as u32, None), &[]));
    }
    bombard(&world, &mut intruder, "a flood of SYNs", &frames);

    let mut frames = Vec::new();
    for round in 0..MANY {
        let len = dice.below(600);
        let payload = dice.bytes(len);
        let ports = if round % 2 == 0 { (53, dice.roll() as u16 | 1) } else { (67, 68) };
        frames.push(intruder.udp(ports, &payload));
    }
    bombard(&world, &mut intruder, "DNS and DHCP answers that nobody asked for", &frames);

    let report = world.end();
    assert!(report.link.rx_refused > 5 * MANY as u64, "{:?}", report.link);
}

#[test]
fn a_neighbour_that_is_impersonated_is_found_again() {
    let Some((world, mut intruder)) = on_a_wire() else { return };
    let liar = [0x02, 0xbd, 0, 0, 0, 0x66];
    let stranger = Ipv4Addr::new(10, 77, 0, 77);
    // About others than the engine's neighbours, or with hardware addresses that nobody can have.
    let mut frames = Vec::new();
    for round in 0..200u8 {
        let claimed = Ipv4Addr::new(10, 77, 0, round);
        if claimed != intruder.venue {
            frames.push(intruder.arp(ArpOperation::Reply, liar, claimed, drivers::testbed::ENGINE_ADDRESS));
        }
        frames.push(intruder.arp(ArpOperation::Reply, [0xff; 6], intruder.venue, drivers::testbed::ENGINE_ADDRESS));
        frames.push(intruder.arp(ArpOperation::Reply, [0; 6], intruder.venue, drivers::testbed::ENGINE_ADDRESS));
        frames.push(intruder.arp(ArpOperation::Request, liar, stranger, stranger));
    }
    bombard(&world, &mut intruder, "ARP about others", &frames);
    // Somebody claims the engine's own address.
    let own = intruder.arp(ArpOperation::Reply, liar, drivers::testbed::ENGINE_ADDRESS, drivers::testbed::ENGINE_ADDRESS);
    bombard(&world, &mut intruder, "ARP for the engine's own address", &vec![own; 20]);
    // And the venues': until the truth is heard again, frames go astray. It is to be heard soon.
    for operation in [ArpOperation::Reply, ArpOperation::Request] {
        let lie = intruder.arp(operation, liar, intruder.venue, drivers::testbed::ENGINE_ADDRESS);
        intruder.send(&vec![lie; 3]);
        let started = Instant::now();
        for venue in BOTH {
            world.trades(venue);
        }
        let taken = started.elapsed();
        assert!(taken < Duration::from_secs(10), "{operation:?}: {:.1} s without orders after one lie", taken.as_secs_f64());
    }
    world.nothing_unknown();
    world.end();
}

#[test]
fn forged_segments_that_fit_end_that_connection_only() {
    let Some((world, mut intruder)) = on_a_wire() else { return };
    let kraken = world.stage.sim.address(VenueName::Kraken).expect("it is simulated");
    for port in [kraken.main.port(), kraken.second.port()] {
        // Data that TLS finds out, and a reset at the very edge of the window. The traffic moves on: many are tried.
        for forge_data in [true, false] {
            let before = world.before(VenueName::Kraken);
            let started = Instant::now();
            while world.shown(&before).disconnects == 0 {
                assert!(started.elapsed() < PATIENCE, "no forged segment fitted on port {port}");
                let connection = intruder.connections(&[port])[0];
                let numbers = (connection.next, Some(connection.acknowledge));
                let frame = if forge_data {
                    intruder.forged(&connection, TcpControl::Psh, numbers, &[0x17, 3, 3, 0, 3, 1, 2, 3])
                } else {
                    intruder.forged(&connection, TcpControl::Rst, numbers, &[])
                };
                intruder.send(&[frame]);
                // Until the engine has told what came of it, or the next one would hit the next connection.
                world.pass(Duration::from_millis(300));
            }
            world.recovers(&before);
            assert_eq!(world.shown(&before).disconnects, 1, "port {port}");
        }
    }
    world.nothing_unknown();
    world.end();
}
