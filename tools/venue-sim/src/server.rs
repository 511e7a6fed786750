//! The I/O shell: listeners, TLS, HTTP and the clock around the venues' state machines.
//!
//! One thread with one single-threaded runtime runs all venues. A tick (ten a millisecond, unless
//! configured otherwise) moves the market on; whatever a tick or a request leaves in a venue's outbox is
//! handed to the connections' queues at once. Connections and requests have a turn after each tick, however
//! far the market is behind ([`crate::arrears`]).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::SimError;
use crate::arrears::{Arrears, Pressure};
use crate::binance::Binance;
use crate::book::IdHash;
use crate::buffered::BufferedTcp;
use crate::certificate;
use crate::config::{SimConfig, VenueConfig};
use crate::connection::{self, Sender};
use crate::control;
use crate::fault::Fault;
use crate::flow::{FlowCount, References};
use crate::kraken::Kraken;
use crate::ticker::Ticker;
use crate::venue::{AccountRecord, Upgrade, Venue, VenueName, account_record, reference_prices};
use crate::wire::{Action, ConnId, HttpRequest};

/// Largest REST body and WebSocket message from a client.
const REQUEST_MAX: usize = 1 << 20;
/// Read from a client at a time: requests are short, and what is read into is cleared each time.
const READ_SIZE: usize = 4 << 10;
/// Messages that are written together fill a TLS record up to here: with one more, it fits into a segment.
const RECORD_FILL: usize = 1_000;
/// A TLS handshake or an HTTP request head may take this long.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// A venue with its clock and its connections.
pub struct VenueSlot {
    /// Which venue.
    pub name: VenueName,
    venue: Mutex<Box<dyn Venue>>,
    senders: Mutex<HashMap<ConnId, Sender, IdHash>>,
    clock_offset_ms: AtomicI64,
    next_conn: AtomicU64,
    runtime: Handle,
    pressure: Arc<Pressure>,
}

/// A panic elsewhere must not take the venue with it.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

impl VenueSlot {
    /// The venue's clock, ns since the Unix epoch.
    pub fn now_ns(&self) -> u64 {
        wall_ns().saturating_add_signed(self.clock_offset_ms.load(Ordering::Relaxed).saturating_mul(1_000_000))
    }

    /// Runs `f` on the venue and hands what it sends to the connections.
    pub fn with<T>(&self, f: impl FnOnce(&mut dyn Venue, u64) -> T) -> T {
        let mut venue = lock(&self.venue);
        let now_ns = self.now_ns();
        let result = f(venue.as_mut(), now_ns);
        let outbox = venue.outbox();
        if !outbox.is_empty() {
            let senders = lock(&self.senders);
            for output in outbox.drain() {
                let Some(sender) = senders.get(&output.conn) else { continue };
                if output.due_ns <= now_ns {
                    sender.send(output.action);
                } else {
                    let (sender, wait) = (sender.clone(), Duration::from_nanos(output.due_ns - now_ns));
                    self.runtime.spawn(async move {
                        tokio::time::sleep(wait).await;
                        sender.send(output.action);
                    });
                }
            }
        }
        result
    }

    /// A connection has ended.
    pub fn closed(&self, conn: ConnId) {
        lock(&self.senders).remove(&conn);
        self.with(|venue, _| venue.closed(conn));
    }

    /// A fault on command.
    pub fn inject(&self, fault: &Fault) {
        if let Fault::ClockJump { offset_ms } = fault {
            self.clock_offset_ms.store(*offset_ms, Ordering::Relaxed);
        }
        self.with(|venue, now_ns| venue.inject(now_ns, fault));
    }

    /// The venue's record of the account that `key` opens.
    pub fn account(&self, key: &str) -> Option<AccountRecord> {
        self.with(|venue, _| venue.account_of(key).map(|account| account_record(venue, self.name, key, account)))
    }

    /// A deposit (or, negative, a withdrawal) of decimal `amount`. False for an unknown key or bad amount.
    pub fn deposit(&self, key: &str, asset: &str, amount: &str) -> bool {
        let Ok(amount) = crate::decimal::Amount::parse(amount) else { return false };
        self.with(|venue, now_ns| venue.account_of(key).map(|account| venue.deposit(now_ns, account, asset, amount))).is_some()
    }

    /// The venue's records of all accounts.
    pub fn accounts(&self) -> Vec<AccountRecord> {
        self.with(|venue, _| venue.accounts().into_iter().map(|(key, account)| account_record(venue, self.name, &key, account)).collect())
    }

