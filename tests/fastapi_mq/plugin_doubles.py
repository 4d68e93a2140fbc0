"""A broker that does as it is told, and short cuts to run an application in a test's loop."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from pydantic import BaseModel

from mqtransport import MQApp, MQSettings
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.clock import Clock
from mqtransport.errors import BrokerUnavailableError

CANARIES = (
    "arn:aws:sqs:eu-west-1:123456789012:orders",
    "123456789012",
    "AKIAIOSFODNN7EXAMPLE",
    "https://sqs.eu-west-1.amazonaws.com",
    "wJalrXUtnFEMI",
)
"""What may never leave the process in an answer."""


class Order(BaseModel):
    id: int


class Invoice(BaseModel):
    total: int


def secretive(kind: type[BrokerUnavailableError] = BrokerUnavailableError) -> Any:
    return kind("cannot reach " + " ".join(CANARIES), queue=CANARIES[0])


class ScriptedBroker(MemoryBroker):
    """Memory, but each verb can be told to fail or to hang, and is counted.

    Attributes:
        errors: by verb, what it raises.
        gates: by verb, what it waits for first.
        calls: by verb, how often it was called.
        events: where ``receive`` and ``closed`` are noted, once each.
    """

    capabilities = replace(MemoryBroker.capabilities, name="scripted", creates_queues=False)

    def __init__(self, events: list[str] | None = None) -> None:
        super().__init__()
        self.errors: dict[str, Exception] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: Counter[str] = Counter()
        self.events = events if events is not None else []
        self.entered: dict[str, asyncio.Event] = {}
        self.closed = False

    async def _script(self, verb: str) -> None:
        self.calls[verb] += 1
        if verb in self.entered:
            self.entered[verb].set()
        if verb in self.gates:
            await self.gates[verb].wait()
        if verb in self.errors:
            raise self.errors[verb]

    def _note(self, event: str) -> None:
        if event not in self.events:
            self.events.append(event)

    async def connect(self) -> None:
        await self._script("connect")
        await super().connect()

    async def aclose(self) -> None:
        self.closed = True
        self._note("closed")
        await super().aclose()

    async def ping(self, queues: Any) -> None:
        await self._script("ping")
        await super().ping(queues)

    async def describe(self, queue: str) -> Any:
        await self._script("describe")
        return await super().describe(queue)

    async def send(self, queue: str, batch: Any) -> Any:
        await self._script("send")
        return await super().send(queue, batch)

    async def receive(self, queue: str, **options: Any) -> Any:
        self._note("receive")
        await self._script("receive")
        return await super().receive(queue, **options)


def creating(
    *brokers: ScriptedBroker,
    prepare: Callable[[MQApp], Awaitable[None]] | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> Callable[[], Awaitable[MQApp]]:
    """Return an initializer for ``FastMQ(create=...)``; each start takes the next broker."""
    left = iter(brokers)

    async def create() -> MQApp:
        broker = next(left)
        await broker.connect()
        values = {"send_timeout_s": 5.0, "stop_timeout_s": 2.0, **settings}
        app = MQApp(broker, settings=MQSettings(**values), clock=clock)
        if prepare is not None:
            await prepare(app)
        return app

    return create


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Run the lifespan in this loop, and hand out a client."""
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


@asynccontextmanager
async def client_of(app: FastAPI, *, raises: bool = True) -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(app, raise_app_exceptions=raises)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def eventually(claim: Callable[[], bool], within_s: float = 5.0) -> None:
    """Yield to the loop until the claim holds; for state that nothing announces."""
    async with asyncio.timeout(within_s):
        while not claim():  # noqa: ASYNC110 - nothing announces it, which is why this exists
            await asyncio.sleep(0)
