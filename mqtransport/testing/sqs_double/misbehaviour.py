"""What SQS may do to a standard queue at any time, by seed: repeat, reorder, overlook.

Sources: "DeleteMessage" and "ReceiveMessage" in the service model; "At-least-once delivery" in the
developer guide. FIFO queues are promised not to do any of it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_WINDOW = 64
"""How far from the front a reordered queue looks: enough to mix, and the same cost at any depth."""


@dataclass(frozen=True, slots=True)
class _Coin:
    share: float
    source: random.Random

    def toss(self) -> bool:
        return self.share > 0 and self.source.random() < self.share


class Misbehaviour:
    """The choices of one account; without :meth:`start` it behaves.

    Each kind has randomness of its own, so that one does not change what another does.
    """

    def __init__(self) -> None:
        self.start()

    def start(
        self,
        *,
        seed: int = 0,
        duplicates: float = 0.0,
        reorder: bool = False,
        short_polls: float = 0.0,
    ) -> None:
        """Behave like this from now on; the arguments are those of ``SQSDouble.misbehave``."""
        self._again = _Coin(duplicates, random.Random(f"{seed} again"))
        self._survives = _Coin(duplicates, random.Random(f"{seed} survives"))
        self._short = _Coin(short_polls, random.Random(f"{seed} short"))
        self._order = random.Random(f"{seed} order") if reorder else None

    def delivers_again(self) -> bool:
        """Whether a message just delivered may go to another receive while it is in flight."""
        return self._again.toss()

    def survives_delete(self) -> bool:
        """Whether a message just deleted is delivered once more."""
        return self._survives.toss()

    def limit(self, limit: int) -> int:
        """Return how many messages at most a short poll for so many finds."""
        return self._short.source.randrange(limit) if self._short.toss() else limit

    def position(self, depth: int) -> int:
        """Return which of the messages that wait, counted from the front, comes next."""
        return 0 if self._order is None else self._order.randrange(min(depth, _WINDOW))
