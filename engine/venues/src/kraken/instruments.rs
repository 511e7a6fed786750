//! Reference data: the `instrument` channel (hot side, changes in mid-session) and `AssetPairs` (cold side, the table
//! that the engine starts with); and the many spellings that Kraken has for one pair or asset.
//!
//! A pair that cannot be read is reported by itself; the others are taken.

use super::message::{missing, number, parse_number};
use super::stream;
use crate::json::{Elements, JsonError, Scanner, What};
use crate::symbols::SymbolIndex;
use engine_core::event::InstrumentStatus;
use engine_core::fixed::{DecimalError, Money, Price, Qty, SCALE_MAX};
use engine_core::ids::VenueId;
use engine_core::instrument::{AssetTable, Capabilities, Instrument};

/// State of the whole venue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum System {
    /// Normal.
    #[default]
    Online,
    /// Nothing works.
    Maintenance,
    /// Only cancels are taken.
    CancelOnly,
    /// Only post-only orders are taken.
    PostOnly,
    /// A state that we do not know: treated as cancel-only.
    Unknown,
}

impl System {
    /// From the venue's word.
    pub fn of(text: &[u8]) -> System {
        match text {
            b"online" => System::Online,
            b"maintenance" => System::Maintenance,
            b"cancel_only" => System::CancelOnly,
            b"post_only" => System::PostOnly,
            _ => System::Unknown,
        }
    }

    /// What an instrument of this status may do while the venue is in this state.
    pub const fn narrow(self, status: InstrumentStatus) -> InstrumentStatus {
        match (self, status) {
            (System::Online, status) => status,
            (System::Maintenance, _) => InstrumentStatus::Halted,
            (
                System::CancelOnly | System::Unknown,
                InstrumentStatus::Trading | InstrumentStatus::PostOnly | InstrumentStatus::LimitOnly,
            ) => InstrumentStatus::CancelOnly,
            (System::PostOnly, InstrumentStatus::Trading | InstrumentStatus::LimitOnly) => InstrumentStatus::PostOnly,
            (_, status) => status,
        }
    }
}

/// A pair's status from the venue's word.
pub fn status_of(text: &[u8]) -> InstrumentStatus {
    match text {
        b"online" => InstrumentStatus::Trading,
        b"cancel_only" => InstrumentStatus::CancelOnly,
        b"post_only" => InstrumentStatus::PostOnly,
        b"limit_only" => InstrumentStatus::LimitOnly,
        b"reduce_only" => InstrumentStatus::ReduceOnly,
        b"maintenance" | b"work_in_progress" | b"delisted" => InstrumentStatus::Halted,
        _ => InstrumentStatus::Unknown,
    }
}

/// An instrument's increments, at its scales.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Price increment.
    pub tick: i64,
    /// Quantity increment.
    pub lot: i64,
    /// Smallest order quantity.
    pub qty_min: i64,
    /// Smallest notional at the price scale, rounded up.
    pub notional_min: i64,
}

impl Rules {
    /// Those of an instrument.
    pub fn of(instrument: &Instrument) -> Rules {
        Rules {
            tick: instrument.tick.0,
            lot: instrument.lot.0,
            qty_min: instrument.qty_min.0,
            notional_min: notional_up(instrument.notional_min, instrument.price_scale),
        }
    }
}

fn notional_up(amount: Money, scale: u8) -> i64 {
    let floor = amount.to_scaled(scale);
    floor.saturating_add(i64::from(Money::from_scaled(floor, scale) < amount))
}

/// What the `instrument` channel says of a pair that we hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Place of the symbol.
    pub symbol: usize,
    /// Status.
    pub status: InstrumentStatus,
    /// Decimal places that prices are printed with.
    pub price_decimals: u8,
    /// Decimal places that quantities are printed with.
    pub qty_decimals: u8,
    /// Increments.
    pub rules: Rules,
}

/// A pair that we hold and cannot read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadPair {
    /// Place of the symbol.
    pub symbol: usize,
    /// Why.
    pub error: JsonError,
}

/// Walks the pairs of the `instrument` channel's `data` object.
pub struct Pairs<'a> {
    s: Scanner<'a>,
    elements: Option<Elements>,
}

