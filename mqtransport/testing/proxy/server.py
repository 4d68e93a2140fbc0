"""The proxy itself: it listens, knows the rules, keeps the log and owns the connections."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from urllib.parse import urlsplit

from ..ports import hold_port
from ..sqs_double.thread import LoopBound, in_thread, on_loop
from .link import END_TIMEOUT_S, Link
from .modes import BY_NAME, Mode, ModeName
from .rules import Met, Rule

_BACKLOG = 1_024


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

    Attributes:
        calls: how many requests of each action arrived, spoiled or not.
        log: every request that arrived, in order, and what was done to it.

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
        self._held: socket.socket | None = None
        self._rules: list[Rule] = []
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._failures: list[BaseException] = []
        self._accepted = 0
        self._started_s = 0.0

    @classmethod
    def in_thread(cls, upstream_url: str) -> AbstractContextManager[FaultProxy]:
        """Return a context manager that runs a proxy in a thread of its own, for sync tests."""
        return in_thread(lambda: cls(upstream_url))

    @property
    def url(self) -> str:
        """The proxy's own URL, for ``endpoint_url``; known once it has started."""
        return f"http://{self._address[0]}:{self._address[1]}"

    async def __aenter__(self) -> FaultProxy:
        self._started_s = self._bind().time()
        self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cut()
        if self._held is not None:
            self._held.close()
            self._held = None
        tasks = list(self._links.values())
        if tasks:
            _, hanging = await asyncio.wait(tasks, timeout=END_TIMEOUT_S)
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
        mode: Mode | ModeName,
        count: int | None = None,
        after: int = 0,
        seconds: float = 0.0,
    ) -> Rule:
        """Spoil requests from now on; the first rule that takes a request decides.

        Args:
            action: the action, or ``*`` for any.
            mode: one of :data:`MODES`, or its name. Not forwarded are: ``reset_before``: the
                connection is reset; ``reset_during``: the endpoint gets a part of the request,
                then both connections are reset; ``hang``: no answer until :meth:`clear`;
                ``garbage``: status 200 with HTML; ``garbage_empty``: status 200 with ``{}``;
                ``http_500``: InternalFailure; ``http_503``: no text of SQS's;
                ``request_throttled``: status 403; ``throttling_exception``: status 400;
                ``expired_token``, ``invalid_client_token_id``, ``signature_does_not_match``,
                ``missing_authentication_token``, ``access_denied``: status 403 with this code;
                ``access_denied_exception``: without the code of the older query protocol;
                ``access_denied_xml``: in XML, as some emulators answer.
                Forwarded are: ``reset_after``: a reset instead of the answer; ``hang_after``: no
                answer until :meth:`clear`; ``delay``: ``seconds`` later; ``slow``: the answer
                comes in pieces over ``seconds``; ``truncate``: half of the answer and the end;
                ``truncate_body``: half of the body, in an answer that looks whole;
                ``truncate_chunks``: half of the body in a chunk, and no last chunk.
            count: how many requests to spoil; None: all.
            after: how many matching requests to let pass first.
            seconds: the length of a ``delay``, or of a ``slow`` answer.

        Returns:
            The rule; its ``hits`` counts what it spoiled.

        Raises:
            ValueError: unknown mode.
        """
        name = str(mode)
        if name not in BY_NAME:
            raise ValueError(f"unknown mode {name!r}; one of {', '.join(BY_NAME)}")
        rule = Rule(action, BY_NAME[name], count, after, seconds)
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
        if self._cut():
            # Bound, but not listening: nobody else can get the port before we are back.
            self._held = hold_port(*self._address)

    @on_loop
    def accept(self) -> None:
        """Listen, again on the same port.

        Raises:
            OSError: somebody else has the port that was asked for.
        """
        if self._listener is None and self._loop is not None:
            listener = self._held or hold_port(*self._address)
            self._held = None
            self._listener = listener
            listener.setblocking(False)
            listener.listen(_BACKLOG)
            self._address = (self._address[0], listener.getsockname()[1])
            self._loop.add_reader(listener, self._on_connect, self._loop, listener)

    def _cut(self) -> bool:
        """Stop listening and reset every connection; return whether it listened."""
        listener, self._listener = self._listener, None
        if listener is not None and self._loop is not None:
            self._loop.remove_reader(listener)
            listener.close()
        for link in list(self._links):
            link.drop()
        return listener is not None

    def _on_connect(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection.setblocking(False)
        self._accepted += 1
        link = Link(self.upstream, partial(self._meet, loop, self._accepted))
        task = loop.create_task(link.run(connection))
        self._links[link] = task
        task.add_done_callback(lambda done: self._ended(link, done))

    def _ended(self, link: Link, task: asyncio.Task[None]) -> None:
        del self._links[link]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    def _meet(
        self, loop: asyncio.AbstractEventLoop, connection: int, action: str, request_bytes: int
    ) -> Rule | None:
        rule = next((rule for rule in self._rules if rule.takes(action)), None)
        treatment = rule.mode.name if rule else "forward"
        at_s = loop.time() - self._started_s
        self.calls[action] += 1
        self.log.append(Met(action, treatment, connection, at_s, request_bytes))
        return rule
