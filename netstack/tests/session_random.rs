//! A session through random weather: whatever happens in whatever order, links are opened and closed in
//! pairs, messages belong to links that are open, no socket is lost, and it comes back up.

mod session_support;
mod tls_support;

use std::collections::BTreeMap;

use netstack::transport::{CloseReason, Resolution, ResolveError, SocketState};
use netstack::websocket::Kind;
use proptest::prelude::*;
use session_support::*;

/// One thing that happens to the session.
#[derive(Clone, Debug)]
enum Weather {
    Wait(u64),
    Reset(usize),
    Fin(usize),
    Message(usize),
    Garbage(usize, Vec<u8>),
    CloseFrame(usize),
    Send,
    Renew,
    RetireOld,
    Reconnect,
    Refuse(bool),
    Silence(bool),
    Deaf(bool),
    NameLost(bool),
    Lend(usize),
    NoRoom(bool),
}

fn weather() -> impl Strategy<Value = Weather> {
    let socket = 0usize..3;
    prop_oneof![
        6 => (1u64..4_000).prop_map(|ms| Weather::Wait(ms * MS)),
        2 => socket.clone().prop_map(Weather::Reset),
        2 => socket.clone().prop_map(Weather::Fin),
        6 => socket.clone().prop_map(Weather::Message),
        1 => (socket.clone(), proptest::collection::vec(any::<u8>(), 1..20)).prop_map(|(socket, bytes)| Weather::Garbage(socket, bytes)),
        2 => socket.prop_map(Weather::CloseFrame),
        4 => Just(Weather::Send),
        3 => Just(Weather::Renew),
        2 => Just(Weather::RetireOld),
        1 => Just(Weather::Reconnect),
        1 => any::<bool>().prop_map(Weather::Refuse),
        1 => any::<bool>().prop_map(Weather::Silence),
        1 => any::<bool>().prop_map(Weather::Deaf),
        1 => any::<bool>().prop_map(Weather::NameLost),
        1 => (1usize..200).prop_map(Weather::Lend),
        1 => any::<bool>().prop_map(Weather::NoRoom),
    ]
}

impl World {
    /// The `back`-th newest socket, if it is alive.
    fn alive(&self, back: usize) -> Option<usize> {
        let index = self.transport.sockets.len().checked_sub(back + 1)?;
        let socket = &self.transport.sockets[index];
        (!socket.released && !matches!(socket.state, SocketState::Closed(_)) && index < self.peers.len()).then_some(index)
    }

