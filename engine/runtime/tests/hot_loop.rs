//! The hot loop with scripts in the place of network, channels, codecs and clock.

mod support;

use engine_core::event::{CommandKind, Event, EventKind, FeedState, Times, flags};
use engine_core::fixed::Money;
use engine_core::ids::{AssetId, OrderId, VenueId};
use engine_core::order::OrderState;
use runtime::engine::Phase;
use runtime::engine::hot_loop::Control;
use runtime::latency::Answer;
use support::{Happening, Stage, core, kinds};
use venues::outbox::ColdRequest;
use venues::venue::{ExecuteError, Role};

fn stage(venues: usize) -> Stage {
    Stage::new(core(venues), venues, 4_096, 1).opened()
}

fn order(sequence: u32) -> OrderId {
    OrderId::new(1, sequence)
}

#[test]
fn an_order_is_recorded_sent_and_framed_before_the_next_message_is_read() {
    let mut stage = stage(1);
    stage.venues[0]
        .market_data
        .borrow_mut()
        .extend([Happening::Message("bid 1000000 1000100".into()), Happening::Message("bid 1000100 1000200".into())]);
    stage.bursts.borrow_mut().push_back(vec![0]);
    stage.pass();
    assert_eq!(
        stage.diary(),
        [
            "frame 0",
            "message bid 1000000 1000100",
            "send 1 order_entry send_new 2 1000100",
            "transmit 1",
            "kick",
            "message bid 1000100 1000200",
            "send 1 order_entry send_new 3 1000200",
            "transmit 1",
            "kick",
        ],
        "an order waits for nothing; what is written besides it shares one kick"
    );
    let recorded = stage.drain();
    let sent = recorded.iter().position(|e| e.event_kind() == Some(EventKind::SendNew)).expect("recorded");
    let second = recorded.iter().rposition(|e| e.event_kind() == Some(EventKind::BookLevel)).expect("recorded");
    assert!(sent < second);
    assert_eq!(stage.board.tick_to_order().count, 2);
}

#[test]
fn a_pass_kicks_for_its_order_alone_and_the_rest_leaves_with_the_next() {
    let mut stage = stage(1);
    stage.venues[0].market_data.borrow_mut().extend([Happening::Message("pong".into()), Happening::Message("bid 1000000 1000100".into())]);
    stage.bursts.borrow_mut().push_back(vec![0]);
    stage.pass();
    let diary = stage.diary();
    assert_eq!(diary.iter().filter(|line| *line == "kick").count(), 1, "{diary:?}");
    assert!(!diary.iter().any(|line| line.starts_with("transmit all")), "{diary:?}");
    stage.pass();
    assert_eq!(stage.diary(), ["transmit all 1", "kick"]);
    stage.pass();
    assert!(stage.diary().is_empty());
}

#[test]
fn an_order_does_not_wait_for_the_frames_behind_it() {
    let mut stage = stage(2);
    stage.venues[0].market_data.borrow_mut().push_back(Happening::Message("bid 1000000 1000100".into()));
    stage.venues[1].market_data.borrow_mut().push_back(Happening::Message("bid 1000000 1000000".into()));
    stage.bursts.borrow_mut().push_back(vec![0, 2]);
    stage.pass();
    let diary = stage.diary();
    let at = |what: &str| diary.iter().position(|line| line.starts_with(what)).expect(what);
    assert!(at("kick") < at("frame 2"), "{diary:?}");
    assert!(at("send 1 ") < at("transmit 1") && at("transmit 1") < at("send 3 "), "an order's frame is made at once: {diary:?}");
    assert!(at("send 3 ") < at("kick"), "both venues' orders leave together: {diary:?}");
}

#[test]
fn the_order_sockets_segments_go_first() {
    let mut stage = stage(1);
    stage.message(0, Role::MarketData, "bid 1000000 1000100");
    stage.pass();
    stage.message(0, Role::OrderEntry, "ack 2");
    stage.pass();
    stage.message(0, Role::OrderEntry, "fill 2 1000100");
    stage.pass();
    assert_eq!(stage.diary().iter().filter(|line| *line == "priority 1").count(), 1, "marked once");
    assert_eq!(stage.hot.side().core().desk().order(order(2)).map(|o| o.state), Some(OrderState::Filled));
}

