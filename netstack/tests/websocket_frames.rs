//! The WebSocket alone: every cut of a frame stream, fragments with control frames between, UTF-8 over
//! fragments, masking, limits, the closing handshake, the opening handshake.

use netstack::websocket::{
    EncodeError, Event, Kind, MessageBuffer, Upgrade, UpgradeError, UpgradeRequest, Utf8Check, WebSocket, WebSocketError, frame_header_len,
};
use proptest::prelude::*;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(length as u8),
        126..=0xffff => bytes.extend_from_slice(&[126, (length >> 8) as u8, length as u8]),
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Everything that a socket says, in words that can be compared.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl Said {
    fn message(&self) -> Option<&[u8]> {
        match self {
            Said::Message(_, payload) => Some(payload),
            _ => None,
        }
    }
}

struct Client {
    socket: WebSocket,
    buffer: MessageBuffer,
    said: Vec<Said>,
}

impl Client {
    fn new(message_max: usize) -> Client {
        Client { socket: WebSocket::new(Utf8Check::Strict), buffer: MessageBuffer::new(message_max), said: Vec::new() }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), WebSocketError> {
        let mut at = 0;
        while at < bytes.len() {
            let received = self.socket.receive(&bytes[at..], &mut self.buffer)?;
            assert!(received.consumed > 0, "no progress");
            at += received.consumed;
            match received.event {
                Event::NeedMore => assert_eq!(at, bytes.len(), "asked for more before all was taken"),
                Event::Progress | Event::Closed => {}
                Event::Message(message) => self.said.push(Said::Message(message.kind, message.payload.to_vec())),
                Event::Ping(payload) => self.said.push(Said::Ping(payload.to_vec())),
                Event::Pong(payload) => self.said.push(Said::Pong(payload.to_vec())),
                Event::Close(close) => self.said.push(Said::Close(close.code, close.reason.to_owned())),
            }
        }
        Ok(())
    }

    /// The control frames that wait, unmasked: opcode byte and payload.
    fn pending(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        let mut out = [0; 131];
        while self.socket.has_pending() {
            let length = self.socket.write_pending([1, 2, 3, 4], &mut out);
            frames.push(unmask(&out[..length]));
        }
        frames
    }
}

fn unmask(frame: &[u8]) -> (u8, Vec<u8>) {
    let (length, start) = match frame[1] {
        254 => (usize::from(u16::from_be_bytes([frame[2], frame[3]])), 4),
        255 => (u64::from_be_bytes(frame[2..10].try_into().unwrap()) as usize, 10),
        short => (usize::from(short & 0x7f), 2),
    };
    assert_eq!(frame[1] & 0x80, 0x80);
    let mask = &frame[start..start + 4];
    let payload: Vec<u8> = frame[start + 4..].iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]).collect();
    assert_eq!(payload.len(), length);
    (frame[0], payload)
}

fn conversation() -> (Vec<u8>, Vec<Said>) {
    let bytes = [
        frame(0x81, b"whole"),
        frame(0x01, b"frag"),
        frame(0x89, b"in between"),
        frame(0x00, b"men"),
        frame(0x8a, b""),
        frame(0x80, b"ted"),
        frame(0x82, &[0; 126]),
        frame(0x02, b""),
        frame(0x80, b""),
        frame(0x81, "\u{20ac}\u{1d11e}".as_bytes()),
        frame(0x88, &[&1001u16.to_be_bytes()[..], "bye \u{263a}".as_bytes()].concat()),
        frame(0x81, b"behind the close"),
    ]
    .concat();
    let said = vec![
        Said::Message(Kind::Text, b"whole".to_vec()),
        Said::Ping(b"in between".to_vec()),
        Said::Pong(Vec::new()),
        Said::Message(Kind::Text, b"fragmented".to_vec()),
        Said::Message(Kind::Binary, vec![0; 126]),
        Said::Message(Kind::Binary, Vec::new()),
        Said::Message(Kind::Text, "\u{20ac}\u{1d11e}".as_bytes().to_vec()),
        Said::Close(Some(1001), "bye \u{263a}".to_owned()),
    ];
    (bytes, said)
}

