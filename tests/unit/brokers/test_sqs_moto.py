"""The SQS driver against moto, an implementation that is not our own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mqtransport.broker import QueueOptions
from mqtransport.brokers.sqs import SQSBroker
from mqtransport.errors import QueueNotFoundError, RefusedError, StaleReceiptError
from mqtransport.message import Attribute, Outgoing
from tests.emulators import moto_server

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with moto_server() as started:
        yield started


async def test_a_message_makes_its_round_trip(url: str):
    attributes = {
        "Name": Attribute("String", "orders.placed"),
        "Count": Attribute("Number", "3"),
        "Packed": Attribute("Binary", b"\x00\xff"),
    }
    async with SQSBroker(endpoint_url=url, access_key="k", secret_key="s") as broker:
        await broker.ping([])
        await broker.ping(["missing"])
        options = QueueOptions(lease_s=40, dead_letter_queue="moto-dlq", max_receive_count=9)
        await broker.declare("moto", options)
        await broker.declare("moto", QueueOptions(lease_s=41))
        info = await broker.describe("moto")
        assert (info.lease_s, info.dead_letter_queue, info.max_receive_count) == (40, "moto-dlq", 9)

        sent, refused = await broker.send(
            "moto", [Outgoing("a", '{"x": "\U0001f600"}', attributes), Outgoing("b", "", {})]
        )
        assert isinstance(refused, RefusedError)
        (first,) = await broker.receive("moto", max_messages=10, wait_s=1, lease_s=30)
        assert (first.broker_id, first.body, first.attempt) == (sent, '{"x": "\U0001f600"}', 1)
        assert first.attributes == attributes

        extended, stale = await broker.extend("moto", [first.receipt, "garbage"], lease_s=60)
        assert extended is None
        assert isinstance(stale, StaleReceiptError)
        assert await broker.release("moto", [first.receipt], delay_s=0) == [None]
        (second,) = await broker.receive("moto", max_messages=10, wait_s=1, lease_s=30)
        assert second.attempt == 2
        assert await broker.ack("moto", [second.receipt, second.receipt]) == [None, None]
        assert await broker.receive("moto", max_messages=10, wait_s=0, lease_s=30) == []
        with pytest.raises(QueueNotFoundError, match="'missing'"):
            await broker.send("missing", [Outgoing("a", "{}", {})])
