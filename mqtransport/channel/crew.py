"""The tasks in which the requests of a queue are made.

A task for each request, and the wake-ups of another that makes it, take as long as all else that
is done for a lone message. So a few tasks live on, and each makes one request after the other.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any


class Crew:
    """Workers, who are called when there may be work, and made when none is idle.

    Args:
        work: what a worker does, until :meth:`wait` tells it to go.
        look: looks whether there is work, and if so calls a worker; called when it is time
            to, and when a worker has ended, whatever it ended of.
        most_idle: most workers kept while they have nothing to do.
    """

    def __init__(
        self,
        work: Callable[[], Coroutine[Any, Any, None]],
        look: Callable[[], None],
        most_idle: int,
    ) -> None:
        self._work = work
        self._look = look
        self._most_idle = most_idle
        self._idle: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._wanted = False  # a worker has to be made
        self._called = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    @property
    def called(self) -> bool:
        """Whether a worker is on its way, who has not looked for work yet."""
        return self._called

    def clear(self) -> None:
        """Forget what an earlier run has left."""
        self._idle.clear()
        self._called = self._wanted = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def call(self) -> None:
        """Have one worker look for work in the next loop cycle."""
        self._called = True
        if not self._wake_one():
            self._wanted = True
            self._wake.set()

    def call_all(self) -> None:
        """Have all of them look for work, and :meth:`run` whether it is over."""
        self._wanted = not self._idle
        self._wake.set()
        while self._wake_one():
            pass

    def look_later(self, now: float, pause_s: float) -> None:
        """Look after a pause; an earlier look that is due already finds out that it is early.

        Args:
            now: monotonic seconds.
            pause_s: how long from now; infinite is never.
        """
        due = now + pause_s
        if due == math.inf:
            return
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._ring)

    def arrived(self) -> None:
        """Note that a worker looks for work now."""
        self._called = False

    async def wait(self) -> bool:
        """Wait to be called; False at once if workers enough wait already."""
        if len(self._idle) >= self._most_idle:
            return False
        turn = asyncio.get_running_loop().create_future()
        self._idle.append(turn)
        await turn
        return True

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Make workers as they are needed, and own them; end when the last one has ended.

        Args:
            is_over: whether there will be no more work; asked after each :meth:`call_all`.
        """
        async with asyncio.TaskGroup() as group:
            while not is_over():
                if self._wanted:
                    self._wanted = False
                    group.create_task(self._work()).add_done_callback(self._ended)
                self._wake.clear()
                await self._wake.wait()
            self.call_all()

    def _ring(self) -> None:
        self._timer = None
        self._look()

    def _wake_one(self) -> bool:
        while self._idle:
            turn = self._idle.pop()
            if not turn.done():
                turn.set_result(None)
                return True
        return False

    def _ended(self, worker: asyncio.Task[None]) -> None:
        # If somebody cancelled it, it was perhaps called and has never looked.
        self._called = False
        self._look()


def is_cancelled() -> bool:
    """Return whether somebody has cancelled the task that asks."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
