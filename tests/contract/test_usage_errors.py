"""Mistakes: a typed error at the call that made it, saying what to change."""

import random
import re
from collections import deque
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from mqtransport import (
    ChannelError,
    ConfigurationError,
    Consumer,
    ImportMessageError,
    MessageRefusedError,
    MQApp,
    MQTransportError,
    Producer,
    SQSApp,
    UsageError,
)
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.channel import ConsumingChannel, ProducingChannel, ReceiveOptions, SendOptions
from mqtransport.channel.base import QueueRef, Tools
from mqtransport.clock import SystemClock
from mqtransport.errors import ClosedError, NotStartedError
from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import Number, Numbers, consumer, sqs_app

TOOLS = Tools(MemoryBroker(), SystemClock(), random.Random(1))


async def ignore(body: Number) -> None:
    return None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("rabbit://localhost", "supported are memory://"),
        ("localhost:9324", "no scheme"),
        ("http://localhost:9324", "MQ_BROKER=sqs"),
        ("http://key:secret@localhost", "MQ_USERNAME and MQ_PASSWORD"),
        ("sqs://eu-west-1?endpoint=x", "endpoint_url"),
        ("sqs://eu-west-1/orders", "endpoint_url"),
    ],
)
async def test_a_wrong_url(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)) as caught:
        await MQApp.connect(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"url": 9324}, "must be a str"),
        ({"url": {"password": "secret"}}, "must be a str"),
        ({"settings": {"password": "secret"}}, "an MQSettings(...) object"),
    ],
)
async def test_a_url_or_settings_of_a_wrong_type(arguments: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)) as caught:
        await MQApp.connect(**arguments)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("region", ["Europe West", "eu_west_1", "eu-west-1.evil.example/"])
async def test_a_wrong_region(region: str) -> None:
    with pytest.raises(ConfigurationError, match="region"):
        await MQApp.connect(broker="sqs", region=region, username="a", password="b")


async def test_half_a_credential_pair() -> None:
    with pytest.raises(ConfigurationError, match="MQ_PASSWORD is missing"):
        await SQSApp.create(username="key", region="us-east-1")
    with pytest.raises(ConfigurationError, match="MQ_USERNAME is missing"):
        await SQSApp.create(password="secret", region="us-east-1")


async def test_a_queue_that_does_not_exist_names_queue_region_and_setting() -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        for create in (app.create_producing_channel, app.create_consuming_channel):
            with pytest.raises(ChannelError) as caught:
                await create("ordres")
            for word in ("ordres", "us-east-1", "MQ_QUEUE_", "MQ_CREATE_QUEUES"):
                assert word in str(caught.value)


async def test_create_queues_makes_it_with_a_redrive_policy() -> None:
    async with SQSDouble() as double, sqs_app(double.url, create_queues=True) as app:
        await app.create_consuming_channel("orders", dead_letter="orders-dlq")
        info = await app.broker.describe("orders")
        assert info.dead_letter_queue is not None
        assert info.dead_letter_queue.endswith("orders-dlq")
        assert info.max_receive_count == 3 * 5 + 5
        assert info.retention_s == 345_600
        assert (await app.broker.describe("orders-dlq")).retention_s == 1_209_600


async def test_fifo_queues_are_refused_by_a_broker_that_does_not_order() -> None:
    class Unordered(MemoryBroker):
        capabilities = replace(MemoryBroker.capabilities, ordered=False)

    broker = Unordered()
    await broker.connect()
    app = MQApp(broker)
    with pytest.raises(ConfigurationError, match=r"\.fifo"):
        await app.create_producing_channel("orders.fifo")
    await app.shutdown()


@pytest.mark.parametrize(
    ("queue", "dead_letter", "says"),
    [
        ("orders.fifo", "dlq", "an ordered (.fifo) queue, 'orders.fifo', cannot have a standard"),
        ("orders", "dlq.fifo", "a standard queue, 'orders', cannot have an ordered (.fifo) queue"),
    ],
)
async def test_a_dead_letter_queue_of_another_kind(queue: str, dead_letter: str, says: str) -> None:
    async with SQSDouble() as double, sqs_app(double.url, create_queues=True) as app:
        with pytest.raises(UsageError, match=re.escape(says)):
            await app.create_consuming_channel(queue, dead_letter=dead_letter)
        assert not double.requests
        consuming = ConsumingChannel(app, QueueRef(queue, queue, 1000), TOOLS, ReceiveOptions())
        producing = ProducingChannel(
            app, QueueRef(dead_letter, dead_letter, 1000), TOOLS, SendOptions()
        )
        with pytest.raises(UsageError, match=re.escape(says)):
            consuming.use_dead_letter_queue(producing)
        assert consuming.dead_letter_queue is None


