//! Kraken's public WebSocket v2, as a script of lines: see `support::script`. A checksum of 1 stands for the right one,
//! so that books live long enough to be damaged.
#![no_main]

use engine_core::event::Event;
use libfuzzer_sys::fuzz_target;
use support::codec::Rig;
use support::script::Script;
use support::tables::{KRAKEN, VENUE, settings, tables};
use venues::kraken::book::{Book, Decimals};
use venues::kraken::market_data::DEPTH;
use venues::kraken::message::Scratch;
use venues::kraken::stream::{self, Message};
use venues::kraken::{Kraken, default_hosts};
use venues::outbox::ColdRequest;
use venues::symbols::SymbolIndex;
use venues::venue::{Encoding, Role, VenueCounters, VenueInit, VenueSettings};

const SENTINEL: &[u8] = b"\"checksum\":1,";

/// The venue's own books: what it would sum up.
struct Sums {
    symbols: SymbolIndex,
    books: Vec<Book>,
    scratch: Scratch,
}

impl Sums {
    /// The message with its checksum filled in.
    fn complete(&mut self, line: Vec<u8>) -> Vec<u8> {
        let parsed = stream::parse(&line, &mut self.symbols, &mut self.scratch, |_| {});
        if matches!(parsed, Ok(Message::Book { .. } | Message::Trades { .. })) && std::str::from_utf8(&line).is_ok() {
            let whole = serde_json::from_slice::<&serde_json::value::RawValue>(&line);
            assert!(whole.is_ok(), "{whole:?}");
        }
        let Ok(Message::Book { symbol, snapshot, .. }) = parsed else { return line };
        self.books[symbol].take(snapshot, &mut self.scratch, None);
        let sum = self.books[symbol].checksum();
        // The texts of levels are those of their numbers.
        let (price, qty) = self.books[symbol].decimals();
        self.books[symbol].set_printed(price.printed, qty.printed);
        assert_eq!(self.books[symbol].checksum(), sum);
        match line.windows(SENTINEL.len()).position(|window| window == SENTINEL) {
            Some(at) => [&line[..at], format!("\"checksum\":{sum},").as_bytes(), &line[at + SENTINEL.len()..]].concat(),
            None => line,
        }
    }
}

fn run(data: &[u8]) -> (Vec<Event>, VenueCounters, u64, Vec<ColdRequest>) {
    let (instruments, assets) = tables(&KRAKEN);
    let symbols = SymbolIndex::new(&instruments, VENUE);
    let books = symbols.symbols().iter().map(|s| Book::new(DEPTH, Decimals::same(s.price_scale), Decimals::same(s.qty_scale))).collect();
    let mut sums = Sums { symbols, books, scratch: Scratch::default() };
    let settings = VenueSettings { credentials: None, ..settings(default_hosts(), Encoding::Json) };
    let venue = Kraken::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 7 }).expect("a codec");
    let mut rig = Rig::new(venue, instruments, assets);
    let mut script = Script::new(Role::MarketData, &[]);
    rig.open(script.link());
    script.run(&mut rig, data, |line| sums.complete(line), |_| {});
    rig.outcome()
}

fuzz_target!(|data: &[u8]| {
    let first = run(data);
    // Some of the time: it costs as much again.
    if data.len() % 4 == 0 {
        assert_eq!(first, run(data), "the same bytes give the same events");
    }
});
