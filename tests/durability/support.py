"""Messages for a queue file, what is in it, and the processes that share it."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

from mqtransport.broker import Broker
from mqtransport.brokers.sqlite import SQLiteBroker
from mqtransport.brokers.sqlite.records import checksum
from mqtransport.message import Outgoing, RawDelivery
from tests.processes.support import ROOT, clean_environment

QUEUE = "orders"


def message(
    id: str, body: str = "", *, group: str | None = None, delay_s: float | None = None
) -> Outgoing:
    """A message whose body is its id, unless another is given."""
    return Outgoing(id, body or id, {}, delay_s=delay_s, group=group)


async def send(broker: Broker, *ids: str, queue: str = QUEUE) -> None:
    """Send a message per id, one by one; each must be taken."""
    for id in ids:
        (answer,) = await broker.send(queue, [message(id)])
        assert isinstance(answer, str), answer


async def receive(
    broker: Broker, queue: str = QUEUE, *, most: int = 10, wait_s: float = 0.0, lease_s: float = 30
) -> list[RawDelivery]:
    return await broker.receive(queue, max_messages=most, wait_s=wait_s, lease_s=lease_s)


async def drain(broker: Broker, queue: str = QUEUE) -> list[str]:
    """The bodies of all that can be received; each is acked."""
    found: list[str] = []
    while taken := await receive(broker, queue):
        found += [one.body for one in taken]
        answers = await broker.ack(queue, [one.receipt for one in taken])
        assert answers == [None] * len(taken)
    return found


@asynccontextmanager
async def opened(path: Path, **options: object) -> AsyncIterator[SQLiteBroker]:
    async with SQLiteBroker(path, **options) as broker:
        yield broker


def stored(path: Path) -> set[str]:
    """The bodies in the file, which is checked whole on the way."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = db.execute(
            "SELECT id, grp, attributes, COALESCE(body, (SELECT body FROM bodies WHERE"
            " bodies.seq = messages.seq)), checksum FROM messages"
        ).fetchall()
        assert db.execute("SELECT COUNT(*) FROM damaged").fetchone() == (0,)
    for id, group, attributes, body, sum_ in rows:
        whole = checksum(id, group, attributes, body.encode()) == sum_
        assert whole, f"message {id} is damaged"
    return {row[3] for row in rows}


@contextmanager
def running(module: str, *arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a module of the tests; killed at the end."""
    one = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=clean_environment(**more),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pipesize=1 << 20,  # a process that cannot say what it did stands still
    )
    try:
        yield one
    finally:
        kill(one)
        said(one)
        one.wait()


def kill(one: subprocess.Popen[str]) -> None:
    """End a process without notice."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(one.pid, signal.SIGKILL)


def said(one: subprocess.Popen[str]) -> str:
    """All that a process has said and nobody has read yet, once it has ended.

    Not with ``communicate``, which forgets what a ``readline`` has read ahead.
    """
    with contextlib.suppress(BrokenPipeError):
        one.stdin.close()
    if one.stdout.closed:
        return ""
    with one.stdout:
        return one.stdout.read()
