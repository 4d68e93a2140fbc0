"""One run of one durable embedded queue: what it costs to put messages, and to take them.

``python -m benchmarks.peers.embedded WAY SYNCHRONOUS COUNT`` prints one result. Every queue gets
the same body and the same durability: a write-ahead log, with ``synchronous`` as named.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import Meter, Result, peak_bytes, tell
from benchmarks.message import Order, order, orders
from benchmarks.peers.sqs_driving import by_callers, run

BODY = order(1).model_dump_json()
CALLERS = 64
RECEIVERS = 8


def mqtransport(synchronous: str, count: int, folder: Path, callers: int = CALLERS) -> Result:
    """Ours: confirmed sends by so many callers at a time; receives of ten, acks of ten."""
    from mqtransport.brokers.sqlite import SQLiteBroker
    from mqtransport.message import Outgoing

    found: Result = {}

    async def both() -> None:
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
                        if not left:  # what the other receivers still wait for never comes
                            found["take"] = meter.stop(count)

            meter = Meter()
            await asyncio.gather(*(send() for _ in range(callers)))
            found["put"] = meter.stop(count)
            meter.start()
            await asyncio.gather(*(take() for _ in range(min(RECEIVERS, callers))))

    run(both())
    return found


def mqtransport_alone(synchronous: str, count: int, folder: Path) -> Result:
    """Ours, with one caller who awaits each call."""
    return mqtransport(synchronous, count, folder, callers=1)


def mqtransport_app(synchronous: str, count: int, folder: Path) -> Result:
    """Ours as applications use it: through channels, from a model to its handler."""
    from mqtransport import Consumer, MQApp, MQSettings, Producer
    from mqtransport.brokers.sqlite import SQLiteBroker

    found: Result = {}

    class Sends(Producer[Order]):
        name = "order"

    class Handles(Consumer[Order]):
        name = "order"

        def __init__(self) -> None:
            self.left = count
            self.all = asyncio.Event()

        async def consume(self, message: Order) -> None:
            self.left -= 1
            if not self.left:
                self.all.set()

    async def opened() -> MQApp:
        mode: Any = synchronous
        broker = SQLiteBroker(folder / "queue.db", synchronous=mode)
        await broker.connect()
        return MQApp(broker, settings=MQSettings(concurrency=CALLERS))

    async def both() -> None:
        sending = await opened()
        producing = await sending.create_producing_channel("orders")
        producing.add_producer(producer := Sends())
        await sending.start()
        meter = Meter()
        await by_callers(CALLERS, orders(count), producer.send)
        found["put"] = meter.stop(count)
        await sending.shutdown()
        receiving = await opened()
        consuming = await receiving.create_consuming_channel("orders")
        consuming.add_consumer(consumer := Handles())
        meter.start()
        await receiving.start()
        await asyncio.wait_for(consumer.all.wait(), 300)
        await receiving.stop()  # the last acks are part of it
        found["take"] = meter.stop(count)
        await receiving.shutdown()

    run(both())
    return found


def litequeue(synchronous: str, count: int, folder: Path) -> Result:
    """litequeue: put, then pop and done, one by one."""
    from litequeue import LiteQueue

    queue = LiteQueue(str(folder / "queue.db"))
    queue.conn.execute("PRAGMA journal_mode = WAL")
    queue.conn.execute(f"PRAGMA synchronous = {synchronous}")

    def take() -> None:
        message = queue.pop()
        queue.done(message.message_id)

    return _one_by_one(count, lambda: queue.put(BODY), take)


def huey(synchronous: str, count: int, folder: Path) -> Result:
    """huey's SqliteHuey storage: enqueue, dequeue (which deletes: a crash loses the task)."""
    from huey.storage import SqliteStorage

    storage = SqliteStorage(filename=str(folder / "queue.db"), fsync=None)
    storage.conn.execute(f"PRAGMA synchronous = {synchronous}")
    return _one_by_one(count, lambda: storage.enqueue(BODY.encode()), storage.dequeue)


def persist_queue(synchronous: str, count: int, folder: Path) -> Result:
    """persist-queue's SQLiteAckQueue: put, get, ack, each committed."""
    from persistqueue import SQLiteAckQueue

    queue = SQLiteAckQueue(str(folder), auto_commit=True)
    for connection in {queue._conn, queue._putter, queue._getter}:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")

    def take() -> None:
        queue.ack(queue.get(block=False))

    return _one_by_one(count, lambda: queue.put(BODY), take)


def _one_by_one(count: int, put: Callable[[], object], take: Callable[[], object]) -> Result:
    meter = Meter()
    for _ in range(count):
        put()
    found = {"put": meter.stop(count)}
    meter.start()
    for _ in range(count):
        take()
    return {**found, "take": meter.stop(count)}


WAYS: dict[str, Callable[[str, int, Path], Result]] = {
    one.__name__: one
    for one in (mqtransport, mqtransport_app, mqtransport_alone, litequeue, huey, persist_queue)
}


def main() -> None:
    """Measure as the command line says."""
    way, synchronous, count = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        found = WAYS[way](synchronous, int(count), Path(folder))
        tell({**found, "peak_bytes": peak_bytes()})


if __name__ == "__main__":
    main()
