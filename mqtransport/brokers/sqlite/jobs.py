"""A call on its way to the thread of the file, and how it ends on its caller's loop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

Work = Callable[[sqlite3.Connection], _T]
"""What one call does to the tables."""

Together = Callable[[sqlite3.Connection, list[_T]], list[_R]]
"""What the calls of one kind do that are in one transaction: an answer for each, in their order."""


class Job:
    """One call: what to do, and who waits for it.

    Attributes:
        together: does it, with all others of its kind.
        item: what it is about; given to ``together``.
        grows: whether it makes the file larger, so that it is refused on a full disk.
        unwanted: called on the loop with the result, if nobody waits for it any more.
        future: has the result once it is committed. Whoever is done with it before its turn
            comes (cancelled, or too late) withdraws the job.
    """

    __slots__ = ("future", "grows", "item", "loop", "together", "unwanted")

    def __init__(
        self,
        together: Together[Any, Any],
        item: Any,
        grows: bool = False,
        unwanted: Callable[[Any], None] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.together = together
        self.item = item
        self.grows = grows
        self.unwanted = unwanted

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Give the caller its answer; runs on the caller's loop."""
        if self.future.done():
            if error is None and self.unwanted is not None:
                self.unwanted(result)
        elif error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


Answer = tuple[Job, Any, BaseException | None]
"""How a job ended."""


def each(db: sqlite3.Connection, works: list[Work[_T]]) -> list[_T]:
    """Do each work by itself: the :data:`Together` of calls that gain nothing by company."""
    return [work(db) for work in works]


class Deadlines:
    """Ends the wait of calls for which the file is too busy; belongs to one loop.

    All wait equally long, so that the first that is not done is the next that may be late: one
    timer does for all. One for each call would take 1.4 us of the 8 that a send takes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self.loop = loop
        self._timeout_s = timeout_s
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, future: asyncio.Future[Any]) -> None:
        """Set a TimeoutError as its result if it is not done in time."""
        until = self.loop.time() + self._timeout_s
        self._waiting.append((until, future))
        if self._timer is None:
            self._timer = self.loop.call_at(until, self._look)

    def forget_done(self) -> None:
        """Let go of those that are done."""
        waiting = self._waiting
        while waiting and waiting[0][1].done():
            waiting.popleft()

    def _look(self) -> None:
        now = self.loop.time()
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= now):
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(TimeoutError())
        self._timer = self.loop.call_at(self._waiting[0][0], self._look) if self._waiting else None


def of_each_kind(jobs: Iterable[Job]) -> list[list[Job]]:
    """Return the jobs that are done together, in the order in which they came."""
    kinds: dict[Together[Any, Any], list[Job]] = {}
    last: Together[Any, Any] | None = None
    kind: list[Job] = []
    for job in jobs:
        if job.together != last:  # mostly it is the same, and to look it up takes 4 times as long
            last = job.together
            kind = kinds.setdefault(last, [])
        kind.append(job)
    return list(kinds.values())
