"""Leases: renewed while a handler works, and what follows when they are lost."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from mqtransport import Backoff, Consumer, Delivery, MQApp, Retry
from mqtransport.broker import Broker
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.channel import ConsumingChannel
from mqtransport.errors import BrokerError, BrokerUnavailableError
from mqtransport.testing import VirtualClock, VirtualLoop, run_virtual
from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import Number, Numbers, check_balanced, consumer, eventually, sqs_app


async def test_a_handler_that_outlives_its_lease_twice_over_runs_once() -> None:
    runs: list[int] = []

    async def handle(body: Number) -> None:
        runs.append(body.n)
        await asyncio.sleep(5)

    async with SQSDouble() as double, sqs_app(double.url, lease_s=2) as app:
        double.create_queue("slow")
        out = await app.create_producing_channel("slow")
        out.add_producer(producer := Numbers())
        channel = await app.create_consuming_channel("slow")
        channel.add_consumer(consumer(handle))
        await app.start()
        await producer.produce(n=1)
        await eventually(lambda: channel.counts.acked == 1, "handled and acked")

        assert runs == [1]
        assert double.requests["ChangeMessageVisibilityBatch"] >= 2
        assert double.counts("slow") == (0, 0, 0)
        check_balanced(channel.counts)


class NoRenewals(MemoryBroker):
    """A broker whose renewals fail for a while."""

    outage = True

    async def extend(
        self, queue: str, receipts: Sequence[str], *, lease_s: float
    ) -> list[BrokerError | None]:
        if self.outage:
            raise BrokerUnavailableError("no answer", queue=queue, maybe_done=True)
        return await super().extend(queue, receipts, lease_s=lease_s)


Script = Callable[[MQApp, ConsumingChannel], Coroutine[Any, Any, None]]


def play(
    handler: Consumer[Any],
    script: Script,
    *,
    broker: type[MemoryBroker] = MemoryBroker,
    **options: Any,
) -> None:
    """Run an app on a memory broker in virtual time: hours pass in milliseconds."""

    async def main() -> None:
        clock = VirtualClock(asyncio.get_running_loop())  # type: ignore[arg-type]
        driver: Broker = broker(clock=clock)
        await driver.connect()
        app = MQApp(driver, clock=clock)
        out = await app.create_producing_channel("orders")
        out.add_producer(producer := Numbers())
        channel = await app.create_consuming_channel("orders", **options)
        channel.add_consumer(handler)
        await app.start()
        await producer.produce(n=1)
        await script(app, channel)
        await app.shutdown(timeout=5)
        check_balanced(channel.counts)

    run_virtual(main)


def test_a_renewal_that_fails_is_tried_again_until_it_works() -> None:
    runs: list[int] = []

    async def handle(body: Number) -> None:
        runs.append(body.n)
        await asyncio.sleep(200)

    async def script(app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(25)  # the first renewal, 10 s before the end, fails
        app.broker.outage = False  # type: ignore[attr-defined]
        await asyncio.sleep(180)
        assert (runs, channel.counts.acked) == ([1], 1)

    play(consumer(handle), script, broker=NoRenewals)


def test_a_lost_lease_cancels_the_handler_and_nothing_is_acked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[str] = []
    deliveries: list[Delivery] = []

    class Slow(Consumer[Number]):
        name = "number"

        async def consume(self, body: Number, delivery: Delivery) -> None:
            deliveries.append(delivery)
            if delivery.attempt > 1:
                return
            try:
                await asyncio.sleep(200)
                ended.append("finished")
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

    async def script(app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(29)
        assert not deliveries[0].lease_lost
        await asyncio.sleep(5)
        assert ended == ["cancelled"]
        assert deliveries[0].lease_lost
        counts = channel.counts
        assert (counts.lease_lost, counts.acked, counts.received) == (1, 1, 2)
        assert [one.attempt for one in deliveries] == [1, 2]
        assert deliveries[0].id == deliveries[1].id

    play(Slow(), script, broker=NoRenewals)
    (told,) = lost_leases(caplog)
    assert told.endswith("(attempt 1) is lost; its handler is cancelled")


def test_a_lease_lost_while_the_loop_was_blocked_says_so_and_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs: list[int] = []

    async def handle(body: Number) -> None:
        runs.append(body.n)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.block(33)  # as time.sleep(33) would

    async def script(app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(40)
        # It came again, and was acked without another run, since it was done here.
        assert (runs, channel.counts.lease_lost, channel.counts.acked) == ([1], 1, 1)

    play(consumer(handle), script, lease_s=30)
    (told,) = lost_leases(caplog)
    assert "noticed 3 s late: the event loop was blocked" in told
    assert "a plain def" in told


def lost_leases(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in caplog.records]
    return [text for text in texts if text.startswith("the lease of message")]


def test_a_handler_beyond_max_processing_is_cancelled_which_counts_as_a_failure() -> None:
    attempts: list[str] = []

    async def handle(body: Number) -> None:
        attempts.append("run")
        await asyncio.sleep(3600)

    async def script(app: MQApp, channel: ConsumingChannel) -> None:
        dlq = await app.create_producing_channel("dlq")
        channel.use_dead_letter_queue(dlq)
        await asyncio.sleep(130)
        assert attempts == ["run", "run"]
        assert (channel.counts.released, channel.counts.dead_lettered) == (1, 1)
        found = await app.broker.receive("dlq", max_messages=1, wait_s=0, lease_s=30)
        assert '"error":"HandlerTimeoutError"' in str(found[0].attributes["MQ"].value)

    retry = Retry(max_attempts=2, backoff=Backoff(first_s=1, max_s=1))
    play(consumer(handle), script, max_processing_s=60, retry=retry)


def test_a_handler_that_ignores_its_cancellation_is_not_released_at_stop() -> None:
    async def stubborn(body: Number) -> None:
        for _ in range(3600):
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue

    async def script(app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(1)
        report = await app.stop(timeout=3)
        assert report.seconds <= 4
        counts = report.consumed["orders"]
        assert (counts.lease_lost, counts.released, counts.stuck) == (1, 0, 1)
        info = await app.broker.describe("orders")
        assert info.in_flight == 1  # it holds it still, until its lease lapses

    play(consumer(stubborn), script)


def test_a_handler_that_finishes_in_spite_of_the_stop_is_acked() -> None:
    async def tidy(body: Number) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)  # ends its work properly instead

    async def script(app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(1)
        report = await app.stop(timeout=1)
        assert report.consumed["orders"].acked == 1

    play(consumer(tidy), script)


def test_a_cancelled_error_of_the_handlers_own_is_a_failure_like_any_other() -> None:
    runs: list[int] = []

    async def odd(body: Number) -> None:
        runs.append(body.n)
        if len(runs) == 1:
            raise asyncio.CancelledError
        if len(runs) == 2:
            raise SystemExit(3)

    async def script(app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(60)
        assert (len(runs), channel.counts.released, channel.counts.acked) == (3, 2, 1)
        assert app.failure is None

    play(consumer(odd), script)


async def test_a_plain_function_runs_in_a_thread_and_is_never_released_while_it_runs() -> None:
    gate = threading.Event()
    started = threading.Event()

    class Blocking(Consumer[Number]):
        name = "number"

        def consume(self, body: Number) -> None:
            started.set()
            gate.wait(timeout=30)

    app = await MQApp.connect("memory://", lease_s=5)
    out = await app.create_producing_channel("orders")
    out.add_producer(producer := Numbers())
    channel = await app.create_consuming_channel("orders")
    channel.add_consumer(Blocking())
    await app.start()
    await producer.produce(n=1)
    await eventually(started.is_set, "the thread runs")
    report = await app.stop(timeout=0.1)
    counts = report.consumed["orders"]
    assert (counts.lease_lost, counts.released, counts.stuck) == (1, 0, 1)
    assert (await app.broker.describe("orders")).in_flight == 1
    gate.set()
    await eventually(lambda: channel.counts.stuck == 0, "the thread ended")
    await app.shutdown()
    check_balanced(channel.counts)


def test_a_message_delivered_too_often_is_dead_lettered_unrun() -> None:
    runs: list[int] = []

    async def handle(body: Number) -> None:
        runs.append(body.n)

    async def script(app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(1)
        runs.clear()
        await app.stop()
        dlq = await app.create_producing_channel("dlq")
        channel.use_dead_letter_queue(dlq)
        out = app.producing_channel("orders")
        assert out is not None
        out.launch(lambda _: None)
        await out.send_message("number", {"n": 2})
        # Three processes die with it in hand.
        for attempt in range(1, 4):
            (raw,) = await app.broker.receive("orders", max_messages=1, wait_s=0, lease_s=1)
            assert raw.attempt == attempt
            await asyncio.sleep(2)
        await out.flush_and_stop(1)
        await app.start()
        await asyncio.sleep(1)
        assert runs == []
        assert channel.counts.dead_lettered == 1
        (dead,) = await app.broker.receive("dlq", max_messages=1, wait_s=0, lease_s=1)
        assert '"error":"DeliveryLimitError"' in str(dead.attributes["MQ"].value)

    play(consumer(handle), script, retry=Retry(max_attempts=1), max_deliveries=3)


def test_an_ack_waits_for_company_no_longer_than_a_tenth_of_the_lease() -> None:
    async def handle(body: Number) -> None:
        pass

    async def script(app: MQApp, channel: ConsumingChannel) -> None:
        await asyncio.sleep(0.19)
        assert channel.counts.acked == 0
        await asyncio.sleep(0.02)
        assert channel.counts.acked == 1

    play(consumer(handle), script, lease_s=2, ack_linger_s=60)


def test_one_slot_does_not_wait_for_company_for_its_acks() -> None:
    """With nobody else running, an ack that lingers would only keep the next message out."""
    handled: list[float] = []

    async def handle(body: Number) -> None:
        handled.append(asyncio.get_running_loop().time())

    async def script(app: MQApp, channel: ConsumingChannel) -> None:
        out = app.producing_channel("orders")
        assert out is not None
        await asyncio.gather(*(out.send_message("number", {"n": n}) for n in range(20)))
        await asyncio.sleep(0.5)  # 20 lingering acks would take two seconds
        assert len(handled) == 21

    play(consumer(handle), script, concurrency=1)
