//! What an engine that died leaves behind, and what the next one makes of it.

mod support;

use engine_core::event::{Event, EventKind, Times, flags};
use engine_core::ids::VenueId;
use engine_core::order::OrderState;
use runtime::engine::EngineError;
use runtime::engine::recovery::{Places, Recovered, recover};
use runtime::journal::{Writer, segments};
use runtime::ring;
use runtime::session_file::SessionFile;
use std::path::{Path, PathBuf};
use support::{START_NS, Stage, config, core};
use venues::venue::Role;

struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("peregrine-recovery-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Scratch { dir }
    }
    fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }
    fn ring(&self) -> PathBuf {
        self.dir.join("ring")
    }
    fn recover(&self) -> Result<Recovered, EngineError> {
        self.recover_with(&session())
    }
    fn recover_with(&self, session: &SessionFile) -> Result<Recovered, EngineError> {
        let (journal, ring) = (self.journal(), self.ring());
        recover(Places { journal: &journal, ring: &ring, ring_events: 4_096 }, session, || Ok(core(1)), START_NS)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn session() -> SessionFile {
    let config = config(1);
    SessionFile::new("[engine]", vec!["venue0".into()], vec!["scripted".into()], &config.assets, &config.instruments)
}

/// A run that has recovered: a stage over the shared ring.
fn run(recovered: Recovered) -> (Stage, Writer) {
    let (producer, consumer) = ring::start(recovered.ring, recovered.writer.next_sequence(), session().hash());
    (Stage::with_ring(recovered.core, 1, producer, consumer, recovered.epoch).opened_undrained(), recovered.writer)
}

/// Some trading: orders, acks, a fill, a cancel. Nothing is drained.
fn trade(stage: &mut Stage, from: i64) {
    let mut bid = from;
    for n in 0..10u32 {
        stage.message(0, Role::MarketData, &format!("bid {bid} {}", bid + 100));
        bid += 100;
        stage.tick();
        stage.message(0, Role::OrderEntry, &format!("ack {}", n + 1));
        stage.tick();
    }
    stage.message(0, Role::OrderEntry, "fill 2 1000100");
    stage.message(0, Role::OrderEntry, "canceled 3");
    for _ in 0..20 {
        stage.tick();
    }
}

/// Moves `count` events from the ring into the journal; `release` says whether the ring was told.
fn write(stage: &mut Stage, writer: &mut Writer, count: usize, release: bool) {
    let mut events = vec![Event::default(); count];
    assert_eq!(stage.ring.peek(&mut events), count);
    writer.append(&events).unwrap();
    if release {
        stage.ring.release(count);
    }
}

#[test]
fn ring_and_journal_together_give_the_state_that_was() {
    for (name, written, release) in [("none", 0, true), ("some", 37, true), ("unreleased", 37, false), ("many", 70, true)] {
        let scratch = Scratch::new(&format!("join-{name}"));
        let (mut stage, mut writer) = run(scratch.recover().unwrap());
        trade(&mut stage, 1_000_000);
        let waiting = stage.ring.waiting();
        assert!(waiting > 75, "{waiting}");
        write(&mut stage, &mut writer, written, release);
        let (hash, next) = (stage.hot.side().core().state_hash(), stage.hot.side().next_sequence());
        let open = stage.hot.side().core().desk().orders().open_len();
        assert!(open > 5);
        drop((stage, writer)); // As after kill -9: neither end is shut down in any way.

        let again = scratch.recover().unwrap();
        assert_eq!(again.core.state_hash(), hash, "{name}");
        assert_eq!(again.writer.next_sequence(), next);
        assert_eq!(again.core.desk().orders().open_len(), open);
        assert_eq!((again.epoch, again.summary.events), (2, next - 1));
        assert!(again.unrecorded.is_empty());
    }
}

#[test]
fn recovered_orders_are_adopted_and_asked_for_and_new_ids_do_not_repeat() {
    let scratch = Scratch::new("adopt");
    let (mut stage, _) = run(scratch.recover().unwrap());
    trade(&mut stage, 1_000_000);
    drop(stage);
    let (mut stage, _) = run(scratch.recover().unwrap());
    let diary = stage.diary();
    assert!(diary.iter().any(|line| line == "adopt p000100000001"), "{diary:?}");
    assert!(!diary.iter().any(|line| line == "adopt p000100000002"), "the filled one is closed: {diary:?}");
    let unknown = stage.hot.side().core().desk().orders().iter_open().filter(|o| o.state == OrderState::Unknown).count();
    assert!(unknown > 5, "nothing that was open is certain");
    stage.message(0, Role::MarketData, "bid 1000000 2000000");
    stage.pass();
    let orders = stage.hot.side().core().desk().orders();
    let newest = orders.iter_open().map(|o| o.id).max().unwrap();
    assert_eq!((newest.epoch(), newest.sequence()), (2, 1));
}

#[test]
fn a_torn_journal_is_joined_with_the_ring_again() {
    let scratch = Scratch::new("torn");
    let (mut stage, mut writer) = run(scratch.recover().unwrap());
    trade(&mut stage, 1_000_000);
    write(&mut stage, &mut writer, 40, true);
    // The writer died in the middle of its next block: written in part, not released.
    write(&mut stage, &mut writer, 30, false);
    let (hash, next) = (stage.hot.side().core().state_hash(), stage.hot.side().next_sequence());
    drop((stage, writer));
    let file = segments(&scratch.journal()).unwrap().pop().unwrap().1;
    let whole = std::fs::metadata(&file).unwrap().len();
    for cut in [whole - 1, whole - 64 * 30, whole - 64 * 30 - 63] {
        std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(cut).unwrap();
        let copy = Scratch::new("torn-copy");
        std::fs::create_dir_all(copy.journal()).unwrap();
        for entry in std::fs::read_dir(scratch.journal()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.journal().join(path.file_name().unwrap())).unwrap();
        }
        std::fs::copy(scratch.ring(), copy.ring()).unwrap();
        let again = copy.recover().unwrap();
        assert!(again.torn.is_some());
        assert_eq!((again.core.state_hash(), again.writer.next_sequence()), (hash, next), "cut at {cut} of {whole}");
    }
}

