"""An event loop whose time is virtual: hours of waiting take milliseconds.

When nothing is ready to run, the loop jumps to its next timer instead of waiting for it. With
a seed it also runs ready tasks in a random order and holds some of them back, so that races
show, and the seed shows them again.

It relies on three private names of asyncio (``_scheduled``, ``_ready`` and
``_clock_resolution``), which are the same in CPython 3.11, 3.12 and 3.13; the tests of this
module fail where that changes.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple

from mqtransport.errors import MQTransportError

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

EPOCH_S = 1_750_000_000.0
"""The wall clock's reading when a virtual loop starts: 2025-06-15 15:06:40 UTC."""

# Timers closer together than this fire together. asyncio's own value, 1 ns, is lost in rounding
# once loop.time() passes some months, and a timer that is due would then never fire.
_RESOLUTION_S = 1e-6

_MOST_TASKS_NAMED = 10


class DeadlockError(MQTransportError):
    """Everything on a virtual loop waits, and nothing is left that could wake it."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with virtual time, which starts at 0.

    File descriptors that are ready are served before time jumps, but a reply that is still on
    its way from another process is not waited for. Work given to ``run_in_executor`` or
    ``asyncio.to_thread`` is waited for in real time; while it runs, virtual time moves on only
    if a timer's delay has passed in real seconds.

    Args:
        seed: None runs tasks in asyncio's order. A number runs ready tasks in an order drawn
            from it, and some of them a round later; a plain callback still runs before
            everything that was scheduled after it.

    Attributes:
        waits_for_threads: set it to False to let time jump although a thread is still at work,
            for a test in which that thread is blocked on purpose.

    Raises:
        DeadlockError: out of the running loop, if nothing is ready, no timer is set and no
            thread is at work.

    Example:
        >>> import asyncio
        >>> from mqtransport.testing import run_virtual
        >>> run_virtual(lambda: asyncio.sleep(8 * 3600, "done"))
        'done'
    """

    _scheduled: list[asyncio.TimerHandle]
    _ready: deque[asyncio.Handle]

    def __init__(self, seed: int | None = None) -> None:
        self.waits_for_threads = True
        self._now = 0.0
        self._outside: set[object] = set()
        super().__init__(_JumpingSelector(self))
        self._clock_resolution = _RESOLUTION_S
        self._pool: Executor | None = None
        if seed is not None:
            self._ready = _ShuffledReady(random.Random(seed))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def block(self, seconds: float) -> None:
        """Let time pass while nothing else can run, as code does that blocks the loop."""
        self._now += seconds

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep time from jumping while something that the loop cannot see is at work.

        For threads of one's own that report back with ``call_soon_threadsafe``; those of
        ``run_in_executor`` are seen.
        """
        token = object()
        self._outside.add(token)
        try:
            yield
        finally:
            self._outside.discard(token)

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """Use this executor where ``run_in_executor`` is given none."""
        super().set_default_executor(executor)
        self._pool = executor

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """Run ``func`` on a thread, and let virtual time wait for it."""
        if executor is None and self._pool is None:
            self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        recorder = _Recorder(executor or self._pool)
        result = super().run_in_executor(recorder, func, *args)
        work = recorder.future
        if work is not None:
            self._outside.add(work)
            # Added after asyncio's own callback, so the loop has been woken before the work
            # counts as over; else time could jump in between.
            work.add_done_callback(self._outside.discard)
        return result

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait, in real time, for the threads of the default executor."""
        self.waits_for_threads = True
        with self.held():
            if sys.version_info >= (3, 12):
                await super().shutdown_default_executor(timeout)
            else:
                await super().shutdown_default_executor()

    def _jump(self) -> None:
        """Move time to the next timer."""
        self._now = max(self._now, self._scheduled[0].when())

    def _raise_deadlock(self) -> None:
        waiting = sorted(_describe(task) for task in asyncio.all_tasks(self))
        shown = waiting[:_MOST_TASKS_NAMED]
        if len(waiting) > len(shown):
            shown.append(f"and {len(waiting) - len(shown)} more")
        raise DeadlockError(
            f"virtual time {self._now:.6f}: nothing is ready, no timer is set and no thread is at"
            " work, so nothing can ever happen; waiting: " + ("; ".join(shown) or "no task at all")
        )


class VirtualClock:
    """The library's clock on a virtual loop.

    Args:
        loop: whose time to read; None reads the loop that is running at each call, so the clock
            can be made before there is one.

    Attributes:
        wall_offset_s: seconds added to the wall clock; change it to let the wall clock jump
            without the monotonic one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self.wall_offset_s = 0.0

    def monotonic(self) -> float:
        """The loop's own time."""
        return (self._loop or asyncio.get_running_loop()).time()

    def time(self) -> float:
        """``EPOCH_S`` plus the loop's time plus ``wall_offset_s``."""
        return EPOCH_S + self.wall_offset_s + self.monotonic()


def run_virtual(main: Callable[[], Coroutine[Any, Any, _T]], *, seed: int | None = None) -> _T:
    """Run a coroutine function on a virtual loop of its own, and clean up like ``asyncio.run``.

    Args:
        main: called without arguments for the coroutine.
        seed: see :class:`VirtualLoop`.

    Returns:
        What the coroutine returned.

    Raises:
        DeadlockError: everything waits for something that can never come.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main())


class _JumpingSelector(selectors.DefaultSelector):
    """Polls for real, but answers a wait by moving the loop's time."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Read before polling: work that ends after this line has written to the loop's wake-up
        # pipe before it leaves the set, so either the set or the poll shows it.
        busy = bool(self._loop._outside)
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if busy and (self._loop.waits_for_threads or timeout is None):
            ready = super().select(timeout)
            if ready or timeout is None:
                return ready
        if timeout is None:
            self._loop._raise_deadlock()
        self._loop._jump()
        return []


class _ShuffledReady(deque[asyncio.Handle]):
    """A loop's queue of ready handles that hands out tasks in a random order.

    asyncio asks for the length once a round and then takes that many; a smaller answer holds
    the rest back until the next round.
    """

    def __init__(self, source: random.Random) -> None:
        super().__init__()
        self._source = source

    def __len__(self) -> int:
        size = super().__len__()
        return size if size < 2 else self._source.randint(1, size)

    def popleft(self) -> asyncio.Handle:
        # A plain callback is overtaken by nothing that was scheduled after it: asyncio's
        # transports, among others, count on that. It may itself overtake tasks.
        size = super().__len__()
        tasks = next((n for n in range(size) if not _is_task_step(self[n])), size - 1)
        index = self._source.randint(0, tasks)
        handle = self[index]
        del self[index]
        return handle


class _Recorder(Executor):
    """Hands work to an executor and keeps its future, which asyncio does not give out."""

    def __init__(self, executor: Executor | None) -> None:
        self._executor = executor
        self.future: Future[Any] | None = None

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        if self._executor is None:
            raise RuntimeError("there is no executor")
        future = self._executor.submit(fn, *args, **kwargs)
        self.future = future
        return future


def _is_task_step(handle: asyncio.Handle) -> bool:
    # The test that asyncio itself makes when it formats a handle (base_events._format_handle).
    callback = getattr(handle, "_callback", None)
    return isinstance(getattr(callback, "__self__", None), asyncio.Task)


def _describe(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    where = f" at {frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else ""
    return f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', '?')}){where}"
