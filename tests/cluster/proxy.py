"""A bad network on this machine: what goes through it is late, stands still, or breaks off in the middle of a frame."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

CHUNK_BYTES = 64 * 1024
CHUNKS_HELD = 16
"""The most that is on its way in one direction: after that the sender has to wait, as with a full network."""
_RESET = struct.pack("ii", 1, 0)
"""As SO_LINGER: closing sends a reset."""


class Proxied:
    """One connection. `bytes_left`: it is reset when so many more have passed."""

    def __init__(self, writers: list[asyncio.StreamWriter], bytes_left: float) -> None:
        self.writers = writers
        self.bytes_left = bytes_left

    def reset(self) -> None:
        for writer in self.writers:
            with suppress(OSError):  # the other end was faster
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Proxy:
    """Passes on what comes to `address`. Its own thread does everything; settings hold for what comes later."""

    def __init__(self, host: str, port: int) -> None:
        self.address = ""
        self.delay_s = 0.0
        self.lifetime_bytes: Callable[[], float] = lambda: float("inf")
        """Asked for each new connection: after how many bytes it is reset."""
        self.resets = 0
        self._target = (host, port)
        self._connections: set[Proxied] = set()
        self._served: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self._do(self._open())

    def stall(self) -> None:
        """From now on nothing passes, and nobody is told so."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def flow(self) -> None:
        """What was held back passes, and all that follows."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def reset(self) -> None:
        """End all connections, in the middle of whatever they are in."""
        self._do(self._reset())

    def refuse(self) -> None:
        """End all connections, and take no more: as when the process behind it has ended."""
        self._do(self._refuse())

    def refuse_more(self) -> None:
        """Take no more connections; those that there are stay."""
        self._loop.call_soon_threadsafe(self._server.close)

    def close(self) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    # In its thread --------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._flows = asyncio.Event()
        self._flows.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK_BYTES)
        self.address = f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _reset(self) -> None:
        for connection in self._connections:
            connection.reset()

    async def _refuse(self) -> None:
        self._server.close()
        await self._reset()

    async def _close(self) -> None:
        await self._refuse()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # In a task of our own: asyncio complains of one that it has made itself when that is cancelled.
        task = self._loop.create_task(self._serve(reader, writer))
        self._served.add(task)
        task.add_done_callback(self._served.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Proxied([writer], self.lifetime_bytes())
        self._connections.add(connection)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target, limit=CHUNK_BYTES)
            connection.writers.append(far_writer)
            ways = [self._pass_on(reader, far_writer, connection), self._pass_on(far_reader, writer, connection)]
            done, rest = await asyncio.wait(map(asyncio.create_task, ways), return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            await asyncio.gather(*done, *rest, return_exceptions=True)
        except OSError:
            pass  # nobody listens behind it: whoever has connected is told so by the reset
        finally:
            self._connections.discard(connection)
            self.resets += 1
            connection.reset()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: Proxied) -> None:
        """One direction, until it ends or breaks."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_HELD)
        receiving = asyncio.create_task(self._receive(reader, held))
        try:
            while data := await self._next(held):
                part = data[: int(min(len(data), connection.bytes_left))]
                connection.bytes_left -= len(part)
                writer.write(part)
                await writer.drain()
                if connection.bytes_left == 0:
                    return
        finally:
            receiving.cancel()

    async def _receive(self, reader: asyncio.StreamReader, held: "asyncio.Queue[tuple[float, bytes]]") -> None:
        data = b"."
        while data:
            try:
                data = await reader.read(CHUNK_BYTES)
            except OSError:
                data = b""
            await held.put((self._loop.time() + self.delay_s, data))

    async def _next(self, held: "asyncio.Queue[tuple[float, bytes]]") -> bytes:
        due, data = await held.get()
        await asyncio.sleep(max(0.0, due - self._loop.time()))
        await self._flows.wait()
        return data


@contextmanager
def proxy(address: str) -> Iterator[Proxy]:
    """One in front of what listens at tcp://host:port."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    made = Proxy(host, int(port))
    try:
        yield made
    finally:
        made.close()
