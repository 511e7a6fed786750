//! From a tick to an order, as the engine does it: Binance's codec and its prepared messages, and as little of a
//! strategy between them as there can be: buy at the best bid that the tick names.

use crate::messages::ID_FIRST;
use crate::messages::binance::{BEST_BID, PRICE_SCALE, QTY_SCALE, SYMBOL};
use anyhow::{Context, ensure};
use engine_core::event::{Event, Side, Times, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{InstrumentId, OrderId, VenueId};
use engine_core::instrument::{AssetTable, Capabilities, Instrument, InstrumentTable};
use venues::binance::Binance;
use venues::binance::requests::ID_LEN;
use venues::binance::templates::{Kind, SymbolTemplates};
use venues::outbox::Outbox;
use venues::venue::{Encoding, Link, MessageKind, Role, Venue, VenueInit, VenueSettings};

const VENUE: VenueId = VenueId(0);
const INSTRUMENT: InstrumentId = InstrumentId(0);
const LINK: Link = Link { role: Role::MarketData, generation: 1 };
const WINDOW_MS: u32 = 5_000;
/// As [`super::ticks::ORDER_QTY`].
const ORDER_QTY: i64 = 150_000;
const EPOCH: u16 = 1;
/// Longest order.
const ORDER_MAX: usize = 512;

/// A tick that the codec did not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the codec made nothing of a tick")]
pub struct NoOrder;

/// The codec in step with the venue, and the prepared order.
pub struct Trader {
    codec: Binance,
    events: Vec<Event>,
    outbox: Outbox,
    templates: SymbolTemplates,
    sequence: u32,
    order: [u8; ORDER_MAX],
}

impl Trader {
    /// Subscribed, with the book in step just before the first tick.
    pub fn new() -> anyhow::Result<Trader> {
        let (mut instruments, mut assets) = (InstrumentTable::new(), AssetTable::new());
        let (base, quote) = (assets.intern("BTC"), assets.intern("USDT"));
        let instrument = Instrument {
            maker_fee_ppm: 1_000,
            taker_fee_ppm: 1_000,
            capabilities: Capabilities { replace: false, reduce: true, post_only: true },
            ..Instrument::new(VENUE, SYMBOL, [base, quote], [PRICE_SCALE as u8, QTY_SCALE as u8])
        };
        instruments.add(instrument).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let settings = VenueSettings {
            id: VENUE,
            hosts: venues::binance::default_hosts(),
            credentials: None,
            encoding: Encoding::Json,
            dead_man_s: 0,
            cancel_reserve_percent: 20,
            request_window_ms: 0,
        };
        let codec = Binance::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: EPOCH })?;
        let templates = SymbolTemplates::new(SYMBOL, WINDOW_MS);
        let mut trader =
            Trader { codec, events: Vec::with_capacity(1_024), outbox: Outbox::new(), templates, sequence: 0, order: [0; ORDER_MAX] };
        trader.bring_into_step()?;
        Ok(trader)
    }

    fn bring_into_step(&mut self) -> anyhow::Result<()> {
        let times = Times { core_ns: 1, poll_delay_ns: 0 };
        let Trader { codec, events, outbox, .. } = self;
        codec.on_open(LINK, times, events, outbox);
        // The codec numbers its requests by connection and place: the first of the first.
        codec.on_message(LINK, MessageKind::Text, br#"{"result":null,"id":65537}"#, times, events, outbox);
        for (side, price, mark) in [
            (Side::Buy, BEST_BID, flags::CLEAR | flags::COLD | flags::SNAPSHOT),
            (Side::Sell, BEST_BID + 1, flags::LAST | flags::COLD | flags::SNAPSHOT),
        ] {
            let level = Event::book_level(VENUE, INSTRUMENT, side, Price(price), Qty(1), ID_FIRST, times).with(mark);
            codec.on_cold(&level, times, events, outbox);
        }
        ensure!(events.last().is_some_and(|event| event.has(flags::LAST)), "Binance's codec did not take the snapshot");
        Ok(())
    }

    /// Reads a tick and writes the order that it causes; gives the order.
    ///
    /// # Errors
    /// If the codec does not take the tick, or it names no bid.
    #[inline]
    pub fn on_tick(&mut self, tick: &[u8], now_ns: u64) -> Result<&[u8], NoOrder> {
        self.events.clear();
        let times = Times { core_ns: now_ns, poll_delay_ns: 0 };
        self.codec.on_message(LINK, MessageKind::Text, tick, times, &mut self.events, &mut self.outbox);
        let bids = self.events.iter().filter(|event| event.side == Side::Buy as u8 && event.level_qty().0 > 0);
        let best = bids.map(|event| event.level_price().0).max().ok_or(NoOrder)?;
        self.sequence = self.sequence.wrapping_add(1);
        let order = OrderId::new(EPOCH, self.sequence);
        let id: [u8; ID_LEN] = order.to_text();
        let (how, price, qty) = ((Side::Buy, Kind::Limit), (best, PRICE_SCALE as u8), (ORDER_QTY, QTY_SCALE as u8));
        let len = self.templates.place(&mut self.order, &id, order, how, price, qty, now_ns).ok_or(NoOrder)?;
        self.order.get(..len).ok_or(NoOrder)
    }

    /// The last order, which is this long.
    #[inline]
    pub fn order(&self, len: usize) -> &[u8] {
        &self.order[..len]
    }

    /// What was measured is the way of good ticks.
    pub fn check(&self) -> anyhow::Result<()> {
        let c = self.codec.counters();
        let wrong = c.malformed + c.unknown_messages + c.unknown_symbols + c.gaps + c.checksum_failures + c.stale;
        (wrong == 0).then_some(()).with_context(|| format!("the codec objected to ticks: {c:?}"))
    }
}
