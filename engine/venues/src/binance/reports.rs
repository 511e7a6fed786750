//! What the WebSocket API says: answers to requests, and events of the user-data stream.
//!
//! Reading is in two steps. [`parse`] walks the text once and keeps the members as borrowed text, whatever
//! their order and their type: a member that we do not know or that has changed its type costs nothing.
//! Then [`Report::resolve`] and its siblings turn the few members that matter into numbers, at the scales of
//! the symbol. So what is wrong with one report is known to be about that order, and only that order is
//! put in doubt.

use super::message::time_ns;
use crate::json::{JsonError, Scanner};
use crate::names::Names;
use crate::symbols::SymbolIndex;
use engine_core::event::{RejectReason, Side, VALUE_MAX, VenueOrderStatus};
use engine_core::fixed::{Money, parse_decimal};
use engine_core::ids::{AssetId, InstrumentId, OrderId};

/// A message of the WebSocket API.
#[derive(Debug)]
pub enum Private<'a> {
    /// An answer to a request.
    Answer(Answer<'a>),
    /// A report about an order.
    Report(Report<'a>),
    /// Balances that may have changed; the scanner stands at their array.
    Position {
        /// `B`.
        balances: Scanner<'a>,
        /// `u`, nanoseconds.
        time_ns: u64,
    },
    /// The user-data subscription has ended.
    Terminated,
    /// The server is about to close the connection.
    Shutdown,
    /// An event that we know of and do not use.
    Unused(&'static str),
    /// Something that we do not know.
    Unknown,
}

/// An answer to a request.
#[derive(Debug, Default)]
pub struct Answer<'a> {
    /// `id`; empty if it is `null` or a number.
    pub id: &'a [u8],
    /// `status`.
    pub status: u64,
    /// `result`, if there is one.
    pub result: Option<Scanner<'a>>,
    /// `error`, if there is one.
    pub refusal: Option<Refusal<'a>>,
    /// `rateLimits`, if there are any.
    pub rate_limits: Option<Scanner<'a>>,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refusal<'a> {
    /// The venue's code.
    pub code: i64,
    /// The venue's text, escapes unresolved.
    pub text: &'a [u8],
    /// When to ask again, nanoseconds since the Unix epoch; 0 if not said.
    pub retry_ns: u64,
}

type Raw<'a> = Option<&'a [u8]>;

/// An `executionReport`, unread. Members are named as the venue names them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report<'a> {
    symbol: Raw<'a>,
    client: Raw<'a>,
    original: Raw<'a>,
    side: Raw<'a>,
    qty: Raw<'a>,
    price: Raw<'a>,
    execution: Raw<'a>,
    status: Raw<'a>,
    reject: Raw<'a>,
    venue_id: Raw<'a>,
    last_qty: Raw<'a>,
    cumulative: Raw<'a>,
    last_price: Raw<'a>,
    fee: Raw<'a>,
    fee_asset: Raw<'a>,
    time: Raw<'a>,
    trade_id: Raw<'a>,
    prevented: Raw<'a>,
    maker: bool,
}

/// Takes a string or a number as text; passes over anything else.
#[inline]
fn text<'a>(s: &mut Scanner<'a>) -> Result<Raw<'a>, JsonError> {
    match s.peek() {
        Some(b'"') => Ok(Some(s.string()?.raw())),
        Some(b'-' | b'0'..=b'9') => Ok(Some(s.number()?)),
        _ => s.skip().map(|()| None),
    }
}

/// Takes a number; anything else is 0.
fn number(s: &mut Scanner<'_>) -> Result<u64, JsonError> {
    Ok(text(s)?.and_then(digits).unwrap_or(0))
}

