//! Which order is the answer to which tick, by what TCP says: a tick is a segment of new bytes from the venue, its order the segment
//! of new bytes to the venue that acknowledges just this tick.
//!
//! One tick is under way at a time, and each has one order, so nothing may be left over: a tick without an order, or a segment of
//! new bytes that answers none, makes the slice an error that says how many there were. Not left over are: segments without
//! payload; bytes that have passed before (sent again); and what acknowledges no more than was there before the first tick, which
//! is of the slice before. All of them count as frames.

use super::{Frame, Frames};
use anyhow::ensure;

/// What became of a slice's frames.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pairs {
    /// From each tick to its order.
    pub times_ns: Vec<u64>,
    /// Frames that came to the venue from each tick to the next.
    pub frames: Vec<u64>,
    /// Frames that the venue sent likewise, the tick among them.
    pub venue_frames: Vec<u64>,
}

impl Frame {
    /// The sequence number behind its payload. Each datagram counts as one.
    fn end(&self) -> u32 {
        self.sequence.wrapping_add(if self.tcp { u32::from(self.payload) } else { 1 })
    }

    /// What an answer to this tick acknowledges.
    fn asked(&self) -> u32 {
        if self.tcp { self.end() } else { self.sequence }
    }

    /// True if this is what a client that has got `tick`, and nothing behind it, answers.
    fn answers(&self, tick: &Frame) -> bool {
        self.tcp == tick.tcp && self.acknowledged == tick.asked() && self.time_ns >= tick.time_ns
    }
}

/// True if `sequence` is before `other`; they wrap around.
fn is_before(sequence: u32, other: u32) -> bool {
    (sequence.wrapping_sub(other) as i32) < 0
}

/// Segments of new bytes, in order.
fn new_bytes<'a>(frames: impl Iterator<Item = &'a Frame>) -> Vec<&'a Frame> {
    let mut end = None;
    frames
        .filter(|frame| {
            frame.payload > 0 && end.is_none_or(|seen| is_before(seen, frame.end())) && {
                end = Some(frame.end());
                true
            }
        })
        .collect()
}

