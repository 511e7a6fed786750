//! Prepared requests: text with everything in it that does not change, and the places of what does.
//!
//! What has a fixed length (the request's id, our order id, the time in milliseconds) is patched where it
//! stands; price, quantity and the venue's order id, whose lengths vary, are appended at the end. So a
//! request is one copy, three patches and a tail: no formatting, no escaping, no allocation.
//!
//! ```text
//! {"id":"n000100000007","method":"order.place","params":{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT",
//! "timeInForce":"GTC","newOrderRespType":"ACK","recvWindow":5000,"newClientOrderId":"p00010000002a",
//! "timestamp":1767225600123,"quantity":"0.00150000","price":"68250.10"}}
//! ```

use super::requests::ID_LEN;
use crate::writer::{Writer, write_thirteen_digits};
use engine_core::event::Side;
use engine_core::ids::OrderId;

// Times in milliseconds that have thirteen digits: from 2001 to 2286.
const MS_MIN: u64 = 1_000_000_000_000;
const MS_MAX: u64 = 9_999_999_999_999;

/// How a new order behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Limit, good till cancelled.
    Limit = 0,
    /// Limit, never takes.
    PostOnly = 1,
    /// Limit, immediate or cancel.
    Ioc = 2,
}

/// A request's text with marked places.
#[derive(Debug)]
struct Template {
    text: Box<[u8]>,
    id_at: usize,
    order_at: Option<usize>,
    time_at: usize,
}

// Marks of places, of characters that no symbol may hold.
const ID_MARK: &str = "#############";
const ORDER_MARK: &str = "@@@@@@@@@@@@@";
const TIME_MARK: &str = "%%%%%%%%%%%%%";

impl Template {
    fn new(text: &str) -> Template {
        let find = |mark: &str| text.find(mark);
        debug_assert!(find(ID_MARK).is_some() && find(TIME_MARK).is_some());
        Template {
            id_at: find(ID_MARK).unwrap_or_default(),
            order_at: find(ORDER_MARK),
            time_at: find(TIME_MARK).unwrap_or_default(),
            text: text.as_bytes().into(),
        }
    }

    /// Copies and patches; what follows is the writer's. The length of the template too.
    #[inline(always)]
    fn begin<'s>(&self, space: &'s mut [u8], id: &[u8; ID_LEN], order: OrderId, now_ns: u64) -> Option<(Writer<'s>, usize)> {
        let (text, rest) = space.split_at_mut_checked(self.text.len())?;
        text.copy_from_slice(&self.text);
        *text.get_mut(self.id_at..)?.first_chunk_mut()? = *id;
        if let Some(at) = self.order_at {
            *text.get_mut(at..)?.first_chunk_mut()? = order.to_text();
        }
        write_thirteen_digits(timestamp_ms(now_ns), text.get_mut(self.time_at..)?.first_chunk_mut()?);
        Some((Writer::new(rest), text.len()))
    }
}

/// The requests about one symbol.
#[derive(Debug)]
pub struct SymbolTemplates {
    /// By [`Side::index`] and [`Kind`].
    place: [[Template; 3]; 2],
    cancel_ours: Template,
    cancel_theirs: Template,
    amend_ours: Template,
    cancel_all: Template,
    query: Template,
}

impl SymbolTemplates {
    /// Prepares them. The caller has checked that the symbol needs no escaping.
    pub fn new(symbol: &str, window_ms: u32) -> SymbolTemplates {
        let head = |method: &str| format!("{{\"id\":\"{ID_MARK}\",\"method\":\"{method}\",\"params\":{{\"symbol\":\"{symbol}\",");
        let time = format!("\"recvWindow\":{window_ms},\"timestamp\":{TIME_MARK}");
        let place = |side: &str, kind: &str| {
            let head = head("order.place");
            let ours = format!("\"newOrderRespType\":\"ACK\",\"newClientOrderId\":\"{ORDER_MARK}\"");
            Template::new(&format!("{head}\"side\":\"{side}\",{kind},{ours},{time},\"quantity\":\""))
        };
        let kinds = |side| {
            [
                place(side, "\"type\":\"LIMIT\",\"timeInForce\":\"GTC\""),
                place(side, "\"type\":\"LIMIT_MAKER\""),
                place(side, "\"type\":\"LIMIT\",\"timeInForce\":\"IOC\""),
            ]
        };
        let orig = format!("\"origClientOrderId\":\"{ORDER_MARK}\"");
        SymbolTemplates {
            place: [kinds("BUY"), kinds("SELL")],
            cancel_ours: Template::new(&format!("{}{orig},{time}}}}}", head("order.cancel"))),
            cancel_theirs: Template::new(&format!("{}{time},\"orderId\":", head("order.cancel"))),
            // Without a new client id the venue would give the order a random one: it keeps its own.
            amend_ours: Template::new(&format!(
                "{}\"newClientOrderId\":\"{ORDER_MARK}\",{time},\"origClientOrderId\":\"",
                head("order.amend.keepPriority")
            )),
            cancel_all: Template::new(&format!("{}{time}}}}}", head("openOrders.cancelAll"))),
            query: Template::new(&format!("{}{orig},{time}}}}}", head("order.status"))),
        }
    }