async def test_names_used_twice() -> None:
    app = await MQApp.connect("memory://")
    channel = await app.create_consuming_channel("orders")
    out = await app.create_producing_channel("orders")
    with pytest.raises(UsageError, match="consuming channel already"):
        await app.create_consuming_channel("orders")
    with pytest.raises(UsageError, match="producing channel already"):
        await app.create_producing_channel("orders")
    channel.add_consumer(consumer(ignore))
    with pytest.raises(UsageError, match="'number' already"):
        channel.add_consumer(consumer(ignore))
    out.add_producer(Numbers())
    with pytest.raises(UsageError, match="'number' already"):
        out.add_producer(Numbers())
    await app.shutdown()


async def test_two_names_for_one_physical_queue() -> None:
    app = await MQApp.connect("memory://", queues={"a": "shared", "b": "shared"})
    await app.create_producing_channel("a")
    with pytest.raises(UsageError, match="already"):
        await app.create_producing_channel("b")
    await app.shutdown()


async def test_a_model_that_is_no_model() -> None:
    class Wrong(Producer[Any]):
        name = "wrong"
        Model = dict  # type: ignore[assignment]

    app = await MQApp.connect("memory://")
    channel = await app.create_producing_channel("orders")
    with pytest.raises(UsageError, match="subclass of pydantic\\.BaseModel"):
        channel.add_producer(Wrong())
    await app.shutdown()


class Handles(Consumer[Number]):
    name = "number"

    async def consume(self, body: Number) -> None: ...


async def test_a_participant_of_a_wrong_kind() -> None:
    app = await MQApp.connect("memory://")
    out: Any = await app.create_producing_channel("orders")
    channel: Any = await app.create_consuming_channel("orders")
    for add, given, says in (
        (out.add_producer, Numbers, "add_producer takes an object, not the class Numbers"),
        (channel.add_consumer, Handles, "add_consumer takes an object, not the class Handles"),
        (out.add_producer, Handles(), "add_producer takes a Producer, and Handles is none"),
        (channel.add_consumer, Numbers(), "add_consumer takes a Consumer, and Numbers is none"),
        (out.add_producer, Handles, "add_producer takes a Producer, not ABCMeta"),
        (channel.add_consumer, ignore, "add_consumer takes a Consumer, not function"),
    ):
        with pytest.raises(UsageError, match=says):
            add(given)
    assert (out.producers, channel.consumers) == ([], [])
    await app.shutdown()


@pytest.mark.parametrize("name", [None, 5, ["orders"]])
async def test_a_queue_name_that_is_no_text(name: Any) -> None:
    app = await MQApp.connect("memory://")
    for opening in (
        lambda: app.create_producing_channel(name),
        lambda: app.create_consuming_channel(name),
        lambda: app.create_consuming_channel("orders", dead_letter=name or 7),
    ):
        with pytest.raises(UsageError, match="must be the name of a queue, not"):
            await opening()
    assert app.channels == []
    await app.shutdown()


async def test_send_many_of_what_is_no_list() -> None:
    app = await MQApp.connect("memory://")
    out = await app.create_producing_channel("orders")
    out.add_producer(producer := Numbers())
    async with app:
        wrong: Any
        for wrong in (Number(n=1), (Number(n=n) for n in range(2)), {Number: 1}, None):
            with pytest.raises(UsageError, match="send_many takes a list of messages, not"):
                await producer.send_many(wrong)
        assert await producer.send_many([]) == []
        for sequence in (tuple, deque):
            assert len(await producer.send_many(sequence([Number(n=1), Number(n=2)]))) == 2


async def test_wrong_order_of_calls() -> None:
    app = await MQApp.connect("memory://")
    with pytest.raises(UsageError, match="no channels"):
        await app.start()
    out = await app.create_producing_channel("orders")
    out.add_producer(producer := Numbers())
    with pytest.raises(NotStartedError, match=r"app\.start\(\)"):
        await producer.produce(n=1)
    channel = await app.create_consuming_channel("orders")
    with pytest.raises(UsageError, match=r"add_consumer\(\)"):
        await app.start()
    channel.add_consumer(consumer(ignore))
    await app.start()
    with pytest.raises(UsageError, match="started already"):
        await app.start()
    await app.shutdown()
    for call in (app.start, app.ping, lambda: app.create_producing_channel("x")):
        with pytest.raises(ClosedError):
            await call()
    with pytest.raises(ClosedError):
        await producer.produce(n=1)
    app.state = 1
    assert app.export_unsent_messages() == {}
    await app.shutdown()


