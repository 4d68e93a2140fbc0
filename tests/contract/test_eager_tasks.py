"""Eager tasks (Python 3.12): a task makes its first steps before ``create_task`` returns."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mqtransport import Backoff, Consumer, Delivery, MQApp, Retry
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.testing import VirtualClock, run_virtual
from tests.contract.support import Number, Numbers, check_balanced

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 has eager tasks")

QUICK = Retry(max_attempts=3, backoff=Backoff(first_s=1.0, max_s=4.0))


def play(
    handle: Callable[[Number, Delivery], Awaitable[None]],
    count: int,
    *,
    queue: str = "orders",
    groups: int = 1,
    seed: int | None = None,
    **options: Any,
) -> None:
    """Send messages, then start, and see that each is handled and that nothing is left."""

    class Handles(Consumer[Number]):
        name = "number"

        async def consume(self, body: Number, delivery: Delivery) -> None:
            await handle(body, delivery)

    async def main() -> None:
        factory: Any = getattr(asyncio, "eager_task_factory", None)
        asyncio.get_running_loop().set_task_factory(factory)
        broker = MemoryBroker(clock=(clock := VirtualClock()))
        await broker.connect()
        feeder = MQApp(broker, clock=clock)
        (await feeder.create_producing_channel(queue)).add_producer(numbers := Numbers())
        await feeder.start()
        for n in range(count):
            group = f"g{n % groups}" if queue.endswith(".fifo") else None
            await numbers.send(Number(n=n), group=group)
        app = MQApp(broker, clock=clock)
        channel = await app.create_consuming_channel(queue, **options)
        channel.add_consumer(Handles())
        await app.start()
        await asyncio.sleep(60)
        info = await broker.describe(queue)
        assert (info.depth, info.in_flight, info.delayed) == (0, 0, 0), channel.counts
        assert channel.counts.stuck == 0
        await app.shutdown(timeout=1)
        await feeder.shutdown(timeout=1)
        check_balanced(channel.counts)
        assert channel.counts.acked == count

    run_virtual(main, seed=seed)


@pytest.mark.parametrize("concurrency", [1, 2, 10, 50])
def test_slots_that_come_free_while_the_poller_asks_for_them_are_used(concurrency: int) -> None:
    async def handle(body: Number, delivery: Delivery) -> None:
        pass

    play(handle, 100, concurrency=concurrency)


def test_a_group_is_given_back_whole_when_its_head_fails_at_once() -> None:
    done: list[int] = []

    async def handle(body: Number, delivery: Delivery) -> None:
        if body.n == 0 and delivery.attempt == 1:
            raise ValueError("no")
        done.append(body.n)

    play(handle, 5, queue="orders.fifo", max_fence_s=0, retry=QUICK)
    assert done == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", [None, *range(20)])
def test_a_delivery_that_shares_a_task_is_seen_to_its_end(seed: int | None) -> None:
    """Acked at once, the head of a group brings the next into its own task; that one waits."""

    async def handle(body: Number, delivery: Delivery) -> None:
        if body.n % 3 == 1:
            await asyncio.sleep(0.1)
        if body.n % 3 == 2 and delivery.attempt == 1:
            raise ValueError("no")
        if body.n % 7 == 1 and delivery.attempt == 1:
            await asyncio.sleep(5)  # longer than it may

    for queue in ("orders", "orders.fifo"):
        play(
            handle, 60, queue=queue, groups=4, concurrency=5, max_processing_s=2.0, retry=QUICK,
            seed=seed,
        )  # fmt: skip


def test_no_task_is_shared_by_a_handler_that_has_waited() -> None:
    owners: dict[object, int] = {}

    async def handle(body: Number, delivery: Delivery) -> None:
        task = asyncio.current_task()
        assert task not in owners
        await asyncio.sleep(0)
        owners[task] = body.n

    play(handle, 50, concurrency=10)
    assert len(owners) == 50
