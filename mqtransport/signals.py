"""SIGTERM and SIGINT, for as long as somebody wants to hear of them."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

Act = Callable[[str], None]

NUMBERS = (signal.SIGTERM, signal.SIGINT)

# A loop has one handler per signal, and a process may run several apps.
_listening: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, Act]] = WeakKeyDictionary()


@contextmanager
def on_stop_signals(act: Act) -> Iterator[None]:
    """Call ``act`` with the signal's name on SIGTERM and SIGINT while the context is open.

    Everybody who listens on the same loop hears of each signal. Only the main thread of a process
    can hear signals; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    acts = _listening.setdefault(loop, {})
    if not acts:
        for number in NUMBERS:
            loop.add_signal_handler(number, _tell_all, acts, number.name)
    token = object()
    acts[token] = act
    try:
        yield
    finally:
        del acts[token]
        if not acts:
            for number in NUMBERS:
                loop.remove_signal_handler(number)


def _tell_all(acts: dict[object, Act], name: str) -> None:
    for act in list(acts.values()):
        act(name)
