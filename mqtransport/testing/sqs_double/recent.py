"""A memory that forgets after a while."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from mqtransport.clock import Clock

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class Recent(Generic[KeyT, ValueT]):
    """What was noted in the last seconds, by key; each step costs the same, amortised.

    Args:
        clock: the source of time.
        keep_s: how long a note is kept.
    """

    def __init__(self, clock: Clock, keep_s: float) -> None:
        self._clock = clock
        self._keep_s = keep_s
        # In the order of time; a plain dict would scan over what was removed in front.
        self._notes: OrderedDict[KeyT, tuple[float, ValueT]] = OrderedDict()

    def get(self, key: KeyT) -> ValueT | None:
        """Return what was noted, or None."""
        self._expire()
        note = self._notes.get(key)
        return None if note is None else note[1]

    def put(self, key: KeyT, value: ValueT) -> None:
        """Note a value from now on."""
        self._expire()
        self._notes[key] = (self._clock.monotonic(), value)
        self._notes.move_to_end(key)

    def _expire(self) -> None:
        now = self._clock.monotonic()
        while self._notes:
            key, (noted, _) = next(iter(self._notes.items()))
            if now - noted < self._keep_s:
                return
            del self._notes[key]
