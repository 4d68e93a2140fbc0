"""Stop: in time, everything accounted for, nothing hidden that no handler holds."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from mqtransport import MQApp
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError
from mqtransport.testing import VirtualClock, run_virtual
from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import Number, Numbers, check_balanced, consumer, eventually, sqs_app


@pytest.mark.parametrize("prefetch", [0, 50])
async def test_stop_with_100_messages_and_half_the_handlers_slow(prefetch: int) -> None:
    timeout_s = 1.0
    started: list[int] = []
    finished: list[int] = []

    async def handle(body: Number) -> None:
        started.append(body.n)
        if body.n % 2:
            await asyncio.sleep(3600)
        await asyncio.sleep(0.2)
        finished.append(body.n)

    async with SQSDouble() as double, sqs_app(double.url, wait_s=1) as app:
        double.create_queue("orders")
        await fill(app, 100)
        channel = await app.create_consuming_channel("orders", concurrency=50, prefetch=prefetch)
        channel.add_consumer(consumer(handle))
        await app.start()
        await eventually(lambda: len(started) >= 40, "handlers at work")

        begun = time.monotonic()
        report = await app.stop(timeout=timeout_s)
        took_s = time.monotonic() - begun

        counts = report.consumed["orders"]
        visible, hidden, delayed = double.counts("orders")
        assert took_s <= timeout_s + 1.0
        assert (hidden, delayed) == (0, 0)
        assert counts.acked == len(finished) > 0
        assert visible == 100 - len(finished)
        assert counts.released == counts.received - counts.acked
        assert (counts.abandoned_polls, counts.stuck, counts.lease_lost) == (0, 0, 0)
        check_balanced(counts)


def test_deliveries_not_started_are_given_back_at_once_and_never_run() -> None:
    """They wait behind a handler that has time to finish, and time for them would be left."""

    async def main() -> None:
        runs: list[int] = []

        async def handle(body: Number) -> None:
            runs.append(body.n)
            await asyncio.sleep(5)

        clock = VirtualClock()
        broker = MemoryBroker(clock=clock)
        await broker.connect()
        app = MQApp(broker, clock=clock)
        await fill(app, 4)
        channel = await app.create_consuming_channel("orders", concurrency=1, prefetch=3)
        channel.add_consumer(consumer(handle))
        await app.start()
        await asyncio.sleep(1)
        assert (len(runs), channel.counts.in_hand) == (1, 4)

        stopping = asyncio.create_task(app.stop(timeout=25))
        await asyncio.sleep(1)
        assert (channel.counts.released, channel.counts.in_hand) == (3, 1)
        assert (await broker.describe("orders")).depth == 3
        counts = (await stopping).consumed["orders"]
        assert len(runs) == 1
        assert (counts.acked, counts.released) == (1, 3)
        check_balanced(counts)
        await app.shutdown()

    run_virtual(main)


async def test_what_the_last_poll_brings_is_given_back_at_once() -> None:
    handled: list[int] = []

    async def handle(body: Number) -> None:
        handled.append(body.n)

    async with SQSDouble() as double, sqs_app(double.url, wait_s=5) as app:
        double.create_queue("orders")
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(handle))
        await app.start()
        await eventually(lambda: double.requests["ReceiveMessage"] == 1, "a poll is open")
        stopping = asyncio.create_task(app.stop(timeout=10))
        await asyncio.sleep(0)  # the stop has begun; the poll is still open
        async with sqs_app(double.url) as other:
            await fill(other, 3)
        report = await stopping

        assert handled == []
        assert report.consumed["orders"].released == report.consumed["orders"].received > 0
        assert double.counts("orders") == (3, 0, 0)


async def test_a_poll_still_open_at_the_timeout_is_abandoned_and_counted() -> None:
    async def handle(body: Number) -> None:
        return None

    async with SQSDouble() as double, sqs_app(double.url, wait_s=20) as app:
        double.create_queue("orders")
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(handle))
        await app.start()
        await eventually(lambda: double.requests["ReceiveMessage"] == 1, "a poll is open")
        begun = time.monotonic()
        report = await app.stop(timeout=0.2)
        assert time.monotonic() - begun <= 1.2
        assert report.consumed["orders"].abandoned_polls == 1


def test_releases_get_the_time_that_cancelled_handlers_did_not_need() -> None:
    """A broker at the other end of the world, or one that 100 batches keep busy."""

    class Slow(MemoryBroker):
        async def release(
            self, queue: str, receipts: Sequence[str], *, delay_s: float
        ) -> list[BrokerError | None]:
            await asyncio.sleep(0.5)
            return await super().release(queue, receipts, delay_s=delay_s)

    async def main() -> None:
        async def handle(body: Number) -> None:
            await asyncio.sleep(3600)

        clock = VirtualClock()
        broker = Slow(clock=clock)
        await broker.connect()
        app = MQApp(broker, clock=clock)
        await fill(app, 10)
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(handle))
        await app.start()
        await asyncio.sleep(1)
        report = await app.stop(timeout=2)
        counts = report.consumed["orders"]
        assert report.seconds <= 3
        assert (counts.released, counts.lease_lost) == (10, 0)
        assert (await broker.describe("orders")).depth == 10
        check_balanced(counts)
        await app.shutdown()

    run_virtual(main)


async def test_start_follows_stop_and_goes_on_with_what_was_given_back() -> None:
    gate = asyncio.Event()
    handled: set[int] = set()

    async def handle(body: Number) -> None:
        await gate.wait()
        handled.add(body.n)

    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders")
        await fill(app, 20)
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(handle))
        await app.start()
        await eventually(lambda: channel.counts.in_hand == 10, "all slots busy")
        await app.stop(timeout=0.1)
        assert double.counts("orders") == (20, 0, 0)
        gate.set()
        await app.start()
        await eventually(lambda: double.counts("orders") == (0, 0, 0), "all handled")
        assert handled == set(range(20))
        await app.stop()
        check_balanced(channel.counts)


async def fill(app: MQApp, count: int) -> None:
    """Put numbers on the queue "orders"."""
    out = await app.create_producing_channel("orders")
    out.add_producer(producer := Numbers())
    await app.start()
    await asyncio.gather(*(producer.produce(n=n) for n in range(count)))
    await app.stop()
