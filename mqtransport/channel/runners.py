"""The tasks in which deliveries are handled.

A task for each delivery costs as much as all else that is done for it, so a task handles one
after another, as long as their handlers end without waiting for anything. A handler that does
wait keeps its task to itself, and the deliveries behind it get tasks of their own.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable

from mqtransport.channel.in_hand import Held

Task = asyncio.Task[None]


class Runners:
    """Runs deliveries, each in a task that no other delivery shares at the same time.

    Args:
        handle: handles one delivery; returns whether its handler ended well. If not, its task
            ends with it, so that nothing of a failure or a cancellation can reach another one.
        on_ended: called with each delivery when its handling has ended, and with what its task
            died of, if it did.
    """

    def __init__(
        self,
        handle: Callable[[Held], Awaitable[bool]],
        on_ended: Callable[[Held, BaseException | None], None],
    ) -> None:
        self._handle = handle
        self._on_ended = on_ended
        self._waiting: deque[Held] = deque()
        self._at_work: dict[Task, Held] = {}
        self._spreading = False
        self._rounds = 0  # changes before a handler that waits for something can go on
        self._context = contextvars.copy_context()

    def open(self) -> None:
        """Give the context variables of the caller to the handlers that run from now on."""
        self._context = contextvars.copy_context()

    def start(self, held: Held) -> None:
        """Run a delivery, in the next loop cycle or the one after it."""
        if self._spreading:
            self._waiting.append(held)
            return
        self._spreading = True
        self._start_task(held)
        self._rounds += 1  # behind it: an eager task may wait for something already
        # Comes behind the first step of that task.
        asyncio.get_running_loop().call_soon(self._spread)

    def _spread(self) -> None:
        """Give a task each to the deliveries that the first task has not come to."""
        self._spreading = False
        self._rounds += 1
        while (held := self._next()) is not None:
            self._start_task(held)

    def _next(self) -> Held | None:
        """Return the next delivery that nothing has happened to while it waited here."""
        while self._waiting:
            held = self._waiting.popleft()
            if held.settling is None and held.outcome is None:
                return held
        return None

    def _start_task(self, held: Held) -> None:
        # Not in the context of whoever starts it: what follows a delivery is started from the
        # settling of that, which may be in the context of its handler. And not by context=, which
        # a task factory need not know.
        task = self._context.copy().run(asyncio.create_task, self._run(held))
        # An eager task (Python 3.12) has begun, and may be over or have come to another one.
        if not task.done() and self._at_work.setdefault(task, held) is held:
            held.task = task
        task.add_done_callback(self._task_ended)

    async def _run(self, first: Held) -> None:
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - a coroutine of a task runs in it
            raise RuntimeError("a delivery is handled outside of a task")
        clean, rounds = contextvars.copy_context(), self._rounds
        held: Held | None = first
        while held is not None:
            held.task = task
            self._at_work[task] = held
            well = await self._handle(held)
            # A cancellation still to come, or a context variable that the handler has left
            # behind, is its own and must not reach the next one. Neither may what it keeps by
            # task, as a database session; only one that waited for something can have that.
            if not well or task.cancelling() or not _same(contextvars.copy_context(), clean):
                return
            # Up to Python 3.12, uncancel() leaves the cancellation itself on its way.
            if getattr(task, "_must_cancel", False):
                return
            if self._rounds != rounds:
                return
            held.task = None
            self._on_ended(held, None)
            del self._at_work[task]
            held = self._next() if self._waiting else None

    def _task_ended(self, task: Task) -> None:
        held = self._at_work.pop(task, None)
        if held is not None:
            error = None if task.cancelled() else task.exception()
            self._on_ended(held, error)


def _same(one: contextvars.Context, other: contextvars.Context) -> bool:
    """Return whether two contexts hold the very same values; ``==`` would ask the values."""
    if len(one) != len(other):
        return False
    for variable, value in one.items():  # noqa: SIM110 - all() takes thrice as long
        if other.get(variable, _NOTHING) is not value:
            return False
    return True


_NOTHING = object()