#[test]
fn every_pair_of_cuts_says_the_same() {
    let (bytes, said) = conversation();
    for first in 0..bytes.len() {
        for second in first..bytes.len() {
            let mut client = Client::new(1000);
            for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                client.receive(piece).unwrap();
            }
            assert_eq!(client.said, said, "{first} {second}");
        }
    }
}

#[test]
fn every_size_of_pieces_says_the_same() {
    let (bytes, said) = conversation();
    for size in 1..=bytes.len() {
        let mut client = Client::new(1000);
        bytes.chunks(size).for_each(|piece| client.receive(piece).unwrap());
        assert_eq!(client.said, said, "{size}");
    }
}

#[test]
fn utf8_is_checked_over_fragments_and_at_once() {
    let good = "z\u{df}\u{6c34}\u{1f34c}";
    let bytes = good.as_bytes();
    for cut in 0..=bytes.len() {
        let mut client = Client::new(100);
        client.receive(&frame(0x01, &bytes[..cut])).unwrap();
        client.receive(&frame(0x89, b"")).unwrap();
        client.receive(&frame(0x80, &bytes[cut..])).unwrap();
        assert_eq!(client.said[1], Said::Message(Kind::Text, bytes.to_vec()));
    }
    // A character that never ends, at the end of the message.
    let mut client = Client::new(100);
    client.receive(&frame(0x01, &bytes[..bytes.len() - 1])).unwrap();
    assert_eq!(client.receive(&frame(0x80, b"")), Err(WebSocketError::InvalidUtf8));
    // Wrong bytes are found in the fragment that holds them (Autobahn 6.4: fail fast).
    let mut client = Client::new(100);
    assert_eq!(client.receive(&frame(0x01, &[0xed, 0xa0])), Err(WebSocketError::InvalidUtf8));
    assert_eq!(client.pending(), [(0x88, 1007u16.to_be_bytes().to_vec())]);
    // Binary may hold anything, and so may text whose check is left to the caller.
    let mut client = Client::new(100);
    client.receive(&frame(0x82, &[0xff])).unwrap();
    client.socket = WebSocket::new(Utf8Check::LeftToCaller);
    client.receive(&frame(0x81, &[0xff])).unwrap();
    client.receive(&[frame(0x01, &[0xff]), frame(0x80, &[0xfe])].concat()).unwrap();
    assert_eq!(client.said.len(), 3);
}

#[test]
fn a_new_text_message_does_not_inherit_an_unfinished_check() {
    let mut client = Client::new(100);
    client
        .receive(
            &[frame(0x01, b"a"), frame(0x80, b"b"), frame(0x02, &[0xf0]), frame(0x80, &[0xff]), frame(0x01, b"c"), frame(0x80, b"d")]
                .concat(),
        )
        .unwrap();
    assert_eq!(client.said.len(), 3);
}

#[test]
fn the_limit_counts_the_whole_message() {
    for size in [9, 10, 11] {
        let mut whole = Client::new(10);
        let mut split = Client::new(10);
        let payload = vec![b'x'; size];
        let whole = whole.receive(&frame(0x81, &payload));
        let split = split.receive(&[frame(0x01, &payload[..4]), frame(0x00, &payload[4..8]), frame(0x80, &payload[8..])].concat());
        let expected = if size > 10 { Err(WebSocketError::TooBig { limit: 10 }) } else { Ok(()) };
        assert_eq!((whole, split), (expected, expected));
    }
    // Refused by its header alone, and control frames do not count.
    let mut client = Client::new(10);
    client.receive(&[frame(0x01, &[b'x'; 10]), frame(0x89, &[0; 125])].concat()).unwrap();
    assert_eq!(client.receive(&[0x80, 1]), Err(WebSocketError::TooBig { limit: 10 }));
    assert_eq!(client.pending(), [(0x88, 1009u16.to_be_bytes().to_vec())]);
}