    fn suffers(&mut self, weather: &Weather) {
        match weather {
            Weather::Wait(ns) => {
                // In steps, so that timers fire in their order.
                for _ in 0..4 {
                    self.now_ns += ns / 4;
                    self.settle();
                }
            }
            Weather::Reset(back) => self.alive(*back).into_iter().for_each(|index| self.reset(index)),
            Weather::Fin(back) => self.alive(*back).into_iter().for_each(|index| self.server_fin(index)),
            Weather::Message(back) => self.alive(*back).into_iter().for_each(|index| self.server_sends(index, &text("message"))),
            Weather::Garbage(back, bytes) => {
                self.alive(*back).into_iter().for_each(|index| self.transport.sockets[index].incoming.extend_from_slice(bytes));
            }
            Weather::CloseFrame(back) => self.alive(*back).into_iter().for_each(|index| self.server_sends(index, &close(1001, "restart"))),
            Weather::Send => {
                let _ = self.session.send(&mut self.transport, Kind::Text, b"order");
            }
            Weather::Renew => self.session.renew(self.now_ns),
            Weather::RetireOld => self.session.retire_old(&mut self.transport, self.now_ns),
            Weather::Reconnect => self.session.reconnect(&mut self.transport, self.now_ns, "test"),
            Weather::Refuse(refuse) => self.refusal = refuse.then(|| "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_owned()),
            Weather::Silence(silent) => self.silent = *silent,
            Weather::Deaf(deaf) => self.transport.first_state = if *deaf { SocketState::Connecting } else { SocketState::Open },
            Weather::NameLost(lost) => {
                self.transport.resolution = match lost {
                    true => Resolution::Failed(ResolveError::TimedOut),
                    false => Resolution::Address(std::net::Ipv4Addr::LOCALHOST),
                }
            }
            Weather::Lend(lend_max) => self.transport.lend_max = *lend_max,
            Weather::NoRoom(no_room) => self.transport.room = if *no_room { 8 } else { 1 << 20 },
        }
        self.settle();
        // A socket that both sides have closed is closed.
        for socket in &mut self.transport.sockets {
            if socket.fin_sent && socket.state == SocketState::PeerClosed {
                socket.state = SocketState::Closed(CloseReason::Closed);
            }
        }
        let alive = self.transport.sockets.iter().filter(|socket| !socket.released).count();
        assert!(alive <= 2, "{alive} sockets at one time");
    }
}

/// Opens and closes in pairs, generations one by one, messages between open and close.
fn check(told: &[Told]) -> usize {
    let mut open: BTreeMap<u32, bool> = BTreeMap::new();
    for told in told {
        match told {
            Told::Open(generation) => {
                assert_eq!(*generation as usize, open.len() + 1);
                open.insert(*generation, true);
            }
            Told::Message(generation, ..) => assert_eq!(open.get(generation), Some(&true), "a message of a link that is not open"),
            Told::Close(generation, cause) => assert_eq!(open.insert(*generation, false), Some(true), "{cause}"),
            Told::Failed(..) => {}
        }
    }
    open.values().filter(|open| **open).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn links_come_and_go_in_order_and_the_session_recovers(
        tls in any::<bool>(),
        seed in any::<u64>(),
        sequence in proptest::collection::vec(weather(), 1..60),
    ) {
        let adjust = |config: &mut netstack::session::SessionConfig| {
            config.seed = seed;
            config.ping_interval_ns = 2 * SECOND;
            config.idle_timeout_ns = 9 * SECOND;
            config.connect_timeout_ns = 3 * SECOND;
            config.life_max_ns = 30 * SECOND;
            config.renewal_lead_ns = 10 * SECOND;
            config.overlap_max_ns = 4 * SECOND;
            config.backoff_max_ns = 2 * SECOND;
        };
        let mut world = if tls { World::with_tls(netstack::tls::Versions::Both, adjust) } else { World::new(adjust) };
        for weather in &sequence {
            world.suffers(weather);
        }
        let open = check(&world.handler.told);
        let some_open = (1..=world.session.generation()).any(|generation| world.session.is_generation_open(generation));
        prop_assert_eq!(world.session.is_open(), open > 0 && some_open);
        // The sun comes out.
        for weather in [
            Weather::Refuse(false), Weather::Silence(false), Weather::Deaf(false), Weather::NameLost(false),
            Weather::Lend(usize::MAX), Weather::NoRoom(false),
        ] {
            world.suffers(&weather);
        }
        // Longer than the idle time-out, an attempt and the longest back-off together.
        for _ in 0..40 {
            world.suffers(&Weather::Wait(SECOND / 2));
            if world.session.is_open() {
                break;
            }
        }
        prop_assert!(world.session.is_open(), "{:?}", world.session);
        world.session.shut_down(&mut world.transport, world.now_ns);
        world.suffers(&Weather::Wait(5 * SECOND));
        world.suffers(&Weather::Wait(5 * SECOND));
        prop_assert!(world.session.is_shut_down());
        prop_assert_eq!(check(&world.handler.told), 0);
        prop_assert!(world.transport.sockets.iter().all(|socket| socket.released), "a socket was lost");
        let statistics = world.session.statistics();
        let closes: u64 = statistics.closes.iter().sum();
        let told = world.handler.told.iter().filter(|told| matches!(told, Told::Close(..) | Told::Failed(..))).count() as u64;
        prop_assert_eq!(closes, told);
    }
}
