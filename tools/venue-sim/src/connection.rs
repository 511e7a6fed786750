//! One WebSocket connection: carries messages between the client and the venue, pings, closes, freezes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::server::VenueSlot;
use crate::venue::Lifetime;
use crate::wire::{Action, ConnId, Payload};

/// Messages waiting for a client that does not read; beyond it the connection is dropped.
const BACKLOG_MAX: usize = 200_000;
/// Messages written before a flush, at most.
const BATCH_MAX: usize = 512;
/// How long a closing connection waits for the client's close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// The sending end of a connection.
#[derive(Clone)]
pub struct Sender {
    queue: UnboundedSender<Action>,
    waiting: Arc<AtomicUsize>,
    abort: Arc<Notify>,
}

/// The receiving end.
pub struct Receiver {
    queue: UnboundedReceiver<Action>,
    waiting: Arc<AtomicUsize>,
    abort: Arc<Notify>,
}

/// The two ends of a connection's queue.
pub fn channel() -> (Sender, Receiver) {
    let (sender, receiver) = unbounded_channel();
    let (waiting, abort) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    (Sender { queue: sender, waiting: waiting.clone(), abort: abort.clone() }, Receiver { queue: receiver, waiting, abort })
}

impl Sender {
    /// Queues an action; an abort overtakes everything.
    pub fn send(&self, action: Action) {
        let backlog = self.waiting.fetch_add(1, Ordering::Relaxed);
        if matches!(action, Action::Abort) || backlog > BACKLOG_MAX {
            self.abort.notify_one();
            return;
        }
        // A closed queue means that the connection has just ended.
        let _ = self.queue.send(action);
    }
}

/// What ends or changes a connection's service.
enum Next {
    Continue,
    Close(u16, &'static str),
    Freeze,
    End,
}

/// Serves a connection until it ends, then tells the venue.
pub async fn serve(socket: WebSocket, receiver: Receiver, slot: Arc<VenueSlot>, conn: ConnId, lifetime: Lifetime, flush_each: bool) {
    let abort = receiver.abort.clone();
    tokio::select! {
        () = abort.notified() => {}
        () = exchange_messages(socket, receiver, &slot, conn, lifetime, flush_each) => {}
    }
    slot.closed(conn);
}

async fn exchange_messages(
    mut socket: WebSocket,
    mut receiver: Receiver,
    slot: &VenueSlot,
    conn: ConnId,
    lifetime: Lifetime,
    flush_each: bool,
) {
    let ping_every = Duration::from_millis(if lifetime.ping_interval_ms == 0 { u64::from(u32::MAX) } else { lifetime.ping_interval_ms });
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + ping_every, ping_every);
    let mut last_pong = Instant::now();
    loop {
        let next = tokio::select! {
            action = receiver.queue.recv() => match action {
                Some(action) => write_batch(&mut socket, &mut receiver, action, slot, flush_each).await,
                None => Next::End,
            },
            message = socket.next() => match message {
                Some(Ok(message)) => {
                    if matches!(message, Message::Pong(_)) {
                        last_pong = Instant::now();
                    }
                    take_message(slot, conn, message)
                }
                Some(Err(_)) | None => Next::End,
            },
            _ = ping.tick() => {
                let late = lifetime.pong_timeout_ms > 0 && last_pong.elapsed() > Duration::from_millis(lifetime.pong_timeout_ms);
                if late {
                    Next::Close(1008, "Pong timeout")
                } else {
                    let payload = slot.now_ns() / 1_000_000;
                    match socket.send(Message::Ping(payload.to_string().into_bytes().into())).await {
                        Ok(()) => Next::Continue,
                        Err(_) => Next::End,
                    }
                }
            }
        };
        match next {
            Next::Continue => {}
            Next::End => return,
            Next::Freeze => std::future::pending::<()>().await,
            Next::Close(code, reason) => {
                let frame = CloseFrame { code, reason: reason.into() };
                if socket.send(Message::Close(Some(frame))).await.is_ok() {
                    let drained = async { while let Some(Ok(_)) = socket.next().await {} };
                    // The client gets this long to answer; whether it does changes nothing.
                    let _ = tokio::time::timeout(CLOSE_WAIT, drained).await;
                }
                return;
            }
        }
    }
}

/// Writes `first` and what else is queued, each message as its own frame, and flushes: after each message, if
/// asked for and unless the market is under pressure.
async fn write_batch(socket: &mut WebSocket, receiver: &mut Receiver, first: Action, slot: &VenueSlot, flush_each: bool) -> Next {
    let by_itself = flush_each && !slot.pressure().is_on();
    let mut action = first;
    for count in 1..=BATCH_MAX {
        receiver.waiting.fetch_sub(1, Ordering::Relaxed);
        let message = match action {
            Action::Send(Payload::Text(text)) => Message::Text(text),
            Action::Send(Payload::Binary(bytes)) => Message::Binary(bytes),
            Action::Close(code, reason) => return if socket.flush().await.is_ok() { Next::Close(code, reason) } else { Next::End },
            Action::Abort => return Next::End,
            Action::Freeze => return Next::Freeze,
        };
        if socket.feed(message).await.is_err() || (by_itself && socket.flush().await.is_err()) {
            return Next::End;
        }
        // What is taken out of the queue here must be written.
        match if count < BATCH_MAX { receiver.queue.try_recv().ok() } else { None } {
            Some(more) => action = more,
            None => {
                if flush_each && !by_itself && count > 1 {
                    slot.pressure().count_together(count as u64);
                }
                break;
            }
        }
    }
    if socket.flush().await.is_ok() { Next::Continue } else { Next::End }
}

fn take_message(slot: &VenueSlot, conn: ConnId, message: Message) -> Next {
    match message {
        Message::Text(text) => slot.with(|venue, now_ns| venue.on_text(now_ns, conn, text.as_str())),
        // The venues take text only; a binary request that is text is answered like one.
        Message::Binary(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => slot.with(|venue, now_ns| venue.on_text(now_ns, conn, text)),
            Err(_) => return Next::Close(1003, "text only"),
        },
        Message::Ping(_) => slot.with(|venue, now_ns| venue.on_ping(now_ns, conn)),
        Message::Pong(_) => {}
        Message::Close(_) => return Next::End,
    }
    Next::Continue
}
