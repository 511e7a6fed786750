//! Messages in the venues' usual form are read by a quicker reader: it says what the general one says of every message
//! that it takes, it takes those that the venues write, and no other message reads differently because of it.

use engine_core::carryless::Portable;
use proptest::prelude::*;
use proptest::sample::Index;
use venues::binance::{self, message as binance_message};
use venues::crc::Piece;
use venues::kraken::{self, message as kraken_message};
use venues::symbols::SymbolIndex;

/// Symbols at scales of all kinds; `A\B` needs an escape in JSON, `FINE` has more places than the quick reader knows.
const SYMBOLS: [(&str, u8, u8); 8] = [
    ("BTCUSDT", 2, 5),
    ("ETH/USD", 8, 8),
    ("1000SATSUSDT", 7, 0),
    ("X", 0, 8),
    ("A\\B", 2, 2),
    ("FINE", 9, 8),
    ("AVERYLONGSYMBOLOF30CHARACTERS/", 3, 1),
    ("BTC/USD", 1, 8),
];

fn symbols() -> SymbolIndex {
    let mut index = SymbolIndex::open(8, 8);
    for (at, (text, price_scale, qty_scale)) in SYMBOLS.into_iter().enumerate() {
        let instrument = engine_core::ids::InstrumentId(at as u16);
        index.add(venues::symbols::Symbol { text: text.into(), instrument, price_scale, qty_scale });
    }
    index
}

type BinanceReader = for<'a> fn(
    &'a [u8],
    &mut SymbolIndex,
    &mut binance_message::Scratch,
) -> Result<binance_message::Message<'a>, binance_message::ParseError>;

/// What a reader of Binance's makes of a message, rows included.
fn binance_message(read: BinanceReader, payload: &[u8]) -> String {
    let (mut symbols, mut scratch) = (symbols(), binance_message::Scratch::default());
    match read(payload, &mut symbols, &mut scratch) {
        Ok(message) => format!("{message:?} {:?} {:?}", scratch.rows(), scratch.trades),
        Err(error) => format!("{error:?}"),
    }
}

fn binance_read(payload: &[u8], general: bool) -> String {
    binance_message(
        if general {
            binance::stream::parse_any
        } else {
            |payload, symbols, scratch| binance::stream::parse(payload, symbols, scratch, |_| {})
        },
        payload,
    )
}

fn sbe_read(payload: &[u8], general: bool) -> String {
    binance_message(
        if general { |p, i, s| binance::sbe::parse_any(p, i, s) } else { |p, i, s| binance::sbe::parse(p, i, s, |_| {}) },
        payload,
    )
}

/// The same, if the quick reader takes it.
fn sbe_usual(payload: &[u8]) -> Option<String> {
    let mut scratch = binance_message::Scratch::default();
    let message = binance::sbe::usual(payload, &symbols(), &mut scratch, |_| {})?;
    Some(format!("{message:?} {:?} {:?}", scratch.rows(), scratch.trades))
}

/// The same, if the quick reader takes it.
fn binance_usual(payload: &[u8]) -> Option<String> {
    let mut scratch = binance_message::Scratch::default();
    let message = binance::usual::parse(payload, &symbols(), &mut scratch, |_| {})?;
    Some(format!("{message:?} {:?} {:?}", scratch.rows(), scratch.trades))
}

/// The levels whose piece of the checksum's text was known when they were read. It is the one that their numbers have.
fn texts_known(scratch: &kraken_message::Scratch) -> usize {
    let known = |line: &&kraken_message::Line| line.text().len > 0;
    for line in scratch.rows.iter().filter(known) {
        let want = Piece::of_integers(Portable, line.price.unsigned_abs(), line.qty.unsigned_abs());
        assert_eq!(line.text(), want, "{line:?}");
    }
    scratch.rows.iter().filter(known).count()
}

