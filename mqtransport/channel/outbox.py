"""The bounded buffer of a producing channel: what waits to be sent, and how it is batched.

Pure bookkeeping without I/O or a clock of its own; :mod:`mqtransport.channel.producing`
drives it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mqtransport.message import Outgoing

SLACK = 64
"""Removed messages that may linger in the waiting line before it is swept."""


@dataclass(eq=False, slots=True)
class Entry:
    """One message on its way.

    Attributes:
        name: the message name, for export.
        message: the packed message.
        size_bytes: what it counts towards limits.
        waiter: the caller who waits for the confirmation; None for buffered messages.
        timeout_s: how long that caller waits, for its error.
        failures: failed attempts so far.
        in_flight: whether a request that carries it has started and not ended.
        maybe_sent: whether an earlier attempt may have reached the broker.
        queued: whether it waits in line; it never stands there twice.
        alone: whether it travels in a request of its own, after its batch was refused.
        as_is: whether its bytes must not be changed: a dead letter copy.
    """

    name: str
    message: Outgoing
    size_bytes: int
    waiter: asyncio.Future[None] | None = None
    timeout_s: float = 0.0
    failures: int = 0
    in_flight: bool = False
    maybe_sent: bool = False
    queued: bool = False
    alone: bool = False
    as_is: bool = False


class Outbox:
    """Messages in the order in which they came, bounded by count and by bytes.

    Args:
        max_messages: most messages held, those in flight included.
        max_bytes: most bytes held.
    """

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._held: dict[Entry, None] = {}  # in order; waiting and in flight
        self._ready: deque[Entry] = deque()  # may hold entries that were removed since
        self._later: list[tuple[float, int, Entry]] = []  # heap; failed ones, with their time
        self._sequence = itertools.count()
        self._bytes = 0

    def __len__(self) -> int:
        """Messages held: waiting and in flight."""
        return len(self._held)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._held)

    def __contains__(self, entry: object) -> bool:
        return entry in self._held

    @property
    def free(self) -> int:
        """Messages that fit by count; one always does while nothing is held."""
        return max(self._max_messages - len(self._held), 0 if self._held else 1)

    def has_room(self, size_bytes: int) -> bool:
        """Return whether a message of this size fits; one alone always does."""
        if not self._held:
            return True
        return len(self._held) < self._max_messages and self._bytes + size_bytes <= self._max_bytes

    def has_room_for(self, entries: Sequence[Entry]) -> bool:
        """Return whether all of these messages fit."""
        size = self._bytes + sum(entry.size_bytes for entry in entries)
        return len(self._held) + len(entries) <= self._max_messages and size <= self._max_bytes

    def add(self, entry: Entry) -> None:
        """Append a message; the caller has checked :meth:`has_room`, or imports beyond it."""
        self._held[entry] = None
        self._bytes += entry.size_bytes
        entry.queued = True
        self._ready.append(entry)

    def put_back(self, entries: list[Entry]) -> None:
        """Return entries of a failed request to the front, in their old order."""
        for entry in reversed(entries):
            entry.in_flight = False
            if entry in self._held and not entry.queued:
                entry.queued = True
                self._ready.appendleft(entry)

    def put_later(self, entry: Entry, not_before: float) -> None:
        """Return one failed entry; it is not taken before the given monotonic time."""
        entry.in_flight = False
        if entry in self._held and not entry.queued:
            entry.queued = True
            heapq.heappush(self._later, (not_before, next(self._sequence), entry))

    def remove(self, entry: Entry) -> None:
        """Forget a message: sent, refused or withdrawn. Unknown ones are ignored."""
        if entry in self._held:
            del self._held[entry]
            self._bytes -= entry.size_bytes
            if len(self._ready) > 2 * len(self._held) + SLACK:
                # Withdrawn messages must not pile up behind those that wait.
                self._ready = deque(one for one in self._ready if one in self._held)
                self._later = [one for one in self._later if one[2] in self._held]
                heapq.heapify(self._later)

    def repack(self, entry: Entry, message: Outgoing, size_bytes: int) -> None:
        """Put another form of the same message in its place."""
        if entry in self._held:
            self._bytes += size_bytes - entry.size_bytes
        entry.message, entry.size_bytes = message, size_bytes

    def ready(self, now: float) -> int:
        """Return about how many messages may be sent now; never 0 if there is one."""
        while self._later and self._later[0][0] <= now:
            self._ready.appendleft(heapq.heappop(self._later)[2])
        return len(self._ready)

    def has_full(self, max_messages: int) -> bool:
        """Return whether so many may be sent now, failed ones that are due again not counted."""
        return len(self._ready) >= max_messages

    def next_due(self) -> float | None:
        """Return the monotonic time at which the next failed entry may be tried again."""
        return self._later[0][0] if self._later else None

    def take_batch(self, *, max_messages: int, max_bytes: int) -> list[Entry]:
        """Take the next ready batch, in order and within both limits; marks it as in flight.

        A message larger than ``max_bytes`` travels alone; the broker judges it.
        """
        batch: list[Entry] = []
        size = 0
        while self._ready and len(batch) < max_messages:
            entry = self._ready[0]
            if entry not in self._held:
                self._ready.popleft()
                continue
            if batch and (entry.alone or size + entry.size_bytes > max_bytes):
                break
            self._ready.popleft()
            entry.queued = False
            entry.in_flight = True
            batch.append(entry)
            size += entry.size_bytes
            if entry.alone:
                break
        return batch
