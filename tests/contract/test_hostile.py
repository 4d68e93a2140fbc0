"""Hostile messages, handlers and drivers: what a reviewer broke once does not break again."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_mq.health import HealthCheck
from mqtransport import MessageRefusedError, MQApp, Producer, Retry, SendError, UsageError
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError, ClosedError
from mqtransport.message import Attribute, Outgoing, RawDelivery
from mqtransport.testing import VirtualClock, run_virtual
from tests.contract.support import Number, consumer, eventually

PLAIN = {"Name": Attribute("String", "number"), "Compression": Attribute("String", "off")}


class Items(BaseModel):
    items: list[int] = []


async def ignore(body: BaseModel) -> None:
    return None


async def test_a_body_with_a_hundred_thousand_faults_is_counted_not_listed() -> None:
    app = await MQApp.connect("memory://")
    channel = await app.create_consuming_channel("orders", dead_letter="dlq")
    channel.add_consumer(consumer(ignore, model=Items))
    body = json.dumps({"items": ["x"] * 100_000})
    await app.broker.send("orders", [Outgoing("id", body, PLAIN)])
    await app.start()
    await eventually(lambda: channel.counts.dead_lettered == 1, "dead-lettered")
    await app.stop()
    (dead,) = await app.broker.receive("dlq", max_messages=1, wait_s=0, lease_s=30)
    reason = json.loads(str(dead.attributes["MQ"].value))["dl"]
    assert (reason["error"], reason["text"]) == ("InvalidMessageError", "100000 errors")
    await app.shutdown()


@pytest.mark.parametrize("identity", ["x\nCRITICAL forged", "x" * 500, "\ud800", "a b", ""])
async def test_a_foreign_message_id_never_reaches_a_log(
    identity: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(body: BaseModel) -> None:
        raise ValueError("no")

    app = await MQApp.connect("memory://")
    channel = await app.create_consuming_channel("orders", retry=Retry(max_attempts=1))
    channel.add_consumer(consumer(fail))
    facts = {"MQ": Attribute("String", json.dumps({"id": identity}))}
    await app.broker.send("orders", [Outgoing("id", '{"n": 1}', PLAIN | facts)])
    await app.start()
    await eventually(lambda: channel.counts.released >= 1, "tried once")
    await app.shutdown()
    assert "forged" not in caplog.text
    assert "\ud800" not in caplog.text
    assert "x" * 200 not in caplog.text


class Panic(BaseException):
    """What a Rust extension raises when it panics: no Exception."""


def test_a_panic_in_a_handler_is_a_failure_like_any_other() -> None:
    runs: list[int] = []

    async def panic(body: Number) -> None:
        runs.append(body.n)
        if len(runs) == 1:
            raise Panic

    async def main() -> None:
        clock = VirtualClock()
        broker = MemoryBroker(clock=clock)
        await broker.connect()
        app = MQApp(broker, clock=clock)
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(panic))
        await broker.send("orders", [Outgoing("id", '{"n": 1}', PLAIN)])
        await app.start()
        await asyncio.sleep(10)
        assert (len(runs), channel.counts.acked, app.failure) == (2, 1, None)
        await app.shutdown()

    run_virtual(main)


class Misbehaves(MemoryBroker):
    """A driver that breaks the contract in one way at a time."""

    answer: Any = None
    sends = 0
    cancels_receive = False

    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        self.sends += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is not None:
            answers: list[Any] = [self.answer[0] for _ in batch]
            return answers
        return await super().send(queue, batch)

    async def receive(self, *args: Any, **kwargs: Any) -> list[RawDelivery]:
        if self.cancels_receive:
            raise asyncio.CancelledError
        return await super().receive(*args, **kwargs)


def in_virtual_time(script: Any) -> None:
    async def main() -> None:
        clock = VirtualClock()
        broker = Misbehaves(clock=clock)
        await broker.connect()
        app = MQApp(broker, clock=clock)
        try:
            await script(app, broker)
        finally:
            await app.shutdown(timeout=1)

    run_virtual(main)


@pytest.mark.parametrize("answer", [None, "", 5, ValueError()])
def test_nothing_but_a_message_id_is_a_confirm(answer: object) -> None:
    async def script(app: MQApp, broker: Misbehaves) -> None:
        channel = await app.create_producing_channel("orders")
        await app.start()
        broker.answer = [answer]
        with pytest.raises(SendError) as caught:
            await channel.send_message("number", {"n": 1})
        assert caught.value.outcome == "unknown"
        broker.answer = None

    in_virtual_time(script)


def test_a_cancellation_from_inside_the_driver_is_no_hot_loop() -> None:
    async def script(app: MQApp, broker: Misbehaves) -> None:
        channel = await app.create_producing_channel("orders")
        await app.start()
        broker.answer = asyncio.CancelledError()
        with pytest.raises(SendError):
            await channel.send_message("number", {"n": 1})
        assert 1 <= broker.sends < 100
        broker.answer = None

    in_virtual_time(script)


def test_polling_that_ends_by_itself_is_a_dead_channel() -> None:
    async def script(app: MQApp, broker: Misbehaves) -> None:
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(ignore))
        broker.cancels_receive = True
        await app.start()
        await asyncio.sleep(1)
        assert app.failure is not None
        assert HealthCheck(app).live().status == "fail"

    in_virtual_time(script)


async def test_a_crowd_of_callers_is_served_within_a_small_buffer() -> None:
    app = await MQApp.connect("memory://")
    channel = await app.create_producing_channel("orders", max_buffered=20)
    await app.start()
    sends = (channel.send_message("number", {"n": n}) for n in range(3000))
    assert len(await asyncio.gather(*sends)) == 3000
    assert channel.sent == 3000
    await app.shutdown()


async def test_an_integer_that_no_reader_can_read_is_refused() -> None:
    class Big(Producer[Number]):
        name = "number"

    app = await MQApp.connect("memory://")
    channel = await app.create_producing_channel("orders", confirm=False)
    channel.add_producer(producer := Big())
    with pytest.raises(MessageRefusedError):
        await producer.send(Number(n=10**5000))
    assert app.export_unsent_messages() == {}
    await app.shutdown()


async def test_calls_that_race_a_shutdown_or_are_wrong_change_nothing() -> None:
    app = await MQApp.connect("memory://")
    await app.create_producing_channel("orders")
    await app.start()
    for timeout in ("25", -1, float("nan"), True):
        with pytest.raises(UsageError, match="timeout"):
            await app.stop(timeout)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"before start\(\)"):
        await app.create_consuming_channel("late")
    late = await app.create_producing_channel("late")  # sends at once
    assert (await late.send_message("number", {"n": 1})).state == "confirmed"
    closing = asyncio.create_task(app.shutdown())
    await asyncio.sleep(0)
    with pytest.raises(ClosedError):
        await app.start()
    await closing
    assert not app.running