fn kraken_text(message: &kraken::stream::Message<'_>, scratch: &kraken_message::Scratch) -> String {
    use kraken::stream::Message;
    texts_known(scratch);
    let rows: Vec<_> = scratch.rows.iter().map(kraken_message::Line::row).collect();
    let rows = format!("{rows:?} {:?} {:?}", scratch.trades, (scratch.price_decimals, scratch.qty_decimals));
    match message {
        Message::Book { symbol, instrument, snapshot, checksum, time_ns } => {
            format!("book {symbol} {instrument:?} {snapshot} {checksum:?} {time_ns} {rows}")
        }
        Message::Trades { snapshot, unknown_symbols, unknown_values } => {
            format!("trades {snapshot} {unknown_symbols} {unknown_values} {rows}")
        }
        Message::UnknownSymbol => "unknown symbol".into(),
        _ => "another".into(),
    }
}

fn kraken_read(payload: &[u8], general: bool) -> String {
    let (mut symbols, mut scratch) = (symbols(), kraken_message::Scratch::default());
    let read = match general {
        true => kraken::stream::parse_any(payload, &mut symbols, &mut scratch),
        false => kraken::stream::parse(payload, &mut symbols, &mut scratch, |_| {}),
    };
    match read {
        Ok(message) => kraken_text(&message, &scratch),
        Err(error) => format!("{error:?}"),
    }
}

fn kraken_usual(payload: &[u8]) -> Option<String> {
    let mut scratch = kraken_message::Scratch::default();
    let message = kraken::usual::parse(payload, &symbols(), &mut scratch, |_| {})?;
    Some(kraken_text(&message, &scratch))
}

/// A number as a venue writes it, as it might write it, and as it must not.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "(0|[1-9][0-9]{0,5})\\.[0-9]{1,2}0{6}",
        3 => "(0|[1-9][0-9]{0,6})\\.[0-9]{1,8}",
        1 => "[0-9]{1,9}(\\.[0-9]{0,10})?(e-?[0-9])?",
        1 => "-?0?[0-9.]{0,20}",
    ]
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[1-9][0-9]{0,18}", 1 => "[0-9]{0,21}", 1 => Just("0".to_owned())]
}

fn symbol() -> impl Strategy<Value = String> {
    let known = prop::sample::select(SYMBOLS.map(|s| s.0.replace('\\', "\\\\")).to_vec());
    prop_oneof![12 => known, 1 => Just("A\\B".to_owned()), 1 => Just("STRANGER".to_owned()), 1 => "[ -~]{0,40}"]
}

fn rows(open: &'static str, between: &'static str, close: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec((number(), number()), 0..4)
        .prop_map(move |rows| rows.iter().map(|(p, q)| format!("{open}{p}{between}{q}{close}")).collect::<Vec<_>>().join(","))
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "20[2-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9])T[01][0-9]:[0-5][0-9]:[0-5][0-9]\\.[0-9]{6}Z",
        1 => "[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,10})?Z",
        1 => "[ -~]{0,30}",
    ]
}

