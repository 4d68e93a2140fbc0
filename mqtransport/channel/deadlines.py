"""The time limits of callers who wait for a confirmation: one timer for all of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from mqtransport.channel.outbox import Entry


class Deadlines:
    """Tells when a caller has waited long enough.

    ``asyncio.timeout`` makes, sorts and drops a timer for every send, which takes 4 us. Nearly
    all deadlines come in the order of their sends, so one timer, set for the first of those who
    still wait, does for all. The rare one that is due before its predecessor has a timer of its
    own: its message was packed in a thread, or waited for room.

    Args:
        expire: called with each entry whose time is over.
    """

    def __init__(self, expire: Callable[[Entry], None]) -> None:
        self._expire = expire
        self._waiting: dict[Entry, float] = {}  # in the order of their deadlines
        self._latest = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._own: dict[Entry, asyncio.TimerHandle] = {}

    def add(self, entry: Entry, due: float) -> None:
        """Watch an entry until it is discarded.

        Args:
            entry: the entry.
            due: when its time is over, by the running loop's clock.
        """
        if due < self._latest:
            loop = asyncio.get_running_loop()
            self._own[entry] = loop.call_at(due, self._expire, entry)
            return
        self._latest = due
        self._waiting[entry] = due
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due, self._ring)

    def discard(self, entry: Entry) -> None:
        """Watch an entry no more; the timer goes on, and finds out by itself."""
        if self._waiting.pop(entry, None) is None and (own := self._own.pop(entry, None)):
            own.cancel()

    def clear(self) -> None:
        """Watch nothing any more; the next loop's clock may start anew."""
        for timer in (self._timer, *self._own.values()):
            if timer is not None:
                timer.cancel()
        self._timer = None
        self._latest = -math.inf
        self._waiting.clear()
        self._own.clear()

    def _ring(self) -> None:
        loop, timer = asyncio.get_running_loop(), self._timer
        self._timer = None
        # A timer may ring a little early, by the resolution of the loop's clock.
        now = loop.time() if timer is None else max(loop.time(), timer.when())
        over = []
        for entry, due in self._waiting.items():
            if due > now:
                self._timer = loop.call_at(due, self._ring)
                break
            over.append(entry)
        for entry in over:
            del self._waiting[entry]
            self._expire(entry)
