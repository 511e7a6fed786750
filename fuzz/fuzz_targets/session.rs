//! The life of a connection with a hostile server and a failing network: upgrades refused, frames of all kinds, ends of
//! all kinds, time. Every pass ends, what was sent soundly is delivered in order, and with an honest server
//! the session comes up again and works.
#![no_main]

use aws_lc_rs::digest;
use base64::Engine as _;
use libfuzzer_sys::fuzz_target;
use netstack::session::{CloseCause, Handler, Progress, Session, SessionConfig};
use netstack::transport::{CloseReason, ConnectError, Resolution, ResolveError, SocketState};
use netstack::websocket::Kind;
use std::net::Ipv4Addr;
use support::input::Input;
use support::transport::{Memory, Socket};

const S: u64 = 1_000_000_000;
const NOW: u64 = 1_790_000_000;

#[derive(Default)]
struct Told {
    opens: u64,
    closes: u64,
    failures: u64,
    messages: Vec<(u32, Vec<u8>)>,
    newest: u32,
}

impl Handler for Told {
    fn on_open(&mut self, generation: u32) {
        assert!(generation > self.newest, "generations grow");
        self.newest = generation;
        self.opens += 1;
    }

    fn on_message(&mut self, generation: u32, kind: Kind, payload: &[u8]) {
        assert!(generation <= self.newest);
        assert!(kind != Kind::Text || std::str::from_utf8(payload).is_ok(), "text is UTF-8");
        self.messages.push((generation, payload.to_vec()));
    }

    fn on_close(&mut self, generation: u32, _cause: &CloseCause) {
        assert!(generation <= self.newest);
        self.closes += 1;
    }

    fn on_attempt_failed(&mut self, _cause: &CloseCause, wait_ns: u64) {
        assert!(wait_ns <= 7200 * S);
        self.failures += 1;
    }
}

/// The answer to an upgrade request; `None` while it is not there.
fn accept(request: &[u8]) -> Option<Vec<u8>> {
    let end = request.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&request[..end]).expect("we send text");
    let key = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64::engine::general_purpose::STANDARD.encode(hash.finish());
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    Some(format!("{head}{accept}\r\n\r\n").into_bytes())
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length: Vec<u8> = match payload.len() {
        length @ 0..=125 => vec![length as u8],
        length => [&[126][..], &(length as u16).to_be_bytes()].concat(),
    };
    [&[first][..], &length, payload].concat()
}

struct World {
    session: Session,
    transport: Memory,
    told: Told,
    now_ns: u64,
}

