"""Findings: where a queue, as its operator made it, does not fit the code; pure, no I/O.

A fact that the broker does not tell (None in :class:`QueueInfo`) leads to no finding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mqtransport.broker import QueueInfo
from mqtransport.limits import MAX_RETENTION_S, is_fifo

if TYPE_CHECKING:
    from mqtransport.channel.options import ReceiveOptions
    from mqtransport.policy import Retry

Severity = Literal["error", "warning", "info"]

RECEIVE_HEADROOM = 5
"""Deliveries that a queue's own redrive policy should leave beyond ``max_deliveries``."""

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a queue that does not fit the code, or is worth knowing.

    Attributes:
        severity: ``"error"``: messages are lost to view, or it cannot work; ``"warning"``: they
            may be, in a bad hour; ``"info"``: as intended, perhaps.
        queue: the queue, as the code knows it.
        code: a short word for the kind of finding; it stays the same over versions.
        text: what was found, why it matters and what to change.
    """

    severity: Severity
    queue: str
    code: str
    text: str

    def __str__(self) -> str:
        return f"queue {self.queue!r}: {self.text} [{self.code}]"


@dataclass(frozen=True, slots=True)
class Described:
    """A queue and what the broker told of it.

    Attributes:
        name: as the code knows it.
        physical: as the broker knows it: a name, or a URL.
        info: what was told.
        missing: the broker's words if it has no such queue; None if it has.
    """

    name: str
    physical: str
    info: QueueInfo = field(default_factory=QueueInfo)
    missing: str | None = None

    def is_named(self, name: str | None) -> bool:
        """Return whether it is the queue that a redrive policy calls by this name."""
        return name is not None and (self.physical == name or self.physical.endswith(f"/{name}"))


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, errors first; those of one severity keep their order."""
    return sorted(findings, key=lambda one: ("error", "warning", "info").index(one.severity))


def about_queue(queue: Described) -> list[Finding]:
    """Return what concerns a queue in either direction."""
    if queue.missing is not None:
        return [Finding("error", queue.name, "missing", queue.missing)]
    return _found(_kind(queue), _delay(queue))


def about_sending(queue: Described, *, max_message_bytes: int) -> list[Finding]:
    """Return what concerns a queue that is sent to.

    Args:
        queue: the queue.
        max_message_bytes: what the broker would take on a queue without a limit of its own.
    """
    limit = queue.info.max_message_bytes
    if limit is None or limit >= max_message_bytes:
        return []
    text = (
        f"its size limit (MaximumMessageSize) is {limit} bytes: a send of more, attributes "
        f"included, is refused. It can be raised to {max_message_bytes}."
    )
    return [Finding("info", queue.name, "size", text)]


def about_receiving(
    queue: Described,
    options: ReceiveOptions,
    *,
    dead_letters: Described | None,
    redrive: Described | None,
    is_dead_letter_queue: bool,
    max_lease_s: float,
) -> list[Finding]:
    """Return what concerns a queue that is received from.

    Args:
        queue: the queue.
        options: how it is received from.
        dead_letters: the dead letter queue of the code; None without one.
        redrive: that of the queue's own redrive policy; None without one, or if nothing is
            known of it but its name.
        is_dead_letter_queue: whether it is another queue's dead letter queue, which needs none.
        max_lease_s: longest time from receive to settle.
    """
    found = [_max_receive_count(queue, options, dead_letters), _retries(queue, options.retry)]
    if not is_dead_letter_queue:
        found.append(_way_out(queue, dead_letters))
    if dead_letters is not None:
        found += [_dead_letter_kind(queue, dead_letters), _dead_letter_size(queue, dead_letters)]
    if redrive is not None:
        found += [_redrive_missing(queue, redrive), _dead_letter_retention(queue, redrive)]
    found += [_longest(queue, options, max_lease_s), _lease(queue, options)]
    return _found(*found)


def _found(*findings: Finding | None) -> list[Finding]:
    return [one for one in findings if one is not None]


