//! A port that loses frames on purpose, in both directions: a bad line between us and a kernel, which the
//! machines that we test on cannot make themselves.

use std::io;

use drivers::port::{Burst, Port, PortInfo, PortStatistics, RxFrame, TxFrame};
use drivers::purpose::Purpose;

/// Any port, with loss.
pub struct Lossy<P: Port> {
    inner: P,
    /// Frames lost in a million.
    loss_ppm: u64,
    state: u64,
}

impl<P: Port> Lossy<P> {
    pub fn new(inner: P) -> Lossy<P> {
        Lossy { inner, loss_ppm: 0, state: 1 }
    }

    pub fn lose(&mut self, loss_ppm: u64, seed: u64) {
        self.loss_ppm = loss_ppm;
        self.state = seed | 1;
    }

    fn strikes(&mut self) -> bool {
        // xorshift64 (Marsaglia 2003).
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.loss_ppm > 0 && self.state % 1_000_000 < self.loss_ppm
    }
}

impl<P: Port> Port for Lossy<P> {
    fn info(&self) -> &PortInfo {
        self.inner.info()
    }
    fn receive(&mut self, now_ns: u64, burst: &mut Burst) -> usize {
        let added = self.inner.receive(now_ns, burst);
        for index in burst.len() - added..burst.len() {
            if self.strikes() {
                // A frame for another card: the stack drops it as the wire would have.
                self.inner.frame(burst.frames()[index])[0] ^= 0x04;
            }
        }
        added
    }
    fn frame(&mut self, frame: RxFrame) -> &mut [u8] {
        self.inner.frame(frame)
    }
    fn recycle(&mut self, burst: &mut Burst) {
        self.inner.recycle(burst);
    }
    fn allocate(&mut self) -> Option<TxFrame> {
        self.inner.allocate()
    }
    fn buffer(&mut self, frame: &TxFrame) -> &mut [u8] {
        self.inner.buffer(frame)
    }
    fn commit(&mut self, frame: TxFrame, len: usize) {
        if self.strikes() {
            self.inner.abandon(frame);
        } else {
            self.inner.commit(frame, len);
        }
    }
    fn abandon(&mut self, frame: TxFrame) {
        self.inner.abandon(frame);
    }
    fn keep(&mut self) -> Option<TxFrame> {
        self.inner.keep()
    }
    fn is_at_rest(&self, frame: &TxFrame) -> bool {
        self.inner.is_at_rest(frame)
    }
    fn commit_kept_for(&mut self, purpose: Purpose, frame: &TxFrame, start: usize, len: usize) -> bool {
        (purpose == Purpose::Send && self.strikes()) || self.inner.commit_kept_for(purpose, frame, start, len)
    }
    fn has_room(&mut self, kept: bool) -> bool {
        self.inner.has_room(kept)
    }
    fn release(&mut self, frame: TxFrame) {
        self.inner.release(frame);
    }
    fn flush(&mut self, now_ns: u64) -> io::Result<()> {
        self.inner.flush(now_ns)
    }
    fn statistics(&self) -> PortStatistics {
        self.inner.statistics()
    }
}
