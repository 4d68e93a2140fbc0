"""A process that shares a queue file with others.

python -m tests.durability.sharing work FILE QUEUE NUMBER COUNT
    sends its share of COUNT messages and handles what comes, until its input ends; says of each
    ``TIME BODY`` before the ack. On an ordered queue it sends groups of its own, in order.
python -m tests.durability.sharing send FILE QUEUE
    sends the time for each line of its input
python -m tests.durability.sharing wait FILE SECONDS
    waits for messages of three queues with ten receives; says its CPU seconds and how long it was
"""

import asyncio
import os
import resource
import sys
import time
from pathlib import Path

from mqtransport import limits
from mqtransport.brokers.sqlite import SQLiteBroker
from tests.durability.support import message, receive

GROUPS = 5
"""Of each process, on an ordered queue."""


async def send_group(broker: SQLiteBroker, queue: str, group: str, count: int) -> None:
    ordered = group if limits.is_fifo(queue) else None
    for start in range(0, count, 10):
        ids = [f"{group}.{number}" for number in range(start, min(start + 10, count))]
        answers = await broker.send(queue, [message(id, group=ordered) for id in ids])
        if refused := [one for one in answers if not isinstance(one, str)]:
            raise refused[0]


async def handle(broker: SQLiteBroker, queue: str, ending: asyncio.Event) -> None:
    while not ending.is_set():
        for one in await receive(broker, queue, wait_s=0.5):
            os.write(1, f"{time.monotonic()} {one.body}\n".encode())
            (refused,) = await broker.ack(queue, [one.receipt])
            if refused is not None:
                raise refused


async def end_of_input(ending: asyncio.Event) -> None:
    await asyncio.to_thread(sys.stdin.read)
    ending.set()


async def work(broker: SQLiteBroker, queue: str, number: str, count: str) -> None:
    ending = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(end_of_input(ending))
        for group in range(GROUPS):
            tasks.create_task(send_group(broker, queue, f"{number}-{group}", int(count) // GROUPS))
            tasks.create_task(handle(broker, queue, ending))


async def send(broker: SQLiteBroker, queue: str) -> None:
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        await broker.send(queue, [message("now", str(time.monotonic()))])


async def wait(broker: SQLiteBroker, seconds: str) -> None:
    queues = [f"quiet{number % 3}" for number in range(10)]
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(receive(broker, queue, wait_s=20)) for queue in queues]
        await asyncio.sleep(0.5)  # until all of them do nothing but wait
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        await asyncio.sleep(float(seconds))
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(used, time.monotonic() - start)
        for one in waiting:
            one.cancel()


async def main(what: str, file: str, *more: str) -> None:
    async with SQLiteBroker(Path(file), timeout_s=30) as broker:
        await {"work": work, "send": send, "wait": wait}[what](broker, *more)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
