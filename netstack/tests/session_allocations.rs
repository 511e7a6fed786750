//! Once a link is open, receiving, sending, heartbeats and key changes of the peer allocate nothing.

mod counting_allocator;
mod session_support;
mod tls_support;

use counting_allocator::ALLOCATIONS;
use netstack::session::{CloseCause, Handler, Progress};
use netstack::tls::Versions;
use netstack::websocket::Kind;
use session_support::*;
use tls_support::NOW;

/// Counts messages and bytes, and keeps nothing.
#[derive(Default)]
struct Counter {
    messages: u64,
    bytes: u64,
}

impl Handler for Counter {
    fn on_open(&mut self, _generation: u32) {}

    fn on_message(&mut self, _generation: u32, _kind: Kind, payload: &[u8]) {
        self.messages += 1;
        self.bytes += payload.len() as u64;
    }

    fn on_close(&mut self, _generation: u32, cause: &CloseCause) {
        panic!("{cause}");
    }
}

#[test]
fn an_open_link_allocates_nothing() {
    for versions in [None, Some(Versions::Tls13), Some(Versions::Tls12)] {
        let adjust = |config: &mut netstack::session::SessionConfig| {
            config.ping_interval_ns = SECOND;
            config.idle_timeout_ns = 60 * SECOND;
        };
        let mut world = match versions {
            None => World::new(adjust),
            Some(versions) => World::with_tls(versions, adjust),
        }
        .open();
        let mut counter = Counter::default();
        let mut measured = 0;
        let mut key_updates = 0;
        for round in 0..50u64 {
            // Now and then the server changes its key, and asks us to change ours.
            if versions == Some(Versions::Tls13) && round % 10 == 9 {
                world.peers[0].tls.as_mut().unwrap().connection.refresh_traffic_keys().unwrap();
                key_updates += 1;
            }
            // The server speaks in whole records, in several messages to a record, in fragments.
            for _ in 0..5 {
                world.server_sends(0, &text("{\"stream\":\"btcusdt@depth\"}"));
                world.server_sends(0, &[text("one"), frame(0x89, b"ping"), text("two")].concat());
                world.server_sends(0, &frame(0x02, &[7; 1000]));
                world.server_sends(0, &frame(0x80, &[7; 1000]));
            }
            world.transport.lend_max = if round % 2 == 0 { usize::MAX } else { 333 };
            world.now_ns += SECOND;
            let before = ALLOCATIONS.get();
            for _ in 0..1000 {
                let progress = world.session.poll(&mut world.transport, world.now_ns, NOW, &mut counter);
                if progress == Progress::Idle {
                    break;
                }
                world.session.send(&mut world.transport, Kind::Text, &[b'o'; 220]).unwrap();
            }
            measured += ALLOCATIONS.get() - before;
            world.serve();
            world.peers[0].frames.clear();
        }
        assert_eq!(counter.messages, 50 * 20, "{versions:?}");
        assert_eq!(counter.bytes, 50 * 5 * (26 + 6 + 2000));
        assert_eq!(world.session.statistics().pings_out, 50);
        assert_eq!(key_updates, if versions == Some(Versions::Tls13) { 5 } else { 0 });
        assert_eq!(measured, 0, "allocations in 50 rounds of {versions:?}");
    }
}
