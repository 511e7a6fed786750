//! A codec in step with its venue, entered where the engine enters it, and messages for it without end.

use crate::benches::{BLOCK, ONE, OURS};
use crate::measure::{Meter, Side};
use crate::messages::{ID_FIRST, Message, binance, kraken};
use anyhow::ensure;
use engine_core::event::{Event, Side as BookSide, Times, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{InstrumentId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use std::hint::black_box;
use venues::binance::Binance;
use venues::kraken::Kraken;
use venues::outbox::Outbox;
use venues::venue::{Credentials, Encoding, Link, MessageKind, Role, Venue, VenueInit, VenueSettings};

const VENUE: VenueId = VenueId(0);
const INSTRUMENT: InstrumentId = InstrumentId(0);
/// The connection that messages come on.
pub const LINK: Link = Link { role: Role::MarketData, generation: 1 };
/// When they come.
pub const TIMES: Times = Times { core_ns: 1_767_225_600_000_000_000, poll_delay_ns: 0 };

/// Messages in an endless stream whose ids grow without a hole.
pub struct Feed<'a> {
    messages: &'a [Message],
    at: usize,
    /// The last one given.
    pub id: u64,
}

impl<'a> Feed<'a> {
    /// From the first.
    pub fn new(messages: &'a [Message]) -> Feed<'a> {
        Feed { messages, at: 0, id: ID_FIRST }
    }

    /// The next message, written into `frame`.
    pub fn next<'f>(&mut self, frame: &'f mut Vec<u8>) -> &'f [u8] {
        let message = &self.messages[self.at];
        self.at = (self.at + 1) % self.messages.len();
        let first = self.id + 1;
        // A difference spans a few ids; all others have one.
        self.id = if message.at.len() > 1 { first + 3 } else { first };
        message.write(frame, &[first, self.id])
    }
}

/// A codec in step with its venue, and what it gave out.
pub struct Rig<V> {
    /// The codec.
    pub venue: V,
    /// What its messages are.
    pub kind: MessageKind,
    /// What it gave for the last one.
    pub events: Vec<Event>,
    /// What it wants sent.
    pub out: Outbox,
    messages: u64,
}

fn settings(encoding: Encoding, hosts: venues::venue::Hosts) -> VenueSettings {
    // A key of no account: the codec of SBE streams wants one for its headers.
    let credentials = (encoding == Encoding::Sbe).then(|| Credentials {
        api_key: "measured".into(),
        secret: String::new().into(),
        ed25519_seed: Some([7; 32].into()),
    });
    VenueSettings { id: VENUE, hosts, credentials, encoding, dead_man_s: 0, cancel_reserve_percent: 20, request_window_ms: 0 }
}

fn tables(symbol: &str, price_scale: u32, qty_scale: u32) -> anyhow::Result<(InstrumentTable, AssetTable)> {
    let (mut instruments, mut assets) = (InstrumentTable::new(), AssetTable::new());
    let (base, quote) = (assets.intern("BTC"), assets.intern("USD"));
    instruments
        .add(Instrument {
            maker_fee_ppm: 1_000,
            taker_fee_ppm: 1_000,
            capabilities: Capabilities { replace: false, reduce: true, post_only: true },
            ..Instrument::new(VENUE, symbol, [base, quote], [price_scale as u8, qty_scale as u8])
        })
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok((instruments, assets))
}

