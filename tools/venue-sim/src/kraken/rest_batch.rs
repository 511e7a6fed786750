//! Kraken REST batches: `AddOrderBatch` and `CancelOrderBatch`, whose bodies are JSON.

use serde_json::value::RawValue;

use super::rest::{Answer, DEADLINE_MIN_NS, rest_order_params};
use super::{Kraken, ids};
use crate::json::{Object, array};
use crate::ledger::AccountId;
use crate::wire::{Params, params_from_json};

impl Kraken {
    /// `AddOrderBatch`: 2 to 15 orders of one pair. A bad row refuses the whole; an order that only the
    /// engine refuses fails alone.
    pub(super) fn rest_batch_add(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Answer {
        let market = self.rest_market(params)?;
        let rows: Vec<&RawValue> =
            params.get("orders").and_then(|text| serde_json::from_str(text).ok()).ok_or("EGeneral:Invalid arguments:orders")?;
        if !(2..=15).contains(&rows.len()) {
            return Err("EGeneral:Invalid arguments:orders".into());
        }
        let mut checked = Vec::with_capacity(rows.len());
        let mut texts = Vec::with_capacity(rows.len());
        for row in rows {
            let mut fields = params_from_json(row).ok_or("EGeneral:Invalid arguments:orders")?;
            for name in ["deadline", "validate"] {
                if let Some(text) = params.get(name) {
                    fields.insert(name.into(), text.clone());
                }
            }
            let (new, validate) = self.new_order(now_ns, account, market, &rest_order_params(&fields)?, DEADLINE_MIN_NS)?;
            texts.push(self.order_description(&new));
            checked.push((new, validate));
        }
        let placed = self.place_batch(now_ns, account, market, checked)?;
        let mut out = Vec::with_capacity(256);
        let mut object = Object::new(&mut out);
        array(object.key("orders"), placed.iter().zip(&texts), |out, (row, text)| {
            let mut o = Object::new(out);
            match row {
                Ok(placed) => {
                    if let Some(id) = placed.id {
                        o.str("txid", &ids::text('O', id));
                    }
                    Object::new(o.key("descr")).str("order", text).end();
                }
                Err(error) => {
                    o.str("error", error);
                }
            }
            o.end();
        });
        object.end();
        Ok(out)
    }

    /// `CancelOrderBatch`: up to 50 orders by their ids or client ids.
    pub(super) fn rest_batch_cancel(&mut self, now_ns: u64, account: AccountId, params: &Params) -> Answer {
        let mut common = Params::new();
        for (from, to) in [("orders", "orders"), ("cl_ord_ids", "cl_ord_id")] {
            if let Some(text) = params.get(from) {
                common.insert(to.into(), text.clone());
            }
        }
        self.batch_cancel(now_ns, account, &common)
    }
}
