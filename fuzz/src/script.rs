//! Scripts of lines for the codecs that read text: readable seeds, and a dictionary helps.
//!
//! | line | what happens |
//! |---|---|
//! | `{...`, `[...` and anything else | a message; `@0` .. `@9` in it are the ids of the latest requests, newest first |
//! | `T250` | 250 ms go by |
//! | `S0 77` | a snapshot of instrument 0, with sequence 77 |
//! | `F1` | the snapshot of instrument 1 could not be had |
//! | `X`, `O` | the newest connection closes; another opens |
//! | `<...` | a message on the connection before the newest |
//! | `R0` | the core finds the book of instrument 0 wrong |
//! | `N5 68000`, `A5 68001`, `C5`, `Q5`, `K` | the core sends order 5, replaces it, cancels it, asks for it, cancels all |
//! | `P5` | order 5 is adopted, as after a restart |

use crate::codec::Rig;
use crate::tables::{MS, VENUE};
use engine_core::event::{BookInvalid, Event, EventKind, Side, Times, flags};
use engine_core::ids::{InstrumentId, OrderId};
use venues::venue::{Link, MessageKind, Role, Venue};

/// Lines that one script may have.
const LINES_MAX: usize = 64;

/// One connection's script.
pub struct Script {
    /// The connection's role.
    pub role: Role,
    generation: u32,
    /// Levels of every snapshot: side, price, quantity.
    pub levels: &'static [(Side, i64, i64)],
}

impl Script {
    /// With the connection of generation 1 open.
    pub fn new(role: Role, levels: &'static [(Side, i64, i64)]) -> Script {
        Script { role, generation: 1, levels }
    }

    /// The newest connection.
    pub fn link(&self) -> Link {
        Link { role: self.role, generation: self.generation }
    }

    /// Runs all lines. `change` may complete a message (a checksum), and `look` sees it as it will be sent.
    pub fn run<V: Venue>(
        &mut self,
        rig: &mut Rig<V>,
        data: &[u8],
        mut change: impl FnMut(Vec<u8>) -> Vec<u8>,
        opened: impl Fn(&mut Rig<V>),
    ) {
        for line in data.split(|&byte| byte == b'\n').take(LINES_MAX) {
            let number = |at: usize| number(line, at);
            let instrument = InstrumentId((number(0) % 4) as u16);
            match line.first() {
                Some(b'T') => rig.timer((number(0) % 1_000_000) * MS),
                Some(b'S') => rig.snapshot(instrument, number(1), self.levels),
                Some(b'F') => {
                    rig.cold(&Event::book_invalid(VENUE, instrument, BookInvalid::Initial, Times::default()).with(flags::COLD));
                }
                Some(b'X') => rig.close(self.link()),
                Some(b'O') => {
                    self.generation += 1;
                    rig.open(self.link());
                    opened(rig);
                }
                Some(b'R') => rig.resync(instrument),
                Some(b'N') => {
                    let flag = [0, flags::POST_ONLY, flags::IOC][(number(1) % 3) as usize];
                    let price = number(1).clamp(1, 1 << 40);
                    let side = if number(1).is_multiple_of(2) { Side::Buy } else { Side::Sell };
                    rig.execute(&Event { side: side as u8, b: price, c: 150_000, flags: flag, ..order(EventKind::SendNew, number(0)) });
                }
                Some(b'A') => {
                    let price = number(1).clamp(1, 1 << 40);
                    rig.execute(&Event { b: price, c: 100_000, d: 150_000, ..order(EventKind::SendReplace, number(0)) });
                }
                Some(b'C') => rig.execute(&order(EventKind::SendCancel, number(0))),
                Some(b'Q') => rig.execute(&order(EventKind::SendQuery, number(0))),
                Some(b'K') => rig.execute(&order(EventKind::SendCancelAll, 0)),
                Some(b'P') => rig.venue.adopt_order(id(number(0)), InstrumentId(0), None),
                Some(b'<') => {
                    let link = Link { generation: self.generation.saturating_sub(1), ..self.link() };
                    rig.message(link, MessageKind::Text, &change(filled(&line[1..], &rig.ids)));
                }
                _ => rig.message(self.link(), MessageKind::Text, &change(filled(line, &rig.ids))),
            }
        }
        // It goes on: time passes, and the connection may end.
        rig.timer(120_000 * MS);
        rig.close(self.link());
    }
}

/// The order of this number; `p00070000002a` is number 42.
fn id(number: u64) -> OrderId {
    OrderId::new(7, (number % 64) as u32 + 1)
}

fn order(kind: EventKind, number: u64) -> Event {
    Event { a: id(number).0, ..Event::new(kind, VENUE, Times::default()) }
}

/// Number `at` (0, 1) behind the first letter of a line; 0 if there is none.
fn number(line: &[u8], at: usize) -> u64 {
    let text = line.get(1..).unwrap_or_default().split(|&byte| byte == b' ').nth(at).unwrap_or_default();
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |value: u64, byte| value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')))
}

/// A message with the ids of requests put in.
fn filled(line: &[u8], ids: &[String]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len() + 32);
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match bytes.peek().filter(|next| byte == b'@' && next.is_ascii_digit()) {
            Some(&digit) => {
                bytes.next();
                let id = ids.len().checked_sub(usize::from(digit - b'0') + 1).and_then(|at| ids.get(at));
                out.extend_from_slice(id.map_or(b"0", |id| id.as_bytes()));
            }
            None => out.push(byte),
        }
    }
    out
}
