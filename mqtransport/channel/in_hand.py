"""The deliveries in hand: one record each, one outcome each, and the counts that prove it.

Pure bookkeeping. The law, at every instant: ``received == sum of outcomes + in hand``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from mqtransport.message import Delivery, RawDelivery
from mqtransport.wire import read_facts


class Outcome(Enum):
    """How a delivery ended."""

    ACKED = "acked"
    RELEASED = "released"
    DEAD_LETTERED = "dead_lettered"
    LEASE_LOST = "lease_lost"


class Interruption(Enum):
    """Why a handler was cancelled by its channel."""

    LEASE_LOST = "its lease was lost"
    TIME_LIMIT = "it ran too long"
    STOP = "the channel stops"


@dataclass(eq=False, slots=True)
class Held:
    """One delivery in hand, from receive to confirmed settle.

    All times are monotonic seconds.

    Attributes:
        raw: as it was received.
        received: when.
        deadline: when the lease ends, as far as we may rely on it.
        renew_at: when to renew it, or to try again.
        line: the line it stands in: its group's, or that of its message; see ``Lines``.
        renewing: whether a renewal is under way.
        settling: the outcome being settled; None while it waits or runs.
        settle_until: after which an unconfirmed settle is given up; infinite until it is sent.
        settle_in_flight: whether a settle request is under way.
        settle_failures: failed settle requests.
        outcome: how it ended; None while in hand.
        task: the task that handles it.
        started: whether its handling has gone so far that a stop waits for it.
        waited: whether it stood behind another delivery when it came in.
        interruption: why its handler was cancelled; None if it was not.
        run_until: when its handler has run for too long; infinite while none runs.
        name: the message name; None until the message was read.
        delivery: what its handler sees of it; None for one that does not ask.
        retries: runs that failed and were followed by another in place (ordered queues).
        fenced_s: seconds for which its group has waited, or was made to wait, for those.
    """

    raw: RawDelivery
    received: float
    deadline: float
    renew_at: float
    line: str = ""
    renewing: bool = False
    settling: Outcome | None = None
    settle_until: float = math.inf
    settle_in_flight: bool = False
    settle_failures: int = 0
    outcome: Outcome | None = None
    task: asyncio.Task[None] | None = None
    started: bool = False
    waited: bool = False
    interruption: Interruption | None = None
    run_until: float = math.inf
    name: str | None = None
    delivery: Delivery | None = None
    retries: int = 0
    fenced_s: float = 0.0

    @property
    def attempt(self) -> int:
        """Which run this is: the broker's deliveries, and the retries in place of this one."""
        return self.raw.attempt + self.retries

    @property
    def message_id(self) -> str:
        """The message id as far as it is known; the broker's until the message was read."""
        if self.name is None:
            return self.raw.broker_id
        return read_facts(self.raw.attributes).id or self.raw.broker_id

    def interrupt(self, why: Interruption) -> None:
        """Cancel its handling, once; the first reason stands."""
        if self.interruption is None and self.task is not None and not self.task.done():
            self.interruption = why
            self.task.cancel()


@dataclass(slots=True)
class Counts:
    """What became of the deliveries of a channel.

    Attributes:
        received: deliveries taken from the broker.
        acked: handled and deleted.
        released: given back.
        dead_lettered: copied to the dead letter queue and deleted.
        lease_lost: no longer ours before they could be settled.
        in_hand: not settled yet.
        abandoned_polls: polls still open when the channel was stopped.
        stuck: handlers that ignored their cancellation, or run on in a thread.
    """

    received: int = 0
    acked: int = 0
    released: int = 0
    dead_lettered: int = 0
    lease_lost: int = 0
    in_hand: int = 0
    abandoned_polls: int = 0
    stuck: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every delivery received has one outcome or is in hand."""
        settled = self.acked + self.released + self.dead_lettered + self.lease_lost
        return self.received == settled + self.in_hand


@dataclass
class Hand:
    """All deliveries of a channel that are ours, and those whose handlers have not ended.

    Attributes:
        capacity: most deliveries held: concurrency and prefetch.
        stopping: whether the channel stops, so that nothing is begun, or tried again, any more.
        changed: set whenever a slot comes free.
        counts: what became of the deliveries.
        unfinished: deliveries whose handling has not come to a settle yet.
        on_outcome: called with every delivery when it has got its outcome.
    """

    capacity: int
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    counts: Counts = field(default_factory=Counts)
    unfinished: int = 0
    stopping: bool = False
    on_outcome: Callable[[Held], None] = lambda held: None
    _held: dict[Held, None] = field(default_factory=dict)
    _stuck: dict[Held, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        return iter(list(self._held))

    @property
    def free(self) -> int:
        """Deliveries that may be taken; a handler that outlives its lease keeps its slot."""
        return self.capacity - len(self._held) - len(self._stuck)

    @property
    def stuck(self) -> int:
        """Handlers that still run although their delivery is over."""
        return len(self._stuck)

    def add(self, *taken: Held) -> None:
        """Take deliveries in."""
        self.counts.received += len(taken)
        self.counts.in_hand += len(taken)
        self.unfinished += len(taken)
        self._held.update(dict.fromkeys(taken))

    def begin_settle(self, held: Held, outcome: Outcome) -> bool:
        """Note that a delivery is being settled; False if that is decided already."""
        if held.outcome is not None or held.settling is not None:
            return False
        self.unfinished -= 1
        held.settling = outcome
        return True

    def finish(self, held: Held, outcome: Outcome) -> bool:
        """Give a delivery its one outcome; False if it has one already."""
        if held.outcome is not None:
            return False
        held.outcome = outcome
        if held.settling is None:
            self.unfinished -= 1
        if held.delivery is not None and outcome is Outcome.LEASE_LOST:
            held.delivery.lease_lost = True
        del self._held[held]
        if held.task is not None and not held.task.done():
            self._stuck[held] = None
        counts = self.counts
        counts.in_hand -= 1
        if outcome is Outcome.ACKED:  # nearly all; the general way takes 5 times as long
            counts.acked += 1
        else:
            setattr(counts, outcome.value, getattr(counts, outcome.value) + 1)
        self.changed.set()
        self.on_outcome(held)
        return True

    def handler_ended(self, held: Held) -> None:
        """Note that a delivery's handling has ended, so that its slot is free."""
        if held in self._stuck:
            del self._stuck[held]
            self.changed.set()