#[test]
fn an_error_is_final() {
    let mut client = Client::new(10);
    assert_eq!(client.receive(&frame(0x83, b"")), Err(WebSocketError::ReservedOpcode(3)));
    assert_eq!(client.receive(&frame(0x81, b"fine")), Err(WebSocketError::ReservedOpcode(3)));
    assert_eq!(client.socket.frame(Kind::Text, [0; 4], b"x", &mut [0; 99]), Err(EncodeError::Closing));
    assert_eq!(client.said, []);
    assert!(!client.socket.is_closed());
    client.pending();
    assert!(client.socket.is_closed());
}

#[test]
fn frames_are_masked_and_as_short_as_can_be() {
    for length in [0usize, 1, 7, 8, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload: Vec<u8> = (0..length).map(|index| (index * 7) as u8).collect();
        let mask = [0xde, 0xad, 0xbe, 0xef];
        let mut client = Client::new(1);
        let header = frame_header_len(length);
        let mut out = vec![0xaa; header + length + 3];
        let written = client.socket.frame(Kind::Binary, mask, &payload, &mut out).unwrap();
        assert_eq!(written, header + length);
        assert_eq!(out[written..], [0xaa; 3], "nothing behind the frame is touched");
        assert_eq!(unmask(&out[..written]), (0x82, payload.clone()));
        assert_eq!(out[header - 4..header], mask);
        // The same in place.
        let mut room = vec![0xaa; 5 + header + length];
        room[5 + header..].copy_from_slice(&payload);
        let range = client.socket.frame_in_place(Kind::Binary, mask, &mut room, 5 + header..5 + header + length).unwrap();
        assert_eq!(range, 5..5 + written);
        assert_eq!(room[range], out[..written]);
        assert_eq!(room[..5], [0xaa; 5]);
        // Every buffer that is too small is refused.
        for capacity in [0, written / 2, written - 1] {
            assert_eq!(
                client.socket.frame(Kind::Binary, mask, &payload, &mut out[..capacity]),
                Err(EncodeError::BufferTooSmall { needed: written })
            );
        }
    }
}

#[test]
fn the_closing_handshake_can_begin_on_either_side() {
    // The peer begins: echoed code, nothing afterwards.
    let mut client = Client::new(100);
    client.receive(&frame(0x88, &[&1000u16.to_be_bytes()[..], b"done"].concat())).unwrap();
    assert_eq!(client.said, [Said::Close(Some(1000), "done".into())]);
    assert!(!client.socket.is_closed());
    assert_eq!(client.pending(), [(0x88, 1000u16.to_be_bytes().to_vec())]);
    assert!(client.socket.is_closed());
    client.receive(&frame(0x81, b"ignored")).unwrap();
    assert_eq!(client.said.len(), 1);
    // Without a code: an empty echo.
    let mut client = Client::new(100);
    client.receive(&frame(0x88, b"")).unwrap();
    assert_eq!(client.said, [Said::Close(None, String::new())]);
    assert_eq!(client.pending(), [(0x88, Vec::new())]);
    // We begin: data is still received, nothing more is sent, pings stay without an answer.
    let mut client = Client::new(100);
    client.socket.queue_close(1001, "leaving").unwrap();
    assert_eq!(client.socket.queue_close(1001, ""), Err(EncodeError::Closing));
    assert_eq!(client.socket.queue_ping(b""), Err(EncodeError::Closing));
    assert_eq!(client.pending(), [(0x88, [&1001u16.to_be_bytes()[..], b"leaving"].concat())]);
    client.receive(&[frame(0x81, b"late fill"), frame(0x89, b"still there?"), frame(0x88, &1001u16.to_be_bytes())].concat()).unwrap();
    assert_eq!(client.said.len(), 3);
    assert_eq!(client.pending(), []);
    assert!(client.socket.is_closed());
}

