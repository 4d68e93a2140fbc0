"""The broker goes away twice and comes back with what it had: no loss, and groups stay in order.

The size is that of Watermill's reconnect test: 10,000 messages, 100 publishers, two restarts.
"""

import asyncio
from collections import defaultdict
from random import Random

import pytest

from mqtransport import Delivery
from mqtransport.testing.proxy import FaultProxy
from mqtransport.testing.sqs_double import SQSDouble
from tests.faults.journal import Item, Items, Journal
from tests.faults.support import Recorder, app_on, check_alive, check_ended, until

PRODUCERS = 100
DOWN_S = 1.0
"""How long nobody listens: a while in which every send, receive and settle fails."""

SEND_TIMEOUT_S = 0.8
"""Shorter, so that senders are told and send again with the same message id."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("queue", ["items", "items.fifo"])
@pytest.mark.parametrize(
    "dies",
    [
        "server",  # what it had begun to carry out, it answers
        "proxy",  # what is under way arrives at the server, and its answer is lost
    ],
)
async def test_two_restarts_lose_nothing_and_keep_every_group_in_order(
    queue: str, dies: str, full: bool, journal: Journal
) -> None:
    messages = 10_000 if full else 2_000
    ordered = queue.endswith(".fifo")
    seen: defaultdict[str, list[int]] = defaultdict(list)

    async def note(item: Item, delivery: Delivery) -> None:
        producer, _, number = item.key.partition("/")
        seen[producer].append(int(number))
        if ordered:
            assert delivery.group == producer

    async with (
        SQSDouble(seed=1) as double,
        FaultProxy(double.url) as proxy,
        app_on(
            proxy.url if dies == "proxy" else double.url,
            timeout_s=2.0,
            send_timeout_s=SEND_TIMEOUT_S,
            lease_s=5.0,
            random=Random(1),
        ) as app,
    ):
        double.create_queue(queue, **({"FifoQueue": True} if ordered else {}))
        out = await app.create_producing_channel(queue)
        out.add_producer(producer := Items())
        channel = await app.create_consuming_channel(queue, concurrency=100)
        channel.add_consumer(Recorder(journal, note))
        await app.start()

        async def produce(name: str) -> None:
            for number in range(messages // PRODUCERS):
                group = name if ordered else None
                assert await journal.send(producer, f"{name}/{number}", group=group)

        async def restart(after: int) -> None:
            await until(lambda: len(journal.confirmed) >= after, lambda: journal, within_s=600.0)
            if dies == "proxy":
                proxy.refuse()
            else:
                await double.down()
            await asyncio.sleep(DOWN_S)
            assert len(journal.confirmed) < messages, "the restart came too late"
            if dies == "proxy":
                proxy.accept()
            else:
                await double.up()

        async with asyncio.timeout(600.0 if full else 100.0):
            async with asyncio.TaskGroup() as tasks:
                for number in range(PRODUCERS):
                    tasks.create_task(produce(f"p{number}"))
                await restart(messages // 3)
                await restart(2 * messages // 3)
            await until(
                lambda: double.counts(queue) == (0, 0, 0) and channel.counts.in_hand == 0,
                lambda: (double.counts(queue), channel.counts),
                within_s=60.0,
            )
        check_alive(app)
        await app.stop(timeout=3)
        check_ended(app)
        journal.look(double, queue)
        journal.check()
        assert len(journal.confirmed) == messages, journal
        assert journal.raised, "no sender was told"
    if ordered:
        # In order, without a gap, and without doubles: a send or a receive whose reply was lost
        # is asked for again with the same id.
        wanted = list(range(messages // PRODUCERS))
        for name, numbers in seen.items():
            assert numbers == wanted, (name, numbers, str(journal))
