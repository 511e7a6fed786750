//! The decode tool's library on Binance messages: raw lines, capture lines, private messages, errors.

use serde_json::Value;
use venues::decode::{Channel, Decoder};

fn decode(channel: Channel, line: &str) -> Vec<Value> {
    let mut decoder = Decoder::new("binance", channel).unwrap();
    let mut out = Vec::new();
    decoder.decode_line(line.as_bytes(), &mut out);
    out.split(|&c| c == b'\n').filter(|o| !o.is_empty()).map(|o| serde_json::from_slice(o).unwrap()).collect()
}

#[test]
fn public_messages_become_objects_with_exact_numbers() {
    let line = r#"{"e":"depthUpdate","E":1767225600105,"s":"BTCUSDT","U":54321000701,"u":54321000777,"b":[["68250.10","1.50000000"],["68249.90","0.00000000"]],"a":[["68250.11","0.42000000"]]}"#;
    let objects = decode(Channel::Public, line);
    assert_eq!(objects.len(), 3);
    assert_eq!(
        objects[1],
        serde_json::json!({"kind":"book_level","instrument":"BTCUSDT","side":"buy","price":"68249.9","qty":"0","sequence":"54321000777",
            "venue_time_ns":"1767225600105000000","last":false})
    );
    let capture = serde_json::json!({"t":1.5,"dir":"in","conn":"wss://x","data":line}).to_string();
    assert_eq!(decode(Channel::Public, &capture), objects);
    let sent = serde_json::json!({"t":1.5,"dir":"out","conn":"wss://x","data":line}).to_string();
    assert!(decode(Channel::Public, &sent).is_empty(), "what was sent is passed over");
    let binary = "MgARJwEAAABAIiJGSEcGAEmxyKUMAAAA/vsyJGgAAAAAAPBJAgAAAAAAMyRoAAAAAAAQpAAAAAAAAAdCVENVU0RU";
    let objects = decode(Channel::Public, &serde_json::json!({"t":1.5,"dir":"in","conn":"wss://x","b64":binary}).to_string());
    assert_eq!((&objects[0]["kind"], &objects[0]["price"], &objects[1]["qty"]), (&"top_of_book".into(), &"68250.1".into(), &"0.42".into()));
    let snapshot = serde_json::json!({"t":1,"dir":"in","conn":"https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=5",
        "data":r#"{"lastUpdateId":7,"bids":[["1.5","2"]],"asks":[["1.6","0.00000001"]]}"#});
    let objects = decode(Channel::Public, &snapshot.to_string());
    assert_eq!((&objects[0]["clear"], &objects[0]["snapshot"], &objects[1]["qty"]), (&true.into(), &true.into(), &"0.00000001".into()));
}

#[test]
fn private_messages_keep_the_text_of_strange_orders() {
    let line = r#"{"subscriptionId":0,"event":{"e":"executionReport","E":1767225600140,"s":"BTCUSDT","c":"eng-7f3a_01","S":"BUY","o":"LIMIT","f":"GTC","q":"0.00150000","p":"68250.10000000","P":"0.00000000","F":"0.00000000","g":-1,"C":"","x":"TRADE","X":"PARTIALLY_FILLED","r":"NONE","i":38500112233,"l":"0.00050000","z":"0.00050000","L":"68250.10000000","n":"0.00000050","N":"BTC","T":1767225600139,"t":4400123457,"I":81234567890,"w":true,"m":true,"M":false,"O":1767225600131,"Z":"34.12505000","Y":"34.12505000","Q":"0.00000000","W":1767225600131,"V":"EXPIRE_MAKER"}}"#;
    let objects = decode(Channel::Private, line);
    assert_eq!((&objects[0]["kind"], &objects[0]["fee"], &objects[0]["asset"]), (&"fill_fee".into(), &"0.0000005".into(), &"BTC".into()));
    assert_eq!(
        (&objects[1]["kind"], &objects[1]["order"], &objects[1]["maker"]),
        (&"order_fill".into(), &"eng-7f3a_01".into(), &true.into())
    );
    let rows = [
        (
            r#"{"id":"n1","status":200,"result":{"symbol":"BTCUSDT","orderId":38500112233,"orderListId":-1,"clientOrderId":"eng-7f3a_01","transactTime":1767225600131},"rateLimits":[]}"#,
            "order_ack",
        ),
        (r#"{"id":"n3","status":400,"error":{"code":-2010,"msg":"Account has insufficient balance for requested action."}}"#, "control"),
        (
            r#"{"id":"c1","status":200,"result":{"symbol":"BTCUSDT","origClientOrderId":"eng-7f3a_01","orderId":38500112233,"orderListId":-1,"clientOrderId":"Zk3sGqT1aB7uWm0xYp5vRd","transactTime":1767225602007,"price":"68250.10000000","origQty":"0.00150000","executedQty":"0.00000000","origQuoteOrderQty":"0.000000","cummulativeQuoteQty":"0.00000000","status":"CANCELED","timeInForce":"GTC","type":"LIMIT","side":"BUY","selfTradePreventionMode":"EXPIRE_MAKER"}}"#,
            "order_canceled",
        ),
        (
            r#"{"id":"n2","status":200,"result":{"symbol":"BTCUSDT","orderId":38500112240,"orderListId":-1,"clientOrderId":"eng-7f3a_02","transactTime":1767225601002,"price":"0.00000000","origQty":"0.00200000","executedQty":"0.00200000","origQuoteOrderQty":"0.000000","cummulativeQuoteQty":"136.50022000","status":"FILLED","timeInForce":"GTC","type":"MARKET","side":"BUY","workingTime":1767225601002,"selfTradePreventionMode":"EXPIRE_MAKER","fills":[{"price":"68250.11","qty":"0.00200000","commission":"0.00000200","commissionAsset":"BTC","tradeId":4400123500}]}}"#,
            "order_status",
        ),
        (r#"{"id":"u1","status":200,"result":{"subscriptionId":0}}"#, "control"),
        (
            r#"{"subscriptionId":0,"event":{"e":"balanceUpdate","E":1767225700000,"a":"USDT","d":"500.00000000","T":1767225699990}}"#,
            "unused",
        ),
        (r#"{"subscriptionId":0,"event":{"e":"outboundAccountPosition","E":1,"u":1,"B":[{"a":"BTC","f":"0.5","l":"0.0"}]}}"#, "balance"),
    ];
    for (line, kind) in rows {
        let objects = decode(Channel::Private, line);
        assert_eq!((objects.len(), &objects[0]["kind"]), (1, &kind.into()), "{line}");
    }
}

#[test]
fn lines_that_cannot_be_decoded_give_an_error_and_the_run_goes_on() {
    let mut decoder = Decoder::new("binance", Channel::Public).unwrap();
    let mut out = Vec::new();
    for line in [
        "nonsense",
        "{\"e\":\"trade\",\"s\":\"BTCUSDT\"}",
        "{\"lastUpdateId\":1,\"bids\":[],\"asks\":[]}",
        "{}",
        "",
        "{\"result\":null,\"id\":1}",
    ] {
        decoder.decode_line(line.as_bytes(), &mut out);
    }
    assert_eq!(decoder.errors(), 4);
    let objects: Vec<Value> = out.split(|&c| c == b'\n').filter(|o| !o.is_empty()).map(|o| serde_json::from_slice(o).unwrap()).collect();
    assert_eq!((&objects[1]["error"], &objects[1]["line"]), (&"field missing: t at byte 27".into(), &"2".into()));
    assert_eq!(objects.last().unwrap()["kind"], "control");
    assert!(Decoder::new("mtgox", Channel::Public).is_err());
}