#[test]
fn what_the_codec_refuses_is_a_refusal_in_the_core() {
    let mut stage = stage(1);
    *stage.venues[0].execute_error.borrow_mut() = Some(ExecuteError::RateLimited);
    stage.message(0, Role::MarketData, "bid 1000000 1000100");
    stage.pass();
    let recorded = stage.drain();
    assert!(kinds(&recorded).contains(&"order_reject"), "{:?}", kinds(&recorded));
    assert_eq!(stage.hot.side().core().desk().order(order(2)).map(|o| o.state), Some(OrderState::Rejected));
    assert_eq!(stage.board.tick_to_order().count, 0, "nothing left, so nothing was measured");
}

#[test]
fn an_order_does_not_wait_for_the_core_to_hear_that_the_one_before_it_was_refused() {
    let mut stage = stage(2);
    let open = |stage: &Stage| stage.hot.side().core().desk().orders().open_len();
    let before = open(&stage);
    *stage.venues[0].execute_error.borrow_mut() = Some(ExecuteError::RateLimited);
    stage.message(0, Role::MarketData, "bid 1000000 1000100");
    stage.pass();
    let recorded = stage.drain();
    let refused = recorded.iter().find(|e| e.event_kind() == Some(EventKind::OrderReject)).expect("a refusal");
    let [tick] = stage.hot.latency().slowest() else { panic!("one tick was answered") };
    assert_eq!((tick.like.commands, tick.like.messages, tick.answer()), (2, 1, Answer::Order));
    assert_eq!((tick.venue, tick.like.events, tick.like.bytes), (0, 2, "bid 1000000 1000100".len() as u32));
    assert_eq!((tick.like.before, tick.like.behind, tick.like.rehearsed_ns), (0, 0, 0), "nothing was rehearsed");
    assert!(refused.core_time_ns > tick.like.seen_ns + tick.whole_ns(), "the frame was ready before");
    assert_eq!(open(&stage), before + 1);
}

#[test]
fn a_message_that_the_channel_does_not_take_leaves_the_order_unknown_and_asked_for() {
    let mut stage = stage(1);
    *stage.venues[0].order_entry_full.borrow_mut() = true;
    stage.message(0, Role::MarketData, "bid 1000000 1000100");
    stage.pass();
    let recorded = kinds(&stage.drain());
    let position = |kind: &str| recorded.iter().position(|k| *k == kind).unwrap_or_else(|| panic!("{kind} in {recorded:?}"));
    assert!(position("send_new") < position("order_uncertain"));
    assert!(position("order_uncertain") < position("send_query"));
    assert_eq!(stage.hot.side().core().desk().orders().unknown_len(), 1);
}

#[test]
fn a_query_that_cannot_be_sent_goes_to_the_cold_plane() {
    let mut stage = stage(1);
    stage.message(0, Role::MarketData, "bid 1000000 1000100");
    stage.pass();
    stage.venues[0].order_entry.borrow_mut().push_back(Happening::Close);
    stage.bursts.borrow_mut().push_back(vec![1]);
    stage.pass();
    assert_eq!(stage.hot.side().core().desk().orders().unknown_len(), 2, "the answers are lost");
    stage.wait_ms(6_000);
    let requests = stage.venues[0].requests();
    let asked = |sequence| requests.iter().any(|r| matches!(r, ColdRequest::OrderStatus { order: o, .. } if *o == order(sequence)));
    assert!(asked(1) && asked(2), "{requests:?}");
    assert_eq!(stage.hot.side().core().desk().order_entry(VenueId(0)), FeedState::Down);
}

#[test]
fn market_data_is_dropped_when_the_ring_is_tight_and_the_book_synchronised_anew() {
    let mut stage = Stage::new(core(1), 1, 128, 1).opened();
    let mut bid = 1_000_000;
    // Nobody drains the ring.
    for _ in 0..100 {
        stage.message(0, Role::MarketData, &format!("bid {bid} {}", bid + 100));
        bid += 100;
        stage.tick();
    }
    let counters = stage.hot.side().counters();
    assert!(stage.hot.side().is_behind());
    assert_eq!((counters.stopped, counters.waited, counters.unrecorded), (1, 0, 0), "{counters:?}");
    assert!(counters.dropped > 0);
    assert!(stage.diary().iter().any(|line| line == "send 0 market_data resync"));
    assert!(!stage.hot.side().core().desk().book(engine_core::ids::InstrumentId(0)).expect("a book").is_valid());
    let recorded = stage.drain();
    let behind = recorded.iter().position(|e| e.event_kind() == Some(EventKind::Command)).expect("the core was told");
    let later_orders = recorded[behind..].iter().filter(|e| e.event_kind() == Some(EventKind::SendNew)).count();
    assert_eq!(later_orders, 0, "no new orders from there on");
    // The writer catches up: a new snapshot, and trading goes on.
    stage.tick();
    assert!(!stage.hot.side().is_behind());
    stage.message(0, Role::MarketData, "book 2000000");
    stage.pass();
    assert!(kinds(&stage.drain()).contains(&"send_new"));
}

