//! The report of a run that has ended.

use super::handle::Facts;
use super::hot_loop::{Ending, HotLoop};
use super::network::{Channel, Network};
use super::venue_slot::{Barrier, VenueSlot};
use crate::host::hot_memory;
use crate::journal::Reader;
use crate::latency::{Answer, Latency, Percentiles, Stage, TickRecord};
use crate::replay::Replayer;
use crate::report::{
    HotReport, JournalReport, LatencyReport, LinkReport, OrdersReport, PiecesReport, PnlReport, PositionReport, Report, SlowTick,
    StrategyReport, VenueReport, resident_bytes,
};
use engine_core::core::{Core, Desk};
use engine_core::event::Anomaly;
use engine_core::fixed::Money;
use engine_core::ids::{AssetId, StrategyId};
use std::collections::BTreeMap;
use std::sync::Arc;
use venues::venue::Venue;

/// What is known besides, once all threads have ended.
pub(super) struct Ended {
    /// What the machine refused the hot thread.
    pub refusals: Vec<String>,
    /// REST requests and failures, by venue.
    pub rest: Vec<(u64, u64)>,
    /// The journal holds everything.
    pub whole: bool,
    /// How long it ran.
    pub seconds: f64,
}

/// Builds the report.
pub(super) fn report<N, S, V>(hot: &HotLoop<N, S, V>, facts: &Facts, ended: &Ended) -> Report
where
    N: Network,
    S: Channel<N>,
    V: Venue,
{
    let core = hot.side.core();
    let desk = core.desk();
    let (positions_match, differences) = compare(hot, desk, facts);
    let mut report = Report {
        link: link(hot),
        venues: hot.venues.iter().map(|slot| venue(slot, facts, ended)).collect(),
        orders: orders(desk),
        positions_match,
        differences,
        pnl: pnl(core, facts),
        latency_ns: LatencyReport {
            tick_to_order: hot.latency.tick_to_order(),
            tick_to_last_order: hot.latency.tick_to_last_order(),
            stages: Stage::ALL.iter().map(|s| (s.as_str().to_owned(), hot.latency.stage(*s))).collect(),
            venues: facts.venues.iter().enumerate().map(|(id, name)| (name.clone(), hot.latency.tick_to_order_of(id))).collect(),
            venue_stages: facts.venues.iter().enumerate().map(|(id, name)| (name.clone(), venue_stages(&hot.latency, id))).collect(),
            answers: Answer::ALL.iter().map(|a| (a.as_str().to_owned(), hot.latency.tick_to(*a))).collect(),
            slowest: hot.latency.slowest().iter().map(|tick| slow_tick(tick, facts)).collect(),
            kick: hot.latency.kick(),
        },
        hot: hot_report(hot, facts, &ended.refusals),
        journal: journal(hot, facts, ended.whole),
        seconds: ended.seconds,
        failures: Vec::new(),
        latency: Some(Arc::new(hot.latency.clone())),
    };
    report.failures = failures(hot, &report, ended.whole);
    report
}

/// The stages of the venue with this id.
fn venue_stages(latency: &Latency, id: usize) -> BTreeMap<String, Percentiles> {
    Stage::ALL.iter().map(|stage| (stage.as_str().to_owned(), latency.stage_of(id, *stage))).collect()
}

/// The link, and what the channels over it say of all that came.
fn link<N, S, V>(hot: &HotLoop<N, S, V>) -> LinkReport
where
    N: Network,
    S: Channel<N>,
    V: Venue,
{
    let mut link = hot.network.link();
    for channels in hot.venues.iter().map(|slot| slot.channel_counters::<N>()) {
        let sum =
            |of: PiecesReport, received, stitched| PiecesReport { received: of.received + received, stitched: of.stitched + stitched };
        link.tls = sum(link.tls, channels.records, channels.records_stitched);
        link.websocket = sum(link.websocket, channels.messages, channels.messages_stitched);
    }
    link
}

fn slow_tick(tick: &TickRecord, facts: &Facts) -> SlowTick {
    SlowTick {
        venue: facts.venues.get(tick.venue as usize).cloned().unwrap_or_default(),
        answer: tick.answer().as_str().to_owned(),
        whole_ns: tick.whole_ns(),
        stages_ns: Stage::ALL.iter().zip(tick.stages_ns).map(|(stage, ns)| (stage.as_str().to_owned(), ns)).collect(),
        like: tick.like,
    }
}

