"""What every case works with: a connected broker, a fresh queue, and a few short ways to say it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from mqtransport.broker import Broker, QueueOptions
from mqtransport.errors import BrokerError
from mqtransport.message import Attribute, Outgoing, RawDelivery
from mqtransport.testing.conformance.checks import CaseSkipped, claim, same
from mqtransport.testing.harness import BrokerHarness, FaultHooks

_E = TypeVar("_E", bound=BaseException)

PLENTY_S = 30.0
"""A lease that never ends within a case."""

NAME = Attribute("String", "conformance")


class Bench:
    """One case's workplace.

    Attributes:
        harness: of the broker under test.
        broker: connected.
        queue: the case's own, declared and empty.
    """

    def __init__(self, harness: BrokerHarness, broker: Broker) -> None:
        self.harness = harness
        self.broker = broker
        self.capabilities = broker.capabilities
        self.queue = harness.queue_name()
        self._numbers = 0

    @property
    def lease_s(self) -> float:
        """The lease to use where a case waits for its end."""
        return self.harness.short_lease_s

    def now(self) -> float:
        """Seconds on the event loop's clock, which is virtual where the harness says so."""
        return asyncio.get_running_loop().time()

    async def elapse_lease(self, leases: float = 1) -> None:
        """Wait until a lease or delay of so many ``lease_s`` has surely ended."""
        await self.harness.elapse(leases * self.lease_s + self.harness.slack_s)

    def need(self, condition: bool, reason: str) -> None:
        """Skip the case unless the broker declares what it is about."""
        if not condition:
            raise CaseSkipped(reason)

    def hooks(self) -> FaultHooks:
        """Return the harness's faults, or skip the case."""
        if self.harness.fault_hooks is None:
            raise CaseSkipped("no fault hooks")
        return self.harness.fault_hooks

    async def new_queue(self, options: QueueOptions | None = None) -> str:
        """Return the name of another new queue."""
        name = self.harness.queue_name()
        await self.harness.create_queue(self.broker, name, options or QueueOptions())
        return name

    async def ordered_queue(self, options: QueueOptions | None = None) -> str:
        """Return the name of a new ordered queue, or skip the case."""
        self.need(self.capabilities.ordered, "ordered queues are not supported")
        name = f"{self.harness.queue_name()}.fifo"
        await self.harness.create_queue(self.broker, name, options or QueueOptions())
        return name

    async def limited_queue(self, max_message_bytes: int) -> str:
        """Return a new queue with a lower size limit, or skip the case."""
        name = await self.new_queue()
        if not await self.harness.limit_queue(self.broker, name, max_message_bytes):
            raise CaseSkipped("the harness cannot lower a queue's size limit")
        return name

    def outgoing(
        self,
        body: str,
        attributes: Mapping[str, Attribute] | None = None,
        *,
        delay_s: float | None = 0.0,
        group: str | None = None,
        dedup_id: str | None = None,
    ) -> Outgoing:
        """Return a message to send; for an ordered queue ``delay_s`` has to be None."""
        self._numbers += 1
        carried = {"Name": NAME} if attributes is None else attributes
        return Outgoing(f"conformance-{self._numbers}", body, carried, delay_s, group, dedup_id)

    async def send(self, *bodies: str, queue: str | None = None, delay_s: float = 0.0) -> list[str]:
        """Send bodies in one batch, all of which must be confirmed; return the broker's ids."""
        batch = [self.outgoing(body, delay_s=delay_s) for body in bodies]
        return confirmed(await self.broker.send(queue or self.queue, batch))

    async def poll(
        self,
        *,
        queue: str | None = None,
        max_messages: int | None = None,
        wait_s: float = 0,
        lease_s: float = PLENTY_S,
        attempt_id: str | None = None,
    ) -> list[RawDelivery]:
        """Receive once."""
        return await self.broker.receive(
            queue or self.queue,
            max_messages=max_messages or self.capabilities.max_batch,
            wait_s=wait_s,
            lease_s=lease_s,
            attempt_id=attempt_id,
        )

    async def woken(
        self, arrive: Callable[[], Awaitable[None]] | None = None, *, queue: str | None = None
    ) -> list[RawDelivery]:
        """Claim that a receive which waits long gets something long before its wait is over.

        Args:
            arrive: what wakes it, done while it waits; None where that comes by itself.
            queue: where it waits.
        """
        wait_s = min(10.0, self.capabilities.max_wait_s)
        waiting = asyncio.create_task(self.poll(queue=queue, wait_s=wait_s))
        before = self.now()
        if arrive is not None:
            await self.harness.elapse(0.5)
            await arrive()
        got = await waiting
        claim(bool(got), "something is delivered")
        self.claim_woken(before, wait_s)
        return got

    def claim_woken(self, before: float, wait_s: float) -> None:
        """Claim that what was awaited from ``before`` on came long before ``wait_s`` were over."""
        took = self.now() - before
        claim(took < wait_s / 2, f"it wakes at once, not after {took:.3f} of {wait_s} s")

    async def take(
        self, count: int, *, queue: str | None = None, lease_s: float = PLENTY_S
    ) -> list[RawDelivery]:
        """Receive until there are ``count`` deliveries; a broker may hand out fewer at a time."""
        taken: list[RawDelivery] = []
        empty = 0
        while len(taken) < count and empty < 3:
            got = await self.poll(
                queue=queue,
                max_messages=min(count - len(taken), self.capabilities.max_batch),
                wait_s=min(2, self.capabilities.max_wait_s),
                lease_s=lease_s,
            )
            empty = 0 if got else empty + 1
            taken += got
        same(len(taken), count, "messages delivered")
        return taken

    async def take_one(self, *, queue: str | None = None, lease_s: float = PLENTY_S) -> RawDelivery:
        """Receive one message."""
        return (await self.take(1, queue=queue, lease_s=lease_s))[0]

    async def claim_nothing_ready(self, why: str, *, queue: str | None = None) -> None:
        """Claim that a receive finds nothing."""
        same([d.body for d in await self.poll(queue=queue)], [], why)


