"""A message that kills its process at once: its neighbours, delivered as often, are handled.

Deaths are simulated in virtual time: the broker stays, and everything of the app that was at work
is cut off from it in mid-step, so that nothing is acked or given back.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from mqtransport import Backoff, Consumer, Delivery, MQApp, Retry
from mqtransport.broker import Broker, QueueInfo, QueueOptions
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError, BrokerUnavailableError, RetryMessage
from mqtransport.message import Outgoing, RawDelivery
from mqtransport.testing import VirtualClock, run_virtual
from tests.contract.support import Number, Numbers, check_balanced

KILLER = 4
LIFE_S = 120.0


class Link(Broker):
    """A process's link to a broker that outlives it."""

    capabilities = MemoryBroker.capabilities

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.dead = False

    def _alive(self) -> MemoryBroker:
        if self.dead:
            raise BrokerUnavailableError("the process is gone")
        return self.broker

    async def connect(self) -> None: ...

    async def aclose(self) -> None: ...

    async def ping(self, queues: Sequence[str]) -> None:
        await self._alive().ping(queues)

    async def declare(self, queue: str, options: QueueOptions) -> None:
        await self._alive().declare(queue, options)

    async def describe(self, queue: str) -> QueueInfo:
        return await self._alive().describe(queue)

    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        return await self._alive().send(queue, batch)

    async def receive(self, queue: str, **options: Any) -> list[RawDelivery]:
        return await self._alive().receive(queue, **options)

    async def ack(self, queue: str, receipts: Sequence[str]) -> list[BrokerError | None]:
        return await self._alive().ack(queue, receipts)

    async def release(
        self, queue: str, receipts: Sequence[str], *, delay_s: float
    ) -> list[BrokerError | None]:
        return await self._alive().release(queue, receipts, delay_s=delay_s)

    async def extend(
        self, queue: str, receipts: Sequence[str], *, lease_s: float
    ) -> list[BrokerError | None]:
        return await self._alive().extend(queue, receipts, lease_s=lease_s)


class Fragile(Consumer[Number]):
    """Handles numbers in a while; the killer ends the process at once."""

    name = "number"

    def __init__(self, link: Link, done: Counter[int], died: asyncio.Event) -> None:
        self.link, self.done, self.died = link, done, died
        self.at_work = 0
        self.most_at_work = 0

    async def consume(self, body: Number, delivery: Delivery) -> None:
        if body.n == KILLER:
            self.link.dead = True
            self.died.set()
            await asyncio.Event().wait()
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await asyncio.sleep(0.05)
        finally:
            self.at_work -= 1
        if not self.link.dead:
            self.done[body.n] += 1


async def live(
    broker: MemoryBroker, queue: str, done: Counter[int], seed: int, **options: Any
) -> bool:
    """Run one process until it dies, or has had time for everything; True if it died."""
    link, died = Link(broker), asyncio.Event()
    clock = VirtualClock()
    app = MQApp(link, clock=clock, random=Random(seed))
    dead_letter = queue.replace("jobs", "dead")
    channel = await app.create_consuming_channel(queue, dead_letter=dead_letter, **options)
    channel.add_consumer(Fragile(link, done, died))
    await app.start()
    try:
        async with asyncio.timeout(LIFE_S):
            await died.wait()
    except TimeoutError:
        await app.shutdown(timeout=5)
        check_balanced(channel.counts)
        return False
    await app.shutdown(timeout=0)
    return True


def campaign(queue: str, count: int = 10, **options: Any) -> tuple[Counter[int], list[int], int]:
    """Live until nobody dies any more; return what was done, the dead letters, and the deaths."""
    done: Counter[int] = Counter()

    async def main() -> tuple[list[int], int]:
        broker = MemoryBroker(clock=VirtualClock(), random=Random(1))
        await broker.connect()
        feeder = MQApp(broker, clock=VirtualClock())
        out = await feeder.create_producing_channel(queue)
        out.add_producer(numbers := Numbers())
        await feeder.start()
        for n in range(count):
            await numbers.send(Number(n=n), group="g" if queue.endswith(".fifo") else None)
        await feeder.stop()
        deaths = 0
        # A seed for each life: processes with the same one would ask with the same attempt ids.
        while await live(broker, queue, done, 1000 + deaths, **options):
            deaths += 1
            assert deaths < 50, "it dies for ever"
        dead = queue.replace("jobs", "dead")
        letters = await broker.receive(dead, max_messages=10, wait_s=0, lease_s=30)
        return [int(letter.body.split(":")[1].rstrip("}")) for letter in letters], deaths

    letters, deaths = run_virtual(main)
    return done, letters, deaths


RETRY = Retry(max_attempts=2, backoff=Backoff(first_s=0.1, max_s=0.2))


@pytest.mark.parametrize("queue", ["jobs", "jobs.fifo"])
def test_a_message_that_kills_at_once_goes_alone_to_the_dead_letters(queue: str) -> None:
    done, letters, deaths = campaign(queue, retry=RETRY, max_deliveries=12)
    assert set(done) == set(range(10)) - {KILLER}
    assert letters == [KILLER]
    assert deaths == 12


def test_without_a_killer_nobody_waits_for_anybody() -> None:
    done, letters, deaths = campaign("jobs", count=KILLER, retry=RETRY)
    assert (set(done), letters, deaths) == (set(range(KILLER)), [], 0)


def test_what_is_retried_more_often_than_max_attempts_stands_in_nobodys_way() -> None:
    latencies: list[float] = []
    runs: Counter[int] = Counter()

    class Waits(Consumer[Number]):
        """Asks for a retry again and again; but a 0 is done at once."""

        name = "number"

        async def consume(self, body: Number, delivery: Delivery) -> None:
            if body.n == 0:
                latencies.append(delivery.received_at - (delivery.sent_at or 0))
                return
            runs[body.n] += 1
            await asyncio.sleep(1)
            raise RetryMessage(delay_s=20)

    async def main() -> None:
        clock = VirtualClock()
        broker = MemoryBroker(clock=clock, random=Random(1))
        await broker.connect()
        app = MQApp(broker, clock=clock, random=Random(2))
        out = await app.create_producing_channel("jobs")
        out.add_producer(numbers := Numbers())
        channel = await app.create_consuming_channel("jobs", retry=RETRY, max_deliveries=1000)
        channel.add_consumer(Waits())
        await app.start()
        await numbers.send_many([Number(n=n) for n in range(1, 51)])
        for _ in range(10):
            await asyncio.sleep(50)
            await numbers.send(Number(n=0))
        await app.shutdown(timeout=5)
        check_balanced(channel.counts)

    run_virtual(main)
    assert min(runs.values()) > 15, "50 runs of 1 s fit in 5 s, ten at a time"
    assert max(latencies) < 6