#[test]
fn a_dead_journal_writer_is_not_waited_for_and_ends_the_loop() {
    let mut stage = Stage::new(core(1), 1, 64, 1).opened();
    stage.progress.failed.store(true, std::sync::atomic::Ordering::Release);
    for n in 0..200 {
        stage.message(0, Role::OrderEntry, &format!("ack {n}"));
        stage.pass();
    }
    let counters = stage.hot.side().counters();
    assert!(stage.hot.side().is_deaf() && counters.unrecorded > 0, "{counters:?}");
    let mut passes = 0;
    while stage.wait_ms(10) {
        passes += 1;
        assert!(passes < 10_000, "the loop goes on in {:?}", stage.board.read().phase());
    }
    assert_eq!(stage.board.read().phase(), Phase::Ended);
}

#[test]
fn a_clock_that_jumps_breaks_nothing() {
    let mut stage = stage(1);
    *stage.now.borrow_mut() += 3_600_000_000_000;
    stage.message(0, Role::MarketData, "bid 1000000 1000100");
    for _ in 0..3 {
        stage.tick();
    }
    let recorded = stage.drain();
    let timers = recorded.iter().filter(|e| e.event_kind() == Some(EventKind::Timer)).count();
    assert!(timers <= 2, "missed timers are not made up for: {timers}");
    assert!(kinds(&recorded).contains(&"send_new"));
}

#[test]
fn timers_come_each_ten_milliseconds_and_are_recorded() {
    let mut stage = stage(1);
    for _ in 0..100 {
        stage.tick();
    }
    let timers = stage.drain().iter().filter(|e| e.event_kind() == Some(EventKind::Timer)).count();
    assert!((9..=11).contains(&timers), "{timers}");
}

#[test]
fn records_are_asked_for_when_order_entry_comes_up_and_again_if_no_answer_comes() {
    let mut stage = Stage::new(core(1), 1, 4_096, 1);
    stage.venues[0].order_entry.borrow_mut().push_back(Happening::Open);
    stage.tick();
    assert_eq!(stage.venues[0].requests(), [ColdRequest::Reconcile]);
    stage.wait_ms(14_000);
    assert_eq!(stage.venues[0].requests(), []);
    stage.wait_ms(2_000);
    assert_eq!(stage.venues[0].requests(), [ColdRequest::Reconcile]);
}

fn mark(code: u32, asked_ns: u64) -> Event {
    let times = Times { core_ns: asked_ns, poll_delay_ns: 0 };
    Event { code, flags: flags::COLD | flags::LAST, ..Event::new(EventKind::Reconcile, VenueId(0), times) }
}

#[test]
fn records_older_than_the_connection_prove_nothing() {
    let mut stage = Stage::new(core(1), 1, 4_096, 1);
    let before = *stage.now.borrow();
    stage.venues[0].order_entry.borrow_mut().push_back(Happening::Open);
    stage.tick();
    for code in [0, 1] {
        assert!(stage.venues[0].results.push(mark(code, before)));
    }
    stage.pass();
    assert!(!stage.hot.side().core().desk().reconciled(VenueId(0)));
    let now = *stage.now.borrow();
    for code in [0, 1] {
        assert!(stage.venues[0].results.push(mark(code, now)));
    }
    stage.pass();
    assert!(stage.hot.side().core().desk().reconciled(VenueId(0)));
}

