"""Which requests are spoiled, and the log of what was met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .modes import Mode


class Met(NamedTuple):
    """One request that arrived whole.

    Attributes:
        action: what it asks for, as ``SendMessage``; empty if it names none.
        treatment: what was done to it: ``forward``, or the name of a mode.
        connection: the client's connection, counted from 1 in the order of accepting.
        at_s: when it arrived, in seconds since the proxy started.
        request_bytes: its length, head and body.
    """

    action: str
    treatment: str
    connection: int
    at_s: float
    request_bytes: int


@dataclass(slots=True, eq=False)
class Rule:
    """Which requests are spoiled, and how; ``hits`` counts them."""

    action: str
    mode: Mode
    count: int | None
    after: int
    seconds: float
    seen: int = 0
    hits: int = 0

    def takes(self, action: str) -> bool:
        """Count a request and return whether this rule spoils it."""
        if self.action not in ("*", action):
            return False
        self.seen += 1
        if self.seen <= self.after or (self.count is not None and self.hits >= self.count):
            return False
        self.hits += 1
        return True
