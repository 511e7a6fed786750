//! Names that a private stream mentions (orders, assets) and the ids that they stand for.
//!
//! In the engine, names are *closed*: an order is ours if its client id is one of our texts, an asset is
//! known if it is in the table. The `decode` tool reads other people's recordings, so there names are
//! *open*: every stranger gets an id, and the text can be had back for printing.

use engine_core::ids::{AssetId, OrderId};
use engine_core::instrument::AssetTable;

/// Names opened for recordings; bounded, because a recording is hostile input too.
const STRANGERS_MAX: usize = 1 << 20;

/// Looks up orders and assets by the texts that a venue uses for them.
#[derive(Clone, Debug)]
pub struct Names {
    assets: AssetTable,
    strangers: Option<Vec<String>>,
}

impl Names {
    /// Closed: the engine's.
    pub fn closed(assets: &AssetTable) -> Names {
        Names { assets: assets.clone(), strangers: None }
    }

    /// Open: the `decode` tool's.
    pub fn open() -> Names {
        Names { assets: AssetTable::new(), strangers: Some(Vec::new()) }
    }

    /// The order that a client id names. Ids given to strangers (open mode) are of epoch 0, which no node ever has.
    #[inline]
    pub fn order(&mut self, text: &[u8]) -> Option<OrderId> {
        match OrderId::from_text(text) {
            Some(id) if id.epoch() != 0 || self.strangers.is_none() => Some(id),
            _ => self.stranger(text),
        }
    }

    #[cold]
    fn stranger(&mut self, text: &[u8]) -> Option<OrderId> {
        let strangers = self.strangers.as_mut()?;
        let text = core::str::from_utf8(text).ok().filter(|t| !t.is_empty() && t.len() <= 64)?;
        // Newest first: reports of one order come close together.
        let at = match strangers.iter().rposition(|t| t == text) {
            Some(at) => at,
            None if strangers.len() < STRANGERS_MAX => {
                strangers.push(text.to_owned());
                strangers.len() - 1
            }
            None => return None,
        };
        Some(OrderId::new(0, at as u32 + 1))
    }

    /// The asset of this name.
    #[inline]
    pub fn asset(&mut self, text: &[u8]) -> Option<AssetId> {
        self.assets.find(text).or_else(|| self.strange_asset(text))
    }

    #[cold]
    fn strange_asset(&mut self, text: &[u8]) -> Option<AssetId> {
        self.strangers.as_ref()?;
        let text = core::str::from_utf8(text).ok().filter(|t| !t.is_empty() && t.len() <= 64)?;
        (self.assets.len() < usize::from(u16::MAX)).then(|| self.assets.intern(text))
    }

    /// The client id of an order, as the venue has it.
    pub fn order_text(&self, order: OrderId) -> String {
        let stranger = self.strangers.as_ref().filter(|_| order.epoch() == 0);
        match stranger.and_then(|s| s.get((order.sequence() as usize).wrapping_sub(1))) {
            Some(text) => text.clone(),
            None => order.to_string(),
        }
    }

    /// The assets.
    pub fn assets(&self) -> &AssetTable {
        &self.assets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_named_only_in_open_mode_and_keep_their_text() {
        let ours = OrderId::new(3, 7);
        let mut closed = Names::closed(&AssetTable::new());
        assert_eq!((closed.order(&ours.to_text()), closed.order(b"eng-7f3a_01"), closed.asset(b"BTC")), (Some(ours), None, None));
        let mut open = Names::open();
        let stranger = open.order(b"eng-7f3a_01").unwrap();
        assert_eq!(open.order(b"other").map(|o| o == stranger), Some(false));
        assert_eq!(open.order(b"eng-7f3a_01"), Some(stranger));
        assert_eq!(open.order_text(stranger), "eng-7f3a_01");
        assert_eq!(open.order(&ours.to_text()), Some(ours));
        assert_eq!(open.order_text(ours), ours.to_string());
        assert_eq!(open.asset(b"BTC").map(|a| open.assets().name(a).to_owned()), Some("BTC".to_owned()));
    }
}
