//! A venue's codec as the engine drives it, and a watch over what it gives out: whatever a venue sends,
//! events are within bounds, complete and in their order, books are consistent, counters only grow, and what
//! the codec itself sends is JSON.

use crate::tables::{NOW, VENUE};
use engine_core::book::{Book, BookChange, BookConfig};
use engine_core::event::{BookInvalid, Event, EventKind, QTY_UNSTATED, Side, Times, VALUE_MAX, flags};
use engine_core::fixed::{Price, Qty};
use engine_core::ids::{AssetId, InstrumentId};
use engine_core::instrument::{AssetTable, InstrumentTable};
use venues::outbox::{ColdRequest, Outbox};
use venues::venue::{Link, MessageKind, Role, Venue, VenueCounters};

/// Looks at events as they come, and keeps the core's books of them.
pub struct Watch {
    instruments: InstrumentTable,
    assets: AssetTable,
    books: Vec<Book>,
    /// Everything seen.
    pub trace: Vec<Event>,
    /// The book of which a message is not complete yet.
    open: Option<u16>,
    /// The fee whose fill must follow: trade id and order.
    fee: Option<(u64, u64)>,
}

impl Watch {
    /// With empty books.
    pub fn new(instruments: InstrumentTable, assets: AssetTable) -> Watch {
        let books = instruments.iter().map(|_| Book::new(BookConfig { capacity: 64, ..BookConfig::default() })).collect();
        Watch { instruments, assets, books, trace: Vec::new(), open: None, fee: None }
    }

    /// Takes one event; if the core finds its book wrong after it, why.
    fn event(&mut self, event: &Event) -> Option<BookInvalid> {
        self.trace.push(*event);
        let kind = event.event_kind().expect("a known kind");
        assert!(event.is_input(), "{kind:?} is no input of the core");
        assert_eq!(event.venue, VENUE.0, "{kind:?}");
        assert!(event.core_time_ns >= NOW, "{kind:?} carries the time of its message");
        let known = |event: &Event| assert!(usize::from(event.instrument) < self.instruments.len(), "{kind:?}: instrument");
        let within = |what: &str, word: u64, min: i64| {
            assert!((min..=VALUE_MAX).contains(&(word as i64)), "{kind:?}: {what} {} is out of bounds", word as i64);
        };
        if let Some((trade, order)) = self.fee.take() {
            match kind {
                EventKind::FillFee => assert_eq!((event.a, event.d), (trade, order), "a fee of another fill in between"),
                _ => assert_eq!((kind, event.d, event.a), (EventKind::OrderFill, trade, order), "a fill follows its fee"),
            }
        }
        if let Some(open) = self.open {
            let same = matches!(kind, EventKind::BookLevel | EventKind::BookTouch | EventKind::BookInvalid) && event.instrument == open;
            let trade = kind == EventKind::Trade || kind == EventKind::TopOfBook || kind == EventKind::Balance;
            assert!(same || trade, "{kind:?} within an incomplete message");
        }
        match kind {
            EventKind::BookLevel | EventKind::Trade | EventKind::TopOfBook => {
                known(event);
                assert!(event.side().is_some(), "{kind:?}: side");
                let no_price = kind == EventKind::TopOfBook && event.b == 0;
                within("price", event.a, i64::from(!no_price));
                within("quantity", event.b, 0);
                self.open = (!event.has(flags::LAST)).then_some(event.instrument);
            }
            EventKind::BookTouch | EventKind::BookInvalid => {
                known(event);
                self.open = (!event.has(flags::LAST)).then_some(event.instrument);
            }
            EventKind::InstrumentStatus => known(event),
            EventKind::InstrumentRules => {
                known(event);
                (within("tick", event.a, 1), within("lot", event.b, 1));
                (within("smallest quantity", event.c, 0), within("smallest notional", event.d, 0));
            }
            EventKind::FeedStatus => assert!(event.a < 2),
            EventKind::OrderAck
            | EventKind::OrderReject
            | EventKind::CancelReject
            | EventKind::ReplaceReject
            | EventKind::OrderUncertain => {
                self.report(event);
            }
            EventKind::OrderFill => {
                self.report(event);
                assert!(event.side().is_some(), "fill: side");
                (within("price", event.b, 1), within("quantity", event.c, 1));
            }
            EventKind::FillFee => {
                known(event);
                assert!(usize::from(event.asset) < self.assets.len());
                assert!(!event.has(flags::LAST));
                self.fee = Some((event.a, event.d));
            }
            EventKind::OrderCanceled | EventKind::OrderExpired => {
                self.report(event);
                if event.b != QTY_UNSTATED {
                    within("filled", event.b, 0);
                }
            }
            EventKind::OrderReplaced => {
                self.report(event);
                (within("price", event.b, 1), within("quantity", event.c, 1));
            }
            EventKind::OrderStatus => {
                self.report(event);
                (within("filled", event.b, 0), within("price", event.c, 0), within("quantity", event.d, 0));
            }
            EventKind::Balance => {
                assert!(AssetId(event.asset).index() < self.assets.len());
                self.open = (!event.has(flags::LAST)).then_some(event.instrument);
            }
            _ => panic!("{kind:?} is not for a codec to give out"),
        }
        match self.books.get_mut(usize::from(event.instrument)).map(|book| book.apply(event)) {
            Some(BookChange::Invalidated(reason)) if kind != EventKind::BookInvalid => {
                assert_ne!(reason, BookInvalid::Malformed, "the codec lets nothing malformed through: {event:?}");
                Some(reason)
            }
            _ => None,
        }
    }

