//! Answers of a hostile DHCP server: the stack has no address, or one that an interface can have, and while it has
//! none an honest server gives it one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netstack::stack::StackConfig;
use std::net::Ipv4Addr;
use support::input::Input;
use support::link::{self, OUR_MAC, PEER, US, World};

/// Type, transaction and address asked for, of the latest message of ours.
#[derive(Clone, Copy, Default)]
struct Asked {
    kind: u8,
    transaction: [u8; 4],
    requested: [u8; 4],
}

fn asked(frames: &[Vec<u8>]) -> Option<Asked> {
    let (_, _, message) = frames.iter().filter_map(|frame| link::read_udp(frame)).rfind(|(_, to, _)| *to == 67)?;
    let mut asked = Asked { transaction: message[4..8].try_into().expect("four bytes"), ..Asked::default() };
    let mut options = &message[240..];
    while let [code @ 1..=254, len, rest @ ..] = options {
        let (value, rest) = rest.split_at(usize::from(*len));
        match code {
            53 => asked.kind = value[0],
            50 => asked.requested = value.try_into().expect("four bytes"),
            _ => {}
        }
        options = rest;
    }
    Some(asked)
}

fn message(transaction: [u8; 4], address: [u8; 4], options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..4].copy_from_slice(&[2, 1, 6, 0]);
    message[4..8].copy_from_slice(&transaction);
    message[16..20].copy_from_slice(&address);
    message[28..34].copy_from_slice(&OUR_MAC);
    message[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    message.extend_from_slice(options);
    message
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let config = StackConfig { address: None, gateway: None, neighbours: Vec::new(), ..link::config() };
    let mut world = World::new(&config);
    let mut latest = asked(&world.pass()).expect("a discovery leaves at once");
    let check = |world: &World| {
        if let Some(address) = world.stack.address() {
            assert!(!(address.is_unspecified() || address.is_multicast() || address.is_broadcast() || address.is_loopback()));
        }
    };
    let mut steps = 0;
    while !input.is_empty() && steps < 40 {
        steps += 1;
        let op = input.u8();
        let out = if op & 7 == 7 {
            world.now_ns = world.now_ns.saturating_add(u64::from(input.u32()) << (op >> 4));
            world.pass()
        } else {
            let transaction = if op & 0x40 == 0 { latest.transaction } else { [1, 2, 3, 4] };
            let address = input.pick(&[US.octets(), [10, 0, 0, 9], [255; 4], [0; 4], [127, 0, 0, 1], [224, 0, 0, 1], PEER.octets()]);
            let mut options = vec![53, 1, input.pick(&[2, 5, 6, 1, 9])];
            if op & 1 == 0 {
                options.extend([54, 4, 10, 0, 0, 1]);
            }
            while input.u8() & 3 != 0 && options.len() < 300 {
                let code = input.pick(&[1, 3, 6, 51, 54, 58, 59, 53, 0, 255, 12, 50]);
                let value = input.short();
                options.extend([code, input.pick(&[value.len() as u8, 4, 0, 255])]);
                options.extend(value);
            }
            options.push(255);
            let mut body = message(transaction, address, &options);
            if op & 0x20 != 0 {
                let (at, byte) = (usize::from(input.u8()), input.u8());
                body[at % 240] = byte;
            }
            if op & 0x10 != 0 {
                body.truncate(usize::from(input.u16()));
            }
            let to = if op & 8 == 0 { Ipv4Addr::BROADCAST } else { world.stack.address().unwrap_or(US) };
            let mut frame = link::udp((PEER, 67), (to, 68), &body);
            frame.truncate(1514);
            link::repair(&mut frame);
            world.tell(&frame)
        };
        check(&world);
        latest = asked(&out).unwrap_or(latest);
    }

    // An honest server at last.
    if world.stack.address().is_none() && world.now_ns < u64::MAX / 2 {
        for _ in 0..200 {
            let kind = match latest.kind {
                1 => 2,
                _ => 5,
            };
            let address = if kind == 2 { US.octets() } else { latest.requested };
            let options = [53, 1, kind, 54, 4, 10, 0, 0, 1, 1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 2, 88, 255];
            let mut frame = link::udp((PEER, 67), (Ipv4Addr::BROADCAST, 68), &message(latest.transaction, address, &options));
            link::repair(&mut frame);
            let mut out = world.tell(&frame);
            if world.stack.address().is_some() {
                break;
            }
            if asked(&out).is_none() {
                world.now_ns += 1_000_000_000;
                out = world.pass();
            }
            latest = asked(&out).unwrap_or(latest);
        }
        check(&world);
        assert!(world.stack.address().is_some(), "an address within 200 s");
    }
});
