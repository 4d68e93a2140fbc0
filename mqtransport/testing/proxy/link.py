"""One client's connection through the proxy, and what is done to the requests on it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Callable

from ..sqs_double.framing import cut_body, cut_chunks, read_request, read_response, split
from .modes import Mode
from .rules import Rule

END_TIMEOUT_S = 5.0
"""How long a connection may take to end."""

SLOW_PIECES = 50
"""In how many pieces a slow answer comes; bytes, if it is shorter than that."""

_CLOSE = re.compile(rb"(?im)^connection:\s*close")
_TARGET = re.compile(rb"(?im)^x-amz-target:\s*\w+\.(\w+)")


class Reader(asyncio.StreamReader):
    """A reader that tells at once when the other side has ended."""

    def __init__(self, on_eof: Callable[[], None]) -> None:
        super().__init__()
        self._on_eof = on_eof

    def feed_eof(self) -> None:
        """Note the end, and tell."""
        super().feed_eof()
        self._on_eof()


class Link:
    """One client connection, and the connection to the endpoint that belongs to it.

    Args:
        upstream: the endpoint's address.
        meet: told of each request, by its action and length; returns the rule that takes it.
    """

    def __init__(self, upstream: tuple[str, int], meet: Callable[[str, int], Rule | None]) -> None:
        self._upstream = upstream
        self._meet = meet
        self._released = asyncio.Event()
        self._gone = False
        self._client: asyncio.StreamWriter | None = None
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, connection: socket.socket) -> None:
        """Serve the connection until either side ends it."""
        loop = asyncio.get_running_loop()
        reader = Reader(self._on_eof)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection)
        self._client = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            while await self._exchange(reader, self._client):
                pass
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Either side broke off: whatever the other was waiting for will not come.
            self._reset()
        finally:
            self._close_server()
            self._client.close()
            for writer in (self._client, *(self._server or ())[1:]):
                await _closed(writer)

    def release(self) -> None:
        """End a hang or a delay."""
        self._released.set()

    def drop(self) -> None:
        """Reset the connection, whatever it is doing."""
        self._gone = True
        self.release()
        self._close_server()
        self._reset()

    async def _exchange(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> bool:
        """Treat one request; return whether the connection goes on."""
        request = await read_request(reader)
        # From here on, so that a clear during the forwarding already ends the hang that follows it.
        self._released.clear()
        found = _TARGET.search(split(request)[0])
        action = found.group(1).decode("ascii", "replace") if found else ""
        rule = self._meet(action, len(request))
        if rule is None:
            return await self._answer(client, await self._forward(request))
        if rule.mode.canned is not None:
            return await self._answer(client, rule.mode.canned)
        if not rule.mode.arrives:
            return await self._withhold(rule.mode, request)
        if rule.mode.name == "delay":
            await self._pause(rule.seconds)
            if self._gone:
                return self._reset()
        response = await self._forward(request)
        return await self._spoil(client, rule, response)

    async def _withhold(self, mode: Mode, request: bytes) -> bool:
        """Do what leaves the endpoint without the request, and end in a reset."""
        if mode.name == "reset_during":
            _, writer = await self._connected()
            body_bytes = len(split(request)[1])
            # The endpoint has begun with it: only half of the body is missing.
            writer.write(request[: -max(1, body_bytes - body_bytes // 2)])
            await writer.drain()
            _abort(writer)
        elif mode.name == "hang":
            await self._pause(None)
        return self._reset()

    async def _spoil(self, client: asyncio.StreamWriter, rule: Rule, response: bytes) -> bool:
        """Do what loses or hurts the endpoint's answer."""
        match rule.mode.name:
            case "reset_after":
                return self._reset()
            case "hang_after":
                await self._pause(None)
                return self._reset()
            case "slow":
                return await self._dribble(client, response, rule.seconds)
            case "truncate":
                response = response[: len(response) // 2]
            case "truncate_body":
                return await self._answer(client, cut_body(response))
            case "truncate_chunks":
                response = cut_chunks(response)
            case _:
                return await self._answer(client, response)
        await self._answer(client, response)
        return False

    async def _answer(self, client: asyncio.StreamWriter, response: bytes) -> bool:
        client.write(response)
        await client.drain()
        return not _CLOSE.search(split(response)[0])

    async def _dribble(self, client: asyncio.StreamWriter, response: bytes, seconds: float) -> bool:
        size = -(-len(response) // SLOW_PIECES)
        for start in range(0, len(response), size):
            if start:
                await self._pause(seconds / SLOW_PIECES)
            client.write(response[start : start + size])
            await client.drain()
        return not _CLOSE.search(split(response)[0])

    async def _pause(self, seconds: float | None) -> None:
        if self._gone:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._released.wait(), seconds)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._server is None or self._server[0].at_eof():
            self._close_server()
            self._server = await asyncio.open_connection(*self._upstream)
        return self._server

    async def _forward(self, request: bytes) -> bytes:
        reader, writer = await self._connected()
        writer.write(request)
        await writer.drain()
        if self._gone:
            # The client left, but its request was on the way: it arrives, the answer is lost.
            writer.close()
        return await read_response(reader)

    def _on_eof(self) -> None:
        self._gone = True
        self.release()
        self._close_server()

    def _reset(self) -> bool:
        if self._client is not None:
            _abort(self._client)
        return False

    def _close_server(self) -> None:
        if self._server is not None:
            self._server[1].close()


def _abort(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST."""
    if not writer.transport.is_closing():
        # Linger 0: the kernel sends RST instead of ending the connection in good order.
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


async def _closed(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), END_TIMEOUT_S)
