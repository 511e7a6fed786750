//! Names to addresses (RFC 1034, 1035): a stub resolver over UDP, sans-I/O.
//!
//! The stack asks [`Resolver::due`] which question is to be sent to which server, sends
//! [`Resolver::message`] from a fresh random port, and gives what comes back on that port to
//! [`Resolver::receive`]. An answer counts only if its server, port, identifier and question are those
//! of the newest attempt (RFC 5452 section 9.1); anything else is dropped and waited on.
//!
//! Order of look-up: address literal, hosts table, cache, servers in turn. A name whose servers are all
//! silent keeps its last known addresses for a day (RFC 8767): an old address beats none.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | the questions under way, time-outs, servers |
//! | `cache` | what is known, and until when |
//! | `message` | the wire format |
//! | `name` | names |

mod cache;
mod message;
mod name;

use std::net::{Ipv4Addr, SocketAddrV4};

use cache::{Cache, Known};
use message::{Answer, MESSAGE_MAX};
use name::Name;

use crate::stack::random::Random;
use crate::transport::{Resolution, ResolveError};

/// Questions that may be under way at once.
pub const QUESTIONS_MAX: usize = 16;
/// Servers that are asked: the configured ones first, then those from DHCP.
pub const SERVERS_MAX: usize = 8;
/// How long the first round of questions waits for each server; later rounds wait twice as long each.
pub const TIMEOUT_NS: u64 = 500_000_000;
/// Rounds over all servers before a name counts as unanswered.
pub const ROUNDS: usize = 3;
/// A question that could not even be sent is given up after this time.
pub const GIVE_UP_NS: u64 = 10_000_000_000;
/// How long a failure to get any answer is remembered.
pub const FAILURE_HOLD_NS: u64 = 1_000_000_000;
const DNS_PORT: u16 = 53;

/// A question under way.
#[derive(Clone, Debug)]
struct Question {
    name: Name,
    /// Attempts begun; attempt n goes to server n modulo the number of servers.
    attempts: usize,
    /// The server of the newest attempt, and its identifier, once it has left.
    asked: Option<(Ipv4Addr, u16)>,
    /// When the next attempt is due.
    due_ns: u64,
    /// When the question is given up, whatever attempts are left.
    give_up_ns: u64,
    /// With the EDNS option for longer answers (RFC 6891); some old servers refuse it.
    edns: bool,
}

/// The resolver. See the module's head. Allocates only at construction.
#[derive(Debug)]
pub struct Resolver {
    hosts: Vec<(Name, Ipv4Addr)>,
    servers: Vec<Ipv4Addr>,
    /// How many of the servers are from the configuration.
    configured: usize,
    questions: [Option<Question>; QUESTIONS_MAX],
    cache: Cache,
    random: Random,
    message: [u8; MESSAGE_MAX],
    next_ns: u64,
}

impl Resolver {
    /// A resolver with configured servers (at most [`SERVERS_MAX`] are used) and a hosts table.
    ///
    /// # Errors
    /// With the name in the hosts table that is none.
    pub fn new(servers: &[Ipv4Addr], hosts: &[(String, Ipv4Addr)], seed: u64) -> Result<Resolver, String> {
        let mut list = Vec::with_capacity(SERVERS_MAX);
        list.extend(servers.iter().take(SERVERS_MAX));
        let hosts = hosts
            .iter()
            .map(|(text, address)| Name::parse(text).map(|name| (name, *address)).ok_or_else(|| text.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Resolver {
            hosts,
            configured: list.len(),
            servers: list,
            questions: [const { None }; QUESTIONS_MAX],
            cache: Cache::new(),
            random: Random::new(seed),
            message: [0; MESSAGE_MAX],
            next_ns: u64::MAX,
        })
    }

    /// Replaces the servers that DHCP named.
    pub fn set_learnt_servers(&mut self, servers: &[Ipv4Addr]) {
        self.servers.truncate(self.configured);
        for server in servers {
            if self.servers.len() < SERVERS_MAX && !self.servers.contains(server) {
                self.servers.push(*server);
            }
        }
    }

    /// What is known of a name; starts a question if nothing is. A name with several addresses gives another
    /// one at each call.
    pub fn resolve(&mut self, host: &str, now_ns: u64) -> Resolution {
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Resolution::Address(address);
        }
        let Some(name) = Name::parse(host) else { return Resolution::Failed(ResolveError::Invalid) };
        if let Some((_, address)) = self.hosts.iter().find(|(known, _)| *known == name) {
            return Resolution::Address(*address);
        }
        match self.cache.look_up(&name, now_ns) {
            Some(Known::Address(address)) => return Resolution::Address(address),
            Some(Known::NoSuchName) => return Resolution::Failed(ResolveError::NoSuchName),
            Some(Known::TimedOut) => return Resolution::Failed(ResolveError::TimedOut),
            None => {}
        }
        if self.questions.iter().flatten().any(|question| question.name == name) {
            return Resolution::Pending;
        }
        if self.servers.is_empty() {
            return Resolution::Failed(ResolveError::Invalid);
        }
        let Some(free) = self.questions.iter_mut().find(|question| question.is_none()) else {
            return Resolution::Failed(ResolveError::Busy);
        };
        *free =
            Some(Question { name, attempts: 0, asked: None, due_ns: now_ns, give_up_ns: now_ns.saturating_add(GIVE_UP_NS), edns: true });
        self.next_ns = self.next_ns.min(now_ns);
        Resolution::Pending
    }

