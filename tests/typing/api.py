"""What type checkers make of the public API; run by tests/unit/test_typing.py, never executed.

Each ignore stands on a line that must be an error: both checkers report one that is not needed.
"""

# pyright: strict

from __future__ import annotations

from typing import Any, assert_type

from pydantic import BaseModel

from mqtransport import (
    Consumer,
    ConsumingChannel,
    Delivery,
    Finding,
    MQApp,
    Producer,
    ProducingChannel,
    SendError,
    Sent,
    SQSApp,
    StopReport,
)


class Order(BaseModel):
    """A body."""

    id: int


class Other(BaseModel):
    """Another body of the same shape."""

    id: int


# -- the class form -------------------------------------------------------------------------


class MC_Basic(Consumer):
    """The form that existing services use."""

    name: str = "messages.rand"

    class Model(BaseModel):
        """The body."""

        rnd: int

    async def consume(self, msg: Model, mq_app: MQApp) -> None:
        """Handle one message."""
        self._logger.info("Consumed message: rnd=%d", msg.rnd)
        self.logger.info("state %s", mq_app.state)


class MC_WithDelivery(Consumer):
    """Asks for the delivery too."""

    name = "messages.rand"

    class Model(BaseModel):
        """The body."""

        rnd: int

    async def consume(self, msg: Model, mq_app: MQApp, delivery: Delivery) -> None:
        """Handle one message."""
        assert_type(delivery.attempt, int)


class MC_Sync(Consumer):
    """Runs in a thread."""

    name = "messages.rand"

    class Model(BaseModel):
        """The body."""

        rnd: int

    def consume(self, msg: Model, *, delivery: Delivery) -> None:
        """Handle one message."""


class MC_Order(Consumer[Order]):
    """Names its model by type argument."""

    name = "orders.placed"

    async def consume(self, msg: Order) -> None:
        """Handle one message."""


class MP_Basic(Producer):
    """The form that existing services use."""

    name: str = "messages.rand"

    class Model(BaseModel):
        """The body."""

        rnd: int


class MP_Bare(Producer):
    """A bare producer."""


class MP_Order(Producer[Order]):
    """Names its model by type argument."""

    name = "orders.placed"


async def sends(order: Order, other: Other) -> None:
    producer = MP_Order()
    assert_type(await producer.send(order), Sent)
    assert_type(await producer.produce(id=7), Sent)
    assert_type(await producer.send_many([order]), list[Sent | SendError])
    await producer.send(other)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await producer.send_many([other])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await producer.send({"id": 7})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await producer.send(order, delay_s="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await producer.send(order, 3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def sends_by_the_bare_form(order: Order) -> None:
    producer = MP_Basic()
    assert_type(await producer.produce(rnd=7), Sent)
    assert_type(await producer.send(MP_Basic.Model(rnd=7)), Sent)
    assert_type(await producer.send(order), Sent)  # refused at run time


async def app_and_channels() -> None:
    sqs = await SQSApp.create("username", "password", "region", "url")
    assert_type(sqs, SQSApp)
    assert_type(await SQSApp.connect("sqs://eu-west-1"), SQSApp)
    app = await MQApp.connect("memory://", concurrency=1)
    assert_type(app, MQApp)
    consuming = await app.create_consuming_channel("orders")
    assert_type(consuming, ConsumingChannel)
    producing = await app.create_producing_channel("orders", confirm=False)
    assert_type(producing, ProducingChannel)
    consuming.add_consumer(MC_Basic())
    consuming.add_consumer(MC_Order())
    consuming.use_dead_letter_queue(producing)
    consuming.use_dead_letter_queue(consuming)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    producing.add_producer(MP_Basic())
    producing.add_producer(MP_Order())
    producing.add_producer(MC_Order())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await producing.send_message("n", {"rnd": 8}), Sent)
    assert_type(app.consuming_channels, list[ConsumingChannel])
    assert_type(app.producing_channels, list[ProducingChannel])
    assert_type(consuming.consumers, list[Consumer[Any]])
    assert_type(producing.producers, list[Producer[Any]])
    assert_type(producing.app, MQApp)
    assert_type(MP_Basic().channel, ProducingChannel)
    found = await app.check()
    assert_type(found, list[Finding])
    if found[0].severity == "fatal":  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison]
        return
    await app.start()
    assert_type(await app.stop(timeout=25), StopReport)
    assert_type(app.export_unsent_messages(), dict[str, list[dict[str, Any]]])
    app.import_unsent_messages(app.export_unsent_messages())
    assert_type(await app.shutdown(timeout=25), StopReport)
    async with app as entered:
        assert_type(entered, MQApp)


def results(sent: Sent, delivery: Delivery) -> None:
    assert_type(sent.id, str)
    assert_type(delivery.lease_lost, bool)
    if sent.state == "spooled":  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison]
        return
    sent.id = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


MC_Bad = Consumer[int]  # type: ignore[type-var]  # pyright: ignore[reportInvalidTypeArguments]
