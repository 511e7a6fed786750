//! `queue`: events of 64 bytes from one thread to another, and to subscribers within a thread.
//!
//! Between threads, all through a ring of as many slots, the reading end polled by a thread that is pinned to another CPU and
//! does nothing else, no pause in any loop:
//!
//! - *ours*: the ring that leads from the hot thread to the cold plane, in shared memory that outlives the process.
//! - *disruptor*: `build_single_producer(.., BusySpin)` with its event poller; `publish`, for bursts `batch_publish`. The reader
//!   looks at events in place.
//! - *rtrb*: `push` and `pop`, for bursts `write_chunk_uninit`.
//!
//! Half a ping-pong is half of the time from a write into one ring to the answer out of another. One way is an open loop: events
//! are due at fixed times, whatever the ring does, and their time runs from when they were due until they are read, by the same
//! counter on both CPUs.
//!
//! Within a thread, ours is the core's own dispatch of a public trade to the strategies that asked for its instrument; it takes
//! the trade into the stream's sums on the way. The peer is nautilus' `TopicRouter`, of trades and of quotes
//! (`publish`), its cache of topics warm. Handlers add up prices. A figure is of sixteen trades or quotes, as one alone takes no longer
//! than reading the time.

use crate::nautilus;
use crate::session;
use crate::{BLOCK, ONE, OURS};
use anyhow::{Context as _, bail, ensure};
use bench::measure::{Budget, Side, alternate};
use bench::report::{Report, Target};
use bench::timer::Timer;
use disruptor::{BusySpin, EventPoller, Producer as _, SingleConsumerBarrier, SingleProducer, SingleProducerBarrier};
use engine_core::event::{Event, Times};
use nautilus_common::msgbus::typed_router::TopicRouter;
use nautilus_common::msgbus::{MStr, Pattern, Topic, TypedHandler};
use nautilus_model::data::{QuoteTick, TradeTick};
use nautilus_model::enums::AggressorSide;
use nautilus_model::identifiers::TradeId;
use nautilus_model::types::Price;
use runtime::host::{pin_to_core, topology};
use runtime::ring;
use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BENCH: &str = "queue";
const DISRUPTOR: &str = "disruptor";
const RTRB: &str = "rtrb";
/// Slots of a ring.
const SLOTS: usize = 1_024;
/// Events of a block.
const EVENTS: usize = 1_024;
/// Of these, the first are not counted: threads start, caches fill.
const FIRST: usize = 128;
/// Events that are due at once in a burst.
const BURST: usize = 32;
/// Trades that are dispatched one after the other in what is timed: one alone takes no longer than reading the time.
const TRADES: usize = 16;
/// Mean time between events.
const INTERVAL_NS: u64 = 1_000;
/// An event that has not come by then never will, or a busy machine does not let the thread run that is to pass it on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures.
pub fn run(budget: Budget, report: &mut Report) -> anyhow::Result<()> {
    let other = other_cpu().context("events between threads need a second CPU")?;
    let sides = vec![ping_pong::<Ours>(other)?, ping_pong::<Disruptor>(other)?, ping_pong::<Rtrb>(other)?];
    report.add_case(BENCH, "half a ping-pong between threads", &alternate(budget, sides)?, Target::None);
    for (burst, case) in [(1, "one way between threads, an event each us"), (BURST, "one way between threads, 32 events each 32 us")] {
        let sides = vec![one_way::<Ours>(other, burst)?, one_way::<Disruptor>(other, burst)?, one_way::<Rtrb>(other, burst)?];
        report.add_case(BENCH, case, &alternate(budget, sides)?, Target::None);
    }
    for (subscribers, case) in [(1, "16 trades to 1 subscriber"), (5, "16 trades to 5 subscribers"), (10, "16 trades to 10 subscribers")] {
        let sides = vec![ours_dispatch(subscribers)?, nautilus_trades(subscribers), nautilus_quotes(subscribers)];
        let case = format!("{case} within a thread{}", nautilus::precision());
        report.add_case(BENCH, &case, &alternate(budget, sides)?, Target::None);
    }
    Ok(())
}