fn venue<N, S, V>(slot: &VenueSlot<S, V>, facts: &Facts, ended: &Ended) -> VenueReport
where
    S: Channel<N>,
    V: Venue,
{
    let (codec, channels) = (slot.venue.counters(), slot.channel_counters());
    let (rest_requests, rest_failures) = ended.rest.get(slot.id.index()).copied().unwrap_or_default();
    VenueReport {
        name: facts.venues.get(slot.id.index()).cloned().unwrap_or_else(|| slot.venue.name().to_owned()),
        connected: slot.was_connected,
        tls: match channels.tls_version {
            0x0304 => "1.3".into(),
            0x0303 => "1.2".into(),
            _ => String::new(),
        },
        frames: slot.counters.frames,
        messages: codec.messages,
        events: codec.events,
        gaps: codec.gaps,
        resyncs: codec.resyncs,
        checksum_failures: codec.checksum_failures,
        malformed: codec.malformed,
        unknown: codec.unknown_messages + codec.unknown_symbols + codec.unknown_values,
        connects: channels.connects,
        disconnects: channels.disconnects,
        venue_errors: codec.venue_errors,
        reconciliations: slot.counters.reconciliations,
        requests: codec.requests,
        not_sent: slot.counters.not_sent,
        rest_requests,
        rest_failures,
    }
}

fn orders(desk: &Desk) -> OrdersReport {
    let counters = desk.counters();
    OrdersReport {
        submitted: counters.submitted,
        acked: counters.acked,
        filled: counters.filled,
        fills: counters.fills,
        cancelled: counters.cancelled + counters.expired,
        rejected: counters.rejected,
        replaced: counters.replaced,
        unknown: u64::from(desk.orders().unknown_len()),
        open: u64::from(desk.orders().open_len()),
        refused_by_risk: counters.refused(),
        refusals: counters.refusals().map(|(refusal, count)| (refusal.as_str().to_owned(), count)).collect(),
        anomalies: counters.anomalies().map(|(anomaly, count)| (anomaly.as_str().to_owned(), count)).collect(),
    }
}

/// Our ledger against the balances that the venues stated last. Only a statement made after the last order
/// was gone counts.
fn compare<N, S, V>(hot: &HotLoop<N, S, V>, desk: &Desk, facts: &Facts) -> (Option<bool>, Vec<String>)
where
    N: Network,
    S: Channel<N>,
    V: Venue,
{
    let assets = &desk.config().assets;
    let mut differences = Vec::new();
    let mut compared = false;
    for slot in &hot.venues {
        let Barrier::Done { at_ns } = slot.last_barrier else { continue };
        if at_ns < hot.winding.since_ns {
            continue;
        }
        compared = true;
        let name = facts.venues.get(slot.id.index()).map_or("?", String::as_str);
        for asset in (0..assets.len()).map(|i| AssetId(i as u16)) {
            let Some(account) = desk.positions().ledger.account(slot.id, asset) else { continue };
            // Venues leave out what is zero: then the statement is older than the round.
            let stated = if account.stated_ns >= hot.winding.since_ns { account.stated_total } else { Some(Money::ZERO) };
            let (Some(ours), Some(theirs)) = (account.total(), stated) else { continue };
            if ours != theirs {
                differences.push(format!("{name} {}: ours {ours}, the venue's {theirs}", assets.name(asset)));
            }
        }
    }
    (compared.then_some(differences.is_empty()), differences)
}

fn pnl(core: &Core, facts: &Facts) -> PnlReport {
    let (desk, config) = (core.desk(), core.desk().config());
    let pnl = desk.pnl();
    let strategies = config
        .strategies
        .iter()
        .enumerate()
        .map(|(i, s)| StrategyReport { name: s.name.clone(), total: desk.strategy_pnl(StrategyId(i as u8)).net().to_string() });
    let positions = desk.instruments().iter().filter_map(|(id, instrument)| {
        let position = desk.instrument_position(id)?;
        Some(PositionReport {
            venue: facts.venues.get(instrument.venue.index()).cloned().unwrap_or_default(),
            symbol: instrument.symbol.clone(),
            qty: position.qty.display(instrument.qty_scale).to_string(),
        })
    });
    PnlReport {
        asset: config.assets.name(config.reporting_asset).to_owned(),
        total: pnl.net().to_string(),
        realised: pnl.realised.to_string(),
        unrealised: pnl.unrealised.to_string(),
        fees: pnl.fees.to_string(),
        strategies: strategies.collect(),
        positions: positions.collect(),
    }
}