/// Plain decimal digits.
#[inline]
pub fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0u64, |value, &c| {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// Reads one message. An error means that the text is not JSON.
pub fn parse(payload: &[u8]) -> Result<Private<'_>, JsonError> {
    let mut s = Scanner::new(payload);
    let mut answer = Answer::default();
    let (mut event, mut is_answer, mut bare) = (None, false, None);
    let mut members = s.object()?;
    while let Some(key) = members.next(&mut s)? {
        match key {
            b"event" if s.peek() == Some(b'{') => event = Some(read_event(&mut s)?),
            b"id" => {
                answer.id = if s.peek() == Some(b'"') { s.string()?.raw() } else { s.skip().map(|()| &b""[..])? };
                is_answer = true;
            }
            b"status" => answer.status = number(&mut s)?,
            b"result" => {
                answer.result = Some(s.clone());
                is_answer = true;
                s.skip()?;
            }
            b"error" if s.peek() == Some(b'{') => {
                answer.refusal = Some(read_refusal(&mut s)?);
                is_answer = true;
            }
            b"rateLimits" => {
                answer.rate_limits = Some(s.clone());
                s.skip()?;
            }
            b"e" if s.peek() == Some(b'"') => bare = Some(s.string()?.raw()),
            _ => s.skip()?,
        }
    }
    s.end()?;
    Ok(match (event, bare) {
        (Some(event), _) => event,
        (None, Some(b"serverShutdown")) => Private::Shutdown,
        (None, Some(b"eventStreamTerminated")) => Private::Terminated,
        // An event that is not wrapped (as `decode` may be given).
        (None, Some(_)) => read_event(&mut Scanner::new(payload))?,
        (None, None) if is_answer => Private::Answer(answer),
        (None, None) => Private::Unknown,
    })
}

fn read_refusal<'a>(s: &mut Scanner<'a>) -> Result<Refusal<'a>, JsonError> {
    let mut refusal = Refusal::default();
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        match key {
            b"code" => {
                let code = text(s)?.unwrap_or_default();
                let (negative, magnitude) = code.strip_prefix(b"-").map_or((false, code), |rest| (true, rest));
                let magnitude = digits(magnitude).and_then(|code| i64::try_from(code).ok()).unwrap_or(0);
                refusal.code = if negative { -magnitude } else { magnitude };
            }
            b"msg" => refusal.text = text(s)?.unwrap_or_default(),
            b"data" if s.peek() == Some(b'{') => {
                let mut data = s.object()?;
                while let Some(key) = data.next(s)? {
                    match key {
                        b"retryAfter" => refusal.retry_ns = time_ns(number(s)?),
                        _ => s.skip()?,
                    }
                }
            }
            _ => s.skip()?,
        }
    }
    Ok(refusal)
}

#[inline]
fn read_event<'a>(s: &mut Scanner<'a>) -> Result<Private<'a>, JsonError> {
    let mut report = Report::default();
    let (mut kind, mut balances, mut update) = (None, None, None);
    let mut members = s.object()?;
    while let Some(key) = members.next(s)? {
        let place = match key {
            b"e" => &mut kind,
            b"s" => &mut report.symbol,
            b"c" => &mut report.client,
            b"C" => &mut report.original,
            b"S" => &mut report.side,
            b"q" => &mut report.qty,
            b"p" => &mut report.price,
            b"x" => &mut report.execution,
            b"X" => &mut report.status,
            b"r" => &mut report.reject,
            b"i" => &mut report.venue_id,
            b"l" => &mut report.last_qty,
            b"z" => &mut report.cumulative,
            b"L" => &mut report.last_price,
            b"n" => &mut report.fee,
            b"N" => &mut report.fee_asset,
            b"T" => &mut report.time,
            b"t" => &mut report.trade_id,
            b"A" => &mut report.prevented,
            b"u" => &mut update,
            b"m" => {
                report.maker = s.peek() == Some(b't');
                s.skip()?;
                continue;
            }
            b"B" if s.peek() == Some(b'[') => {
                balances = Some(s.clone());
                s.skip()?;
                continue;
            }
            _ => {
                s.skip()?;
                continue;
            }
        };
        *place = text(s)?;
    }
    Ok(match (kind, balances) {
        (Some(b"executionReport"), _) => Private::Report(report),
        (Some(b"outboundAccountPosition"), Some(balances)) => {
            Private::Position { balances, time_ns: update.and_then(digits).map_or(0, time_ns) }
        }
        (Some(b"eventStreamTerminated"), _) => Private::Terminated,
        (Some(b"serverShutdown"), _) => Private::Shutdown,
        (Some(b"balanceUpdate"), _) => Private::Unused("balanceUpdate"),
        (Some(b"listStatus"), _) => Private::Unused("listStatus"),
        (Some(b"externalLockUpdate"), _) => Private::Unused("externalLockUpdate"),
        _ => Private::Unknown,
    })
}

