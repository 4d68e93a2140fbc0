"""One queue: its messages, their leases and delays. No I/O; time comes from the clock.

Every step costs at most the logarithm of the depth: visible messages stand in a line, delays and
leases in a heap of due times, and a heap entry whose message has moved on is skipped.
"""

from __future__ import annotations

import copy
import heapq
import itertools
from collections import Counter
from collections.abc import Callable

from mqtransport.clock import Clock

from .attributes import Settings
from .errors import SQSError, invalid_parameter
from .line import Line
from .messages import Message, State
from .receipts import Receipt, ReceiptBook

MAX_LEASE_S = 43_200
"""12 hours from the receive, all changes together (ChangeMessageVisibility)."""

MAX_IN_FLIGHT = 120_000
"""Messages in flight in a queue: then a standard one answers ``OverLimit``, and a FIFO one without
messages (ChangeMessageVisibility)."""


Taken = list[tuple[Message, str]]
"""What a receive returns: messages, each with its receipt handle."""


def _nobody(_: Queue) -> None:
    return None


class Queue:
    """A queue and its messages.

    Args:
        name: its name.
        arn: its Amazon Resource Name.
        settings: its attributes, changed in place by ``SetQueueAttributes``.
        clock: the source of time.
        receipts: writes and reads receipt handles.
        line: the order of delivery.
    """

    def __init__(
        self,
        name: str,
        arn: str,
        settings: Settings,
        clock: Clock,
        receipts: ReceiptBook,
        line: Line,
    ) -> None:
        self.name = name
        self.arn = arn
        self.settings = settings
        self.receipts = receipts
        self.max_in_flight = MAX_IN_FLIGHT
        self.purged_at: float | None = None
        self.key_error: str | None = None
        # Whoever waits for messages puts itself here; called when one may be or become visible.
        self.changed: Callable[[Queue], None] = _nobody
        self._clock = clock
        self._line = line
        self._messages: dict[str, Message] = {}
        self._numbers: Counter[State] = Counter()
        self._timers: list[tuple[float, int, Message]] = []
        self._ages: list[tuple[float, int, Message]] = []
        self._serial = itertools.count(1)

    def check_key(self) -> None:
        """Raise the error of a KMS key that cannot be used, while the queue has one."""
        if self.key_error is not None and self.settings.has_key:
            raise SQSError(self.key_error, "The queue's KMS key cannot be used.")

    def send(self, message: Message, delay_s: int | None = None) -> None:
        """Store a new message; without a delay of its own it gets the queue's."""
        self._settle()
        delay = self.settings.number("DelaySeconds") if delay_s is None else delay_s
        self._keep(message)
        self._delay(message, delay)

    def adopt(self, message: Message, source_arn: str) -> None:
        """Store a message that another queue moved here as a dead letter; its id is kept."""
        # A copy: old timers of the source queue must not find the message again.
        moved = copy.copy(message)
        moved.source_arn = source_arn
        moved.receives_here = 0
        self._keep(moved)
        self._show(moved)

    def receive(
        self,
        limit: int,
        lease_s: int | None,
        dead_letters: Queue | None,
        attempt_id: str | None = None,
    ) -> Taken:
        """Lease up to ``limit`` visible messages and return each with its receipt handle.

        A message that was received ``maxReceiveCount`` times already goes to ``dead_letters``.
        Attempts are known to FIFO queues only.

        Raises:
            SQSError: ``OverLimit``: too many messages are in flight.
        """
        self._settle()
        room = self.max_in_flight - self._numbers[State.IN_FLIGHT]
        if room <= 0:
            return self._over_limit()
        lease = self._lease_s(lease_s)
        found: Taken = []
        for message in self._line.draw():
            if dead_letters is not None and self._is_exhausted(message):
                self._forget(message)
                dead_letters.adopt(message, self.arn)
                continue
            found.append((message, self._lease(message, lease)))
            if len(found) == min(limit, room):
                break
        self._delivered(found)
        return found

    def delete(self, handle: str) -> None:
        """Delete by receipt; an old receipt succeeds and deletes nothing (DeleteMessage).

        Raises:
            SQSError: ``ReceiptHandleIsInvalid``.
        """
        receipt = self.receipts.read(handle)
        self._settle()
        message = self._messages.get(receipt.message_id)
        if message is not None and message.receives == receipt.receive:
            self._discard(message)

    def change_lease(self, handle: str, lease_s: int) -> None:
        """Let the lease of a message in flight end ``lease_s`` seconds from now; 0 gives it back.

        Raises:
            SQSError: a bad or old receipt, a message not in flight, or more than 12 h in all.
        """
        receipt = self.receipts.read(handle)
        self._settle()
        message = self._in_flight(receipt, handle)
        now = self._clock.monotonic()
        if now + lease_s - message.received_at > MAX_LEASE_S:
            raise invalid_parameter(
                "VisibilityTimeout",
                lease_s,
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]",
            )
        if lease_s:
            self._wait(message, State.IN_FLIGHT, now + lease_s)
        else:
            self._show(message)

    def purge(self) -> None:
        """Delete every message, in flight or not."""
        for message in list(self._messages.values()):
            self._forget(message)
        self._line.clear()
        self._timers.clear()
        self._ages.clear()

    def delay_changed(self) -> None:
        """Take note of another ``DelaySeconds``: it holds for messages sent from now on."""

    def next_due(self) -> float | None:
        """Return when the next delay or lease ends, on the clock; None when there is none."""
        while self._timers:
            due, serial, message = self._timers[0]
            if message.timer == serial:
                return due
            heapq.heappop(self._timers)
        return None

    def counts(self) -> tuple[int, int, int]:
        """Return how many messages are visible, in flight and delayed."""
        self._settle()
        numbers = self._numbers
        return numbers[State.VISIBLE], numbers[State.IN_FLIGHT], numbers[State.DELAYED]

    def messages(self) -> list[Message]:
        """Return all messages, in the order in which they came."""
        self._settle()
        return list(self._messages.values())

    def _delivered(self, taken: Taken) -> None:
        """Take note of what a receive took."""

    def _discard(self, message: Message) -> None:
        self._forget(message)

    def _over_limit(self) -> Taken:
        raise SQSError("OverLimit", "Too many messages are in flight.")

    def _lease_s(self, wanted_s: int | None) -> int:
        return self.settings.number("VisibilityTimeout") if wanted_s is None else wanted_s

    def _in_flight(self, receipt: Receipt, handle: str) -> Message:
        message = self._messages.get(receipt.message_id)
        if message is None or message.receives != receipt.receive:
            raise invalid_parameter(
                "ReceiptHandle",
                handle,
                "Message does not exist or is not available for visibility timeout change.",
            )
        if message.state is not State.IN_FLIGHT:
            raise SQSError("MessageNotInflight")
        return message

    def _is_exhausted(self, message: Message) -> bool:
        limit = self.settings.max_receive_count
        return limit is not None and message.receives_here >= limit

    def _lease(self, message: Message, lease_s: int) -> str:
        now = self._clock.monotonic()
        if message.receives == 0:
            message.first_received_epoch_ms = int(self._clock.time() * 1000)
        message.receives += 1
        message.receives_here += 1
        message.received_at = now
        message.offered = False
        self._wait(message, State.IN_FLIGHT, now + lease_s)
        return self.receipts.write(message.message_id, message.receives)

    def _settle(self) -> None:
        """Carry out every delay, lease and retention that has ended by now."""
        now = self._clock.monotonic()
        timers, ages = self._timers, self._ages
        while timers and timers[0][0] <= now:
            _, serial, message = heapq.heappop(timers)
            if message.timer == serial:
                self._show(message)
        retention = self.settings.number("MessageRetentionPeriod")
        while ages and ages[0][0] + retention <= now:
            message = heapq.heappop(ages)[2]
            if self._messages.get(message.message_id) is message:
                self._forget(message)

    def _keep(self, message: Message) -> None:
        self._messages[message.message_id] = message
        heapq.heappush(self._ages, (message.sent_at, next(self._serial), message))

    def _forget(self, message: Message) -> None:
        del self._messages[message.message_id]
        self._enter(message, State.GONE)

    def _delay(self, message: Message, delay_s: int) -> None:
        due, now = message.sent_at + delay_s, self._clock.monotonic()
        if due > now:
            self._wait(message, State.DELAYED, due)
        else:
            self._show(message)

    def _show(self, message: Message) -> None:
        self._enter(message, State.VISIBLE)
        self.changed(self)

    def _wait(self, message: Message, state: State, due: float) -> None:
        self._enter(message, state)
        message.timer = next(self._serial)
        heapq.heappush(self._timers, (due, message.timer, message))
        self.changed(self)

    def _enter(self, message: Message, state: State) -> None:
        before, message.state = message.state, state
        message.timer = 0
        if state is not State.IN_FLIGHT:
            message.offered = message.repeated = False
        self._numbers[before] -= 1
        self._numbers[state] += 1
        self._line.moved(message, before)