#[test]
fn close_frames_are_checked_both_ways() {
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        let mut client = Client::new(100);
        assert_eq!(client.socket.queue_close(code, ""), Err(EncodeError::BadCloseCode(code)));
        assert_eq!(client.receive(&frame(0x88, &code.to_be_bytes())), Err(WebSocketError::BadClose), "{code}");
    }
    let mut client = Client::new(100);
    assert_eq!(client.receive(&frame(0x88, &[3])), Err(WebSocketError::BadClose));
    let mut client = Client::new(100);
    assert_eq!(client.receive(&frame(0x88, &[3, 232, 0xff])), Err(WebSocketError::InvalidUtf8));
    let mut client = Client::new(100);
    assert_eq!(client.socket.queue_close(1000, &"x".repeat(124)), Err(EncodeError::ControlTooLong));
    assert_eq!(client.socket.queue_ping(&[0; 126]), Err(EncodeError::ControlTooLong));
}

#[test]
fn only_the_latest_ping_is_answered_and_a_small_buffer_makes_control_frames_wait() {
    let mut client = Client::new(100);
    client.receive(&[frame(0x89, b"one"), frame(0x89, b"two")].concat()).unwrap();
    client.socket.queue_ping(b"ours").unwrap();
    assert_eq!(client.socket.write_pending([0; 4], &mut [0; 8]), 0);
    assert_eq!(client.pending(), [(0x8a, b"two".to_vec()), (0x89, b"ours".to_vec())]);
    client.socket.queue_pong(b"unsolicited").unwrap();
    assert_eq!(client.pending(), [(0x8a, b"unsolicited".to_vec())]);
}

/// The key and its answer from RFC 6455 section 1.3.
const NONCE: [u8; 16] = *b"the sample nonce";
const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

fn upgrade(protocols: &str) -> (String, Upgrade) {
    let mut out = [0; 1024];
    let request = UpgradeRequest { host: "server.example.com", target: "/chat", headers: &[("User-Agent", "x")], protocols };
    let (length, upgrade) = Upgrade::request(&request, NONCE, &mut out).unwrap();
    (std::str::from_utf8(&out[..length]).unwrap().to_owned(), upgrade)
}

#[test]
fn the_example_of_the_rfc_upgrades_at_every_cut() {
    let (request, _) = upgrade("");
    assert_eq!(
        request,
        "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nUser-Agent: x\r\n\r\n"
    );
    let answer = format!("{ANSWER}\r\n");
    let stream = [answer.as_bytes(), &frame(0x81, b"behind")].concat();
    for cut in 0..stream.len() {
        let (_, mut upgrade) = upgrade("");
        let first = upgrade.receive(&stream[..cut]).unwrap();
        assert_eq!(first.complete, cut >= answer.len());
        let mut consumed = first.consumed;
        if !first.complete {
            assert_eq!(first.consumed, cut);
            let second = upgrade.receive(&stream[cut..]).unwrap();
            assert!(second.complete);
            consumed += second.consumed;
        }
        assert_eq!(consumed, answer.len(), "what is behind the answer is not taken");
    }
}