/// What happened to an order (`x`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Execution {
    /// It was accepted.
    New,
    /// It was cancelled.
    Canceled,
    /// It was amended.
    Replaced,
    /// It was refused.
    Rejected,
    /// It traded.
    Trade,
    /// It expired.
    Expired,
    /// Self-trade prevention took all or some of it.
    TradePrevention,
}

fn execution(text: &[u8]) -> Option<Execution> {
    Some(match text {
        b"NEW" => Execution::New,
        b"CANCELED" => Execution::Canceled,
        b"REPLACED" => Execution::Replaced,
        b"REJECTED" => Execution::Rejected,
        b"TRADE" => Execution::Trade,
        b"EXPIRED" => Execution::Expired,
        b"TRADE_PREVENTION" => Execution::TradePrevention,
        _ => return None,
    })
}

/// What an order is, in common words.
pub fn status(text: &[u8]) -> Option<VenueOrderStatus> {
    Some(match text {
        b"NEW" | b"PENDING_NEW" | b"PARTIALLY_FILLED" | b"PENDING_CANCEL" => VenueOrderStatus::Open,
        b"FILLED" => VenueOrderStatus::Filled,
        b"CANCELED" => VenueOrderStatus::Canceled,
        b"EXPIRED" | b"EXPIRED_IN_MATCH" => VenueOrderStatus::Expired,
        b"REJECTED" => VenueOrderStatus::Rejected,
        _ => return None,
    })
}

/// A side, as all messages spell it.
pub fn side(text: &[u8]) -> Option<Side> {
    match text {
        b"BUY" => Some(Side::Buy),
        b"SELL" => Some(Side::Sell),
        _ => None,
    }
}

/// Where names and symbols are looked up.
pub struct Tables<'a> {
    /// Symbols; in open mode they are added.
    pub symbols: &'a mut SymbolIndex,
    /// Orders and assets.
    pub names: &'a mut Names,
}

/// Whose report it is: known before anything else is read of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject {
    /// Our id.
    pub order: OrderId,
    /// Place of the symbol.
    pub symbol: usize,
    /// The instrument.
    pub instrument: InstrumentId,
    /// Decimal places of prices and quantities.
    pub scales: (u8, u8),
}

/// Why a report is about nothing of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stranger {
    /// A symbol that we do not hold.
    Symbol,
    /// An order that is not ours.
    Order,
}

impl Tables<'_> {
    fn subject(&mut self, symbol: Raw<'_>, client: Raw<'_>) -> Result<Subject, Stranger> {
        let order = client.and_then(|text| self.names.order(text)).ok_or(Stranger::Order)?;
        let at = symbol.and_then(|text| self.symbols.position_or_add(text)).ok_or(Stranger::Symbol)?;
        let entry = self.symbols.symbols().get(at).ok_or(Stranger::Symbol)?;
        Ok(Subject { order, symbol: at, instrument: entry.instrument, scales: (entry.price_scale, entry.qty_scale) })
    }
}

/// A member that is missing or makes no sense; its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadField(pub &'static str);

/// A number of zero or more at `scale`.
#[inline]
fn decimal(raw: Raw<'_>, scale: u8, name: &'static str) -> Result<i64, BadField> {
    let value = raw.and_then(|text| parse_decimal(text, scale).ok()).ok_or(BadField(name))?;
    if (0..=VALUE_MAX).contains(&value) { Ok(value) } else { Err(BadField(name)) }
}

