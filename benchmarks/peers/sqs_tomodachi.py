"""tomodachi, its SQS transport without SNS.

Variants: ``default``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from tomodachi.transport.aws_sns_sqs import AWSSNSSQSTransport

from benchmarks.message import Order
from benchmarks.peers.sqs_driving import QUEUE, Client, by_callers, main

VARIANTS = ("default",)


class Service:
    """What tomodachi's runner would make of a service class."""

    uuid = "bench"

    def __init__(self, url: str) -> None:
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        self.context: dict[str, Any] = {
            "options": {
                "aws_endpoint_urls": {"sqs": url},
                "aws_sns_sqs": {"region_name": "us-east-1", **keys},
            }
        }


class Tomodachi(Client):
    """A service with one handler."""

    async def open(self) -> None:
        """Subscribe the handler."""
        logging.disable(logging.WARNING)
        self._service = service = Service(self.settings.url)
        handle = self.handle

        async def handler(self: Service, message: str) -> None:
            await handle(Order.model_validate_json(message))

        start = await AWSSNSSQSTransport.subscribe_handler(
            service,
            service.context,
            handler,
            queue_name=QUEUE,
            competing=True,
            message_envelope=None,
        )
        subscribed = await start()
        if subscribed is not None:
            await subscribed()
        await service._started_service()  # type: ignore[attr-defined] # set by the transport

    async def send_all(self, messages: Iterator[Order]) -> None:
        """Send each by ``send_message``."""
        await by_callers(self.settings.callers, messages, self.send_one)

    async def send_one(self, message: Order) -> None:
        """Send one."""
        await AWSSNSSQSTransport.send_message(
            self._service, message.model_dump_json(), QUEUE, message_envelope=None
        )


if __name__ == "__main__":
    main(Tomodachi, VARIANTS)
