"""Polling: when to ask the broker for messages, and how many. One poll at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from mqtransport.channel.base import QueueRef, Tools, Trouble
from mqtransport.channel.in_hand import Hand
from mqtransport.channel.leases import receive_deadline
from mqtransport.channel.options import ReceiveOptions
from mqtransport.errors import BrokerError
from mqtransport.message import RawDelivery
from mqtransport.policy import Backoff

PARTIAL_AFTER_S = 0.05
"""With fewer free slots than a full batch needs, a busy queue is polled after this time."""

EMPTY_PAUSE_S = 1.0
"""Empty answers come at most once in so many seconds, however short the poll's wait is."""

FATAL_BACKOFF = Backoff(first_s=5.0, max_s=60.0)
"""A queue that is missing or denied needs an operator: asked for at most once a minute."""


class Poller:
    """Takes deliveries out of one queue as slots come free.

    Args:
        queue: the queue.
        tools: broker, clock, randomness.
        options: the channel's options.
        hand: the deliveries; says how many slots are free.
        trouble: where failed polls are noted.
        admit: called with each delivery and the deadline of its lease.
        on_blocked: called when it begins to wait for free slots.

    Attributes:
        blocked: whether it waits for free slots.
        polls: polls answered so far.
        polling_since: monotonic time at which the open poll began; None while none is open.
    """

    def __init__(
        self,
        queue: QueueRef,
        tools: Tools,
        options: ReceiveOptions,
        hand: Hand,
        trouble: Trouble,
        *,
        admit: Callable[[RawDelivery, float], None],
        on_blocked: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._tools = tools
        self._options = options
        self._hand = hand
        self._trouble = trouble
        self._admit = admit
        self._on_blocked = on_blocked
        limits = tools.broker.capabilities
        self._wait_s = min(options.wait_s, limits.max_wait_s)
        self._batch = min(limits.max_batch, hand.capacity)
        self._calm = False
        self._stopping = asyncio.Event()
        self.blocked = False
        self.polls = 0
        self.polling_since: float | None = None

    @property
    def limit_s(self) -> float:
        """The longest time that an honest poll takes."""
        return self._wait_s + self._tools.broker.timeout_s

    @property
    def stopping(self) -> bool:
        """Whether no further poll is made."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Make no further poll; one that is open may end by itself."""
        self._stopping.set()
        self._hand.changed.set()

    async def run(self) -> None:
        """Poll until stopped."""
        while not self.stopping:
            try:
                room = await self._room()
            finally:
                self.blocked = False
            if self.stopping:
                return
            try:
                await self._poll(room)
            except BrokerError as error:
                await self._back_off(error)

    async def _poll(self, room: int) -> None:
        clock = self._tools.clock
        started = self.polling_since = clock.monotonic()
        try:
            deliveries = await self._tools.broker.receive(
                self._queue.physical,
                max_messages=room,
                wait_s=self._wait_s,
                lease_s=self._options.lease_s,
            )
        finally:
            self.polling_since = None
        self.polls += 1
        self._trouble.good()
        self._calm = len(deliveries) < room
        ended = clock.monotonic()
        deadline = receive_deadline(
            started=started,
            ended=ended,
            wait_s=self._wait_s,
            lease_s=self._options.lease_s,
        )
        for raw in deliveries:
            self._admit(raw, deadline)
        if not deliveries:
            # A short poll, or a broker that does not wait: never a hot loop.
            await self._pause(EMPTY_PAUSE_S - (ended - started))

    async def _room(self) -> int:
        """Wait until a poll is worth its while; return how many messages to ask for.

        That is when a full batch fits. With fewer slots: at once while the queue is calm (its
        last poll was not full), else after a short wait, so that a busy queue is not polled
        for single messages.
        """
        waited = False
        while not self.stopping:
            free = self._hand.free
            if free >= self._batch:
                return self._batch
            if free > 0 and (self._calm or waited):
                return free
            self.blocked = True
            self._on_blocked()
            self._hand.changed.clear()
            if free <= 0:
                await self._hand.changed.wait()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(PARTIAL_AFTER_S):
                    while not self._enough():
                        await self._hand.changed.wait()
                        self._hand.changed.clear()
            waited = True
        return 0

    def _enough(self) -> bool:
        return self.stopping or self._hand.free >= self._batch

    async def _back_off(self, error: BrokerError) -> None:
        self._trouble.bad(error)
        backoff = FATAL_BACKOFF if error.fatal else self._options.backoff
        # Full jitter, but never a hot loop: a jittered delay may come out as nothing.
        pause_s = max(backoff.delay_s(self._trouble.failures, self._tools.random), 0.1)
        await self._pause(pause_s)

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the channel stops."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
