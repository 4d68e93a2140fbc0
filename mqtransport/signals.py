"""SIGTERM and SIGINT, for as long as somebody wants to hear of them."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_stop_signals(act: Callable[[str], None]) -> Iterator[None]:
    """Call ``act`` with the signal's name on SIGTERM and SIGINT while the context is open.

    Only the main thread of a process can hear signals; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, act, number.name)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
