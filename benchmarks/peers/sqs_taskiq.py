"""taskiq on taskiq-aio-sqs.

Variants: ``default``; ``tuned``, which receives ten at a time and polls for 20 s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

from taskiq.receiver import Receiver
from taskiq_aio_sqs import SQSBroker

from benchmarks.message import Order
from benchmarks.peers.sqs_driving import QUEUE, Client, by_callers, main

VARIANTS = ("default", "tuned")
TUNED = {"max_number_of_messages": 10, "wait_time_seconds": 20}


class Taskiq(Client):
    """Its broker, a task, its receiver."""

    async def open(self) -> None:
        """Start the receiver."""
        logging.disable(logging.WARNING)
        broker = SQSBroker(
            QUEUE,
            endpoint_url=self.settings.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            **(TUNED if self.settings.variant == "tuned" else {}),
        )
        handle = self.handle

        async def handler(message: Order) -> None:
            await handle(message)

        self._task = broker.register_task(handler, "order")
        await broker.startup()
        receiver = Receiver(
            broker, max_async_tasks=self.settings.concurrency, max_prefetch=10, run_startup=False
        )
        self._running = asyncio.create_task(receiver.listen(asyncio.Event()))

    async def send_all(self, messages: Iterator[Order]) -> None:
        """Send each by ``kiq``."""
        await by_callers(self.settings.callers, messages, self._task.kiq)

    async def send_one(self, message: Order) -> None:
        """Send one."""
        await self._task.kiq(message)


if __name__ == "__main__":
    main(Taskiq, VARIANTS)