/// A report in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resolved {
    /// What happened.
    pub execution: Execution,
    /// What the order is now.
    pub status: VenueOrderStatus,
    /// It waits for another order of its list: not on the book yet.
    pub pending: bool,
    /// Side.
    pub side: Side,
    /// The venue's id; 0 if it said none.
    pub venue_id: u64,
    /// Limit price.
    pub price: i64,
    /// Total quantity that can still trade or has traded (what self-trade prevention took is taken off).
    pub qty: i64,
    /// Cumulative filled quantity.
    pub filled: i64,
    /// The fill, if it traded.
    pub fill: Option<Fill>,
    /// Why it was refused.
    pub reject: RejectReason,
    /// Venue time.
    pub time_ns: u64,
}

/// A fill in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fill {
    /// Trade id.
    pub trade_id: u64,
    /// Price.
    pub price: i64,
    /// Quantity.
    pub qty: i64,
    /// Fee and its asset; `None` if there is none, or the asset is unknown.
    pub fee: Option<(AssetId, Money)>,
    /// There is a fee in an asset that we do not know.
    pub fee_unknown: bool,
    /// We were the maker.
    pub maker: bool,
}

impl Report<'_> {
    /// Whose it is. On a cancel the venue puts the cancel's own id in `c` and the order's in `C`.
    pub fn subject(&self, tables: &mut Tables<'_>) -> Result<Subject, Stranger> {
        let client = self.original.filter(|text| !text.is_empty()).or(self.client);
        tables.subject(self.symbol, client)
    }

    /// The report in numbers.
    #[inline]
    pub fn resolve(&self, subject: &Subject, names: &mut Names) -> Result<Resolved, BadField> {
        let (price_scale, qty_scale) = subject.scales;
        let state = self.status.unwrap_or_default();
        let execution = self.execution.and_then(execution).ok_or(BadField("x"))?;
        let fill = if execution == Execution::Trade {
            let qty = decimal(self.last_qty, qty_scale, "l")?;
            let price = decimal(self.last_price, price_scale, "L")?;
            let trade_id = self.trade_id.and_then(digits).ok_or(BadField("t"))?;
            let amount = match self.fee {
                None => Money::ZERO,
                Some(text) => Money::parse(text).map_err(|_| BadField("n"))?,
            };
            let asset = self.fee_asset.and_then(|text| names.asset(text));
            if qty == 0 || price == 0 {
                return Err(BadField("l"));
            }
            let fee_unknown = amount != Money::ZERO && asset.is_none();
            Some(Fill { trade_id, price, qty, fee: asset.map(|asset| (asset, amount)), fee_unknown, maker: self.maker })
        } else {
            None
        };
        let qty = decimal(self.qty, qty_scale, "q")?;
        let prevented = self.prevented.map_or(Ok(0), |_| decimal(self.prevented, qty_scale, "A"))?;
        let resolved = Resolved {
            execution,
            status: status(state).ok_or(BadField("X"))?,
            pending: state == b"PENDING_NEW",
            side: self.side.and_then(side).ok_or(BadField("S"))?,
            venue_id: self.venue_id.and_then(digits).unwrap_or(0),
            price: decimal(self.price, price_scale, "p")?,
            qty: (qty - prevented).max(0),
            filled: decimal(self.cumulative, qty_scale, "z")?,
            fill,
            reject: self.reject.map_or(RejectReason::Other, |text| reject_reason(0, text)),
            time_ns: self.time.and_then(digits).map_or(0, time_ns),
        };
        if resolved.is_restated() {
            standing(resolved.price, resolved.qty, resolved.filled, ("p", "q"))?;
        }
        Ok(resolved)
    }
}

/// What works on the book at new terms has a price and something left to trade.
fn standing(price: i64, qty: i64, filled: i64, (price_name, qty_name): (&'static str, &'static str)) -> Result<(), BadField> {
    if price == 0 {
        return Err(BadField(price_name));
    }
    if qty > filled { Ok(()) } else { Err(BadField(qty_name)) }
}

