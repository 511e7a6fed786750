//! Recorded traffic of real venues decodes without an error.

mod binance_support;

use binance_support::{MARKET, Rig, VENUE, settings, snapshot_events};
use engine_core::book::{Book, BookConfig};
use engine_core::event::EventKind;
use engine_core::instrument::{AssetTable, Instrument, InstrumentTable};
use std::collections::BTreeMap;
use std::path::Path;
use venues::binance::Binance;
use venues::decode::{Channel, Decoder};
use venues::venue::{MessageKind, Venue, VenueInit};

fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {reason}");
    eprintln!("skipped: {reason}");
}

/// The recording of a venue; `None` if it is not there.
fn recording(venue: &str) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures").join(format!("{venue}.jsonl"));
    let recording = std::fs::read(&path).ok();
    if recording.is_none() {
        skip("the recordings (../shared/captures, beside the checkout) are not there");
    }
    recording
}

/// Decodes a recording; how many objects of each kind came out. `None` if it is not there.
fn decoded(venue: &str, channel: Channel) -> Option<BTreeMap<String, u64>> {
    let recording = recording(venue)?;
    let mut decoder = Decoder::new(venue, channel).expect("a venue of ours");
    let (mut out, mut kinds) = (Vec::new(), BTreeMap::new());
    for (line, text) in recording.split(|&c| c == b'\n').enumerate() {
        out.clear();
        decoder.decode_line(text, &mut out);
        for object in out.split(|&c| c == b'\n').filter(|object| !object.is_empty()) {
            let object: serde_json::Value = serde_json::from_slice(object).expect("objects are JSON");
            assert!(object.get("error").is_none(), "line {}: {object}", line + 1);
            let kind = object["kind"].as_str().expect("a kind").to_owned();
            if kind.starts_with("book_level") || kind == "trade" {
                for name in ["instrument", "side", "price", "qty", "venue_time_ns"] {
                    assert!(object[name].is_string(), "line {}: {name} of {object}", line + 1);
                }
            }
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    assert_eq!(decoder.errors(), 0);
    Some(kinds)
}

#[test]
fn binance_recording_decodes_without_an_error() {
    let Some(kinds) = decoded("binance", Channel::Public) else { return };
    for (kind, least) in [("book_level", 400), ("top_of_book", 100), ("trade", 1), ("instrument_status", 1_000), ("unused", 1)] {
        assert!(kinds.get(kind).copied().unwrap_or(0) >= least, "{kind}: {kinds:?}");
    }
}

/// What the venue really sends is in the form for which there is a quicker reader.
#[test]
fn binance_recording_is_in_the_usual_form() {
    let Some(recording) = recording("binance") else { return };
    let messages = recording.split(|&c| c == b'\n').filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let mut symbols = venues::symbols::SymbolIndex::open(8, 8);
    let mut scratch = venues::binance::message::Scratch::default();
    let mut taken = 0;
    for text in messages.filter_map(|message| message["data"].as_str().map(str::to_owned)) {
        let Some((stream, data)) = text.strip_prefix(r#"{"stream":""#).and_then(|rest| rest.split_once(r#"","data":"#)) else { continue };
        if stream.ends_with("@depth@100ms") || stream.ends_with("@bookTicker") {
            // As it comes on a connection that does not wrap its messages.
            let data = data.strip_suffix('}').expect("a wrapped message").as_bytes();
            let want = venues::binance::stream::parse_any(data, &mut symbols, &mut scratch).expect("a message");
            let rows = scratch.rows().to_vec();
            scratch.clear();
            assert_eq!(venues::binance::usual::parse(data, &symbols, &mut scratch, |_| {}), Some(want), "{text}");
            assert_eq!(scratch.rows(), rows);
            taken += 1;
        }
    }
    assert!(taken > 200, "{taken}");
}

/// The engine's own codec over the recording: what starts from an empty snapshot just before each book's
/// first difference stays in step to the end.
#[test]
fn binance_recording_keeps_every_book_in_step() {
    let Some(recording) = recording("binance") else { return };
    let messages = recording.split(|&c| c == b'\n').filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let messages = messages.filter(|m| m["conn"].as_str().is_some_and(|conn| conn.starts_with("wss:")));
    let messages: Vec<String> = messages.filter_map(|m| m["data"].as_str().map(str::to_owned)).collect();
    let (mut instruments, mut assets) = (InstrumentTable::new(), AssetTable::new());
    let mut starts: BTreeMap<String, u64> = BTreeMap::new();
    for message in &messages {
        let value: serde_json::Value = serde_json::from_str(message).expect("JSON");
        let data = &value["data"];
        if let (Some("depthUpdate"), Some(symbol), Some(first)) = (data["e"].as_str(), data["s"].as_str(), data["U"].as_u64()) {
            starts.entry(symbol.to_owned()).or_insert(first - 1);
        }
    }
    for symbol in starts.keys() {
        let (base, quote) = (assets.intern("BASE"), assets.intern("QUOTE"));
        let instrument = Instrument::new(VENUE, symbol.clone(), [base, quote], [8, 8]);
        instruments.add(instrument).expect("new");
    }
    let venue = Binance::new(VenueInit { settings: settings(), instruments: &instruments, assets: &assets, epoch: 1 }).expect("valid");
    let mut rig = Rig { venue, ..Rig::new(|_| {}) };
    rig.open(MARKET);
    for (_, text) in rig.sent() {
        let request: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        rig.text(MARKET, &format!("{{\"result\":null,\"id\":{}}}", request["id"]));
    }
    let mut books: Vec<Book> = instruments.iter().map(|_| Book::new(BookConfig::default())).collect();
    for (id, instrument) in instruments.iter() {
        for event in snapshot_events(id, starts[&instrument.symbol], &[]) {
            rig.venue.on_cold(&event, rig.times(), &mut rig.events, &mut rig.out);
        }
    }
    for message in &messages {
        rig.venue.on_message(MARKET, MessageKind::Text, message.as_bytes(), rig.times(), &mut rig.events, &mut rig.out);
        for event in rig
            .take()
            .iter()
            .filter(|e| matches!(e.event_kind(), Some(EventKind::BookLevel | EventKind::BookTouch | EventKind::BookInvalid)))
        {
            books[event.instrument_id().index()].apply(event);
        }
    }
    let counters = rig.venue.counters();
    assert_eq!((counters.gaps, counters.malformed, counters.unknown_symbols), (0, 0, 0));
    assert!(books.iter().all(Book::is_valid) && books.len() == 4);
}