    /// Market-data messages sent so far.
    pub fn market_messages(&self) -> u64 {
        self.with(|venue, _| venue.outbox().market_messages)
    }

    /// What became of the market-data messages that were due.
    pub fn flow(&self) -> FlowCount {
        self.with(|venue, _| venue.flow())
    }

    /// Whether messages may be written together.
    pub(crate) fn pressure(&self) -> &Pressure {
        &self.pressure
    }
}

/// Where a venue listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VenueAddress {
    /// The venue.
    pub name: VenueName,
    /// All services.
    pub main: SocketAddr,
    /// The second service (Binance: SBE streams; Kraken: private WebSocket) for clients that tell
    /// services apart by port.
    pub second: SocketAddr,
}

/// A running simulation. Dropping it stops it.
pub struct SimHandle {
    /// Where the venues listen.
    pub venues: Vec<VenueAddress>,
    /// Where the control interface listens.
    pub control: Option<SocketAddr>,
    /// The CA certificate (PEM) to trust; empty without TLS.
    pub ca_pem: String,
    slots: Vec<Arc<VenueSlot>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl SimHandle {
    fn slot(&self, venue: VenueName) -> Option<&Arc<VenueSlot>> {
        self.slots.iter().find(|slot| slot.name == venue)
    }

    /// Where a venue listens.
    pub fn address(&self, venue: VenueName) -> Option<VenueAddress> {
        self.venues.iter().find(|address| address.name == venue).copied()
    }

    /// A fault at one venue. False when that venue is not simulated.
    pub fn inject(&self, venue: VenueName, fault: &Fault) -> bool {
        self.slot(venue).map(|slot| slot.inject(fault)).is_some()
    }

    /// The venue's own record of the account that an API key opens.
    pub fn account(&self, venue: VenueName, key: &str) -> Option<AccountRecord> {
        self.slot(venue)?.account(key)
    }

    /// A deposit (or, negative, a withdrawal) at a venue. False for an unknown key or bad amount.
    pub fn deposit(&self, venue: VenueName, key: &str, asset: &str, amount: &str) -> bool {
        self.slot(venue).is_some_and(|slot| slot.deposit(key, asset, amount))
    }

    /// Market-data messages that a venue has sent, each subscriber counted.
    pub fn market_messages(&self, venue: VenueName) -> u64 {
        self.slot(venue).map_or(0, |slot| slot.market_messages())
    }

    /// What became of the market-data messages that were due at a venue.
    pub fn flow(&self, venue: VenueName) -> FlowCount {
        self.slot(venue).map_or_else(FlowCount::default, |slot| slot.flow())
    }

    /// Messages of all venues that were written together with others, because the simulator could not keep up
    /// with the rate otherwise. 0: each was written by itself when it happened (with
    /// [`SimConfig::flush_each`]).
    pub fn written_together(&self) -> u64 {
        self.slots.first().map_or(0, |slot| slot.pressure.together())
    }

    /// Blocks the caller for as long as the simulation runs, which is until the process ends.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the simulator's thread has been printed by then.
            let _ = thread.join();
        }
    }

    /// Stops the simulation and waits for its thread.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic of the simulator's thread has been printed by then.
            let _ = thread.join();
        }
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Simulated venues on kernel sockets.
pub struct Sim;

/// What the simulator's thread reports once it listens.
struct Started {
    venues: Vec<VenueAddress>,
    control: Option<SocketAddr>,
    ca_pem: String,
    slots: Vec<Arc<VenueSlot>>,
}

impl Sim {
    /// Starts a simulation on its own thread and returns once it listens.
    ///
    /// The thread is made by the caller, so its sockets live in the caller's network namespace.
    pub fn start(config: SimConfig) -> Result<SimHandle, SimError> {
        let (stop, stopped) = watch::channel(false);
        let (started, start) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("venue-sim".into())
            .spawn(move || run(config, stopped, &started))
            .map_err(|e| SimError::Io("cannot start the simulator's thread".into(), e))?;
        let gone = || SimError::Io("the simulator's thread ended while starting".into(), io::ErrorKind::Other.into());
        let Started { venues, control, ca_pem, slots } = start.recv().map_err(|_| gone())??;
        Ok(SimHandle { venues, control, ca_pem, slots, stop, thread: Some(thread) })
    }
}

