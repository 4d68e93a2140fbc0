"""The receivers that wait for a message on one queue of an embedded broker."""

from __future__ import annotations

import asyncio
from collections import OrderedDict


class Waiters:
    """Wakes waiting receivers one at a time, the one that has waited longest first.

    Bound to no event loop: each wait belongs to the loop it is made on.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    async def wait(self, seconds: float) -> None:
        """Return when woken, or after so many seconds."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(max(0.0, seconds), _finish, woken)
        self._waiting[woken] = None
        try:
            await woken
        finally:
            timer.cancel()
            self._waiting.pop(woken, None)

    def wake_one(self) -> bool:
        """Wake one; False if nobody waits."""
        while self._waiting:
            woken, _ = self._waiting.popitem(last=False)
            # One left behind by an earlier event loop can no longer take anything.
            if not woken.done() and woken.get_loop().is_running():
                woken.set_result(None)
                return True
        return False

    def wake_all(self) -> None:
        """Wake everybody."""
        while self.wake_one():
            pass


def _finish(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
