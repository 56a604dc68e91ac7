"""A TCP proxy on this machine that does to connections what networks do to them.

A Kafka client follows the address that the broker advertises, so a broker behind it has to
advertise the proxy's port.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

CHUNK = 65_536
LOOK_EVERY = 0.05  # seconds between looks whether a hole has been closed


@dataclass(frozen=True, slots=True)
class Network:
    """What happens to connections.

    `mode`: `pass`; `hole` holds every byte and tells nobody; `refuse` resets new connections.
    `delay` and `jitter` are seconds for each chunk, the second one at most. `tear_after` is after
    how many bytes of a direction its next chunk is cut in two and the connection reset, 0: never.
    `lose_answers` is the probability that what the server says is swallowed, and the connection
    reset: it has done the work, and the client never hears of it.
    """

    mode: Literal["pass", "hole", "refuse"] = "pass"
    delay: float = 0.0
    jitter: float = 0.0
    tear_after: int = 0
    lose_answers: float = 0.0


SOUND = Network()


class Proxy:
    """Listens on `port` and passes everything on to `target`, in a thread of its own.

    `network` may be changed at any time and applies to the next chunk.
    """

    def __init__(self, port: int, target: int, seed: int) -> None:
        self.port, self.target = port, target
        self.network = SOUND
        self._random = random.Random(seed)
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", port)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)

    def cut(self) -> None:
        """Reset every open connection, on both sides."""
        self._call(self._cut)

    def stop(self) -> None:
        """Listen no longer, and reset what is open."""
        self._call(self._server.close)
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _call(self, what: Callable[[], None]) -> None:
        async def call() -> None:
            what()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def _cut(self) -> None:
        for pair in list(self._open):
            _reset(*pair)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.network.mode == "refuse":
            return _reset(writer)
        try:
            answers, onward = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            return _reset(writer)
        pair = (writer, onward)
        self._open.add(pair)
        ways = [
            asyncio.create_task(self._pump(reader, onward, pair, are_answers=False)),
            asyncio.create_task(self._pump(answers, writer, pair, are_answers=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(pair)
            for way in ways:
                way.cancel()
            for one in pair:
                one.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        *,
        are_answers: bool,
    ) -> None:
        passed = 0
        try:
            while data := await reader.read(CHUNK):
                now = self.network
                if are_answers and self._random.random() < now.lose_answers:
                    return _reset(*pair)
                while self.network.mode == "hole":
                    await asyncio.sleep(LOOK_EVERY)
                if now.delay or now.jitter:
                    await asyncio.sleep(now.delay + self._random.uniform(0, now.jitter))
                passed += len(data)
                if now.tear_after and passed >= now.tear_after:
                    writer.write(data[: max(1, len(data) // 2)])
                    await asyncio.sleep(0.01)  # lets the torn half leave before the reset
                    return _reset(*pair)
                writer.write(data)
                await writer.drain()
        except OSError:
            return None  # the other side went away
        return None


def _reset(*writers: asyncio.StreamWriter) -> None:
    """Close with RST and not FIN, as a crashed host or a firewall does."""
    for writer in writers:
        connection = writer.get_extra_info("socket")
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (OSError, AttributeError):
            continue  # closed already
        finally:
            writer.transport.abort()
