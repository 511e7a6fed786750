//! `peregrine journal` and `peregrine replay`, as a user runs them: on whole, torn, damaged and falsified journals.

use engine_core::core::Core;
use engine_core::event::{Event, EventKind, FeedState, Side, Times, flags};
use engine_core::fixed::{Money, Price, Qty};
use engine_core::ids::{AssetId, InstrumentId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use runtime::config::{Document, build};
use runtime::journal::{Writer, WriterOptions, segments};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of its own for each test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Scratch(dir)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let (subcommand, rest) = arguments.split_first().expect("a subcommand");
        Command::new(env!("CARGO_BIN_EXE_peregrine")).arg(subcommand).arg(&self.0).args(rest).output().expect("runs")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn instrument(venue: u8, symbol: &str, quote: u16, price_scale: u8) -> Instrument {
    Instrument {
        lot: Qty(1_000),
        qty_min: Qty(1_000),
        notional_min: Money::from_scaled(5, 0),
        maker_fee_ppm: 1_000,
        taker_fee_ppm: 1_000,
        capabilities: Capabilities { replace: venue == 1, reduce: true, post_only: true },
        ..Instrument::new(VenueId(venue), symbol, [AssetId(1), AssetId(quote)], [price_scale, 8])
    }
}

/// The core of the sample configuration, and its session file.
fn core() -> (Core, runtime::session_file::SessionFile) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/engine.toml");
    let document = Document::read(&path).expect("the sample is right");
    let mut assets = AssetTable::new();
    for name in ["USD", "BTC", "USDT", "BNB"] {
        assets.intern(name);
    }
    let mut instruments = InstrumentTable::new();
    for i in [instrument(0, "BTCUSDT", 2, 2), instrument(1, "BTC/USDT", 2, 1), instrument(1, "BTC/USD", 0, 1)] {
        instruments.add(i).expect("a good instrument");
    }
    let parts = build::core(&document, &instruments, &assets).expect("the sample builds");
    let session = build::session_file(&document, &parts.config);
    (Core::new(parts.config, parts.strategies).expect("a core"), session)
}

/// A session of market data that moves, on all instruments, with everything up.
fn inputs() -> Vec<Event> {
    let mut now = 1_767_225_600_000_000_000u64;
    let mut times = |step: u64| {
        now += step;
        Times { core_ns: now, poll_delay_ns: 100 }
    };
    let mut events = vec![Event { a: 1, flags: flags::LAST, ..Event::new(EventKind::SessionStart, VenueId(0), times(1)) }];
    for venue in [VenueId(0), VenueId(1)] {
        for role in [0, 1] {
            events.push(Event::feed_status(venue, role, FeedState::Up, times(1)));
        }
        for asset in 0..3 {
            let much = Money::from_scaled(1_000_000, 0);
            events.push(Event::balance(venue, AssetId(asset), much, much, times(1)).with(flags::COLD | flags::SNAPSHOT));
        }
        for code in [0, 1] {
            events.push(Event { code, flags: flags::LAST | flags::COLD, ..Event::new(EventKind::Reconcile, venue, times(1)) });
        }
    }
    for round in 0..400u64 {
        for (id, venue, cents) in [(0u16, VenueId(0), 1i64), (1, VenueId(1), 10), (2, VenueId(1), 10)] {
            let wave = ((round as i64 + i64::from(id) * 7) % 23 - 11) * 20;
            let mid = 6_825_000 + wave;
            for (side, sign) in [(Side::Buy, -1), (Side::Sell, 1)] {
                for level in 0..5i64 {
                    let price = Price((mid + sign * (10 + level * 20)) / cents);
                    let first = round.is_multiple_of(50) || round == 0;
                    let clear = if first && level == 0 && side == Side::Buy { flags::CLEAR | flags::SNAPSHOT } else { 0 };
                    let last = if level == 4 && side == Side::Sell { flags::LAST } else { 0 };
                    let at = times(if last != 0 { 1_000_000 } else { 0 });
                    let clear = if clear == 0 && level == 0 && side == Side::Buy { flags::CLEAR | flags::SNAPSHOT } else { clear };
                    events.push(Event::book_level(venue, InstrumentId(id), side, price, Qty(50_000_000), round, at).with(clear | last));
                }
            }
        }
        events.push(Event::timer(times(1_000)));
    }
    events
}

