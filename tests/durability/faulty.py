"""A process that goes on sending, receiving and acking while its disk fails.

python -m tests.durability.faulty FILE COUNT

It opens the file, says ``ready``, and begins after a line on its input. Then it says of each
message ``sent``, ``unknown`` or ``refused``, of each it is about to ack ``taken``, and of each
other call that failed ``failed``.
"""

import asyncio
import sys
from pathlib import Path

from mqtransport.brokers.sqlite import SQLiteBroker
from mqtransport.errors import BrokerError
from tests.durability.support import QUEUE, message, receive


async def send_one(broker: SQLiteBroker, id: str) -> None:
    try:
        await broker.send(QUEUE, [message(id, f"{id} {'x' * 500}")])
        print("sent", id)
    except BrokerError as error:
        print("unknown" if error.maybe_done else "refused", id)


async def take_some(broker: SQLiteBroker) -> None:
    try:
        taken = await receive(broker, most=3)
        print(*(f"taken {one.body.split(' ')[0]}" for one in taken), sep="\n")
        if taken:
            await broker.ack(QUEUE, [one.receipt for one in taken])
    except BrokerError as error:
        print("failed", error)


async def main(file: str, count: str) -> None:
    # Two, so that each has to read what the other has written.
    async with SQLiteBroker(Path(file)) as sender, SQLiteBroker(Path(file)) as taker:
        print("ready", flush=True)
        sys.stdin.readline()
        for start in range(0, int(count), 5):
            sends = [send_one(sender, f"m{start + number}") for number in range(5)]
            await asyncio.gather(*sends, take_some(taker))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