#[test]
fn answers_that_do_not_prove_an_upgrade_are_refused() {
    let wrong = |change: &dyn Fn(String) -> String| {
        let (_, mut upgrade) = upgrade("");
        upgrade.receive(change(format!("{ANSWER}\r\n")).as_bytes()).unwrap_err()
    };
    assert!(matches!(wrong(&|answer| answer.replace("websocket", "h2c")), UpgradeError::BadResponse("Upgrade is not websocket")));
    assert!(matches!(wrong(&|answer| answer.replace("Connection: Upgrade", "Connection: close")), UpgradeError::BadResponse(_)));
    assert!(matches!(wrong(&|answer| answer.replace("s3pP", "s3pQ")), UpgradeError::BadResponse("Sec-WebSocket-Accept is wrong")));
    assert!(matches!(
        wrong(&|answer| answer.replace("Sec-WebSocket-Accept", "X")),
        UpgradeError::BadResponse("Sec-WebSocket-Accept is missing")
    ));
    let with = |header: &'static str| wrong(&move |answer| answer.replace("\r\n\r\n", &format!("\r\n{header}\r\n\r\n")));
    assert!(matches!(
        with("Sec-WebSocket-Extensions: permessage-deflate"),
        UpgradeError::BadResponse("an extension that was not asked for")
    ));
    assert!(matches!(with("Sec-WebSocket-Protocol: soap"), UpgradeError::BadResponse("a subprotocol that was not asked for")));
    assert!(matches!(with("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), UpgradeError::BadResponse(_)));
}

#[test]
fn a_subprotocol_is_taken_if_it_was_offered() {
    let (request, mut upgrade) = upgrade("v1.json, v2.json");
    assert!(request.contains("Sec-WebSocket-Protocol: v1.json, v2.json\r\n"));
    assert!(upgrade.receive(format!("{ANSWER}Sec-WebSocket-Protocol: v2.json\r\n\r\n").as_bytes()).unwrap().complete);
    assert_eq!(upgrade.protocol(), Some("v2.json"));
}

#[test]
fn a_refusals_body_is_kept_to_its_bound() {
    let (_, mut upgrade) = upgrade("");
    let long = format!("HTTP/1.1 403 Forbidden\r\nRetry-After: 5\r\nContent-Length: 5000\r\n\r\n{}", "x".repeat(2000));
    let UpgradeError::Refused { status, reason, retry_after, body } = upgrade.receive(long.as_bytes()).unwrap_err() else { panic!() };
    assert_eq!((status, reason.as_str(), retry_after.as_deref(), body.len()), (403, "Forbidden", Some("5"), 1024));
}

/// First bytes of frames: the kinds in use, whole and in fragments.
fn first_byte() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0x81, 0x01, 0x00, 0x80, 0x82, 0x89, 0x88])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a server sends in whatever pieces: no panic, and the verdict does not depend on the pieces.
    #[test]
    fn any_bytes_in_any_pieces_get_the_same_verdict(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            proptest::collection::vec((first_byte(), proptest::collection::vec(any::<u8>(), 0..8)), 0..20)
                .prop_map(|frames| frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect()),
        ],
        size in 1usize..50,
    ) {
        let mut whole = Client::new(64);
        let verdict = whole.receive(&bytes);
        let mut pieces = Client::new(64);
        let piecewise = bytes.chunks(size).try_for_each(|piece| pieces.receive(piece));
        prop_assert_eq!(verdict, piecewise);
        prop_assert_eq!(&whole.said, &pieces.said);
        prop_assert_eq!(whole.pending(), pieces.pending());
    }

    #[test]
    fn any_messages_in_any_fragments_come_out_whole(
        messages in proptest::collection::vec((any::<bool>(), "\\PC{0,40}", proptest::collection::vec(0usize..40, 0..5)), 1..6),
        size in 1usize..64,
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (text, payload, cuts) in &messages {
            let payload = payload.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(payload.len())).collect();
            cuts.sort_unstable();
            let mut opcode = if *text { 1 } else { 2 };
            let mut at = 0;
            for cut in cuts {
                bytes.extend_from_slice(&frame(std::mem::take(&mut opcode), &payload[at..cut]));
                bytes.extend_from_slice(&frame(0x89, b"between"));
                at = cut;
            }
            bytes.extend_from_slice(&frame(0x80 | opcode, &payload[at..]));
            expected.push(payload.to_vec());
        }
        let mut client = Client::new(1000);
        for piece in bytes.chunks(size) {
            client.receive(piece).unwrap();
        }
        let came: Vec<Vec<u8>> = client.said.iter().filter_map(Said::message).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(came, expected);
    }
}
