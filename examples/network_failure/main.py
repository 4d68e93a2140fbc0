"""The broker goes away and comes back, and nothing is lost.

Messages are sent through a proxy that can cut the network like a cable. A channel opened with
``confirm=False`` takes messages into its buffer meanwhile, and sends them when the broker is back.
"""

import asyncio
from contextlib import AsyncExitStack

from pydantic import BaseModel

from mqtransport import ChannelError, Consumer, MQApp, MQSettings, Producer
from mqtransport.testing.proxy import FaultProxy
from mqtransport.testing.sqs_double import SQSDouble

QUEUE = "network-failure"


class Number(BaseModel):
    n: int


class MP_Number(Producer[Number]):
    name = "number"


class MC_Number(Consumer[Number]):
    name = "number"

    async def consume(self, msg: Number, mq_app: MQApp) -> None:
        await mq_app.state.put(msg.n)


async def connect(stack: AsyncExitStack) -> tuple[FaultProxy, MQApp]:
    """Put a proxy before the SQS endpoint of the settings, or before a local double of SQS."""
    settings = MQSettings()
    endpoint = settings.url
    if endpoint is None or not endpoint.startswith("http"):  # an embedded broker has no network
        endpoint = (await stack.enter_async_context(SQSDouble())).url
        settings = MQSettings(
            broker="sqs", region="us-east-1", username="x", password="y", create_queues=True
        )
    proxy = await stack.enter_async_context(FaultProxy(endpoint))
    return proxy, await MQApp.connect(proxy.url, settings=settings)


async def consumed(app: MQApp, numbers: range) -> None:
    """Wait until all these numbers were consumed."""
    waiting_for = set(numbers)
    while waiting_for:
        waiting_for.discard(await app.state.get())
    print(f"consumed {numbers[0]} to {numbers[-1]}")


async def main() -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        proxy, app = await connect(stack)
        app.state = asyncio.Queue()
        outgoing = await app.create_producing_channel(QUEUE, confirm=False)
        outgoing.add_producer(producer := MP_Number())
        # A poll that the failure cuts may still take a message on the broker's side, and hide it
        # for a lease. Short ones, so that this example does not take long.
        incoming = await app.create_consuming_channel(QUEUE, wait_s=1, lease_s=5)
        incoming.add_consumer(MC_Number())
        await stack.enter_async_context(app)

        for n in range(5):
            await producer.send(Number(n=n))
        await consumed(app, range(5))

        proxy.refuse()
        try:
            await app.broker.ping([outgoing.queue.physical])
        except ChannelError as error:
            print("the broker is gone:", error)
        for n in range(5, 10):
            await producer.send(Number(n=n))  # returns at once: the message is in the buffer
        print(f"{outgoing.unsent} messages wait in the buffer")

        proxy.accept()
        print("the broker is back")
        await consumed(app, range(5, 10))


if __name__ == "__main__":
    asyncio.run(main())
