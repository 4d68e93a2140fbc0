"""One app, several queues: each has its own options, all share the app's state."""

import asyncio
from collections import Counter

from pydantic import BaseModel

from mqtransport import Consumer, MQApp, Producer

NUMBERS = {"invoices": 3, "emails": 20, "backups": 1}
"""How many messages go to which queue."""


class Task(BaseModel):
    number: int


class MP_Task(Producer[Task]):
    name = "tasks"


class AppState:
    """Counts per queue; ``complete`` is set when everything was handled."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()
        self.complete = asyncio.Event()

    def handled(self, queue: str, number: int) -> None:
        self.seen.add((queue, number))  # a set: a message that comes twice counts once
        if len(self.seen) == sum(NUMBERS.values()):
            self.complete.set()

    @property
    def counts(self) -> Counter[str]:
        return Counter(queue for queue, _ in self.seen)


class MC_Task(Consumer[Task]):
    name = "tasks"

    async def consume(self, msg: Task, mq_app: MQApp) -> None:
        mq_app.state.handled(self.channel.name, msg.number)


async def main() -> None:
    app = await MQApp.connect()
    app.state = AppState()
    producers: dict[str, MP_Task] = {}
    for queue in NUMBERS:
        # Backups are heavy: one at a time. Everything else: ten at a time, the default.
        concurrency = 1 if queue == "backups" else 10
        incoming = await app.create_consuming_channel(queue, concurrency=concurrency)
        incoming.add_consumer(MC_Task())
        outgoing = await app.create_producing_channel(queue)
        producers[queue] = MP_Task()
        outgoing.add_producer(producers[queue])

    async with app:
        for queue, number in NUMBERS.items():
            await producers[queue].send_many([Task(number=n) for n in range(number)])
        await asyncio.wait_for(app.state.complete.wait(), timeout=30)
        report = await app.stop()  # the counts are final when the channels have stopped

    for queue, number in NUMBERS.items():
        acked = report.consumed[queue].acked
        print(f"{queue}: sent {number}, handled {app.state.counts[queue]}, acked {acked}")


if __name__ == "__main__":
    asyncio.run(main())
