"""Unsent messages survive a restart: exported to a file at the end, imported at the start.

The first run takes orders while its channels are stopped, so none of them reaches the broker.
(A broker that cannot be reached has the same effect.) The second run sends them.
"""

import asyncio
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel

from mqtransport import Consumer, MQApp, Producer

QUEUE = "unsent"
IDS = range(1, 4)


class Order(BaseModel):
    id: int


class MP_Order(Producer[Order]):
    name = "order"


class MC_Order(Consumer[Order]):
    name = "order"

    async def consume(self, msg: Order, mq_app: MQApp) -> None:
        await mq_app.state.put(msg.id)


def load(app: MQApp, file: Path) -> None:
    """Take in what the last run left; call it when all producing channels are created."""
    if file.exists():
        unsent = json.loads(file.read_text())
        app.import_unsent_messages(unsent)
        print("imported", {queue: len(records) for queue, records in unsent.items()})


def save(app: MQApp, file: Path) -> None:
    """Write what this run leaves. Called after the stop, so nothing is sent any more."""
    unsent = app.export_unsent_messages()
    file.write_text(json.dumps(unsent))
    print("exported", {queue: len(records) for queue, records in unsent.items()})


async def run(which: str, file: Path) -> None:
    app = await MQApp.connect()
    app.state = asyncio.Queue()
    outgoing = await app.create_producing_channel(QUEUE, confirm=False)
    outgoing.add_producer(producer := MP_Order())
    incoming = await app.create_consuming_channel(QUEUE)
    incoming.add_consumer(MC_Order())
    load(app, file)

    async with app, asyncio.timeout(60):
        if which == "second":
            waiting_for = set(IDS)
            while waiting_for:
                waiting_for.discard(await app.state.get())
            print(f"delivered orders {IDS[0]} to {IDS[-1]}")
        await app.stop()
        if which == "first":
            for order_id in IDS:
                sent = await producer.send(Order(id=order_id))
                print(f"order {order_id} is {sent.state}")
    save(app, file)


async def main() -> None:
    if len(sys.argv) == 3:  # one run as a process of its own: main.py first unsent.json
        await run(sys.argv[1], Path(sys.argv[2]))
        return
    with TemporaryDirectory() as directory:
        for which in ("first", "second"):
            await run(which, Path(directory, "unsent.json"))


if __name__ == "__main__":
    asyncio.run(main())