impl Rig<Binance> {
    /// Subscribed, with the book in step just before the first id.
    pub fn binance(encoding: Encoding) -> anyhow::Result<Rig<Binance>> {
        let (instruments, assets) = tables(binance::SYMBOL, binance::PRICE_SCALE, binance::QTY_SCALE)?;
        let settings = settings(encoding, venues::binance::default_hosts());
        let venue = Binance::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 1 })?;
        let kind = if encoding == Encoding::Sbe { MessageKind::Binary } else { MessageKind::Text };
        let mut rig = Rig::new(venue, kind);
        // The codec numbers its requests by connection and place: the first of the first.
        rig.text(br#"{"result":null,"id":65537}"#);
        for (side, price, mark) in [
            (BookSide::Buy, binance::BEST_BID, flags::CLEAR | flags::COLD | flags::SNAPSHOT),
            (BookSide::Sell, binance::BEST_BID + 1, flags::LAST | flags::COLD | flags::SNAPSHOT),
        ] {
            let level = Event::book_level(VENUE, INSTRUMENT, side, Price(price), Qty(1), ID_FIRST, TIMES).with(mark);
            rig.venue.on_cold(&level, TIMES, &mut rig.events, &mut rig.out);
        }
        ensure!(rig.events.last().is_some_and(|event| event.has(flags::LAST)), "Binance's codec did not take the snapshot");
        Ok(rig)
    }
}

impl Rig<Kraken> {
    /// Subscribed, with the stream's window.
    pub fn kraken(snapshot: &Message) -> anyhow::Result<Rig<Kraken>> {
        let (instruments, assets) = tables(kraken::SYMBOL, kraken::PRICE_SCALE, kraken::QTY_SCALE)?;
        let settings = settings(Encoding::Json, venues::kraken::default_hosts());
        let venue = Kraken::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 1 })?;
        let mut rig = Rig::new(venue, MessageKind::Text);
        rig.text(&snapshot.bytes);
        ensure!(rig.venue.is_ready(Role::MarketData), "Kraken's codec did not take the snapshot");
        Ok(rig)
    }
}

impl<V: Venue> Rig<V> {
    fn new(mut venue: V, kind: MessageKind) -> Rig<V> {
        let (mut events, mut out) = (Vec::with_capacity(1_024), Outbox::new());
        venue.on_open(LINK, TIMES, &mut events, &mut out);
        Rig { venue, kind, events, out, messages: 0 }
    }

    /// Gives it a text.
    #[inline]
    pub fn text(&mut self, bytes: &[u8]) {
        self.venue.on_message(LINK, MessageKind::Text, bytes, TIMES, &mut self.events, &mut self.out);
    }

    fn block(&mut self, meter: &mut Meter, feed: &mut Feed<'_>, frame: &mut Vec<u8>, expected: Option<usize>) -> anyhow::Result<()> {
        for _ in 0..BLOCK {
            let bytes = feed.next(frame);
            self.events.clear();
            let Rig { venue, kind, events, out, .. } = self;
            meter.time(0, || venue.on_message(LINK, *kind, black_box(bytes), TIMES, events, out));
            black_box(&*events);
            let (given, wanted) = (self.events.len(), expected.unwrap_or(self.events.len()));
            ensure!(given == wanted, "a message of {wanted} levels gave {given} events");
            self.messages += u64::from(events_end(&self.events));
        }
        Ok(())
    }

    /// Ours on these messages. Each gives so many events, if that is known; at least one, and all of the message, it must.
    pub fn side<'a>(&'a mut self, messages: &'a [Message], events: Option<usize>) -> Side<'a> {
        let (mut feed, mut frame, mut taken) = (Feed::new(messages), Vec::new(), 0);
        Side::new(OURS, ONE, move |meter| {
            self.block(meter, &mut feed, &mut frame, events)?;
            taken += BLOCK as u64;
            ensure!(self.messages == taken, "{} of {taken} messages gave no events", taken - self.messages);
            Ok(())
        })
    }

    /// What was measured is the way of good messages.
    pub fn check(&self, case: &str) -> anyhow::Result<()> {
        let c = self.venue.counters();
        let wrong = c.malformed + c.unknown_messages + c.unknown_symbols + c.gaps + c.checksum_failures + c.stale;
        ensure!(wrong == 0, "{case}: the codec objected to messages: {c:?}");
        Ok(())
    }
}

/// The events of a whole message.
pub fn events_end(events: &[Event]) -> bool {
    events.last().is_some_and(|event| event.has(flags::LAST))
}
