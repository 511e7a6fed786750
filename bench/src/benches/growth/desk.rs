//! The core behind the markets: everything up and allowed, and a strategy that trades them all.

use super::market::Market;
use anyhow::anyhow;
use engine_core::book::BookConfig;
use engine_core::config::{
    AssetLimits, Capacity, CoreConfig, GlobalLimits, InstrumentLimits, RateLimit, StrategyConfig, StrategyLimits, Timing, VenueConfig,
};
use engine_core::core::Core;
use engine_core::event::Side;
use engine_core::fixed::{Money, Qty};
use engine_core::ids::{AssetId, InstrumentId};
use engine_core::instrument::{AssetTable, InstrumentTable};
use engine_core::state_hash::StateHasher;
use engine_core::strategy::{BookState, Context, NewOrder, Strategy};

const SECOND_NS: u64 = 1_000_000_000;
/// The strategy waits so long from one order to the next.
pub const ORDER_EVERY_NS: u64 = 2 * SECOND_NS;
/// Of what an order is for, in units of 10^-8.
const ORDER_QTY: Qty = Qty(100_000);

/// Places an order at the best bid of the book that has just changed, if the last one is long ago.
#[derive(Default)]
struct Placing {
    last_ns: u64,
}

impl Strategy for Placing {
    fn name(&self) -> &str {
        "placing"
    }

    fn on_book(&mut self, ctx: &mut Context<'_>, instrument: InstrumentId) {
        if ctx.now_ns().saturating_sub(self.last_ns) < ORDER_EVERY_NS || ctx.book_state(instrument) != BookState::Valid {
            return;
        }
        let Some(bid) = ctx.book(instrument).and_then(|book| book.best(Side::Buy)) else { return };
        let order = NewOrder { instrument, side: Side::Buy, price: bid.price, qty: ORDER_QTY, post_only: true, ioc: false };
        if ctx.place(order).is_ok() {
            self.last_ns = ctx.now_ns();
        }
    }

    fn hash_state(&self, hasher: &mut StateHasher) {
        hasher.write_u64(self.last_ns);
    }
}

fn units(n: i64) -> Money {
    Money::from_scaled(n, 0)
}

/// The tables of these markets: an asset for each name.
pub fn tables(markets: &[(Market, String)]) -> anyhow::Result<(InstrumentTable, AssetTable)> {
    let (mut instruments, mut assets) = (InstrumentTable::new(), AssetTable::new());
    let quote = assets.intern("USD");
    for (market, name) in markets {
        let base = assets.intern(name);
        let id = instruments.add(market.as_instrument(base, quote)).map_err(|error| anyhow!("{error:?}"))?;
        anyhow::ensure!(id == market.instrument, "instruments are numbered in their order");
    }
    Ok((instruments, assets))
}

/// A core for so many venues. `funded`: orders are paid from balances, which have to be stated.
pub fn core(venues: usize, instruments: InstrumentTable, assets: AssetTable, funded: bool) -> anyhow::Result<Core> {
    let rate = RateLimit::per_second(1_000);
    let reporting_asset = assets.find(b"USD").ok_or_else(|| anyhow!("no asset to report in"))?;
    let limits = InstrumentLimits {
        order_min: Qty(1),
        order_max: Qty(1_000_000_000),
        position_max: Qty(100_000_000_000),
        notional_max: units(10_000_000),
        open_orders_max: 100,
        price_collar_ppm: None,
        stale_after_ns: None,
    };
    let config = CoreConfig {
        instrument_limits: vec![Some(limits); instruments.len()],
        asset_limits: (0..assets.len()).map(|id| AssetLimits { asset: AssetId(id as u16), exposure_max: units(1_000_000) }).collect(),
        venues: (0..venues)
            .map(|id| VenueConfig {
                name: format!("venue{id}"),
                exposure_max: units(1_000_000_000),
                open_orders_max: 100,
                order_rate: rate,
                message_rate: rate,
                check_balance: funded,
                require_reconcile: false,
                book: BookConfig::default(),
            })
            .collect(),
        strategies: vec![StrategyConfig {
            name: "placing".into(),
            instruments: (0..instruments.len()).map(|id| InstrumentId(id as u16)).collect(),
            limits: StrategyLimits {
                position_max: units(1_000_000),
                exposure_max: None,
                open_orders_max: 100,
                daily_loss_max: units(1_000_000_000),
                drawdown_max: None,
                order_rate: rate,
            },
            enabled: true,
        }],
        reporting_asset,
        conversion: Vec::new(),
        limits: GlobalLimits {
            exposure_max: units(1_000_000_000),
            daily_loss_max: units(1_000_000_000),
            drawdown_max: units(1_000_000_000),
            open_orders_max: 1_000,
            order_rate: rate,
            cancel_rate: rate,
            reject_burst: RateLimit::per_second(RateLimit::COUNT_MAX),
            fill_burst: rate,
            clock_skew_max_ns: u64::MAX / 4,
            duplicate_window_ns: 1,
            stale_after_ns: 365 * 86_400 * SECOND_NS,
            price_collar_ppm: 500_000,
            reduce_when_stale: false,
            suspend_on_foreign_order: false,
            halt_on_balance_mismatch: false,
        },
        timing: Timing::default(),
        capacity: Capacity::default(),
        state_hash_every: 0,
        assets,
        instruments,
    };
    Ok(Core::new(config, vec![Box::new(Placing::default())])?)
}
