"""Two benchmarks on one machine do not disturb one another: each run holds a lock.

``flock`` of the shell takes the same one, also around the whole command.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

LOCK = Path(tempfile.gettempdir()) / "bench.lock"
WAIT_S = 600.0
"""After which a run goes on without the lock: whoever holds it has perhaps forgotten it."""


@contextlib.contextmanager
def alone(lock: Path = LOCK, wait_s: float = WAIT_S) -> Iterator[None]:
    """Wait until no other benchmark runs on this machine, and keep others waiting."""
    if _held_by_parent(lock):
        yield
        return
    with lock.open("a") as file:
        if not _taken(file.fileno(), wait_s):
            print(f"{lock} was not free within {wait_s:.0f} s: going on", file=sys.stderr)
        yield


def _taken(descriptor: int, wait_s: float) -> bool:
    # Blocking, so that waiters have their turn, but in a thread, so that the wait has an end.
    waiting = threading.Thread(target=fcntl.flock, args=(descriptor, fcntl.LOCK_EX), daemon=True)
    waiting.start()
    waiting.join(wait_s)
    return not waiting.is_alive()


def _held_by_parent(lock: Path) -> bool:
    """Return whether we were started by ``flock LOCK COMMAND``, which leaves us its descriptor.

    To wait for the lock would then be to wait for ourselves.
    """
    try:
        wanted = lock.stat()
    except FileNotFoundError:
        return False
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False