fn binance_text() -> impl Strategy<Value = String> {
    let depth =
        (id(), symbol(), id(), id(), rows("[\"", "\",\"", "\"]"), rows("[\"", "\",\"", "\"]")).prop_map(|(e, s, first, last, b, a)| {
            format!(r#"{{"e":"depthUpdate","E":{e},"s":"{s}","U":{first},"u":{last},"b":[{b}],"a":[{a}]}}"#)
        });
    let ticker = (id(), symbol(), [number(), number(), number(), number()])
        .prop_map(|(u, s, [b, bq, a, aq])| format!(r#"{{"u":{u},"s":"{s}","b":"{b}","B":"{bq}","a":"{a}","A":"{aq}"}}"#));
    let trade = (id(), symbol(), id(), number(), number(), any::<(bool, bool)>()).prop_map(|(e, s, t, p, q, (m, other))| {
        format!(r#"{{"e":"trade","E":{e},"s":"{s}","t":{t},"p":"{p}","q":"{q}","T":{e},"m":{m},"M":{other}}}"#)
    });
    prop_oneof![depth, ticker, trade]
}

fn kraken_text_of() -> impl Strategy<Value = String> {
    let kind = || prop::sample::select(vec!["update", "snapshot", "other"]);
    let level = || rows("{\"price\":", ",\"qty\":", "}");
    let book = (kind(), symbol(), level(), level(), id(), time()).prop_map(|(kind, s, b, a, sum, time)| {
        let data = format!(r#"{{"symbol":"{s}","bids":[{b}],"asks":[{a}],"checksum":{sum},"timestamp":"{time}"}}"#);
        format!(r#"{{"channel":"book","type":"{kind}","data":[{data}]}}"#)
    });
    let trade = (symbol(), prop::sample::select(vec!["buy", "sell", "both"]), number(), number(), id(), time(), any::<bool>()).prop_map(
        |(s, side, p, q, id, time, limit)| {
            let kind = if limit { "limit" } else { "market" };
            format!(r#"{{"symbol":"{s}","side":"{side}","price":{p},"qty":{q},"ord_type":"{kind}","trade_id":{id},"timestamp":"{time}"}}"#)
        },
    );
    let trades = (kind(), prop::collection::vec(trade, 0..3))
        .prop_map(|(kind, rows)| format!(r#"{{"channel":"trade","type":"{kind}","data":[{}]}}"#, rows.join(",")));
    prop_oneof![book, trades]
}

/// Levels most of which are printed alike.
fn levels_alike() -> impl Strategy<Value = String> {
    let price = prop_oneof![8 => "[1-9][0-9]{4}\\.[0-9]", 2 => "[1-9][0-9]{3,5}\\.[0-9]", 1 => "[0-9]{1,6}\\.[0-9]{1,2}", 1 => number()];
    let qty = prop_oneof![4 => Just("0.00000000".to_owned()), 8 => "(0|[1-9][0-9]{0,4})\\.[0-9]{8}", 1 => number()];
    prop::collection::vec((price, qty), 0..8)
        .prop_map(|rows| rows.iter().map(|(p, q)| format!("{{\"price\":{p},\"qty\":{q}}}")).collect::<Vec<_>>().join(","))
}

fn book_of_levels_alike() -> impl Strategy<Value = String> {
    let symbol = prop_oneof![6 => Just("BTC/USD"), 1 => Just("BTCUSDT"), 1 => Just("AVERYLONGSYMBOLOF30CHARACTERS/")];
    (symbol, levels_alike(), levels_alike()).prop_map(|(symbol, bids, asks)| {
        let data =
            format!(r#"{{"symbol":"{symbol}","bids":[{bids}],"asks":[{asks}],"checksum":7,"timestamp":"2026-01-01T00:00:00.231904Z"}}"#);
        format!(r#"{{"channel":"book","type":"update","data":[{data}]}}"#)
    })
}

#[test]
fn levels_alike_come_with_their_texts() {
    let level = |qty: &str| format!(r#"{{"price":61250.4,"qty":{qty}}}"#);
    let bids = [level("0.60000000"), level("12.00000010"), level("0.00000000"), level("0.00000001")].join(",");
    let text = format!(
        r#"{{"channel":"book","type":"update","data":[{{"symbol":"BTC/USD","bids":[{bids}],"asks":[],"checksum":7,"timestamp":"2026-01-01T00:00:00.231904Z"}}]}}"#
    );
    let mut scratch = kraken_message::Scratch::default();
    assert!(kraken::usual::parse(text.as_bytes(), &symbols(), &mut scratch, |_| {}).is_some());
    assert_eq!((scratch.rows.len(), texts_known(&scratch)), (4, 3));
    scratch = kraken_message::Scratch { carryless: None, ..kraken_message::Scratch::default() };
    assert!(kraken::usual::parse(text.as_bytes(), &symbols(), &mut scratch, |_| {}).is_some());
    assert_eq!((scratch.rows.len(), texts_known(&scratch)), (4, 3), "on any processor");
}

/// A mantissa as they are, and as they must not be.
fn mantissa() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 1i64..10_000_000_000, 1 => any::<i64>(), 1 => Just(0), 1 => 99_999_999_999_999_990i64..100_000_000_000_000_010]
}

/// Kind, bids (or trades), asks, exponents, ids, symbol, how much longer entries and the root are, aggressor.
type SbeParts = (u8, Vec<(i64, i64)>, Vec<(i64, i64)>, (i8, i8), [i64; 3], (&'static str, u8, u8), (i64, i64), u8);

/// SBE messages in the venue's blocks, and some whose blocks are longer or shorter.
fn sbe_bytes() -> impl Strategy<Value = Vec<u8>> {
    let numbers = || prop::collection::vec((mantissa(), mantissa()), 0..4);
    let exponents = prop_oneof![6 => (-8i8..=0, -8i8..=0), 1 => any::<(i8, i8)>()];
    let ids = prop::array::uniform3(prop_oneof![9 => 0i64..1 << 50, 1 => any::<i64>()]);
    let stride_more = prop_oneof![8 => Just(0i64), 1 => -2i64..3];
    let root_more = prop_oneof![8 => Just(0i64), 1 => -2i64..3];
    (0u8..4, numbers(), numbers(), exponents, ids, prop::sample::select(SYMBOLS.to_vec()), (stride_more, root_more), 0u8..3).prop_map(
        |(kind, bids, asks, (price, qty), ids, symbol, (stride_more, root_more), aggressor): SbeParts| {
            let exponents = [price as u8, qty as u8];
            let (template, root): (u16, Vec<u8>) = match kind {
                0 => {
                    let quote = |rows: &[(i64, i64)]| rows.first().map_or([0; 2], |row| [row.0, row.1]);
                    let quotes = [quote(&bids), quote(&asks)].concat();
                    let ids = ids[..2].iter().flat_map(|id| id.to_le_bytes());
                    (10_001, ids.chain(exponents).chain(quotes.iter().flat_map(|value| value.to_le_bytes())).collect())
                }
                1 => (10_003, ids.iter().flat_map(|id| id.to_le_bytes()).chain(exponents).collect()),
                2 => (10_000, ids[..2].iter().flat_map(|id| id.to_le_bytes()).chain(exponents).collect()),
                _ => (10_002, ids[..2].iter().flat_map(|id| id.to_le_bytes()).chain(exponents).collect()),
            };
            let longer = |len: usize, more: i64| len.saturating_add_signed(more as isize);
            let mut bytes = Vec::new();
            for word in [longer(root.len(), root_more) as u16, template, 1, 0] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            let mut put = |block: Vec<u8>, more: i64| {
                let len = longer(block.len(), more);
                bytes.extend(block.into_iter().chain([7; 3]).take(len));
            };
            put(root, root_more);
            let entry = |row: &(i64, i64)| [row.0.to_le_bytes(), row.1.to_le_bytes()].concat();
            if kind == 2 {
                put((longer(25, stride_more) as u16).to_le_bytes().to_vec(), 0);
                put((bids.len() as u32).to_le_bytes().to_vec(), 0);
                for (id, row) in bids.iter().enumerate() {
                    put([(id as i64).to_le_bytes().to_vec(), entry(row), vec![aggressor]].concat(), stride_more);
                }
            } else if kind != 0 {
                for side in [&bids, &asks] {
                    put((longer(16, stride_more) as u16).to_le_bytes().to_vec(), 0);
                    put((side.len() as u16).to_le_bytes().to_vec(), 0);
                    side.iter().for_each(|row| put(entry(row), stride_more));
                }
            }
            put(vec![symbol.0.len() as u8], 0);
            put(symbol.0.as_bytes().to_vec(), 0);
            bytes
        },
    )
}

/// What may happen to a text on the way to a form that is not the usual one.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Append(String),
}

fn change() -> impl Strategy<Value = Change> {
    let byte = || prop_oneof![4 => 0x20u8..0x7f, 2 => prop::sample::select(b"\"\\{}[],:.0 ".to_vec()), 1 => any::<u8>()];
    prop_oneof![
        4 => Just(Change::Nothing),
        2 => (any::<Index>(), byte()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        2 => (any::<Index>(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => "[ -~\n]{0,10}".prop_map(Change::Append),
    ]
}

fn changed(text: &[u8], change: &Change) -> Vec<u8> {
    let mut bytes = text.to_vec();
    let len = bytes.len();
    match change {
        Change::Nothing => {}
        Change::Replace(at, byte) => bytes[at.index(len)] = *byte,
        Change::Insert(at, byte) => bytes.insert(at.index(len + 1), *byte),
        Change::Remove(at) => drop(bytes.remove(at.index(len))),
        Change::Cut(at) => bytes.truncate(at.index(len)),
        Change::Append(more) => bytes.extend_from_slice(more.as_bytes()),
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn binance_messages_read_the_same_either_way(text in binance_text(), change in change()) {
        let bytes = changed(text.as_bytes(), &change);
        let general = binance_read(&bytes, true);
        prop_assert_eq!(&binance_read(&bytes, false), &general);
        if let Some(usual) = binance_usual(&bytes) {
            prop_assert_eq!(usual, general);
        }
    }

    #[test]
    fn binary_messages_read_the_same_either_way(bytes in sbe_bytes(), change in change()) {
        let bytes = changed(&bytes, &change);
        let general = sbe_read(&bytes, true);
        prop_assert_eq!(&sbe_read(&bytes, false), &general);
        if let Some(usual) = sbe_usual(&bytes) {
            prop_assert_eq!(usual, general);
        }
    }

    #[test]
    fn kraken_messages_read_the_same_either_way(text in kraken_text_of(), change in change()) {
        let bytes = changed(text.as_bytes(), &change);
        let general = kraken_read(&bytes, true);
        prop_assert_eq!(&kraken_read(&bytes, false), &general);
        if let Some(usual) = kraken_usual(&bytes) {
            prop_assert_eq!(usual, general);
        }
    }

    /// What a reader has learnt of how levels are printed makes no difference to those that follow.
    #[test]
    fn kraken_books_read_the_same_after_others(messages in prop::collection::vec((book_of_levels_alike(), change()), 1..6)) {
        let mut scratch = kraken_message::Scratch::default();
        for (text, change) in messages {
            let bytes = changed(text.as_bytes(), &change);
            let read = match kraken::stream::parse(&bytes, &mut symbols(), &mut scratch, |_| {}) {
                Ok(message) => kraken_text(&message, &scratch),
                Err(error) => format!("{error:?}"),
            };
            prop_assert_eq!(read, kraken_read(&bytes, true));
        }
    }
}

const BINANCE: [&str; 5] = [
    r#"{"e":"depthUpdate","E":1767225600105,"s":"BTCUSDT","U":54321000701,"u":54321000777,"b":[["68250.10000000","1.50000000"],["68249.90000000","0.00000000"]],"a":[["68250.11000000","0.42000000"]]}"#,
    r#"{"e":"depthUpdate","E":1767225600105123,"s":"1000SATSUSDT","U":1,"u":1,"b":[],"a":[["0.00031270","123456.00000000"]]}"#,
    r#"{"u":54321000777,"s":"BTCUSDT","b":"68250.10000000","B":"1.50000000","a":"68250.11000000","A":"0.42000000"}"#,
    r#"{"e":"trade","E":1767225600150,"s":"BTCUSDT","t":4400123456,"p":"68250.11000000","q":"0.01500000","T":1767225600149,"m":false,"M":true}"#,
    r#"{"e":"trade","E":1767225600150123,"s":"BTCUSDT","t":4400123456,"p":"68250.11000000","q":"0.01500000","T":1767225600149123,"m":true,"M":true}"#,
];

const KRAKEN: [&str; 5] = [
    r#"{"channel":"book","type":"update","data":[{"symbol":"ETH/USD","bids":[{"price":61250.4,"qty":0.60000000}],"asks":[{"price":61250.5,"qty":0.00000000},{"price":61266.0,"qty":0.30000000}],"checksum":4262187403,"timestamp":"2026-01-01T00:00:00.231904Z"}]}"#,
    r#"{"channel":"book","type":"snapshot","data":[{"symbol":"ETH/USD","bids":[],"asks":[],"checksum":0,"timestamp":"2026-01-01T00:00:00.100030Z"}]}"#,
    r#"{"channel":"trade","type":"update","data":[{"symbol":"ETH/USD","side":"buy","price":61250.5,"qty":0.00850000,"ord_type":"limit","trade_id":84019233,"timestamp":"2026-01-01T00:00:00.231904Z"}]}"#,
    r#"{"channel":"trade","type":"snapshot","data":[{"symbol":"ETH/USD","side":"sell","price":61250.5,"qty":0.00850000,"ord_type":"market","trade_id":1,"timestamp":"2026-01-01T00:00:00.231904Z"},{"symbol":"ETH/USD","side":"buy","price":0.12345678,"qty":1000000.0,"ord_type":"limit","trade_id":2,"timestamp":"2026-01-01T00:00:00.231904Z"}]}"#,
    r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":61250.4,"qty":0.00000000},{"price":61249.9,"qty":0.00012500},{"price":9999.9,"qty":12.60000000}],"asks":[{"price":99999.5,"qty":123.00000001},{"price":100001.0,"qty":0.30000000}],"checksum":4262187403,"timestamp":"2026-01-01T00:00:00.231904Z"}]}"#,
];

/// The vectors of the venue's schema, and a trade.
fn sbe_vectors() -> [Vec<u8>; 3] {
    [
        "3200112701000000402222464847060049b1c8a50c000000fefb3224680000000000f049020000000000332468000000000010a40000000000000742544355534454",
        "1a00132701000000e0622246484706004ab1c8a50c0000004db1c8a50c000000fefb1000020032246800000000000000000000000000282468000000000090d0030000000000100001003c24680000000000f8240100000000000742544355534454",
        "120010270100000040222246484706004022224648470600fefb1900010000000700000000000000322468000000000090d0030000000000010742544355534454",
    ]
    .map(|hex| const_hex::decode(hex).unwrap())
}

#[test]
fn what_the_venues_write_is_in_the_usual_form() {
    for bytes in sbe_vectors() {
        assert_eq!(sbe_usual(&bytes), Some(sbe_read(&bytes, true)));
        let longer = [&bytes[..], b"more"].concat();
        assert_eq!(sbe_read(&longer, false), sbe_read(&bytes, false), "a newer version may append fields");
    }
    for text in BINANCE {
        assert_eq!(binance_usual(text.as_bytes()), Some(binance_read(text.as_bytes(), true)), "{text}");
    }
    for text in KRAKEN {
        assert_eq!(kraken_usual(text.as_bytes()), Some(kraken_read(text.as_bytes(), true)), "{text}");
    }
}

/// Each byte of each message, replaced by each other byte, and each message cut at each place.
#[test]
fn no_single_byte_makes_the_readers_differ() {
    let (symbols, mut index) = (symbols(), symbols());
    let (mut binance_scratch, mut general) = (binance_message::Scratch::default(), binance_message::Scratch::default());
    let mut taken = 0;
    for text in BINANCE {
        for at in 0..text.len() {
            for byte in 0..=255 {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = byte;
                binance_scratch.clear();
                let Some(message) = binance::usual::parse(&bytes, &symbols, &mut binance_scratch, |_| {}) else { continue };
                let want = binance::stream::parse_any(&bytes, &mut index, &mut general);
                assert_eq!(Ok(message), want, "{}", String::from_utf8_lossy(&bytes));
                assert_eq!((binance_scratch.rows(), &binance_scratch.trades), (general.rows(), &general.trades));
                taken += 1;
            }
            assert_eq!(binance_usual(&text.as_bytes()[..at]), None);
        }
    }
    for text in KRAKEN {
        for at in 0..text.len() {
            for byte in 0..=255 {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = byte;
                if let Some(usual) = kraken_usual(&bytes) {
                    assert_eq!(usual, kraken_read(&bytes, true), "{}", String::from_utf8_lossy(&bytes));
                    taken += 1;
                }
            }
            assert_eq!(kraken_usual(&text.as_bytes()[..at]), None);
        }
    }
    assert!(taken > 2_000, "digits can be others: {taken}");
}

/// The same of binary messages.
#[test]
fn no_single_byte_makes_the_binary_readers_differ() {
    let mut taken = 0;
    for vector in sbe_vectors() {
        for at in 0..vector.len() {
            for byte in 0..=255 {
                let mut bytes = vector.clone();
                bytes[at] = byte;
                if let Some(usual) = sbe_usual(&bytes) {
                    assert_eq!(usual, sbe_read(&bytes, true), "{byte} at {at}");
                    taken += 1;
                }
            }
            assert_eq!(sbe_usual(&vector[..at]), None);
        }
    }
    assert!(taken > 2_000, "numbers can be others: {taken}");
}

/// A diff whose first id is above its last, a price of nought, a quote of nothing for something: errors, not messages.
#[test]
fn what_the_general_reader_refuses_is_not_taken() {
    for (from, to) in [("\"U\":54321000701", "\"U\":54321000778"), ("68250.10000000", "0.00000000"), ("68250.10000000", "68250.10100000")] {
        let text = BINANCE[0].replace(from, to);
        assert_ne!(text, BINANCE[0]);
        assert_eq!(binance_usual(text.as_bytes()), None);
        assert!(binance_read(text.as_bytes(), false).starts_with("ParseError"));
    }
    let text = BINANCE[2].replace("\"b\":\"68250.10000000\"", "\"b\":\"0.00000000\"");
    assert!(binance_usual(text.as_bytes()).is_none() && binance_read(text.as_bytes(), false).starts_with("ParseError"));
    let kraken = [
        ("61250.4", "0.0"),
        ("61250.4", "00000.0"),
        ("61250.4", "061250.4"),
        ("61250.4", "01250.4"),
        ("\"qty\":0.", "\"qty\":00."),
        ("4262187403", "4294967296"),
    ];
    for (from, to) in kraken {
        for book in [KRAKEN[0], KRAKEN[4]] {
            let text = book.replacen(from, to, 1);
            assert_ne!(text, book);
            assert_eq!(kraken_usual(text.as_bytes()), None);
            assert!(kraken_read(text.as_bytes(), false).starts_with("ParseError"));
        }
    }
}

/// More rows than a message may have are refused by both, however they are written.
#[test]
fn too_many_rows_are_an_error_as_ever() {
    let row = r#"["68250.10000000","1.50000000"]"#;
    let rows = vec![row; binance_message::ROWS_MAX + 1].join(",");
    let text = format!(r#"{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":1,"b":[{rows}],"a":[]}}"#);
    assert_eq!(binance_usual(text.as_bytes()), None);
    assert!(binance_read(text.as_bytes(), false).contains("Rows"));
    let text = text.replacen(&format!("{row},"), "", 1);
    assert!(binance_usual(text.as_bytes()).is_some());
}
