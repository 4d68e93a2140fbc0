"""Several kinds of message in one queue: each goes to the consumer registered for its name."""

import asyncio

from pydantic import BaseModel

from mqtransport import Consumer, Delivery, MQApp, Producer

QUEUE = "shop"


class Order(BaseModel):
    id: int
    items: list[str]


class Cancellation(BaseModel):
    order_id: int
    why: str


class MP_Order(Producer[Order]):  # the same as a nested class Model; type checkers know it
    name = "orders.placed"


class MP_Cancellation(Producer[Cancellation]):
    name = "orders.cancelled"


class MC_Order(Consumer[Order]):
    name = "orders.placed"

    async def consume(self, msg: Order, mq_app: MQApp) -> None:
        mq_app.state.put_nowait(f"order {msg.id} of {', '.join(msg.items)}")


class MC_Cancellation(Consumer[Cancellation]):
    name = "orders.cancelled"

    async def consume(self, msg: Cancellation, mq_app: MQApp, delivery: Delivery) -> None:
        who = delivery.headers.get("user", "somebody")
        mq_app.state.put_nowait(f"{who} cancelled order {msg.order_id}: {msg.why}")


class MC_Report(Consumer):
    name = "reports.wanted"

    class Model(BaseModel):
        day: str

    async def consume(self, msg: Model, mq_app: MQApp) -> None:
        mq_app.state.put_nowait(f"report for {msg.day}")


async def main() -> None:
    app = await MQApp.connect()
    app.state = asyncio.Queue()  # what the consumers have to say
    incoming = await app.create_consuming_channel(QUEUE)
    for consumer in (MC_Order(), MC_Cancellation(), MC_Report()):
        incoming.add_consumer(consumer)
    outgoing = await app.create_producing_channel(QUEUE)
    orders, cancellations = MP_Order(), MP_Cancellation()
    outgoing.add_producer(orders)
    outgoing.add_producer(cancellations)

    async with app, asyncio.timeout(30):
        await orders.send(Order(id=1, items=["tea", "cups"]))
        await cancellations.send(Cancellation(order_id=1, why="broken"), headers={"user": "Ann"})
        await outgoing.send_message("reports.wanted", {"day": "Monday"})  # without a producer
        waiting_for = {"order 1", "Ann", "report"}
        while waiting_for:
            line = await app.state.get()
            print(line)
            waiting_for = {start for start in waiting_for if not line.startswith(start)}


if __name__ == "__main__":
    asyncio.run(main())