/// What a venue reports about what it was sent: each order is accepted, each third one filled.
fn reports(sent: &[Event], now_ns: u64, fills: &mut u64) -> Vec<Event> {
    let times = Times { core_ns: now_ns + 1_000, poll_delay_ns: 100 };
    let mut reports = Vec::new();
    for e in sent {
        let (venue, instrument, order) = (e.venue_id(), e.instrument_id(), e.order_id());
        let report = |kind| Event::order_report(kind, venue, instrument, order, times).with(flags::LAST);
        match e.event_kind() {
            Some(EventKind::SendNew) => {
                reports.push(report(EventKind::OrderAck));
                *fills += 1;
                if let (true, Some(side)) = (fills.is_multiple_of(3), e.side()) {
                    let fee = Money::from_scaled(1, 2);
                    reports.push(Event::fill_fee(venue, instrument, order, *fills, AssetId(2), fee, times));
                    let fill = Event::fill(venue, instrument, order, side, e.order_price(), e.order_qty(), *fills, times);
                    reports.push(fill.with(flags::LAST | flags::MAKER));
                }
            }
            Some(EventKind::SendCancel) => {
                let gone = Event::order_gone(EventKind::OrderCanceled, venue, instrument, order, None, times);
                reports.push(gone.with(flags::LAST));
            }
            Some(EventKind::SendReplace) => {
                let replaced = Event::order_replaced(venue, instrument, order, e.order_price(), e.order_qty(), times);
                reports.push(replaced.with(flags::LAST));
            }
            _ => {}
        }
    }
    reports
}

/// Runs the core of the sample through the session; `record` gets each input with its outputs.
fn run_session(core: &mut Core, mut record: impl FnMut(Vec<Event>)) {
    let mut fills = 0;
    for input in inputs() {
        let mut pending = std::collections::VecDeque::from([input]);
        // Reports may cause orders that cause reports: bounded.
        for _ in 0..100 {
            let Some(event) = pending.pop_front() else { break };
            let mut all = vec![event];
            all.extend_from_slice(core.apply(&event));
            pending.extend(reports(&all[1..], event.core_time_ns, &mut fills));
            record(all);
        }
    }
}

/// Writes the journal that an engine would have written. Returns the core's hash at the end, and how many outputs.
fn write_journal(dir: &Path) -> (u64, usize) {
    let (mut core, session) = core();
    session.write(dir).expect("writable");
    let options = WriterOptions { segment_bytes_max: 64 << 10 };
    let mut writer = Writer::open(dir, 1, session.hash(), options).expect("writable").0;
    let mut outputs = 0;
    run_session(&mut core, |record| {
        outputs += record.len() - 1;
        writer.append(&record).expect("writable");
    });
    writer.sync().expect("writable");
    (core.state_hash(), outputs)
}

#[test]
fn a_journal_replays_to_the_same_state_and_outputs() {
    let scratch = Scratch::new("replay-same");
    let (hash, outputs) = write_journal(&scratch.0);
    assert!(outputs > 10, "the strategies did something");
    let replayed = scratch.run(&["replay", "--state"]);
    let said = text(&replayed);
    assert!(replayed.status.success(), "{said}");
    assert!(said.contains(&format!("state hash  {hash:016x}")) && said.contains("matches     yes"), "{said}");

    let json: Value = serde_json::from_slice(&scratch.run(&["replay", "--json"]).stdout).expect("JSON");
    assert_eq!((&json["matches"], &json["state_hash"]), (&true.into(), &format!("{hash:016x}").into()));
    let partly: Value = serde_json::from_slice(&scratch.run(&["replay", "--json", "--until", "100"]).stdout).expect("JSON");
    assert_eq!((&partly["matches"], &partly["last_sequence"]), (&true.into(), &100.into()));
    assert_ne!(partly["state_hash"], json["state_hash"]);
}

#[test]
fn a_falsified_output_is_found_and_named() {
    let scratch = Scratch::new("replay-false");
    let (mut core, session) = core();
    session.write(&scratch.0).expect("writable");
    let mut writer = Writer::open(&scratch.0, 1, session.hash(), WriterOptions::default()).expect("writable").0;
    let mut falsified = None;
    run_session(&mut core, |mut record| {
        let sent = record.iter().position(|e| e.event_kind() == Some(EventKind::SendNew));
        if let (None, Some(at)) = (falsified, sent) {
            record[at].b += 1;
            falsified = Some(writer.next_sequence() + at as u64);
        }
        writer.append(&record).expect("writable");
    });
    let replayed = scratch.run(&["replay"]);
    let said = text(&replayed);
    assert!(!replayed.status.success());
    assert!(said.contains(&format!("first difference at sequence {}", falsified.expect("an order was sent"))), "{said}");
    assert!(said.contains("send_new"), "{said}");
}