impl Resolved {
    /// The order goes on working, at terms that the venue changed.
    pub fn is_restated(&self) -> bool {
        match self.execution {
            Execution::Replaced => true,
            Execution::TradePrevention => self.status == VenueOrderStatus::Open,
            _ => false,
        }
    }
}

/// The `result` of an answer about one order (`order.place`, `order.cancel`, `order.status`, or what an
/// amendment calls `amendedOrder`), unread.
#[derive(Clone, Copy, Debug, Default)]
pub struct OrderAnswer<'a> {
    symbol: Raw<'a>,
    venue_id: Raw<'a>,
    client: Raw<'a>,
    original: Raw<'a>,
    price: Raw<'a>,
    qty: Raw<'a>,
    filled: Raw<'a>,
    prevented: Raw<'a>,
    status: Raw<'a>,
    side: Raw<'a>,
    time: Raw<'a>,
    /// It is the answer to an amendment.
    pub amended: bool,
    /// It says more than that the order was accepted.
    pub is_full: bool,
}

impl<'a> OrderAnswer<'a> {
    /// Reads the object that `s` stands at; `None` if it is something else.
    pub fn parse(mut s: Scanner<'a>) -> Result<Option<OrderAnswer<'a>>, JsonError> {
        if s.peek() != Some(b'{') {
            return Ok(None);
        }
        let mut answer = OrderAnswer::default();
        answer.read(&mut s)?;
        Ok(Some(answer))
    }

    fn read(&mut self, s: &mut Scanner<'a>) -> Result<(), JsonError> {
        let mut members = s.object()?;
        while let Some(key) = members.next(s)? {
            let place = match key {
                b"symbol" => &mut self.symbol,
                b"orderId" => &mut self.venue_id,
                b"clientOrderId" => &mut self.client,
                b"origClientOrderId" => &mut self.original,
                b"price" => &mut self.price,
                b"origQty" | b"qty" => &mut self.qty,
                b"executedQty" => &mut self.filled,
                b"preventedQuantity" | b"preventedQty" => &mut self.prevented,
                b"status" => &mut self.status,
                b"side" => &mut self.side,
                b"transactTime" => &mut self.time,
                b"updateTime" => &mut self.time,
                b"amendedOrder" if s.peek() == Some(b'{') && !self.amended => {
                    self.amended = true;
                    self.read(s)?;
                    continue;
                }
                _ => {
                    s.skip()?;
                    continue;
                }
            };
            *place = text(s)?;
        }
        self.is_full = self.status.is_some();
        Ok(())
    }

    /// It is the answer to a cancel: only there the venue names the order's own id beside the cancel's.
    pub fn is_cancel(&self) -> bool {
        !self.amended && self.original.is_some()
    }

    /// The venue's id; 0 if it said none.
    pub fn venue_id(&self) -> u64 {
        self.venue_id.and_then(digits).unwrap_or(0)
    }

    /// Venue time; 0 if it said none.
    pub fn time_ns(&self) -> u64 {
        self.time.and_then(digits).map_or(0, time_ns)
    }

    /// Whose it is, by what it says itself.
    pub fn subject(&self, tables: &mut Tables<'_>) -> Result<Subject, Stranger> {
        // A cancel's own id stands in `clientOrderId`, the order's in `origClientOrderId`.
        tables.subject(self.symbol, self.original.filter(|text| !text.is_empty()).or(self.client))
    }

    /// What the order is, in numbers.
    pub fn resolve(&self, (price_scale, qty_scale): (u8, u8)) -> Result<OrderState, BadField> {
        let qty = decimal(self.qty, qty_scale, "origQty")?;
        let prevented = self.prevented.map_or(Ok(0), |_| decimal(self.prevented, qty_scale, "preventedQuantity"))?;
        Ok(OrderState {
            status: self.status.and_then(status).ok_or(BadField("status"))?,
            side: self.side.and_then(side).ok_or(BadField("side"))?,
            price: decimal(self.price, price_scale, "price")?,
            qty: (qty - prevented).max(0),
            filled: decimal(self.filled, qty_scale, "executedQty")?,
            time_ns: self.time_ns(),
        })
    }
}

/// What the venue says an order is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderState {
    /// State.
    pub status: VenueOrderStatus,
    /// Side.
    pub side: Side,
    /// Limit price.
    pub price: i64,
    /// Total quantity (what self-trade prevention took is taken off).
    pub qty: i64,
    /// Cumulative filled quantity.
    pub filled: i64,
    /// Venue time.
    pub time_ns: u64,
}

