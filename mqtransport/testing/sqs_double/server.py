"""The HTTP side of the double: the AWS JSON 1.0 protocol on an aiohttp server."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from ..ports import hold_port
from .errors import SQSError

CONTENT_TYPE = "application/x-amz-json-1.0"
TARGET_PREFIX = "AmazonSQS."

MAX_REQUEST_BYTES = 64 * 1_048_576
"""A batch of 1 MiB can be six times as long in JSON, where a character may become ``\\uXXXX``."""

_END_TIMEOUT_S = 2.0
_BACKLOG = 1_024
_ACCESS_KEY = re.compile(r"Credential=([^/,\s]+)/")

Dispatch = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Carries out an action with its parameters; raises SQSError."""


class Endpoint:
    """The listening socket and what answers on it.

    Args:
        dispatch: carries out actions.
        access_key: returns the only access key that is let in, or None for any.
        cancel_gone: whether a handler is cancelled when its client has gone away.
    """

    def __init__(
        self, dispatch: Dispatch, *, access_key: Callable[[], str | None], cancel_gone: bool
    ) -> None:
        self._dispatch = dispatch
        self._access_key = access_key
        self._cancel_gone = cancel_gone
        self._runner: web.ServerRunner | None = None
        self._held: socket.socket | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port."""
        server = web.Server(
            self._handle,
            request_factory=_make_request,
            handler_cancellation=self._cancel_gone,
            access_log=None,
        )
        self._runner = runner = web.ServerRunner(server, shutdown_timeout=_END_TIMEOUT_S)
        await runner.setup()
        listener = self._held or hold_port(host, port)
        self._held = None
        await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        bound: int = runner.addresses[0][1]
        return bound

    @property
    def is_up(self) -> bool:
        """Whether it listens."""
        return self._runner is not None

    async def reset(self, cut: Callable[[], None]) -> None:
        """Stop listening and reset every connection; the port stays ours, and refuses.

        Args:
            cut: called when no answer can reach a client any more, to end what still waits.
        """
        runner = self._runner
        if runner is None:
            return
        host, port = runner.addresses[0][:2]
        for site in list(runner.sites):
            await site.stop()
        # Bound, but not listening: nobody else can get the port before we are back.
        self._held = hold_port(host, port)
        for connection in runner.server.connections if runner.server else ():
            _reset(connection.transport)
        cut()
        await self._end(runner)

    async def aclose(self) -> None:
        """Stop listening and end every connection."""
        if self._held is not None:
            self._held.close()
            self._held = None
        if self._runner is not None:
            await self._end(self._runner)

    async def _end(self, runner: web.ServerRunner) -> None:
        self._runner = None
        await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        try:
            self._authenticate(request)
            action, params = await _read(request)
            return _answer(200, await self._dispatch(action, params))
        except SQSError as error:
            return _refusal(error)

    def _authenticate(self, request: web.BaseRequest) -> None:
        wanted = self._access_key()
        if wanted is None:
            return
        found = _ACCESS_KEY.search(request.headers.get("Authorization", ""))
        if found is None:
            raise SQSError("MissingAuthenticationToken", "Request is missing Authentication Token")
        if found.group(1) != wanted:
            text = "The security token included in the request is invalid."
            raise SQSError("InvalidClientTokenId", text)


def _reset(transport: asyncio.BaseTransport | None) -> None:
    if not isinstance(transport, asyncio.WriteTransport):
        return
    found = transport.get_extra_info("socket")
    if found is not None:
        # Zero seconds of lingering: the peer sees a reset, and not the end of the stream.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=MAX_REQUEST_BYTES
    )


async def _read(request: web.BaseRequest) -> tuple[str, dict[str, Any]]:
    target = request.headers.get("X-Amz-Target", "")
    if request.method != "POST" or not target.startswith(TARGET_PREFIX):
        raise SQSError("InvalidAction", f"X-Amz-Target must begin with {TARGET_PREFIX}")
    if request.content_type != CONTENT_TYPE:
        raise SQSError("SerializationException", f"Content-Type must be {CONTENT_TYPE}")
    try:
        params = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError) as error:
        raise SQSError("SerializationException", "The body is not JSON.") from error
    if not isinstance(params, dict):
        raise SQSError("SerializationException", "The body is not a JSON object.")
    return target.removeprefix(TARGET_PREFIX), params


def _answer(status: int, document: object, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=json.dumps(document, separators=(",", ":")).encode(),
        status=status,
        content_type=CONTENT_TYPE,
        headers={"x-amzn-RequestId": str(uuid.uuid4()), **(headers or {})},
    )


def _refusal(error: SQSError) -> web.Response:
    kind = error.kind
    document = {"__type": kind.type_name}
    if kind.has_message:
        document["message"] = error.message
    fault = "Sender" if kind.sender_fault else "Receiver"
    return _answer(kind.status, document, {"x-amzn-query-error": f"{kind.code};{fault}"})
