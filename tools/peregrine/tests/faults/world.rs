//! A stage with an engine trading on it, and what every test asks of both.

use engine_core::event::{EventKind, FeedState, RejectReason};
use peregrine::demo::records;
use peregrine::demo::stage::{Stage, StageOptions, Wire};
use peregrine::launch::{Launch, Running, launch, open_log};
use runtime::engine::{LoopTiming, Status, VenueStatus};
use runtime::journal::Reader;
use runtime::report::Report;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use venue_sim::fault::Fault;
pub use venue_sim::venue::VenueName;

/// Once a fault is over, books are valid and new orders are placed within this time. Generous: everything but
/// the hot thread shares one core with the venues and whatever else the machine does.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Orders placed or amended at a venue that make "it trades".
const ORDERS_THAT_PROVE_IT: usize = 2;

static TURN: Mutex<()> = Mutex::new(());

/// Which faults a venue may show the engine in a step: all other counters of trouble must stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Trouble {
    pub gaps: u64,
    pub checksum_failures: u64,
    pub resyncs: u64,
    pub malformed: u64,
    pub unknown: u64,
    pub disconnects: u64,
}

impl Trouble {
    fn of(status: &VenueStatus) -> Trouble {
        Trouble {
            gaps: status.gaps,
            checksum_failures: status.checksum_failures,
            resyncs: status.resyncs,
            malformed: status.malformed,
            unknown: status.unknown,
            disconnects: status.disconnects,
        }
    }

    /// What was added since `before`.
    pub fn since(self, before: Trouble) -> Trouble {
        Trouble {
            gaps: self.gaps - before.gaps,
            checksum_failures: self.checksum_failures - before.checksum_failures,
            resyncs: self.resyncs - before.resyncs,
            malformed: self.malformed - before.malformed,
            unknown: self.unknown - before.unknown,
            disconnects: self.disconnects - before.disconnects,
        }
    }
}

/// Both venues.
pub const BOTH: [VenueName; 2] = [VenueName::Binance, VenueName::Kraken];

/// The other venue.
pub fn other(venue: VenueName) -> VenueName {
    match venue {
        VenueName::Binance => VenueName::Kraken,
        VenueName::Kraken => VenueName::Binance,
    }
}

/// How things stood before a fault.
pub struct Before {
    pub venue: VenueName,
    trouble: Trouble,
    others_trouble: Trouble,
    others_messages: u64,
}

/// The stage and its engine.
pub struct World {
    running: Option<Running>,
    pub stage: Stage,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// Sets the stage and waits until the engine trades on both venues.
    pub fn set(options: &StageOptions) -> World {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = Stage::set(options).expect("the stage is set");
        if matches!(stage.wire, Wire::InProcess) && options.link != "memory" {
            assert!(std::env::var_os("CI").is_none(), "in CI this runs over AF_XDP");
            eprintln!("no network namespaces here: over the in-process link instead of AF_XDP");
        }
        let log = open_log(&stage.document).expect("the log opens");
        let timing = LoopTiming { reconcile_ns: 20_000_000_000, ..LoopTiming::default() };
        let stop = Arc::new(AtomicBool::new(false));
        let started = stage.wire.on_engine_side(|| launch(Launch { document: &stage.document, log, stop, verify_replay: true, timing }));
        let running = started.expect("the namespace is there").expect("the engine starts");
        let world = World { running: Some(running), stage, _turn: turn };
        world.trades(VenueName::Binance);
        world.trades(VenueName::Kraken);
        world
    }

    /// Both venues at a rate that a debug build is at ease with.
    pub fn usual() -> World {
        World::set(&StageOptions { rate: 1_000, ..StageOptions::default() })
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until the test ends")
    }

    pub fn status(&self) -> Status {
        self.running().handle.status()
    }

    fn index(&self, venue: VenueName) -> usize {
        self.running().venues.iter().position(|name| name == venue.as_str()).expect("both venues are configured")
    }

    /// The engine's view of one venue; all zero until the hot thread has published for the first time.
    pub fn venue(&self, venue: VenueName) -> VenueStatus {
        self.status().venues().get(self.index(venue)).copied().unwrap_or_default()
    }

    pub fn trouble(&self, venue: VenueName) -> Trouble {
        Trouble::of(&self.venue(venue))
    }

    /// Orders that the venue has ever taken, with their last prices: a new member is a new or an amended order.
    pub fn orders_at(&self, venue: VenueName) -> BTreeSet<(String, String)> {
        let key = match venue {
            VenueName::Binance => &self.stage.accounts.binance.ed25519_key,
            VenueName::Kraken => &self.stage.accounts.kraken.key,
        };
        let record = self.stage.sim.account(venue, key).expect("the account is there");
        record.open_orders.into_iter().chain(record.closed_orders).map(|order| (order.client_id, order.price)).collect()
    }

    /// Waits until the engine has placed or amended so many orders there.
    #[track_caller]
    pub fn orders_go_on(&self, venue: VenueName, count: usize, patience: Duration) {
        let mut seen = self.orders_at(venue);
        let mut fresh = 0;
        self.until(&format!("{} gets {count} new orders", venue.as_str()), patience, |w| {
            let now = w.orders_at(venue);
            fresh += now.difference(&seen).count();
            seen.extend(now);
            fresh >= count
        });
    }

