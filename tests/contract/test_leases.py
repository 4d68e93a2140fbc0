"""Leases: renewed while a handler works, and what follows when they are lost."""

import asyncio
import threading

from mqtransport import Delivery
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.testing.sqs_double import SQSDouble
from mqtransport.testing.virtual import VirtualClock, run_virtual
from mqtransport import Consumer, MQApp
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
