"""Failures end in the dead letter queue: with a reason, byte for byte, and only then acked."""

import asyncio
import base64
import gc
import gzip
import json
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from fastapi_mq.health import HealthCheck
from mqtransport import Backoff, ConsumeMessageError, MQApp, Retry
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError, BrokerUnavailableError
from mqtransport.limits import size_bytes
from mqtransport.message import Attribute, Outgoing
from mqtransport.testing import VirtualClock, run_virtual
from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import (
    QUICK_RETRY,
    Number,
    Numbers,
    check_balanced,
    consumer,
    eventually,
    sqs_app,
)


async def fail(body: Number) -> None:
    raise ValueError(f"cannot handle {body.n}")


def reason(message: Any) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(message.attributes["MQ"])["dl"]
    return record


async def dead_letter(original: Outgoing, *, limit_bytes: int | None = None) -> tuple[Any, Any]:
    """Send a message to a handler that always fails; return it as it died, and the counts."""
    async with SQSDouble() as double, sqs_app(double.url, lease_s=5) as app:
        double.create_queue("orders")
        double.create_queue("orders-dlq")
        if limit_bytes is not None:
            double.lower_limit("orders", limit_bytes)
            double.lower_limit("orders-dlq", limit_bytes)
        channel = await app.create_consuming_channel(
            "orders", dead_letter="orders-dlq", retry=QUICK_RETRY
        )
        channel.add_consumer(consumer(fail))
        (sent,) = await app.broker.send("orders", [original])
        assert isinstance(sent, str), sent
        await app.start()
        await eventually(lambda: double.counts("orders") == (0, 0, 0), "gone from the queue")
        await app.stop()
        (message,) = double.messages("orders-dlq")
        return message, channel.counts


def number(attributes: dict[str, Attribute] | None = None, body: str = '{"n": 13}') -> Outgoing:
    found = {"Name": Attribute("String", "number"), "Compression": Attribute("String", "off")}
    return Outgoing("id", body, found | (attributes or {}))


async def test_a_handler_that_raises_is_retried_then_dead_lettered_with_its_reason() -> None:
    message, counts = await dead_letter(number(body='{ "n" :  13 }'))

    assert message.body == '{ "n" :  13 }'
    why = reason(message)
    assert why["error"] == "ValueError"
    assert why["attempts"] == 2
    assert why["queue"] == "orders"
    assert why["text"] == "cannot handle 13"
    assert why["consumer"] == "Handles"
    assert why["first"] <= why["last"]
    assert (counts.released, counts.dead_lettered) == (1, 1)
    check_balanced(counts)


async def test_at_the_size_limit_with_ten_attributes_the_original_survives_whole() -> None:
    extra = {f"x{index}": Attribute("Number", str(index)) for index in range(7)}
    extra["raw"] = Attribute("Binary", bytes(range(256)))
    empty = number(extra)
    pad = 2000 - size_bytes(empty.body, empty.attributes)
    original = number(extra, body='{"n": 13}' + " " * pad)
    assert len(original.attributes) == 10
    assert size_bytes(original.body, original.attributes) == 2000

    message, counts = await dead_letter(original, limit_bytes=2000)

    assert message.body == original.body
    died = {
        name: Attribute(message.data_types[name], value)
        for name, value in message.attributes.items()
    }
    assert died == original.attributes
    assert counts.dead_lettered == 1


async def test_at_the_size_limit_with_ten_attributes_of_ours_the_reason_is_shortened() -> None:
    extra = {f"x{index}": Attribute("String", "x") for index in range(7)}
    extra["MQ"] = Attribute("String", json.dumps({"id": "mine", "h": {"k": "v"}}))
    empty = number(extra)
    # Room for a reason without its text, not for the text.
    pad = 2000 - size_bytes(empty.body, empty.attributes) - 130
    original = number(extra, body='{"n": 13}' + " " * pad)

    message, _ = await dead_letter(original, limit_bytes=2000)

    assert message.body == original.body
    why = reason(message)
    assert (why["error"], why["attempts"], why["queue"]) == ("ValueError", 2, "orders")
    facts = json.loads(message.attributes["MQ"])
    assert (facts["id"], facts["h"]) == ("mine", {"k": "v"})


async def test_an_explicit_rejection_is_dead_lettered_at_once() -> None:
    async def reject(body: Number) -> None:
        raise ConsumeMessageError("no such customer")

    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders")
        double.create_queue("dlq")
        out = await app.create_producing_channel("orders")
        out.add_producer(producer := Numbers())
        channel = await app.create_consuming_channel("orders", dead_letter="dlq")
        channel.add_consumer(consumer(reject))
        await app.start()
        await producer.produce(n=1)
        await eventually(lambda: double.counts("dlq")[0] == 1, "dead-lettered")
        why = reason(double.messages("dlq")[0])
        assert (why["error"], why["attempts"]) == ("ConsumeMessageError", 1)
        assert why["text"] == "no such customer"