impl World {
    /// Polls until nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..2_000 {
            let progress = self.session.poll(&mut self.transport, self.now_ns, NOW + self.now_ns / S, &mut self.told);
            if progress == Progress::Idle {
                return;
            }
        }
        panic!("the session never falls silent");
    }

    /// Answers upgrade requests honestly.
    fn serve(&mut self) {
        for socket in &mut self.transport.sockets {
            let answer = accept(&socket.outgoing).filter(|_| socket.is_live() && !socket.answered);
            if let Some(answer) = answer {
                socket.answered = true;
                socket.incoming.extend(answer);
            }
            if socket.answered {
                socket.outgoing.clear();
            }
        }
    }

    /// One of the sockets that are still there.
    fn live(&mut self, which: u8) -> Option<&mut Socket> {
        let mut live: Vec<&mut Socket> = self.transport.sockets.iter_mut().filter(|socket| socket.is_live()).collect();
        let count = live.len();
        (count > 0).then(|| live.swap_remove(usize::from(which) % count))
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mode = input.u8();
    let mut config = SessionConfig::new("venue.test", 9443, "/ws", None);
    config.message_max = 512;
    config.seed = 42;
    config.retry_after_max_ns = 60 * S;
    (config.ping_interval_ns, config.idle_timeout_ns) =
        ([0, S, 20 * S, 0][usize::from(mode & 3)], [0, 30 * S, 50 * S, 5 * S][usize::from(mode >> 2 & 3)]);
    (config.life_max_ns, config.renewal_lead_ns) = (if mode & 16 != 0 { 100 * S } else { 0 }, 10 * S);
    let mut world = World { session: Session::new(config, 0), transport: Memory::default(), told: Told::default(), now_ns: 0 };
    let mut sent_soundly: Vec<Vec<u8>> = Vec::new();
    let mut sound = true;
    let mut steps = 0;
    while !input.is_empty() && steps < 120 {
        steps += 1;
        let op = input.u8();
        let which = op >> 6;
        match op & 31 {
            0..=3 => world.serve(),
            4..=8 => {
                // A sound message.
                let text: String = input.short().iter().map(|&byte| char::from(byte & 0x7f)).collect();
                let first = if op & 32 == 0 { 0x81 } else { 0x82 };
                if let Some(socket) = world.live(which).filter(|socket| socket.answered && socket.state == SocketState::Open) {
                    socket.incoming.extend(frame(first, text.as_bytes()));
                    sent_soundly.push(text.into_bytes());
                }
            }
            9 | 10 => {
                // A frame of any kind.
                sound = false;
                let (first, payload) = (input.u8(), input.short());
                if let Some(socket) = world.live(which) {
                    socket.incoming.extend(frame(first, payload));
                }
            }
            11 => {
                // Pings and pongs change nothing else.
                let (first, payload) = (input.pick(&[0x89, 0x8a]), input.short());
                if let Some(socket) = world.live(which).filter(|socket| socket.answered) {
                    socket.incoming.extend(frame(first, &payload[..payload.len().min(125)]));
                }
            }
            12 => {
                sound = false;
                let bytes = input.short();
                if let Some(socket) = world.live(which) {
                    socket.incoming.extend(bytes);
                }
            }
            13 => {
                // The upgrade is answered with something else.
                sound = false;
                let status = input.pick(&[
                    "HTTP/1.1 429 Slow Down\r\nRetry-After: ",
                    "HTTP/1.1 503 Busy\r\nRetry-After: ",
                    "HTTP/1.1 101 Ok\r\nUpgrade: ",
                    "HTTP/1.1 302 Found\r\nLocation: ",
                ]);
                let value = input.short();
                if let Some(socket) = world.live(which) {
                    socket.answered = true;
                    socket.incoming.extend([status.as_bytes(), value, b"\r\nContent-Length: 0\r\n\r\n"].concat());
                }
            }
            14 => {
                let state = input.pick(&[
                    SocketState::PeerClosed,
                    SocketState::Closed(CloseReason::Reset),
                    SocketState::Closed(CloseReason::TimedOut),
                    SocketState::Closed(CloseReason::Closed),
                    SocketState::Open,
                ]);
                sound = false;
                if let Some(socket) = world.live(which) {
                    socket.state = state;
                }
            }
            15 => {
                let resolutions = [
                    Resolution::Address(Ipv4Addr::new(10, 0, 0, 2)),
                    Resolution::Pending,
                    Resolution::Failed(ResolveError::NoSuchName),
                    Resolution::Failed(ResolveError::Busy),
                ];
                world.transport.resolution = input.pick(&resolutions);
                world.transport.connect_error = input.pick(&[None, None, Some(ConnectError::NoPort), Some(ConnectError::NoAddress)]);
                world.transport.first_state =
                    input.pick(&[SocketState::Open, SocketState::Connecting, SocketState::Closed(CloseReason::Refused)]);
            }
            16 => world.transport.lend_max = usize::from(input.u8()) + 1,
            17 => world.transport.room = usize::from(input.u16()),
            18..=22 => world.now_ns += u64::from(input.u8()) * S / 8,
            23 => world.now_ns += u64::from(input.u16()) * S,
            24 | 25 => {
                let (kind, payload) = (if op & 32 == 0 { Kind::Text } else { Kind::Binary }, input.short());
                let open = world.session.is_open();
                let sent = world.session.send(&mut world.transport, kind, payload);
                assert!(open || sent.is_err());
            }
            26 => world.session.retire_old(&mut world.transport, world.now_ns),
            27 => world.session.renew(world.now_ns),
            28 => {
                sound = false;
                world.session.reconnect(&mut world.transport, world.now_ns, "the script says so");
            }
            _ => {
                for socket in &mut world.transport.sockets {
                    if socket.state == SocketState::Connecting {
                        socket.state = SocketState::Open;
                    }
                }
            }
        }
        world.settle();
    }
    let got: Vec<&Vec<u8>> = world.told.messages.iter().map(|(_, payload)| payload).collect();
    assert!(got.iter().all(|payload| payload.len() <= 512));
    if sound && world.told.closes == 0 && world.told.opens == 1 {
        let want: Vec<&Vec<u8>> = sent_soundly.iter().collect();
        assert!(want.starts_with(&got), "messages come whole and in their order");
    }
    let statistics = world.session.statistics();
    assert_eq!(statistics.messages_in, world.told.messages.len() as u64);
    assert_eq!(statistics.opens, world.told.opens);

    // An honest network and server at last.
    world.transport = Memory { sockets: std::mem::take(&mut world.transport.sockets), ..Memory::default() };
    for socket in &mut world.transport.sockets {
        if socket.is_live() || socket.state == SocketState::Connecting {
            socket.state = SocketState::Closed(CloseReason::Reset);
        }
    }
    for _ in 0..400 {
        world.settle();
        world.serve();
        world.settle();
        if world.session.is_open() {
            break;
        }
        world.now_ns += S / 2;
    }
    assert!(world.session.is_open(), "up again within 200 s: {:?}", world.session.statistics());
    let before = world.told.messages.len();
    let socket = world.transport.sockets.iter_mut().rfind(|socket| socket.is_live() && socket.answered).expect("it is open");
    socket.incoming.extend(frame(0x81, b"works"));
    world.settle();
    assert_eq!(world.told.messages[before..].iter().map(|(_, payload)| &payload[..]).collect::<Vec<_>>(), [b"works"]);
});
