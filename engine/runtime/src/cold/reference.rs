//! Reference data at start: what the venues say about the configured instruments, before there is a core.

use super::http::{HttpClient, HttpError};
use super::log::{Level, Log};
use super::rest_worker::{CallError, RestCaller, RestCounters};
use crate::config::network::{VenueSetup, pinned_hosts};
use crate::config::tables::{ReferenceData, VenueReference, assemble};
use crate::config::{ConfigError, Document};
use engine_core::instrument::{AssetTable, InstrumentTable};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use venues::rest::{RestQuery, RestReply};

/// Why the reference data is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The configuration and what the venues say do not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A venue did not answer usably, after several tries.
    #[error("{venue}: {reason}")]
    Venue {
        /// The venue.
        venue: String,
        /// What it said, or what went wrong.
        reason: String,
    },
    /// No client can be made for the venue.
    #[error("{venue}: {source}")]
    Client {
        /// The venue.
        venue: String,
        /// Why.
        source: HttpError,
    },
}

/// A REST caller of a venue, with its own connection.
///
/// # Errors
/// If the CA file is not usable.
pub fn caller(
    setup: &VenueSetup,
    pinned: &[(String, IpAddr)],
    instruments: &InstrumentTable,
    assets: &AssetTable,
    log: &Log,
    stop: &Arc<AtomicBool>,
) -> Result<RestCaller, ReferenceError> {
    let client = HttpClient::new(setup.rest_host(), setup.ca_pem.as_deref(), pinned)
        .map_err(|source| ReferenceError::Client { venue: setup.name.clone(), source })?;
    let rest = venues::any::any_rest(&setup.name, &setup.settings)
        .map_err(|e| ReferenceError::Venue { venue: setup.name.clone(), reason: e.to_string() })?;
    Ok(RestCaller {
        venue_name: setup.name.clone(),
        rest,
        client,
        instruments: instruments.clone(),
        assets: assets.clone(),
        log: log.clone(),
        stop: Arc::clone(stop),
        counters: Arc::new(RestCounters::default()),
    })
}

/// Asks every venue for its configured instruments, with retries, and joins the answers with the
/// configuration. What is quarantined is logged.
///
/// # Errors
/// If a venue cannot be asked, or does not know a configured symbol. `stop` ends the waiting early.
pub fn fetch_reference_data(
    document: &Document,
    setups: &[VenueSetup],
    log: &Log,
    stop: &Arc<AtomicBool>,
) -> Result<ReferenceData, ReferenceError> {
    let pinned = pinned_hosts(document);
    let mut assets = AssetTable::new();
    let mut found = Vec::new();
    for (setup, table) in setups.iter().zip(&document.file.venues) {
        let mut caller = caller(setup, &pinned, &InstrumentTable::new(), &assets, log, stop)?;
        let symbols: Vec<String> = table.instruments.iter().map(|i| i.symbol.clone()).collect();
        let said = match ask(&mut caller, symbols.clone()) {
            Ok(said) => said,
            Err(CallError::Final(_)) => one_by_one(document, &mut caller, &symbols)?,
            Err(CallError::GivenUp(reason)) => return Err(ReferenceError::Venue { venue: setup.name.clone(), reason }),
        };
        assets = caller.assets;
        found.push(said);
    }
    let data = assemble(document, &found, &assets)?;
    for q in &data.quarantined {
        let fields = [("venue", q.venue.clone().into()), ("instrument", q.symbol.clone().into()), ("reason", q.reason.clone().into())];
        log.now(Level::Warn, "instrument_quarantined", &fields);
    }
    Ok(data)
}

fn ask(caller: &mut RestCaller, symbols: Vec<String>) -> Result<VenueReference, CallError> {
    match caller.ask(&RestQuery::Instruments { symbols })? {
        RestReply::Instruments { instruments, quarantined } => Ok(VenueReference { instruments, quarantined }),
        _ => Err(CallError::Final("unexpected answer to a request for instruments".into())),
    }
}

/// Some venues refuse a whole request for one symbol that they do not have: finds out which it is.
fn one_by_one(document: &Document, caller: &mut RestCaller, symbols: &[String]) -> Result<VenueReference, ReferenceError> {
    let mut all = VenueReference::default();
    for symbol in symbols {
        let said = ask(caller, vec![symbol.clone()]).map_err(|e| {
            let venue = caller.venue_name.as_str();
            match e {
                CallError::Final(reason) => {
                    let message = format!("{venue} does not take \"{symbol}\"; expected its spelling on the order channel: {reason}");
                    ReferenceError::Config(document.error_at_key(&["venue", venue, "instrument", symbol, "symbol"], message))
                }
                CallError::GivenUp(reason) => ReferenceError::Venue { venue: venue.to_owned(), reason },
            }
        })?;
        all.instruments.extend(said.instruments);
        all.quarantined.extend(said.quarantined);
    }
    Ok(all)
}