#[test]
fn a_fee_and_its_fill_are_not_torn_apart() {
    let mut stage = stage(1);
    stage.message(0, Role::MarketData, "bid 1000000 1000100");
    stage.pass();
    stage.drain();
    let times = Times { core_ns: *stage.now.borrow(), poll_delay_ns: 0 };
    let (venue, instrument) = (VenueId(0), engine_core::ids::InstrumentId(0));
    let fee = Event::fill_fee(venue, instrument, order(2), 7, AssetId(1), Money(5), times).with(flags::COLD);
    assert!(stage.venues[0].results.push(fee));
    stage.pass();
    stage.message(0, Role::OrderEntry, "ack 2");
    stage.pass();
    use engine_core::event::Side;
    use engine_core::fixed::{Price, Qty};
    let fill = Event::fill(venue, instrument, order(2), Side::Buy, Price(1_000_100), Qty(1), 7, times).with(flags::COLD);
    assert!(stage.venues[0].results.push(fill));
    stage.pass();
    let recorded = kinds(&stage.drain());
    let at = recorded.iter().position(|k| *k == "fill_fee").expect("the fee");
    assert_eq!(recorded[at + 1], "order_fill", "{recorded:?}");
    assert_eq!(stage.hot.side().core().desk().positions().fees(AssetId(1)), Money(5));
}

#[test]
fn snapshots_and_tokens_go_to_the_codec_and_tokens_are_never_recorded() {
    let mut stage = stage(1);
    let times = Times { core_ns: 1, poll_delay_ns: 0 };
    assert!(stage.venues[0].results.push(Event::new(EventKind::ColdText, VenueId(0), times).with(flags::COLD)));
    stage.pass();
    assert_eq!(stage.diary(), ["cold Some(ColdText)"]);
    assert!(!kinds(&stage.drain()).contains(&"cold_text"));
}

#[test]
fn a_command_reaches_the_core_within_a_tick() {
    let mut stage = stage(1);
    assert!(stage.control.push(Control::Command { kind: CommandKind::Kill, a: 0, b: 0 }));
    stage.tick();
    assert!(stage.hot.side().core().desk().halted().is_some());
    assert!(stage.diary().iter().any(|line| line.starts_with("send 1 order_entry send_cancel")));
    stage.wait_ms(200);
    assert!(stage.board.read().halted());
}

#[test]
fn a_stop_cancels_waits_compares_records_and_closes() {
    let mut stage = stage(1);
    stage.message(0, Role::MarketData, "bid 1000000 1000100");
    stage.pass();
    for sequence in [1, 2] {
        stage.message(0, Role::OrderEntry, &format!("ack {sequence}"));
        stage.pass();
    }
    stage.diary();
    assert!(stage.control.push(Control::Stop));
    stage.tick();
    assert!(stage.diary().iter().any(|line| line.contains("send_cancel")));
    stage.wait_ms(700);
    assert_eq!(stage.venues[0].requests(), [], "orders are open still");
    for sequence in [1, 2] {
        stage.message(0, Role::OrderEntry, &format!("canceled {sequence}"));
        stage.pass();
    }
    stage.tick();
    assert_eq!(stage.venues[0].requests(), [ColdRequest::Reconcile]);
    assert!(!stage.diary().iter().any(|line| line.starts_with("shut down")));
    let now = *stage.now.borrow();
    for code in [0, 1] {
        assert!(stage.venues[0].results.push(mark(code, now)));
    }
    stage.tick();
    stage.tick();
    let diary = stage.diary();
    assert!(diary.contains(&"shut down 0".to_owned()) && diary.contains(&"shut down 1".to_owned()), "{diary:?}");
    assert!(!stage.tick());
    assert_eq!((stage.board.read().phase(), stage.board.read().open), (Phase::Ended, 0));
}

#[test]
fn a_stop_ends_within_its_bounds_even_if_nobody_answers() {
    let mut stage = stage(1);
    stage.message(0, Role::MarketData, "bid 1000000 1000100");
    stage.pass();
    assert!(stage.control.push(Control::Stop));
    let begun = *stage.now.borrow();
    while stage.wait_ms(50) {
        assert!(*stage.now.borrow() - begun < 25_000_000_000, "still in {:?}", stage.board.read().phase());
    }
}

#[test]
fn a_port_that_is_gone_ends_the_loop() {
    let mut stage = stage(1);
    *stage.gone.borrow_mut() = true;
    let mut passes = 0;
    while stage.tick() {
        passes += 1;
        assert!(passes < 10);
    }
    assert_eq!(stage.board.read().phase(), Phase::Ended);
}

#[test]
fn a_flood_on_one_channel_is_worked_off_in_turns() {
    let mut stage = stage(1);
    for n in 0..200 {
        stage.venues[0].market_data.borrow_mut().push_back(Happening::Message(format!("garbage {n}")));
    }
    stage.bursts.borrow_mut().push_back(vec![0]);
    stage.pass();
    let first = stage.diary().iter().filter(|line| line.starts_with("message")).count();
    assert!(first < 200, "{first} in one pass");
    stage.pass();
    stage.pass();
    assert!(stage.venues[0].market_data.borrow().is_empty(), "no frame is needed to go on");
}

