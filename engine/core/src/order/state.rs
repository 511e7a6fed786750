//! The order state table: (state, event) -> state, in one function.
//!
//! The idea: silence and contradiction never kill an order. Only evidence from the venue does (an answer,
//! a report, a fill, what reconciliation found). An order whose fate is not known is [`OrderState::Unknown`],
//! still counts as open everywhere (risk, self-trade, limits), and the venue is asked until it tells.
//!
//! ```text
//!  New --Send--> Pending --Ack--> Acked --PartFill--> PartiallyFilled --FullFill--> Filled
//!                   |               \__ PendingCancel / PendingReplace __/
//!                   |__ no answer --> Unknown <--------------|   (then: evidence -> any of the others)
//!                   |__ Rejected             Canceled, Expired: at any time, by the venue
//! ```

use crate::event::byte_enum;

byte_enum! {
    /// Where an order is in its life.
    OrderState: u8 {
        /// Passed risk; not sent yet. Lasts for the length of one call.
        New = 0 => "new",
        /// Sent, no answer yet.
        Pending = 1 => "pending",
        /// The venue has it; nothing filled.
        Acked = 2 => "acked",
        /// The venue has it; a part is filled.
        PartiallyFilled = 3 => "partially_filled",
        /// A cancel is on its way.
        PendingCancel = 4 => "pending_cancel",
        /// A replace is on its way.
        PendingReplace = 5 => "pending_replace",
        /// Completely filled. Final.
        Filled = 6 => "filled",
        /// Cancelled. Final.
        Canceled = 7 => "canceled",
        /// Refused by the venue, or never sent. Final.
        Rejected = 8 => "rejected",
        /// Expired. Final.
        Expired = 9 => "expired",
        /// Nobody knows: no answer, connection lost, or the venue's words contradict each other.
        Unknown = 10 => "unknown",
    }
}

impl OrderState {
    /// True for states that only a contradiction of the venue's can end.
    #[inline]
    pub const fn is_final(self) -> bool {
        matches!(self, OrderState::Filled | OrderState::Canceled | OrderState::Rejected | OrderState::Expired)
    }

    /// True while the order is known to rest on the venue with no request on its way.
    #[inline]
    pub const fn is_working(self) -> bool {
        matches!(self, OrderState::Acked | OrderState::PartiallyFilled)
    }

    /// True while an answer to a request is awaited.
    #[inline]
    pub const fn is_in_flight(self) -> bool {
        matches!(self, OrderState::Pending | OrderState::PendingCancel | OrderState::PendingReplace)
    }
}

byte_enum! {
    /// What can happen to an order, reduced to what the table needs.
    OrderEvent: u8 {
        /// We send it.
        Send = 0 => "send",
        /// The venue accepted it.
        Ack = 1 => "ack",
        /// The venue refused it, or it never left (encoder, rate budget, connection).
        Reject = 2 => "reject",
        /// A fill that leaves a remainder.
        PartFill = 3 => "part_fill",
        /// A fill that completes it.
        FullFill = 4 => "full_fill",
        /// We ask to cancel.
        CancelAsked = 5 => "cancel_asked",
        /// The venue refused a cancel, for another reason than not knowing the order.
        CancelRejected = 6 => "cancel_rejected",
        /// The venue refused a cancel or replace because it does not know the order (or no longer does).
        NotKnown = 7 => "not_known",
        /// We ask to replace.
        ReplaceAsked = 8 => "replace_asked",
        /// The venue replaced price and quantity.
        Replaced = 9 => "replaced",
        /// The venue refused a replace, for another reason than not knowing the order.
        ReplaceRejected = 10 => "replace_rejected",
        /// The venue cancelled it; all fills it counts have arrived.
        Canceled = 11 => "canceled",
        /// The venue expired it; all fills it counts have arrived.
        Expired = 12 => "expired",
        /// No answer in time, or the connection is gone.
        Uncertain = 13 => "uncertain",
        /// Asked, the venue says: open.
        StatusOpen = 14 => "status_open",
        /// Asked, the venue says: filled; all its fills have arrived.
        StatusFilled = 15 => "status_filled",
        /// Asked, the venue says: cancelled; all its fills have arrived.
        StatusCanceled = 16 => "status_canceled",
        /// Asked, the venue says: expired; all its fills have arrived.
        StatusExpired = 17 => "status_expired",
        /// Asked, the venue says: refused.
        StatusRejected = 18 => "status_rejected",
        /// Asked long enough after it was sent, the venue does not know it.
        StatusNotFound = 19 => "status_not_found",
        /// The venue counts more filled than has arrived (and perhaps says that it is gone): fills are owed to us.
        Owing = 20 => "owing",
    }
}

