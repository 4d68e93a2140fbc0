"""Polling: when to ask the broker for messages, for how many, and with how many polls at a time.

An idle queue costs one long poll at a time. Only while polls come back full, and there are slots
for more, several are open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from mqtransport.channel.base import QueueRef, Tools, Trouble
from mqtransport.channel.in_hand import Hand
from mqtransport.channel.leases import receive_deadline
from mqtransport.channel.options import ReceiveOptions
from mqtransport.clock import new_id
from mqtransport.errors import BrokerError, ChannelError
from mqtransport.limits import is_fifo
from mqtransport.message import RawDelivery
from mqtransport.policy import Backoff

PARTIAL_AFTER_S = 0.05
"""With fewer free slots than a full batch needs, a busy queue is polled after this time."""

EMPTY_PAUSE_S = 1.0
"""Empty answers come at most once in so many seconds, however short the poll's wait is."""

MAX_OPEN = 10
"""Most polls of a channel at a time; each may bring a full batch."""

ATTEMPT_ID_S = 240.0
"""A receive attempt id is used for so long; SQS honours it for 5 minutes (ReceiveMessage)."""

FATAL_BACKOFF = Backoff(first_s=5.0, max_s=60.0)
"""A queue that is missing or denied needs an operator: asked for soon, then once a minute.

Without jitter, which would halve the pauses: there is no crowd to spread, only an operator."""


class Poller:
    """Takes deliveries out of one queue as slots come free.

    Args:
        queue: the queue.
        tools: broker, clock, randomness.
        options: the channel's options.
        hand: the deliveries; says how many slots are free.
        trouble: where failed polls are noted.
        admit: called with the deliveries of each poll that brings some, and the deadline of their
            leases.
        on_blocked: called when it begins to wait for free slots.

    Attributes:
        blocked: whether it waits for free slots.
        polls: polls answered so far.
    """

    def __init__(
        self,
        queue: QueueRef,
        tools: Tools,
        options: ReceiveOptions,
        hand: Hand,
        trouble: Trouble,
        *,
        admit: Callable[[Sequence[RawDelivery], float], None],
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
        self._ordered = is_fifo(queue.physical)
        self._calm = False  # the last poll was not full
        self._full = False  # the last poll was full
        self._running = 0  # polls that were begun and have not ended, those that back off too
        self._asked = 0  # slots set aside for them
        self._open: dict[object, float] = {}  # when each receive under way began
        self._stopping = asyncio.Event()
        self.blocked = False
        self.polls = 0

    @property
    def open(self) -> int:
        """Receives under way."""
        return len(self._open)

    @property
    def polling_since(self) -> float | None:
        """Monotonic time at which the oldest open poll began; None while none is open."""
        return min(self._open.values(), default=None)

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
        """Poll until stopped; ends when the open polls have ended."""
        async with asyncio.TaskGroup() as polls:
            while not self.stopping:
                try:
                    room = await self._room()
                finally:
                    self.blocked = False
                if self.stopping:
                    break
                alone = self._stays_alone()
                self._running += 1
                self._asked += room
                if alone:
                    await self._poll(room)  # a task would cost as much as handling a message
                else:
                    polls.create_task(self._poll(room))

    def _stays_alone(self) -> bool:
        """Whether no other poll can be due before the next one has ended: see ``_room``."""
        return self._running == 0 and (not self._full or self._hand.capacity < 2 * self._batch)

    async def _poll(self, room: int) -> None:
        """Receive once. If the reply was lost on an ordered queue, ask for the same again."""
        attempt_id = self._attempt_id()
        began = self._tools.clock.monotonic()
        try:
            while not self.stopping:
                try:
                    return await self._receive(room, attempt_id)
                except BrokerError as error:
                    again = self._ordered and error.maybe_done
                    await self._back_off(error, alone=again or self._running == 1)
                    if not again:
                        return
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():
                        raise
                    # From inside the driver: the group would take it for a poll that ended.
                    raise ChannelError("the receive was cancelled by nobody") from None
                if self._tools.clock.monotonic() - began > ATTEMPT_ID_S:
                    attempt_id, began = self._attempt_id(), self._tools.clock.monotonic()
        finally:
            self._running -= 1
            self._asked -= room
            self._hand.changed.set()

    async def _receive(self, room: int, attempt_id: str | None) -> None:
        clock, token = self._tools.clock, object()
        started = self._open[token] = clock.monotonic()
        try:
            deliveries = await self._tools.broker.receive(
                self._queue.physical,
                max_messages=room,
                wait_s=self._wait_s,
                lease_s=self._options.lease_s,
                attempt_id=attempt_id,
            )
        finally:
            del self._open[token]
        self.polls += 1
        self._trouble.good()
        self._full = len(deliveries) >= room
        self._calm = not self._full
        ended = clock.monotonic()
        deadline = receive_deadline(
            started=started,
            ended=ended,
            wait_s=self._wait_s,
            lease_s=self._options.lease_s,
        )
        if deliveries:
            self._admit(deliveries, deadline)
        else:
            # A short poll, or a broker that does not wait: never a hot loop.
            await self._pause(EMPTY_PAUSE_S - (ended - started))

    async def _room(self) -> int:
        """Wait until a poll is worth its while; return how many messages to ask for.

        That is when a full batch fits. With fewer slots: at once while the queue is calm (its
        last poll was not full), else after a short wait, so that a busy queue is not polled
        for single messages. Beside an open poll: only while polls come back full.
        """
        waited = False
        while not self.stopping:
            free = self._hand.free - self._asked
            if self._running:
                if self._full and free >= self._batch and self._running < MAX_OPEN:
                    return self._batch
                self._hand.changed.clear()
                await self._hand.changed.wait()
                continue
            if free >= self._batch:
                return self._batch
            if free > 0 and (self._calm or waited):
                return free
            self.blocked = True
            self._hand.changed.clear()  # before: eager tasks (3.12) free slots in it
            self._on_blocked()
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

    def _attempt_id(self) -> str | None:
        return new_id(self._tools.random) if self._ordered else None

    async def _back_off(self, error: BrokerError, *, alone: bool) -> None:
        self._trouble.bad(error)
        self._full = False
        if not alone:
            return  # another poll is open, or backs off: one of them is enough
        failures = self._trouble.failures
        if error.fatal:
            pause_s = FATAL_BACKOFF.ceiling_s(failures)
        else:
            # Full jitter, but never a hot loop: a jittered delay may come out as nothing.
            pause_s = max(self._options.backoff.delay_s(failures, self._tools.random), 0.1)
        await self._pause(pause_s)

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the channel stops."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
