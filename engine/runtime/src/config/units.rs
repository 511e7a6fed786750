//! Values with units, as they are written in the configuration: `"250ms"`, `"64MiB"`, `"1.5 BTC"`,
//! `"20 bps"`. A bare number, or a number with the wrong unit, is an error that says what was expected.

use engine_core::fixed::Money;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;
use std::net::Ipv4Addr;

/// A span of time, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub u64);

/// A size, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub u64);

/// An amount of a named asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// How much.
    pub value: Money,
    /// Of what, in the common spelling.
    pub asset: String,
}

/// A ratio in millionths (1 bps = 100).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ratio(pub i64);

/// So many in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In this span, nanoseconds.
    pub window_ns: u64,
}

/// A decimal number without a unit (a conversion rate, a risk aversion): exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Number(pub Money);

/// `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// DNS name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// `address/prefix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the network prefix.
    pub prefix_len: u8,
}

/// `first-last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

/// Splits `"12.5 ms"` into its number and its unit.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '_')).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn number(text: &str) -> Option<Money> {
    Money::parse(text.replace('_', "").as_bytes()).ok()
}

const ONE: i128 = 1_000_000_000_000_000_000;

/// `number` in `unit_size` steps, as an integer; `None` if it is negative, too large or not whole.
fn whole(text: &str, unit_size: u64) -> Option<u64> {
    let product = number(text)?.0.checked_mul(i128::from(unit_size))?;
    if product < 0 || product % ONE != 0 {
        return None;
    }
    u64::try_from(product / ONE).ok()
}

impl Span {
    /// Parses `"10us"`.
    pub fn parse(text: &str) -> Result<Span, String> {
        let (value, unit) = split(text);
        let size = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("\"{text}\" is not a span of time; expected a number with ns, us, ms, s, min or h, like \"250ms\"")),
        };
        whole(value, size).map(Span).ok_or_else(|| format!("\"{text}\" is not a whole, positive number of nanoseconds"))
    }
}

impl Bytes {
    /// Parses `"64MiB"`.
    pub fn parse(text: &str) -> Result<Bytes, String> {
        let (value, unit) = split(text);
        let size = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(format!("\"{text}\" is not a size; expected a number with B, KiB, MiB or GiB, like \"64MiB\"")),
        };
        whole(value, size).map(Bytes).ok_or_else(|| format!("\"{text}\" is not a whole, positive number of bytes"))
    }
}

impl Amount {
    /// Parses `"1.5 BTC"`.
    pub fn parse(text: &str) -> Result<Amount, String> {
        let (value, unit) = split(text);
        let named = !unit.is_empty() && unit.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        match number(value) {
            Some(value) if named => Ok(Amount { value, asset: unit.to_owned() }),
            _ => Err(format!("\"{text}\" is not an amount; expected a number and an asset, like \"1.5 BTC\" or \"1000 USD\"")),
        }
    }
}

impl Ratio {
    /// Parses `"20 bps"`, `"0.5 %"` or `"150 ppm"`.
    pub fn parse(text: &str) -> Result<Ratio, String> {
        let (value, unit) = split(text);
        let millionths = match unit {
            "bps" => 100,
            "%" => 10_000,
            "ppm" => 1,
            _ => return Err(format!("\"{text}\" is not a ratio; expected a number with bps, % or ppm, like \"20 bps\"")),
        };
        number(value)
            .and_then(|v| v.0.checked_mul(millionths))
            .filter(|v| v % ONE == 0)
            .and_then(|v| i64::try_from(v / ONE).ok())
            .map(Ratio)
            .ok_or_else(|| format!("\"{text}\" is not a whole number of millionths"))
    }
}

impl Rate {
    /// Parses `"100/1s"`.
    pub fn parse(text: &str) -> Result<Rate, String> {
        let expected = || format!("\"{text}\" is not a rate; expected a count and a span, like \"100/1s\"");
        let (count, span) = text.split_once('/').ok_or_else(expected)?;
        let count = count.trim().parse().map_err(|_| expected())?;
        let span = Span::parse(span).map_err(|_| expected())?;
        if span.0 == 0 {
            return Err(expected());
        }
        Ok(Rate { count, window_ns: span.0 })
    }
}

impl Number {
    /// Parses `"0.25"`.
    pub fn parse(text: &str) -> Result<Number, String> {
        number(text.trim()).map(Number).ok_or_else(|| format!("\"{text}\" is not a decimal number, like \"0.25\""))
    }
}

