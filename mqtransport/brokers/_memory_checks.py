"""What the memory broker refuses, and the words in which it does."""

from __future__ import annotations

from collections.abc import Sequence

from mqtransport import limits
from mqtransport.broker import QueueOptions
from mqtransport.errors import RefusedError, StaleReceiptError


def refused(verb: str, queue: str, why: str) -> RefusedError:
    """Return the error of a call, or an item, that SQS would refuse."""
    return RefusedError(f"memory broker: {verb} on queue {queue!r} refused: {why}", queue=queue)


def stale(verb: str, queue: str) -> StaleReceiptError:
    """Return the error of a receipt whose delivery is over."""
    return StaleReceiptError(
        f"memory broker: {verb} on queue {queue!r}: the delivery is over; its lease ended, it was"
        " settled, or it never was",
        queue=queue,
    )


def check_name(verb: str, queue: str) -> None:
    """Refuse a name that no queue on SQS can have."""
    if not limits.is_queue_name(queue):
        why = "a queue name is 1 to 80 letters, digits, '-' or '_', and may end in '.fifo'"
        raise refused(verb, queue, why)


def check_batch(verb: str, queue: str, items: Sequence[object]) -> None:
    """Refuse an empty or too long list."""
    if not 1 <= len(items) <= limits.MAX_BATCH:
        raise refused(verb, queue, f"{len(items)} items in one call; it must be 1 to 10")


def check_seconds(
    verb: str, queue: str, name: str, value: float, most: float, *, zero: bool = False
) -> None:
    """Refuse a duration that is not above 0 (from 0 with ``zero``) and up to ``most``."""
    # Not a number fails both comparisons.
    if not (0 <= value <= most and (zero or value > 0)):
        raise refused(
            verb, queue, f"{name} is {value}; it must be {'' if zero else 'above '}0 to {most:.0f}"
        )


def check_options(queue: str, options: QueueOptions) -> None:
    """Refuse options with which a queue cannot work."""
    dead_name = options.dead_letter_queue
    if dead_name == queue:
        raise refused("declare", queue, "a queue cannot be its own dead letter queue")
    # AWS, "Using dead-letter queues in Amazon SQS": that of a FIFO queue must be a FIFO queue
    # too, that of a standard queue a standard queue.
    if dead_name is not None and limits.is_fifo(dead_name) != limits.is_fifo(queue):
        raise refused(
            "declare",
            queue,
            f"its dead letter queue {dead_name!r} must be of the same kind: *.fifo for a *.fifo"
            " queue, standard for a standard one",
        )
    if options.max_receive_count < 1:
        raise refused("declare", queue, "max_receive_count must be 1 or more")
    check_seconds("declare", queue, "lease_s", options.lease_s, limits.MAX_LEASE_S)


def checked_limit(max_message_bytes: int) -> int:
    """Return the size limit, or refuse it."""
    if not 1 <= max_message_bytes <= limits.MAX_MESSAGE_BYTES:
        raise RefusedError(
            f"memory broker: max_message_bytes is {max_message_bytes};"
            f" it must be 1 to {limits.MAX_MESSAGE_BYTES}"
        )
    return max_message_bytes
