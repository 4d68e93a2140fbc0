"""One HTTP exchange over aiohttp's connections, without its requests and responses.

What aiohttp does for a request beside making it (cookies, redirects, encodings, a task that
writes) takes half of its time, and SQS needs none of it. The connections stay aiohttp's: pool and
limits, TLS, name look-up, time limits of connecting; so does the parser that reads the answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import aiohttp

MOST_STALE = 100
"""Pooled connections in a row that turn out to be of no use, before a request is given up."""

SMALL_BYTES = 16 * 1024
"""What a server that refuses a request by its head reads all the same, or has in its buffers."""

_ENDS = ("\r", "\n", "\0")
_LENGTH = "content-length"
_BY_AIOHTTP = frozenset({"host", "accept", _LENGTH})


class Answer(NamedTuple):
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ExchangeError(Exception):
    """Requests cannot be made here, but by aiohttp; the text says why.

    Attributes:
        sent: whether one may have been sent all the same.
    """

    def __init__(self, why: object, *, sent: bool = False) -> None:
        super().__init__(str(why))
        self.sent = sent


class Pattern:
    """A middleware of aiohttp's that notes what its requests are like."""

    def __init__(self) -> None:
        self._request: Any = None
        self._sent: Mapping[str, str] = {}

    async def __call__(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Let a request pass, and note it."""
        response = await handler(request)
        self._request, self._sent = request, response.request_info.headers
        return response

    def exchange(self, session: aiohttp.ClientSession, given: Mapping[str, str]) -> Exchange:
        """Return what makes more requests like the one noted.

        Args:
            session: the session that has made it.
            given: the headers that it was given.

        Raises:
            ExchangeError: it is no plain request.
        """
        try:
            if self._request.proxy is not None:
                raise ExchangeError("there is a proxy")
            if session.trace_configs:
                raise ExchangeError("somebody traces them")
            ours = {name.lower() for name in given}
            added = {name: self._sent[name] for name in self._sent if name.lower() not in ours}
            if strange := {name.lower() for name in added} ^ _BY_AIOHTTP:
                raise ExchangeError(f"its headers are others: {', '.join(sorted(strange))}")
            lines = {name: added[name] for name in added if name.lower() != _LENGTH}
            return Exchange(session, self._request, lines)
        except (AttributeError, TypeError) as error:
            raise ExchangeError(error) from error


class Exchange:
    """Makes requests like one that aiohttp has made, to the same place.

    Of aiohttp's connections it uses what is not documented: ``protocol``, of which
    ``set_response_params``, ``should_close``, ``read`` and ``_parser``. These are the same in
    aiohttp 3.12 to 3.14; should one be gone, an ExchangeError says so.

    Args:
        session: the session that has made it.
        request: aiohttp's request, kept with its body; it tells the connector where to connect,
            and how.
        headers: the headers that aiohttp has added to it.
    """

    def __init__(
        self, session: aiohttp.ClientSession, request: Any, headers: Mapping[str, str]
    ) -> None:
        self._connector: Any = session.connector
        self._timeout = session.timeout
        self._decompress = session.auto_decompress
        self._request = request
        self._head = f"POST {request.url.raw_path_qs} HTTP/1.1\r\n{_written(headers)}"

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Make one request. It has no time limit of its own but for connecting.

        Raises:
            ExchangeError: a header holds what would end it, or the head; or aiohttp is not as it
                was when this was written.
            Exception: whatever aiohttp raises.
        """
        values = "".join(headers.values())
        if any(end in values for end in _ENDS):
            raise ExchangeError("a header holds the end of a line")
        head = f"{self._head}{_written(headers)}{_LENGTH}: {len(body)}\r\n\r\n"
        connection, sent = await self._connect(), False
        try:
            protocol, transport = connection.protocol, connection.transport
            protocol.set_response_params(read_until_eof=True, auto_decompress=self._decompress)
            sent = True
            transport.write(head.encode() + body)
            while True:
                message, payload = await protocol.read()
                if not 100 <= message.code < 200 or message.code == 101:
                    break  # else it is not the answer yet
            answer = await payload.read()
        except (AttributeError, TypeError) as error:
            connection.close()
            raise ExchangeError(error, sent=sent) from error
        except BaseException:
            # What comes yet must not answer the next request. What is unsent would keep the
            # socket open for as long as the peer does not read.
            if connection.transport is not None:
                connection.transport.abort()
            connection.close()
            raise
        refused = message.code >= 300 and len(body) > SMALL_BYTES
        # Answered before it was read, the next one would queue behind it. The transport does not
        # tell that of what the kernel holds, nor of what TLS has handed on.
        if transport.get_write_buffer_size() or refused:
            connection.close()
        else:
            connection.release()
        return Answer(message.code, message.headers, answer)

    async def _connect(self) -> Any:
        """Return a connection on which nothing is left of earlier requests.

        aiohttp takes what came in on a pooled connection meanwhile for the answer to the next
        request; it would confirm what was never done. A new connection of no use is no reason to
        make another: a server that is in trouble would get a storm of them.
        """
        connection = None
        try:
            for _ in range(MOST_STALE):
                connection = await self._connector.connect(self._request, [], self._timeout)
                if not connection.closed and not connection.protocol.should_close:
                    return connection
                new = connection.protocol._parser is None  # nothing was asked on it so far
                connection.close()
                if new:
                    break
        except TimeoutError as late:
            raise aiohttp.ConnectionTimeoutError("no connection in time") from late
        except (AttributeError, TypeError) as error:
            if connection is not None:
                connection.close()
            raise ExchangeError(error) from error
        raise aiohttp.ServerDisconnectedError


def _written(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
