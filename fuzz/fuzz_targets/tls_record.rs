//! Records of an established TLS connection, from a peer that has the keys and does whatever the input says: data,
//! tickets and key updates whole, cut over records or in one row, alerts, records of any type, padding, unprotected
//! records, bytes that are no record; and a network that damages what was sealed and cuts the stream anywhere.
//!
//! | byte of the input | what it says |
//! |---|---|
//! | first | version, cipher, when the client speaks |
//! | four | lengths of the pieces in which the stream arrives, over and over |
//! | then, one by one | what the peer does, each with its own arguments (`Peer::act`) |
//!
//! What comes out is never anything but the start of the data that was sealed, and all of it up to the first thing that
//! no peer may do, which ends the connection. An error is final; what the client sends opens at the peer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netstack::tls::{
    Event, KeySchedule, MAX_PENDING_RECORD, MAX_TICKETS, RecordBuffer, RecordLayer, Suite, TlsError, TrafficKeys, Version,
};
use support::forge::{ALERT, DATA, Forge, HANDSHAKE};
use support::input::Input;

const TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
/// Records without data that may come in a row.
const QUIET_MAX: u32 = 32;
/// Things that the peer does.
const ACTS_MAX: usize = 96;

#[derive(Clone, Copy)]
enum Direction {
    ToClient = 0x40,
    ToServer = 0x80,
}

/// Every direction and generation has keys of its own.
fn secret(suite: Suite, direction: Direction, generation: u8) -> (Vec<u8>, [u8; 12]) {
    let seed = generation ^ direction as u8;
    (vec![seed; suite.key_len()], [!seed; 12])
}

fn keys(suite: Suite, direction: Direction, generation: u8) -> TrafficKeys {
    let (key, iv) = secret(suite, direction, generation);
    TrafficKeys::new(suite, &key, iv, 0).expect("the key has the suite's length")
}

fn forge(version: Version, suite: Suite, direction: Direction, generation: u8) -> Forge {
    let (key, iv) = secret(suite, direction, generation);
    Forge::new(version, suite, &key, iv, 0)
}

struct Schedule {
    suite: Suite,
    sent: u8,
    received: u8,
    tickets: u32,
}

impl KeySchedule for Schedule {
    fn next_send_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        self.sent = self.sent.wrapping_add(1);
        Ok(keys(self.suite, Direction::ToServer, self.sent))
    }
    fn next_receive_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        self.received = self.received.wrapping_add(1);
        Ok(keys(self.suite, Direction::ToClient, self.received))
    }
    fn new_session_ticket(&mut self, _body: &[u8]) -> Result<(), TlsError> {
        self.tickets += 1;
        Ok(())
    }
}

/// The sending end, and what may be expected of the other.
struct Peer {
    version: Version,
    suite: Suite,
    forge: Forge,
    generation: u8,
    stream: Vec<u8>,
    /// All that was sealed as data.
    data: Vec<u8>,
    /// Ends of records in the stream, each with the length of the data up to there.
    ends: Vec<(usize, usize)>,
    /// Where in the stream the first thing begins that no peer may do, and whether it ends the connection for certain.
    offence: Option<(usize, bool)>,
    /// Where in the stream close_notify ends, and how much data came before it.
    closed: Option<(usize, usize)>,
    quiet: u32,
    renegotiations: u32,
    tickets: u32,
    key_updates: u64,
}

impl Peer {
    fn offend(&mut self, at: usize, certain: bool) {
        if self.offence.is_none_or(|(first, _)| at < first) {
            self.offence = Some((at, certain));
        }
    }

    fn record(&mut self, content_type: u8, content: &[u8], padding: usize) {
        let record = self.forge.record(content_type, content, padding);
        self.stream.extend(record);
        self.ends.push((self.stream.len(), self.data.len()));
    }

    fn data(&mut self, content: &[u8], padding: usize) {
        if content.is_empty() {
            self.quiet();
        } else {
            self.quiet = 0;
        }
        self.data.extend_from_slice(content);
        self.record(DATA, content, padding);
    }

    /// Counts a record that comes next and holds no data.
    fn quiet(&mut self) {
        self.quiet += 1;
        if self.quiet > QUIET_MAX {
            self.offend(self.stream.len(), true);
        }
    }

    /// Handshake messages in one row, cut into `parts` records where the input says.
    fn handshake(&mut self, messages: &[u8], parts: u8, input: &mut Input) {
        let mut rest = messages;
        for _ in 1..parts {
            let (part, later) = rest.split_at(usize::from(input.u8()) % rest.len().max(1));
            if !part.is_empty() {
                self.record(HANDSHAKE, part, 0);
            }
            rest = later;
        }
        self.record(HANDSHAKE, rest, usize::from(input.u8()));
    }

