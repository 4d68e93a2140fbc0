"""A dead letter queue: what gets into it, and how its messages and their reasons are read.

A consumer of the dead letter queue is one like any other: it is registered for a message name,
and ``Delivery.dead_letter`` is the reason. A body that is no JSON reaches no consumer, there as
everywhere; such messages are read from the broker directly.
"""

import asyncio
import logging

from pydantic import BaseModel, ConfigDict

from mqtransport import Backoff, ConsumeMessageError, Consumer, Delivery, MQApp, Producer, Retry
from mqtransport.message import Attribute, DeadLetter, Outgoing
from mqtransport.wire import read_facts

RETRY = Retry(max_attempts=2, backoff=Backoff(first_s=0.1))


class Payment(BaseModel):
    cents: int
    parts: int = 1
    currency: str = "EUR"


class MP_Payment(Producer[Payment]):
    name = "payment"


class MC_Payment(Consumer[Payment]):
    name = "payment"

    async def consume(self, msg: Payment, mq_app: MQApp) -> None:
        if msg.currency != "EUR":
            raise ConsumeMessageError(f"no account in {msg.currency}")  # not tried again
        print("paid in parts of", msg.cents // msg.parts)  # the bug: parts may be 0


class MC_Dead(Consumer):
    """Prints the reason; lets every JSON object pass, as it must not fail itself."""

    class Model(BaseModel):
        model_config = ConfigDict(extra="allow")

    def __init__(self, name: str) -> None:
        self.name = name

    async def consume(self, msg: Model, mq_app: MQApp, delivery: Delivery) -> None:
        show(mq_app, delivery.name, delivery.dead_letter)


def show(app: MQApp, name: str, why: DeadLetter | None) -> None:
    if why is not None:
        print(f"dead letter {name!r}: {why.error}: {why.text} (attempts: {why.attempts})")
        app.state.put_nowait(why.error)


async def main() -> None:
    app = await MQApp.connect()
    app.state = asyncio.Queue()  # the reasons seen
    incoming = await app.create_consuming_channel(
        "payments", dead_letter="payments-dlq", retry=RETRY
    )
    incoming.add_consumer(MC_Payment())
    dead = await app.create_consuming_channel("payments-dlq", retry=RETRY)
    for name in ("payment", "refund"):
        dead.add_consumer(MC_Dead(name))
    outgoing = await app.create_producing_channel("payments")
    outgoing.add_producer(producer := MP_Payment())

    async with app, asyncio.timeout(60):
        await send_malformed(app, outgoing.queue.physical)
        await producer.produce(cents=100, parts=2)
        await producer.produce(cents=100, parts=0)
        await producer.produce(cents=100, currency="XTS")
        await outgoing.send_message("refund", {"cents": 100})  # nobody handles refunds
        waiting_for = {"ZeroDivisionError", "ConsumeMessageError", "UnknownMessageError"}
        while waiting_for:
            waiting_for.discard(await app.state.get())
        await app.stop()  # so that no channel takes the malformed message from under us
        await show_malformed(app, dead.queue.physical)
    raise SystemExit(0 if app.state.get_nowait() == "MalformedMessageError" else 1)


async def send_malformed(app: MQApp, queue: str) -> None:
    """Put a message on the queue that no producer would send; only the driver lets us."""
    attributes = {"Name": Attribute("String", "payment")}
    for result in await app.broker.send(queue, [Outgoing("malformed-1", "{cents:", attributes)]):
        if not isinstance(result, str):
            raise result


async def show_malformed(app: MQApp, queue: str) -> None:
    """Read what no consumer can be given, and delete it."""
    for raw in await app.broker.receive(queue, max_messages=10, wait_s=20, lease_s=30):
        show(app, "payment", read_facts(raw.attributes).dead_letter)
        await app.broker.ack(queue, [raw.receipt])


if __name__ == "__main__":
    # Each failure is logged with its traceback. Hidden here: the dead letters are the subject.
    logging.getLogger("mqtransport").setLevel(logging.CRITICAL)
    asyncio.run(main())
