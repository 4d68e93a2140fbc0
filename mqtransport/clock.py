"""The one source of time, and the one source of randomness.

Waiting itself is the event loop's business (``asyncio.sleep`` and ``asyncio.timeout`` with
relative times), so a loop with virtual time and a clock that reads it run hours in
milliseconds: see :mod:`mqtransport.testing`.
"""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where the library reads time."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back. For deadlines and intervals."""
        ...

    def time(self) -> float:
        """Seconds since the Unix epoch; may jump. Only for stamps that leave the process."""
        ...


class SystemClock:
    """The machine's clock; the default."""

    def monotonic(self) -> float:
        """Seconds on the machine's monotonic clock."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()


def new_random() -> random.Random:
    """Return a generator seeded by the operating system: the default source of ids and jitter."""
    return random.Random()


def new_id(source: random.Random) -> str:
    """Return a message id: 128 random bits as 32 hexadecimal digits."""
    return source.getrandbits(128).to_bytes(16, "big").hex()