fn run(config: SimConfig, stopped: watch::Receiver<bool>, started: &mpsc::Sender<Result<Started, SimError>>) {
    let report = |result| {
        // The caller may have gone; then there is nobody to tell.
        let _ = started.send(result);
    };
    if let Some(cpu) = config.cpu
        && let Err(error) = pin(cpu)
    {
        return report(Err(error));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(Err(SimError::Io("cannot make the runtime".into(), error))),
    };
    let tick_us = u64::from(config.tick_us);
    runtime.block_on(async {
        match serve(config).await {
            Ok((ready, references, ticker)) => {
                let slots = ready.slots.clone();
                report(Ok(ready));
                tick_until(stopped, &slots, references, ticker, Arrears::new(Instant::now(), tick_us)).await;
            }
            Err(error) => report(Err(error)),
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
}

fn pin(cpu: usize) -> Result<(), SimError> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu)
        .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set))
        .map_err(|error| SimError::Config(format!("cannot pin the simulator to CPU {cpu}: {error}")))
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SimError> {
    let failed = |error| SimError::Io(format!("cannot listen on {address}"), error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Builds the venues, binds the listeners and starts serving.
async fn serve(config: SimConfig) -> Result<(Started, References, Ticker), SimError> {
    let ticker = Ticker::every(Duration::from_micros(u64::from(config.tick_us.max(1)))).map_err(|e| SimError::Io("timer".into(), e))?;
    let (acceptor, ca_pem) = match &config.tls {
        None => (None, String::new()),
        Some(tls) => {
            let mut names = tls.names.clone();
            for address in config.listen_addresses().filter(|address| !address.is_unspecified()) {
                if !names.contains(&address.to_string()) {
                    names.push(address.to_string());
                }
            }
            let made = certificate::make(&names)?;
            if let Some(path) = &tls.ca_file {
                std::fs::write(path, &made.ca_pem).map_err(|e| SimError::Io(format!("cannot write {}", path.display()), e))?;
            }
            (Some(TlsAcceptor::from(made.server)), made.ca_pem)
        }
    };
    let venue_configs: Vec<(VenueName, &VenueConfig)> =
        [config.binance.as_ref().map(|c| (VenueName::Binance, &c.venue)), config.kraken.as_ref().map(|c| (VenueName::Kraken, &c.venue))]
            .into_iter()
            .flatten()
            .collect();
    let mut prices: Vec<(String, f64)> = Vec::new();
    for (asset, price) in venue_configs.iter().flat_map(|(_, venue)| reference_prices(venue)) {
        if !prices.iter().any(|(known, _)| *known == asset) {
            prices.push((asset, price));
        }
    }
    let references = References::new(config.seed, &config.flow, prices);
    let pressure = Arc::new(Pressure::default());
    let mut venues = Vec::new();
    let mut slots = Vec::new();
    for (name, venue_config) in venue_configs {
        let venue: Box<dyn Venue> = match (name, &config.binance, &config.kraken) {
            (VenueName::Binance, Some(binance), _) => {
                Box::new(Binance::new(binance.clone(), config.seed, &config.flow, &references, wall_ns())?)
            }
            (VenueName::Kraken, _, Some(kraken)) => {
                Box::new(Kraken::new(kraken.clone(), config.seed, &config.flow, &references, wall_ns())?)
            }
            _ => continue,
        };
        let slot = Arc::new(VenueSlot {
            name,
            venue: Mutex::new(venue),
            senders: Mutex::default(),
            clock_offset_ms: AtomicI64::new(0),
            next_conn: AtomicU64::new(1),
            runtime: Handle::current(),
            pressure: pressure.clone(),
        });
        let (main, main_address) = bind(venue_config.listen).await?;
        let second = venue_config.listen_second.unwrap_or_else(|| {
            let mut next = venue_config.listen;
            next.set_port(if next.port() == 0 { 0 } else { next.port().saturating_add(1) });
            next
        });
        let (second, second_address) = bind(second).await?;
        for (listener, second_port) in [(main, false), (second, true)] {
            tokio::spawn(accept(listener, acceptor.clone(), slot.clone(), second_port, config.flush_each));
        }
        venues.push(VenueAddress { name, main: main_address, second: second_address });
        slots.push(slot);
    }
    let control = match config.control {
        None => None,
        Some(address) => {
            let (listener, bound) = bind(address).await?;
            tokio::spawn(control::serve(listener, slots.clone()));
            Some(bound)
        }
    };
    Ok((Started { venues, control, ca_pem, slots }, references, ticker))
}

/// Moves the market on each tick until told to stop.
async fn tick_until(
    mut stopped: watch::Receiver<bool>,
    slots: &[Arc<VenueSlot>],
    mut references: References,
    ticker: Ticker,
    mut arrears: Arrears,
) {
    let pressure = slots.first().map_or_else(Arc::default, |slot| slot.pressure.clone());
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            ticked = ticker.tick() => if ticked.is_err() { return },
        }
        while let Some(step) = arrears.step(Instant::now(), thread_time_ns, &pressure) {
            if step.skip_us > 0 {
                references.advance(step.skip_us);
                for slot in slots {
                    slot.with(|venue, _| venue.skip(step.skip_us, &references));
                }
            }
            references.advance(step.slice_us);
            for slot in slots {
                slot.with(|venue, now_ns| venue.tick(now_ns, step.slice_us, &references));
            }
            // Everyone else's turn: connections write and read, handshakes go on.
            tokio::task::yield_now().await;
            if *stopped.borrow() {
                return;
            }
            if !step.more {
                break;
            }
        }
    }
}