def _kind(queue: Described) -> Finding | None:
    fifo = queue.info.fifo
    if fifo is None or fifo == is_fifo(queue.physical):
        return None
    text = (
        f"it is {_kind_of(fifo)} queue, but its name {'ends' if not fifo else 'does not end'} in "
        f".fifo, by which the code tells; make a queue whose name fits its kind"
    )
    return Finding("error", queue.name, "kind", text)


def _delay(queue: Described) -> Finding | None:
    if not queue.info.delay_s:
        return None
    text = (
        f"its own delay (DelaySeconds) is {queue.info.delay_s:g} s: every message that is sent "
        f"without a delay_s is hidden for so long first."
    )
    return Finding("info", queue.name, "delay", text)


def _max_receive_count(
    queue: Described, options: ReceiveOptions, dead_letters: Described | None
) -> Finding | None:
    """The redrive policy takes messages away before the retry policy is through with them."""
    count, attempts, limit = (
        queue.info.max_receive_count,
        options.retry.max_attempts,
        options.delivery_limit,
    )
    if count is None or count >= limit:
        return None
    advice = f"Set it to {limit + RECEIVE_HEADROOM} (max_deliveries {limit} + {RECEIVE_HEADROOM})."
    if count < attempts:
        text = (
            f"its maxReceiveCount is {count}, below max_attempts ({attempts}), so the broker moves "
            f"messages away, without a reason, before their attempts are used up. Deliveries "
            f"that a deploy interrupts count too. {advice}"
        )
        return Finding("error", queue.name, "max_receive_count", text)
    if dead_letters is None:
        return None  # the redrive policy is the only way out, and all attempts are made first
    text = (
        f"its maxReceiveCount is {count}, below max_deliveries ({limit}), so the broker may move a "
        f"message away, without a reason, before the library copies it to {dead_letters.name!r} "
        f"with one. Deliveries that a deploy interrupts count too. {advice}"
    )
    return Finding("warning", queue.name, "max_receive_count", text)


def _retries(queue: Described, retry: Retry) -> Finding | None:
    """The queue drops a message while it is still being retried."""
    kept_s = queue.info.retention_s
    if kept_s is None:
        return None
    # The first 1000 one by one; the rest are no shorter. A sum over all could take for ever.
    delays, counted = retry.max_attempts - 1, min(retry.max_attempts - 1, 1000)
    ceilings = [retry.backoff.ceiling_s(failures) for failures in range(1, counted + 1)]
    if sum(ceilings) + (delays - counted) * max(ceilings, default=0.0) < kept_s:
        return None
    text = (
        f"it keeps messages for {_span(kept_s)} (MessageRetentionPeriod), and the delays between "
        f"{retry.max_attempts} attempts may add up to more: a failing message is dropped, not "
        f"dead-lettered. Lower max_attempts or the backoff, or raise the retention."
    )
    return Finding("warning", queue.name, "retention", text)


def _way_out(queue: Described, dead_letters: Described | None) -> Finding | None:
    """Where messages that cannot be handled go: the code's way, the broker's, or none."""
    kept_s, own = queue.info.retention_s, queue.info.dead_letter_queue
    if kept_s is None:
        return None  # not told, or nothing is ever dropped
    if dead_letters is None and own is None:
        text = (
            f"it has no dead letter queue, neither by dead_letter= nor by a redrive policy: a "
            f"message that cannot be handled comes back again and again, until it is dropped after "
            f"{_span(kept_s)} (MessageRetentionPeriod). Give it one."
        )
        return Finding("warning", queue.name, "no_dead_letter", text)
    if dead_letters is None:
        text = (
            f"only its redrive policy moves messages that cannot be handled, to {own!r}, and "
            f"without a reason. With dead_letter= the library does it, with the reason."
        )
        return Finding("info", queue.name, "only_redrive", text)
    if own is None:
        text = (
            f"it has no redrive policy behind the library's own dead letters, so nothing takes a "
            f"message away while no consumer runs to its end, and the console cannot move "
            f"messages back from {dead_letters.name!r}. Consider one, with a high maxReceiveCount."
        )
        return Finding("info", queue.name, "no_redrive", text)
    if not dead_letters.is_named(own):
        text = (
            f"the library moves messages to {dead_letters.name!r}, its redrive policy to {own!r}: "
            f"look into both, or use one for both."
        )
        return Finding("info", queue.name, "two_dead_letter_queues", text)
    return None