fn hot_report<N, S, V>(hot: &HotLoop<N, S, V>, facts: &Facts, refusals: &[String]) -> HotReport
where
    N: Network,
    S: Channel<N>,
    V: Venue,
{
    let usage = hot.usage.unwrap_or_default();
    HotReport {
        allocations: usage.allocations,
        allocations_connecting: usage.allocations_connecting,
        allocations_counted: hot_memory::is_installed(),
        page_faults: usage.page_faults,
        page_faults_connecting: usage.page_faults_connecting,
        voluntary_switches: usage.voluntary_switches,
        involuntary_switches: usage.involuntary_switches,
        warmed_up: hot.warm,
        passes: hot.counters.passes,
        rehearsals: hot.rehearsals().orders,
        rehearsals_decided: hot.rehearsals().decided,
        rehearsal_ns: hot.counters.rehearsing_ns.checked_div(hot.rehearsals().steps).unwrap_or(0),
        rehearsal_ns_max: hot.counters.rehearsal_ns_max,
        pass_ns_max: hot.counters.pass_ns_max,
        arena_used: hot_memory::arena_used() as u64,
        arena_bytes: facts.arena.bytes as u64,
        arena_huge_pages: facts.arena.huge_pages,
        code_on_huge_pages: facts.code_on_huge_pages as u64,
        memory_locked: facts.memory_locked,
        cpu: facts.cpu,
        resident_bytes: resident_bytes(),
        refusals: facts.refusals.iter().chain(refusals).cloned().collect(),
    }
}

fn journal<N, S, V>(hot: &HotLoop<N, S, V>, facts: &Facts, whole: bool) -> JournalReport {
    let core = hot.side.core();
    let hash = core.state_hash();
    let replay_matches = facts.verify_replay.then(|| whole && !hot.side.is_deaf() && verify(facts, hash));
    JournalReport {
        path: facts.journal.display().to_string(),
        events: hot.side.next_sequence() - 1,
        state_hash: format!("{hash:016x}"),
        replay_matches,
        dropped: hot.side.counters().dropped,
    }
}

/// Replays the finished journal from the beginning.
fn verify(facts: &Facts, hash: u64) -> bool {
    let Ok(core) = (facts.build_core)() else { return false };
    let mut replayer = Replayer::new(core);
    let read = Reader::open(&facts.journal).and_then(|reader| replayer.read(&reader, u64::MAX));
    let (core, unrecorded, summary) = replayer.finish();
    read.is_ok() && summary.matches() && unrecorded.is_empty() && core.state_hash() == hash
}

/// The invariants that must hold at the end of any run.
fn failures<N, S, V>(hot: &HotLoop<N, S, V>, report: &Report, whole: bool) -> Vec<String> {
    let mut failures = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            failures.push(what);
        }
    };
    match &hot.ending {
        Ending::Stopped => {}
        Ending::JournalFailed => check(false, "the journal could not be written any more".into()),
        Ending::PortGone(error) => check(false, format!("the port is gone: {error}")),
    }
    check(whole, "the journal is not whole".into());
    check(report.positions_match != Some(false), format!("balances differ from the venues': {}", report.differences.join("; ")));
    check(report.orders.unknown == 0, format!("{} orders are in a state that nobody knows", report.orders.unknown));
    check(report.orders.open == 0, format!("{} orders are open still", report.orders.open));
    check(report.journal.replay_matches != Some(false), "a replay of the journal does not give the same state".into());
    let side = hot.side.counters();
    check(side.overflow == 0, format!("{} orders did not fit the command queue", side.overflow));
    let lost = hot.side.core().desk().counters().outputs_lost;
    check(lost == 0, format!("{lost} outputs did not fit the core's bound"));
    let overfills = hot.side.core().desk().counters().anomaly(Anomaly::Overfill);
    check(overfills == 0, format!("{overfills} fills beyond their order's quantity"));
    failures
}
