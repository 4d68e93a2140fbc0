"""aiobotocore by hand.

Variants: ``default``, batches of ten in both directions, as a good engineer writes it; ``tuned``,
the same with the options that make aiobotocore cheaper; ``single``, sends and deletes one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import islice
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from benchmarks.message import Order
from benchmarks.peers.sqs_driving import QUEUE, Client, by_callers, main

VARIANTS = ("default", "tuned", "single")
POLLERS = 2


class Raw(Client):
    """A client, a batch loop to send, poll loops to receive."""

    async def open(self) -> None:
        """Open the client and start the poll loops."""
        config, pollers = None, self.settings.pollers or POLLERS
        if self.settings.variant == "tuned":
            config = AioConfig(user_agent="bench", parameter_validation=False)
        elif pollers > POLLERS:
            # Its pool of ten connections would be shared by polls, sends and deletes.
            config = AioConfig(max_pool_connections=50)
        self._stack = AsyncExitStack()
        creating = get_session().create_client("sqs", endpoint_url=self.settings.url, config=config)
        self._sqs: Any = await self._stack.enter_async_context(creating)
        self._url = (await self._sqs.get_queue_url(QueueName=QUEUE))["QueueUrl"]
        self._polls = [asyncio.create_task(self._poll()) for _ in range(pollers)]

    async def send_all(self, messages: Iterator[Order]) -> None:
        """Send in batches of ten, so many requests at a time; or one by one."""
        if self.settings.variant == "single":
            await by_callers(self.settings.callers, messages, self.send_one)
            return

        async def flight() -> None:
            while batch := list(islice(messages, 10)):
                entries = [
                    {"Id": str(number), "MessageBody": message.model_dump_json()}
                    for number, message in enumerate(batch)
                ]
                told = await self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries)
                if told.get("Failed"):
                    raise RuntimeError("messages were refused")

        await asyncio.gather(*(flight() for _ in range(self.settings.callers)))

    async def send_one(self, message: Order) -> None:
        """Send one by a call of its own."""
        await self._sqs.send_message(QueueUrl=self._url, MessageBody=message.model_dump_json())

    async def _poll(self) -> None:
        settle = self._delete_each if self.settings.variant == "single" else self._delete_all
        while True:
            told = await self._sqs.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=20
            )
            if received := told.get("Messages"):
                await settle(received)

    async def _delete_all(self, received: list[Any]) -> None:
        entries = []
        for number, one in enumerate(received):
            await self.handle(Order.model_validate_json(one["Body"]))
            entries.append({"Id": str(number), "ReceiptHandle": one["ReceiptHandle"]})
        await self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)

    async def _delete_each(self, received: list[Any]) -> None:
        await asyncio.gather(*(self._handle_and_delete(one) for one in received))

    async def _handle_and_delete(self, one: Any) -> None:
        await self.handle(Order.model_validate_json(one["Body"]))
        await self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=one["ReceiptHandle"])


if __name__ == "__main__":
    main(Raw, VARIANTS)
