//! `peregrine replay`: rebuild the state from a journal, and compare it with what was recorded.

use anyhow::Context;
use engine_core::core::Core;
use engine_core::event::{Event, EventKind};
use runtime::config::build;
use runtime::journal::export::{self, Names};
use runtime::journal::{Reader, Summary, read_segment_header, segments};
use runtime::replay::{Mismatch, ReplaySummary, Replayer};
use runtime::session_file::{FILE_NAME, SessionFile};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Events between two looks at the clock.
const PROGRESS_EVENTS: u64 = 1 << 16;
/// Time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Options of the subcommand.
#[derive(clap::Args)]
#[command(after_help = "The journal's session.json says how its core was built; the same core is built again and fed the journal's \
    inputs. Each recorded output must come out again, state hashes included.\n\n\
    Exit status: 0 if everything matches, 1 if not or if the journal cannot be read.\n\n\
    Examples:\n  \
    peregrine replay /var/lib/peregrine/journal\n  \
    peregrine replay /var/lib/peregrine/journal --until 1000000 --state")]
pub struct Arguments {
    /// A journal directory. (One segment alone cannot be replayed: the state before it is missing.)
    journal: PathBuf,
    /// Stop after this sequence.
    #[arg(long, value_name = "SEQ", default_value_t = u64::MAX)]
    until: u64,
    /// Also print open orders, positions and profit and loss at that point.
    #[arg(long)]
    state: bool,
    /// Print one JSON object instead of text.
    #[arg(long, conflicts_with = "state")]
    json: bool,
}

/// What a replay gave.
struct Outcome {
    core: Core,
    journal: Summary,
    replayed: ReplaySummary,
    /// Outputs of the last input that the journal no longer holds.
    unrecorded: usize,
    seconds: f64,
}