impl HostPort {
    /// Parses `"host:443"`.
    pub fn parse(text: &str) -> Result<HostPort, String> {
        let parsed = text.rsplit_once(':').and_then(|(host, port)| {
            let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
            plain.then_some(())?;
            Some(HostPort { host: host.to_owned(), port: port.parse().ok().filter(|&p| p != 0)? })
        });
        parsed.ok_or_else(|| format!("\"{text}\" is not a host and port, like \"api.binance.com:443\""))
    }
}

impl Network {
    /// Parses `"10.0.0.5/24"`.
    pub fn parse(text: &str) -> Result<Network, String> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            Some(Network { address: address.parse().ok()?, prefix_len: prefix.parse().ok().filter(|&p| p <= 32)? })
        });
        parsed.ok_or_else(|| format!("\"{text}\" is not an IPv4 address with its prefix, like \"10.0.0.5/24\""))
    }
}

impl PortRange {
    /// Parses `"40000-40999"`.
    pub fn parse(text: &str) -> Result<PortRange, String> {
        let parsed = text
            .split_once('-')
            .and_then(|(first, last)| Some(PortRange { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? }))
            .filter(|r| r.first > 0 && r.first <= r.last);
        parsed.ok_or_else(|| format!("\"{text}\" is not a range of ports, like \"40000-40999\""))
    }
}

/// Deserialises a type with an inherent `parse` from a string.
macro_rules! from_string {
    ($($name:ident expects $what:literal),* $(,)?) => {
        $(impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        })*
    };
}

from_string! {
    Span expects "a span of time in quotes with its unit, like \"250ms\"",
    Bytes expects "a size in quotes with its unit, like \"64MiB\"",
    Amount expects "an amount in quotes with its asset, like \"1.5 BTC\"",
    Ratio expects "a ratio in quotes with its unit, like \"20 bps\"",
    Rate expects "a rate in quotes, like \"100/1s\"",
    Number expects "a decimal number in quotes, like \"0.25\"",
    HostPort expects "a host and port in quotes, like \"api.binance.com:443\"",
    Network expects "an IPv4 address with its prefix in quotes, like \"10.0.0.5/24\"",
    PortRange expects "a range of ports in quotes, like \"40000-40999\"",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_units_are_exact() {
        assert_eq!(Span::parse("250ms"), Ok(Span(250_000_000)));
        assert_eq!(Span::parse("1.5 us"), Ok(Span(1_500)));
        assert_eq!(Span::parse("24h"), Ok(Span(86_400_000_000_000)));
        assert_eq!(Bytes::parse("64MiB"), Ok(Bytes(64 << 20)));
        assert_eq!(Ratio::parse("20 bps"), Ok(Ratio(2_000)));
        assert_eq!(Ratio::parse("-0.5bps"), Ok(Ratio(-50)));
        assert_eq!(Ratio::parse("0.1%"), Ok(Ratio(1_000)));
        assert_eq!(Rate::parse("100/10s"), Ok(Rate { count: 100, window_ns: 10_000_000_000 }));
        assert_eq!(Amount::parse("10_000.5 USDT").unwrap().value.to_string(), "10000.5");
        assert_eq!(Network::parse("10.0.0.5/24").unwrap().prefix_len, 24);
        assert_eq!(PortRange::parse("40000-40999"), Ok(PortRange { first: 40_000, last: 40_999 }));
        assert_eq!(HostPort::parse("ws.kraken.com:443").unwrap().port, 443);
    }

    #[test]
    fn wrong_units_say_what_was_expected() {
        for (error, expected) in [
            (Span::parse("250").unwrap_err(), "expected a number with ns"),
            (Span::parse("250MiB").unwrap_err(), "expected a number with ns"),
            (Span::parse("0.5ns").unwrap_err(), "whole"),
            (Span::parse("-1s").unwrap_err(), "positive"),
            (Bytes::parse("64MB").unwrap_err(), "MiB"),
            (Amount::parse("1.5").unwrap_err(), "asset"),
            (Amount::parse("BTC").unwrap_err(), "asset"),
            (Ratio::parse("20").unwrap_err(), "bps"),
            (Rate::parse("100").unwrap_err(), "100/1s"),
            (Rate::parse("100/0s").unwrap_err(), "100/1s"),
            (HostPort::parse("host").unwrap_err(), "host and port"),
            (HostPort::parse("a b:1").unwrap_err(), "host and port"),
            (Network::parse("10.0.0.5").unwrap_err(), "prefix"),
            (PortRange::parse("9-8").unwrap_err(), "range"),
        ] {
            assert!(error.contains(expected), "{error}");
        }
    }
}
