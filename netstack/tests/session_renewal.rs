//! Planned renewal: two links alive, and the old one goes when the new one is ready.

mod session_support;
mod tls_support;

use netstack::session::{CauseKind, CloseCause, SessionConfig, Stitched};
use netstack::tls::Versions;
use netstack::transport::{CloseReason, SocketState};
use netstack::websocket::Kind;
use session_support::*;

fn hourly(config: &mut SessionConfig) {
    config.life_max_ns = 3600 * SECOND;
    config.renewal_lead_ns = 600 * SECOND;
    config.overlap_max_ns = 30 * SECOND;
    config.backoff_max_ns = 4 * SECOND;
}

#[test]
fn the_new_link_is_up_before_the_old_one_goes() {
    let mut world = World::with_tls(Versions::Tls13, hourly).open();
    world.advance(2999 * SECOND);
    assert_eq!(world.transport.sockets.len(), 1);
    world.advance(SECOND);
    assert_eq!(world.handler.take(), [Told::Open(2)]);
    // Both deliver; what is sent goes to the newest.
    world.server_sends(0, &text("from the old"));
    world.server_sends(1, &text("from the new"));
    world.settle();
    let mut told = world.handler.take();
    told.sort_by_key(|told| matches!(told, Told::Message(2, ..)));
    assert_eq!(told, [Told::Message(1, Kind::Text, b"from the old".to_vec()), Told::Message(2, Kind::Text, b"from the new".to_vec())]);
    assert_eq!(world.session.send(&mut world.transport, Kind::Text, b"logon"), Ok(2));
    assert_eq!(world.session.send_to(1, &mut world.transport, Kind::Text, b"unsubscribe"), Ok(1));
    world.serve();
    assert_eq!(world.peers[1].frames.pop_front().unwrap().payload, b"logon");
    assert_eq!(world.peers[0].frames.pop_front().unwrap().payload, b"unsubscribe");
    // The caller says that the new one is ready.
    world.session.retire_old(&mut world.transport, world.now_ns);
    world.server_sends(0, &[text("a last fill"), close(1000, "")].concat());
    world.settle();
    assert_eq!(world.handler.take(), [Told::Message(1, Kind::Text, b"a last fill".to_vec()), Told::Close(1, CloseCause::Retired)]);
    assert_eq!(world.peers[0].frames.pop_front(), Some(Frame { opcode: 0x88, payload: 1000u16.to_be_bytes().to_vec() }));
    world.server_fin(0);
    world.settle();
    assert!(world.transport.sockets[0].released);
    let statistics = world.session.statistics();
    assert_eq!((statistics.opens, statistics.renewals, statistics.failures), (2, 1, 0));
    assert_eq!(statistics.last_error, "", "a planned end is no error");
    // And so on, hour by hour.
    world.advance(3000 * SECOND);
    assert_eq!(world.handler.take(), [Told::Open(3)]);
}

#[test]
fn what_came_in_pieces_is_counted_over_all_links_and_what_lay_whole_is_not() {
    let mut world = World::with_tls(Versions::Tls13, hourly).open();
    let before = world.session.stitched();
    world.server_sends(0, &text("whole"));
    world.settle();
    assert_eq!(world.session.stitched(), before);
    // A message over two records, each in one piece.
    let split = text("over two records");
    world.server_sends(0, &split[..9]);
    world.server_sends(0, &split[9..]);
    world.settle();
    assert_eq!(world.session.stitched(), Stitched { messages: before.messages + 1, ..before });
    // A record in two pieces, the message in it whole.
    world.server_sends(0, &text("in two segments"));
    let tail = world.transport.sockets[0].incoming.split_off(20);
    world.settle();
    world.transport.sockets[0].incoming.extend_from_slice(&tail);
    world.settle();
    let stitched = Stitched { records: before.records + 1, messages: before.messages + 1 };
    assert_eq!(world.session.stitched(), stitched);
    // The link goes, and others come in its place.
    for generation in 2..5 {
        world.reset(world.transport.sockets.len() - 1);
        world.advance_until(60 * SECOND, |world| world.session.generation() == generation);
        assert_eq!(world.session.stitched(), stitched);
    }
}

#[test]
fn an_old_link_that_nobody_retires_goes_after_the_bound() {
    let mut world = World::new(hourly).open();
    world.advance(3000 * SECOND);
    assert_eq!(world.handler.take(), [Told::Open(2)]);
    world.advance(29 * SECOND);
    assert!(world.session.is_generation_open(1));
    world.advance(SECOND);
    assert!(!world.session.is_generation_open(1));
    world.server_sends(0, &close(1000, ""));
    world.settle();
    assert_eq!(world.handler.take(), [Told::Close(1, CloseCause::Retired)]);
}

