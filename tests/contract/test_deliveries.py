"""Deliveries that go wrong at the edges: twice at once, stale, lost, blocked. One outcome each."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mqtransport import Consumer, Delivery, MQApp
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.channel import ConsumingChannel
from mqtransport.testing import VirtualClock, run_virtual
from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import Number, Numbers, check_balanced, consumer, eventually, sqs_app


async def test_a_message_delivered_again_while_it_runs_never_runs_twice_at_once() -> None:
    runs: Counter[int] = Counter()
    running: set[int] = set()
    overlaps: list[int] = []

    async def handle(body: Number) -> None:
        if body.n in running:
            overlaps.append(body.n)
        running.add(body.n)
        runs[body.n] += 1
        await asyncio.sleep(0.05)
        running.discard(body.n)

    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("twice")
        out = await app.create_producing_channel("twice")
        out.add_producer(producer := Numbers())
        channel = await app.create_consuming_channel("twice", concurrency=50)
        channel.add_consumer(consumer(handle))
        await app.start()
        double.misbehave(seed=1, duplicates=1.0)
        await asyncio.gather(*(producer.produce(n=n) for n in range(60)))
        await eventually(
            lambda: double.counts("twice") == (0, 0, 0) and not len(channel._hand), "all deleted"
        )
        assert set(runs) == set(range(60))
        assert overlaps == []
        # Each came twice, but while the first ran the second waited and was acked unrun.
        assert channel.counts.received > 60
        assert runs.total() < channel.counts.received
    check_balanced(channel.counts)


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_stop_gives_a_second_delivery_back_only_after_the_first_has_ended(
    in_time: bool,
) -> None:
    """Or it would be run elsewhere while the first still runs here."""
    running, may_end = asyncio.Event(), asyncio.Event()
    ended: list[tuple[int, int, int]] = []

    async def handle(body: Number) -> None:
        running.set()
        try:
            await may_end.wait()
        finally:
            ended.append(double.counts("twice"))

    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("twice")
        out = await app.create_producing_channel("twice")
        out.add_producer(producer := Numbers())
        channel = await app.create_consuming_channel("twice")
        channel.add_consumer(consumer(handle))
        await app.start()
        double.misbehave(seed=1, duplicates=1.0)
        await producer.produce(n=1)
        await eventually(lambda: channel.counts.received == 2, "delivered twice")
        double.misbehave()
        # Longer than the open poll, which would take what is given back.
        stopping = asyncio.create_task(app.stop(timeout=10 if in_time else 2))
        if in_time:
            await eventually(lambda: channel._poller.open == 0, "the last poll has ended")
            may_end.set()
        await stopping
        visible_then, in_flight_then, _ = ended[0]
        assert (visible_then, in_flight_then) == (0, 1), "hidden for as long as it runs here"
        if in_time:
            assert channel.counts.acked + channel.counts.lease_lost == 2
            assert double.counts("twice") == (0, 0, 0)
        else:
            assert double.counts("twice") == (1, 0, 0), "given back, not hidden"
    check_balanced(channel.counts)


async def test_a_handler_that_blocks_the_loop_beyond_its_lease_is_not_run_again() -> None:
    runs: list[int] = []

    async def handle(body: Number) -> None:
        runs.append(body.n)
        time.sleep(1.6)  # noqa: ASYNC251 - the mistake that this is about

    async with SQSDouble() as double, sqs_app(double.url, lease_s=1) as app:
        double.create_queue("blocks")
        out = await app.create_producing_channel("blocks")
        out.add_producer(producer := Numbers())
        channel = await app.create_consuming_channel("blocks")
        channel.add_consumer(consumer(handle))
        await app.start()
        await producer.produce(n=1)
        await eventually(
            lambda: double.counts("blocks") == (0, 0, 0) and channel.counts.acked > 0, "deleted"
        )
        assert runs == [1], "it was done; when it came again it was deleted"
        assert (channel.counts.lease_lost, channel.counts.acked) == (1, 1)
    check_balanced(channel.counts)


class Stubborn(Consumer[Number]):
    """Takes its time, and may ignore that it is cancelled."""

    name = "number"

    def __init__(self, seconds: float, *, ignores: bool = False) -> None:
        self.seconds = seconds
        self.ignores = ignores
        self.runs = 0
        self.told: list[bool] = []

    async def consume(self, body: Number, delivery: Delivery) -> None:
        self.runs += 1
        until = asyncio.get_running_loop().time() + self.seconds
        while (left := until - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                if not self.ignores:
                    self.told.append(delivery.lease_lost)
                    raise
        self.told.append(delivery.lease_lost)


Script = Callable[[MemoryBroker, MQApp, ConsumingChannel], Coroutine[Any, Any, None]]


def play(handler: Consumer[Any], script: Script) -> None:
    """Run one message through a channel on a memory broker in virtual time."""

    async def main() -> None:
        clock = VirtualClock()
        broker = MemoryBroker(clock=clock)
        await broker.connect()
        app = MQApp(broker, clock=clock)
        out = await app.create_producing_channel("orders")
        out.add_producer(producer := Numbers())
        # One slot: it does not poll while its handler runs, so the test can take the message.
        channel = await app.create_consuming_channel("orders", concurrency=1)
        channel.add_consumer(handler)
        await app.start()
        await producer.produce(n=1)
        await script(broker, app, channel)
        await app.shutdown(timeout=5)
        check_balanced(channel.counts)

    run_virtual(main)


async def steal(broker: MemoryBroker, channel: ConsumingChannel, lease_s: float) -> str:
    """End the channel's lease behind its back and take the message; return the new receipt."""
    (held,) = channel._hand
    await broker.release("orders", [held.raw.receipt], delay_s=0)
    (taken,) = await broker.receive("orders", max_messages=1, wait_s=0, lease_s=lease_s)
    return taken.receipt


