"""An ordered queue (``*.fifo``) of the memory broker: groups, duplicates, repeated receives.

A group is free when it has messages and none of them is hidden. Free groups lie in a heap by the
sequence of their next message, and the messages of a group in a heap of its own, so that no step
looks at more than the messages it moves: 10,000 of a group that is not free are in nobody's way.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mqtransport.brokers._memory_queue import LeasingQueue, Message, Terms, delivery_of
from mqtransport.limits import REMEMBERED_S
from mqtransport.message import RawDelivery

_V = TypeVar("_V")


class Recent(Generic[_V]):
    """Values by name, each for ``REMEMBERED_S`` from when it was put."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, _V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, name: str, now: float) -> _V | None:
        """Return the value, None without one."""
        # The oldest stand first: what is too old is found without a search.
        while self._kept and now - next(iter(self._kept.values()))[0] >= REMEMBERED_S:
            self._kept.popitem(last=False)
        found = self._kept.get(name)
        return None if found is None else found[1]

    def put(self, name: str, value: _V, now: float) -> None:
        """Keep a value, instead of an older one of its name."""
        self._kept[name] = (now, value)
        self._kept.move_to_end(name)


@dataclass(slots=True, eq=False)
class _Group:
    """The messages of one group.

    Attributes:
        ready: a heap by sequence of those that are not hidden.
        hidden: how many are leased, or released with a delay.
        free: it lies in the queue's heap of free groups.
    """

    ready: list[tuple[int, Message]] = field(default_factory=list)
    hidden: int = 0
    free: bool = False


class OrderedQueue(LeasingQueue):
    """A queue that keeps each group's order.

    A receive takes all it can of the free group whose next message was sent first, then of the
    one after it. That is SQS's way ("FIFO queue delivery logic": as many messages of one group
    as possible).
    """

    def __init__(self, name: str, *, max_message_bytes: int) -> None:
        super().__init__(name, max_message_bytes=max_message_bytes)
        self._groups: dict[str | None, _Group] = {}
        self._free: list[tuple[int, _Group]] = []
        self._ready_count = 0
        self._sequence = 0
        self._sent: Recent[str] = Recent()
        # Receipts and tickets only: an attempt must not keep the bodies of what was acked since.
        self._attempts: Recent[list[tuple[str, int]]] = Recent()

    @property
    def has_ready(self) -> bool:
        return bool(self._free)

    def send(self, message: Message, *, dedup_id: str, now: float, delay_s: float) -> str:
        """Take a message from a producer, unless it is a duplicate; return the id of the first."""
        first = self._sent.get(dedup_id, now)
        if first is not None:
            return first
        self._sent.put(dedup_id, message.id, now)
        return super().send(message, dedup_id=dedup_id, now=now, delay_s=delay_s)

    def put(self, message: Message, *, now: float, delay_s: float = 0.0) -> None:
        """Add a message at the end of the order."""
        self._sequence += 1
        message.sequence = self._sequence
        super().put(message, now=now, delay_s=delay_s)

    def take(self, terms: Terms) -> list[RawDelivery]:
        if repeated := self._repeated(terms):
            return repeated
        taken: list[RawDelivery] = []
        while self._free and len(taken) < terms.max_messages:
            _, group = heapq.heappop(self._free)
            group.free = False
            self._take_of_group(group, taken, terms)
        if terms.attempt_id is not None and taken:
            self._attempts.put(terms.attempt_id, self._tickets_of(taken), terms.now)
        return taken

    def delete(self, receipt: str) -> bool:
        held = self._leased.get(receipt)
        deleted = super().delete(receipt)
        if held is not None:
            self._review(held.group)
        return deleted

    def _take_of_group(self, group: _Group, taken: list[RawDelivery], terms: Terms) -> None:
        name = group.ready[0][1].group
        while group.ready and len(taken) < terms.max_messages:
            _, message = heapq.heappop(group.ready)
            self._ready_count -= 1
            if not self._dead_lettered(message, terms.now):
                taken.append(self._lease(message, terms))
        self._review(name)

    def _repeated(self, terms: Terms) -> list[RawDelivery]:
        """Return what this very receive brought before, leased anew, if it can be repeated.

        AWS, ReceiveMessage: the same messages and receipts, as long as none was deleted and no
        lease changed. A ticket changes with each of these, and with the end of a lease.
        """
        if terms.attempt_id is None:
            return []
        attempt = self._attempts.get(terms.attempt_id, terms.now)
        if attempt is None or len(attempt) > terms.max_messages:
            return []
        held: list[Message] = []
        for receipt, ticket in attempt:
            message = self._leased.get(receipt)
            if message is None or message.ticket != ticket:
                return []
            held.append(message)
        for message in held:
            message.received_at = terms.now
            self._set_end(message, terms.now + terms.lease_s)
        again = [
            delivery_of(message, receipt)
            for (receipt, _), message in zip(attempt, held, strict=True)
        ]
        attempt[:] = self._tickets_of(again)
        return again

    def _tickets_of(self, taken: list[RawDelivery]) -> list[tuple[str, int]]:
        return [(one.receipt, self._leased[one.receipt].ticket) for one in taken]

    def _depth(self) -> int:
        # Behind a leased message of their group too: it is a backlog all the same.
        return self._ready_count

    def _make_ready(self, message: Message) -> None:
        group = self._groups.setdefault(message.group, _Group())
        heapq.heappush(group.ready, (message.sequence, message))
        self._ready_count += 1
        self._review(message.group)

    def _hide(self, message: Message, until: float) -> None:
        super()._hide(message, until)
        self._groups[message.group].hidden += 1

    def _unhide(self, message: Message) -> None:
        super()._unhide(message)
        self._groups[message.group].hidden -= 1

    def _review(self, name: str | None) -> None:
        """Let a group be free if it is, and forget it if nothing is left of it."""
        group = self._groups[name]
        if group.hidden or group.free:
            return
        if group.ready:
            group.free = True
            heapq.heappush(self._free, (group.ready[0][0], group))
        else:
            del self._groups[name]
