//! The order-entry connection: token, subscriptions, dead-man's switch, pings.
//!
//! ```text
//!  open ──► Token: asked of the cold plane ──► Subscribing: executions, balances ──► Ready
//!              ▲                                      │ refused, or no snapshot          │ token refused
//!              └──────────────────────────────────────┴──────────────────────────────────┘
//! ```
//!
//! A token is fetched for each connection and goes into every private request. Once ready, the cold plane is asked to
//! reconcile: nobody listened while the connection was down. `sequence` counts the messages of each private
//! channel: an old one is a repetition and dropped; a gap means lost reports, so the channel is subscribed anew and the
//! cold plane reconciles.

use super::writer::Writer;
use super::{Cx, S};
use crate::outbox::{ColdRequest, Outbox};
use crate::venue::{ExecuteError, Role};
use engine_core::event::{Event, EventSink, flags};
use zeroize::Zeroize;

/// Longest token held; they are 43 long.
const TOKEN_MAX: usize = 256;
/// A token that did not come is asked for again after so long.
const TOKEN_WAIT_NS: u64 = 15 * S;
/// The subscription is answered within so long, or tried anew.
const SUBSCRIBE_WAIT_NS: u64 = 5 * S;
/// The snapshot follows the acknowledgement within so long, or there is none.
const SNAPSHOT_WAIT_NS: u64 = 2 * S;
/// After a refused subscription.
const REFUSED_WAIT_NS: u64 = 2 * S;
/// Nothing sent for so long: ping. Not subscribed, the connection has no heartbeats: more often.
const PING_NS: u64 = 15 * S;
const PING_EARLY_NS: u64 = 4 * S;
/// The dead-man's switch is set again at least this often.
const DEAD_MAN_REFRESH_NS_MAX: u64 = 20 * S;

const ID_PING: u64 = 1;
const ID_EXECUTIONS: u64 = 2;
const ID_BALANCES: u64 = 3;
const ID_EXECUTIONS_AGAIN: u64 = 4;
const ID_DEAD_MAN: u64 = 5;
const ID_CANCEL_ALL: u64 = 6;
const ID_UNSUBSCRIBE: u64 = 7;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Closed,
    /// A token is on its way; asked for then.
    Token {
        since_ns: u64,
    },
    /// Subscriptions sent; due then.
    Subscribing {
        due_ns: u64,
        acknowledged: bool,
    },
    Ready,
}

/// What a push's sequence number says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// The next one.
    Next,
    /// Had already.
    Repeated,
    /// Some before it are lost.
    Gap,
}

/// Sequence of one private channel; each connection counts for itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequence {
    generation: u32,
    next: u64,
}

impl Sequence {
    /// Takes a push's number. A snapshot begins the count.
    pub fn take(&mut self, generation: u32, sequence: Option<u64>, snapshot: bool) -> Arrival {
        let Some(sequence) = sequence else { return Arrival::Next };
        let begins = snapshot || self.next == 0 || self.generation != generation;
        let expected = if begins { sequence } else { self.next };
        if sequence < expected {
            return Arrival::Repeated;
        }
        *self = Sequence { generation, next: sequence.saturating_add(1) };
        if sequence == expected { Arrival::Next } else { Arrival::Gap }
    }
}

/// State of the order-entry connection.
pub struct Private {
    phase: Phase,
    /// Generation of the newest open connection.
    link: Option<u32>,
    /// The connection whose pushes are taken: the old one until the new one is ready.
    source: Option<u32>,
    token: [u8; TOKEN_MAX],
    token_len: usize,
    /// Pieces of a token that is coming in.
    pieces_len: usize,
    pieces: [u8; TOKEN_MAX],
    /// Of the `executions` pushes.
    pub executions: Sequence,
    /// Of the `balances` pushes.
    pub balances: Sequence,
    /// `executions` is being subscribed anew because of a gap.
    again: bool,
    sent_ns: u64,
    dead_man_s: u32,
    dead_man_at_ns: u64,
    /// The venue is in maintenance.
    pub maintenance: bool,
}

