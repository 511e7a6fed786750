//! Clients that drive a stack themselves, without our session on it.

use super::clock::Clock;
use super::own::TIMERS_NS;
use drivers::select::AnyPort;
use netstack::stack::{Stack, TcpSocket};

/// See the module's head.
pub trait ByHand: Sized {
    /// The TCP under the stack.
    type Tcp: TcpSocket;

    /// The stack, the time, and when timers are due.
    fn parts(&mut self) -> (&mut Stack<AnyPort, Self::Tcp>, &Clock, &mut u64);

    /// One turn: frames, work on them, timers.
    #[inline]
    fn turn(&mut self, mut work: impl FnMut(&mut Self) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let (stack, clock, timers_ns) = self.parts();
        let now_ns = clock.now_ns();
        if stack.receive(now_ns) > 0 {
            while let Some(fed) = self.parts().0.ingress_next(now_ns) {
                if fed.is_some() {
                    work(self)?;
                }
            }
        } else if now_ns >= *timers_ns {
            *timers_ns = now_ns + TIMERS_NS;
            stack.maintain(now_ns);
            work(self)?;
        } else {
            return Ok(());
        }
        let (stack, ..) = self.parts();
        stack.transmit(now_ns);
        Ok(stack.flush(now_ns)?)
    }
}
