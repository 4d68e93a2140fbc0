"""mqtransport on SQS: awaited, confirmed sends; consumers through channels, with all guarantees.

Variants: ``default``; ``slow_path`` leaves every call to aiobotocore.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from benchmarks.message import Order
from benchmarks.peers.sqs_driving import QUEUE, Client, by_callers, main
from mqtransport import Consumer, MQApp, MQSettings, Producer
from mqtransport.brokers.sqs import SQSBroker

VARIANTS = ("default", "slow_path")


def has_fast_path() -> bool:
    """Return whether there is a fast path that could be switched off."""
    return "fast_path" in inspect.signature(SQSBroker).parameters


class Orders(Producer[Order]):
    """Sends orders."""

    name = "order"


class Ours(Client):
    """A producing and a consuming channel of one app."""

    async def open(self) -> None:
        """Start the app."""
        options: dict[str, Any] = {"endpoint_url": self.settings.url}
        if self.settings.variant == "slow_path" and has_fast_path():
            options["fast_path"] = False
        if self.settings.pollers is not None:
            options["poll_connections"] = self.settings.pollers
        broker = SQSBroker(**options)
        await broker.connect()
        settings = MQSettings(
            concurrency=self.settings.concurrency, prefetch=self.settings.prefetch
        )
        app = MQApp(broker, settings=settings)
        sending = await app.create_producing_channel(QUEUE)
        sending.add_producer(producer := Orders())
        receiving = await app.create_consuming_channel(QUEUE)
        handle = self.handle

        class Handler(Consumer[Order]):
            name = "order"

            async def consume(self, message: Order) -> None:
                await handle(message)

        receiving.add_consumer(Handler())
        await app.start()
        self._producer = producer

    async def send_all(self, messages: Iterator[Order]) -> None:
        """Send each by an awaited ``send``."""
        await by_callers(self.settings.callers, messages, self._producer.send)

    async def send_one(self, message: Order) -> None:
        """Send one."""
        await self._producer.send(message)


if __name__ == "__main__":
    main(Ours, VARIANTS)