def test_an_ack_with_a_stale_receipt_is_a_lost_lease_and_leaves_the_new_holder_alone() -> None:
    handler = Stubborn(5)

    async def script(broker: MemoryBroker, app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(1)
        receipt = await steal(broker, channel, lease_s=1000)
        await asyncio.sleep(10)
        assert channel.counts.lease_lost == 1
        assert channel.counts.acked == 0
        assert (await broker.describe("orders")).in_flight == 1
        assert await broker.ack("orders", [receipt]) == [None]

    play(handler, script)
    assert handler.runs == 1


def test_a_message_done_under_a_stale_receipt_is_deleted_when_it_comes_again() -> None:
    handler = Stubborn(5)

    async def script(broker: MemoryBroker, app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(1)
        await steal(broker, channel, lease_s=10)
        await asyncio.sleep(60)
        assert (channel.counts.lease_lost, channel.counts.acked) == (1, 1)
        assert (await broker.describe("orders")).depth == 0

    play(handler, script)
    assert handler.runs == 1


def test_a_message_done_too_long_ago_is_run_again() -> None:
    handler = Stubborn(5)

    async def script(broker: MemoryBroker, app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(1)
        await steal(broker, channel, lease_s=1000)
        await asyncio.sleep(1100)
        assert (channel.counts.lease_lost, channel.counts.acked) == (1, 1)

    play(handler, script)
    assert handler.runs == 2


def test_a_lease_lost_in_mid_handler_tells_it_and_settles_nothing() -> None:
    handler = Stubborn(100)

    async def script(broker: MemoryBroker, app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(1)
        receipt = await steal(broker, channel, lease_s=1000)
        await asyncio.sleep(60)  # the next renewal is refused as stale
        assert handler.told == [True]
        assert (channel.counts.lease_lost, channel.counts.received) == (1, 1)
        assert await broker.ack("orders", [receipt]) == [None]

    play(handler, script)


def test_a_handler_that_ignores_its_lost_lease_and_finishes_is_not_run_again() -> None:
    handler = Stubborn(40, ignores=True)

    async def script(broker: MemoryBroker, app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(1)
        await steal(broker, channel, lease_s=45)
        await asyncio.sleep(100)
        assert handler.told == [True]
        assert (channel.counts.lease_lost, channel.counts.acked) == (1, 1)
        assert (await broker.describe("orders")).depth == 0

    play(handler, script)
    assert handler.runs == 1


def test_no_more_is_in_hand_than_concurrency_and_prefetch() -> None:
    async def main() -> None:
        clock = VirtualClock()
        broker = MemoryBroker(clock=clock)
        await broker.connect()
        app = MQApp(broker, clock=clock)
        out = await app.create_producing_channel("orders")
        out.add_producer(producer := Numbers())
        channel = await app.create_consuming_channel("orders", concurrency=3, prefetch=2)
        channel.add_consumer(Stubborn(100))
        await app.start()
        await asyncio.gather(*(producer.produce(n=n) for n in range(20)))
        await asyncio.sleep(50)
        assert channel.counts.in_hand == 5
        info = await broker.describe("orders")
        assert (info.depth, info.in_flight) == (15, 5)
        await app.shutdown(timeout=0)
        check_balanced(channel.counts)

    run_virtual(main)
