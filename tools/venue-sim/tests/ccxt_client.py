"""Trades on the simulated venues with ccxt, a client library that knows the real ones.

Usage: ccxt_client.py SETTINGS.json

SETTINGS holds the addresses, keys and CA file of a running simulation. For each venue the client loads
markets, fetches and watches the book, watches trades, places, amends and cancels orders over REST and
WebSocket, provokes refusals, and reads balances, open orders and its own trades. Any surprise raises, so
the exit status tells. Prints one line per step.
"""

import asyncio
import json
import sys

import ccxt
import ccxt.pro

STEP_SECONDS_MAX = 20


def log(venue, text):
    print(f"{venue}: {text}", flush=True)


async def step(venue, name, awaitable):
    result = await asyncio.wait_for(awaitable, STEP_SECONDS_MAX)
    log(venue, f"{name} ok")
    return result


async def must_fail(venue, name, error, awaitable):
    try:
        await asyncio.wait_for(awaitable, STEP_SECONDS_MAX)
    except error as caught:
        log(venue, f"{name} refused as it should be: {type(caught).__name__}")
        return
    raise AssertionError(f"{venue}: {name} was not refused")


def check_book(book):
    assert len(book["bids"]) >= 5 and len(book["asks"]) >= 5, "a book has levels"
    assert book["bids"][0][0] < book["asks"][0][0], "a book is not crossed"


def make_binance(settings):
    rest, ws = settings["binance_rest"], settings["binance_ws"]
    exchange = ccxt.pro.binance({
        "apiKey": settings["binance_key"],
        "secret": settings["binance_secret"],
        "cafile": settings["ca_file"],
        "enableRateLimit": False,
        "options": {
            "defaultType": "spot",
            "fetchMarkets": {"types": ["spot"]},
            "fetchCurrencies": False,
            "fetchMargins": False,
            "adjustForTimeDifference": False,
            "warnOnFetchOpenOrdersWithoutSymbol": False,
        },
    })
    exchange.has["fetchCurrencies"] = False
    exchange.urls["api"]["public"] = rest + "/api/v3"
    exchange.urls["api"]["private"] = rest + "/api/v3"
    exchange.urls["api"]["ws"]["spot"] = ws + "/ws"
    exchange.urls["api"]["ws"]["ws-api"]["spot"] = ws + "/ws-api/v3"
    return exchange


def make_kraken(settings):
    exchange = ccxt.pro.kraken({
        "apiKey": settings["kraken_key"],
        "secret": settings["kraken_secret"],
        "cafile": settings["ca_file"],
        "enableRateLimit": False,
    })
    exchange.urls["api"]["public"] = settings["kraken_rest"]
    exchange.urls["api"]["private"] = settings["kraken_rest"]
    exchange.urls["api"]["ws"]["publicV2"] = settings["kraken_ws"] + "/v2"
    exchange.urls["api"]["ws"]["privateV2"] = settings["kraken_ws"] + "/v2-auth"
    return exchange


async def watch_market(venue, exchange, symbol):
    book = await step(venue, "watch_order_book", exchange.watch_order_book(symbol))
    check_book(book)
    for _ in range(50):
        book = await asyncio.wait_for(exchange.watch_order_book(symbol), STEP_SECONDS_MAX)
        check_book(book)
    log(venue, "50 book updates ok")
    trades = await step(venue, "watch_trades", exchange.watch_trades(symbol))
    assert trades and trades[-1]["price"] > 0 and trades[-1]["side"] in ("buy", "sell")
    public = await step(venue, "fetch_trades", exchange.fetch_trades(symbol))
    assert public and all(trade["amount"] > 0 for trade in public)
    ticker = await step(venue, "fetch_ticker", exchange.fetch_ticker(symbol))
    assert 0 < ticker["bid"] < ticker["ask"] and ticker["last"] > 0
    watched = await step(venue, "watch_ticker", exchange.watch_bids_asks([symbol]))
    assert watched[symbol]["bid"] > 0