    /// `order.place`.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub fn place(
        &self,
        space: &mut [u8],
        id: &[u8; ID_LEN],
        order: OrderId,
        (side, kind): (Side, Kind),
        (price, price_scale): (i64, u8),
        (qty, qty_scale): (i64, u8),
        now_ns: u64,
    ) -> Option<usize> {
        let template = &self.place[side.index()][kind as usize];
        let (mut writer, len) = template.begin(space, id, order, now_ns)?;
        let tail = writer.decimal(qty, qty_scale).fixed(b"\",\"price\":\"").decimal(price, price_scale).fixed(b"\"}}").finish()?;
        Some(len + tail)
    }

    /// `order.cancel`, by the venue's id if it is known (not 0).
    #[inline(never)]
    pub fn cancel(&self, space: &mut [u8], id: &[u8; ID_LEN], order: OrderId, venue_id: u64, now_ns: u64) -> Option<usize> {
        if venue_id == 0 {
            return Some(self.cancel_ours.begin(space, id, order, now_ns)?.1);
        }
        let (mut writer, len) = self.cancel_theirs.begin(space, id, order, now_ns)?;
        Some(len + writer.integer(venue_id).fixed(b"}}").finish()?)
    }

    /// `order.amend.keepPriority` to a smaller total quantity.
    #[inline(never)]
    pub fn amend(&self, space: &mut [u8], id: &[u8; ID_LEN], order: OrderId, (qty, scale): (i64, u8), now_ns: u64) -> Option<usize> {
        let (mut writer, len) = self.amend_ours.begin(space, id, order, now_ns)?;
        let tail = writer.fixed(&order.to_text()).fixed(b"\",\"newQty\":\"").decimal(qty, scale).fixed(b"\"}}").finish()?;
        Some(len + tail)
    }

    /// `openOrders.cancelAll`.
    pub fn cancel_all(&self, space: &mut [u8], id: &[u8; ID_LEN], now_ns: u64) -> Option<usize> {
        Some(self.cancel_all.begin(space, id, OrderId::NONE, now_ns)?.1)
    }

    /// `order.status`.
    pub fn query(&self, space: &mut [u8], id: &[u8; ID_LEN], order: OrderId, now_ns: u64) -> Option<usize> {
        Some(self.query.begin(space, id, order, now_ns)?.1)
    }
}

/// Milliseconds of a time as the session requests write them.
pub fn timestamp_ms(now_ns: u64) -> u64 {
    (now_ns / 1_000_000).clamp(MS_MIN, MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600_123_456_789;
    const ID: &[u8; ID_LEN] = b"n000100000007";

    fn written(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> String {
        let mut space = [0; 1024];
        let len = write(&mut space).unwrap();
        let text = String::from_utf8(space[..len].to_vec()).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        text
    }

    #[test]
    fn requests_read_as_the_venue_wants_them() {
        let templates = SymbolTemplates::new("BTCUSDT", 5_000);
        let order = OrderId::new(1, 42);
        let place = |side, kind| written(|s| templates.place(s, ID, order, (side, kind), (6_825_010, 2), (150_000, 8), NOW));
        assert_eq!(
            place(Side::Buy, Kind::Limit),
            "{\"id\":\"n000100000007\",\"method\":\"order.place\",\"params\":{\"symbol\":\"BTCUSDT\",\"side\":\"BUY\",\"type\":\"LIMIT\",\
             \"timeInForce\":\"GTC\",\"newOrderRespType\":\"ACK\",\"newClientOrderId\":\"p00010000002a\",\"recvWindow\":5000,\
             \"timestamp\":1767225600123,\"quantity\":\"0.00150000\",\"price\":\"68250.10\"}}"
        );
        assert!(place(Side::Sell, Kind::PostOnly).contains("\"side\":\"SELL\",\"type\":\"LIMIT_MAKER\",\"newOrderRespType\""));
        assert!(place(Side::Sell, Kind::Ioc).contains("\"type\":\"LIMIT\",\"timeInForce\":\"IOC\""));
        assert_eq!(
            written(|s| templates.cancel(s, ID, order, 38_500_112_233, NOW)),
            "{\"id\":\"n000100000007\",\"method\":\"order.cancel\",\"params\":{\"symbol\":\"BTCUSDT\",\"recvWindow\":5000,\
             \"timestamp\":1767225600123,\"orderId\":38500112233}}"
        );
        assert!(written(|s| templates.cancel(s, ID, order, 0, NOW)).contains("\"origClientOrderId\":\"p00010000002a\",\"recvWindow\""));
        let amend = written(|s| templates.amend(s, ID, order, (50_000, 8), NOW));
        assert!(amend.contains("\"newClientOrderId\":\"p00010000002a\""));
        assert!(amend.ends_with("\"origClientOrderId\":\"p00010000002a\",\"newQty\":\"0.00050000\"}}"));
        assert!(written(|s| templates.cancel_all(s, ID, NOW)).contains("\"method\":\"openOrders.cancelAll\""));
        assert!(written(|s| templates.query(s, ID, order, NOW)).contains("\"method\":\"order.status\""));
    }

    #[test]
    fn a_message_that_does_not_fit_is_refused() {
        let templates = SymbolTemplates::new("BTCUSDT", 5_000);
        let mut space = [0; 400];
        let whole = templates.place(&mut space, ID, OrderId::new(1, 1), (Side::Buy, Kind::Limit), (1, 2), (1, 8), NOW).unwrap();
        for len in 0..whole {
            let space = &mut space[..len];
            assert_eq!(templates.place(space, ID, OrderId::new(1, 1), (Side::Buy, Kind::Limit), (1, 2), (1, 8), NOW), None);
        }
    }
}
