"""Running an asynchronous test tool in a thread with an event loop of its own.

So a synchronous test may use it: ``with in_thread(make) as tool:``. Methods marked with
:func:`on_loop` may then be called from any thread; they run in the tool's own.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

CALL_TIMEOUT_S = 30.0
"""How long a call waits for the tool's thread; it does no more than a few lines of work."""

P = ParamSpec("P")
R = TypeVar("R")
ToolT = TypeVar("ToolT")
LoopBoundT = TypeVar("LoopBoundT", bound="LoopBound")


class LoopBound:
    """A tool that belongs to the event loop it was started in."""

    _loop: asyncio.AbstractEventLoop | None = None
    _thread_id: int | None = None

    def _bind(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        return self._loop

    def _unbind(self) -> None:
        self._loop = None


def on_loop(
    method: Callable[Concatenate[LoopBoundT, P], R],
) -> Callable[Concatenate[LoopBoundT, P], R]:
    """Let a synchronous method run in the thread of its tool's event loop, whoever calls it."""

    @functools.wraps(method)
    def call(self: LoopBoundT, /, *args: P.args, **kwargs: P.kwargs) -> R:
        loop = self._loop
        if loop is None or self._thread_id == threading.get_ident():
            return method(self, *args, **kwargs)
        result: Future[R] = Future()
        loop.call_soon_threadsafe(_fulfil, result, functools.partial(method, self, *args, **kwargs))
        return result.result(CALL_TIMEOUT_S)

    return call


def on_loop_async(
    method: Callable[Concatenate[LoopBoundT, P], Awaitable[R]],
) -> Callable[Concatenate[LoopBoundT, P], Coroutine[Any, Any, R]]:
    """Let an asynchronous method run in its tool's event loop, whichever loop awaits it."""

    @functools.wraps(method)
    async def call(self: LoopBoundT, /, *args: P.args, **kwargs: P.kwargs) -> R:
        loop = self._loop
        if loop is None or loop is asyncio.get_running_loop():
            return await method(self, *args, **kwargs)

        async def there() -> R:
            return await method(self, *args, **kwargs)

        result = asyncio.run_coroutine_threadsafe(there(), loop)
        return await asyncio.wait_for(asyncio.wrap_future(result), CALL_TIMEOUT_S)

    return call


def _fulfil(result: Future[R], call: Callable[[], R]) -> None:
    try:
        result.set_result(call())
    except Exception as error:  # the caller, in another thread, gets whatever was raised
        result.set_exception(error)


@contextmanager
def in_thread(make: Callable[[], AbstractAsyncContextManager[ToolT]]) -> Iterator[ToolT]:
    """Run a tool in a thread of its own for the length of the ``with`` block.

    Args:
        make: makes the tool; it is called and entered in the new thread.

    Yields:
        The running tool.

    Raises:
        TimeoutError: the tool did not start or end within 30 s.
    """
    started: Future[tuple[ToolT, Callable[[], None]]] = Future()
    ended: Future[None] = Future()
    thread = threading.Thread(
        target=_work, args=(make, started, ended), name="mqtransport-testing", daemon=True
    )
    thread.start()
    tool, stop = started.result(CALL_TIMEOUT_S)
    try:
        yield tool
    finally:
        stop()
        ended.result(CALL_TIMEOUT_S)
        thread.join(CALL_TIMEOUT_S)


def _work(
    make: Callable[[], AbstractAsyncContextManager[ToolT]],
    started: Future[tuple[ToolT, Callable[[], None]]],
    ended: Future[None],
) -> None:
    try:
        asyncio.run(_live(make, started))
    except BaseException as error:  # this thread's edge: the failure belongs to who waits for it
        (ended if started.done() else started).set_exception(error)
    else:
        ended.set_result(None)


async def _live(
    make: Callable[[], AbstractAsyncContextManager[ToolT]],
    started: Future[tuple[ToolT, Callable[[], None]]],
) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        loop.call_soon_threadsafe(stopped.set)

    async with make() as tool:
        started.set_result((tool, stop))
        await stopped.wait()
