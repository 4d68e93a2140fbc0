"""What SQS bills: requests counted at the strict double."""

import asyncio
import random

import pytest

from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import Number, Numbers, check_balanced, consumer, eventually, sqs_app


async def test_300_concurrent_awaited_sends_cost_30_requests() -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders")
        channel = await app.create_producing_channel("orders")
        channel.add_producer(producer := Numbers())
        await app.start()
        double.reset_counts()

        sent = await asyncio.gather(*(producer.produce(n=n) for n in range(300)))

        assert {one.state for one in sent} == {"confirmed"}
        assert double.counts("orders")[0] == 300
        assert double.requests == {"SendMessageBatch": 30}


@pytest.mark.parametrize(
    ("slowest_s", "most"), [(0.0, 75), (0.05, 100)], ids=["trivial", "5 to 50 ms"]
)
async def test_300_messages_cost_few_receives_and_acks(slowest_s: float, most: int) -> None:
    seeded = random.Random(7)
    handled: list[int] = []

    async def handle(body: Number) -> None:
        if slowest_s:
            await asyncio.sleep(seeded.uniform(0.005, slowest_s))
        handled.append(body.n)

    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders")
        out = await app.create_producing_channel("orders")
        out.add_producer(producer := Numbers())
        await app.start()
        await asyncio.gather(*(producer.produce(n=n) for n in range(300)))
        await app.stop()

        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(handle))
        double.reset_counts()
        await app.start()
        await eventually(lambda: double.counts("orders") == (0, 0, 0), "all deleted")
        requests = double.requests["ReceiveMessage"] + double.requests["DeleteMessageBatch"]
        await app.stop()

        assert sorted(handled) == list(range(300))
        assert requests <= most, double.requests
        assert set(double.requests) <= {"ReceiveMessage", "DeleteMessageBatch"}
        check_balanced(channel.counts)


async def test_a_calm_consumer_makes_at_most_1_2_requests_per_message() -> None:
    handled: list[int] = []

    async def handle(body: Number) -> None:
        handled.append(body.n)

    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders")
        out = await app.create_producing_channel("orders")
        out.add_producer(producer := Numbers())
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(handle))
        await app.start()
        double.reset_counts()
        for n in range(100):
            await producer.produce(n=n)
            await asyncio.sleep(0.01)  # the traffic that this is about
        await eventually(lambda: double.counts("orders") == (0, 0, 0), "all deleted")

        assert handled == list(range(100))
        requests = double.requests["ReceiveMessage"] + double.requests["DeleteMessageBatch"]
        assert requests <= 125, double.requests  # 120 and an open poll, on a machine that idles


async def test_an_idle_consumer_makes_no_request_between_its_polls() -> None:
    async def never(body: Number) -> None:
        raise AssertionError("there is no message")

    async with SQSDouble() as double, sqs_app(double.url, wait_s=1.0) as app:
        double.create_queue("orders")
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(never))
        double.reset_counts()
        await app.start()
        await eventually(lambda: channel.polls >= 2, "two polls answered")

        assert set(double.requests) == {"ReceiveMessage"}
        # Each answered poll is one request, and one more is open.
        assert double.requests["ReceiveMessage"] <= channel.polls + 1
