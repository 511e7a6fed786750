//! Which links there should be: attempts, back-off, heartbeats, planned renewal, closing.

use super::backoff::{Backoff, retry_after_s};
use super::cause::{CauseKind, CloseCause};
use super::link::{Link, Stage, Step};
use super::random::Random;
use super::{Handler, Progress, SECOND_NS, SendError, SessionConfig, SessionStatistics, Stitched};
use crate::tls::{Suite, Version};
use crate::transport::{SocketId, Transport};
use crate::websocket::{Kind, UpgradeError, close_code};
use drivers::purpose::Purpose;
use std::hint::cold_path;

/// Links that may be up at one time: the current one and its replacement.
const LINKS: usize = 2;
/// Bytes of the last error's words that are kept.
const ERROR_TEXT_MAX: usize = 512;
/// While a link is open its slow conditions (a key that wears out) are looked at so often.
const INSPECTION_NS: u64 = SECOND_NS;

/// One logical connection. See the module's head for the loop around it.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    links: [Link; LINKS],
    /// The open link with the highest generation.
    newest: Option<usize>,
    /// The generation of the link that opened last.
    generation: u32,
    /// Which link is looked at first in the next call.
    turn: usize,
    backoff: Backoff,
    /// No attempt begins before.
    retry_at_ns: u64,
    /// Nothing that depends on time alone is due before.
    due_ns: u64,
    stopping: bool,
    random: Random,
    statistics: SessionStatistics,
}

/// What a step of the session knows of the moment.
#[derive(Clone, Copy)]
struct Moment {
    now_ns: u64,
    unix_s: u64,
}

impl Session {
    /// A session whose first attempt begins with the first [`Session::poll`]. Allocates its buffers here.
    pub fn new(config: SessionConfig, now_ns: u64) -> Session {
        let links = [Link::new(&config), Link::new(&config)];
        let backoff = Backoff::new(config.backoff_min_ns, config.backoff_max_ns);
        let random = Random::new(config.seed);
        Session {
            config,
            links,
            newest: None,
            generation: 0,
            turn: 0,
            backoff,
            retry_at_ns: now_ns,
            due_ns: 0,
            stopping: false,
            random,
            statistics: SessionStatistics::default(),
        }
    }

    /// Does a bounded piece of work: at most one message is handed out per call, so that the orders it
    /// causes leave before the next one is read. Call it until it is idle (with a bound).
    ///
    /// `unix_s` is the wall clock in seconds since 1970, for certificates and Retry-After dates.
    #[inline]
    pub fn poll<T: Transport>(&mut self, transport: &mut T, now_ns: u64, unix_s: u64, handler: &mut impl Handler) -> Progress {
        let moment = Moment { now_ns, unix_s };
        let mut progress = Progress::Idle;
        if now_ns >= self.due_ns {
            progress = self.supervise(transport, moment, handler);
        }
        for offset in 0..LINKS {
            let index = (self.turn + offset) % LINKS;
            match self.advance(index, transport, moment, handler) {
                Step::Idle => {}
                Step::Worked | Step::Upgraded => progress = Progress::Worked,
                Step::Delivered => {
                    // The other link first, next time: neither can starve the other.
                    self.turn = (index + 1) % LINKS;
                    return Progress::Worked;
                }
            }
        }
        progress
    }

    /// True if another [`Session::poll`] would certainly find no message: all that was received has been handed out.
    #[inline]
    pub fn is_drained<T: Transport>(&self, transport: &T) -> bool {
        self.links.iter().all(|link| link.is_drained(transport))
    }

    #[inline]
    fn advance<T: Transport>(&mut self, index: usize, transport: &mut T, moment: Moment, handler: &mut impl Handler) -> Step {
        let Some(link) = self.links.get_mut(index) else {
            return Step::Idle;
        };
        let step = match link.stage {
            Stage::Vacant => return Step::Idle,
            Stage::Open | Stage::Closing(_) => match link.take_fault() {
                Some(fault) => Err(fault),
                None => link.receive(transport, moment.now_ns, &mut self.random, &mut self.statistics, |generation, kind, payload| {
                    handler.on_message(generation, kind, payload);
                }),
            },
            Stage::Draining => {
                if !link.drained(transport) {
                    return Step::Idle;
                }
                link.release(transport);
                self.due_ns = 0;
                return Step::Worked;
            }
            _ => link.attempt(&self.config, transport, moment.now_ns, moment.unix_s, &mut self.random, &mut self.statistics),
        };
        match step {
            Ok(Step::Upgraded) => self.opened(index, moment, handler),
            Ok(step) => return step,
            Err(cause) => self.ended(index, cause, transport, moment, handler),
        }
        Step::Worked
    }

