"""Load on an HTTP server: the same request again and again, on several connections at a time.

A few microseconds per request, so that the server is the bottleneck.
"""

from __future__ import annotations

import asyncio
from typing import Any

WITHIN_S = 60.0


class BadAnswerError(Exception):
    """The server has answered something else, or closed a connection."""


class Load:
    """So many requests, shared by all connections.

    Args:
        request: the whole request, as bytes.
        count: how often it is sent.
        status: the status that every answer must have.
    """

    def __init__(self, request: bytes, count: int, status: int) -> None:
        self.request = request
        self.start_line = f"HTTP/1.1 {status} ".encode()
        self.to_send = count
        self.to_come = count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answered(self) -> None:
        """Note a good answer."""
        self.to_come -= 1
        if not self.to_come and not self.done.done():
            self.done.set_result(None)

    def failed(self, why: str) -> None:
        """End with an error."""
        if not self.done.done():
            self.done.set_exception(BadAnswerError(why))


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport  # uvloop's is of no class of asyncio's
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the server has gone, if answers are to come."""
        self._load.failed(f"a connection was closed: {exc}")

    def data_received(self, data: bytes) -> None:
        """Send the next request when the answer is complete."""
        self._received += data
        size = size_of_answer(self._received)
        if size is None or len(self._received) < size:
            return
        if not self._received.startswith(self._load.start_line):
            self._load.failed(self._received[:200].decode(errors="replace"))
            return
        self._received = self._received[size:]
        self._load.answered()
        self._send()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _send(self) -> None:
        if self._load.to_send:
            self._load.to_send -= 1
            self._transport.write(self._load.request)


def size_of_answer(received: bytes) -> int | None:
    """Return how many bytes an answer has in all, None while its head is incomplete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = received[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        return end + 4
    return end + 4 + int(head[at + 17 :].split(b"\r\n", 1)[0])


def post(path: str, body: bytes) -> bytes:
    """Return a request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run(port: int, request: bytes, count: int, *, connections: int, status: int) -> None:
    """Send all requests; return when all are answered.

    Raises:
        BadAnswerError: an answer had another status, or a connection was closed.
        TimeoutError: it took too long.
    """
    load = Load(request, count, status)
    loop = asyncio.get_running_loop()
    opened = []
    try:
        for _ in range(connections):
            _, connection = await loop.create_connection(
                lambda: Connection(load), "127.0.0.1", port
            )
            opened.append(connection)
        await asyncio.wait_for(load.done, WITHIN_S)
    finally:
        for connection in opened:
            connection.close()