    /// Tickets, then perhaps a key update.
    fn tickets_and_update(&mut self, input: &mut Input) {
        let shape = input.u8();
        let start = self.stream.len();
        let mut messages = Vec::new();
        for _ in 0..shape & 3 {
            let body = input.short();
            messages.extend([TICKET, 0, 0, body.len() as u8]);
            messages.extend(body);
            self.tickets += 1;
        }
        let update = shape & 4 != 0 || messages.is_empty();
        if update {
            messages.extend([KEY_UPDATE, 0, 0, 1, shape >> 7]);
            self.quiet();
        }
        if self.version == Version::Tls12 {
            self.offend(start, true);
        } else if update && shape & 0x78 == 0x40 {
            // In one record with what follows the new keys.
            messages.extend([TICKET, 0, 0, 0]);
            self.offend(start, true);
        }
        self.handshake(&messages, (shape >> 3 & 3) + 1, input);
        if self.version == Version::Tls12 {
            return;
        }
        if update {
            self.key_updates += 1;
            self.change_keys();
        }
    }

    fn change_keys(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.forge = forge(self.version, self.suite, Direction::ToClient, self.generation);
    }

    fn alert(&mut self, level: u8, description: u8) {
        let start = self.stream.len();
        let known = matches!(level, 1 | 2);
        let warning = level == 1 && (self.version == Version::Tls12 || description == USER_CANCELED);
        if known && description == CLOSE_NOTIFY {
            self.record(ALERT, &[level, description], 0);
            self.closed = self.closed.or(Some((self.stream.len(), self.data.len())));
            return;
        } else if warning {
            self.quiet();
        } else {
            self.offend(start, true);
        }
        self.record(ALERT, &[level, description], 0);
    }

    fn act(&mut self, input: &mut Input) {
        let start = self.stream.len();
        match input.u8() % 16 {
            0..4 => {
                let content = input.short();
                self.data(content, 0);
            }
            4 => {
                let content = input.short();
                self.data(content, usize::from(input.u16() % 1024));
            }
            5 => {
                let length = usize::from(input.u16()) % 16_385;
                let byte = input.u8();
                self.data(&vec![byte; length], 0);
            }
            6..8 => self.tickets_and_update(input),
            8 => {
                let (level, description) = (input.pick(&[1, 1, 2, 0, 3]), input.u8());
                self.alert(level, description);
            }
            9 => {
                // A warning, and in TLS 1.2 a request to renegotiate.
                if self.version == Version::Tls13 {
                    return self.alert(1, USER_CANCELED);
                }
                self.renegotiations += 1;
                if self.renegotiations > 1 {
                    self.offend(start, true);
                }
                self.record(HANDSHAKE, &[0; 4], 0);
            }
            10 => {
                // Messages of the input's own making; they may be what a peer may say, but nobody counts on it.
                let parts = input.u8() % 4 + 1;
                let messages = input.short();
                self.offend(start, false);
                self.handshake(messages, parts, input);
            }
            11 => {
                let content_type = input.pick(&[ALERT, HANDSHAKE, 20, 24, 0, 255, 21, 22]);
                let content = input.short();
                self.offend(start, matches!(content_type, 20 | 24 | 255));
                self.record(content_type, content, usize::from(input.u8()));
            }
            12 => {
                // Around the greatest length.
                let (length, padding) = (16_380 + usize::from(input.u8() % 12), usize::from(input.u8() % 8));
                if length > 16_384 || self.version == Version::Tls13 && length + padding > 16_384 {
                    self.offend(start, true);
                }
                self.data(&vec![0x5a; length], padding);
            }
            13 => {
                let content_type = input.pick(&[20, 21, 22, 23, 24, 0]);
                let body = input.short();
                self.offend(start, true);
                self.stream.extend([content_type, 3, input.pick(&[3, 3, 1, 4]), 0, body.len() as u8]);
                self.stream.extend(body);
            }
            14 => {
                let bytes = input.short();
                if !bytes.is_empty() {
                    self.offend(start, false);
                }
                self.stream.extend(bytes);
            }
            _ => {
                // Keys that no key update spoke of, or damage to something sent.
                let change = input.u8();
                if change == 0 && self.version == Version::Tls13 {
                    self.offend(start, false);
                    self.change_keys();
                } else if change != 0 && !self.stream.is_empty() {
                    let at = self.stream.len() - 1 - usize::from(input.u16()) % self.stream.len();
                    self.stream[at] ^= change;
                    // It may have hit what was to end the connection.
                    self.offence = Some((self.offence.map_or(at, |(first, _)| first.min(at)), false));
                }
            }
        }
    }

    /// Data that must come out, whatever happens later; all of it if nothing was amiss.
    fn data_due(&self) -> usize {
        let sound = self.ends.iter().rfind(|(end, _)| self.offence.is_none_or(|(first, _)| *end <= first));
        let due = sound.map_or(0, |(_, data)| *data);
        self.closed.map_or(due, |(_, before)| due.min(before))
    }
}

/// The client's records at the peer (TLS 1.3): they open, and its key updates come where they must.
struct Listener {
    suite: Suite,
    forge: Forge,
    generation: u8,
    data: Vec<u8>,
}

