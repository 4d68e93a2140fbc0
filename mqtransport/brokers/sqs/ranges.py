"""What SQS would refuse about a call as a whole, found before anything is sent."""

from __future__ import annotations

from mqtransport import limits


def why_no_batch(count: int) -> str | None:
    """Return why a call with so many items is refused; None if it is not."""
    if 1 <= count <= limits.MAX_BATCH:
        return None
    return f"it has {count} items; the limits are 1 and {limits.MAX_BATCH}"


def why_too_large(total_bytes: int) -> str | None:
    """Return why messages that are legal one by one are refused together."""
    if total_bytes <= limits.MAX_MESSAGE_BYTES:
        return None
    return f"the batch has {total_bytes} bytes; the limit is {limits.MAX_MESSAGE_BYTES}"


def why_no_receive(max_messages: int, wait_s: float, lease_s: float) -> str | None:
    """Return why a receive with these arguments is refused; None if it is not."""
    if not 1 <= max_messages <= limits.MAX_BATCH:
        return f"max_messages is {max_messages}; it must be 1 to {limits.MAX_BATCH}"
    if not 0 <= wait_s <= limits.MAX_WAIT_S:
        return f"wait_s is {wait_s}; it must be 0 to {limits.MAX_WAIT_S:.0f}"
    return why_no_lease(lease_s)


def why_no_lease(lease_s: float) -> str | None:
    """Return why a lease of this length is refused; None if it is not."""
    if 0 < lease_s <= limits.MAX_LEASE_S:
        return None
    return f"lease_s is {lease_s}; it must be above 0 and at most {limits.MAX_LEASE_S:.0f}"


def why_no_release(delay_s: float) -> str | None:
    """Return why a release with this delay is refused; None if it is not."""
    if 0 <= delay_s <= limits.MAX_LEASE_S:
        return None
    return f"delay_s is {delay_s}; it must be 0 to {limits.MAX_LEASE_S:.0f}"


def why_no_dead_letters(queue: str, dead_letter_queue: str) -> str | None:
    """Return why one queue cannot be the other's dead letter queue; None if it can."""
    if limits.is_fifo(queue) == limits.is_fifo(dead_letter_queue):
        return None
    return "the dead letter queue of an ordered (*.fifo) queue must be ordered too, and only that"