#[test]
fn outputs_that_were_decided_and_not_recorded_are_recorded_first() {
    let scratch = Scratch::new("unrecorded");
    let (mut stage, mut writer) = run(scratch.recover().unwrap());
    trade(&mut stage, 1_000_000);
    let mut events = vec![Event::default(); stage.ring.waiting() as usize];
    stage.ring.peek(&mut events);
    let first_order = events.iter().position(|e| e.event_kind() == Some(EventKind::SendNew)).unwrap();
    // Died between the input and its output.
    writer.append(&events[..first_order]).unwrap();
    drop((stage, writer));
    std::fs::remove_file(scratch.ring()).unwrap();
    let again = scratch.recover().unwrap();
    assert_eq!(again.unrecorded.first().and_then(Event::event_kind), Some(EventKind::SendNew));
    let unrecorded = again.unrecorded.clone();
    let (producer, consumer) = ring::start(again.ring, again.writer.next_sequence(), session().hash());
    let mut side = runtime::engine::core_side::CoreSide::new(again.core, producer, Default::default());
    side.record_only(&unrecorded);
    let mut start = Event::new(EventKind::SessionStart, VenueId(0), Times { core_ns: START_NS * 2, poll_delay_ns: 0 });
    (start.a, start.b, start.flags) = (u64::from(again.epoch), 1, flags::LAST);
    engine_core::event::EventSink::event(&mut side, &start);
    let hash = side.core().state_hash();
    assert!(side.commands().iter().all(|c| c.event_kind() != Some(EventKind::SendNew)), "it is never sent, only asked for");
    drop((side, consumer, again.writer, again.lock));
    let third = scratch.recover().unwrap();
    assert_eq!((third.core.state_hash(), third.epoch), (hash, 3));
}

#[test]
fn a_second_engine_is_refused_while_the_first_lives() {
    let scratch = Scratch::new("second");
    let first = scratch.recover().unwrap();
    let error = scratch.recover().err().expect("refused").to_string();
    assert!(error.contains("another running engine uses it"), "{error}");
    drop(first);
    assert!(scratch.recover().is_ok());
}

#[test]
fn another_configuration_and_a_stranger_to_the_journal_are_refused_with_the_reason() {
    let scratch = Scratch::new("strangers");
    let (mut stage, writer) = run(scratch.recover().unwrap());
    trade(&mut stage, 1_000_000);
    drop((stage, writer));
    let text = |error: Option<EngineError>| error.expect("refused").to_string();

    let mut other = session();
    other.config = "[engine] # changed".into();
    let error = text(scratch.recover_with(&other).err());
    assert!(error.contains("the configuration file's text"), "{error}");

    let elsewhere = Scratch::new("elsewhere");
    std::fs::copy(scratch.ring(), elsewhere.ring()).unwrap();
    let mut stranger = session();
    stranger.venues = vec!["venue9".into()];
    let error = text(elsewhere.recover_with(&stranger).err());
    assert!(error.contains("move the ring away"), "{error}");

    std::fs::remove_file(scratch.journal().join("session.json")).unwrap();
    let error = text(scratch.recover().err());
    assert!(error.contains("session.json is missing"), "{error}");
}

#[test]
fn a_record_that_this_program_would_not_write_is_refused() {
    let scratch = Scratch::new("mismatch");
    let (mut stage, mut writer) = run(scratch.recover().unwrap());
    trade(&mut stage, 1_000_000);
    let mut events = vec![Event::default(); stage.ring.waiting() as usize];
    stage.ring.peek(&mut events);
    let order = events.iter_mut().find(|e| e.event_kind() == Some(EventKind::SendNew)).unwrap();
    order.b += 1;
    writer.append(&events).unwrap();
    drop((stage, writer));
    let error = scratch.recover().err().expect("refused").to_string();
    assert!(error.contains("does not give what was recorded"), "{error}");
}

#[test]
fn an_unchanged_journal_is_left_unchanged() {
    let scratch = Scratch::new("clean");
    let (mut stage, mut writer) = run(scratch.recover().unwrap());
    trade(&mut stage, 1_000_000);
    let waiting = stage.ring.waiting() as usize;
    write(&mut stage, &mut writer, waiting, true);
    writer.sync().unwrap();
    drop((stage, writer));
    let bytes = |dir: &Path| segments(dir).unwrap().iter().map(|(_, p)| std::fs::metadata(p).unwrap().len()).sum::<u64>();
    let before = bytes(&scratch.journal());
    let again = scratch.recover().unwrap();
    assert_eq!((again.leftover, again.torn.is_some()), (0, false));
    drop(again);
    assert_eq!(bytes(&scratch.journal()), before);
}
