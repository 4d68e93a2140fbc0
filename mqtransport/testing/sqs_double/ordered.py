"""FIFO queues: what they do beyond the order of delivery, which is their line's business.

Sources: "SendMessage", "ReceiveMessage" and "ChangeMessageVisibility" in the service model;
"Exactly-once processing" and "Amazon SQS delay queues" in the developer guide.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

from mqtransport.clock import Clock

from .attributes import Settings
from .errors import invalid_parameter
from .line import OrderedLine
from .messages import Message, State
from .queues import Queue, Taken
from .receipts import ReceiptBook
from .recent import Recent

DEDUPLICATION_S = 300.0
"""How long deduplication ids and receive attempts are remembered (SendMessage, ReceiveMessage)."""


class _Attempt:
    def __init__(self, taken: Taken) -> None:
        self.taken = taken
        self.remember_timers()

    def remember_timers(self) -> None:
        self._timers = [message.timer for message, _ in self.taken]

    def is_intact(self) -> bool:
        """Whether no lease ended, was changed, or was settled since."""
        return [message.timer for message, _ in self.taken] == self._timers


class OrderedQueue(Queue):
    """A FIFO queue.

    Args:
        name: its name.
        arn: its Amazon Resource Name.
        settings: its attributes.
        clock: the source of time.
        receipts: writes and reads receipt handles.
        line: the order of delivery.
        sequence: gives sequence numbers, each higher than the last.
    """

    def __init__(
        self,
        name: str,
        arn: str,
        settings: Settings,
        clock: Clock,
        receipts: ReceiptBook,
        line: OrderedLine,
        sequence: Iterator[int],
    ) -> None:
        super().__init__(name, arn, settings, clock, receipts, line)
        self._sequence = sequence
        # Message id and sequence number of what was sent, by scope and deduplication id.
        self._sent: Recent[tuple[str | None, str | None], tuple[str, int]]
        self._sent = Recent(clock, DEDUPLICATION_S)
        self._attempts: Recent[str, _Attempt] = Recent(clock, DEDUPLICATION_S)
        # Messages that are gone, by id: the receive whose lease held them at the end, or 0.
        self._gone: Recent[str, int] = Recent(clock, DEDUPLICATION_S)

    def send(self, message: Message, delay_s: int | None = None) -> None:
        """Store a new message; a duplicate is not stored and gets the first one's identity."""
        contents = message.contents
        scope = contents.group if self.settings.deduplicates_by_group else None
        first = self._sent.get((scope, contents.dedup_id))
        if first is not None:
            message.message_id, message.sequence = first
            return
        message.sequence = next(self._sequence)
        self._sent.put((scope, contents.dedup_id), (message.message_id, message.sequence))
        super().send(message, delay_s)

    def adopt(self, message: Message, source_arn: str) -> None:
        """Store a dead letter at the end of its group; its age begins anew.

        That is so for FIFO queues only ("Message retention periods for dead-letter queues").
        """
        moved = copy.copy(message)
        moved.sequence = next(self._sequence)
        moved.sent_at = self._clock.monotonic()
        moved.sent_epoch_ms = int(self._clock.time() * 1000)
        super().adopt(moved, source_arn)

    def receive(
        self,
        limit: int,
        lease_s: int | None,
        dead_letters: Queue | None,
        attempt_id: str | None = None,
    ) -> Taken:
        """Lease messages in order, or give those of the same attempt again.

        An attempt is repeated for 5 minutes, while none of its messages was deleted, given back
        or had its lease changed or ended; their leases start anew.
        """
        self._settle()
        attempt = None if attempt_id is None else self._attempts.get(attempt_id)
        if attempt is not None and attempt.is_intact():
            due = self._clock.monotonic() + self._lease_s(lease_s)
            for message, _ in attempt.taken:
                self._wait(message, State.IN_FLIGHT, due)
            attempt.remember_timers()
            return attempt.taken
        taken = super().receive(limit, lease_s, dead_letters)
        if attempt_id is not None and taken:
            self._attempts.put(attempt_id, _Attempt(taken))
        return taken

    def delete(self, handle: str) -> None:
        """Delete by a receipt whose lease has not ended; deleting again succeeds.

        Raises:
            SQSError: ``ReceiptHandleIsInvalid``, or ``InvalidParameterValue``: the visibility
                timeout of the receipt has ended.
        """
        receipt = self.receipts.read(handle)
        self._settle()
        message = self._messages.get(receipt.message_id)
        if message is None:
            holder = self._gone.get(receipt.message_id)
        else:
            holder = message.receives if message.state is State.IN_FLIGHT else 0
        if holder not in (None, receipt.receive):
            reason = "The receipt handle has expired."
            raise invalid_parameter("ReceiptHandle", handle, reason)
        if message is not None:
            self._forget(message)

    def delay_changed(self) -> None:
        """Apply another ``DelaySeconds`` to messages already here, as only FIFO queues do."""
        delay = self.settings.number("DelaySeconds")
        for message in self.messages():
            if message.state is State.DELAYED:
                self._delay(message, delay)

    def _over_limit(self) -> Taken:
        # FIFO queues return no error, just no more messages (ChangeMessageVisibility).
        return []

    def _forget(self, message: Message) -> None:
        holder = message.receives if message.state is State.IN_FLIGHT else 0
        self._gone.put(message.message_id, holder)
        super()._forget(message)
        # It may have been the one that held its group back.
        self.changed(self)
