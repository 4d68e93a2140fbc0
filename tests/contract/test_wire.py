"""The older wire, in both directions, through the strict double."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from mqtransport.broker import QueueInfo
from mqtransport.message import Attribute, Outgoing
from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import Number, check_balanced, consumer, eventually, sqs_app

VECTORS = json.loads(
    (Path(__file__).parents[1] / "data" / "wire_vectors.json").read_text(encoding="utf-8")
)["vectors"]


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


def as_sent(vector: dict[str, Any]) -> Outgoing:
    attributes = {
        name: Attribute(value["DataType"], value["StringValue"])
        for name, value in vector["message"]["MessageAttributes"].items()
    }
    return Outgoing("unused", vector["message"]["MessageBody"], attributes)


def old_reader(attributes: Any, body: str) -> tuple[str, Any]:
    """What a service on the older wire makes of a message."""
    if attributes["Compression"] == "on":
        body = gzip.decompress(base64.b85decode(body)).decode()
    return attributes["Name"], json.loads(body)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
async def test_a_message_of_an_old_service_is_consumed(vector: dict[str, Any]) -> None:
    seen: list[dict[str, Any]] = []

    async def handle(body: Anything) -> None:
        seen.append(body.model_dump())

    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("old")
        channel = await app.create_consuming_channel("old")
        channel.add_consumer(consumer(handle, name=vector["name"], model=Anything))
        await app.broker.send("old", [as_sent(vector)])
        await app.start()
        await eventually(lambda: double.counts("old") == (0, 0, 0), "acked")

    assert seen == [vector["body"]]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
async def test_what_we_write_is_what_an_old_service_accepts(vector: dict[str, Any]) -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("old")
        double.lower_limit("old", vector["max_size_bytes"])
        channel = await app.create_producing_channel("old")
        assert channel.queue.max_message_bytes == vector["max_size_bytes"]
        await app.start()
        await channel.send_message(vector["name"], vector["body"])

        (message,) = double.messages("old")
        for name, theirs in vector["message"]["MessageAttributes"].items():
            assert message.attributes[name] == theirs["StringValue"]
            assert message.data_types[name] == theirs["DataType"]
        assert old_reader(message.attributes, message.body) == (vector["name"], vector["body"])


async def test_an_access_check_is_acked_and_ignored_and_none_is_ever_sent() -> None:
    handled: list[Any] = []

    async def handle(body: Number) -> None:
        handled.append(body)

    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders")
        out = await app.create_producing_channel("orders")
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(handle))
        probe = {"Name": Attribute("String", "_access_check")}
        probe["Compression"] = Attribute("String", "off")
        await app.broker.send("orders", [Outgoing("unused", "{}", probe)])
        double.reset_counts()
        await app.start()
        await eventually(lambda: double.counts("orders") == (0, 0, 0), "acked")
        await app.stop()
        counts = channel.counts

        assert handled == []
        assert (counts.acked, counts.received) == (1, 1)
        assert double.requests["SendMessageBatch"] + double.requests["SendMessage"] == 0
        assert out.sent == 0
        check_balanced(counts)


async def test_starting_leaves_an_empty_queue_empty_and_a_full_one_untouched() -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders")
        channel = await app.create_producing_channel("orders")
        await app.start()
        await app.ping()
        assert double.counts("orders") == (0, 0, 0)
        await channel.send_message("number", {"n": 1})
        await app.stop()
        await app.start()
        (message,) = double.messages("orders")
        assert message.receive_count == 0
        assert isinstance(await app.broker.describe("orders"), QueueInfo)
        assert set(double.requests) <= {"GetQueueUrl", "GetQueueAttributes", "SendMessageBatch"}
