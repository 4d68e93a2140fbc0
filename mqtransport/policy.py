"""Retries as data, and what follows from a failure. Pure: no I/O, randomness is handed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Literal

from mqtransport.checks import check_kind, check_number
from mqtransport.errors import (
    ConsumeMessageError,
    RetryMessage,
    UndeliverableError,
    UsageError,
)

OnRefused = Literal["dead_letter", "release"]
"""What becomes of a message with an unknown name or an invalid body."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays with full jitter.

    Full jitter spreads the retries of many consumers best (AWS Architecture Blog,
    "Exponential Backoff And Jitter").

    Attributes:
        first_s: upper end of the first delay, more than 0.
        max_s: upper end of every delay.
        factor: by which the upper end grows from one delay to the next.
    """

    first_s: float = 1.0
    max_s: float = 900.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        for label in ("first_s", "max_s", "factor"):
            check_number(f"Backoff: {label}", getattr(self, label))
        if not 0 < self.first_s <= self.max_s or self.factor < 1:
            raise UsageError("Backoff: it must be 0 < first_s <= max_s, and factor >= 1")

    def ceiling_s(self, failures: int) -> float:
        """Return the longest delay after so many failures (1 or more)."""
        try:
            return min(self.max_s, self.first_s * self.factor ** (failures - 1))
        except OverflowError:  # somebody has failed for days
            return self.max_s

    def delay_s(self, failures: int, random: Random) -> float:
        """Return a delay between 0 and :meth:`ceiling_s`."""
        return random.uniform(0, self.ceiling_s(failures))


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and with what delays, a failed message is tried again.

    Attributes:
        max_attempts: runs of the handler before the message is dead-lettered; 1 or more.
        backoff: the delays between them.
    """

    max_attempts: int = 5
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        check_number("Retry: max_attempts", self.max_attempts, whole=True)
        check_kind("Retry: backoff", self.backoff, Backoff)
        if self.max_attempts < 1:
            raise UsageError(f"Retry: max_attempts must be 1 or more, not {self.max_attempts}")

    @property
    def max_deliveries(self) -> int:
        """Deliveries after which a message is dead-lettered unrun: it may kill the process.

        Three times the attempts, because interruptions by deploys count as deliveries too.
        """
        return 3 * self.max_attempts


@dataclass(frozen=True, slots=True)
class Release:
    """Give the message back, to be delivered again after ``delay_s``."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class MoveToDeadLetters:
    """Copy the message to the dead letter queue, then ack it; ``error`` is the reason."""

    error: BaseException


def after_failure(
    error: BaseException, *, attempt: int, retry: Retry, random: Random
) -> Release | MoveToDeadLetters:
    """Decide what follows when a delivery's handler, or its message, failed.

    Args:
        error: what was raised.
        attempt: the delivery's attempt, 1 or more.
        retry: the channel's policy.
        random: source of the jitter.
    """
    if isinstance(error, RetryMessage):
        delay_s = error.delay_s
        return Release(retry.backoff.delay_s(attempt, random) if delay_s is None else delay_s)
    if isinstance(error, ConsumeMessageError | UndeliverableError):
        return MoveToDeadLetters(error)
    if attempt >= retry.max_attempts:
        return MoveToDeadLetters(error)
    return Release(retry.backoff.delay_s(attempt, random))


def describe_error(error: BaseException, *, max_chars: int = 500) -> str:
    """Return a short text of the error: one line, printable characters only."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # user code: an error that cannot be printed must not cost its message
        text = ""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"