def confirmed(answers: Sequence[str | BrokerError]) -> list[str]:
    """Return the broker's ids of messages all of which must have been confirmed."""
    for answer in answers:
        claim(isinstance(answer, str) and bool(answer), f"send confirms each item, not {answer!r}")
    return [answer for answer in answers if isinstance(answer, str)]


async def settled(answers: Awaitable[Sequence[BrokerError | None]], *, count: int = 1) -> None:
    """Claim that an ack, release or extend succeeded for every item."""
    same(list(await answers), [None] * count, "answers of the settling call")


async def refusal(call: Awaitable[Any], error: type[_E], why: str) -> _E:
    """Claim that a call raises this error, and return it."""
    try:
        answer = await call
    except error as refused:
        return refused
    raise AssertionError(f"{why}: expected {error.__name__}, got the answer {answer!r}")


Call = Callable[[], Awaitable[Any]]


def listing_verbs(
    broker: Broker, queue: str, batch: Sequence[Outgoing], receipts: Sequence[str]
) -> dict[str, Call]:
    """Return a call of each verb that takes a list, by name."""
    return {
        "send": lambda: broker.send(queue, batch),
        "ack": lambda: broker.ack(queue, receipts),
        "release": lambda: broker.release(queue, receipts, delay_s=0),
        "extend": lambda: broker.extend(queue, receipts, lease_s=PLENTY_S),
    }


def every_verb(broker: Broker, queue: str, receipt: str) -> dict[str, Call]:
    """Return a call of each verb that is about one queue, by name."""
    message = Outgoing("conformance", "x", {"Name": NAME})
    return {
        **listing_verbs(broker, queue, [message], [receipt]),
        "receive": lambda: broker.receive(queue, max_messages=1, wait_s=0, lease_s=PLENTY_S),
        "describe": lambda: broker.describe(queue),
    }