/// A CPU that the measuring thread is not pinned to.
fn other_cpu() -> Option<usize> {
    let hot = topology::Machine::read().ok()?.default_hot_cpu()?;
    let cpus = std::fs::read_to_string("/proc/cpuinfo").ok()?.lines().filter(|line| line.starts_with("processor")).count();
    (0..cpus).rev().find(|&cpu| cpu != hot)
}

/// A ring between two threads.
trait Ring: Sized {
    const NAME: &'static str;
    type Writer: Send;
    type Reader: Send;

    fn open() -> anyhow::Result<(Self::Writer, Self::Reader)>;

    /// Writes an event; waits while there is no room.
    fn write(writer: &mut Self::Writer, event: &Event);

    /// Writes events, in its own way of many at once.
    fn write_all(writer: &mut Self::Writer, events: &[Event]);

    /// Hands over all that is there.
    fn read(reader: &mut Self::Reader, take: impl FnMut(&Event));
}

struct Ours;

impl Ring for Ours {
    const NAME: &'static str = OURS;
    type Writer = ring::Producer;
    type Reader = ring::Consumer;

    fn open() -> anyhow::Result<(ring::Producer, ring::Consumer)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = std::path::Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let name = format!("peregrine-peers-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = directory.join(name);
        let (opened, _) = ring::open(&path, SLOTS)?;
        // Mapped is enough: the name may go.
        std::fs::remove_file(&path)?;
        Ok(ring::start(opened, 1, 0))
    }

    #[inline]
    fn write(writer: &mut ring::Producer, event: &Event) {
        while !writer.push(event) {}
    }

    #[inline]
    fn write_all(writer: &mut ring::Producer, events: &[Event]) {
        for event in events {
            Ours::write(writer, event);
        }
    }

    #[inline]
    fn read(reader: &mut ring::Consumer, mut take: impl FnMut(&Event)) {
        while let Some(event) = reader.pop() {
            take(&event);
        }
    }
}

struct Disruptor;

impl Ring for Disruptor {
    const NAME: &'static str = DISRUPTOR;
    type Writer = SingleProducer<Event, SingleConsumerBarrier>;
    type Reader = EventPoller<Event, SingleProducerBarrier>;

    fn open() -> anyhow::Result<(Self::Writer, Self::Reader)> {
        let (reader, builder) = disruptor::build_single_producer(SLOTS, Event::default, BusySpin).new_event_poller();
        Ok((builder.build(), reader))
    }

    #[inline]
    fn write(writer: &mut Self::Writer, event: &Event) {
        writer.publish(|slot| *slot = *event);
    }

    #[inline]
    fn write_all(writer: &mut Self::Writer, events: &[Event]) {
        writer.batch_publish(events.len(), |slots| {
            for (slot, event) in slots.zip(events) {
                *slot = *event;
            }
        });
    }

    #[inline]
    fn read(reader: &mut Self::Reader, mut take: impl FnMut(&Event)) {
        if let Ok(mut events) = reader.poll() {
            for event in &mut events {
                take(event);
            }
        }
    }
}

struct Rtrb;

impl Ring for Rtrb {
    const NAME: &'static str = RTRB;
    type Writer = rtrb::Producer<Event>;
    type Reader = rtrb::Consumer<Event>;

    fn open() -> anyhow::Result<(Self::Writer, Self::Reader)> {
        Ok(rtrb::RingBuffer::new(SLOTS))
    }

    #[inline]
    fn write(writer: &mut Self::Writer, event: &Event) {
        while writer.push(*event).is_err() {}
    }

    #[inline]
    fn write_all(writer: &mut Self::Writer, events: &[Event]) {
        loop {
            if let Ok(chunk) = writer.write_chunk_uninit(events.len()) {
                chunk.fill_from_iter(events.iter().copied());
                return;
            }
        }
    }