impl<'a> Pairs<'a> {
    /// In front of the first pair.
    pub fn new(data: Scanner<'a>) -> Result<Pairs<'a>, JsonError> {
        let mut s = data;
        let mut members = s.object()?;
        while let Some(key) = members.next(&mut s)? {
            if key == b"pairs" {
                let elements = Some(s.array()?);
                return Ok(Pairs { s, elements });
            }
            s.skip()?;
        }
        Ok(Pairs { s, elements: None })
    }

    /// The next pair that we hold; `None` after the last.
    pub fn next(&mut self, symbols: &mut SymbolIndex) -> Result<Option<Result<Pair, BadPair>>, JsonError> {
        let Some(elements) = &mut self.elements else { return Ok(None) };
        while elements.next(&mut self.s)? {
            let start = self.s.clone();
            self.s.skip()?;
            if let Some(pair) = read_pair(start, symbols) {
                return Ok(Some(pair));
            }
        }
        self.elements = None;
        Ok(None)
    }
}

/// One pair; `None` if it is not ours (or so broken that it does not say whose it is).
fn read_pair(start: Scanner<'_>, symbols: &mut SymbolIndex) -> Option<Result<Pair, BadPair>> {
    let (name, decimals) = head(&mut start.clone()).ok()?;
    let symbol = stream::position(symbols, name?, || decimals)?;
    let entry = &symbols.symbols()[symbol];
    let scales = (entry.price_scale, entry.qty_scale);
    Some(pair(&mut start.clone(), symbol, scales).map_err(|error| BadPair { symbol, error }))
}

type Head<'a> = (Option<crate::json::Text<'a>>, (u8, u8));

/// The symbol, and the decimals that the pair claims.
fn head<'a>(s: &mut Scanner<'a>) -> Result<Head<'a>, JsonError> {
    let (mut name, mut decimals) = (None, stream::OPEN_SCALES);
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"symbol" if s.peek() == Some(b'"') => name = Some(s.string()?),
            b"price_precision" if matches!(s.peek(), Some(b'0'..=b'9')) => decimals.0 = s.u64()?.min(10) as u8,
            b"qty_precision" if matches!(s.peek(), Some(b'0'..=b'9')) => decimals.1 = s.u64()?.min(10) as u8,
            _ => s.skip()?,
        }
    }
    Ok((name, decimals))
}

fn pair(s: &mut Scanner<'_>, symbol: usize, (price_scale, qty_scale): (u8, u8)) -> Result<Pair, JsonError> {
    let (mut status, mut price_decimals, mut qty_decimals) = (None, None, None);
    let (mut tick, mut lot, mut qty_min, mut cost_min) = (None, None, None, Money::ZERO);
    let decimals = |s: &mut Scanner<'_>, scale: u8| {
        let decimals = s.u64()?;
        // Finer than our numbers: nothing of this pair can be read any more.
        u8::try_from(decimals).ok().filter(|&d| d <= scale).ok_or_else(|| s.error(What::Decimal(DecimalError::Precision)))
    };
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"status" => status = Some(status_of(s.string()?.raw())),
            b"price_precision" => price_decimals = Some(decimals(s, price_scale)?),
            b"qty_precision" => qty_decimals = Some(decimals(s, qty_scale)?),
            b"price_increment" => tick = Some(number(s, price_scale)?.value),
            b"qty_increment" => lot = Some(number(s, qty_scale)?.value),
            b"qty_min" => qty_min = Some(number(s, qty_scale)?.value),
            b"cost_min" if !s.null()? => cost_min = s.money()?,
            _ => s.skip()?,
        }
    }
    let rules = Rules {
        tick: tick.filter(|t| *t > 0).ok_or_else(|| missing(s, "price_increment"))?,
        lot: lot.filter(|l| *l > 0).ok_or_else(|| missing(s, "qty_increment"))?,
        qty_min: qty_min.filter(|q| *q >= 0).ok_or_else(|| missing(s, "qty_min"))?,
        notional_min: notional_up(cost_min.max(Money::ZERO), price_scale),
    };
    Ok(Pair {
        symbol,
        status: status.ok_or_else(|| missing(s, "status"))?,
        price_decimals: price_decimals.ok_or_else(|| missing(s, "price_precision"))?,
        qty_decimals: qty_decimals.ok_or_else(|| missing(s, "qty_precision"))?,
        rules,
    })
}

