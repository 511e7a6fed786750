//! WebSocket frames from a hostile server, cut where the input says: whatever the cuts, the messages are
//! the same, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netstack::websocket::{Event, MessageBuffer, Utf8Check, WebSocket};

/// What came out, in order.
fn read(stream: &[u8], mut cut: impl FnMut() -> usize) -> Vec<(u8, Vec<u8>)> {
    let mut socket = WebSocket::new(Utf8Check::Strict);
    let mut buffer = MessageBuffer::new(4096);
    let mut out = Vec::new();
    let mut at = 0;
    let mut end = 0;
    loop {
        if at == end {
            if end == stream.len() {
                return out;
            }
            end = (end + cut().max(1)).min(stream.len());
        }
        match socket.receive(&stream[at..end], &mut buffer) {
            Ok(received) => {
                assert!(received.consumed <= end - at);
                let idle = received.consumed == 0;
                at += received.consumed;
                match received.event {
                    Event::NeedMore => assert_eq!(at, end, "all input is taken before more is asked for"),
                    Event::Message(message) => out.push((message.kind as u8, message.payload.to_vec())),
                    Event::Closed => return out,
                    Event::Progress | Event::Ping(_) | Event::Pong(_) | Event::Close(_) => assert!(!idle, "an event takes input"),
                }
                let mut pending = [0; 256];
                socket.write_pending([1, 2, 3, 4], &mut pending);
            }
            Err(error) => {
                out.push((255, error.to_string().into_bytes()));
                return out;
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&step, stream)) = data.split_first() else { return };
    let whole = read(stream, || usize::MAX / 2);
    let mut state = usize::from(step);
    let cut = read(stream, || {
        state = state.wrapping_mul(31).wrapping_add(7);
        state % 9 + 1
    });
    assert_eq!(whole, cut, "cuts change nothing");
});
