"""Processes that send to a queue file, or take from it, until they are killed.

python -m tests.durability.traffic send FILE PREFIX SYNCHRONOUS
python -m tests.durability.traffic take FILE

A sender prints the id of each message that was confirmed, a taker that of each one it is about to
ack: what was printed is known also to whoever kills the process.
"""

import asyncio
import os
import sys
from pathlib import Path
from random import Random

from mqtransport.brokers.sqlite import SQLiteBroker
from tests.durability.support import QUEUE, message, receive

SENDERS = 6
BODY_CHARS = (0, 0, 100, 400, 5000)


def say(ids: list[str]) -> None:
    """One write, which no kill cuts in two (pipe(7): up to 4,096 bytes)."""
    if ids:
        os.write(1, "".join(f"{id}\n" for id in ids).encode())


async def send_for_ever(broker: SQLiteBroker, prefix: str) -> None:
    random, number = Random(prefix), 0
    while True:
        ids = [f"{prefix}.{number + one}" for one in range(random.randint(1, 10))]
        number += len(ids)
        batch = [message(id, f"{id} {'x' * random.choice(BODY_CHARS)}") for id in ids]
        answers = await broker.send(QUEUE, batch)
        say([id for id, answer in zip(ids, answers, strict=True) if isinstance(answer, str)])


async def take_for_ever(broker: SQLiteBroker) -> None:
    while True:
        taken = await receive(broker, wait_s=5, lease_s=2)
        say([one.body.split(" ")[0] for one in taken])
        if taken:
            await broker.ack(QUEUE, [one.receipt for one in taken])


async def main(what: str, file: str, prefix: str = "", synchronous: str = "FULL") -> None:
    async with (
        SQLiteBroker(
            Path(file), synchronous="NORMAL" if synchronous == "NORMAL" else "FULL", timeout_s=30
        ) as broker,
        asyncio.TaskGroup() as tasks,
    ):
        for one in range(SENDERS if what == "send" else 2):
            if what == "send":
                tasks.create_task(send_for_ever(broker, f"{prefix}.{one}"))
            else:
                tasks.create_task(take_for_ever(broker))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