    /// A report about one of our orders.
    fn report(&self, event: &Event) {
        assert!(usize::from(event.instrument) < self.instruments.len(), "{:?}: instrument", event.event_kind());
        assert_ne!(event.a, 0, "{:?}: order", event.event_kind());
    }

    /// Between two calls of the codec nothing is half told, and every book is invalid or consistent.
    fn settled(&mut self, partial: bool) {
        // Only the levels of a fetched snapshot may wait for their end: for the event of the stream that joins them.
        if let Some(last) = self.trace.last().filter(|last| last.has(flags::COLD) && last.has(flags::SNAPSHOT) && !last.has(flags::LAST)) {
            assert!(self.books.get(usize::from(last.instrument)).is_none_or(|book| !book.is_valid()), "not believed until then: {last:?}");
            self.open = None;
        }
        assert!(
            partial || (self.open.is_none() && self.fee.is_none()),
            "the last event of a call ends its message: {:?}",
            self.trace.last()
        );
        for book in &self.books {
            for side in [Side::Buy, Side::Sell] {
                let prices: Vec<i64> = book.levels(side).map(|level| level.price.0 * -side.sign()).collect();
                assert!(prices.is_sorted_by(|a, b| a < b), "best first");
                assert!(book.levels(side).all(|level| level.qty.0 > 0));
            }
            if let Some((bid, ask)) = book.top() {
                assert!(bid.price < ask.price, "{bid:?} {ask:?}");
            }
        }
    }
}

/// A codec and its surroundings.
pub struct Rig<V> {
    /// The codec.
    pub venue: V,
    /// What it gave out.
    pub watch: Watch,
    /// The present.
    pub now_ns: u64,
    /// Ids of the requests sent, latest last, as they stand in the text (without quotes).
    pub ids: Vec<String>,
    /// What was asked of the cold plane.
    pub cold: Vec<ColdRequest>,
    out: Outbox,
    sent: u64,
    messages: u64,
    counters: VenueCounters,
}

impl<V: Venue> Rig<V> {
    /// Nothing connected yet.
    pub fn new(venue: V, instruments: InstrumentTable, assets: AssetTable) -> Rig<V> {
        let counters = *venue.counters();
        let watch = Watch::new(instruments, assets);
        Rig { venue, watch, now_ns: NOW, ids: Vec::new(), cold: Vec::new(), out: Outbox::new(), sent: 0, messages: 0, counters }
    }

    fn times(&self) -> Times {
        Times { core_ns: self.now_ns, poll_delay_ns: 0 }
    }

    /// Calls the codec, then looks at what came of it.
    fn call<R>(&mut self, partial: bool, call: impl FnOnce(&mut V, Times, &mut Vec<Event>, &mut Outbox) -> R) -> R {
        let mut events = Vec::new();
        let times = self.times();
        let result = call(&mut self.venue, times, &mut events, &mut self.out);
        let mut wrong = self.look(partial, &events);
        // The core tells the codec of a book that it found wrong, which says so and fetches it anew.
        while let Some((instrument, reason)) = wrong.pop() {
            events.clear();
            self.venue.resync(instrument, reason, times, &mut events, &mut self.out);
            assert!(self.look(partial, &events).is_empty(), "news of a wrong book is no wrong book");
        }
        result
    }

    fn look(&mut self, partial: bool, events: &[Event]) -> Vec<(InstrumentId, BookInvalid)> {
        let mut wrong = Vec::new();
        for event in events {
            wrong.extend(self.watch.event(event).map(|reason| (event.instrument_id(), reason)));
        }
        self.watch.settled(partial);
        self.drain();
        self.count();
        wrong
    }

