"""What is said, and what is known, of a message whose send failed. Pure."""

from __future__ import annotations

from mqtransport.channel.outbox import Entry
from mqtransport.errors import BrokerError, BrokerUnavailableError, Outcome, SendError

_SAYS: dict[Outcome, str] = {
    "not_sent": "not_sent",
    "unknown": "unknown; send again with the same message_id",
}


def outcome_of(entry: Entry) -> Outcome:
    """Return what is known of a message: surely not in the queue, or perhaps."""
    return "unknown" if entry.in_flight or entry.maybe_sent else "not_sent"


def send_error(
    queue: str, entry: Entry, why: str, outcome: Outcome, cause: BrokerError | None
) -> SendError:
    """Return the error for a caller, chained to the broker's."""
    error = SendError(
        f"message {entry.name!r} to queue {queue!r}: {why} (outcome: {_SAYS[outcome]})",
        queue=queue,
        message_id=entry.message.id,
        outcome=outcome,
    )
    error.__cause__ = cause
    return error


def lost_reply(why: str, queue: str) -> BrokerUnavailableError:
    """Return the error for a call whose answer proves nothing."""
    return BrokerUnavailableError(why, queue=queue, maybe_done=True)