#[test]
fn the_status_says_what_is_going_on() {
    let mut stage = stage(2);
    stage.message(0, Role::MarketData, "bid 1000000 1000100");
    stage.pass();
    stage.wait_ms(200);
    let status = stage.board.read();
    assert_eq!((status.venues().len(), status.phase(), status.epoch), (2, Phase::Running, 1));
    let venue = status.venues()[0];
    assert_eq!((venue.market_data(), venue.order_entry()), (FeedState::Up, FeedState::Up));
    assert_eq!((venue.books, venue.books_valid, venue.connects, venue.frames), (1, 1, 2, 1));
    assert_eq!(status.submitted, status.open);
    assert!(status.submitted >= 4);
}

#[test]
fn rehearsals_go_the_whole_way_and_leave_no_trace() {
    let play = |mut stage: Stage| {
        stage.clock.reading_ns = 0; // A rehearsal reads the clock too.
        for n in 0..200 {
            stage.message(0, Role::MarketData, &format!("bid {} {}", 1_000_000 + n * 100, 1_000_100 + n * 100));
            stage.tick();
            for _ in 0..5 {
                *stage.now.borrow_mut() += 100_000;
                stage.pass();
            }
        }
        stage.drain();
        let rehearsed = stage.hot.rehearsals();
        (stage.events, stage.diary.borrow().clone(), rehearsed)
    };
    let (events, diary, rehearsed) = play(Stage::rehearsing(2).opened());
    let (bare_events, bare_diary, none) = play(Stage::new(core(2), 2, 4_096, 1).opened());
    assert!(rehearsed.steps > 50 && rehearsed.orders > 50 && rehearsed.decided > 50, "{rehearsed:?}");
    assert_eq!(rehearsed.encoded, rehearsed.orders);
    assert_eq!(none.steps, 0);
    assert!(events == bare_events, "the record is the same with and without rehearsals");
    assert_eq!(diary, bare_diary);
}

#[test]
fn every_kind_of_command_is_rehearsed_with_every_venue_whatever_the_strategies_do() {
    let mut stage = Stage::rehearsing(3).opened();
    for _ in 0..150 {
        *stage.now.borrow_mut() += 400_000;
        stage.pass();
    }
    let steps = stage.hot.rehearsals().steps;
    assert!(steps >= 60, "{steps}");
    for venue in &stage.venues {
        let rehearsed = venue.rehearsed.borrow();
        for kind in [EventKind::SendNew, EventKind::SendCancel, EventKind::SendReplace] {
            let count = rehearsed.iter().filter(|known| **known == kind).count();
            // Each venue's turn comes in every third step, and each kind's at the latest in every third turn.
            assert!(count as u64 >= steps / 9 - 1, "{kind:?}: {count} in {steps} steps");
        }
    }
}

#[test]
fn rehearsals_go_on_when_the_ids_of_a_session_are_used_up() {
    let mut stage = Stage::rehearsing_for(2, 20).opened();
    // The second core's strategy places at one of the two prices that it is shown, and cancels at the other.
    for venue in 0..2 {
        stage.message(venue, Role::MarketData, "bid 1000013 1000063");
        stage.pass();
    }
    let decided: Vec<u64> = (0..4)
        .map(|_| {
            for _ in 0..300 {
                *stage.now.borrow_mut() += 400_000;
                stage.pass();
            }
            stage.drain();
            stage.hot.rehearsals().decided
        })
        .collect();
    assert!(decided.windows(2).all(|pair| pair[1] > pair[0] + 20), "{decided:?}");
}

#[test]
fn no_rehearsal_begins_within_a_burst() {
    let mut stage = Stage::rehearsing(1).opened();
    stage.tick();
    let steps = |stage: &Stage| stage.hot.rehearsals().steps;
    let before = steps(&stage);
    stage.message(0, Role::MarketData, "bid 1000000 1000100");
    stage.pass();
    *stage.now.borrow_mut() += 2_000;
    stage.pass();
    assert_eq!(steps(&stage), before, "2 us after a frame");
    *stage.now.borrow_mut() += 5_000;
    stage.pass();
    assert_eq!(steps(&stage), before + 1);
    stage.pass();
    assert_eq!(steps(&stage), before + 1, "not again before it is due");
}