impl Drop for Private {
    fn drop(&mut self) {
        self.token.zeroize();
        self.pieces.zeroize();
    }
}

impl Private {
    /// A closed connection. `dead_man_s` 0 = no dead-man's switch.
    pub fn new(dead_man_s: u32) -> Private {
        Private {
            phase: Phase::Closed,
            link: None,
            source: None,
            token: [0; TOKEN_MAX],
            token_len: 0,
            pieces_len: 0,
            pieces: [0; TOKEN_MAX],
            executions: Sequence::default(),
            balances: Sequence::default(),
            again: false,
            sent_ns: 0,
            dead_man_s: dead_man_s.min(86_399),
            dead_man_at_ns: 0,
            maintenance: false,
        }
    }

    /// True if orders may go out and reports come in.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// True if reports come in (they go on coming while a new token is fetched).
    pub fn is_subscribed(&self) -> bool {
        self.source.is_some()
    }

    /// As an error for callers.
    pub fn check_ready(&self) -> Result<(), ExecuteError> {
        if self.is_ready() { Ok(()) } else { Err(ExecuteError::NotConnected) }
    }

    /// The token.
    pub fn token(&self) -> &[u8] {
        &self.token[..self.token_len]
    }

    /// True if this connection's order reports count: those of the old one until the new one is ready.
    pub fn listens_to(&self, generation: u32, snapshot: bool) -> bool {
        let newest = self.link == Some(generation);
        self.source == Some(generation) || (newest && (snapshot || self.source.is_none()))
    }

    /// True if this is the newest connection.
    pub fn is_newest(&self, generation: u32) -> bool {
        self.link == Some(generation)
    }

    /// True while a `new` of an order just sent would be heard.
    pub fn hears_executions(&self) -> bool {
        self.is_ready() && !self.again
    }

    /// A request went out.
    pub fn sent(&mut self, now_ns: u64) {
        self.sent_ns = now_ns;
    }

    /// When something was last sent.
    pub const fn sent_ns(&self) -> u64 {
        self.sent_ns
    }