impl OrderState {
    /// After a cancel or an amendment; an order that still works must do so at terms that make sense.
    pub fn changed(self) -> Result<OrderState, BadField> {
        if self.status == VenueOrderStatus::Open {
            standing(self.price, self.qty, self.filled, ("price", "origQty"))?;
        }
        Ok(self)
    }
}

/// Reads the array of balances that `s` stands at: asset, free, locked. Assets that we do not know and
/// rows that make no sense are passed over and counted.
pub fn balances(mut s: Scanner<'_>, names: &mut Names, mut take: impl FnMut(AssetId, Money, Money)) -> Result<u64, JsonError> {
    let mut passed_over = 0;
    let mut rows = s.array()?;
    while rows.next(&mut s)? {
        let (mut asset, mut free, mut locked) = (None, None, None);
        let mut members = s.object()?;
        while let Some(key) = members.next(&mut s)? {
            match key {
                b"a" => asset = text(&mut s)?.and_then(|text| names.asset(text)),
                b"f" => free = text(&mut s)?.and_then(|text| Money::parse(text).ok()),
                b"l" => locked = text(&mut s)?.and_then(|text| Money::parse(text).ok()),
                _ => s.skip()?,
            }
        }
        match (asset, free, locked) {
            (Some(asset), Some(free), Some(locked)) => match free.0.checked_add(locked.0) {
                Some(total) => take(asset, Money(total), free),
                None => passed_over += 1,
            },
            _ => passed_over += 1,
        }
    }
    Ok(passed_over)
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// A refusal in common words. The code alone does not tell: the text does.
#[cold]
pub fn reject_reason(code: i64, text: &[u8]) -> RejectReason {
    use RejectReason as R;
    const TEXTS: [(&[u8], RejectReason); 18] = [
        (b"insufficient balance", R::InsufficientFunds),
        (b"INSUFFICIENT_BALANCE", R::InsufficientFunds),
        (b"immediately match", R::PostOnlyWouldTake),
        (b"Duplicate order", R::DuplicateOrderId),
        (b"Unknown order", R::UnknownOrder),
        (b"does not exist", R::UnknownOrder),
        (b"Market is closed", R::MarketClosed),
        (b"change no state", R::NoChange),
        (b"quantity increase", R::InvalidQuantity),
        (b"PRICE_FILTER", R::InvalidPrice),
        (b"PERCENT_PRICE", R::InvalidPrice),
        (b"LOT_SIZE", R::InvalidQuantity),
        (b"NOTIONAL", R::Notional),
        (b"MAX_NUM", R::TooManyOrders),
        (b"self-trade", R::SelfTrade),
        (b"'price' has too much", R::InvalidPrice),
        (b"'quantity' has too much", R::InvalidQuantity),
        (b"IP banned", R::RateLimit),
    ];
    if let Some((_, reason)) = TEXTS.iter().find(|(word, _)| contains(text, word)) {
        return *reason;
    }
    match code {
        -1003 | -1015 => R::RateLimit,
        -1008 => R::Overloaded,
        -1021 => R::Timing,
        -1002 | -1022 | -2014 | -2015 => R::Authentication,
        -1199..=-1100 | -2039 => R::BadRequest,
        _ => R::Other,
    }
}

/// True if the venue itself does not know what became of the request.
pub fn is_outcome_unknown(status: u64, code: i64) -> bool {
    status >= 500 || matches!(code, -1001 | -1006 | -1007)
}
