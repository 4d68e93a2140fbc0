"""What a stop reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mqtransport.channel import Counts


@dataclass(frozen=True, slots=True)
class StopReport:
    """What a stop found and left.

    Attributes:
        consumed: per queue, what became of its deliveries since the app was made.
        unsent: per queue, buffered messages that the broker has not confirmed.
        seconds: how long the stop took.
    """

    consumed: Mapping[str, Counts] = field(default_factory=dict)
    unsent: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