/// Old asset codes of REST answers and their common names. Other codes are the names themselves.
const OLD_ASSETS: [(&str, &str); 19] = [
    ("XXBT", "BTC"),
    ("XBT", "BTC"),
    ("XXDG", "DOGE"),
    ("XDG", "DOGE"),
    ("XETH", "ETH"),
    ("XETC", "ETC"),
    ("XLTC", "LTC"),
    ("XXRP", "XRP"),
    ("XXLM", "XLM"),
    ("XXMR", "XMR"),
    ("XZEC", "ZEC"),
    ("XREP", "REP"),
    ("XMLN", "MLN"),
    ("ZUSD", "USD"),
    ("ZEUR", "EUR"),
    ("ZGBP", "GBP"),
    ("ZCAD", "CAD"),
    ("ZJPY", "JPY"),
    ("ZAUD", "AUD"),
];

/// The common name of an asset that REST names.
pub fn common_asset(code: &str) -> &str {
    OLD_ASSETS.iter().find(|(old, _)| *old == code).map_or(code, |(_, name)| name)
}

/// The spelling of `XBT/USD` in the engine and on WebSocket v2: `BTC/USD`.
pub fn symbol_of_wsname(wsname: &str) -> Option<String> {
    let (base, quote) = wsname.split_once('/')?;
    Some(format!("{}/{}", common_asset(base), common_asset(quote)))
}

/// The spelling that REST requests take: `XBTUSD` for `BTC/USD`.
pub fn altname(symbol: &str) -> String {
    let old = |asset: &str| {
        match asset {
            "BTC" => "XBT",
            "DOGE" => "XDG",
            other => return other.to_owned(),
        }
        .to_owned()
    };
    match symbol.split_once('/') {
        Some((base, quote)) => old(base) + &old(quote),
        None => symbol.to_owned(),
    }
}

/// True if `text` (`XXBTZUSD`, `XBTUSD`, `XBT/USD`, `BTC/USD`) names the pair `symbol` (`BTC/USD`).
pub fn names_pair(text: &str, symbol: &str) -> bool {
    let Some((base, quote)) = symbol.split_once('/') else { return text == symbol };
    // Every way of cutting the text in two that gives the two assets.
    text.char_indices().any(|(at, _)| {
        let (left, right) = text.split_at(at);
        !left.is_empty() && common_asset(left) == base && common_asset(right.strip_prefix('/').unwrap_or(right)) == quote
    })
}

/// Reads the `result` of `AssetPairs`; `each` gets every pair's symbol with its instrument or the reason why there is
/// none. Pairs that `wanted` does not want are passed over.
pub fn read_asset_pairs(
    s: &mut Scanner<'_>,
    venue: VenueId,
    assets: &mut AssetTable,
    mut wanted: impl FnMut(&str) -> bool,
    mut each: impl FnMut(String, Result<Instrument, String>),
) -> Result<(), JsonError> {
    let mut pairs = s.object()?;
    while pairs.next(s)?.is_some() {
        let start = s.clone();
        s.skip()?;
        let Some(symbol) = wsname(&mut start.clone()).ok().flatten().as_deref().and_then(symbol_of_wsname) else { continue };
        if !wanted(&symbol) {
            continue;
        }
        let instrument = asset_pair(&mut start.clone(), venue, &symbol, assets);
        each(symbol, instrument);
    }
    Ok(())
}

fn wsname(s: &mut Scanner<'_>) -> Result<Option<String>, JsonError> {
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        if key == b"wsname" {
            let text = s.string()?;
            return Ok(core::str::from_utf8(text.raw()).ok().filter(|t| t.len() <= 64).map(str::to_owned));
        }
        s.skip()?;
    }
    Ok(None)
}

/// The members of a pair, as text still.
#[derive(Default)]
struct Texts {
    price_scale: Option<u64>,
    qty_scale: Option<u64>,
    tick: Vec<u8>,
    qty_min: Vec<u8>,
    cost_min: Vec<u8>,
    status: Vec<u8>,
    taker: Vec<u8>,
    maker: Vec<u8>,
}

fn texts(s: &mut Scanner<'_>) -> Result<Texts, JsonError> {
    let mut texts = Texts::default();
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"pair_decimals" => texts.price_scale = Some(s.u64()?),
            b"lot_decimals" => texts.qty_scale = Some(s.u64()?),
            b"tick_size" => texts.tick = s.decimal_text()?.to_vec(),
            b"ordermin" => texts.qty_min = s.decimal_text()?.to_vec(),
            b"costmin" => texts.cost_min = s.decimal_text()?.to_vec(),
            b"status" => texts.status = s.string()?.raw().to_vec(),
            b"fees" => texts.taker = first_fee(s)?,
            b"fees_maker" => texts.maker = first_fee(s)?,
            _ => s.skip()?,
        }
    }
    Ok(texts)
}

