"""Queues within one process: what a message costs from its model to its handler, settled.

``python -m benchmarks.peers.memory WAY COUNT [CONCURRENCY]`` prints one result. All ways dump
and validate the same model, and end when every message has been handled and settled.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

from benchmarks.measuring import Meter, Result, peak_bytes, tell
from benchmarks.message import Order, orders
from benchmarks.peers.sqs_driving import by_callers, run

CALLERS = 100
WARM = 1000

Send = Callable[[Order], Awaitable[object]]
Flow = Callable[[int], Awaitable[None]]
"""Sends so many messages, and returns when all are settled."""


class Handled:
    """The handler of all ways: counts, and tells when all have come."""

    def __init__(self) -> None:
        self._left = 0
        self._all = asyncio.Event()

    def expect(self, count: int) -> None:
        """Wait for so many from here on."""
        self._left = count
        self._all.clear()

    async def __call__(self, message: Order) -> None:
        """Handle a message."""
        self._left -= 1
        if not self._left:
            self._all.set()

    async def wait(self) -> None:
        """Return when all have come."""
        await asyncio.wait_for(self._all.wait(), 300)


async def bare_queue(measure: Callable[[Flow], Awaitable[None]], concurrency: int) -> None:
    """An ``asyncio.Queue`` of JSON texts, with so many tasks that take from it."""
    queue: asyncio.Queue[str] = asyncio.Queue(maxsize=CALLERS)
    handle = Handled()

    async def take() -> None:
        while True:
            text = await queue.get()
            await handle(Order.model_validate_json(text))
            queue.task_done()

    async def flow(count: int) -> None:
        handle.expect(count)
        for message in orders(count):
            await queue.put(message.model_dump_json())
        await queue.join()

    takers = [asyncio.create_task(take()) for _ in range(concurrency)]
    await measure(flow)
    for taker in takers:
        taker.cancel()
    await asyncio.wait(takers)


async def mqtransport(measure: Callable[[Flow], Awaitable[None]], concurrency: int) -> None:
    """Ours: a producing and a consuming channel of one app, every send awaited."""
    from mqtransport import Consumer, MQApp, MQSettings, Producer

    handle = Handled()

    class Sends(Producer[Order]):
        name = "order"

    class Handles(Consumer[Order]):
        name = "order"

        async def consume(self, message: Order) -> None:
            await handle(message)

    app = await MQApp.connect(settings=MQSettings(url="memory://", concurrency=concurrency))
    sending = await app.create_producing_channel("orders")
    sending.add_producer(producer := Sends())
    receiving = await app.create_consuming_channel("orders")
    receiving.add_consumer(Handles())

    async def flow(count: int) -> None:
        handle.expect(count)
        await app.start()
        await by_callers(CALLERS, orders(count), producer.send)
        await handle.wait()
        await app.stop()  # the last acks are part of it

    await measure(flow)
    await app.shutdown()


async def taskiq(measure: Callable[[Flow], Awaitable[None]], concurrency: int) -> None:
    """taskiq's InMemoryBroker: ``kiq`` starts a task; nothing is queued or settled."""
    from taskiq import InMemoryBroker

    logging.disable(logging.WARNING)
    broker = InMemoryBroker()
    handle = Handled()

    async def handler(message: Order) -> None:
        await handle(message)

    task = broker.register_task(handler, "order")
    await broker.startup()

    async def flow(count: int) -> None:
        handle.expect(count)
        await by_callers(CALLERS, orders(count), task.kiq)
        await handle.wait()
        await broker.wait_all()

    await measure(flow)
    await broker.shutdown()


async def fanferro(measure: Callable[[Flow], Awaitable[None]], concurrency: int) -> None:
    """fanferro's memory broker, a Rust core: queue, consumer, every send awaited."""
    from fanferro.testing import memory_client

    handle = Handled()
    client = memory_client()
    queue = client.queue("orders")
    consumer = client.consumer(queue, concurrency=concurrency)

    async def handler(message: Order) -> None:
        await handle(message)

    consumer.route(Order)(handler)
    async with client:
        running = asyncio.create_task(consumer.run(install_signal_handlers=False))

        async def flow(count: int) -> None:
            handle.expect(count)
            await by_callers(CALLERS, orders(count), queue.send)
            await handle.wait()

        await measure(flow)
        running.cancel()
        await asyncio.wait([running])


WAYS = {one.__name__: one for one in (bare_queue, mqtransport, taskiq, fanferro)}


async def measured(way: str, count: int, concurrency: int) -> Result:
    """Measure one way, after a warm-up."""
    results: list[Result] = []

    async def measure(flow: Flow) -> None:
        await flow(WARM)
        meter = Meter()
        await flow(count)
        results.append(meter.stop(count, peak_bytes=peak_bytes()))

    await WAYS[way](measure, concurrency)
    return results[0]


async def main() -> None:
    """Measure as the command line says."""
    way, count, *concurrency = sys.argv[1:]
    tell(await measured(way, int(count), int(concurrency[0]) if concurrency else 10))


if __name__ == "__main__":
    run(main())