impl Listener {
    fn receive(&mut self, mut bytes: &[u8]) {
        while let Some(&[_, _, _, high, low]) = bytes.first_chunk::<5>() {
            let (record, rest) = bytes.split_at(5 + usize::from(u16::from_be_bytes([high, low])));
            bytes = rest;
            match self.forge.open(record) {
                (DATA, content) => self.data.extend(content),
                (ALERT, content) => assert_eq!(content.len(), 2),
                (content_type, content) => {
                    assert_eq!((content_type, content), (HANDSHAKE, vec![KEY_UPDATE, 0, 0, 1, 0]));
                    self.generation = self.generation.wrapping_add(1);
                    self.forge = forge(Version::Tls13, self.suite, Direction::ToServer, self.generation);
                }
            }
        }
        assert!(bytes.is_empty(), "whole records");
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mode = input.u8();
    let version = if mode & 1 == 0 { Version::Tls13 } else { Version::Tls12 };
    let suite = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305][usize::from(mode >> 1 & 7) % 3];
    // It answers at once, at some time, or not before the end.
    let answers_after = [1, 3, usize::MAX][usize::from(mode >> 4) % 3];
    let pieces: Vec<usize> =
        (0..4).map(|_| usize::from(input.u8())).map(|byte| if byte < 128 { byte + 1 } else { (byte - 127) * 160 }).collect();
    let mut peer = Peer {
        version,
        suite,
        forge: forge(version, suite, Direction::ToClient, 0),
        generation: 0,
        stream: Vec::new(),
        data: Vec::new(),
        ends: Vec::new(),
        offence: None,
        closed: None,
        quiet: 0,
        renegotiations: 0,
        tickets: 0,
        key_updates: 0,
    };
    for _ in 0..ACTS_MAX {
        if input.is_empty() {
            break;
        }
        peer.act(&mut input);
    }

    let schedule = Schedule { suite, sent: 0, received: 0, tickets: 0 };
    let (send, receive) = (keys(suite, Direction::ToServer, 0), keys(suite, Direction::ToClient, 0));
    let mut ours = RecordLayer::new(version, &send, &receive, schedule).expect("valid keys");
    let mut listener = Listener { suite, forge: forge(version, suite, Direction::ToServer, 0), generation: 0, data: Vec::new() };
    let mut buffer = RecordBuffer::new();
    let (mut plain, mut said) = (Vec::new(), Vec::new());
    let mut stream = peer.stream.clone();
    let mut sizes = pieces.iter().cycle();
    let (mut at, mut end, mut received) = (0, 0, 0);
    let mut error = None;
    let mut closed = false;
    let mut out = vec![0; 4 * MAX_PENDING_RECORD];
    while at < stream.len() && error.is_none() && !closed {
        if at == end {
            end = (end + sizes.next().expect("endless")).min(stream.len());
        }
        received += 1;
        match ours.receive(&mut stream[at..end], &mut buffer) {
            Ok(taken) => {
                assert!(taken.consumed > 0 && taken.consumed <= end - at);
                at += taken.consumed;
                match taken.event {
                    Event::Plaintext(bytes) => {
                        assert!(!bytes.is_empty());
                        plain.extend_from_slice(bytes);
                    }
                    Event::NeedMore => assert_eq!(at, end),
                    Event::PeerClosed => closed = true,
                    Event::Progress => {}
                    Event::Established => panic!("established long ago"),
                }
            }
            Err(reason) => error = Some(reason),
        }
        if received % answers_after == 0 || error.is_some() || closed {
            let length = ours.write_pending(&mut out);
            assert!(!ours.has_pending(), "it fits");
            if version == Version::Tls13 {
                listener.receive(&out[..length]);
            }
            let text = [received as u8; 9];
            if let Ok(length) = ours.seal(&text, &mut out) {
                said.extend(text);
                if version == Version::Tls13 {
                    listener.receive(&out[..length]);
                }
            } else {
                assert!(error.is_some() || closed, "a healthy connection speaks");
            }
        }
    }

    assert!(peer.data.starts_with(&plain), "nothing but what was sealed, in its order");
    assert!(plain.len() >= peer.data_due(), "all that was sealed before anything was amiss");
    if let Some((_, true)) = peer.offence {
        assert!(error.is_some() || closed, "what no peer may do ends the connection");
    }
    if peer.offence.is_none() {
        assert_eq!(error, None, "what a peer may do is taken");
        assert_eq!(closed, peer.closed.is_some());
        if !closed {
            let statistics = ours.statistics();
            assert_eq!((statistics.key_updates_in, statistics.tickets), (peer.key_updates, peer.tickets));
            assert_eq!(ours.schedule().tickets, peer.tickets.min(MAX_TICKETS));
        }
    }
    if version == Version::Tls13 {
        assert_eq!(listener.data, said, "what the client sealed opens");
    }
    if let Some(error) = error {
        assert_eq!(ours.receive(&mut [DATA, 3, 3, 0, 0], &mut buffer).map(|_| ()), Err(error), "an error is final");
        assert!(!ours.has_pending());
    }
});
