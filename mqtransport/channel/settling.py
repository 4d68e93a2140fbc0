"""Settling: acks and releases, batched, retried while the lease lasts, never cancelled.

Handlers hand their deliveries over and are done; what happens to a handler's task cannot
reach a settle under way.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from mqtransport.channel.base import END_GRACE_S, QueueRef, Seldom, Tools, Trouble
from mqtransport.channel.in_hand import Hand, Held, Outcome
from mqtransport.channel.leases import LEASE_SLACK_S
from mqtransport.errors import BrokerError, BrokerUnavailableError, StaleReceiptError
from mqtransport.policy import Backoff

BUSY_LINGER_S = 0.05
"""While somebody waits for a slot, an ack waits for company no longer than a partial poll does."""

SPARED = 2
"""So many slots of a calm channel are left for what comes while its acks are under way."""

RETRY = Backoff(first_s=0.1, max_s=2.0)
"""Delays between tries of a failed settle."""


class Settler:
    """Settles the deliveries of one channel.

    Args:
        queue: the queue.
        tools: broker, clock, randomness.
        hand: the deliveries; each gets its outcome here.
        trouble: where failed settles are noted.
        linger_s: longest wait of an ack for company in its batch, while the channel is calm.
        calm: tells whether a poll is open, so that nobody waits for the slot of an ack.
        give_up_s: how long an unconfirmed settle is retried: one lease.
        on_defect: called with what a settle task died of, should one ever die.
        on_failed: called with each delivery whose settle failed and will be tried again.
    """

    def __init__(
        self,
        queue: QueueRef,
        tools: Tools,
        hand: Hand,
        trouble: Trouble,
        *,
        linger_s: float,
        calm: Callable[[], bool] = lambda: True,
        give_up_s: float,
        on_defect: Callable[[BaseException], None],
        on_failed: Callable[[Held], None] = lambda held: None,
    ) -> None:
        self._queue = queue
        self._max_batch = tools.broker.capabilities.max_batch
        self._tools = tools
        self._hand = hand
        self._trouble = trouble
        self._seldom = Seldom(tools.clock)
        self._linger_s = linger_s
        self._busy_linger_s = min(linger_s, BUSY_LINGER_S)
        self._calm = calm
        # So few that a hand of a full batch or a little more is not filled up by waiting acks.
        spared = SPARED if hand.capacity >= self._max_batch else 0
        self._calm_batch = min(self._max_batch, hand.capacity - spared)
        self._give_up_s = give_up_s
        self._on_failed = on_failed
        self._on_defect = on_defect
        self._acks: list[Held] = []
        self._releases: dict[float, list[Held]] = {}
        self._ack_timer: asyncio.TimerHandle | None = None
        self._release_timer: asyncio.Handle | None = None
        self._retries: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()

    def ack(self, held: Held, outcome: Outcome = Outcome.ACKED) -> None:
        """Delete the delivery soon; its outcome is given when the broker has confirmed it."""
        if self._hand.begin_settle(held, outcome):
            self._queue_ack(held)

    def release(self, held: Held, delay_s: float) -> None:
        """Give the delivery back at the end of this loop cycle, batched with others."""
        if not self._hand.begin_settle(held, Outcome.RELEASED):
            return
        limits = self._tools.broker.capabilities
        # The time since the receive counts towards the longest lease.
        age_s = self._tools.clock.monotonic() - held.received
        delay_s = max(min(delay_s, limits.max_lease_s - age_s - LEASE_SLACK_S), 0.0)
        if step_s := limits.lease_step_s:
            delay_s = math.ceil(delay_s / step_s) * step_s  # so that equal ones share a call
        self._queue_release(held, delay_s)

    def hasten(self) -> None:
        """Let no ack wait for company as long as on a calm channel: somebody needs its slot."""
        timer, loop = self._ack_timer, asyncio.get_running_loop()
        if timer is not None and timer.when() > loop.time() + self._busy_linger_s:
            timer.cancel()
            self._ack_timer = loop.call_later(self._busy_linger_s, self.flush)

    def flush(self) -> None:
        """Send all acks now, without waiting for company."""
        if not self._acks:
            return
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        acks, self._acks = self._acks, []
        for batch in self._batches(acks):
            self._start(self._settle(batch, None))

    async def drain(self, timeout_s: float) -> None:
        """Send everything and wait until the broker has confirmed it, or time is up."""
        deadline = self._tools.clock.monotonic() + timeout_s
        while self._acks or self._releases or self._tasks or self._retries:
            self._moved.clear()
            self.flush()
            self._flush_releases()
            left_s = deadline - self._tools.clock.monotonic()
            if left_s <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._moved.wait()

    async def close(self) -> None:
        """End what is still under way; deliveries without an outcome have lost their lease."""
        for handle in self._retries:
            handle.cancel()
        self._retries.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_GRACE_S)

    def _queue_ack(self, held: Held) -> None:
        self._acks.append(held)
        waiting = len(self._acks)
        if waiting >= self._max_batch or (waiting >= self._calm_batch and self._calm()):
            self.flush()
        elif self._ack_timer is None:
            linger_s = self._linger_s if self._calm() else self._busy_linger_s
            self._ack_timer = asyncio.get_running_loop().call_later(linger_s, self.flush)

    def _queue_release(self, held: Held, delay_s: float) -> None:
        self._releases.setdefault(delay_s, []).append(held)
        if self._release_timer is None:
            self._release_timer = asyncio.get_running_loop().call_soon(self._flush_releases)

    def _flush_releases(self) -> None:
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None
        releases, self._releases = self._releases, {}
        for delay_s, group in releases.items():
            for batch in self._batches(group):
                self._start(self._settle(batch, delay_s))

    def _batches(self, group: list[Held]) -> list[list[Held]]:
        size = self._max_batch
        alive = [held for held in group if held.outcome is None]
        return [alive[start : start + size] for start in range(0, len(alive), size)]

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._moved.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_defect(error)

    async def _settle(self, batch: Sequence[Held], delay_s: float | None) -> None:
        """Settle one batch: ack it, or, with a delay, release it."""
        until = self._tools.clock.monotonic() + self._give_up_s
        for held in batch:
            held.settle_in_flight = True
            if held.settle_until > until:  # as it is before its first request
                held.settle_until = until
        receipts = [held.raw.receipt for held in batch]
        broker, queue = self._tools.broker, self._queue.physical
        results: Sequence[BrokerError | None]
        try:
            if delay_s is None:
                results = await broker.ack(queue, receipts)
            else:
                results = await broker.release(queue, receipts, delay_s=delay_s)
            if len(results) != len(batch):
                raise BrokerUnavailableError("the answer to a settle does not match it")
        except BrokerError as error:
            results = [error] * len(batch)
        if None in results:
            self._trouble.good()
        for held, result in zip(batch, results, strict=True):
            held.settle_in_flight = False
            if held.outcome is not None:
                continue
            if result is None:
                self._hand.finish(held, held.settling or Outcome.RELEASED)
            else:
                self._failed(held, result, delay_s)

    def _failed(self, held: Held, result: BrokerError, delay_s: float | None) -> None:
        if isinstance(result, StaleReceiptError):
            self._lost(held, "somebody else may have it")
        elif not result.retryable:
            self._trouble.bad(result)
            self._lost(held, "the broker refuses to settle it")
        elif self._tools.clock.monotonic() >= held.settle_until:
            self._lost(held, "it could not be settled in time")
        else:
            self._trouble.bad(result)
            self._retry(held, delay_s)

    def _retry(self, held: Held, delay_s: float | None) -> None:
        held.settle_failures += 1
        pause_s = RETRY.delay_s(held.settle_failures, self._tools.random)

        def again() -> None:
            self._retries.discard(handle)
            self._moved.set()
            if held.outcome is None:
                if delay_s is None:
                    self._queue_ack(held)
                else:
                    self._queue_release(held, delay_s)

        handle = asyncio.get_running_loop().call_later(pause_s, again)
        self._retries.add(handle)
        self._on_failed(held)

    def _lost(self, held: Held, why: str) -> None:
        self._trouble.logger.log(
            logging.WARNING if self._seldom(why) else logging.DEBUG,
            "delivery of message %s (attempt %d) is not settled: %s (others: at debug level)",
            held.message_id,
            held.raw.attempt,
            why,
        )
        self._hand.finish(held, Outcome.LEASE_LOST)