/// Replays a journal and prints what came out.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        arguments.journal.is_dir(),
        "{} is no journal directory; a replay starts at the first segment",
        arguments.journal.display()
    );
    let session = SessionFile::read(&arguments.journal)?
        .with_context(|| format!("{} holds no {FILE_NAME}: how its core was built is not known", arguments.journal.display()))?;
    let outcome = replay(&arguments.journal, &session, arguments.until)?;
    let matches = outcome.replayed.matches();
    if arguments.json {
        println!("{}", to_json(&outcome, &session));
    } else {
        print(&outcome, &session);
        if arguments.state {
            print_state(&outcome.core, &session);
        }
    }
    Ok(if matches { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn replay(journal: &Path, session: &SessionFile, until: u64) -> anyhow::Result<Outcome> {
    let reader = Reader::open(journal).with_context(|| format!("opening {}", journal.display()))?;
    anyhow::ensure!(!reader.is_empty(), "{} holds no journal segment (*.pgj)", journal.display());
    check_session(journal, session)?;
    let total = reader.events_estimate();
    let parts = build::core_of_session(session, &journal.join(FILE_NAME))?;
    let core = Core::new(parts.config, parts.strategies).context("building the core")?;
    let mut replayer = Replayer::new(core);
    let started = Instant::now();
    let mut progress = Progress::new(total);
    let summary = reader.for_each(|sequence, event| {
        if sequence > until {
            return false;
        }
        replayer.feed(sequence, event);
        progress.step(sequence);
        true
    })?;
    progress.end();
    let (core, unrecorded, replayed) = replayer.finish();
    // An interrupted pass holds back the outputs after `until` on purpose.
    let unrecorded = if replayed.last_sequence >= until { 0 } else { unrecorded.len() };
    Ok(Outcome { core, journal: summary, replayed, unrecorded, seconds: started.elapsed().as_secs_f64() })
}

/// Refuses a session file that is not the one that the journal was made with.
fn check_session(journal: &Path, session: &SessionFile) -> anyhow::Result<()> {
    for (_, path) in segments(journal)? {
        let Some(header) = read_segment_header(&path)? else { continue };
        anyhow::ensure!(
            header.session_hash == session.hash(),
            "{} was made with another {FILE_NAME} (hash {:016x}) than the one beside it ({:016x})",
            path.display(),
            header.session_hash,
            session.hash()
        );
    }
    Ok(())
}

/// A line on a terminal that says how far the replay is.
struct Progress {
    total: u64,
    started: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new(total: u64) -> Progress {
        Progress { total, started: Instant::now(), shown: None, terminal: std::io::stderr().is_terminal() }
    }

    fn step(&mut self, done: u64) {
        if !done.is_multiple_of(PROGRESS_EVENTS) || self.shown.unwrap_or(self.started).elapsed() < PROGRESS_EVERY {
            return;
        }
        self.shown = Some(Instant::now());
        let percent = done.min(self.total) * 100 / self.total.max(1);
        let rate = done as f64 / self.started.elapsed().as_secs_f64();
        let (start, end) = if self.terminal { ("\r", "   ") } else { ("", "\n") };
        eprint!("{start}replaying: {done} of {} events, {percent} %, {rate:.0} a second{end}", self.total);
        let _ = std::io::stderr().flush();
    }

    fn end(&self) {
        if self.terminal && self.shown.is_some() {
            eprintln!();
        }
    }
}

fn print(outcome: &Outcome, session: &SessionFile) {
    let r = &outcome.replayed;
    println!("events      {} (sequence {} to {})", r.events, outcome.journal.first_sequence, r.last_sequence);
    println!("inputs      {}", r.inputs);
    println!("outputs     {} compared, {} state hashes among them", r.outputs, r.hashes);
    println!("sessions    last epoch {}", r.epoch);
    println!("to          {}", runtime::cold::log::time_text(r.last_time_ns));
    println!("took        {:.2} s, {:.0} events a second", outcome.seconds, r.events as f64 / outcome.seconds.max(1e-9));
    if let Some(torn) = &outcome.journal.torn {
        println!("torn tail   {} bytes after byte {} of {}: not replayed", torn.bytes, torn.offset, torn.path.display());
    }
    if outcome.unrecorded > 0 {
        println!("unrecorded  {} outputs of the last input: decided on, never recorded, never sent", outcome.unrecorded);
    }
    println!("state hash  {:016x}", outcome.core.state_hash());
    match &r.mismatch {
        None => println!("matches     yes"),
        Some(mismatch) => {
            println!("matches     NO: first difference at sequence {}", mismatch.sequence);
            println!("  recorded  {}", shown(mismatch, mismatch.recorded.as_ref(), session));
            println!("  replayed  {}", shown(mismatch, mismatch.replayed.as_ref(), session));
        }
    }
}

fn shown(mismatch: &Mismatch, event: Option<&Event>, names: &dyn Names) -> String {
    match event {
        None => "nothing".to_owned(),
        Some(event) if event.event_kind() == Some(EventKind::StateHash) => format!("state hash {:016x} after {} inputs", event.a, event.b),
        Some(event) => export::to_json(mismatch.sequence, event, names).to_string(),
    }
}

fn to_json(outcome: &Outcome, session: &SessionFile) -> serde_json::Value {
    let r = &outcome.replayed;
    let event = |e: Option<&Event>| e.map(|e| export::to_json(0, e, session));
    let mismatch = r.mismatch.as_ref().map(
        |m| serde_json::json!({ "sequence": m.sequence, "recorded": event(m.recorded.as_ref()), "replayed": event(m.replayed.as_ref()) }),
    );
    serde_json::json!({
        "events": r.events,
        "inputs": r.inputs,
        "outputs": r.outputs,
        "hashes": r.hashes,
        "last_sequence": r.last_sequence,
        "epoch": r.epoch,
        "torn_bytes": outcome.journal.torn.as_ref().map(|t| t.bytes),
        "unrecorded": outcome.unrecorded,
        "state_hash": format!("{:016x}", outcome.core.state_hash()),
        "matches": r.matches(),
        "mismatch": mismatch,
        "seconds": outcome.seconds,
    })
}

/// Open orders, positions and results at the point where the replay ended.
fn print_state(core: &Core, session: &SessionFile) {
    let desk = core.desk();
    let (config, instruments) = (desk.config(), desk.instruments());
    let asset = |id| config.assets.name(id);
    let venue = |id: engine_core::ids::VenueId| config.venues.get(id.index()).map_or("?", |v| v.name.as_str());
    if let Some(reason) = desk.halted() {
        println!("halted      {}", reason.as_str());
    }
    println!("books");
    for (id, instrument) in instruments.iter() {
        let best = desk.book(id).and_then(|book| book.top());
        let price = |p: engine_core::fixed::Price| p.display(instrument.price_scale).to_string();
        let best = best.map_or_else(|| "no best prices".to_owned(), |(bid, ask)| format!("{} / {}", price(bid.price), price(ask.price)));
        println!("  {:<10} {:<12} {:?}  {best}", venue(instrument.venue), instrument.symbol, desk.book_state(id));
    }
    println!("orders      {} open, {} of them unknown", desk.orders().open_len(), desk.orders().unknown_len());
    for order in desk.orders().iter_open() {
        let Some(instrument) = instruments.get(order.instrument) else { continue };
        println!(
            "  {} {:<10} {:<12} {:<4} {} @ {} filled {} {} ({})",
            order.id,
            venue(order.venue),
            instrument.symbol,
            order.side.as_str(),
            order.qty.display(instrument.qty_scale),
            order.price.display(instrument.price_scale),
            order.filled.display(instrument.qty_scale),
            order.state.as_str(),
            session.strategies.get(order.strategy.index()).map_or("?", String::as_str),
        );
    }
    println!("positions");
    for (id, instrument) in instruments.iter() {
        let Some(position) = desk.instrument_position(id).filter(|p| p.fills > 0) else { continue };
        let average = position.average_price(instrument).map_or_else(String::new, |p| format!(" at {}", p.display(instrument.price_scale)));
        println!(
            "  {:<10} {:<12} {} {}{average}, {} fills, realised {} {}",
            venue(instrument.venue),
            instrument.symbol,
            position.qty.display(instrument.qty_scale),
            asset(instrument.base),
            position.fills,
            position.realised,
            asset(instrument.quote),
        );
    }
    let pnl = desk.pnl();
    let reporting = asset(config.reporting_asset);
    println!("result      {} {reporting} (realised {}, unrealised {}, fees {})", pnl.net(), pnl.realised, pnl.unrealised, pnl.fees);
    for (place, name) in session.strategies.iter().enumerate() {
        let net = desk.strategy_pnl(engine_core::ids::StrategyId(place as u8)).net();
        println!("  {name:<24} {net} {reporting}");
    }
}