def _dead_letter_kind(queue: Described, dead_letters: Described) -> Finding | None:
    fifo, other = queue.info.fifo, dead_letters.info.fifo
    if fifo is None or other is None or fifo == other:
        return None
    text = (
        f"it is {_kind_of(fifo)} queue, its dead letter queue {dead_letters.name!r} is "
        f"{_kind_of(other)} one: copies may be refused, and then messages come back. Use two of "
        f"one kind."
    )
    return Finding("error", queue.name, "dead_letter_kind", text)


def _dead_letter_size(queue: Described, dead_letters: Described) -> Finding | None:
    limit, smaller = queue.info.max_message_bytes, dead_letters.info.max_message_bytes
    if limit is None or smaller is None or smaller >= limit:
        return None
    text = (
        f"it takes messages of {limit} bytes, its dead letter queue {dead_letters.name!r} only of "
        f"{smaller}: a larger one cannot be copied and comes back again and again. Raise "
        f"MaximumMessageSize of {dead_letters.name!r} to {limit}."
    )
    return Finding("warning", queue.name, "dead_letter_size", text)


def _redrive_missing(queue: Described, redrive: Described) -> Finding | None:
    if redrive.missing is None:
        return None
    text = f"its redrive policy moves messages to a queue that is not found: {redrive.missing}"
    return Finding("warning", queue.name, "redrive_missing", text)


def _dead_letter_retention(queue: Described, redrive: Described) -> Finding | None:
    """A message that SQS moves keeps its age, unless the queues are ordered ones.

    Source: "Using dead-letter queues in Amazon SQS", developer guide.
    """
    kept_s, dead_s = queue.info.retention_s, redrive.info.retention_s
    if kept_s is None or dead_s is None or is_fifo(queue.physical):
        return None
    if dead_s > kept_s or dead_s >= MAX_RETENTION_S:
        return None
    text = (
        f"it keeps messages for {_span(kept_s)}, the dead letter queue {redrive.name!r} of its "
        f"redrive policy for {_span(dead_s)}. A message that SQS moves keeps its age, so it may be "
        f"dropped on arrival. Set MessageRetentionPeriod of {redrive.name!r} to "
        f"{MAX_RETENTION_S:.0f} (14 days)."
    )
    return Finding("warning", queue.name, "dead_letter_retention", text)


def _longest(queue: Described, options: ReceiveOptions, max_lease_s: float) -> Finding | None:
    longest_s = options.max_processing_s + options.retry.backoff.max_s
    if longest_s <= max_lease_s:
        return None
    text = (
        f"max_processing_s ({options.max_processing_s:g} s) and the longest delay of a retry "
        f"({options.retry.backoff.max_s:g} s) are more than the {max_lease_s:g} s that the broker "
        f"grants from receive to settle: leases end early, delays are refused. Lower one of them."
    )
    return Finding("warning", queue.name, "lease_limit", text)


def _lease(queue: Described, options: ReceiveOptions) -> Finding | None:
    own_s, asked_s = queue.info.lease_s, options.lease_s
    if own_s is None or own_s in (asked_s, math.ceil(asked_s)):
        return None
    text = (
        f"its own VisibilityTimeout is {own_s:g} s, but has no effect here: every receive asks for "
        f"lease_s, {asked_s:g} s, and renews it. To change it, change lease_s."
    )
    return Finding("info", queue.name, "lease", text)


def _kind_of(fifo: bool) -> str:
    return "an ordered" if fifo else "a standard"


def _span(seconds: float) -> str:
    if seconds < _DAY_S:
        return f"{seconds:g} s"
    days = round(seconds / _DAY_S, 1)
    return f"{days:g} day{'' if days == 1 else 's'}"
