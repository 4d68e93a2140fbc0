"""A fault proxy: it stands in front of an SQS endpoint and spoils chosen requests.

It knows just enough HTTP to tell requests apart by their action and to find where messages end:
requests with ``Content-Length`` (all that botocore and aiohttp send), responses with
``Content-Length`` or chunked. Faults happen on real sockets, as in production.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from .sqs_double.framing import canned_response, read_request, read_response
from .sqs_double.thread import LoopBound, in_thread, on_loop

Mode = Literal[
    "reset_before",
    "reset_after",
    "hang",
    "hang_after",
    "garbage",
    "garbage_empty",
    "http_503",
    "delay",
    "truncate",
]
"""What happens to a request: see :meth:`FaultProxy.add`."""

_CLOSE = re.compile(rb"(?im)^connection:\s*close")
_TARGET = re.compile(rb"(?im)^x-amz-target:\s*\w+\.(\w+)")
_END_TIMEOUT_S = 5.0


class Met(NamedTuple):
    """One request that arrived: its action, and what was done to it (``forward`` or a mode)."""

    action: str
    treatment: str


@dataclass(slots=True, eq=False)
class Rule:
    """Which requests are spoiled, and how; ``hits`` counts them."""

    action: str
    mode: Mode
    count: int | None
    after: int
    seconds: float
    seen: int = 0
    hits: int = 0

    def takes(self, action: str) -> bool:
        """Count a request and return whether this rule spoils it."""
        if self.action not in ("*", action):
            return False
        self.seen += 1
        if self.seen <= self.after or (self.count is not None and self.hits >= self.count):
            return False
        self.hits += 1
        return True


class FaultProxy(LoopBound):
    """An HTTP proxy for SQS endpoints that spoils requests on demand.

    ::

        async with FaultProxy(double.url) as proxy:
            proxy.add("SendMessageBatch", mode="reset_after", count=1)
            ...  # point a client's endpoint_url at proxy.url

    Args:
        upstream_url: the endpoint, ``http://host:port``.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.

    Raises:
        ValueError: the URL is not plain http with a host.
    """

    def __init__(self, upstream_url: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        parts = urlsplit(upstream_url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"the proxy needs a URL like http://host:port, not {upstream_url!r}")
        self.upstream = (parts.hostname, parts.port or 80)
        self.calls: Counter[str] = Counter()
        self.log: list[Met] = []
        self._address = (host, port)
        self._listener: socket.socket | None = None
        self._rules: list[Rule] = []
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._failures: list[BaseException] = []

    @classmethod
    def in_thread(cls, upstream_url: str) -> AbstractContextManager[FaultProxy]:
        """Return a context manager that runs a proxy in a thread of its own, for sync tests."""
        return in_thread(lambda: cls(upstream_url))

    @property
    def url(self) -> str:
        """The proxy's own URL, for ``endpoint_url``; known once it has started."""
        return f"http://{self._address[0]}:{self._address[1]}"

    async def __aenter__(self) -> FaultProxy:
        self._bind()
        self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()
        tasks = list(self._links.values())
        if tasks:
            _, hanging = await asyncio.wait(tasks, timeout=_END_TIMEOUT_S)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
        self._unbind()
        if self._failures:
            raise self._failures[0]

    @on_loop
    def add(
        self,
        action: str = "*",
        *,
        mode: Mode,
        count: int | None = None,
        after: int = 0,
        seconds: float = 0.0,
    ) -> Rule:
        """Spoil requests from now on; the first rule that takes a request decides.

        Args:
            action: the action, or ``*`` for any.
            mode: ``reset_before``: connection reset, nothing forwarded. ``reset_after``: forwarded,
                then reset instead of the answer. ``hang``: not forwarded, no answer until
                :meth:`clear`. ``hang_after``: forwarded, no answer until then. ``garbage``: not
                forwarded, status 200 with HTML. ``garbage_empty``: not forwarded, status 200 with
                ``{}``. ``http_503``: not forwarded, status 503. ``delay``: forwarded ``seconds``
                later. ``truncate``: forwarded, then half of the answer and the end.
            count: how many requests to spoil; None: all.
            after: how many matching requests to let pass first.
            seconds: the length of a delay.

        Returns:
            The rule; its ``hits`` counts what it spoiled.

        Raises:
            ValueError: unknown mode.
        """
        if mode not in get_args(Mode):
            raise ValueError(f"unknown mode {mode!r}; one of {', '.join(get_args(Mode))}")
        rule = Rule(action, mode, count, after, seconds)
        self._rules.append(rule)
        return rule

    @on_loop
    def clear(self) -> None:
        """Remove all rules and reset the connections that hang; delays end at once."""
        self._rules.clear()
        for link in self._links:
            link.release()

    @on_loop
    def refuse(self) -> None:
        """Stop listening and reset every connection: from now on connects are refused."""
        if self._listener is not None and self._loop is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for link in list(self._links):
            link.drop()

    @on_loop
    def accept(self) -> None:
        """Listen, again on the same port.

        Raises:
            OSError: somebody else took the port meanwhile.
        """
        if self._listener is None and self._loop is not None:
            self._listener = socket.create_server(self._address, backlog=1_024)
            self._listener.setblocking(False)
            self._address = (self._address[0], self._listener.getsockname()[1])
            self._loop.add_reader(self._listener, self._on_connect, self._loop, self._listener)

    def _on_connect(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection.setblocking(False)
        link = _Link(self.upstream, self._meet)
        task = loop.create_task(link.run(connection))
        self._links[link] = task
        task.add_done_callback(lambda done: self._ended(link, done))

    def _ended(self, link: _Link, task: asyncio.Task[None]) -> None:
        del self._links[link]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    def _meet(self, action: str) -> Rule | None:
        rule = next((rule for rule in self._rules if rule.takes(action)), None)
        self.calls[action] += 1
        self.log.append(Met(action, rule.mode if rule else "forward"))
        return rule


class _Reader(asyncio.StreamReader):
    """A reader that tells at once when the other side has ended."""

    def __init__(self, on_eof: Callable[[], None]) -> None:
        super().__init__()
        self._on_eof = on_eof

    def feed_eof(self) -> None:
        super().feed_eof()
        self._on_eof()


class _Link:
    """One client connection, and the connection to the endpoint that belongs to it."""

    def __init__(self, upstream: tuple[str, int], meet: Callable[[str], Rule | None]) -> None:
        self._upstream = upstream
        self._meet = meet
        self._released = asyncio.Event()
        self._gone = False
        self._client: asyncio.StreamWriter | None = None
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, connection: socket.socket) -> None:
        """Serve the connection until either side ends it."""
        loop = asyncio.get_running_loop()
        reader = _Reader(self._on_eof)
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
        found = _TARGET.search(request.partition(b"\r\n\r\n")[0])
        rule = self._meet(found.group(1).decode("ascii", "replace") if found else "")
        mode = rule.mode if rule else None
        if mode in _CANNED:
            client.write(_CANNED[mode])
            await client.drain()
            return True
        if rule is not None and rule.mode in ("hang", "delay"):
            await self._pause(rule.seconds if rule.mode == "delay" else None)
        if mode in ("reset_before", "hang") or (mode == "delay" and self._gone):
            return self._reset()
        response = await self._forward(request)
        if mode == "hang_after":
            await self._pause(None)
        if mode in ("reset_after", "hang_after"):
            return self._reset()
        client.write(response[: len(response) // 2] if mode == "truncate" else response)
        await client.drain()
        return mode != "truncate" and not _CLOSE.search(response.partition(b"\r\n\r\n")[0])

    async def _pause(self, seconds: float | None) -> None:
        if self._gone:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._released.wait(), seconds)

    async def _forward(self, request: bytes) -> bytes:
        if self._server is None or self._server[0].at_eof():
            self._close_server()
            self._server = await asyncio.open_connection(*self._upstream)
        reader, writer = self._server
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
        if self._client is not None and not self._client.transport.is_closing():
            # Linger 0: the kernel sends RST instead of ending the connection in good order.
            linger = struct.pack("ii", 1, 0)
            connection = self._client.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._client.transport.abort()
        return False

    def _close_server(self) -> None:
        if self._server is not None:
            self._server[1].close()


_CANNED: dict[Mode | None, bytes] = {
    "garbage": canned_response("200 OK", "text/html", b"<html>It works!</html>"),
    "garbage_empty": canned_response("200 OK", "application/x-amz-json-1.0", b"{}"),
    "http_503": canned_response("503 Service Unavailable", "text/plain", b"Service Unavailable"),
}


async def _closed(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), _END_TIMEOUT_S)
