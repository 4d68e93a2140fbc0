"""Rows about queues, receives, receipts and dead letters."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from botocore.exceptions import ClientError

from .agreed import outcome, refused, row, take

MISSING = "http://sqs/000000000000/no-such-queue"


@row(expected=["NonExistentQueue"] * 5)
async def a_missing_queue(sqs: Any, url: str) -> Any:
    return [
        await refused(sqs.get_queue_url(QueueName="no-such-queue")),
        await refused(sqs.send_message(QueueUrl=MISSING, MessageBody="x")),
        await refused(sqs.receive_message(QueueUrl=MISSING)),
        await refused(sqs.get_queue_attributes(QueueUrl=MISSING, AttributeNames=["All"])),
        await refused(sqs.delete_message(QueueUrl=MISSING, ReceiptHandle="x")),
    ]


@row(expected=400)
async def the_status_of_a_missing_queue(sqs: Any, url: str) -> Any:
    try:
        await sqs.get_queue_url(QueueName="no-such-queue")
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


@row("moto", "ministack", expected=["ReceiptHandleIsInvalid"] * 2)
async def a_receipt_that_is_none(sqs: Any, url: str) -> Any:
    return [
        await refused(sqs.delete_message(QueueUrl=url, ReceiptHandle="garbage")),
        await refused(
            sqs.change_message_visibility(
                QueueUrl=url, ReceiptHandle="garbage", VisibilityTimeout=1
            )
        ),
    ]


@row("fauxqs", expected=["done", "x"])
async def an_old_receipt_deletes_nothing_and_says_done(sqs: Any, url: str) -> Any:
    await sqs.send_message(QueueUrl=url, MessageBody="x")
    old = await take(sqs, url, VisibilityTimeout=1)
    new = await take(sqs, url, 5)
    found = await refused(sqs.delete_message(QueueUrl=url, ReceiptHandle=old["ReceiptHandle"]))
    await sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=new["ReceiptHandle"], VisibilityTimeout=0
    )
    return [found, (await take(sqs, url))["Body"]]


@row("moto", "fauxqs", expected=["done", "done"])
async def deleting_twice(sqs: Any, url: str) -> Any:
    await sqs.send_message(QueueUrl=url, MessageBody="x")
    receipt = (await take(sqs, url))["ReceiptHandle"]
    return [
        await refused(sqs.delete_message(QueueUrl=url, ReceiptHandle=receipt)) for _ in range(2)
    ]


@row(expected=["x", None])
async def a_timeout_of_zero_gives_back_at_once(sqs: Any, url: str) -> Any:
    await sqs.send_message(QueueUrl=url, MessageBody="x")
    receipt = (await take(sqs, url))["ReceiptHandle"]
    await sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
    again = await take(sqs, url, 0)
    return [again["Body"], await take(sqs, url, 0)]


@row("moto", "fauxqs", expected=["InvalidParameterValue", "done"])
async def a_timeout_above_twelve_hours(sqs: Any, url: str) -> Any:
    await sqs.send_message(QueueUrl=url, MessageBody="x")
    receipt = (await take(sqs, url))["ReceiptHandle"]
    change = {"QueueUrl": url, "ReceiptHandle": receipt}
    return [
        await refused(sqs.change_message_visibility(VisibilityTimeout=43_201, **change)),
        await refused(sqs.change_message_visibility(VisibilityTimeout=43_000, **change)),
    ]


@row(expected=[("1", True), ("2", True), "same first receive"])
async def the_receive_count_and_the_first_receive(sqs: Any, url: str) -> Any:
    await sqs.send_message(QueueUrl=url, MessageBody="x")
    found, first = [], set()
    for _ in range(2):
        got = await take(sqs, url, VisibilityTimeout=0, AttributeNames=["All"])
        told = got["Attributes"]
        first.add(told["ApproximateFirstReceiveTimestamp"])
        since_sent = int(told["ApproximateFirstReceiveTimestamp"]) - int(told["SentTimestamp"])
        found.append((told["ApproximateReceiveCount"], 0 <= since_sent < 60_000))
    return [*found, "same first receive" if len(first) == 1 else first]


@row(expected=[[], True])
async def an_empty_receive_waits_and_has_no_list(sqs: Any, url: str) -> Any:
    before = time.monotonic()
    answer = await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)
    waited = time.monotonic() - before >= 0.95
    return [sorted(set(answer) - {"ResponseMetadata"}), waited]


@row(expected="x")
async def a_send_wakes_a_poll_that_waits(sqs: Any, url: str) -> Any:
    # Far below the poll's own wait: a poll that is not woken fails the row.
    async with asyncio.timeout(10):
        polling = asyncio.create_task(take(sqs, url, 20))
        await sqs.send_message(QueueUrl=url, MessageBody="x")
        return (await polling)["Body"]


@row("moto", "fauxqs", expected="InvalidParameterValue")
async def a_wait_above_twenty_seconds(sqs: Any, url: str) -> Any:
    return await refused(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=21))


@row(expected=["InvalidParameterValue"] * 2)
async def fewer_than_one_message_or_more_than_ten(sqs: Any, url: str) -> Any:
    return [
        await refused(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=number))
        for number in (0, 11)
    ]


async def other_queue(sqs: Any, url: str) -> tuple[str, str]:
    """Make a second queue; return its URL and its ARN."""
    name = f"{url.rpartition('/')[2]}-other"
    made = (await sqs.create_queue(QueueName=name))["QueueUrl"]
    told = await sqs.get_queue_attributes(QueueUrl=made, AttributeNames=["QueueArn"])
    return made, told["Attributes"]["QueueArn"]


async def redrive(sqs: Any, url: str, arn: str) -> None:
    """Let the queue dead-letter after one receive into that with this ARN."""
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
    await sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})


@row(expected=[None, "x", True, {"K": "v"}])
async def the_broker_dead_letters_a_message_as_it_was(sqs: Any, url: str) -> Any:
    dead_url, arn = await other_queue(sqs, url)
    await redrive(sqs, url, arn)
    attributes = {"K": {"DataType": "String", "StringValue": "v"}}
    sent = await sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=attributes)
    await take(sqs, url, VisibilityTimeout=0)
    again = await take(sqs, url)
    dead = await take(sqs, dead_url, 5, MessageAttributeNames=["All"])
    kept = {name: value["StringValue"] for name, value in dead["MessageAttributes"].items()}
    return [again, dead["Body"], dead["MessageId"] == sent["MessageId"], kept]


@row("moto", "ministack", expected=True)
async def a_dead_letter_queue_that_is_missing(sqs: Any, url: str) -> Any:
    _, arn = await other_queue(sqs, url)
    return await refused(redrive(sqs, url, f"{arn}-not")) != "done"


@row("moto", "ministack", expected=(["0"], [("1", True)]))
async def an_entry_with_a_receipt_that_is_none(sqs: Any, url: str) -> Any:
    await sqs.send_message(QueueUrl=url, MessageBody="x")
    receipts = [(await take(sqs, url))["ReceiptHandle"], "garbage"]
    batch = [{"Id": str(n), "ReceiptHandle": receipt} for n, receipt in enumerate(receipts)]
    return await outcome(sqs.delete_message_batch(QueueUrl=url, Entries=batch))


@row("moto", expected=["done", "PurgeQueueInProgress"])
async def a_second_purge_within_a_minute(sqs: Any, url: str) -> Any:
    return [await refused(sqs.purge_queue(QueueUrl=url)) for _ in range(2)]
