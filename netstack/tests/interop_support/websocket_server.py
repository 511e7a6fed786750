"""A WebSocket server that we did not write, with a behaviour for each path.

    websocket_server.py ADDRESS PORT [CERTIFICATE KEY]
"""

import asyncio
import ssl
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def fragments(connection):
    """Sends each message back in fragments of growing size, with a ping between them."""
    async for message in connection:

        async def parts():
            at, size = 0, 1
            while at < len(message):
                yield message[at : at + size]
                await connection.ping()
                at, size = at + size, size * 3

        await connection.send(parts())


async def pings(connection):
    """Waits for our pong to each of its pings."""
    async for _ in connection:
        for number in range(5):
            await (await connection.ping(b"ping %d" % number))
        await connection.send("all answered")


async def burst(connection):
    """Sends as many numbered messages as it is asked for."""
    async for message in connection:
        for number in range(int(message)):
            await connection.send(f"{number} " + "x" * (number % 2000))


async def big(connection):
    """Sends one message of as many bytes as it is asked for."""
    async for message in connection:
        await connection.send((bytes(range(251)) * (int(message) // 251 + 1))[: int(message)])


async def goodbye(connection):
    """Closes with a code and a reason of its own."""
    await connection.recv()
    await connection.close(4001, "enough")


BEHAVIOURS = {"/echo": echo, "/fragments": fragments, "/pings": pings, "/burst": burst, "/big": big, "/goodbye": goodbye}


async def handle(connection):
    path = connection.request.path.split("?")[0]
    try:
        await BEHAVIOURS[path](connection)
    except ConnectionClosed:
        pass
    await connection.wait_closed()
    print(f"closed {connection.close_code} {connection.close_reason}", flush=True)


async def main():
    address, port, *files = sys.argv[1:]
    context = None
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    async with serve(handle, address, int(port), ssl=context, max_size=None, write_limit=2**24):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
