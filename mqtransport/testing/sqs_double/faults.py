"""Faults that AWS itself may commit: refused entries, forgotten entries, throttling."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import SQSError

BATCHES = ("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")

Chooser = Callable[[Mapping[str, Any]], bool]
"""Chooses entries of a batch; it is given the entry as it was sent."""


@dataclass(slots=True, eq=False)
class EntryFault:
    """A fault that befalls chosen entries of batches.

    Args:
        action: the batch action it applies to.
        chooses: whether an entry is hit.
        code: the code in ``Failed``; None lets the entry appear in neither list.
        sender_fault: what ``SenderFault`` says.
        applied: whether the entry is carried out all the same.
        hits: how many entries it has hit so far.
    """

    action: str
    chooses: Chooser
    code: str | None
    sender_fault: bool = False
    applied: bool = False
    hits: int = 0


class Faults:
    """The faults in force."""

    def __init__(self) -> None:
        self._entries: list[EntryFault] = []
        self._throttled: dict[str, deque[str]] = {}
        self._at_random: list[EntryFault] = []
        self._throttles: Chooser = chooser(0.0, 0)

    def add(self, fault: EntryFault) -> EntryFault:
        """Put a fault in force and return it."""
        self._entries.append(fault)
        return fault

    def throttle(self, action: str, count: int, code: str) -> None:
        """Refuse the next ``count`` requests of an action (``*``: of any)."""
        self._throttled.setdefault(action, deque()).extend([code] * count)

    def misbehave(self, seed: int, throttle: float, entry_failures: float) -> None:
        """Refuse shares of all requests and of all entries of batches from now on, by seed."""
        self._throttles = chooser(throttle, f"{seed} throttle")
        self._at_random = [
            EntryFault(action, chooser(entry_failures, f"{seed} {action}"), "InternalError")
            for action in BATCHES
        ]

    def clear(self) -> None:
        """Lift all faults."""
        self._entries.clear()
        self._throttled.clear()
        self.misbehave(0, 0.0, 0.0)

    def check(self, action: str) -> None:
        """Raise the error of a throttled request."""
        waiting = self._throttled.get(action) or self._throttled.get("*")
        if waiting:
            raise SQSError(waiting.popleft(), "Rate exceeded")
        if self._throttles({}):
            raise SQSError("RequestThrottled", "Rate exceeded")

    def of_entry(self, action: str, entry: Mapping[str, Any]) -> EntryFault | None:
        """Return the fault that hits an entry, or None."""
        for fault in (*self._entries, *self._at_random):
            if fault.action == action and fault.chooses(entry):
                fault.hits += 1
                return fault
        return None


def chooser(choice: Chooser | float, seed: int | str) -> Chooser:
    """Return a chooser: the predicate itself, or one that hits a fraction of entries by seed.

    Raises:
        ValueError: the fraction is not between 0 and 1.
    """
    if callable(choice):
        return choice
    if not 0 <= choice <= 1:
        raise ValueError(f"a fraction is between 0 and 1, not {choice}")
    source = random.Random(seed)
    return lambda _: source.random() < choice