BAD = {
    "truncated JSON": ('{"n": 1', {}, "MalformedMessageError"),
    "wrong top type": ("[1, 2]", {}, "MalformedMessageError"),
    "5,000 nested brackets": ('{"n": ' + "[" * 5000, {}, "MalformedMessageError"),
    "5,000 balanced brackets": (
        '{"n": ' + "[" * 5000 + "]" * 5000 + "}",
        {},
        "MalformedMessageError",
    ),
    "invalid": ('{"n": "many"}', {}, "InvalidMessageError"),
    "unknown name": ("{}", {"Name": Attribute("String", "who.am.i")}, "UnknownMessageError"),
    "forged name": ("{}", {"Name": Attribute("String", "a\nERROR b")}, "MalformedMessageError"),
    "no gzip": ("hello", {"Compression": Attribute("String", "on")}, "MalformedMessageError"),
    "odd compression": ("{}", {"Compression": Attribute("String", "x")}, "MalformedMessageError"),
    "no attributes": ("{}", None, "MalformedMessageError"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_bad_input_is_dead_lettered_and_its_batch_mates_are_handled(kind: str) -> None:
    body, attributes, error = BAD[kind]
    bad = number(attributes, body) if attributes is not None else Outgoing("id", body, {})
    await check_bad_message(bad, error)


async def test_a_gzip_bomb_is_dead_lettered_and_never_blocks_the_loop() -> None:
    bomb = base64.b85encode(gzip.compress(bytes(200 * 1024 * 1024), mtime=0)).decode()
    attributes = {"Compression": Attribute("String", "on")}
    await check_bad_message(number(attributes, bomb), "MalformedMessageError")


async def check_bad_message(bad: Outgoing, error: str) -> None:
    """One bad message among nine good ones, in one batch."""
    handled: list[int] = []

    async def handle(body: Number) -> None:
        handled.append(body.n)

    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders")
        double.create_queue("dlq")
        channel = await app.create_consuming_channel("orders", dead_letter="dlq")
        channel.add_consumer(consumer(handle))
        good = [number(body=json.dumps({"n": n})) for n in range(9)]
        results = await app.broker.send("orders", [*good[:4], bad, *good[4:]])
        assert all(isinstance(one, str) for one in results), results
        worst = [0.0]
        gc.collect()
        gc.disable()  # a full collection of the whole test run's objects is not the message's
        try:
            watch = asyncio.create_task(watch_loop(worst))
            await app.start()
            await eventually(lambda: double.counts("orders") == (0, 0, 0), "all settled")
            watch.cancel()
        finally:
            gc.enable()
        await app.stop()

        assert sorted(handled) == list(range(9))
        assert worst[0] < 0.05
        (dead,) = double.messages("dlq")
        assert dead.body == bad.body
        assert reason(dead)["error"] == error
        assert double.requests["ReceiveMessage"] <= 2  # one cycle, and the poll after it
        assert (channel.counts.acked, channel.counts.dead_lettered) == (9, 1)
        check_balanced(channel.counts)


async def watch_loop(worst: list[float]) -> None:
    """Note the most CPU time that one turn of the loop took on its thread.

    CPU time, not wall time: other work on the machine does not count.
    """
    while True:
        before = time.thread_time()
        await asyncio.sleep(0)
        worst[0] = max(worst[0], time.thread_time() - before)


class DeadLettersDown(MemoryBroker):
    """A broker whose dead letter queue does not take messages, for a while."""

    outage = True
    still_there: ClassVar[list[int]] = []

    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        if queue == "dlq":
            self.still_there.append((await self.describe("orders")).in_flight or 0)
            if self.outage:
                raise BrokerUnavailableError("no answer", queue=queue, maybe_done=True)
        return await super().send(queue, batch)


@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("refuses", [False, True])
def test_a_message_is_acked_only_after_its_copy_is_confirmed(refuses: bool, confirm: bool) -> None:
    """While the dead letter queue is down, or refuses, the message stays and comes again.

    A copy is confirmed whatever the mode of its channel: a buffer would die with the process.
    """

    async def main() -> None:
        clock = VirtualClock()
        broker = DeadLettersDown(clock=clock)
        broker.still_there.clear()
        await broker.connect()
        app = MQApp(broker, clock=clock)
        channel = await app.create_consuming_channel(
            "orders", retry=Retry(max_attempts=1, backoff=Backoff(5, 5))
        )
        # Not dead_letter=: that gives the queue a redrive policy of its own as well.
        channel.use_dead_letter_queue(await app.create_producing_channel("dlq", confirm=confirm))
        channel.add_consumer(consumer(fail))
        out = await app.create_producing_channel("orders")
        if refuses:
            broker.outage = False
            broker.limit_queue("dlq", 10)
        await app.start()
        await out.send_message("number", {"n": 1})
        await asyncio.sleep(60)
        counts = channel.counts
        assert counts.acked == counts.dead_lettered == 0
        assert counts.released >= 1
        assert channel.dead_letter_failures >= 1
        assert (await HealthCheck(app).report()).status in ("warn", "fail")
        info = await broker.describe("orders")
        assert (info.depth or 0) + (info.in_flight or 0) + (info.delayed or 0) == 1

        broker.outage = False
        broker.limit_queue("dlq", 1_048_576)
        await asyncio.sleep(60)
        assert channel.counts.dead_lettered == 1
        # Whenever a copy was sent, its original was still at the broker.
        assert set(broker.still_there) == {1}
        assert (await broker.describe("dlq")).depth == 1
        await app.shutdown(timeout=5)
        check_balanced(channel.counts)

    run_virtual(main)
