//! TCP, the side that opens connections: sans-I/O, on smoltcp's wire formats.
//!
//! A [`Connection`] is one connection in memory made beforehand. It owns no clock, no chance and no network: time
//! is a `now_ns` argument, the numbers it begins with and the ports are given by the caller, segments come
//! in and go out as [`TcpRepr`](smoltcp::wire::TcpRepr). After [`Connection::new`] nothing allocates, and no
//! segment, however wrong, ends in a panic.
//!
//! The stack holds one for each of its sockets, behind [`Transport`](crate::transport::Transport).
//!
//! ```text
//! let taken = connection.on_segment(now_ns, &segment);       // segment: of a frame just received
//! let used = work_off(&mut frame_payload[taken.fresh]);      // in place: no copy
//! connection.put_back(&frame_payload[used..]);               // what was not used: one copy
//! connection.write(now_ns, room, |room| seal(room));         // an answer
//! while connection.poll_transmit(now_ns, |segment| emit(segment)).is_some() {}
//! sleep_until(connection.next_due_ns());
//! ```
//!
//! A small message can be written without a copy: it lies in a frame of the caller's, of which the connection only
//! knows the number ([`Connection::write_kept`]); the frame is sent, and sent again if need be, as it is, and is given back
//! once it is acknowledged ([`Connection::take_over`]).
//!
//! What it is for decides what it is good at: small messages that must arrive soon, on short paths. The clock is
//! nanoseconds; losses are found by time (RACK-TLP, RFC 8985), so that a lone lost message is sent again after
//! two round trips, and small reordering costs nothing; no message waits for company (no Nagle); data leaves before
//! acknowledgements, which ride on it.
//!
//! | file | what it holds | RFC |
//! |---|---|---|
//! | `connection` | the connection: opening, ending, what may be called | 9293 |
//! | `parse` | a segment's bytes to its fields | 9293 |
//! | `input` | a received segment: which are believed, what they carry | 9293, 5961, 7323, 3522 |
//! | `acknowledge` | acknowledgements: what was delivered, what was lost | 2018, 2883, 6675, 8985, 6582, 5682, 3522, 4015, 3042, 7323 |
//! | `output` | what to send next, and timers | 9293, 6298, 8985 |
//! | `send` | written bytes until they are acknowledged | |
//! | `receive` | received bytes: in order, and ahead of holes | 2018 |
//! | `rtt` | round trips and the time-out | 6298 |
//! | `congestion` | the congestion window; how far it falls, after H-TCP | 5681, 3465, 6928, 9438 |
//! | `sequence`, `config`, `statistics` | arithmetic; settings; counters | |

mod acknowledge;
mod config;
mod congestion;
mod connection;
mod input;
mod output;
mod parse;
mod receive;
mod rtt;
mod send;
mod sequence;
mod statistics;

pub use config::{BackOff, TcpConfig};
pub use connection::{Beginning, Connection, Rehearsal, State};
pub use input::{Taken, Verdict};
pub use output::{Decided, Outgoing, Payload, Plain};
pub use parse::parse;
pub(crate) use parse::{TIMESTAMP, parse_options, parse_usual};
pub use send::Kept;
pub use statistics::TcpStatistics;

const PAGE: usize = 4096;

/// A buffer whose pages are there already.
pub(crate) fn touched(len: usize) -> Box<[u8]> {
    let mut buffer = vec![0; len];
    for page in buffer.chunks_mut(PAGE) {
        page[0] = std::hint::black_box(1);
    }
    buffer.into_boxed_slice()
}
