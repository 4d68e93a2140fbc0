"""SQS emulators in processes of their own."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

START_S = 60.0


@contextmanager
def moto_server() -> Iterator[str]:
    """A moto server on a port that the kernel chose; yields its URL once it listens."""
    # A file, not a pipe: it logs every request, and a full pipe would stop it.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        server = subprocess.Popen(
            [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + START_S
            while True:
                log.seek(0)
                if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read()):
                    break
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("moto did not start")
                time.sleep(0.05)
            yield found.group(1)
        finally:
            server.kill()
            server.wait()
