"""A TCP proxy on loopback that holds every chunk to the server for a while: the way to a cloud.

`python -m tests.benchmarks.proxy PORT MILLISECONDS` prints the port that it listens on.
"""

import asyncio
import contextlib
import sys

CHUNK = 256 * 1024


async def serve(port: int, seconds: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        to_server: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        answers, requests = await asyncio.open_connection("127.0.0.1", port)

        async def hear() -> None:
            while chunk := await reader.read(CHUNK):
                to_server.put_nowait((loop.time() + seconds, chunk))
            to_server.put_nowait((0, b""))

        async def forward() -> None:
            while (held := await to_server.get())[1]:
                await asyncio.sleep(held[0] - loop.time())
                requests.write(held[1])
                await requests.drain()
            requests.close()

        async def answer() -> None:
            while chunk := await answers.read(CHUNK):
                writer.write(chunk)
                await writer.drain()
            writer.close()

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(hear(), forward(), answer())

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
