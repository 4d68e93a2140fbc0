"""fanferro (a Rust core; Python 3.12 or newer).

Variants: ``default``, ``send`` one by one; ``batches``, a hundred at a time by ``send_batch``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice

import fanferro

from benchmarks.message import Order
from benchmarks.peers.sqs_driving import QUEUE, Client, by_callers, main

VARIANTS = ("default", "batches")
BATCH = 100


class Fanferro(Client):
    """Its client, queue and consumer."""

    async def open(self) -> None:
        """Start the consumer."""
        self._client = fanferro.Client(endpoint_url=self.settings.url, region="us-east-1")
        self._queue = self._client.queue(QUEUE)
        await self._client.__aenter__()
        consumer = self._client.consumer(
            self._queue, concurrency=self.settings.concurrency, pollers=self.settings.pollers or 2
        )
        handle = self.handle

        async def handler(message: Order) -> None:
            await handle(message)

        consumer.route(Order)(handler)
        self._running = asyncio.create_task(consumer.run(install_signal_handlers=False))

    async def send_all(self, messages: Iterator[Order]) -> None:
        """Send one by one, or in batches."""
        if self.settings.variant == "default":
            await by_callers(self.settings.callers, messages, self._queue.send)
            return
        while batch := list(islice(messages, BATCH)):
            (await self._queue.send_batch(batch)).raise_for_failures()

    async def send_one(self, message: Order) -> None:
        """Send one."""
        await self._queue.send(message)


if __name__ == "__main__":
    main(Fanferro, VARIANTS)
