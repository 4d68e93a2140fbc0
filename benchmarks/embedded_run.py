"""One run of one durable embedded queue, in a process of its own: prints messages per second.

``python -m benchmarks.embedded_run WHO SYNCHRONOUS COUNT FOLDER`` prints one line of JSON.
Every queue gets the same body and the same durability: a write-ahead log, with
``synchronous`` as named.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BODY = json.dumps({"order_id": 1, "customer": "Ann", "items": list(range(5)), "note": "x" * 200})
CALLERS = 64
RECEIVERS = 8

Rates = dict[str, float]


def mqtransport(synchronous: str, count: int, folder: Path, callers: int = CALLERS) -> Rates:
    """Ours: confirmed sends by so many callers at a time; receives of ten, acks of ten."""
    from mqtransport.brokers.sqlite import SQLiteBroker
    from mqtransport.message import Outgoing

    async def run() -> Rates:
        mode: Any = synchronous
        async with SQLiteBroker(folder / "queue.db", synchronous=mode) as broker:
            numbers = iter(range(count))
            left = count

            async def send() -> None:
                for number in numbers:
                    (answer,) = await broker.send("q", [Outgoing(str(number), BODY, {})])
                    if not isinstance(answer, str):
                        raise answer

            async def take() -> None:
                nonlocal left
                while left > 0:
                    got = await broker.receive("q", max_messages=10, wait_s=0.2, lease_s=60)
                    if got:
                        await broker.ack("q", [one.receipt for one in got])
                        left -= len(got)

            started = time.perf_counter()
            await asyncio.gather(*(send() for _ in range(callers)))
            put = time.perf_counter()
            await asyncio.gather(*(take() for _ in range(min(RECEIVERS, callers))))
            return _rates(count, started, put)

    return asyncio.run(run())


def mqtransport_alone(synchronous: str, count: int, folder: Path) -> Rates:
    """Ours, with one caller who awaits each call."""
    return mqtransport(synchronous, count, folder, callers=1)


def litequeue(synchronous: str, count: int, folder: Path) -> Rates:
    """litequeue: put, then pop and done, one by one."""
    from litequeue import LiteQueue

    queue = LiteQueue(str(folder / "queue.db"))
    queue.conn.execute("PRAGMA journal_mode = WAL")
    queue.conn.execute(f"PRAGMA synchronous = {synchronous}")

    def take() -> None:
        message = queue.pop()
        queue.done(message.message_id)

    return _sync(count, lambda: queue.put(BODY), take)


def huey(synchronous: str, count: int, folder: Path) -> Rates:
    """huey's SqliteHuey storage: enqueue, dequeue (which deletes: a crash loses the task)."""
    from huey.storage import SqliteStorage

    storage = SqliteStorage(filename=str(folder / "queue.db"), fsync=None)
    storage.conn.execute(f"PRAGMA synchronous = {synchronous}")
    return _sync(count, lambda: storage.enqueue(BODY.encode()), storage.dequeue)


def persist_queue(synchronous: str, count: int, folder: Path) -> Rates:
    """persist-queue's SQLiteAckQueue: put, get, ack, each committed."""
    from persistqueue import SQLiteAckQueue

    queue = SQLiteAckQueue(str(folder), auto_commit=True)
    for connection in {queue._conn, queue._putter, queue._getter}:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")

    def take() -> None:
        queue.ack(queue.get(block=False))

    return _sync(count, lambda: queue.put(BODY), take)


def _sync(count: int, put: Callable[[], object], take: Callable[[], object]) -> Rates:
    started = time.perf_counter()
    for _ in range(count):
        put()
    middle = time.perf_counter()
    for _ in range(count):
        take()
    return _rates(count, started, middle)


def _rates(count: int, started: float, middle: float) -> Rates:
    return {"put": count / (middle - started), "take": count / (time.perf_counter() - middle)}


WAYS: dict[str, Callable[[str, int, Path], Rates]] = {
    "mqtransport": mqtransport,
    "mqtransport, 1 caller": mqtransport_alone,
    "litequeue": litequeue,
    "huey": huey,
    "persist-queue": persist_queue,
}

if __name__ == "__main__":
    who, synchronous, count, folder = sys.argv[1:]
    print(json.dumps(WAYS[who](synchronous, int(count), Path(folder))))
