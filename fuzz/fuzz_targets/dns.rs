//! Answers of a hostile name server: reading them ends, an address is one that a connection can be made to, only what
//! was asked is believed, and an honest answer to another question is still taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netstack::dns::Resolver;
use netstack::transport::Resolution;
use std::net::{Ipv4Addr, SocketAddrV4};
use support::input::Input;

const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 53), Ipv4Addr::new(10, 0, 1, 53)];
const NAMES: [&str; 4] = ["venue.example", "a.b", "ws-auth.kraken.com", "x"];

fn check(resolution: Resolution) {
    if let Resolution::Address(address) = resolution {
        assert!(!(address.is_unspecified() || address.is_multicast() || address.is_broadcast()), "{address}");
    }
}

/// A name in one of the ways in which it may be written.
fn write_name(message: &mut Vec<u8>, input: &mut Input<'_>) {
    match input.u8() % 8 {
        0..=3 => message.extend([0xc0, 12]),
        4 => message.extend([0xc0 | (input.u8() & 0x3f), input.u8()]),
        5 => {
            for label in input.pick(&NAMES).split('.') {
                message.push(label.len() as u8);
                message.extend(label.as_bytes());
            }
            if input.u8() & 1 == 0 { message.push(0) } else { message.extend([0xc0, input.u8()]) }
        }
        6 => message.push(0),
        _ => message.extend(input.short()),
    }
}

/// An answer to this question, more or less.
fn answer(question: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let mut message = question.get(..2).unwrap_or(&[0, 0]).to_vec();
    message.extend([input.pick(&[0x81, 0x80, 0x83, 0x85, 0x01, 0xff]), input.pick(&[0x80, 0x83, 0x81, 0x82, 0x84, 0x85])]);
    let counts = input.u8();
    message.extend([0, input.pick(&[1, 1, 1, 0, 2]), 0, counts & 15, 0, counts >> 4, 0, 0]);
    // The question as it was asked, without our EDNS record.
    let end = question.len().saturating_sub(if question.get(11) == Some(&1) { 11 } else { 0 });
    message.extend(question.get(12..end).unwrap_or_default());
    for _ in 0..(counts & 15) + (counts >> 4) {
        write_name(&mut message, input);
        let kind = input.pick(&[1, 1, 5, 6, 41, 28]);
        message.extend([0, kind, 0, input.pick(&[1, 1, 1, 3])]);
        message.extend(input.u32().to_be_bytes());
        let start = message.len();
        message.extend([0, 0]);
        match kind {
            1 => message.extend(input.u32().to_be_bytes()),
            5 => write_name(&mut message, input),
            _ => message.extend(input.short()),
        }
        let len = (message.len() - start - 2) as u16;
        let stated = if input.u8() == 255 { input.u16() } else { len };
        message[start..start + 2].copy_from_slice(&stated.to_be_bytes());
    }
    if input.u8() == 255 {
        let (at, byte) = (usize::from(input.u8()), input.u8());
        message.get_mut(at).into_iter().for_each(|place| *place = byte);
        message.truncate(message.len().saturating_sub(usize::from(input.u8())));
    }
    message
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut resolver = Resolver::new(&SERVERS, &[], 3).expect("no hosts, no bad ones");
    let mut now_ns = 0u64;
    let mut open: Vec<(usize, Ipv4Addr, Vec<u8>)> = Vec::new();
    let mut steps = 0;
    while !input.is_empty() && steps < 60 {
        steps += 1;
        match input.u8() % 6 {
            0 => check(resolver.resolve(input.pick(&NAMES), now_ns)),
            1 => now_ns += u64::from(input.u32()) * 16,
            2 | 3 => {
                while let Some((place, server)) = resolver.due(now_ns) {
                    let message = resolver.message(place, now_ns).to_vec();
                    assert!(message.len() > 16);
                    open.push((place, server, message));
                }
            }
            _ => {
                let Some((place, server, question)) = open.last().cloned() else { continue };
                let port = input.pick(&[53, 53, 53, 54]);
                let datagram = if input.u8() & 7 == 7 { input.short().to_vec() } else { answer(&question, &mut input) };
                let taken = resolver.receive(place, SocketAddrV4::new(server, port), &datagram, now_ns);
                assert!(!taken || port == 53, "only the server that was asked is believed");
                NAMES.iter().for_each(|name| check(resolver.resolve(name, now_ns)));
            }
        }
    }

    // An honest server at last.
    now_ns += 100_000_000_000;
    while let Some((place, _)) = resolver.due(now_ns) {
        resolver.message(place, now_ns);
    }
    now_ns += 100_000_000_000;
    while let Some((place, _)) = resolver.due(now_ns) {
        resolver.message(place, now_ns);
    }
    check(resolver.resolve("honest.example", now_ns));
    while let Some((place, server)) = resolver.due(now_ns) {
        let question = resolver.message(place, now_ns).to_vec();
        let mut message = [&question[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], &question[12..question.len() - 11]].concat();
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 9, 8, 7]);
        resolver.receive(place, SocketAddrV4::new(server, 53), &message, now_ns);
    }
    assert_eq!(resolver.resolve("honest.example", now_ns), Resolution::Address(Ipv4Addr::new(10, 9, 8, 7)));
});