    fn drain(&mut self) {
        for (_, message) in self.out.messages() {
            self.sent += 1;
            let value: serde_json::Value = serde_json::from_slice(message).expect("what we send is JSON");
            let id = [&value["id"], &value["req_id"]].into_iter().find(|id| !id.is_null());
            self.ids.extend(id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)));
        }
        self.cold.extend(self.out.requests());
        self.out.clear();
        assert_eq!(self.out.refused(), 0, "a call fits the outbox");
    }

    fn count(&mut self) {
        let (before, now) = (self.counters, *self.venue.counters());
        self.counters = now;
        assert_eq!(now.messages, self.messages);
        assert_eq!(now.events, self.watch.trace.len() as u64);
        let words = |c: VenueCounters| {
            [c.malformed, c.unknown_messages, c.unknown_symbols, c.unknown_values, c.gaps, c.checksum_failures, c.resyncs, c.stale]
                .into_iter()
                .chain([c.requests, c.uncorrelated, c.rate_limited, c.venue_errors])
        };
        assert!(words(before).zip(words(now)).all(|(before, now)| before <= now), "counters only grow");
        let _ = self.venue.take_notice();
    }

    /// A connection opens.
    pub fn open(&mut self, link: Link) {
        self.call(true, |venue, times, events, out| venue.on_open(link, times, events, out));
    }

    /// A connection closes.
    pub fn close(&mut self, link: Link) {
        self.call(true, |venue, times, events, out| venue.on_close(link, times, events, out));
    }

    /// A message comes in; what it did is told by the counters before and after.
    pub fn message(&mut self, link: Link, kind: MessageKind, payload: &[u8]) {
        self.messages += 1;
        let before = self.counters;
        let events = self.watch.trace.len();
        self.call(false, |venue, times, events, out| venue.on_message(link, kind, payload, times, events, out));
        // What is not JSON has changed nothing but counters, and the books' validity.
        if kind == MessageKind::Text
            && std::str::from_utf8(payload).is_ok()
            && serde_json::from_slice::<&serde_json::value::RawValue>(payload).is_err()
        {
            let told = self.watch.trace[events..].iter().filter(|event| event.event_kind() != Some(EventKind::BookInvalid));
            assert_eq!(told.count(), 0, "events of a message that is not JSON");
            let now = self.counters;
            assert!(now.malformed > before.malformed || now.unknown_messages > before.unknown_messages, "counted");
        }
    }

    /// Time goes by.
    pub fn timer(&mut self, after_ns: u64) {
        self.now_ns += after_ns;
        self.call(true, |venue, times, events, out| venue.on_timer(times, events, out));
    }

    /// The core wants something sent.
    pub fn execute(&mut self, command: &Event) {
        let sent = self.sent;
        let result = self.call(true, |venue, times, _, out| venue.execute(command, times, out));
        if result.is_err() {
            assert_eq!(self.sent, sent, "what is refused is not sent");
        }
    }

    /// The core found a book wrong.
    pub fn resync(&mut self, instrument: InstrumentId) {
        self.call(true, |venue, times, events, out| venue.resync(instrument, BookInvalid::Stale, times, events, out));
    }

    /// Something that the cold plane fetched.
    pub fn cold(&mut self, event: &Event) {
        self.call(true, |venue, times, events, out| venue.on_cold(event, times, events, out));
    }

    /// A book's snapshot, as the cold plane hands it in.
    pub fn snapshot(&mut self, instrument: InstrumentId, sequence: u64, levels: &[(Side, i64, i64)]) {
        for (at, &(side, price, qty)) in levels.iter().enumerate() {
            let clear = if at == 0 { flags::CLEAR } else { 0 };
            let last = if at + 1 == levels.len() { flags::LAST } else { 0 };
            let event = Event::book_level(VENUE, instrument, side, Price(price), Qty(qty), sequence, Times::default());
            self.cold(&event.with(flags::COLD | flags::SNAPSHOT | clear | last));
        }
    }

    /// A token, as the cold plane hands it in.
    pub fn token(&mut self, text: &[u8]) {
        let pieces = text.chunks(32).count();
        for (at, piece) in text.chunks(32).enumerate() {
            let mut words = [0; 32];
            words[..piece.len()].copy_from_slice(piece);
            let word = |at: usize| u64::from_le_bytes(words[at * 8..at * 8 + 8].try_into().expect("eight bytes"));
            let event = Event {
                side: Role::OrderEntry as u8,
                code: piece.len() as u32,
                a: word(0),
                b: word(1),
                c: word(2),
                d: word(3),
                flags: flags::COLD | if at + 1 == pieces { flags::LAST } else { 0 },
                ..Event::new(EventKind::ColdText, VENUE, self.times())
            };
            self.cold(&event);
        }
    }

    /// Everything that came of it, to compare two runs by.
    pub fn outcome(self) -> (Vec<Event>, VenueCounters, u64, Vec<ColdRequest>) {
        (self.watch.trace, self.counters, self.sent, self.cold)
    }
}
