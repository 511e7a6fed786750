//! Captures: any bytes are read to an end, and what is written is read back.
#![no_main]

use drivers::pcapng::{Direction, Reader, write_interface, write_packet, write_section_header, write_statistics};
use libfuzzer_sys::fuzz_target;
use support::input::Input;

fuzz_target!(|data: &[u8]| {
    let packets: Vec<_> = Reader::new(data).collect();
    assert!(packets.len() <= data.len() / 12 + 1);
    assert!(packets.iter().rev().skip(1).all(|packet| packet.is_ok()), "it ends at the first error");
    for packet in packets.iter().flatten() {
        assert!(packet.data.len() <= data.len());
    }

    let mut input = Input::new(data);
    let (mut out, mut written) = (Vec::new(), Vec::new());
    write_section_header(&mut out);
    write_interface(&mut out, &String::from_utf8_lossy(input.short()), 2048);
    while !input.is_empty() {
        let direction = if input.u8() & 1 == 0 { Direction::Inbound } else { Direction::Outbound };
        let (time_ns, frame) = (input.u64(), input.short());
        write_packet(&mut out, time_ns, direction, frame.len() as u32, frame);
        written.push((time_ns, Some(direction), frame));
    }
    write_statistics(&mut out, 1, 2, 3);
    let read: Vec<_> = Reader::new(&out).map(|packet| packet.expect("our own file is sound")).collect();
    let read: Vec<_> = read.iter().map(|packet| (packet.timestamp_ns, packet.direction, packet.data)).collect();
    assert_eq!(read, written);
});