async def trade(venue, exchange, symbol, amend):
    book = await step(venue, "fetch_order_book", exchange.fetch_order_book(symbol))
    check_book(book)
    bid, ask = book["bids"][0][0], book["asks"][0][0]
    low = float(exchange.price_to_precision(symbol, bid * 0.9))
    before = await step(venue, "fetch_balance", exchange.fetch_balance())
    assert before["total"]["USDT"] > 0

    resting = await step(venue, "create_order (rests)", exchange.create_order(symbol, "limit", "buy", 0.01, low))
    open_orders = await step(venue, "fetch_open_orders", exchange.fetch_open_orders(symbol))
    assert [order["id"] for order in open_orders] == [resting["id"]], open_orders
    assert abs(open_orders[0]["price"] - low) < 1e-9 and open_orders[0]["amount"] == 0.01
    held = await step(venue, "fetch_balance (held)", exchange.fetch_balance())
    assert held["free"]["USDT"] < before["free"]["USDT"], "an open order holds funds"

    amended_id = await step(venue, "amend", amend(resting["id"], low))
    open_orders = await step(venue, "fetch_open_orders (amended)", exchange.fetch_open_orders(symbol))
    assert len(open_orders) == 1 and open_orders[0]["amount"] == 0.005, open_orders
    await step(venue, "cancel_order", exchange.cancel_order(amended_id, symbol))
    assert await step(venue, "fetch_open_orders (none)", exchange.fetch_open_orders(symbol)) == []
    freed = await step(venue, "fetch_balance (freed)", exchange.fetch_balance())
    assert freed["free"]["USDT"] == before["free"]["USDT"]

    crossing = float(exchange.price_to_precision(symbol, ask * 1.01))
    taken = await step(venue, "create_order (takes)", exchange.create_order(symbol, "limit", "buy", 0.01, crossing))
    mine = await step(venue, "fetch_my_trades", exchange.fetch_my_trades(symbol))
    filled = sum(t["amount"] for t in mine if t["order"] == taken["id"])
    assert abs(filled - 0.01) < 1e-9, mine
    assert all(t["fee"]["cost"] > 0 for t in mine)
    order = await step(venue, "fetch_order", exchange.fetch_order(taken["id"], symbol))
    assert order["status"] == "closed" and abs(order["filled"] - 0.01) < 1e-9, order
    after = await step(venue, "fetch_balance (bought)", exchange.fetch_balance())
    assert after["total"]["BTC"] > before["total"].get("BTC", 0)
    await step(venue, "create_order (market sell)", exchange.create_order(symbol, "market", "sell", 0.005))

    await must_fail(venue, "too large an order", ccxt.InsufficientFunds, exchange.create_order(symbol, "limit", "buy", 1000, low))
    await must_fail(venue, "an unknown order's cancel", ccxt.OrderNotFound, exchange.cancel_order(resting["id"], symbol))


async def binance(settings):
    exchange = make_binance(settings)
    symbol = "BTC/USDT"
    try:
        markets = await step("binance", "load_markets", exchange.load_markets())
        assert "BTC/USDT" in markets and "ETH/USDT" in markets
        assert markets[symbol]["precision"] == {**markets[symbol]["precision"], "price": 0.01, "amount": 0.00001}
        await watch_market("binance", exchange, symbol)

        async def amend(order_id, _price):
            # ccxt has no call for amend keepPriority; its generic request signs it like any other.
            params = {"symbol": "BTCUSDT", "orderId": order_id, "newQty": "0.00500"}
            await exchange.request("order/amend/keepPriority", ["private"], "PUT", params)
            return order_id

        await trade("binance", exchange, symbol, amend)
        low = float(exchange.price_to_precision(symbol, (await exchange.fetch_order_book(symbol))["bids"][0][0] * 0.9))
        placed = await step("binance", "create_order_ws", exchange.create_order_ws(symbol, "limit", "buy", 0.01, low))
        edited = await step("binance", "edit_order (cancelReplace)", exchange.edit_order(placed["id"], symbol, "limit", "buy", 0.02, low))
        assert edited["id"] != placed["id"]
        watching = asyncio.ensure_future(exchange.watch_orders(symbol))
        await asyncio.sleep(1)
        await step("binance", "cancel_order_ws", exchange.cancel_order_ws(edited["id"], symbol))
        seen = await step("binance", "watch_orders", watching)
        assert seen[-1]["id"] == edited["id"] and seen[-1]["status"] == "canceled", seen
        maker = {"postOnly": True}
        high = float(exchange.price_to_precision(symbol, low * 1.3))
        await must_fail("binance", "a crossing post-only order", ccxt.InvalidOrder, exchange.create_order(symbol, "limit", "buy", 0.001, high, maker))
    finally:
        await exchange.close()


async def kraken(settings):
    exchange = make_kraken(settings)
    symbol = "BTC/USDT"
    try:
        markets = await step("kraken", "load_markets", exchange.load_markets())
        assert "BTC/USDT" in markets and "BTC/USD" in markets
        await watch_market("kraken", exchange, symbol)

        async def amend(order_id, price):
            # ccxt's edit is the venue's amend here: the order keeps its id, the answer names the amend.
            await exchange.edit_order(order_id, symbol, "limit", "buy", 0.005, price)
            return order_id

        await trade("kraken", exchange, symbol, amend)
        low = float(exchange.price_to_precision(symbol, (await exchange.fetch_order_book(symbol))["bids"][0][0] * 0.9))
        watching = asyncio.ensure_future(exchange.watch_orders(symbol))
        await asyncio.sleep(1)
        placed = await step("kraken", "create_order_ws", exchange.create_order_ws(symbol, "limit", "buy", 0.01, low))
        seen = await step("kraken", "watch_orders", watching)
        assert seen[-1]["id"] == placed["id"], seen
        await step("kraken", "edit_order_ws", exchange.edit_order_ws(placed["id"], symbol, "limit", "buy", 0.02, low))
        await step("kraken", "cancel_order_ws", exchange.cancel_order_ws(placed["id"]))
        assert await step("kraken", "fetch_open_orders (none)", exchange.fetch_open_orders(symbol)) == []
        balance = await step("kraken", "watch_balance", exchange.watch_balance())
        assert balance["total"]["USDT"] > 0
    finally:
        await exchange.close()


async def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    await binance(settings)
    await kraken(settings)
    print("all ok", flush=True)


asyncio.run(main())
