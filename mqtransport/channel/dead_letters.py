"""Dead-lettering: a confirmed copy with a reason; the ack of the original comes after it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mqtransport import wire
from mqtransport.channel.base import QueueRef, Seldom, Tools
from mqtransport.channel.in_hand import Held
from mqtransport.errors import NotStartedError, SendError, UsageError
from mqtransport.limits import MAX_GROUP_CHARS, is_fifo
from mqtransport.message import DeadLetter, Outgoing
from mqtransport.policy import describe_error

if TYPE_CHECKING:
    from mqtransport.channel.producing import ProducingChannel


def refuse_mixed_kinds(
    queue: str, physical: str, dead_letter: str, dead_letter_physical: str
) -> None:
    """Raise UsageError if only one of a queue and its dead letter queue is an ordered one.

    SQS refuses such a redrive policy (AWS, "Using dead-letter queues"), and a message without
    a group could not be copied to an ordered queue.
    """
    if is_fifo(physical) != is_fifo(dead_letter_physical):
        kinds = ("an ordered (.fifo)", "a standard")
        first, second = kinds if is_fifo(physical) else kinds[::-1]
        raise UsageError(
            f"{first} queue, {queue!r}, cannot have {second} queue, {dead_letter!r}, as its dead "
            f"letter queue; use two of one kind"
        )


class DeadLetters:
    """Where the messages of one channel go that cannot be handled.

    Attributes:
        target: the channel of the dead letter queue; None without one.
        failures: copies in a row that it did not take; health warns while there are any.
    """

    def __init__(self, queue: QueueRef, tools: Tools, logger: logging.Logger) -> None:
        self._queue = queue
        self._tools = tools
        self._logger = logger
        self._seldom = Seldom(tools.clock)
        self.target: ProducingChannel | None = None
        self.failures = 0
        self.failed_at: float | None = None

    @property
    def name(self) -> str | None:
        """The dead letter queue's name; None without one."""
        return self.target.name if self.target is not None else None

    async def copy(self, held: Held, error: BaseException, consumer: str | None) -> bool:
        """Copy a delivery to the dead letter queue.

        Args:
            held: the delivery.
            error: why it is given up.
            consumer: name of the consumer; None if none was found.

        Returns:
            Whether the copy is confirmed, so that the original may be acked. If not, the
            reason is logged.
        """
        if self.target is None:
            self._log(
                "no target",
                "queue %r has no dead letter queue, so message %s, which cannot be handled, will "
                "come back; give one with dead_letter= or use_dead_letter_queue()",
                self._queue.name,
                held.message_id,
            )
            return False
        reason = self._reason(held, error, consumer)
        try:
            await self._send(self.target, held, reason)
        except (SendError, NotStartedError) as failure:
            self.failures += 1
            self.failed_at = self._tools.clock.monotonic()
            self._log(
                type(failure),
                "queue %r: message %s could not be dead-lettered and will come back: %s",
                self._queue.name,
                held.message_id,
                failure,
            )
            return False
        self.failures = 0
        return True

    def _log(self, kind: object, text: str, *words: object) -> None:
        """Log an error; of each kind one a minute, the others at debug level."""
        self._logger.log(logging.ERROR if self._seldom(kind) else logging.DEBUG, text, *words)

    async def _send(self, target: ProducingChannel, held: Held, reason: DeadLetter) -> None:
        raw = held.raw
        attributes, complete = wire.dead_letter_attributes(
            raw,
            reason,
            max_bytes=target.max_message_bytes,
            max_attributes=self._tools.broker.capabilities.max_attributes,
        )
        if not complete:
            self._logger.warning(
                "the dead letter copy of message %s has no room for its reason: %s, %d attempts, "
                "from queue %r",
                held.message_id,
                reason.error,
                reason.attempts,
                reason.queue,
            )
        name = held.name if held.name is not None else "unreadable"
        # A new deduplication id, or a copy of a message that was moved back would be swallowed;
        # the same for every try at this copy, so that an ordered queue keeps one of them.
        message = Outgoing(
            held.message_id,
            raw.body,
            attributes,
            group=raw.group,
            dedup_id=f"dead-{raw.broker_id}"[:MAX_GROUP_CHARS],
        )
        await target.send_copy(name, message)

    def _reason(self, held: Held, error: BaseException, consumer: str | None) -> DeadLetter:
        return DeadLetter(
            error=type(error).__name__,
            text=describe_error(error),
            attempts=held.attempt,
            queue=self._queue.name,
            first_at=held.raw.first_received_at,
            last_at=self._tools.clock.time(),
            consumer=consumer,
        )