    #[inline]
    fn read(reader: &mut Self::Reader, mut take: impl FnMut(&Event)) {
        while let Ok(event) = reader.pop() {
            take(&event);
        }
    }
}

/// Reads until `count` events have come, each handed over with its number.
fn read_all<R: Ring>(reader: &mut R::Reader, count: usize, mut take: impl FnMut(usize, &Event)) -> anyhow::Result<()> {
    const LOOKS: usize = 1 << 20;
    let (mut come, start) = (0, Instant::now());
    loop {
        for _ in 0..LOOKS {
            R::read(reader, |event| {
                take(come, event);
                come += 1;
            });
            if come >= count {
                return Ok(());
            }
        }
        ensure!(start.elapsed() < PATIENCE, "{come} of {count} events came through {} in {PATIENCE:?}", R::NAME);
    }
}

fn numbered(number: usize) -> Event {
    Event { a: number as u64, ..Event::timer(Times::default()) }
}

fn ping_pong<'a, R: Ring + 'a>(other: usize) -> anyhow::Result<Side<'a>> {
    let ((mut there, mut far_in), (mut far_out, mut back)) = (R::open()?, R::open()?);
    let timer = Timer::new();
    Ok(Side::new(R::NAME, ONE, move |meter| {
        std::thread::scope(|scope| {
            let echo = scope.spawn(|| {
                pin_to_core(other).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
                read_all::<R>(&mut far_in, EVENTS, |_, event| R::write(&mut far_out, event))
            });
            let mut wrong = 0;
            for number in 0..EVENTS {
                let event = numbered(number);
                let start = timer.read();
                R::write(&mut there, black_box(&event));
                read_all::<R>(&mut back, 1, |_, event| wrong += u64::from(event.a != number as u64))?;
                let stop = timer.read();
                if number >= FIRST {
                    meter.record(0, timer.ns_between(start, stop) / 2);
                }
            }
            ensure!(wrong == 0, "{wrong} events came back in another order through {}", R::NAME);
            echo.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }))
}

fn one_way<'a, R: Ring + 'a>(other: usize, burst: usize) -> anyhow::Result<Side<'a>> {
    let (mut writer, mut reader) = R::open()?;
    let timer = Timer::new();
    let ticks = |ns: u64| (ns as f64 * 1e9 / timer.ns_between(0, 1_000_000_000).max(1) as f64) as u64;
    let (interval, lead) = (ticks(INTERVAL_NS * burst as u64), ticks(10_000));
    Ok(Side::new(R::NAME, ONE, move |meter| {
        let reads = AtomicBool::new(false);
        let times = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                pin_to_core(other).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
                let (mut times, mut wrong) = (vec![0; EVENTS], 0);
                reads.store(true, Ordering::Release);
                read_all::<R>(&mut reader, EVENTS, |number, event| {
                    times[number] = timer.ns_between(event.b, timer.read());
                    wrong += u64::from(event.a != number as u64);
                })?;
                ensure!(wrong == 0, "{wrong} events came in another order through {}", R::NAME);
                Ok(times)
            });
            while !reads.load(Ordering::Acquire) && !reading.is_finished() {
                std::hint::spin_loop();
            }
            let first = timer.read() + lead;
            let mut events = Vec::with_capacity(burst);
            for at in 0..EVENTS / burst {
                let due = first + at as u64 * interval;
                events.clear();
                events.extend((0..burst).map(|n| Event { b: due, ..numbered(at * burst + n) }));
                while timer.read() < due {}
                match &events[..] {
                    [event] => R::write(&mut writer, event),
                    events => R::write_all(&mut writer, events),
                }
            }
            reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        times.iter().skip(FIRST).for_each(|&ns| meter.record(0, ns));
        Ok(())
    }))
}

fn ours_dispatch<'a>(subscribers: usize) -> anyhow::Result<Side<'a>> {
    let mut session = session::looking(subscribers)?;
    Ok(Side::new(OURS, ONE, move |meter| {
        for _ in 0..BLOCK {
            let trades = [(); TRADES].map(|()| session::tell(&mut session, session::LOOK));
            meter.time(0, || trades.iter().map(|trade| session.core.apply(black_box(trade)).len()).sum::<usize>());
        }
        Ok(())
    }))
}