    #[cold]
    fn opened(&mut self, index: usize, moment: Moment, handler: &mut impl Handler) {
        self.generation = self.generation.wrapping_add(1);
        self.statistics.opens += 1;
        let retire_at_ns = moment.now_ns.saturating_add(self.config.overlap_max_ns);
        for link in &mut self.links {
            if matches!(link.stage, Stage::Open) {
                self.statistics.renewals += 1;
                link.retire_at_ns = retire_at_ns;
            }
        }
        let renew_at_ns = match self.config.life_max_ns {
            0 => u64::MAX,
            life => moment.now_ns.saturating_add(life.saturating_sub(self.config.renewal_lead_ns).max(life / 2)),
        };
        if let Some(link) = self.links.get_mut(index) {
            link.open(&self.config, self.generation, moment.now_ns, renew_at_ns);
        }
        self.newest = Some(index);
        self.due_ns = 0;
        handler.on_open(self.generation);
    }

    /// A link ended, or an attempt failed.
    #[cold]
    fn ended<T: Transport>(&mut self, index: usize, cause: CloseCause, transport: &mut T, moment: Moment, handler: &mut impl Handler) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        let usable = cause.leaves_socket_usable();
        let generation = link.generation;
        let (was_open, cause) = match std::mem::replace(&mut link.stage, Stage::Draining) {
            Stage::Open => (true, cause),
            Stage::Closing(ours) => (true, ours),
            _ => (false, cause),
        };
        let open_ns = moment.now_ns.saturating_sub(link.opened_ns);
        if usable && link.channel.socket().is_some() {
            link.drain(transport, moment.now_ns.saturating_add(self.config.close_timeout_ns), &mut self.random);
        } else {
            link.release(transport);
        }
        self.refresh();
        self.record(&cause);
        let mut wait_ns = 0;
        if !matches!(cause, CloseCause::Retired | CloseCause::Reconnect(_) | CloseCause::ShutDown) {
            if was_open && open_ns >= self.config.backoff_max_ns {
                self.backoff.reset();
            }
            wait_ns = self.wait_ns(&cause, moment.unix_s);
            self.retry_at_ns = moment.now_ns.saturating_add(wait_ns);
        }
        self.statistics.failures = self.backoff.failures();
        self.statistics.next_attempt_ns = self.retry_at_ns;
        if was_open {
            handler.on_close(generation, &cause);
        } else {
            handler.on_attempt_failed(&cause, wait_ns);
        }
    }

    /// How long to wait: the back-off, or longer if the server said so (within bounds).
    fn wait_ns(&mut self, cause: &CloseCause, unix_s: u64) -> u64 {
        let wait_ns = self.backoff.next_wait_ns(&mut self.random);
        match cause.retry_after().and_then(|text| retry_after_s(text, unix_s)) {
            Some(seconds) => wait_ns.max(seconds.saturating_mul(SECOND_NS).min(self.config.retry_after_max_ns)),
            None => wait_ns,
        }
    }

    fn record(&mut self, cause: &CloseCause) {
        if let Some(count) = self.statistics.closes.get_mut(cause.kind().index()) {
            *count += 1;
        }
        if let CloseCause::Upgrade(UpgradeError::Refused { status, .. }) = cause {
            self.statistics.upgrade_refusals += 1;
            self.statistics.last_refusal_status = *status;
        }
        if matches!(cause.kind(), CauseKind::Retired | CauseKind::Ours) {
            return;
        }
        let mut text = cause.to_string();
        let mut end = ERROR_TEXT_MAX.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        self.statistics.last_error = text;
    }

    /// Finds the newest open link anew, and lets the timers be looked at.
    fn refresh(&mut self) {
        let open = self.links.iter().enumerate().filter(|(_, link)| matches!(link.stage, Stage::Open));
        self.newest = open.max_by_key(|(_, link)| link.generation).map(|(index, _)| index);
        if let Some(link) = self.newest.and_then(|index| self.links.get_mut(index)) {
            link.retire_at_ns = u64::MAX;
        }
        self.due_ns = 0;
    }

    /// Everything that depends on time alone.
    #[cold]
    fn supervise<T: Transport>(&mut self, transport: &mut T, moment: Moment, handler: &mut impl Handler) -> Progress {
        let mut progress = Progress::Idle;
        for index in 0..LINKS {
            if let Some(cause) = self.overdue(index, transport, moment.now_ns) {
                self.ended(index, cause, transport, moment, handler);
                progress = Progress::Worked;
            }
        }
        if self.wants_attempt(moment.now_ns) && moment.now_ns >= self.retry_at_ns {
            self.begin_attempt(transport, moment.now_ns);
            progress = Progress::Worked;
        }
        self.due_ns = self.next_due_ns(moment.now_ns);
        progress
    }

    /// Deals with what is due on one link; returns the cause if that ends it.
    fn overdue<T: Transport>(&mut self, index: usize, transport: &mut T, now_ns: u64) -> Option<CloseCause> {
        let newest = self.newest == Some(index);
        let link = self.links.get_mut(index)?;
        if let Some(stage) = link.stage.attempt_name() {
            if now_ns < link.deadline_ns {
                return None;
            }
            let timeout_ms = self.config.connect_timeout_ns / 1_000_000;
            return Some(link.upgrade_ended(CloseCause::ConnectTimeout { timeout_ms, stage }));
        }
        match &link.stage {
            Stage::Closing(cause) => {
                let cause = cause.clone();
                if now_ns < link.deadline_ns {
                    return None;
                }
                return Some(cause);
            }
            Stage::Draining => {
                if now_ns >= link.deadline_ns {
                    link.release(transport);
                }
                return None;
            }
            Stage::Open => {}
            _ => return None,
        }
        let idle_ns = self.config.idle_timeout_ns;
        if idle_ns > 0 && now_ns.saturating_sub(link.received_ns) >= idle_ns {
            return Some(CloseCause::Idle { timeout_ms: idle_ns / 1_000_000 });
        }
        if now_ns >= link.retire_at_ns {
            self.retire(index, transport, now_ns);
            return None;
        }
        if now_ns >= link.ping_due_ns {
            link.ping_due_ns = now_ns.saturating_add(self.config.ping_interval_ns);
            self.statistics.pings_out += 1;
            if let Err(cause) = link.ping(transport, now_ns, &mut self.random) {
                return Some(cause);
            }
        }
        if newest && link.renew_at_ns > now_ns && link.wears_out() {
            link.renew_at_ns = now_ns;
        }
        None
    }

    /// True if a link should be on its way and none is.
    fn wants_attempt(&self, now_ns: u64) -> bool {
        if self.stopping || self.links.iter().any(|link| link.stage.is_attempt()) {
            return false;
        }
        match self.newest.and_then(|index| self.links.get(index)) {
            None => true,
            // Only one old link may wait: a renewal that is due while another is under way comes after it.
            Some(newest) => now_ns >= newest.renew_at_ns && self.links.iter().any(|link| !matches!(link.stage, Stage::Open)),
        }
    }

    fn begin_attempt<T: Transport>(&mut self, transport: &mut T, now_ns: u64) {
        // A link that is on its way out makes room, the one that has said its last words first.
        let slot = self.links.iter().position(|link| matches!(link.stage, Stage::Vacant));
        let slot = slot.or_else(|| self.links.iter().position(|link| matches!(link.stage, Stage::Draining)));
        let Some(link) = slot.and_then(|index| self.links.get_mut(index)) else {
            // Both are closing, or one is and the other is open: the deadline of closing comes first.
            return;
        };
        link.release(transport);
        link.begin(&self.config, now_ns);
        self.statistics.attempts += 1;
    }

    fn next_due_ns(&self, now_ns: u64) -> u64 {
        let mut due_ns = u64::MAX;
        for link in &self.links {
            let link_due_ns = match link.stage {
                Stage::Vacant => u64::MAX,
                Stage::Open => {
                    let idle_ns = match self.config.idle_timeout_ns {
                        0 => u64::MAX,
                        idle_ns => link.received_ns.saturating_add(idle_ns),
                    };
                    let inspection_ns = now_ns.saturating_add(INSPECTION_NS);
                    let renewal_ns = if link.renew_at_ns > now_ns { link.renew_at_ns } else { u64::MAX };
                    idle_ns.min(link.ping_due_ns).min(link.retire_at_ns).min(renewal_ns).min(inspection_ns)
                }
                _ => link.deadline_ns,
            };
            due_ns = due_ns.min(link_due_ns);
        }
        if self.wants_attempt(now_ns) {
            due_ns = due_ns.min(self.retry_at_ns.max(now_ns.saturating_add(1)));
        }
        due_ns
    }

    /// The next time at which something is due that depends on time alone (what comes in is due at once).
    pub fn next_deadline_ns(&self) -> u64 {
        self.due_ns
    }

    /// True if this socket belongs to the session.
    #[inline]
    pub fn owns(&self, socket: SocketId) -> bool {
        self.links.iter().any(|link| link.channel.socket() == Some(socket))
    }

    /// The socket of the newest open link.
    pub fn socket(&self) -> Option<SocketId> {
        self.newest.and_then(|index| self.links.get(index)).and_then(|link| link.channel.socket())
    }

    /// Version and cipher of the newest open link's TLS; `None` without a link or without TLS.
    pub fn tls(&self) -> Option<(Version, Suite)> {
        let tls = self.links.get(self.newest?)?.channel.tls()?;
        tls.version().zip(tls.suite())
    }

    /// True while an attempt is under way: its handshake allocates, an open link does not.
    pub fn is_connecting(&self) -> bool {
        self.links.iter().any(|link| link.stage.is_attempt())
    }

    /// True if messages can be sent.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.newest.is_some()
    }

    /// The generation of the link that opened last; 0 before the first.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// True if the link of this generation is open.
    pub fn is_generation_open(&self, generation: u32) -> bool {
        self.open_link(generation).is_some()
    }

    /// The counters.
    pub fn statistics(&self) -> &SessionStatistics {
        &self.statistics
    }

    /// What came in pieces, over all links.
    pub fn stitched(&self) -> Stitched {
        self.links
            .iter()
            .map(Link::stitched)
            .fold(Stitched::default(), |sum, link| Stitched { records: sum.records + link.records, messages: sum.messages + link.messages })
    }

    /// What the session connects to.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// Changes what the next attempt connects to (a new key in the headers, another path).
    pub fn set_request(&mut self, path: &str, headers: Vec<(String, String)>) {
        path.clone_into(&mut self.config.path);
        self.config.headers = headers;
    }

    fn open_link(&self, generation: u32) -> Option<usize> {
        self.links.iter().position(|link| matches!(link.stage, Stage::Open) && link.generation == generation)
    }

    /// Seals a message for the newest open link straight into the transport's room; returns the link's
    /// generation. One record if it fits into one.
    ///
    /// # Errors
    /// If no link is open or the transport has no room; nothing left then.
    #[inline]
    pub fn send<T: Transport>(&mut self, transport: &mut T, kind: Kind, payload: &[u8]) -> Result<u32, SendError> {
        self.send_for(Purpose::Send, transport, kind, payload)
    }

    /// [`Session::send`], for this purpose. A rehearsal frames, masks and seals in the transport's own room, and sends
    /// nothing: rarely used code and keys stay in the caches that way.
    ///
    /// # Errors
    /// As [`Session::send`].
    #[inline]
    pub fn send_for<T: Transport>(&mut self, purpose: Purpose, transport: &mut T, kind: Kind, payload: &[u8]) -> Result<u32, SendError> {
        let index = self.newest.ok_or(SendError::NotOpen)?;
        self.send_on(index, transport, kind, payload, purpose)
    }

    /// Sends on the link of this generation, for what must not go to the newest (an unsubscription).
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn send_to<T: Transport>(&mut self, generation: u32, transport: &mut T, kind: Kind, payload: &[u8]) -> Result<u32, SendError> {
        let index = self.open_link(generation).ok_or(SendError::NotOpen)?;
        self.send_on(index, transport, kind, payload, Purpose::Send)
    }

    /// Not inlined: a rehearsal must go through the very same code.
    #[inline(never)]
    fn send_on<T: Transport>(
        &mut self,
        index: usize,
        transport: &mut T,
        kind: Kind,
        payload: &[u8],
        purpose: Purpose,
    ) -> Result<u32, SendError> {
        // A rehearsal draws none: what is random later must not depend on it.
        let mut others = self.random.clone();
        let random = std::hint::select_unpredictable(purpose == Purpose::Send, &mut self.random, &mut others);
        let mask = random.mask();
        let Some(link) = self.links.get_mut(index) else {
            cold_path();
            return Err(SendError::NotOpen);
        };
        match link.send(transport, kind, payload, mask, purpose) {
            Ok(bytes) => {
                self.statistics.messages_out += purpose.count(1);
                self.statistics.bytes_out += purpose.count(bytes as u64);
                self.statistics.message_bytes_out += purpose.count(payload.len() as u64);
                Ok(link.generation)
            }
            Err(error) => {
                self.statistics.sends_refused += purpose.count(1);
                Err(error)
            }
        }
    }

    /// Begins a planned renewal now (the venue says that it will close): the new link comes up while the
    /// old one still delivers.
    pub fn renew(&mut self, now_ns: u64) {
        if let Some(link) = self.newest.and_then(|index| self.links.get_mut(index)) {
            link.renew_at_ns = link.renew_at_ns.min(now_ns);
        }
        self.due_ns = 0;
    }

    /// The replacement is ready: closes the old link of a planned renewal. Its last messages are still
    /// handed out until the peer has closed, too.
    pub fn retire_old<T: Transport>(&mut self, transport: &mut T, now_ns: u64) {
        for index in 0..LINKS {
            let old = self.newest != Some(index) && self.links.get(index).is_some_and(|link| matches!(link.stage, Stage::Open));
            if old {
                self.retire(index, transport, now_ns);
            }
        }
    }

    fn retire<T: Transport>(&mut self, index: usize, transport: &mut T, now_ns: u64) {
        self.close(index, transport, now_ns, close_code::NORMAL, CloseCause::Retired);
    }

    fn close<T: Transport>(&mut self, index: usize, transport: &mut T, now_ns: u64, code: u16, cause: CloseCause) {
        if let Some(link) = self.links.get_mut(index) {
            let deadline_ns = now_ns.saturating_add(self.config.close_timeout_ns);
            link.begin_close(transport, code, cause, deadline_ns, &mut self.random);
        }
        self.refresh();
    }

    /// Closes every link in order and makes a new one (after the back-off): the caller no longer trusts
    /// what comes.
    pub fn reconnect<T: Transport>(&mut self, transport: &mut T, now_ns: u64, why: &'static str) {
        self.close_all(transport, now_ns, &CloseCause::Reconnect(why));
        self.retry_at_ns = now_ns.saturating_add(self.backoff.next_wait_ns(&mut self.random));
        self.statistics.failures = self.backoff.failures();
        self.statistics.next_attempt_ns = self.retry_at_ns;
    }

    /// Closes every link in order; no attempt is made any more. Poll until [`Session::is_shut_down`].
    pub fn shut_down<T: Transport>(&mut self, transport: &mut T, now_ns: u64) {
        self.stopping = true;
        self.close_all(transport, now_ns, &CloseCause::ShutDown);
    }

    fn close_all<T: Transport>(&mut self, transport: &mut T, now_ns: u64, cause: &CloseCause) {
        for index in 0..LINKS {
            let Some(link) = self.links.get_mut(index) else {
                continue;
            };
            if link.stage.is_attempt() {
                link.release(transport);
            } else if matches!(link.stage, Stage::Open) {
                self.close(index, transport, now_ns, close_code::NORMAL, cause.clone());
            }
        }
        self.refresh();
    }

    /// True once a shut-down session has no socket any more.
    pub fn is_shut_down(&self) -> bool {
        self.stopping && self.links.iter().all(|link| matches!(link.stage, Stage::Vacant))
    }
}
