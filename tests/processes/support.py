"""Processes of our own: started with this interpreter and its flags, ended by pid."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> list[str]:
    """This interpreter, with -O if it runs so, and warnings as errors."""
    flags = ["-W", "error"] + (["-O"] if sys.flags.optimize else [])
    return [sys.executable, *flags, *arguments]


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without anything that would choose a broker."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MQ_", "AWS_"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


@contextmanager
def process(*arguments: str, cwd: Path = ROOT, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A process whose output is captured; killed at the end if it still runs."""
    running = subprocess.Popen(
        command(*arguments),
        env=clean_environment(**more),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()