fn nautilus_trades<'a>(subscribers: usize) -> Side<'a> {
    let trade = TradeTick::new(
        nautilus::instrument_id(),
        nautilus::price(session::ASK),
        nautilus::quantity(session::LOOK),
        AggressorSide::Buyer,
        TradeId::from("1"),
        nautilus::time(),
        nautilus::time(),
    );
    nautilus_dispatch("nautilus TopicRouter::<TradeTick>::publish", "data.trades.BINANCE.BTCUSDT", subscribers, trade, |trade| trade.price)
}

fn nautilus_quotes<'a>(subscribers: usize) -> Side<'a> {
    let quote = QuoteTick::new(
        nautilus::instrument_id(),
        nautilus::price(session::BID),
        nautilus::price(session::ASK),
        nautilus::quantity(session::LOOK),
        nautilus::quantity(session::LOOK),
        nautilus::time(),
        nautilus::time(),
    );
    let name = "nautilus TopicRouter::<QuoteTick>::publish, quotes";
    nautilus_dispatch(name, "data.quotes.BINANCE.BTCUSDT", subscribers, quote, |quote| quote.bid_price)
}

/// Handlers that add up the prices of events of any kind.
fn nautilus_dispatch<'a, T: Copy + 'static>(
    name: &'static str,
    topic: &str,
    subscribers: usize,
    event: T,
    price: impl Fn(&T) -> Price + Copy + 'static,
) -> Side<'a> {
    let mut router = TopicRouter::<T>::new();
    let sum = Rc::new(Cell::new(0u64));
    for at in 0..subscribers {
        let sum = Rc::clone(&sum);
        let handler = TypedHandler::from_with_id(format!("handler {at}"), move |event: &T| {
            sum.set(black_box(sum.get().wrapping_add(price(black_box(event)).raw as u64)));
        });
        router.subscribe(MStr::<Pattern>::from(topic), handler, 0);
    }
    let topic = MStr::<Topic>::from(topic);
    let events = [event; TRADES];
    Side::new(name, ONE, move |meter| {
        let before = sum.get();
        for _ in 0..BLOCK {
            meter.time(0, || events.iter().for_each(|event| router.publish(black_box(topic), black_box(event))));
        }
        if sum.get() == before {
            bail!("no handler was called");
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes_all_in_order<R: Ring>() {
        let (mut writer, mut reader) = R::open().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for at in 0..1_000 {
                    R::write(&mut writer, &numbered(3 * at));
                    R::write_all(&mut writer, &[numbered(3 * at + 1), numbered(3 * at + 2)]);
                }
            });
            let mut wrong = 0;
            read_all::<R>(&mut reader, 3_000, |number, event| wrong += u64::from(event.a != number as u64)).unwrap();
            assert_eq!(wrong, 0, "{}", R::NAME);
        });
        let mut more = 0;
        R::read(&mut reader, |_| more += 1);
        assert_eq!(more, 0);
    }

    #[test]
    fn every_ring_passes_all_events_in_order() {
        passes_all_in_order::<Ours>();
        passes_all_in_order::<Disruptor>();
        passes_all_in_order::<Rtrb>();
    }

    #[test]
    fn every_subscriber_hears_of_every_trade() {
        let budget = Budget::of_seconds(0.001).unwrap();
        for subscribers in [1, 10] {
            let sides =
                alternate(budget, vec![ours_dispatch(subscribers).unwrap(), nautilus_trades(subscribers), nautilus_quotes(subscribers)])
                    .unwrap();
            assert!(sides.iter().all(|side| side[0].histogram.len() >= BLOCK as u64));
        }
        let mut session = session::looking(3).unwrap();
        let before = session.core.state_hash();
        let trade = session::tell(&mut session, session::LOOK);
        session.core.apply(&trade);
        assert_ne!(session.core.state_hash(), before);
    }
}
