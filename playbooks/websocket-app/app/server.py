"""An example WebSocket service, which echoes messages. Replace it with your own."""

import asyncio
import os
import signal

import websockets


async def echo(connection, path=None):
    async for message in connection:
        await connection.send(message)


async def main():
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with websockets.serve(echo, "127.0.0.1", int(os.environ["PORT"])):
        await ended.wait()


asyncio.run(main())