#[test]
fn a_replacement_that_fails_is_tried_again_while_the_old_link_lives_on() {
    let mut world = World::new(hourly).open();
    world.refusal = Some("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".into());
    world.advance(3000 * SECOND);
    world.advance_until(60 * SECOND, |world| world.session.statistics().upgrade_refusals == 5);
    assert!(world.session.is_generation_open(1));
    assert_eq!(world.session.send(&mut world.transport, Kind::Text, b"still here"), Ok(1));
    world.refusal = None;
    world.advance_until(60 * SECOND, |world| world.session.generation() == 2);
    assert!(world.session.is_generation_open(1) && world.session.is_generation_open(2));
}

#[test]
fn if_the_replacement_falls_the_old_link_is_the_newest_again() {
    let mut world = World::new(hourly).open();
    world.advance(3000 * SECOND);
    world.reset(1);
    world.settle();
    assert_eq!(world.handler.take(), [Told::Open(2), Told::Close(2, CloseCause::Socket(CloseReason::Reset))]);
    assert_eq!(world.session.send(&mut world.transport, Kind::Text, b"x"), Ok(1));
    // It is not retired by the bound that its lost replacement had set, and another replacement comes.
    world.advance_until(10 * SECOND, |world| world.session.generation() == 3);
    world.advance(29 * SECOND);
    assert!(world.session.is_generation_open(1));
    world.advance(SECOND);
    assert!(!world.session.is_generation_open(1) && world.session.is_generation_open(3));
}

#[test]
fn if_the_old_link_falls_during_the_renewal_the_new_one_carries_on() {
    let mut world = World::new(hourly).open();
    world.transport.first_state = SocketState::Connecting;
    world.advance(3000 * SECOND);
    world.reset(0);
    world.settle();
    assert_eq!(world.handler.take(), [Told::Close(1, CloseCause::Socket(CloseReason::Reset))]);
    assert!(!world.session.is_open());
    world.transport.sockets[1].state = SocketState::Open;
    world.settle();
    assert_eq!(world.handler.take(), [Told::Open(2)]);
    assert_eq!(world.transport.sockets.len(), 2, "the attempt under way was enough");
}

#[test]
fn a_renewal_can_be_asked_for_when_the_venue_says_that_it_will_close() {
    let mut world = World::new(|_| {}).open();
    world.session.renew(world.now_ns);
    world.settle();
    assert_eq!(world.handler.take(), [Told::Open(2)]);
    world.server_sends(0, &close(1001, "server shutdown"));
    world.settle();
    assert_eq!(world.handler.kinds(), [CauseKind::PeerClose]);
    assert_eq!(world.session.send(&mut world.transport, Kind::Text, b"x"), Ok(2));
}

#[test]
fn a_flooding_old_link_does_not_starve_the_new_one() {
    let mut world = World::new(|_| {}).open();
    world.session.renew(world.now_ns);
    world.settle();
    world.handler.take();
    let flood: Vec<u8> = (0..100).flat_map(|_| text("old")).collect();
    world.server_sends(0, &flood);
    world.server_sends(1, &[text("new"), text("new"), text("new")].concat());
    for _ in 0..6 {
        let _ = world.poll();
    }
    let new = world.handler.messages().iter().filter(|message| **message == b"new").count();
    assert_eq!(new, 3, "turn and turn about");
}

#[test]
fn a_life_shorter_than_the_lead_still_leaves_half_of_it() {
    let mut world = World::new(|config| {
        config.life_max_ns = 100 * SECOND;
        config.renewal_lead_ns = 600 * SECOND;
    })
    .open();
    world.advance(49 * SECOND);
    assert_eq!(world.session.generation(), 1);
    world.advance(SECOND);
    assert_eq!(world.session.generation(), 2);
}

#[test]
fn shutting_down_in_the_middle_of_a_renewal_closes_both() {
    let mut world = World::new(|_| {}).open();
    world.session.renew(world.now_ns);
    world.settle();
    world.handler.take();
    world.session.shut_down(&mut world.transport, world.now_ns);
    world.server_sends(0, &close(1000, ""));
    world.server_sends(1, &close(1000, ""));
    world.settle();
    assert_eq!(world.handler.take(), [Told::Close(1, CloseCause::ShutDown), Told::Close(2, CloseCause::ShutDown)]);
    world.advance_until(5 * SECOND, |world| world.session.is_shut_down());
}
