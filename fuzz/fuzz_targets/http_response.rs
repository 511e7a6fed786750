//! HTTP responses and upgrade answers from a hostile server, cut where the input says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netstack::http::{Event, Expected, Limits, ResponseParser};
use netstack::websocket::{Upgrade, UpgradeRequest};

fn read(stream: &[u8], expected: Expected, mut cut: impl FnMut() -> usize) -> (u16, Vec<u8>, Option<String>) {
    let mut parser = ResponseParser::new(Limits { head_max: 2048, headers_max: 16, body_max: 1 << 20 });
    parser.expect(expected);
    let (mut body, mut at, mut end) = (Vec::new(), 0, 0);
    loop {
        if at == end {
            if end == stream.len() {
                let error = parser.end_of_input().err().map(|e| e.to_string());
                return (parser.status(), body, error);
            }
            end = (end + cut().max(1)).min(stream.len());
        }
        match parser.receive(&stream[at..end]) {
            Ok(received) => {
                at += received.consumed;
                match received.event {
                    Event::Body(piece) => body.extend_from_slice(piece),
                    Event::Complete => return (parser.status(), body, None),
                    Event::NeedMore => assert_eq!(at, end),
                    Event::Interim(_) | Event::Head => {}
                }
            }
            Err(error) => return (parser.status(), body, Some(error.to_string())),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&mode, stream)) = data.split_first() else { return };
    let expected = [Expected::Body, Expected::NoBody, Expected::Upgrade][usize::from(mode % 3)];
    let whole = read(stream, expected, || usize::MAX / 2);
    let mut state = usize::from(mode);
    let cut = read(stream, expected, || {
        state = state.wrapping_mul(31).wrapping_add(7);
        state % 9 + 1
    });
    assert_eq!(whole, cut, "cuts change nothing");

    let request = UpgradeRequest { host: "venue.example", target: "/ws", headers: &[], protocols: "" };
    let mut out = [0; 512];
    if let Ok((_, mut upgrade)) = Upgrade::request(&request, [7; 16], &mut out) {
        if let Ok(progress) = upgrade.receive(stream) {
            assert!(progress.consumed <= stream.len());
        }
        let _ = upgrade.end_of_input();
    }
});
