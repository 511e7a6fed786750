//! The venues' messages as `serde_json` gives them: what a competent engineer would write.

use super::rig::Feed;
use crate::benches::{BLOCK, ONE};
use crate::measure::Side;
use crate::messages::{Message, binance, kraken};
use anyhow::Context;
use engine_core::fixed::Price;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::fmt;
use std::hint::black_box;

/// A message as `serde_json` gives it.
pub trait Typed<'a> {
    /// Parses, and frees what it took.
    fn parse_and_drop(bytes: &[u8]) -> serde_json::Result<()>;
}

macro_rules! typed {
    ($($name:ident),*) => {
        $(impl<'a> Typed<'a> for $name<'a> {
            #[inline]
            fn parse_and_drop(bytes: &[u8]) -> serde_json::Result<()> {
                let message: $name<'_> = serde_json::from_slice(black_box(bytes))?;
                black_box(&message);
                Ok(())
            }
        })*
    };
}

typed!(DepthUpdate, BookTicker, TradeMessage, BookMessage);

/// A number in a text, at a scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted<const SCALE: u8>(pub i64);

impl<'de, const SCALE: u8> Deserialize<'de> for Quoted<SCALE> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<const SCALE: u8>;
        impl<const SCALE: u8> Visitor<'_> for Text<SCALE> {
            type Value = Quoted<SCALE>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number in a text")
            }

            #[inline]
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quoted<SCALE>, E> {
                Price::parse(text.as_bytes(), SCALE).map(|price| Quoted(price.0)).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A bare number, at a scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bare<const SCALE: u8>(pub i64);

impl<'de, const SCALE: u8> Deserialize<'de> for Bare<SCALE> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Ok(Bare((value * engine_core::fixed::POW10[SCALE as usize] as f64).round() as i64))
    }
}

/// A price of Binance's.
pub type BinancePrice = Quoted<{ binance::PRICE_SCALE as u8 }>;
/// A quantity of Binance's.
pub type BinanceQty = Quoted<{ binance::QTY_SCALE as u8 }>;

/// Binance's difference of a book.
#[derive(Deserialize, Debug)]
#[allow(missing_docs, reason = "the venue's names")]
pub struct DepthUpdate<'a> {
    #[serde(rename = "e")]
    pub kind: &'a str,
    #[serde(rename = "E")]
    pub time_us: u64,
    #[serde(rename = "s")]
    pub symbol: &'a str,
    #[serde(rename = "U")]
    pub first: u64,
    #[serde(rename = "u")]
    pub last: u64,
    #[serde(rename = "b")]
    pub bids: Vec<(BinancePrice, BinanceQty)>,
    #[serde(rename = "a")]
    pub asks: Vec<(BinancePrice, BinanceQty)>,
}

/// Binance's best prices.
#[derive(Deserialize, Debug)]
#[allow(missing_docs, reason = "the venue's names")]
pub struct BookTicker<'a> {
    #[serde(rename = "u")]
    pub id: u64,
    #[serde(rename = "s")]
    pub symbol: &'a str,
    #[serde(rename = "b")]
    pub bid: BinancePrice,
    #[serde(rename = "B")]
    pub bid_qty: BinanceQty,
    #[serde(rename = "a")]
    pub ask: BinancePrice,
    #[serde(rename = "A")]
    pub ask_qty: BinanceQty,
}

/// Binance's trade.
#[derive(Deserialize, Debug)]
#[allow(missing_docs, reason = "the venue's names")]
pub struct TradeMessage<'a> {
    #[serde(rename = "e")]
    pub kind: &'a str,
    #[serde(rename = "s")]
    pub symbol: &'a str,
    #[serde(rename = "t")]
    pub id: u64,
    #[serde(rename = "p")]
    pub price: BinancePrice,
    #[serde(rename = "q")]
    pub qty: BinanceQty,
    #[serde(rename = "T")]
    pub time_us: u64,
    #[serde(rename = "m")]
    pub buyer_is_maker: bool,
}

/// A row of Kraken's book.
#[derive(Deserialize, Debug)]
#[allow(missing_docs, reason = "the venue's names")]
pub struct KrakenLevel {
    pub price: Bare<{ kraken::PRICE_SCALE as u8 }>,
    pub qty: Bare<{ kraken::QTY_SCALE as u8 }>,
}

/// Kraken's changes of one book.
#[derive(Deserialize, Debug)]
#[allow(missing_docs, reason = "the venue's names")]
pub struct BookData<'a> {
    pub symbol: &'a str,
    pub bids: Vec<KrakenLevel>,
    pub asks: Vec<KrakenLevel>,
    pub checksum: u32,
    pub timestamp: &'a str,
}

/// Kraken's message about a book.
#[derive(Deserialize, Debug)]
#[allow(missing_docs, reason = "the venue's names")]
pub struct BookMessage<'a> {
    pub channel: &'a str,
    #[serde(rename = "type")]
    pub kind: &'a str,
    #[serde(borrow)]
    pub data: [BookData<'a>; 1],
}

/// `serde_json` on these messages.
pub fn side<'a, T: Typed<'a>>(name: &'static str, messages: &'a [Message]) -> Side<'a> {
    let (mut feed, mut frame) = (Feed::new(messages), Vec::new());
    Side::new(name, ONE, move |meter| {
        for _ in 0..BLOCK {
            let bytes = feed.next(&mut frame);
            meter.time(0, || T::parse_and_drop(bytes)).context("serde_json")?;
        }
        Ok(())
    })
}
