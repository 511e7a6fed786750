//! Kraken's REST dialect.

use crate::rest::{HttpRequest, RestError, RestQuery, RestReply, Tables, VenueRest};
use crate::venue::{VenueError, VenueSettings};
use engine_core::instrument::{AssetTable, InstrumentTable};

/// Kraken's REST dialect.
pub struct KrakenRest {}

impl KrakenRest {
    /// Builds it; without credentials only public queries work.
    pub fn new(_settings: &VenueSettings) -> Result<KrakenRest, VenueError> {
        Ok(KrakenRest {})
    }
}

impl VenueRest for KrakenRest {
    fn request(&mut self, _query: &RestQuery, _tables: Tables<'_>, _now_ns: u64) -> Result<HttpRequest, RestError> {
        Err(RestError::Unsupported("not built yet"))
    }

    fn parse(
        &mut self,
        _query: &RestQuery,
        _status: u16,
        _headers: &[(String, String)],
        _body: &[u8],
        _instruments: &InstrumentTable,
        _assets: &mut AssetTable,
    ) -> Result<RestReply, RestError> {
        Err(RestError::Unsupported("not built yet"))
    }
}