/// Pairs each of so many ticks with its order.
///
/// # Errors
/// If there are more or fewer ticks, or a tick or an order is left over.
pub fn pair(frames: &Frames, ticks_expected: usize) -> anyhow::Result<Pairs> {
    let ticks = new_bytes(frames.out.iter());
    ensure!(ticks.len() == ticks_expected, "the tap has seen {} ticks of {ticks_expected}", ticks.len());
    let of_slice = |frame: &&Frame| ticks.first().is_some_and(|first| !is_before(frame.acknowledged, first.asked()));
    let orders = new_bytes(frames.into.iter().filter(of_slice));
    let (mut pairs, mut rest) = (Pairs::default(), orders.iter().peekable());
    for (at, tick) in ticks.iter().enumerate() {
        let next_ns = ticks.get(at + 1).map_or(u64::MAX, |next| next.time_ns);
        while rest.next_if(|order| is_before(order.acknowledged, tick.asked())).is_some() {}
        if let Some(order) = rest.next_if(|order| order.answers(tick)) {
            pairs.times_ns.push(order.time_ns - tick.time_ns);
        }
        let within = |frame: &&Frame| (tick.time_ns..next_ns).contains(&frame.time_ns);
        pairs.frames.push(frames.into.iter().filter(within).count() as u64);
        pairs.venue_frames.push(frames.out.iter().filter(within).count() as u64);
    }
    let (unanswered, left) = (ticks.len() - pairs.times_ns.len(), orders.len() - pairs.times_ns.len());
    ensure!(unanswered + left == 0, "of {} ticks on the wire {unanswered} have no order, and {left} orders no tick", ticks.len());
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u16 = 380;
    const ORDER: u16 = 300;

    fn tcp(time_ns: u64, sequence: u32, acknowledged: u32, payload: u16) -> Frame {
        Frame { time_ns, sequence, acknowledged, payload, tcp: true }
    }

    /// `count` ticks a microsecond apart, each answered after 300 ns, with numbers that wrap on the way.
    fn exchange(count: u32) -> Frames {
        let (first_tick, first_order) = (0_u32.wrapping_sub(500), u32::MAX - 400);
        let mut frames = Frames::default();
        for at in 0..count {
            let (tick, order) = (first_tick.wrapping_add(at * u32::from(TICK)), first_order.wrapping_add(at * u32::from(ORDER)));
            let time_ns = 1_000 * u64::from(at) + 10;
            frames.out.push(tcp(time_ns, tick, order, TICK));
            frames.into.push(tcp(time_ns + 300, order, tick.wrapping_add(u32::from(TICK)), ORDER));
        }
        frames
    }

    fn refusal(frames: &Frames, count: usize) -> String {
        pair(frames, count).expect_err("refused").to_string()
    }

    #[test]
    fn each_tick_has_the_time_to_its_order_across_the_end_of_the_numbers() {
        let pairs = pair(&exchange(5), 5).unwrap();
        let once = vec![1; 5];
        assert_eq!(pairs, Pairs { times_ns: vec![300; 5], frames: once.clone(), venue_frames: once });
    }

    #[test]
    fn bare_acknowledgements_are_frames_but_no_orders() {
        let mut frames = exchange(3);
        let (order, tick) = (frames.into[1], frames.out[1]);
        frames.into.insert(1, tcp(tick.time_ns + 100, order.sequence, tick.end(), 0));
        frames.out.insert(2, tcp(tick.time_ns + 500, tick.end(), order.end(), 0));
        let pairs = pair(&frames, 3).unwrap();
        assert_eq!((pairs.times_ns, pairs.frames, pairs.venue_frames), (vec![300; 3], vec![1, 2, 1], vec![1, 2, 1]));
    }

    #[test]
    fn what_is_sent_again_counts_from_the_first_time() {
        let mut frames = exchange(3);
        let (tick, order) = (frames.out[1], frames.into[1]);
        frames.out.insert(2, Frame { time_ns: tick.time_ns + 200, ..tick });
        // Of the order before, too, just as the tick has left.
        frames.into.insert(1, Frame { time_ns: tick.time_ns + 1, ..frames.into[0] });
        frames.into.insert(3, Frame { time_ns: order.time_ns + 90, ..order });
        let pairs = pair(&frames, 3).unwrap();
        assert_eq!((pairs.times_ns, pairs.frames, pairs.venue_frames), (vec![300; 3], vec![1, 3, 1], vec![1, 2, 1]));
    }

    #[test]
    fn an_order_of_the_slice_before_that_is_sent_again_is_none_of_this_slice() {
        for late in [false, true] {
            let mut frames = exchange(3);
            frames.out.remove(0);
            // Before this slice's first tick, or just behind it.
            frames.into[0].time_ns = if late { frames.out[0].time_ns + 5 } else { frames.out[0].time_ns - 5 };
            let pairs = pair(&frames, 2).unwrap();
            assert_eq!((&pairs.times_ns, pairs.frames), (&vec![300; 2], vec![1 + u64::from(late), 1]));
            // One that acknowledges a tick of this slice is of this slice.
            frames.into[0].acknowledged = frames.into[1].acknowledged;
            let (unanswered, left) = if late { (0, 1) } else { (1, 2) };
            let expected = format!("of 2 ticks on the wire {unanswered} have no order, and {left} orders no tick");
            assert_eq!(refusal(&frames, 2), expected);
        }
    }

    #[test]
    fn a_lost_record_of_a_tick_or_of_an_order_is_an_error() {
        let mut frames = exchange(4);
        frames.out.remove(1);
        assert_eq!(refusal(&frames, 4), "the tap has seen 3 ticks of 4");
        let mut frames = exchange(4);
        frames.into.remove(1);
        assert!(refusal(&frames, 4).starts_with("of 4 ticks on the wire 1 have no order, and 0 orders"), "{}", refusal(&frames, 4));
    }

    #[test]
    fn an_order_that_does_not_acknowledge_its_tick_is_not_its_order() {
        for wrong in [1, u32::MAX, u32::from(TICK)] {
            let mut frames = exchange(4);
            frames.into[2].acknowledged = frames.into[2].acknowledged.wrapping_add(wrong);
            assert!(refusal(&frames, 4).contains("orders no tick"), "{wrong}");
        }
    }

    #[test]
    fn an_order_before_its_tick_or_one_too_many_is_an_error() {
        let mut frames = exchange(2);
        frames.into[0].time_ns = frames.out[0].time_ns - 1;
        assert!(refusal(&frames, 2).starts_with("of 2 ticks on the wire "), "{}", refusal(&frames, 2));
        let mut frames = exchange(2);
        let (last, tick) = (frames.into[1], frames.out[1]);
        frames.into.push(tcp(last.time_ns + 50, last.end(), tick.end(), ORDER));
        assert_eq!(refusal(&frames, 2), "of 2 ticks on the wire 0 have no order, and 1 orders no tick");
    }

    #[test]
    fn a_datagram_answers_that_of_its_number() {
        let datagram = |time_ns, number: u32| Frame { time_ns, sequence: number, acknowledged: number, payload: 400, tcp: false };
        let frames = |answer| Frames { out: vec![datagram(0, 1), datagram(100, 2)], into: vec![datagram(40, 1), datagram(150, answer)] };
        assert_eq!(pair(&frames(2), 2).unwrap().times_ns, [40, 50]);
        assert!(refusal(&frames(3), 2).contains("no order"));
        assert!(refusal(&frames(1), 2).contains("no order"), "the first again");
    }
}
