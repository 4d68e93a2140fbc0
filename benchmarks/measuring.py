"""What a measured process uses to measure itself; needs nothing but the standard library."""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

Result = dict[str, Any]
"""One measurement: ``messages``, ``wall_s``, ``cpu_us`` and whatever else a suite counts."""


class Meter:
    """Counts wall time and CPU time (user and system, all threads) of this process."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Count from here."""
        self._cpu_s = cpu_s()
        self._started = time.perf_counter()

    def stop(self, messages: int, **more: Any) -> Result:
        """Return what was used since the start."""
        wall_s = time.perf_counter() - self._started
        cpu_us = (cpu_s() - self._cpu_s) * 1e6
        return {"messages": messages, "wall_s": wall_s, "cpu_us": cpu_us, **more}


def cpu_s() -> float:
    """Return the CPU seconds that this process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_bytes() -> int:
    """Return the largest resident size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def tell(result: Result) -> None:
    """Print a result for the process that started this one."""
    print(json.dumps(result), flush=True)