/// The percentage of the first row of `[[volume, percent],..]`.
fn first_fee(s: &mut Scanner<'_>) -> Result<Vec<u8>, JsonError> {
    let mut fee = Vec::new();
    let mut rows = s.array()?;
    while rows.next(s)? {
        let mut row = s.array()?;
        let mut column = 0;
        while row.next(s)? {
            if column == 1 && fee.is_empty() {
                fee = s.decimal_text()?.to_vec();
            } else {
                s.skip()?;
            }
            column += 1;
        }
    }
    Ok(fee)
}

fn asset_pair(s: &mut Scanner<'_>, venue: VenueId, symbol: &str, assets: &mut AssetTable) -> Result<Instrument, String> {
    let texts = texts(s).map_err(|error| error.to_string())?;
    let scale = |value: Option<u64>, name: &str| {
        value.and_then(|v| u8::try_from(v).ok()).filter(|&v| v <= SCALE_MAX).ok_or_else(|| format!("{name} missing or above {SCALE_MAX}"))
    };
    let (price_scale, qty_scale) = (scale(texts.price_scale, "pair_decimals")?, scale(texts.qty_scale, "lot_decimals")?);
    if price_scale + qty_scale > SCALE_MAX {
        return Err(format!("pair_decimals {price_scale} and lot_decimals {qty_scale} are more than {SCALE_MAX} together"));
    }
    let value = |text: &[u8], scale: u8, default: i64, name: &str| match text {
        [] => Ok(default),
        text => parse_number(text, scale).map(|n| n.value).map_err(|error| format!("{name}: {error}")),
    };
    // In millionths: a percentage has four more decimals than that.
    let fee =
        |text: &[u8], name: &str| value(text, 4, 0, name).and_then(|ppm| i32::try_from(ppm).map_err(|_| format!("{name} out of range")));
    let tick = value(&texts.tick, price_scale, 1, "tick_size")?;
    if tick < 1 {
        return Err("tick_size is not positive".into());
    }
    let notional_min = match &texts.cost_min[..] {
        [] => Money::ZERO,
        text => match Money::parse(text).map_err(|error| format!("costmin: {error}"))? {
            least if least < Money::ZERO => return Err("costmin is below zero".to_owned()),
            least => least,
        },
    };
    let (base, quote) = symbol.split_once('/').ok_or("symbol without a slash")?;
    Ok(Instrument {
        venue,
        symbol: symbol.to_owned(),
        base: assets.intern(base),
        quote: assets.intern(quote),
        price_scale,
        qty_scale,
        tick: Price(tick),
        lot: Qty(1),
        qty_min: Qty(value(&texts.qty_min, qty_scale, 0, "ordermin")?.max(0)),
        qty_max: Qty::MAX,
        notional_min,
        maker_fee_ppm: fee(&texts.maker, "fees_maker")?,
        taker_fee_ppm: fee(&texts.taker, "fees")?,
        status: status_of(&texts.status),
        epoch: 0,
        capabilities: Capabilities { replace: true, reduce: true, post_only: true },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::Symbol;
    use engine_core::ids::{AssetId, InstrumentId};

    fn index() -> SymbolIndex {
        let mut index = SymbolIndex::new(&engine_core::instrument::InstrumentTable::new(), VenueId(0));
        index.add(Symbol { text: "BTC/USD".into(), instrument: InstrumentId(0), price_scale: 1, qty_scale: 8 });
        index.add(Symbol { text: "ETH/USD".into(), instrument: InstrumentId(1), price_scale: 2, qty_scale: 8 });
        index
    }

    #[test]
    fn pairs_are_read_one_by_one_and_a_bad_one_does_not_hide_the_others() {
        let text = br#"{"assets":[{"id":"BTC","status":"enabled"}],"pairs":[
            {"symbol":"FOO/USD","status":"online"},
            {"symbol":"ETH/USD","status":"online","qty_precision":8,"qty_increment":1e-08,"price_precision":3,"price_increment":0.001,"qty_min":0.002},
            {"symbol":"BTC/USD","base":"BTC","quote":"USD","status":"post_only","qty_precision":8,"qty_increment":1e-08,"price_precision":1,
             "price_increment":0.1,"cost_precision":5,"cost_min":"0.55","qty_min":5e-05,"marginable":true,"has_index":true}]}"#;
        let (mut pairs, mut index, mut got) = (Pairs::new(Scanner::new(text)).unwrap(), index(), Vec::new());
        while let Some(pair) = pairs.next(&mut index).unwrap() {
            got.push(pair);
        }
        let bad = got[0].unwrap_err();
        assert_eq!((bad.symbol, bad.error.what), (1, What::Decimal(DecimalError::Precision)));
        let rules = Rules { tick: 1, lot: 1, qty_min: 5_000, notional_min: 6 };
        let pair = Pair { symbol: 0, status: InstrumentStatus::PostOnly, price_decimals: 1, qty_decimals: 8, rules };
        assert_eq!(got[1..], [Ok(pair)]);
    }

    #[test]
    fn asset_pairs_become_instruments_or_say_why_not() {
        let text = br#"{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD","pair_decimals":1,"lot_decimals":8,
            "cost_decimals":5,"lot_multiplier":1,"fees":[[0,0.4],[10000,0.35]],"fees_maker":[[0,0.25],[10000,0.2]],"ordermin":"0.00005",
            "costmin":"0.5","tick_size":"0.1","status":"online"},
            "BAD":{"wsname":"BAD/USD","pair_decimals":12,"lot_decimals":8,"status":"online"},
            "XDGUSD":{"wsname":"XDG/USD","pair_decimals":7,"lot_decimals":8,"status":"new_thing"},"ODD":{}}"#;
        let mut assets = AssetTable::new();
        let mut got = Vec::new();
        read_asset_pairs(&mut Scanner::new(text), VenueId(2), &mut assets, |_| true, |symbol, i| got.push((symbol, i))).unwrap();
        let names: Vec<_> = got.iter().map(|(s, _)| s.as_str()).collect();
        assert_eq!(names, ["BTC/USD", "BAD/USD", "DOGE/USD"]);
        let btc = got[0].1.as_ref().unwrap();
        assert_eq!((btc.base, btc.quote, btc.price_scale, btc.qty_scale), (AssetId(0), AssetId(1), 1, 8));
        assert_eq!((btc.tick, btc.lot, btc.qty_min, btc.notional_min), (Price(1), Qty(1), Qty(5_000), Money::from_scaled(5, 1)));
        assert_eq!((btc.maker_fee_ppm, btc.taker_fee_ppm, btc.status), (2_500, 4_000, InstrumentStatus::Trading));
        assert!(got[1].1.as_ref().unwrap_err().contains("pair_decimals 12"));
        assert_eq!(got[2].1.as_ref().unwrap().status, InstrumentStatus::Unknown);
    }

    #[test]
    fn a_pair_is_known_by_all_its_spellings() {
        for text in ["XXBTZUSD", "XBTUSD", "XBT/USD", "BTC/USD"] {
            assert!(names_pair(text, "BTC/USD"), "{text}");
        }
        assert!(names_pair("XETHXXBT", "ETH/BTC") && names_pair("ETHUSDT", "ETH/USDT") && names_pair("XDGUSD", "DOGE/USD"));
        assert!(!names_pair("XXBTZEUR", "BTC/USD") && !names_pair("", "BTC/USD") && !names_pair("\u{e4}/USD", "BTC/USD"));
        assert_eq!((altname("BTC/USD"), altname("ETH/USDT")), ("XBTUSD".into(), "ETHUSDT".into()));
        assert_eq!(symbol_of_wsname("XBT/USD").as_deref(), Some("BTC/USD"));
    }

    #[test]
    fn the_venues_state_narrows_the_instruments() {
        use InstrumentStatus as I;
        assert_eq!(System::of(b"online").narrow(I::ReduceOnly), I::ReduceOnly);
        assert_eq!(System::of(b"maintenance").narrow(I::Trading), I::Halted);
        assert_eq!(System::of(b"cancel_only").narrow(I::Trading), I::CancelOnly);
        assert_eq!(System::of(b"post_only").narrow(I::Trading), I::PostOnly);
        assert_eq!(System::of(b"post_only").narrow(I::CancelOnly), I::CancelOnly);
        assert_eq!(System::of(b"party").narrow(I::Trading), I::CancelOnly);
        assert_eq!(status_of(b"delisted"), I::Halted);
    }
}
