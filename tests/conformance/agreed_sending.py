"""Rows about what a message may be, batches and delays."""

from __future__ import annotations

from typing import Any

from .agreed import entries, outcome, refused, row, take


@row(
    expected=[
        "TooManyEntriesInBatchRequest",
        "EmptyBatchRequest",
        "BatchEntryIdsNotDistinct",
        "InvalidBatchEntryId",
        "BatchRequestTooLong",
    ],
)
async def batches_that_are_refused_whole(sqs: Any, url: str) -> Any:
    half = "x" * 600_000
    batches = [
        entries(*["x"] * 11),
        [],
        [*entries("x"), *entries("y")],
        [{"Id": "a b", "MessageBody": "x"}],
        entries(half, half),
    ]
    return [await outcome(sqs.send_message_batch(QueueUrl=url, Entries=batch)) for batch in batches]


@row("ministack", "fauxqs", expected=(["0", "2"], [("1", True)]))
async def an_entry_with_an_illegal_character(sqs: Any, url: str) -> Any:
    batch = entries("x", "\x0b", "y")
    return await outcome(sqs.send_message_batch(QueueUrl=url, Entries=batch))


@row(
    "ministack",
    "fauxqs",
    expected=(["0", "2"], [("1", True)]),
    attributes={"MaximumMessageSize": "1024"},
)
async def an_entry_above_the_queues_limit(sqs: Any, url: str) -> Any:
    batch = entries("x", "x" * 1_025, "x" * 1_024)
    return await outcome(sqs.send_message_batch(QueueUrl=url, Entries=batch))


@row("moto", expected=(["0"], [("late", True)]))
async def an_entry_with_a_bad_delay(sqs: Any, url: str) -> Any:
    late = {"Id": "late", "MessageBody": "x", "DelaySeconds": 901}
    return await outcome(sqs.send_message_batch(QueueUrl=url, Entries=[*entries("x"), late]))


@row(
    "ministack",
    "fauxqs",
    expected=["done", "InvalidParameterValue", "InvalidParameterValue"],
    attributes={"MaximumMessageSize": "1024"},
)
async def the_size_in_bytes_by_the_queues_limit(sqs: Any, url: str) -> Any:
    return [
        await refused(sqs.send_message(QueueUrl=url, MessageBody=body))
        for body in ("é" * 512, "é" * 512 + "x", "x" * 1_025)
    ]


@row(
    "fauxqs", expected=["done", "InvalidParameterValue"], attributes={"MaximumMessageSize": "1024"}
)
async def attributes_count_towards_the_size(sqs: Any, url: str) -> Any:
    attributes = {"Name": {"DataType": "String", "StringValue": "é"}}
    return [
        await refused(
            sqs.send_message(QueueUrl=url, MessageBody="x" * size, MessageAttributes=attributes)
        )
        for size in (1_012, 1_013)
    ]


@row("ministack", "fauxqs", expected=["MissingParameter", *["InvalidMessageContents"] * 3])
async def bodies_that_no_message_may_have(sqs: Any, url: str) -> Any:
    return [
        await refused(sqs.send_message(QueueUrl=url, MessageBody=body))
        for body in ("", "a\x00b", "\ufffe", "\x0b")
    ]


@row(expected=[None, "x"])
async def a_delayed_message_comes_later(sqs: Any, url: str) -> Any:
    await sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=1)
    return [await take(sqs, url, 0), (await take(sqs, url, 5))["Body"]]


@row(expected=[None, "x"], attributes={"DelaySeconds": "1"})
async def a_queues_delay_holds_for_its_messages(sqs: Any, url: str) -> Any:
    await sqs.send_message(QueueUrl=url, MessageBody="x")
    return [await take(sqs, url, 0), (await take(sqs, url, 5))["Body"]]


@row("moto", expected="InvalidParameterValue")
async def a_delay_above_fifteen_minutes(sqs: Any, url: str) -> Any:
    return await refused(sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=901))
