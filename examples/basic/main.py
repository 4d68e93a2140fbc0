"""One producer, one consumer, one queue.

Without an argument both are in this process. With ``consumer`` or ``producer`` it is one of the
two; that needs a broker that other processes reach too, such as SQS.
"""

import asyncio
import logging
import random
import sys
from collections.abc import Iterable

from pydantic import BaseModel

from mqtransport import MQApp
from mqtransport.participants import Consumer, Producer

QUEUE = "basic"


class AppState:
    """What the consumer tells the rest of the program."""

    def __init__(self, waiting_for: Iterable[int]) -> None:
        self.waiting_for = set(waiting_for)
        self.all_consumed = asyncio.Event()

    def consumed(self, rnd: int) -> None:
        self.waiting_for.discard(rnd)  # a message may come twice: that must do no harm
        if not self.waiting_for:
            self.all_consumed.set()


class MC_Basic(Consumer):
    name: str = "messages.rand"

    class Model(BaseModel):
        rnd: int

    async def consume(self, msg: Model, mq_app: MQApp) -> None:
        self.logger.info("Consumed message: rnd=%d", msg.rnd)
        mq_app.state.consumed(msg.rnd)


class MP_Basic(Producer):
    name: str = "messages.rand"

    class Model(BaseModel):
        rnd: int


async def main(role: str = "both") -> None:
    app = await MQApp.connect()
    if role != "both" and not app.broker.capabilities.durable:
        raise SystemExit("this broker lives in one process; for two, set MQ_URL (README.md)")
    numbers = random.sample(range(1000), 10)
    app.state = AppState(numbers)
    producer = MP_Basic()
    if role in ("both", "consumer"):
        incoming = await app.create_consuming_channel(QUEUE)
        incoming.add_consumer(MC_Basic())
    if role in ("both", "producer"):
        outgoing = await app.create_producing_channel(QUEUE)
        outgoing.add_producer(producer)

    async with app:  # starts the channels; at the end it stops them and closes the broker
        if role == "consumer":
            await app.run_forever()  # until Ctrl-C or SIGTERM
            return
        for rnd in numbers:
            await producer.produce(rnd=rnd)  # returns when the broker has the message
            producer.logger.info("Produced message: rnd=%d", rnd)
        if role == "both":
            await asyncio.wait_for(app.state.all_consumed.wait(), timeout=30)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    asyncio.run(main(*sys.argv[1:]))