    fn send(&mut self, now_ns: u64, out: &mut Outbox, build: impl FnOnce(&mut Writer<'_>, &[u8])) -> bool {
        self.sent_ns = now_ns;
        let token = &self.token[..self.token_len];
        out.send(Role::OrderEntry, |space| {
            let mut message = Writer::new(space);
            build(&mut message, token);
            message.finish()
        })
    }

    /// A connection is open: get a token for it.
    pub fn on_open<K: EventSink>(&mut self, generation: u32, cx: &mut Cx<'_, K>) {
        self.link = Some(generation);
        self.sent_ns = cx.times.core_ns;
        self.ask_token(cx);
    }

    fn ask_token<K: EventSink>(&mut self, cx: &mut Cx<'_, K>) {
        self.pieces_len = 0;
        self.phase = Phase::Token { since_ns: cx.times.core_ns };
        cx.out.request(ColdRequest::Token { role: Role::OrderEntry });
    }

    /// A connection is gone. True if it was the newest: nothing that is on its way will be answered.
    pub fn on_close(&mut self, generation: u32) -> bool {
        if self.source == Some(generation) {
            self.source = None;
        }
        if self.link != Some(generation) {
            return false;
        }
        (self.link, self.source, self.phase) = (None, None, Phase::Closed);
        self.token.zeroize();
        self.token_len = 0;
        self.again = false;
        true
    }

    /// The venue does not take the token any more.
    pub fn token_refused<K: EventSink>(&mut self, cx: &mut Cx<'_, K>) {
        if !matches!(self.phase, Phase::Closed | Phase::Token { .. }) {
            self.ask_token(cx);
        }
    }

    /// A piece of a token. The last one sets things going.
    pub fn on_token<K: EventSink>(&mut self, event: &Event, cx: &mut Cx<'_, K>) {
        let len = (event.code as usize).min(32);
        let words = [event.a, event.b, event.c, event.d];
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        for (slot, byte) in self.pieces.iter_mut().skip(self.pieces_len).zip(bytes.take(len)) {
            *slot = byte;
        }
        self.pieces_len += len;
        if !event.has(flags::LAST) {
            return;
        }
        let len = core::mem::take(&mut self.pieces_len);
        if !matches!(self.phase, Phase::Token { .. }) {
            return; // Not asked for any more.
        }
        let plain = |text: &[u8]| text.iter().all(|&c| c.is_ascii_graphic() && c != b'"' && c != b'\\');
        match self.pieces.get(..len).filter(|text| !text.is_empty() && plain(text)) {
            Some(text) => {
                self.token[..len].copy_from_slice(text);
                self.token_len = len;
            }
            None => {
                cx.notice.set(&[b"the token that came is empty, too long or not plain text"]);
                return; // The time-out asks again.
            }
        }
        self.pieces.zeroize();
        self.subscribe(cx);
    }

    fn subscribe<K: EventSink>(&mut self, cx: &mut Cx<'_, K>) {
        let now_ns = cx.times.core_ns;
        self.phase = Phase::Subscribing { due_ns: now_ns + SUBSCRIBE_WAIT_NS, acknowledged: false };
        self.again = false;
        self.subscribe_executions(ID_EXECUTIONS, now_ns, cx.out);
        self.send(now_ns, cx.out, |m, token| {
            m.put(br#"{"method":"subscribe","params":{"channel":"balances","snapshot":true,"token":""#).put(token);
            m.put(br#""},"req_id":"#).integer(ID_BALANCES).put(b"}");
        });
    }

    fn subscribe_executions(&mut self, id: u64, now_ns: u64, out: &mut Outbox) -> bool {
        self.send(now_ns, out, |m, token| {
            m.put(br#"{"method":"subscribe","params":{"channel":"executions","snap_orders":true,"snap_trades":false,"#);
            m.put(br#""order_status":true,"ratecounter":true,"token":""#).put(token);
            m.put(br#""},"req_id":"#).integer(id).put(b"}");
        })
    }

    /// Reports were lost: subscribe to them anew, and have the cold plane find out what they said.
    pub fn on_gap<K: EventSink>(&mut self, cx: &mut Cx<'_, K>) {
        cx.counters.gaps += 1;
        cx.out.request(ColdRequest::Reconcile);
        if self.again || self.phase != Phase::Ready {
            return;
        }
        self.again = true;
        let now_ns = cx.times.core_ns;
        self.send(now_ns, cx.out, |m, token| {
            m.put(br#"{"method":"unsubscribe","params":{"channel":"executions","token":""#).put(token);
            m.put(br#""},"req_id":"#).integer(ID_UNSUBSCRIBE).put(b"}");
        });
        self.subscribe_executions(ID_EXECUTIONS_AGAIN, now_ns, cx.out);
    }

    /// A snapshot of `executions` was taken. One of the newest connection makes it ready; returns true if it did
    /// just now.
    pub fn on_snapshot<K: EventSink>(&mut self, generation: u32, cx: &mut Cx<'_, K>) -> bool {
        if self.link != Some(generation) {
            return false;
        }
        self.again = false;
        self.become_ready(cx)
    }

    fn become_ready<K: EventSink>(&mut self, cx: &mut Cx<'_, K>) -> bool {
        if !matches!(self.phase, Phase::Subscribing { .. }) {
            return false;
        }
        self.phase = Phase::Ready;
        self.source = self.link;
        self.dead_man_at_ns = cx.times.core_ns;
        cx.out.request(ColdRequest::Reconcile);
        self.refresh_dead_man(cx);
        true
    }

    /// The answer to a subscription. `channel` is the one acknowledged; empty in a refusal.
    pub fn on_subscribed<K: EventSink>(&mut self, id: u64, success: bool, error: &[u8], cx: &mut Cx<'_, K>) {
        let now_ns = cx.times.core_ns;
        let executions = matches!(id, ID_EXECUTIONS | ID_EXECUTIONS_AGAIN);
        // A connection that was subscribed before (its token expired) stays so.
        if success || error == b"Already subscribed" {
            if let (true, Phase::Subscribing { acknowledged, due_ns }) = (executions, &mut self.phase) {
                *acknowledged = true;
                *due_ns = now_ns + if success { SNAPSHOT_WAIT_NS } else { 0 };
            }
            return;
        }
        if id == ID_UNSUBSCRIBE {
            return;
        }
        cx.counters.venue_errors += 1;
        cx.notice.set(&[b"private subscription refused: ", error]);
        if super::orders::is_token_error(error) {
            self.token_refused(cx);
        } else if executions {
            match &mut self.phase {
                Phase::Subscribing { due_ns, .. } => *due_ns = now_ns + REFUSED_WAIT_NS,
                // The gap's own subscription: the whole connection starts over.
                Phase::Ready => self.phase = Phase::Subscribing { due_ns: now_ns + REFUSED_WAIT_NS, acknowledged: false },
                _ => {}
            }
        }
    }

    /// The answer to a session request other than a subscription.
    pub fn on_session_answer<K: EventSink>(&mut self, id: u64, success: bool, error: &[u8], cx: &mut Cx<'_, K>) {
        if success {
            return;
        }
        cx.counters.venue_errors += 1;
        let what: &[u8] = if id == ID_DEAD_MAN { b"dead-man's switch refused: " } else { b"cancel of everything refused: " };
        cx.notice.set(&[what, error]);
        if super::orders::is_token_error(error) {
            self.token_refused(cx);
        }
        if id == ID_DEAD_MAN {
            self.dead_man_at_ns = cx.times.core_ns + S;
        }
    }

    /// Cancels everything; false if there was no room.
    pub fn cancel_all(&mut self, now_ns: u64, out: &mut Outbox) -> bool {
        self.send(now_ns, out, |m, token| {
            m.put(br#"{"method":"cancel_all","params":{"token":""#).put(token).put(br#""},"req_id":"#).integer(ID_CANCEL_ALL).put(b"}");
        })
    }

    /// Sets the dead-man's switch again if it is time. Returns whether it was.
    fn refresh_dead_man<K: EventSink>(&mut self, cx: &mut Cx<'_, K>) -> bool {
        let now_ns = cx.times.core_ns;
        // In maintenance it cannot be set; it fires when the venue returns, unless it is set again by then.
        if self.dead_man_s == 0 || self.phase != Phase::Ready || self.maintenance || now_ns < self.dead_man_at_ns {
            return false;
        }
        let timeout = u64::from(self.dead_man_s);
        let sent = self.send(now_ns, cx.out, |m, token| {
            m.put(br#"{"method":"cancel_all_orders_after","params":{"timeout":"#).integer(timeout).put(br#","token":""#).put(token);
            m.put(br#""},"req_id":"#).integer(ID_DEAD_MAN).put(b"}");
        });
        let interval_ns = (timeout * S / 3).clamp(S / 2, DEAD_MAN_REFRESH_NS_MAX);
        self.dead_man_at_ns = now_ns + if sent { interval_ns } else { S / 10 };
        sent
    }

    /// Time went by. Returns true if the connection became ready just now.
    pub fn on_timer<K: EventSink>(&mut self, cx: &mut Cx<'_, K>) -> bool {
        let now_ns = cx.times.core_ns;
        let mut ready = false;
        match self.phase {
            Phase::Closed => return false,
            Phase::Token { since_ns } if now_ns.saturating_sub(since_ns) >= TOKEN_WAIT_NS => self.ask_token(cx),
            Phase::Subscribing { due_ns, acknowledged } if now_ns >= due_ns => {
                if acknowledged {
                    ready = self.become_ready(cx); // Nothing is open, and the venue does not say so.
                } else {
                    self.ask_token(cx);
                }
            }
            _ => {}
        }
        self.refresh_dead_man(cx);
        let ping_ns = if self.is_ready() { PING_NS } else { PING_EARLY_NS };
        if now_ns.saturating_sub(self.sent_ns) >= ping_ns {
            self.send(now_ns, cx.out, |m, _| {
                m.put(br#"{"method":"ping","req_id":"#).integer(ID_PING).put(b"}");
            });
        }
        ready
    }
}
