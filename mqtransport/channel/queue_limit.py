"""The size limit of a queue, which an operator may lower while we run."""

from __future__ import annotations

import asyncio
import math

from mqtransport.channel.base import QueueRef, Tools, Trouble
from mqtransport.errors import BrokerError

LIMIT_EVERY_S = 10.0
"""A queue whose limit may have been lowered is asked for it at most once in so many seconds."""


class QueueLimit:
    """Learns that the size limit of a queue was lowered, by asking the broker.

    Args:
        queue: the queue.
        tools: broker and clock.
        trouble: where a failed call is noted.

    Attributes:
        max_bytes: the limit as far as it is known.
    """

    def __init__(self, queue: QueueRef, tools: Tools, trouble: Trouble) -> None:
        self.max_bytes = queue.max_message_bytes
        self._queue = queue
        self._tools = tools
        self._trouble = trouble
        self._asking = asyncio.Lock()
        self._asked_at = -math.inf

    async def ask(self) -> None:
        """Ask the broker, at most once in LIMIT_EVERY_S."""
        async with self._asking:
            now = self._tools.clock.monotonic()
            if now - self._asked_at < LIMIT_EVERY_S:
                return
            self._asked_at = now
            try:
                info = await self._tools.broker.describe(self._queue.physical)
            except BrokerError as error:
                self._trouble.bad(error)
                return
            found = info.max_message_bytes
            if found is not None and found < self.max_bytes:
                self._trouble.logger.warning(
                    "queue %r: its size limit was lowered from %d to %d bytes",
                    self._queue.name,
                    self.max_bytes,
                    found,
                )
                self.max_bytes = found
