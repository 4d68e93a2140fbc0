"""Leases: the arithmetic, and the one task per channel that keeps them.

The same task ends handlers that run for too long: a timer for each would cost more than it does.

A lease is an absolute monotonic deadline, counted from the moment at which the request that
granted it was sent, so that it never ends later here than at the broker.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from mqtransport.channel.base import QueueRef, Tools, Trouble
from mqtransport.channel.in_hand import Hand, Held, Interruption, Outcome
from mqtransport.errors import BrokerError, BrokerUnavailableError, StaleReceiptError

MAX_MARGIN_S = 10.0
"""Renewals are sent at most this long before the deadline; NServiceBus's figure too."""

MAX_RETRY_S = 1.0
"""A failed renewal is tried again within this time, or within a quarter of what is left."""


LEASE_SLACK_S = 10.0
"""What is asked for stays so far below the longest lease: requests and retries take time too."""


def margin_s(lease_s: float) -> float:
    """Return how long before its deadline a lease is renewed."""
    return min(lease_s / 3, MAX_MARGIN_S)


def receive_deadline(*, started: float, ended: float, wait_s: float, lease_s: float) -> float:
    """Return when the lease of a received message ends at the latest.

    The broker starts the lease when it hands the message out, which is before the reply is
    here. A reply that took longer than ``wait_s`` was under way for the rest.
    """
    lateness = max(0.0, (ended - started) - wait_s)
    return ended - lateness + lease_s


class LeaseKeeper:
    """Renews every lease in hand until it is settled, lost or given up, and limits runs.

    Args:
        queue: the queue.
        tools: broker, clock, randomness.
        lease_s: how long each renewal asks for.
        hand: the deliveries.
        trouble: where failed renewals are noted.
        on_lost: called with each delivery whose lease is gone.
    """

    def __init__(
        self,
        queue: QueueRef,
        tools: Tools,
        lease_s: float,
        hand: Hand,
        trouble: Trouble,
        on_lost: Callable[[Held], None],
    ) -> None:
        self._queue = queue
        self._tools = tools
        self._lease_s = lease_s
        self._early_s = margin_s(lease_s) / 4
        self._hand = hand
        self._trouble = trouble
        self._on_lost = on_lost
        self._wake = asyncio.Event()
        self._asleep_until = math.inf
        self.renewals = 0

    def watch(self, held: Held) -> None:
        """Take a delivery into account that is new, or about to run."""
        if held.renew_at < self._asleep_until or held.run_until < self._asleep_until:
            self._wake.set()

    async def run(self) -> None:
        """Keep leases until cancelled; may be run again after that."""
        self._wake, self._asleep_until = asyncio.Event(), math.inf
        async with asyncio.TaskGroup() as renewals:
            while True:
                self._wake.clear()
                now = self._tools.clock.monotonic()
                self._end_overdue(now)
                for lease_s, batch in self._batches(self._due(now), now):
                    for held in batch:
                        held.renewing = True
                    renewals.create_task(self._renew(batch, lease_s))
                await self._sleep(now)

    def _batches(self, due: Sequence[Held], now: float) -> Iterator[tuple[float, list[Held]]]:
        """Yield what to renew together, and for how long."""
        by_lease: dict[float, list[Held]] = {}
        for held in due:
            lease_s = self._grantable_s(held, now)
            if now + lease_s > held.deadline:
                by_lease.setdefault(lease_s, []).append(held)
            else:
                held.renew_at = held.deadline  # all that the broker grants is granted
        size = self._tools.broker.capabilities.max_batch
        for lease_s, group in by_lease.items():
            for start in range(0, len(group), size):
                yield lease_s, group[start : start + size]

    def _grantable_s(self, held: Held, now: float) -> float:
        """Return how long a renewal may ask for: the broker refuses more than what is left."""
        limits = self._tools.broker.capabilities
        left_s = limits.max_lease_s - (now - held.received) - LEASE_SLACK_S
        if left_s >= self._lease_s:
            return self._lease_s
        step_s = limits.lease_step_s or 1.0
        return max(left_s // step_s * step_s, 0.0)

    async def _sleep(self, now: float) -> None:
        self._asleep_until = min(map(self._next_look, self._hand), default=math.inf)
        if self._asleep_until == math.inf:
            await self._wake.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(max(self._asleep_until - now, 0.0)):
                await self._wake.wait()

    def _next_look(self, held: Held) -> float:
        if held.renewing or not self._renewable(held):
            return min(held.deadline, held.run_until)
        return min(held.renew_at, held.deadline, held.run_until)

    def _due(self, now: float) -> list[Held]:
        """Return what to renew now: what is due and, in the same request, what nearly is."""
        open_ = [held for held in self._hand if not held.renewing and self._renewable(held)]
        if not any(held.renew_at <= now for held in open_):
            return []
        return [held for held in open_ if held.renew_at - self._early_s <= now]

    def _renewable(self, held: Held) -> bool:
        """A release must not be undone by a renewal, an ack that hangs must not live for ever.

        A handler that was cancelled and runs on is not renewed for either.
        """
        if held.settling is None:
            return held.interruption is None
        if held.settling is Outcome.RELEASED or held.settle_in_flight:
            return False
        return self._tools.clock.monotonic() < held.settle_until

    def _end_overdue(self, now: float) -> None:
        """Give up what is no longer ours, and cancel handlers that have run for too long."""
        for held in self._hand:
            if held.deadline <= now:
                self._on_lost(held)
            elif held.run_until <= now:
                held.run_until = math.inf
                held.interrupt(Interruption.TIME_LIMIT)

    async def _renew(self, batch: Sequence[Held], lease_s: float) -> None:
        sent = self._tools.clock.monotonic()
        results: Sequence[BrokerError | None]
        try:
            results = await self._tools.broker.extend(
                self._queue.physical, [held.raw.receipt for held in batch], lease_s=lease_s
            )
            self.renewals += 1
            if len(results) != len(batch):
                raise BrokerUnavailableError("the answer to a renewal does not match it")
        except BrokerError as error:
            results = [error] * len(batch)
        now = self._tools.clock.monotonic()
        for held, result in zip(batch, results, strict=True):
            held.renewing = False
            if held.outcome is None:
                if result is None:
                    self._trouble.good()
                    held.deadline = sent + lease_s
                    held.renew_at = held.deadline - margin_s(lease_s)
                else:
                    self._failed(held, result, now)
        self._wake.set()

    def _failed(self, held: Held, result: BrokerError, now: float) -> None:
        if isinstance(result, StaleReceiptError):
            # A settle under way explains it; its own answer decides then.
            held.renew_at = held.deadline
            if held.settling is None:
                self._on_lost(held)
        else:
            self._trouble.bad(result)
            left_s = max(held.deadline - now, 0.0)
            pause_s = self._tools.random.uniform(0.2, 1.0) * min(MAX_RETRY_S, left_s / 4)
            held.renew_at = now + max(pause_s, 0.01)
