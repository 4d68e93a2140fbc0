"""One queue of the memory broker: pure state, no waiting, told the time by its caller.

A message is in one place at a time: ready, hidden (by a delay or a lease), or gone. What is
hidden lies in a heap by the moment it comes back; ``advance`` moves what is due.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mqtransport.broker import QueueInfo, QueueOptions
from mqtransport.message import Attribute, RawDelivery

# Receipts remembered after their ack, per queue, so that acking twice is fine. A second ack
# follows the first within a retry; 10,000 later acks are far beyond that.
_ACKED_REMEMBERED = 10_000

# Below this many entries, clearing the heap of those that no longer count is not worth it.
_HEAP_SLACK = 64


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
        ticket: number of its entry in the heap that counts, 0 while it is not hidden.
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


class MemoryQueue:
    """The state of one queue.

    Args:
        name: its name.
        max_message_bytes: its size limit.

    Attributes:
        options: as last declared.
        dead_letters: the queue named by ``options.dead_letter_queue``.
    """

    def __init__(self, name: str, *, max_message_bytes: int) -> None:
        self.name = name
        self.max_message_bytes = max_message_bytes
        self.options = QueueOptions()
        self.dead_letters: MemoryQueue | None = None
        self._ready: deque[Message] = deque()
        self._hidden: list[tuple[float, int, Message]] = []
        self._hidden_count = 0
        self._tickets = 0
        self._leased: dict[str, Message] = {}
        self._acked: OrderedDict[str, None] = OrderedDict()

    @property
    def has_ready(self) -> bool:
        """Whether a message could be taken now."""
        return bool(self._ready)

    def next_due(self) -> float | None:
        """Return when the next hidden message comes back, monotonic; None if none does."""
        while self._hidden and self._hidden[0][1] != self._hidden[0][2].ticket:
            heapq.heappop(self._hidden)
        return self._hidden[0][0] if self._hidden else None

    def info(self) -> QueueInfo:
        """Return the queue's limits and counts."""
        dead = self.options.dead_letter_queue
        return QueueInfo(
            max_message_bytes=self.max_message_bytes,
            depth=len(self._ready),
            in_flight=len(self._leased),
            delayed=self._hidden_count - len(self._leased),
            lease_s=self.options.lease_s,
            max_receive_count=self.options.max_receive_count if dead else None,
            dead_letter_queue=dead,
        )

    def put(self, message: Message, *, now: float, delay_s: float = 0.0) -> None:
        """Add a message, hidden for ``delay_s``."""
        if delay_s > 0:
            self._hide(message, now + delay_s)
        else:
            self._ready.append(message)

    def advance(self, now: float) -> None:
        """Make ready what is due: delays that are over, leases that ended."""
        while (due := self.next_due()) is not None and due <= now:
            _, _, message = heapq.heappop(self._hidden)
            self._show(message)

    def take(
        self,
        *,
        max_messages: int,
        lease_s: float,
        now: float,
        wall: float,
        new_receipt: Callable[[], str],
    ) -> list[RawDelivery]:
        """Lease up to ``max_messages`` ready messages.

        One that was delivered ``max_receive_count`` times already goes to the dead letter
        queue instead, with its id and attributes; its count starts anew there.
        """
        taken: list[RawDelivery] = []
        while self._ready and len(taken) < max_messages:
            message = self._ready.popleft()
            if self.dead_letters is not None and message.attempt >= self.options.max_receive_count:
                message.attempt, message.first_received_at = 0, None
                self.dead_letters.put(message, now=now)
                continue
            message.attempt += 1
            message.received_at = now
            if message.first_received_at is None:
                message.first_received_at = wall
            receipt = message.receipt = new_receipt()
            self._leased[receipt] = message
            self._hide(message, now + lease_s)
            taken.append(_delivery(message, receipt))
        return taken

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
        self.put(message, now=now, delay_s=delay_s)

    def prolong(self, receipt: str, *, until: float) -> None:
        """Let the lease end at ``until``, be that later or earlier than before."""
        message = self._leased[receipt]
        self._hidden_count -= 1
        self._hide(message, until)

    def _hide(self, message: Message, until: float) -> None:
        self._tickets += 1
        message.ticket = self._tickets
        self._hidden_count += 1
        # Entries that no longer count keep their messages alive: an acked message would stay
        # until its lease would have ended. Half of the heap at most may be such.
        if len(self._hidden) > 2 * self._hidden_count + _HEAP_SLACK:
            self._hidden = [entry for entry in self._hidden if entry[1] == entry[2].ticket]
            heapq.heapify(self._hidden)
        heapq.heappush(self._hidden, (until, message.ticket, message))

    def _unhide(self, message: Message) -> None:
        self._hidden_count -= 1
        message.ticket = 0
        if message.receipt is not None:
            del self._leased[message.receipt]
            message.receipt = None

    def _show(self, message: Message) -> None:
        self._unhide(message)
        self._ready.append(message)


def _delivery(message: Message, receipt: str) -> RawDelivery:
    return RawDelivery(
        broker_id=message.id,
        receipt=receipt,
        body=message.body,
        attributes=message.attributes,
        attempt=message.attempt,
        sent_at=message.sent_at,
        first_received_at=message.first_received_at,
        group=message.group,
    )