#[test]
fn a_journal_without_its_session_file_cannot_be_replayed_and_says_why() {
    let scratch = Scratch::new("replay-without");
    write_journal(&scratch.0);
    std::fs::remove_file(scratch.0.join("session.json")).expect("was there");
    let replayed = scratch.run(&["replay"]);
    assert!(!replayed.status.success());
    assert!(text(&replayed).contains("session.json"), "{}", text(&replayed));
    // It can still be inspected.
    assert!(scratch.run(&["journal"]).status.success());
}

#[test]
fn verify_tells_whole_torn_and_damaged_apart() {
    let scratch = Scratch::new("verify");
    write_journal(&scratch.0);
    let whole = scratch.run(&["journal", "--verify"]);
    assert!(whole.status.success() && text(&whole).contains("whole"), "{}", text(&whole));

    let files = segments(&scratch.0).expect("readable");
    assert!(files.len() > 2);
    let last = &files.last().expect("some").1;
    let bytes = std::fs::read(last).expect("readable");
    std::fs::write(last, &bytes[..bytes.len() - 30]).expect("writable");
    let torn = scratch.run(&["journal", "--verify"]);
    assert!(torn.status.success() && text(&torn).contains("torn tail"), "{}", text(&torn));
    assert!(scratch.run(&["replay"]).status.success(), "what is whole still replays");

    let first = &files[0].1;
    let mut bytes = std::fs::read(first).expect("readable");
    bytes[300] ^= 1;
    std::fs::write(first, bytes).expect("writable");
    let damaged = scratch.run(&["journal", "--verify"]);
    assert!(!damaged.status.success());
    assert!(text(&damaged).contains("corrupt at byte"), "{}", text(&damaged));
}

#[test]
fn export_gives_the_wanted_kinds_and_sequences_as_json_lines() {
    let scratch = Scratch::new("export");
    write_journal(&scratch.0);
    let lines = |arguments: &[&str]| -> Vec<Value> {
        let output = scratch.run(arguments);
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
    };
    let some = lines(&["journal", "--export", "--from", "10", "--until", "30"]);
    assert_eq!(some.iter().map(|l| l["sequence"].as_u64().expect("a number")).collect::<Vec<_>>(), (10..=30).collect::<Vec<_>>());
    let sent = lines(&["journal", "--export", "--kind", "send_new"]);
    assert!(!sent.is_empty());
    assert!(
        sent.iter().all(|l| l["kind"] == "send_new" && l["price"].as_str().is_some_and(|p| p.contains('.')) && l["strategy"].is_string())
    );
    let unknown = scratch.run(&["journal", "--export", "--kind", "nonsense"]);
    assert!(!unknown.status.success() && text(&unknown).contains("nonsense"));
}

#[test]
fn decisions_that_were_never_recorded_are_told_and_are_no_difference() {
    let scratch = Scratch::new("unrecorded");
    let (mut core, session) = core();
    session.write(&scratch.0).expect("writable");
    let mut writer = Writer::open(&scratch.0, 1, session.hash(), WriterOptions::default()).expect("writable").0;
    let mut died = false;
    run_session(&mut core, |record| {
        // The process dies between deciding on the first order and recording it.
        let decides = record.iter().any(|e| e.event_kind() == Some(EventKind::SendNew));
        if !died {
            writer.append(if decides { &record[..1] } else { &record }).expect("writable");
        }
        died |= decides;
    });
    assert!(died, "an order was decided on");
    let replayed = scratch.run(&["replay"]);
    assert!(replayed.status.success(), "{}", text(&replayed));
    assert!(text(&replayed).contains("never recorded, never sent"), "{}", text(&replayed));
}

#[test]
fn a_session_file_of_another_journal_is_refused() {
    let scratch = Scratch::new("other-session");
    write_journal(&scratch.0);
    let path = scratch.0.join("session.json");
    let text_of = std::fs::read_to_string(&path).expect("readable");
    std::fs::write(&path, text_of.replacen("200000 USD", "200001 USD", 1)).expect("writable");
    let replayed = scratch.run(&["replay"]);
    assert!(!replayed.status.success());
    assert!(text(&replayed).contains("another session.json"), "{}", text(&replayed));
}
