"""The benchmarks' SQS stub does what SQS does, as far as clients see it."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stub_control import QUEUE, Control, started
from benchmarks.stub_queue import Message, Queue, md5_of_attributes, md5_of_body
from mqtransport.testing.sqs_double import digests
from mqtransport.testing.sqs_double.contents import AttributeValue

names = st.text("abcdefghijXYZ_.-", min_size=1, max_size=20)
values = st.one_of(st.text(min_size=1), st.binary(min_size=1))


@given(st.dictionaries(names, values, max_size=10), st.text())
def test_digests_are_those_of_the_strict_double(given: dict[str, Any], body: str) -> None:
    attributes: dict[str, dict[str, str]] = {}
    expected: dict[str, AttributeValue] = {}
    for name, value in given.items():
        if isinstance(value, bytes):
            encoded = base64.b64encode(value).decode()
            attributes[name] = {"DataType": "Binary", "BinaryValue": encoded}
            expected[name] = AttributeValue("Binary", value)
        else:
            attributes[name] = {"DataType": "String", "StringValue": value}
            expected[name] = AttributeValue("String", value)
    assert md5_of_attributes(attributes) == digests.md5_of_attributes(expected)
    assert md5_of_body(body) == digests.md5_of_body(body)


def message(body: str = "x", at: float = 0) -> Message:
    return Message(body, None, None, at)


def test_a_lease_that_ran_out_is_delivered_again_and_its_receipt_is_old() -> None:
    queue = Queue("q")
    queue.put(message())
    (first,) = queue.take(10, 30, now=0)
    receipt = first.receipt
    assert queue.take(10, 30, now=29.9) == []
    (again,) = queue.take(10, 30, now=30)
    assert again.received == 2
    assert not queue.change(receipt, 60, now=30)
    queue.delete(again.receipt)
    assert queue.empty
    assert queue.take(10, 30, now=100) == []


def test_a_lease_can_be_changed_and_given_back() -> None:
    queue = Queue("q")
    queue.put(message())
    (taken,) = queue.take(1, 30, now=0)
    assert queue.change(taken.receipt, 60, now=0)
    assert queue.take(1, 30, now=45) == []
    assert queue.change(taken.receipt, 0, now=45)
    assert queue.depth == 1


def test_a_delayed_message_is_not_lost_from_sight() -> None:
    queue = Queue("q")
    queue.put(message(), delay_s=5)
    assert not queue.empty
    assert queue.take(1, 30, now=4.9) == []
    (taken,) = queue.take(1, 30, now=5)
    queue.delete(taken.receipt)
    assert queue.empty


def test_a_paused_queue_hides_what_it_has() -> None:
    queue = Queue("q")
    queue.put(message())
    queue.paused = True
    assert queue.take(1, 30, now=0) == []
    queue.paused = False
    assert len(queue.take(1, 30, now=0)) == 1


@pytest.fixture
async def sqs(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Any, Control]]:
    with started() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        async with get_session().create_client("sqs") as client:
            control = Control(variables["BENCH_URL"])
            control.create()
            yield client, control


async def begun(control: Control) -> None:
    """Wait until the stub has the poll."""
    async with asyncio.timeout(10):
        # It is another process that tells.
        while "ReceiveMessage" not in control.stats()["requests"]:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.mark.process
async def test_a_client_sends_receives_and_deletes(sqs: tuple[Any, Control]) -> None:
    client, control = sqs
    url = (await client.get_queue_url(QueueName=QUEUE))["QueueUrl"]
    poll = asyncio.create_task(
        client.receive_message(
            QueueUrl=url, WaitTimeSeconds=20, MessageAttributeNames=["All"], AttributeNames=["All"]
        )
    )
    await begun(control)
    attributes = {"Name": {"DataType": "String", "StringValue": "order"}}
    sent = await client.send_message(QueueUrl=url, MessageBody="{}", MessageAttributes=attributes)
    (received,) = (await asyncio.wait_for(poll, 10))["Messages"]  # the long poll woke up
    assert received["MessageId"] == sent["MessageId"]
    assert received["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert received["MessageAttributes"] == attributes
    assert received["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert received["Attributes"]["ApproximateReceiveCount"] == "1"
    entries = [{"Id": "0", "ReceiptHandle": received["ReceiptHandle"]}]
    await client.delete_message_batch(QueueUrl=url, Entries=entries)
    stats = control.wait()
    kinds = ("CreateQueue", "GetQueueUrl", "ReceiveMessage", "SendMessage", "DeleteMessageBatch")
    counted = dict.fromkeys(kinds, 1)
    assert stats == {"requests": counted, "waits_s": [], "depth": 0, "in_flight": 0}
    with pytest.raises(ClientError, match="there is no queue missing"):
        await client.get_queue_url(QueueName="missing")


@pytest.mark.process
async def test_a_poll_whose_client_is_gone_takes_no_message(sqs: tuple[Any, Control]) -> None:
    client, control = sqs
    url = (await client.get_queue_url(QueueName=QUEUE))["QueueUrl"]
    poll = asyncio.create_task(client.receive_message(QueueUrl=url, WaitTimeSeconds=20))
    await begun(control)
    poll.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poll
    await client.send_message(QueueUrl=url, MessageBody="{}")
    told = await client.receive_message(QueueUrl=url, WaitTimeSeconds=5)
    assert len(told["Messages"]) == 1


@pytest.mark.process
async def test_polls_that_are_open_are_told_with_how_long_they_wait(
    sqs: tuple[Any, Control],
) -> None:
    client, control = sqs
    url = (await client.get_queue_url(QueueName=QUEUE))["QueueUrl"]
    poll = asyncio.create_task(client.receive_message(QueueUrl=url, WaitTimeSeconds=20))
    await begun(control)
    assert control.stats()["waits_s"] == [20]
    await client.send_message(QueueUrl=url, MessageBody="{}")
    await asyncio.wait_for(poll, 10)
    assert control.stats()["waits_s"] == []
