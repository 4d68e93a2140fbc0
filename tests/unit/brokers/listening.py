"""An HTTP server on a real socket that notes what comes in, and a broker that asks it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any, Self

from mqtransport.brokers.sqs import SQSBroker


class Listening(ABC):
    """Notes the head of each request, and answers as its kind does.

    Attributes:
        heads: of all requests so far.
        connections: how many were made.
        refusal: if set, what is answered to a head; the body is never read.
        port: where it listens.
    """

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.refusal: bytes | None = None
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    @abstractmethod
    async def respond(self, writer: asyncio.StreamWriter) -> None:
        """Answer the request that was read last."""

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if self.refusal is not None:
                    self.heads.append(head)
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                    writer.write(self.refusal)
                    return
                length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
                await reader.readexactly(int(length))
                self.heads.append(head)
                await self.respond(writer)


@contextlib.asynccontextmanager
async def connected(url: str, **given: Any) -> AsyncIterator[SQSBroker]:
    options: dict[str, Any] = {"access_key": "key", "secret_key": "secret", "region": "eu-west-1"}
    async with SQSBroker(endpoint_url=url, **options | given) as broker:
        yield broker
