"""The class form of the design, word for word, with a body for each ``...``.

Run as ``python class_form.py producer|consumer|both URL``. It ends by itself.
"""

import asyncio
import sys

from mqtransport import MQApp, SQSApp
from mqtransport.participants import Consumer, Producer          # also from mqtransport
from mqtransport.channel import ConsumingChannel, ProducingChannel
from mqtransport.errors import ChannelError, ConsumeMessageError, ImportMessageError, MQTransportError
from pydantic import BaseModel

username, password, region = "key", "secret", "us-east-1"
role, url = sys.argv[1], sys.argv[2]


class AppState:
    def __init__(self) -> None:
        self.seen: list[int] = []
        self.enough = asyncio.Event()


class MC_Basic(Consumer):
    name: str = "messages.rand"                  # the message name this consumer is registered for
    class Model(BaseModel):                      # the body
        rnd: int
    async def consume(self, msg: Model, mq_app: MQApp):
        self._logger.info("Consumed message: rnd=%d", msg.rnd)      # self.logger is the same logger
        assert self._logger is self.logger
        mq_app.state.seen.append(msg.rnd)
        if len(set(mq_app.state.seen)) == 2:
            mq_app.state.enough.set()


class MP_Basic(Producer):
    name: str = "messages.rand"
    class Model(BaseModel):
        rnd: int


async def produce(app: MQApp) -> None:
    och = app.producing_channel("orders")
    assert isinstance(och, ProducingChannel)
    (producer,) = och.producers
    await producer.produce(rnd=7)                                 # keyword fields, validated against Model
    await och.send_message("messages.rand", {"rnd": 8})           # by name, without a producer object


async def main() -> None:
    app = await SQSApp.create(username, password, region, url)   # also create() with ambient AWS credentials
    app.state = AppState()                                        # anything; consumers read mq_app.state
    await app.ping()                                              # ChannelError if the broker cannot be used
    if role in ("consumer", "both"):
        ich = await app.create_consuming_channel("orders")            # ChannelError: queue missing / not permitted
        assert isinstance(ich, ConsumingChannel)
        ich.add_consumer(MC_Basic())
        dlq = await app.create_producing_channel("orders-dlq")
        ich.use_dead_letter_queue(dlq)
    if role in ("producer", "both"):
        och = await app.create_producing_channel("orders")
        producer = MP_Basic(); och.add_producer(producer)
    await app.start()                                             # every channel sends / receives
    if role in ("producer", "both"):
        await produce(app)
    if role in ("consumer", "both"):
        async with asyncio.timeout(20):
            await app.state.enough.wait()
    await app.stop(timeout=25); await app.start()                 # stop can be followed by start
    running = asyncio.create_task(app.run_forever())              # start if needed, then wait for stop or failure
    await asyncio.sleep(0)
    await app.stop(timeout=25)
    await running
    unsent = app.export_unsent_messages(); app.import_unsent_messages(unsent)   # {queue: [{"name", "body", ...}]}
    await app.shutdown(timeout=25)                                # final; idempotent
    await app.shutdown(timeout=25)
    print(role, "saw", sorted(set(app.state.seen)), "unsent", app.export_unsent_messages())


asyncio.run(main())