/// Processor time of this thread, ns.
fn thread_time_ns() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(0, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, slot: Arc<VenueSlot>, second_port: bool, flush_each: bool) {
    loop {
        let Ok((tcp, peer)) = listener.accept().await else {
            // Out of descriptors, most likely: wait for some to be released.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let client = Client { slot: slot.clone(), peer, second_port, flush_each };
        tokio::spawn(handshake(tcp, acceptor.clone(), client));
    }
}

/// Who is at the other end of a TCP connection.
#[derive(Clone)]
struct Client {
    slot: Arc<VenueSlot>,
    peer: SocketAddr,
    second_port: bool,
    flush_each: bool,
}

async fn handshake(tcp: TcpStream, acceptor: Option<TlsAcceptor>, client: Client) {
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let stream = BufferedTcp::new(tcp);
    match acceptor {
        None => http(stream, client).await,
        Some(acceptor) => {
            if let Ok(Ok(tls)) = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                http(tls, client).await;
            }
        }
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, client: Client) {
    let service = service_fn(move |request| handle(request, client.clone()));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    // A client that breaks off is nothing to report.
    drop(served);
}

/// Answers one HTTP request; an error closes the connection unanswered.
async fn handle(request: Request<Incoming>, client: Client) -> Result<Response, io::Error> {
    let (mut parts, body) = request.into_parts();
    let headers: BTreeMap<String, String> =
        parts.headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect();
    let mut request = HttpRequest {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        headers,
        body: Vec::new(),
    };
    if request.header("upgrade").eq_ignore_ascii_case("websocket") {
        return Ok(upgrade(&mut parts, request, client).await);
    }
    let Ok(body) = axum::body::to_bytes(Body::new(body), REQUEST_MAX).await else {
        return Ok(hyper::StatusCode::PAYLOAD_TOO_LARGE.into_response());
    };
    request.body = body.to_vec();
    let (reply, now_ns) = client.slot.with(|venue, now_ns| (venue.http(now_ns, client.peer.ip(), &request), now_ns));
    if reply.lost {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    if reply.due_ns > now_ns {
        tokio::time::sleep(Duration::from_nanos(reply.due_ns - now_ns)).await;
    }
    Ok(respond(reply))
}

fn respond(reply: crate::wire::HttpReply) -> Response {
    let mut response = Response::builder().status(reply.status).header(header::CONTENT_TYPE, "application/json;charset=UTF-8");
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap_or_else(|_| hyper::StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn upgrade(parts: &mut hyper::http::request::Parts, request: HttpRequest, client: Client) -> Response {
    let slot = client.slot.clone();
    let upgrade = match WebSocketUpgrade::from_request_parts(parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let conn = slot.next_conn.fetch_add(1, Ordering::Relaxed);
    let (sender, receiver) = connection::channel();
    // Registered first: what the venue sends on opening goes through the same queue.
    lock(&slot.senders).insert(conn, sender);
    let asked = Upgrade { peer: client.peer.ip(), request, second_port: client.second_port };
    match slot.with(|venue, now_ns| venue.open(now_ns, conn, &asked)) {
        Err(reply) => {
            slot.closed(conn);
            respond(reply)
        }
        Ok(lifetime) => {
            let failed = slot.clone();
            upgrade
                .read_buffer_size(READ_SIZE)
                .write_buffer_size(RECORD_FILL)
                .max_message_size(REQUEST_MAX)
                .on_failed_upgrade(move |_| failed.closed(conn))
                .on_upgrade(move |socket| connection::serve(socket, receiver, slot, conn, lifetime, client.flush_each))
        }
    }
}

/// Drops the connections of a slot: used when a simulation ends.
impl Drop for VenueSlot {
    fn drop(&mut self) {
        for sender in lock(&self.senders).values() {
            sender.send(Action::Abort);
        }
    }
}