class Text(BaseModel):
    text: str


class Texts(Producer[Text]):
    name = "text"


@pytest.mark.parametrize("broker", ["memory", "sqs"])
async def test_messages_that_can_never_be_sent(broker: str) -> None:
    async with SQSDouble() as double:
        double.create_queue("orders")
        url, options = (double.url, {"broker": "sqs"}) if broker == "sqs" else ("memory://", {})
        app = await MQApp.connect(
            url, region="us-east-1", username="a", password="b", wait_s=1, **options
        )
        channel = await app.create_producing_channel("orders")
        channel.add_producer(producer := Texts())
        await app.start()
        double.reset_counts()
        seeded = random.Random(1)
        incompressible = "".join(chr(seeded.randrange(0x4E00, 0x9000)) for _ in range(900_000))
        for attempt, says in (
            (lambda: producer.produce(text=incompressible), "bytes"),
            (lambda: producer.produce(text="\ud800"), "text"),
            (lambda: producer.produce(txt="x"), "Field required"),
            (lambda: producer.send(Text(text="x"), delay_s=901), "0 to 900"),
            (lambda: producer.send(Text(text="x"), delay_s=-1), "0 to 900"),
            (lambda: producer.send(Text(text="x"), group="a b"), "group"),
            (lambda: producer.send(Number(n=1)), "takes Text, not Number"),  # type: ignore[arg-type]
            (lambda: channel.send_message("text", {"n": float("nan")}), "Field required"),
            (lambda: channel.send_message("other", {"n": float("nan")}), "no JSON form"),
            (lambda: channel.send_message("other", {"n": object()}), "no JSON form"),
        ):
            with pytest.raises(MessageRefusedError, match=re.escape(says)) as caught:
                await attempt()
            assert caught.value.outcome == "not_sent"
            assert incompressible[:40] not in str(caught.value)
        with pytest.raises(UsageError, match="no message name"):
            await channel.send_message("not a name", {})
        assert double.requests["SendMessageBatch"] == 0
        assert (await producer.produce(text="\x00\ufffe😀")).state == "confirmed"
        await app.shutdown()


async def test_imports_are_taken_whole_or_not_at_all() -> None:
    app = await MQApp.connect("memory://")
    channel = await app.create_producing_channel("orders")
    good = {"name": "number", "body": {"n": 1}}
    for bad in (
        {"orders": [good], "ordres": [good]},
        {"orders": [good, {"name": "number"}]},
        {"orders": [good, {"name": "no name", "body": {}}]},
        {"orders": [good, {"name": "number", "body": {"x": "y" * 3_000_000}, "delay_s": 1e9}]},
        {"orders": [good, "text"]},
    ):
        with pytest.raises(ImportMessageError):
            app.import_unsent_messages(bad)
        assert channel.unsent == 0
    app.import_unsent_messages({"orders": [good]})
    exported = app.export_unsent_messages()
    assert exported == app.export_unsent_messages()
    app.import_unsent_messages(exported)  # the same again: harmless
    assert channel.unsent == 1
    assert exported["orders"][0]["body"] == {"n": 1}
    await app.shutdown()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"name": "number", "body": {}, "id": "m7", "delay_s": 901}, "with the id 'm7'"),
        ({"name": "number", "body": {}, "id": "a b"}, "message_id"),
        ({"name": "number"}, '"name" and "body"'),
    ],
)
async def test_an_import_names_the_record_that_blocks_it(bad: object, says: str) -> None:
    app = await MQApp.connect("memory://")
    channel = await app.create_producing_channel("orders")
    good = {"name": "number", "body": {"n": 1}}
    with pytest.raises(ImportMessageError, match="queue 'orders', record 1 ") as caught:
        app.import_unsent_messages({"orders": [good, bad, good]})
    assert says in str(caught.value)
    assert channel.unsent == 0
    await app.shutdown()


def test_every_error_of_a_mistake_is_below_one_root() -> None:
    for error in (UsageError, ChannelError, ImportMessageError, ConfigurationError):
        assert issubclass(error, MQTransportError)