/// What the table says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Go to this state.
    To(OrderState),
    /// Nothing to do: an expected repetition, overtaking or lateness.
    Stay,
    /// Known to rest on the venue: `Acked`, `PartiallyFilled` or (nothing left) `Filled`, by what is filled.
    Working,
    /// A request failed: back to what the order was without it: `PendingReplace` if a replace is still on its way,
    /// `Pending` if never acknowledged, else as `Working`.
    Resume,
    /// Acknowledged for the first time: as `Working`; a repeated acknowledgement says nothing new: `Stay`.
    FirstAck,
    /// `Rejected` if never acknowledged or filled; else the venue contradicts itself: as `ImpossibleTo(Unknown)`.
    RejectedUnlessAcked,
    /// The venue knows it no longer: `Canceled` if it ever was acknowledged or filled, else `Rejected`.
    Gone,
    /// Not allowed: an anomaly, and the state stays.
    Impossible,
    /// Not allowed, but the venue said so: an anomaly, and this state.
    ImpossibleTo(OrderState),
}

/// The table. A reason stands beside its row, a long one above it.
#[inline(always)]
#[rustfmt::skip]
pub const fn next(state: OrderState, event: OrderEvent) -> Next {
    use Next::*;
    use OrderEvent as E;
    use OrderState as S;
    match (state, event) {
        // New: nothing can be reported about what was not sent.
        (S::New, E::Send)                                   => To(S::Pending),
        (S::New, _)                                         => Impossible,
        (_, E::Send)                                        => Impossible,             // ids are used once

        // Pending.
        (S::Pending, E::Ack)                                => To(S::Acked),
        (S::Pending, E::Reject)                             => To(S::Rejected),
        (S::Pending, E::PartFill)                           => To(S::PartiallyFilled), // the fill overtook the ack
        (S::Pending, E::FullFill)                           => To(S::Filled),          // same
        (S::Pending, E::CancelAsked)                        => To(S::PendingCancel),
        (S::Pending, E::CancelRejected)                     => Stay,                   // late answer; the new order is what is awaited
        (S::Pending, E::NotKnown)                           => To(S::Unknown),         // refused, or not arrived yet: ask
        (S::Pending, E::ReplaceAsked)                       => Impossible,             // only what rests can be replaced
        (S::Pending, E::Replaced)                           => Working,                // implies the ack
        (S::Pending, E::ReplaceRejected)                    => Stay,
        (S::Pending, E::Canceled)                           => To(S::Canceled),        // cancelled on entry, or the ack was overtaken
        (S::Pending, E::Expired)                            => To(S::Expired),
        (S::Pending, E::Uncertain)                          => To(S::Unknown),         // never inferred as rejected
        (S::Pending, E::StatusOpen)                         => Working,

        // Acked and PartiallyFilled: resting, nothing on its way.
        (S::Acked | S::PartiallyFilled, E::Ack)             => Stay,                   // late or repeated ack
        (S::Acked | S::PartiallyFilled, E::Reject)          => ImpossibleTo(S::Unknown), // accepted, then refused: ask
        (S::Acked | S::PartiallyFilled, E::PartFill)        => To(S::PartiallyFilled),
        (S::Acked | S::PartiallyFilled, E::FullFill)        => To(S::Filled),
        (S::Acked | S::PartiallyFilled, E::CancelAsked)     => To(S::PendingCancel),
        (S::Acked | S::PartiallyFilled, E::CancelRejected)  => Stay,                   // repeated answer
        // The answer came late, but it says that the order is gone: ask.
        (S::Acked | S::PartiallyFilled, E::NotKnown)        => To(S::Unknown),
        (S::Acked | S::PartiallyFilled, E::ReplaceAsked)    => To(S::PendingReplace),
        // By the venue itself, or late; may complete the order.
        (S::Acked | S::PartiallyFilled, E::Replaced)        => Working,
        (S::Acked | S::PartiallyFilled, E::ReplaceRejected) => Stay,
        (S::Acked | S::PartiallyFilled, E::Canceled)        => To(S::Canceled),
        (S::Acked | S::PartiallyFilled, E::Expired)         => To(S::Expired),
        (S::Acked | S::PartiallyFilled, E::Uncertain)       => Stay,                   // about a request that was answered on another way
        (S::Acked | S::PartiallyFilled, E::StatusOpen)      => Working,

        // PendingCancel.
        (S::PendingCancel, E::Ack)                          => Stay,                   // the ack of the new order, overtaken by our cancel
        (S::PendingCancel, E::Reject)                       => RejectedUnlessAcked,
        (S::PendingCancel, E::PartFill)                     => Stay,                   // booked; the cancel is still on its way
        (S::PendingCancel, E::FullFill)                     => To(S::Filled),          // the cancel lost
        (S::PendingCancel, E::CancelAsked)                  => Stay,
        (S::PendingCancel, E::CancelRejected)               => Resume,
        // Filled, gone or not arrived: all three are possible.
        (S::PendingCancel, E::NotKnown)                     => To(S::Unknown),
        (S::PendingCancel, E::ReplaceAsked)                 => Impossible,
        (S::PendingCancel, E::Replaced)                     => Stay,                   // of the replace before; values are taken
        (S::PendingCancel, E::ReplaceRejected)              => Stay,
        (S::PendingCancel, E::Canceled)                     => To(S::Canceled),
        (S::PendingCancel, E::Expired)                      => To(S::Expired),
        (S::PendingCancel, E::Uncertain)                    => To(S::Unknown),
        (S::PendingCancel, E::StatusOpen)                   => Stay,                   // may be older than the cancel

        // PendingReplace.
        (S::PendingReplace, E::Ack)                         => Stay,
        (S::PendingReplace, E::Reject)                      => RejectedUnlessAcked,
        (S::PendingReplace, E::PartFill)                    => Stay,                   // booked; the replace is still on its way
        (S::PendingReplace, E::FullFill)                    => To(S::Filled),          // beyond both the old and the new quantity
        (S::PendingReplace, E::CancelAsked)                 => To(S::PendingCancel),
        (S::PendingReplace, E::CancelRejected)              => Stay,
        (S::PendingReplace, E::NotKnown)                    => To(S::Unknown),
        (S::PendingReplace, E::ReplaceAsked)                => Impossible,             // one at a time
        (S::PendingReplace, E::Replaced)                    => Working,
        (S::PendingReplace, E::ReplaceRejected)             => Resume,
        (S::PendingReplace, E::Canceled)                    => To(S::Canceled),
        (S::PendingReplace, E::Expired)                     => To(S::Expired),
        (S::PendingReplace, E::Uncertain)                   => To(S::Unknown),
        (S::PendingReplace, E::StatusOpen)                  => Stay,                   // may be older than the replace

        // Unknown: stays until evidence.
        (S::Unknown, E::Ack)                                => FirstAck,               // a repeated ack does not say that it still rests
        (S::Unknown, E::Reject)                             => RejectedUnlessAcked,
        (S::Unknown, E::PartFill)                           => To(S::PartiallyFilled),
        (S::Unknown, E::FullFill)                           => To(S::Filled),
        // The cancel is sent; the fate is as unknown as before.
        (S::Unknown, E::CancelAsked)                        => Stay,
        (S::Unknown, E::CancelRejected)                     => Stay,
        // Too early to be evidence; reconciliation asks late enough.
        (S::Unknown, E::NotKnown)                           => Stay,
        (S::Unknown, E::ReplaceAsked)                       => Impossible,
        (S::Unknown, E::Replaced)                           => Working,
        (S::Unknown, E::ReplaceRejected)                    => Stay,
        (S::Unknown, E::Canceled)                           => To(S::Canceled),
        (S::Unknown, E::Expired)                            => To(S::Expired),
        (S::Unknown, E::Uncertain)                          => Stay,
        (S::Unknown, E::StatusOpen)                         => Working,

        // All that are not final: what the venue says when asked.
        (S::Pending | S::Acked | S::PartiallyFilled | S::PendingCancel | S::PendingReplace | S::Unknown,
            E::StatusFilled)                                => To(S::Filled),
        (S::Pending | S::Acked | S::PartiallyFilled | S::PendingCancel | S::PendingReplace | S::Unknown,
            E::StatusCanceled)                              => To(S::Canceled),
        (S::Pending | S::Acked | S::PartiallyFilled | S::PendingCancel | S::PendingReplace | S::Unknown,
            E::StatusExpired)                               => To(S::Expired),
        (S::Pending | S::Acked | S::PartiallyFilled | S::PendingCancel | S::PendingReplace | S::Unknown,
            E::StatusRejected)                              => To(S::Rejected),
        (S::Pending | S::Acked | S::PartiallyFilled | S::PendingCancel | S::PendingReplace | S::Unknown,
            E::StatusNotFound)                              => Gone,
        (S::Pending | S::Acked | S::PartiallyFilled | S::PendingCancel | S::PendingReplace | S::Unknown,
            E::Owing)                                       => To(S::Unknown),         // until its fills are here

        // Filled: the money moved, so it stands against everything.
        (S::Filled, E::PartFill | E::FullFill)              => Stay,                   // overfill: booked, an anomaly of its own
        (S::Filled, E::Ack | E::CancelRejected | E::NotKnown
                  | E::Replaced | E::ReplaceRejected | E::Uncertain) => Stay,          // late answers; the cancel lost to the fill
        (S::Filled, E::StatusOpen | E::StatusFilled
                  | E::StatusNotFound)                      => Stay,                   // an older snapshot; forgotten by the venue
        (S::Filled, E::Reject | E::Canceled | E::Expired | E::StatusCanceled
                  | E::StatusExpired | E::StatusRejected | E::Owing) => Impossible,
        (S::Filled, E::CancelAsked | E::ReplaceAsked)       => Impossible,

        // Canceled and Expired.
        // The fill happened first and arrived last: booked, no anomaly.
        (S::Canceled | S::Expired, E::PartFill)             => Stay,
        (S::Canceled | S::Expired, E::FullFill)             => To(S::Filled),          // same, and nothing was left to cancel
        (S::Canceled | S::Expired, E::Ack | E::CancelRejected | E::NotKnown
                                 | E::Replaced | E::ReplaceRejected | E::Uncertain) => Stay,
        (S::Canceled | S::Expired, E::Canceled | E::Expired) => Stay,                  // the stream and the answer both say it
        (S::Canceled | S::Expired, E::StatusCanceled | E::StatusExpired
                                 | E::StatusRejected | E::StatusNotFound) => Stay,
        // Long after it was gone the venue shows it open: ask.
        (S::Canceled | S::Expired, E::StatusOpen)           => ImpossibleTo(S::Unknown),
        (S::Canceled | S::Expired, E::Owing)                => To(S::Unknown),         // fills are owed after all: fetch them
        (S::Canceled | S::Expired, E::Reject | E::StatusFilled) => Impossible,
        (S::Canceled | S::Expired, E::CancelAsked | E::ReplaceAsked) => Impossible,

        // Rejected: whatever says that the order lives contradicts the refusal, so ask.
        (S::Rejected, E::Ack | E::PartFill | E::Replaced
                    | E::StatusOpen | E::Owing)             => ImpossibleTo(S::Unknown),
        (S::Rejected, E::FullFill)                          => ImpossibleTo(S::Filled), // booked: money moved
        (S::Rejected, E::Reject | E::CancelRejected | E::NotKnown | E::ReplaceRejected
                    | E::Canceled | E::Expired | E::Uncertain) => Stay,
        (S::Rejected, E::StatusCanceled | E::StatusExpired
                    | E::StatusRejected | E::StatusNotFound) => Stay,
        (S::Rejected, E::StatusFilled)                      => Impossible,             // filled without a fill
        (S::Rejected, E::CancelAsked | E::ReplaceAsked)     => Impossible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row a state, one word an event: `-` stay, `!` impossible, `!x` impossible to x, a letter the state gone to, and
    /// `work`, `resume`, `first`, `unless`, `gone` for what depends on the order.
    const TABLE: &str = "
                     send ack   rej    part full canc c_rej  notkn repl repld r_rej  cxld exp unsr open s_fil s_can s_exp s_rej none owing
    new              P    !     !      !    !    !    !      !     !    !     !      !    !   !    !    !     !     !     !     !    !
    pending          !    A     R      F    D    C    -      U     !    work  -      X    E   U    work D     X     E     R     gone U
    acked            !    -     !U     F    D    C    -      U     Q    work  -      X    E   -    work D     X     E     R     gone U
    partially_filled !    -     !U     F    D    C    -      U     Q    work  -      X    E   -    work D     X     E     R     gone U
    pending_cancel   !    -     unless -    D    -    resume U     !    -     -      X    E   U    -    D     X     E     R     gone U
    pending_replace  !    -     unless -    D    C    -      U     !    work  resume X    E   U    -    D     X     E     R     gone U
    filled           !    -     !      -    -    !    -      -     !    -     -      !    !   -    -    -     !     !     !     -    !
    canceled         !    -     !      -    D    !    -      -     !    -     -      -    -   -    !U   !     -     -     -     -    U
    rejected         !    !U    -      !U   !D   !    -      -     !    !U    -      -    -   -    !U   !     -     -     -     -    !U
    expired          !    -     !      -    D    !    -      -     !    -     -      -    -   -    !U   !     -     -     -     -    U
    unknown          !    first unless F    D    -    -      -     !    work  -      X    E   -    work D     X     E     R     gone U
    ";

    fn state(letter: &str) -> OrderState {
        match letter {
            "P" => OrderState::Pending,
            "A" => OrderState::Acked,
            "F" => OrderState::PartiallyFilled,
            "C" => OrderState::PendingCancel,
            "Q" => OrderState::PendingReplace,
            "D" => OrderState::Filled,
            "X" => OrderState::Canceled,
            "R" => OrderState::Rejected,
            "E" => OrderState::Expired,
            "U" => OrderState::Unknown,
            other => panic!("{other} is no state"),
        }
    }

    #[test]
    fn every_row_of_the_table_is_as_written_down_here() {
        let rows: Vec<Vec<&str>> =
            TABLE.lines().skip(2).map(|l| l.split_whitespace().collect()).filter(|r: &Vec<&str>| !r.is_empty()).collect();
        assert_eq!(rows.len(), OrderState::ALL.len());
        for (row, &from) in rows.iter().zip(OrderState::ALL) {
            assert_eq!(row[0], from.as_str());
            assert_eq!(row.len(), 1 + OrderEvent::ALL.len(), "{}", row[0]);
            for (word, &event) in row[1..].iter().zip(OrderEvent::ALL) {
                let want = match *word {
                    "-" => Next::Stay,
                    "!" => Next::Impossible,
                    "work" => Next::Working,
                    "resume" => Next::Resume,
                    "first" => Next::FirstAck,
                    "unless" => Next::RejectedUnlessAcked,
                    "gone" => Next::Gone,
                    word => word.strip_prefix('!').map_or_else(|| Next::To(state(word)), |to| Next::ImpossibleTo(state(to))),
                };
                assert_eq!(next(from, event), want, "{from:?} {event:?}");
            }
        }
    }

    #[test]
    fn silence_never_ends_an_order() {
        for &from in OrderState::ALL.iter().filter(|s| !s.is_final()) {
            for event in [OrderEvent::Uncertain, OrderEvent::NotKnown, OrderEvent::Owing, OrderEvent::CancelRejected] {
                assert!(!matches!(next(from, event), Next::To(to) if to.is_final()), "{from:?} {event:?}");
            }
        }
    }

    #[test]
    fn what_is_final_leaves_only_by_a_fill_or_a_contradiction() {
        for &from in OrderState::ALL.iter().filter(|s| s.is_final()) {
            for &event in OrderEvent::ALL {
                match next(from, event) {
                    Next::Stay | Next::Impossible | Next::ImpossibleTo(OrderState::Unknown) => {}
                    Next::To(OrderState::Filled) | Next::ImpossibleTo(OrderState::Filled) => assert_eq!(event, OrderEvent::FullFill),
                    Next::To(OrderState::Unknown) => assert_eq!(event, OrderEvent::Owing),
                    other => panic!("{from:?} {event:?} {other:?}"),
                }
            }
        }
    }
}
