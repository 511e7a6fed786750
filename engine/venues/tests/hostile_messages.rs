//! Messages that once went through although they should not have: found by the fuzz targets.

use engine_core::event::Event;
use venues::binance::message::Scratch;
use venues::binance::stream;
use venues::decode::{Channel, LineDecoder};
use venues::kraken::decoder::KrakenDecoder;
use venues::symbols::SymbolIndex;
use venues::venue::MessageKind;

fn binance(text: &str) -> Result<String, String> {
    let mut symbols = SymbolIndex::open(2, 8);
    match stream::parse(text.as_bytes(), &mut symbols, &mut Scratch::default(), |_| {}) {
        Ok(message) => Ok(format!("{message:?}")),
        Err(error) => Err(error.error.to_string()),
    }
}

fn kraken(text: &str) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    let result = KrakenDecoder::new(Channel::Public).decode(MessageKind::Text, "", text.as_bytes(), &mut events);
    result.map(|_| events).map_err(|error| error.to_string())
}

#[test]
fn a_wrapped_message_counts_only_if_it_is_whole() {
    let trade = r#"{"e":"trade","s":"BTCUSDT","t":7,"p":"1.00","q":"1","m":true}"#;
    assert!(binance(&format!(r#"{{"stream":"btcusdt@trade","data":{trade}}}"#)).is_ok());
    assert!(binance(&format!(r#"{{"data":{trade},"stream":"btcusdt@trade"}}"#)).is_ok());
    assert!(binance(&format!(r#"{{"data":{trade},"stream":"btcusdt@trade"}}]"#)).is_err(), "something behind the end");
    assert!(binance(r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#).is_ok_and(|m| m == "Shutdown"));
    assert!(binance(r#"{"stream":"!serverShutdown","data":nonsense"#).is_err());
    assert!(binance(r#"{"stream":"!serverShutdown","data":{}} "#).is_ok());
}

#[test]
fn a_best_quote_with_a_quantity_has_a_price() {
    let quote = |bid: &str, qty: &str| binance(&format!(r#"{{"u":1,"s":"BTCUSDT","b":"{bid}","B":"{qty}","a":"2.00","A":"1"}}"#));
    assert!(quote("1.00", "1").is_ok() && quote("0.00", "0").is_ok(), "an empty side has none");
    assert!(quote("0.00", "1").is_err());

    let ticker = |bid: &str, qty: &str| {
        kraken(&format!(r#"{{"channel":"ticker","data":[{{"symbol":"BTC/USD","bid":{bid},"bid_qty":{qty},"ask":2.0,"ask_qty":1.0}}]}}"#))
    };
    assert_eq!(ticker("1.0", "1.0").map(|events| events.len()), Ok(2));
    for (bid, qty) in [("0.0", "1.0"), ("-1.0", "1.0"), ("1.0", "-1.0")] {
        assert!(ticker(bid, qty).is_err(), "{bid} {qty}");
    }
    assert!(kraken(r#"[0,["0.0","2.0","1542057299.5","1.0","1.0"],"spread","XBT/USD"]"#).is_err());
}