    /// Waits for something; it must come.
    #[track_caller]
    pub fn until(&self, what: &str, patience: Duration, mut holds: impl FnMut(&World) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(self.running().handle.is_running(), "the engine ended by itself, waiting for: {what}\n{}", self.tell());
            assert!(started.elapsed() < patience, "{:.1} s have passed, waiting for: {what}\n{}", patience.as_secs_f64(), self.tell());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets time pass in which the engine must stay up.
    #[track_caller]
    pub fn pass(&self, time: Duration) {
        std::thread::sleep(time);
        assert!(self.running().handle.is_running(), "the engine ended by itself\n{}", self.tell());
    }

    /// Both streams are up, every book is valid, the venue's records have been compared.
    pub fn is_well(&self, venue: VenueName) -> bool {
        let v = self.venue(venue);
        let up = v.market_data() == FeedState::Up && v.order_entry() == FeedState::Up;
        up && v.books_valid == v.books && v.reconcile_pending == 0
    }

    /// All is well, and new orders get to the venue.
    #[track_caller]
    pub fn trades(&self, venue: VenueName) {
        let name = venue.as_str();
        self.until(&format!("{name} is well"), PATIENCE, |w| w.is_well(venue));
        self.orders_go_on(venue, ORDERS_THAT_PROVE_IT, PATIENCE);
    }

    /// No order is in doubt.
    #[track_caller]
    pub fn nothing_unknown(&self) {
        self.until("no order is in doubt", PATIENCE, |w| w.status().unknown == 0);
    }

    pub fn before(&self, venue: VenueName) -> Before {
        Before {
            venue,
            trouble: self.trouble(venue),
            others_trouble: self.trouble(other(venue)),
            others_messages: self.venue(other(venue)).messages,
        }
    }

    /// Commits a fault at both venues at once; returns how things stood before it.
    pub fn inject_both(&self, fault: &Fault) -> [Before; 2] {
        let before = BOTH.map(|venue| self.before(venue));
        for venue in BOTH {
            assert!(self.stage.sim.inject(venue, fault), "the venue is simulated");
        }
        before
    }

    /// Commits a fault; returns how things stood before it.
    pub fn inject(&self, venue: VenueName, fault: &Fault) -> Before {
        let before = self.before(venue);
        assert!(self.stage.sim.inject(venue, fault), "the venue is simulated");
        before
    }

    /// What a venue showed since `before`.
    pub fn shown(&self, before: &Before) -> Trouble {
        self.trouble(before.venue).since(before.trouble)
    }

    /// The venue recovers from a fault, and the other one has not noticed anything.
    #[track_caller]
    pub fn recovers(&self, before: &Before) {
        self.trades(before.venue);
        self.undisturbed(before);
    }

    /// The other venue has not noticed anything.
    #[track_caller]
    pub fn undisturbed(&self, before: &Before) {
        let calm = other(before.venue);
        let name = calm.as_str();
        self.until(&format!("{name} goes on"), PATIENCE, |w| w.venue(calm).messages > before.others_messages);
        let shown = self.trouble(calm).since(before.others_trouble);
        assert_eq!(shown, Trouble::default(), "{name} was disturbed by a fault of {}\n{}", before.venue.as_str(), self.tell());
        assert!(!self.status().halted(), "trading was stopped\n{}", self.tell());
    }

    /// The whole status, and the last lines of the log, for a failed test; the whole log is kept beside the build.
    fn tell(&self) -> String {
        let mut out = format!("{:#?}", StatusText(&self.status()));
        let path = self.stage.document.file.engine.log.clone();
        let log = path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let name = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        let _ = std::fs::write(&kept, &log); // Only a help to find the cause.
        let lines: Vec<&str> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(20)..] {
            let _ = write!(out, "\n{line}"); // Writing to a String cannot fail.
        }
        let _ = write!(out, "\nthe whole log: {}", kept.display());
        out
    }

    /// Stops the engine; everything must add up.
    #[track_caller]
    pub fn end(self) -> Report {
        self.end_with_refusals().0
    }

    /// The same; also for what reasons venues have refused orders, as the journal has it.
    #[track_caller]
    pub fn end_with_refusals(mut self) -> (Report, BTreeSet<RejectReason>) {
        let running = self.running.take().expect("it runs until the test ends");
        let report = running.handle.stop();
        drop(running.relay);
        assert_eq!(report.failures, Vec::<String>::new());
        assert_eq!(report.journal.replay_matches, Some(true));
        assert_eq!((report.orders.unknown, report.orders.open), (0, 0));
        assert_eq!(records::differences(&report, &self.stage.sim, &self.stage.accounts), Vec::<String>::new());
        assert_eq!(report.orders.anomalies.get("overfill"), None);
        let mut refusals = BTreeSet::new();
        let journal = Reader::open(&self.stage.document.file.engine.journal).expect("the journal opens");
        let read = journal.for_each(|_, event| {
            if event.event_kind() == Some(EventKind::OrderReject) {
                refusals.insert(RejectReason::from_raw(event.code).expect("a reason"));
            }
            true
        });
        read.expect("the journal is whole");
        (report, refusals)
    }
}

/// A status without the venues that are not there.
struct StatusText<'a>(&'a Status);

impl std::fmt::Debug for StatusText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let s = self.0;
        let orders = (s.submitted, s.acked, s.filled, s.cancelled, s.rejected, s.refused_by_risk);
        f.debug_struct("Status")
            .field("phase", &s.phase().as_str())
            .field("submitted, acked, filled, cancelled, rejected, refused", &orders)
            .field("unknown, open", &(s.unknown, s.open))
            .field("halted", &s.halted())
            .field("venues", &s.venues())
            .finish()
    }
}
