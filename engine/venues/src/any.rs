//! One type for whichever venue a configuration names: a match instead of a virtual call, so that the
//! hot loop's calls into a codec can still be inlined.

use crate::binance::{self, Binance, BinanceRest};
use crate::kraken::{self, Kraken, KrakenRest};
use crate::outbox::Outbox;
use crate::rest::VenueRest;
use crate::venue::{Endpoint, ExecuteError, Hosts, Link, MessageKind, Role, Venue, VenueCounters, VenueError, VenueInit, VenueSettings};
use engine_core::event::{BookInvalid, Event, EventSink, Times};
use engine_core::ids::{InstrumentId, OrderId};

/// The names of all venues, as configuration spells them.
pub const NAMES: [&str; 2] = [binance::NAME, kraken::NAME];

/// Any of the venues.
pub enum AnyVenue {
    /// Binance Spot.
    Binance(Box<Binance>),
    /// Kraken spot.
    Kraken(Box<Kraken>),
}

/// The codec of a venue, by name.
pub fn any_venue(name: &str, init: VenueInit<'_>) -> Result<AnyVenue, VenueError> {
    match name {
        binance::NAME => Binance::new(init).map(|venue| AnyVenue::Binance(Box::new(venue))),
        kraken::NAME => Kraken::new(init).map(|venue| AnyVenue::Kraken(Box::new(venue))),
        _ => Err(VenueError::Unknown(name.to_owned())),
    }
}

/// The REST dialect of a venue, by name.
pub fn any_rest(name: &str, settings: &VenueSettings) -> Result<Box<dyn VenueRest>, VenueError> {
    match name {
        binance::NAME => Ok(Box::new(BinanceRest::new(settings)?)),
        kraken::NAME => Ok(Box::new(KrakenRest::new(settings)?)),
        _ => Err(VenueError::Unknown(name.to_owned())),
    }
}

/// Where a venue's services are in production; `None` for a name that is no venue's.
pub fn default_hosts(name: &str) -> Option<Hosts> {
    match name {
        binance::NAME => Some(binance::default_hosts()),
        kraken::NAME => Some(kraken::default_hosts()),
        _ => None,
    }
}

/// Calls the same method of whichever venue it is.
macro_rules! forward {
    ($self:ident, $venue:ident => $call:expr) => {
        match $self {
            AnyVenue::Binance($venue) => $call,
            AnyVenue::Kraken($venue) => $call,
        }
    };
}

impl Venue for AnyVenue {
    fn name(&self) -> &'static str {
        forward!(self, venue => venue.name())
    }

    fn endpoints(&self) -> &[Endpoint] {
        forward!(self, venue => venue.endpoints())
    }

    fn on_open(&mut self, link: Link, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        forward!(self, venue => venue.on_open(link, times, sink, out))
    }

    fn on_close(&mut self, link: Link, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        forward!(self, venue => venue.on_close(link, times, sink, out))
    }

    #[inline]
    fn on_message(&mut self, link: Link, kind: MessageKind, payload: &[u8], times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        forward!(self, venue => venue.on_message(link, kind, payload, times, sink, out))
    }

    fn on_cold(&mut self, event: &Event, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        forward!(self, venue => venue.on_cold(event, times, sink, out))
    }

    fn on_timer(&mut self, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        forward!(self, venue => venue.on_timer(times, sink, out))
    }

    #[inline]
    fn execute(&mut self, command: &Event, times: Times, out: &mut Outbox) -> Result<(), ExecuteError> {
        forward!(self, venue => venue.execute(command, times, out))
    }

    fn resync(&mut self, instrument: InstrumentId, reason: BookInvalid, times: Times, sink: &mut impl EventSink, out: &mut Outbox) {
        forward!(self, venue => venue.resync(instrument, reason, times, sink, out))
    }

    fn is_ready(&self, role: Role) -> bool {
        forward!(self, venue => venue.is_ready(role))
    }

    fn adopt_order(&mut self, order: OrderId, instrument: InstrumentId, venue_order_id: Option<&str>) {
        forward!(self, venue => venue.adopt_order(order, instrument, venue_order_id))
    }

    fn counters(&self) -> &VenueCounters {
        forward!(self, venue => venue.counters())
    }

    fn take_notice(&mut self) -> Option<&str> {
        forward!(self, venue => venue.take_notice())
    }

    fn touch_order(&self, order: OrderId) {
        forward!(self, venue => venue.touch_order(order));
    }

    fn begin_rehearsal(&mut self, command: &Event, times: Times) -> bool {
        forward!(self, venue => venue.begin_rehearsal(command, times))
    }

    fn end_rehearsal(&mut self, command: &Event) {
        forward!(self, venue => venue.end_rehearsal(command));
    }

    fn take_closing(&mut self, role: Role) -> bool {
        forward!(self, venue => venue.take_closing(role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::Encoding;
    use engine_core::ids::VenueId;
    use engine_core::instrument::{AssetTable, InstrumentTable};

    #[test]
    fn every_name_has_its_parts_and_no_other_has() {
        let (instruments, assets) = (InstrumentTable::new(), AssetTable::new());
        for name in NAMES {
            let settings = VenueSettings {
                id: VenueId(0),
                hosts: default_hosts(name).unwrap(),
                credentials: None,
                encoding: Encoding::Json,
                dead_man_s: 0,
                cancel_reserve_percent: 20,
                request_window_ms: 0,
            };
            assert!(any_rest(name, &settings).is_ok());
            let venue = any_venue(name, VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 1 }).unwrap();
            assert_eq!(venue.name(), name);
            assert_eq!(venue.endpoints().len(), 1, "market data only");
        }
        assert!(default_hosts("mtgox").is_none());
    }
}
