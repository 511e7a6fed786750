//! The control interface: plain HTTP with JSON, for other processes.
//!
//! | request | answer |
//! |---|---|
//! | `GET /sim/account[?venue=V][&key=K]` | list of account records (all, or those asked for) |
//! | `POST /sim/fault` with a [`Fault`] and optional `"venue"` | `{"ok":true}`; without a venue it hits all |
//! | `POST /sim/deposit` with `venue`, `key`, `asset`, `amount` | `{"ok":true}` |
//! | `GET /sim/stats` | per venue: market-data messages sent, and what became of those that were due |

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::fault::Fault;
use crate::server::VenueSlot;
use crate::venue::{AccountRecord, VenueName};

type Slots = Arc<Vec<Arc<VenueSlot>>>;

#[derive(Deserialize)]
struct AccountQuery {
    venue: Option<VenueName>,
    key: Option<String>,
}

#[derive(Deserialize)]
struct VenueOnly {
    venue: Option<VenueName>,
}

async fn account(State(slots): State<Slots>, Query(query): Query<AccountQuery>) -> Json<Vec<AccountRecord>> {
    let wanted = slots.iter().filter(|slot| query.venue.is_none_or(|venue| venue == slot.name));
    Json(match &query.key {
        Some(key) => wanted.filter_map(|slot| slot.account(key)).collect(),
        None => wanted.flat_map(|slot| slot.accounts()).collect(),
    })
}

async fn fault(State(slots): State<Slots>, Json(body): Json<Value>) -> Result<Json<Value>, (StatusCode, String)> {
    let bad = |error: serde_json::Error| (StatusCode::BAD_REQUEST, format!("{error}\n"));
    let fault = Fault::deserialize(&body).map_err(bad)?;
    let VenueOnly { venue } = VenueOnly::deserialize(&body).map_err(bad)?;
    let mut hit = 0;
    for slot in slots.iter().filter(|slot| venue.is_none_or(|venue| venue == slot.name)) {
        slot.inject(&fault);
        hit += 1;
    }
    if hit == 0 {
        return Err((StatusCode::NOT_FOUND, "that venue is not simulated\n".into()));
    }
    Ok(Json(json!({ "ok": true })))
}

#[derive(Deserialize)]
struct Deposit {
    venue: VenueName,
    key: String,
    asset: String,
    amount: String,
}

async fn deposit(State(slots): State<Slots>, Json(body): Json<Deposit>) -> Result<Json<Value>, (StatusCode, String)> {
    let done = slots.iter().filter(|slot| slot.name == body.venue).any(|slot| slot.deposit(&body.key, &body.asset, &body.amount));
    if done { Ok(Json(json!({ "ok": true }))) } else { Err((StatusCode::NOT_FOUND, "no such account, or not an amount\n".into())) }
}

async fn stats(State(slots): State<Slots>) -> Json<Value> {
    let counts: serde_json::Map<String, Value> = slots
        .iter()
        .map(|slot| (slot.name.as_str().to_owned(), json!({ "market_messages": slot.market_messages(), "flow": slot.flow() })))
        .collect();
    Json(Value::Object(counts))
}

/// Serves the control interface until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, slots: Vec<Arc<VenueSlot>>) {
    let router = Router::new()
        .route("/sim/account", get(account))
        .route("/sim/fault", post(fault))
        .route("/sim/deposit", post(deposit))
        .route("/sim/stats", get(stats))
        .with_state(Arc::new(slots));
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("venue-sim: the control interface ended: {error}");
    }
}