    /// When [`Resolver::due`] has something.
    pub fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// True if the question in this place is under way.
    pub fn is_open(&self, question: usize) -> bool {
        self.questions.get(question).is_some_and(Option::is_some)
    }

    /// The next question to be sent, and to whom. It must be followed by [`Resolver::message`] or
    /// [`Resolver::postpone`].
    pub fn due(&mut self, now_ns: u64) -> Option<(usize, Ipv4Addr)> {
        if now_ns < self.next_ns {
            return None;
        }
        for place in 0..QUESTIONS_MAX {
            let Some(question) = &mut self.questions[place] else { continue };
            if question.due_ns > now_ns {
                continue;
            }
            if question.attempts >= ROUNDS * self.servers.len() || question.give_up_ns <= now_ns {
                self.cache.no_answer(&question.name, now_ns);
                self.questions[place] = None;
                continue;
            }
            question.asked = None;
            return Some((place, self.servers[question.attempts % self.servers.len()]));
        }
        self.schedule();
        None
    }

    /// Tries again at `at_ns`, without counting an attempt: the server's hardware address is not known yet,
    /// or there is no room in the port.
    pub fn postpone(&mut self, question: usize, at_ns: u64) {
        if let Some(question) = self.questions.get_mut(question).and_then(Option::as_mut) {
            question.due_ns = at_ns;
        }
        self.schedule();
    }

    /// Postponed questions are tried at once: a neighbour has been found.
    pub fn retry_now(&mut self, now_ns: u64) {
        for question in self.questions.iter_mut().flatten().filter(|question| question.asked.is_none()) {
            question.due_ns = now_ns;
            self.next_ns = now_ns;
        }
    }

    /// The message of a question that is due, with a fresh identifier. From now on its time runs.
    pub fn message(&mut self, question: usize, now_ns: u64) -> &[u8] {
        let Some(question) = self.questions.get_mut(question).and_then(Option::as_mut) else { return &[] };
        let servers = self.servers.len().max(1);
        let id = self.random.u16();
        question.asked = self.servers.get(question.attempts % servers).map(|server| (*server, id));
        question.due_ns = now_ns.saturating_add(TIMEOUT_NS << (question.attempts / servers).min(8));
        question.attempts += 1;
        let len = message::write_question(&mut self.message, id, &question.name, question.edns);
        self.schedule();
        &self.message[..len]
    }

    /// Takes in a datagram that came to the port of `question`; false if it answers nothing that was asked.
    pub fn receive(&mut self, place: usize, source: SocketAddrV4, datagram: &[u8], now_ns: u64) -> bool {
        let Some(question) = self.questions.get_mut(place).and_then(Option::as_mut) else { return false };
        let Some((server, id)) = question.asked else { return false };
        if source != SocketAddrV4::new(server, DNS_PORT) {
            return false;
        }
        match message::read_answer(datagram, id, &question.name) {
            Answer::NotOurs => return false,
            Answer::Addresses { addresses, ttl_s } => {
                self.cache.addresses(&question.name, addresses.as_slice(), ttl_s, now_ns);
                self.questions[place] = None;
            }
            Answer::NoSuchName { ttl_s } => {
                self.cache.no_such_name(&question.name, ttl_s, now_ns);
                self.questions[place] = None;
            }
            Answer::NotUnderstood if question.edns => {
                // The same server once more, in the old way.
                question.edns = false;
                question.asked = None;
                question.attempts = question.attempts.saturating_sub(1);
                question.due_ns = now_ns;
            }
            Answer::NotUnderstood | Answer::Useless => {
                // The next server at once.
                question.asked = None;
                question.due_ns = now_ns;
            }
        }
        self.schedule();
        true
    }

    fn schedule(&mut self) {
        self.next_ns = self.questions.iter().flatten().map(|question| question.due_ns).min().unwrap_or(u64::MAX);
    }
}
