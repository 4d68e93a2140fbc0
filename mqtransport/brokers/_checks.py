"""What the embedded brokers refuse, and the words in which they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mqtransport import limits
from mqtransport.broker import QueueOptions
from mqtransport.errors import RefusedError, StaleReceiptError


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks of one broker.

    Attributes:
        broker: its name, at the head of every message.
    """

    broker: str

    def refused(self, verb: str, queue: str, why: str) -> RefusedError:
        """Return the error of a call, or an item, that SQS would refuse."""
        return RefusedError(f"{self.broker}: {verb} on queue {queue!r} refused: {why}", queue=queue)

    def stale(self, verb: str, queue: str) -> StaleReceiptError:
        """Return the error of a receipt whose delivery is over."""
        return StaleReceiptError(
            f"{self.broker}: {verb} on queue {queue!r}: the delivery is over; its lease ended, it "
            "was settled, or it never was",
            queue=queue,
        )

    def name(self, verb: str, queue: str) -> None:
        """Refuse a name that no queue on SQS can have."""
        if not limits.is_queue_name(queue):
            why = "a queue name is 1 to 80 letters, digits, '-' or '_', and may end in '.fifo'"
            raise self.refused(verb, queue, why)

    def batch(self, verb: str, queue: str, items: Sequence[object]) -> None:
        """Refuse an empty or too long list."""
        if not 1 <= len(items) <= limits.MAX_BATCH:
            why = f"{len(items)} items in one call; it must be 1 to {limits.MAX_BATCH}"
            raise self.refused(verb, queue, why)

    def seconds(
        self, verb: str, queue: str, name: str, value: float, most: float, *, zero: bool = False
    ) -> None:
        """Refuse a duration that is not above 0 (from 0 with ``zero``) and up to ``most``."""
        # Not a number fails both comparisons.
        if not (0 <= value <= most and (zero or value > 0)):
            least = "" if zero else "above "
            why = f"{name} is {value}; it must be {least}0 to {most:.0f}"
            raise self.refused(verb, queue, why)

    def receive(self, queue: str, max_messages: int, wait_s: float, lease_s: float) -> None:
        """Refuse a receive whose arguments the contract does not allow."""
        if not 1 <= max_messages <= limits.MAX_BATCH:
            why = f"max_messages is {max_messages}; it must be 1 to {limits.MAX_BATCH}"
            raise self.refused("receive", queue, why)
        self.seconds("receive", queue, "wait_s", wait_s, limits.MAX_WAIT_S, zero=True)
        self.seconds("receive", queue, "lease_s", lease_s, limits.MAX_LEASE_S)

    def options(self, queue: str, options: QueueOptions) -> None:
        """Refuse options with which a queue cannot work."""
        dead_name = options.dead_letter_queue
        if dead_name == queue:
            why = "a queue cannot be its own dead letter queue"
            raise self.refused("declare", queue, why)
        # AWS, "Using dead-letter queues in Amazon SQS": that of a FIFO queue must be a FIFO queue
        # too, that of a standard queue a standard queue.
        if dead_name is not None and limits.is_fifo(dead_name) != limits.is_fifo(queue):
            raise self.refused(
                "declare",
                queue,
                f"its dead letter queue {dead_name!r} must be of the same kind: *.fifo for a "
                "*.fifo queue, standard for a standard one",
            )
        if options.max_receive_count < 1:
            raise self.refused("declare", queue, "max_receive_count must be 1 or more")
        self.seconds("declare", queue, "lease_s", options.lease_s, limits.MAX_LEASE_S)

    def message_limit(self, max_message_bytes: int) -> int:
        """Return the size limit, or refuse it."""
        if not 1 <= max_message_bytes <= limits.MAX_MESSAGE_BYTES:
            raise RefusedError(
                f"{self.broker}: max_message_bytes is {max_message_bytes};"
                f" it must be 1 to {limits.MAX_MESSAGE_BYTES}"
            )
        return max_message_bytes

    def total(self, queue: str, sizes: Sequence[int]) -> None:
        """Refuse a batch that is too large together."""
        if (total := sum(sizes)) > limits.MAX_MESSAGE_BYTES:
            why = f"the batch has {total} bytes; the limit is {limits.MAX_MESSAGE_BYTES}"
            raise self.refused("send", queue, why)
