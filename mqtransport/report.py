"""What a stop reports."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from mqtransport.channel import Counts

logger = logging.getLogger("mqtransport.app")


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

    def log(self) -> None:
        """Log the report; what is left unsent is a warning."""
        logger.info("stopped in %.1f s: %s", self.seconds, dict(self.consumed))
        for queue, count in self.unsent.items():
            if count:
                logger.warning(
                    "queue %r: %d unsent messages stay in the buffer of this process; "
                    "export_unsent_messages() returns them",
                    queue,
                    count,
                )
