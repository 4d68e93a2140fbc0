"""One queue of the memory broker: pure state, no waiting, told the time by its caller.

A message is in one place at a time: ready, hidden (by a delay or a lease), or gone. What is
hidden stands in a row by the moment it comes back, or, if it comes back before the last of the
row, in a heap; ``advance`` moves what is due. Which message is
next is the queue's kind: standard here, ordered in :mod:`mqtransport.brokers._ordered_queue`.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mqtransport.broker import QueueInfo, QueueOptions
from mqtransport.limits import is_fifo
from mqtransport.message import Attribute, RawDelivery

# Receipts remembered after their ack, per queue, so that acking twice is fine. A second ack
# follows the first within a retry; 10,000 later acks are far beyond that.
_ACKED_REMEMBERED = 10_000

# Below this many entries, removing those that no longer count is not worth it.
_SLACK = 64


@dataclass(slots=True, eq=False)
class Message:
    """A message on a memory queue.

    Attributes:
        id: the broker's id.
        body: the text on the wire.
        attributes: the attributes on the wire; never changed after the send.
        group: its group, None without one.
        sent_at: Unix seconds.
        attempt: deliveries so far.
        first_received_at: Unix seconds, None before the first delivery.
        received_at: monotonic seconds of the latest delivery.
        receipt: of the delivery in hand, None while there is none.
        ticket: number of its entry in row or heap that counts, 0 while it is not hidden.
        sequence: its place in the order of sends, on ordered queues.
    """

    id: str
    body: str
    attributes: Mapping[str, Attribute]
    group: str | None
    sent_at: float
    attempt: int = 0
    first_received_at: float | None = None
    received_at: float = 0.0
    receipt: str | None = None
    ticket: int = 0
    sequence: int = 0


_Hidden = tuple[float, int, Message]
"""When it comes back, which of its entries this is, and what."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one receive asks for, and when.

    Attributes:
        max_messages: most messages to take.
        lease_s: how long they are leased.
        now: monotonic seconds.
        wall: Unix seconds.
        receipts: brings the receipt of each delivery, never one twice.
        attempt_id: names the receive, so that it can be repeated; None if it cannot.
    """

    max_messages: int
    lease_s: float
    now: float
    wall: float
    receipts: Iterator[str]
    attempt_id: str | None = None


class LeasingQueue(ABC):
    """The state of one queue, but for the order in which its messages are taken.

    Args:
        name: its name.
        max_message_bytes: its size limit.

    Attributes:
        fifo: whether it is an ordered one.
        options: as last declared.
        dead_letters: the queue named by ``options.dead_letter_queue``.
    """

    def __init__(self, name: str, *, max_message_bytes: int) -> None:
        self.name = name
        self.fifo = is_fifo(name)
        self.max_message_bytes = max_message_bytes
        self.options = QueueOptions()
        self.dead_letters: LeasingQueue | None = None
        # Nearly all are leases of one length, each of which ends after the one before it.
        self._row: deque[_Hidden] = deque()
        self._heap: list[_Hidden] = []
        self._hidden_count = 0
        self._tickets = 0
        self._leased: dict[str, Message] = {}
        self._acked: OrderedDict[str, None] = OrderedDict()

    @property
    @abstractmethod
    def has_ready(self) -> bool:
        """Whether a message could be taken now."""

    @abstractmethod
    def take(self, terms: Terms) -> list[RawDelivery]:
        """Lease up to ``max_messages`` messages.

        One that was delivered ``max_receive_count`` times already goes to the dead letter
        queue instead, with its id and attributes; its count starts anew there.
        """

    @abstractmethod
    def _depth(self) -> int:
        """Return how many messages are not hidden."""

    @abstractmethod
    def _make_ready(self, message: Message) -> None:
        """Put a message that is not hidden where ``take`` finds it."""

    def next_due(self) -> float | None:
        """Return when the next hidden message comes back, monotonic; None if none does."""
        first = self._first_hidden()
        return None if first is None else first[0]

    def info(self) -> QueueInfo:
        """Return the queue's limits and counts."""
        dead = self.options.dead_letter_queue
        return QueueInfo(
            max_message_bytes=self.max_message_bytes,
            depth=self._depth(),
            in_flight=len(self._leased),
            delayed=self._hidden_count - len(self._leased),
            lease_s=self.options.lease_s,
            max_receive_count=self.options.max_receive_count if dead else None,
            dead_letter_queue=dead,
            fifo=self.fifo,
            delay_s=0.0,
        )

    def send(self, message: Message, *, dedup_id: str, now: float, delay_s: float) -> str:
        """Take a message from a producer; return the id that confirms it."""
        self.put(message, now=now, delay_s=delay_s)
        return message.id

    def put(self, message: Message, *, now: float, delay_s: float = 0.0) -> None:
        """Add a message, hidden for ``delay_s``."""
        self._place(message, now=now, delay_s=delay_s)

    def advance(self, now: float) -> None:
        """Make ready what is due: delays that are over, leases that ended."""
        while (first := self._first_hidden()) is not None and first[0] <= now:
            self._show(first[2])  # after which its entry no longer counts

    def held_since(self, receipt: str) -> float | None:
        """Return when the delivery was made, monotonic; None if it is over."""
        message = self._leased.get(receipt)
        return None if message is None else message.received_at

    def delete(self, receipt: str) -> bool:
        """Delete the delivered message; False if the delivery is over without an ack."""
        message = self._leased.get(receipt)
        if message is None:
            return receipt in self._acked
        self._unhide(message)
        self._acked[receipt] = None
        if len(self._acked) > _ACKED_REMEMBERED:
            self._acked.popitem(last=False)
        return True

    def give_back(self, receipt: str, *, now: float, delay_s: float) -> None:
        """End the delivery; the message comes back after ``delay_s``."""
        message = self._leased[receipt]
        self._unhide(message)
        self._place(message, now=now, delay_s=delay_s)

    def prolong(self, receipt: str, *, until: float) -> None:
        """Let the lease end at ``until``, be that later or earlier than before."""
        self._set_end(self._leased[receipt], until)

    def _place(self, message: Message, *, now: float, delay_s: float) -> None:
        if delay_s > 0:
            self._hide(message, now + delay_s)
        else:
            self._make_ready(message)

    def _lease(self, message: Message, terms: Terms) -> RawDelivery:
        message.attempt += 1
        message.received_at = terms.now
        if message.first_received_at is None:
            message.first_received_at = terms.wall
        receipt = message.receipt = next(terms.receipts)
        self._leased[receipt] = message
        self._hide(message, terms.now + terms.lease_s)
        return delivery_of(message, receipt)

    def _dead_lettered(self, message: Message, now: float) -> bool:
        """Move the message to the dead letter queue if it was delivered too often already."""
        if self.dead_letters is None or message.attempt < self.options.max_receive_count:
            return False
        message.attempt, message.first_received_at = 0, None
        self.dead_letters.put(message, now=now)
        return True

    def _hide(self, message: Message, until: float) -> None:
        self._hidden_count += 1
        self._set_end(message, until)

    def _set_end(self, message: Message, until: float) -> None:
        self._tickets += 1
        message.ticket = self._tickets
        # Entries that no longer count keep their messages alive: an acked message would stay
        # until its lease would have ended. Half of them at most may be such.
        if len(self._row) + len(self._heap) > 2 * self._hidden_count + _SLACK:
            self._row = deque(entry for entry in self._row if entry[1] == entry[2].ticket)
            self._heap = [entry for entry in self._heap if entry[1] == entry[2].ticket]
            heapq.heapify(self._heap)
        entry = (until, message.ticket, message)
        if self._row and until < self._row[-1][0]:
            heapq.heappush(self._heap, entry)
        else:
            self._row.append(entry)

    def _first_hidden(self) -> _Hidden | None:
        """Return the entry of what comes back next, None if nothing does."""
        row, heap = self._row, self._heap
        while row and row[0][1] != row[0][2].ticket:
            row.popleft()
        while heap and heap[0][1] != heap[0][2].ticket:
            heapq.heappop(heap)
        if row and heap:
            return min(row[0], heap[0])
        return row[0] if row else heap[0] if heap else None

    def _unhide(self, message: Message) -> None:
        self._hidden_count -= 1
        message.ticket = 0
        if message.receipt is not None:
            del self._leased[message.receipt]
            message.receipt = None

    def _show(self, message: Message) -> None:
        self._unhide(message)
        self._make_ready(message)


class MemoryQueue(LeasingQueue):
    """A standard queue: what was ready longest is next."""

    def __init__(self, name: str, *, max_message_bytes: int) -> None:
        super().__init__(name, max_message_bytes=max_message_bytes)
        self._ready: deque[Message] = deque()

    @property
    def has_ready(self) -> bool:
        return bool(self._ready)

    def take(self, terms: Terms) -> list[RawDelivery]:
        taken: list[RawDelivery] = []
        while self._ready and len(taken) < terms.max_messages:
            message = self._ready.popleft()
            if self.dead_letters is None or not self._dead_lettered(message, terms.now):
                taken.append(self._lease(message, terms))
        return taken

    def _depth(self) -> int:
        return len(self._ready)

    def _make_ready(self, message: Message) -> None:
        self._ready.append(message)


def delivery_of(message: Message, receipt: str) -> RawDelivery:
    """Return the delivery in hand of a message."""
    return RawDelivery(  # by position, which takes half as long
        message.id,
        receipt,
        message.body,
        message.attributes,
        message.attempt,
        message.sent_at,
        message.first_received_at,
        message.group,
    )
