"""A broker that does what a test tells it to, and writes down what it was asked for."""

import asyncio
import functools
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from mqtransport.broker import Broker, Capabilities, QueueInfo, QueueOptions
from mqtransport.channel.base import QueueRef, Tools, Trouble
from mqtransport.channel.in_hand import Held
from mqtransport.channel.outbox import Entry
from mqtransport.errors import BrokerError
from mqtransport.message import Attribute, Outgoing, RawDelivery
from mqtransport.testing import VirtualClock, run_virtual

QUEUE = QueueRef("orders", "orders-physical", 1000)
FIFO = QueueRef("orders.fifo", "orders.fifo", 1000)


@dataclass
class Call:
    verb: str
    at: float
    items: Sequence[Any] = ()
    options: dict[str, Any] | None = None

    @property
    def size(self) -> int:
        return len(self.items)


@dataclass
class Slow:
    """Answer after ``delay_s``: with ``then``, or with success where it is None."""

    delay_s: float
    then: Any = None


class ScriptedBroker(Broker):
    """Each verb plays its script, then its standing answer, then answers with success."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        name="scripted",
        max_batch=10,
        max_batch_bytes=1000,
        max_message_bytes=1000,
        max_attributes=10,
        max_wait_s=20.0,
        max_delay_s=900.0,
        max_lease_s=43_200.0,
        lease_step_s=1.0,
        durable=False,
        ordered=False,
        receive_cancellable=False,
        creates_queues=True,
        detects_stale_receipts=True,
    )

    def __init__(self, most_calls: int = 5000) -> None:
        self.clock = VirtualClock()
        self.calls: list[Call] = []
        self.scripts: dict[str, deque[Any]] = defaultdict(deque)
        self.standing: dict[str, Any] = {}
        self.open = 0
        self.most_open = 0
        self._most_calls = most_calls

    def script(self, verb: str, *steps: Any) -> None:
        self.scripts[verb].extend(steps)

    def of(self, verb: str) -> list[Call]:
        return [call for call in self.calls if call.verb == verb]

    async def _play(self, verb: str, items: Sequence[Any], success: Any, **options: Any) -> Any:
        call = Call(verb, self.clock.monotonic(), list(items), options)
        self.calls.append(call)
        if len(self.calls) > self._most_calls:
            raise AssertionError(f"hot loop: more than {self._most_calls} calls, last {verb}")
        step = self.scripts[verb].popleft() if self.scripts[verb] else self.standing.get(verb)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(0)
            if isinstance(step, Slow):
                await asyncio.sleep(step.delay_s)
                step = step.then
            if isinstance(step, BaseException):
                raise step
            if step is None:
                return success
            return step(call) if callable(step) else step
        finally:
            self.open -= 1

    async def connect(self) -> None: ...

    async def aclose(self) -> None: ...

    async def ping(self, queues: Sequence[str]) -> None:
        await self._play("ping", queues, None)

    async def declare(self, queue: str, options: QueueOptions) -> None:
        await self._play("declare", [queue], None)

    async def describe(self, queue: str) -> QueueInfo:
        return await self._play("describe", [queue], QueueInfo())  # type: ignore[no-any-return]

    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        success = [f"broker-{one.id}" for one in batch]
        return await self._play("send", batch, success)  # type: ignore[no-any-return]

    async def receive(
        self,
        queue: str,
        *,
        max_messages: int,
        wait_s: float,
        lease_s: float,
        attempt_id: str | None = None,
    ) -> list[RawDelivery]:
        options = {
            "max_messages": max_messages,
            "wait_s": wait_s,
            "lease_s": lease_s,
            "attempt_id": attempt_id,
        }
        if not self.scripts["receive"] and "receive" not in self.standing:
            self.scripts["receive"].append(Slow(wait_s, []))
        return await self._play("receive", (), [], **options)  # type: ignore[no-any-return]

    async def ack(self, queue: str, receipts: Sequence[str]) -> list[BrokerError | None]:
        return await self._play("ack", receipts, [None] * len(receipts))  # type: ignore[no-any-return]

    async def release(
        self, queue: str, receipts: Sequence[str], *, delay_s: float
    ) -> list[BrokerError | None]:
        success = [None] * len(receipts)
        return await self._play("release", receipts, success, delay_s=delay_s)  # type: ignore[no-any-return]

    async def extend(
        self, queue: str, receipts: Sequence[str], *, lease_s: float
    ) -> list[BrokerError | None]:
        success = [None] * len(receipts)
        return await self._play("extend", receipts, success, lease_s=lease_s)  # type: ignore[no-any-return]


def tools(broker: ScriptedBroker, seed: int = 1) -> Tools:
    return Tools(broker, broker.clock, Random(seed))


def trouble(broker: ScriptedBroker) -> Trouble:
    return Trouble(broker.clock, logging.getLogger("test.channel"), "a channel under test")


def raw(
    name: str = "1", *, body: str = "{}", attempt: int = 1, group: str | None = None
) -> RawDelivery:
    attributes = {"Name": Attribute("String", "n"), "Compression": Attribute("String", "off")}
    return RawDelivery(f"id-{name}", f"receipt-{name}", body, attributes, attempt, group=group)


def held(
    name: str = "1", *, deadline: float = 30.0, renew_at: float = 20.0, group: str | None = None
) -> Held:
    return Held(raw(name, group=group), received=0.0, deadline=deadline, renew_at=renew_at)


def entry(name: str = "1", size_bytes: int = 10, group: str | None = None) -> Entry:
    return Entry("n", Outgoing(f"m-{name}", "x" * size_bytes, {}, group=group), size_bytes)


def virtually(
    scenario: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., None]:
    """Run an async test on a virtual loop: its hours take milliseconds."""

    @functools.wraps(scenario)
    def test(*args: Any, **kwargs: Any) -> None:
        run_virtual(lambda: scenario(*args, **kwargs))

    return test
