"""The broker goes away, hangs or lies: typed errors in time, nothing lost, recovery by itself."""

import asyncio
from collections.abc import Sequence

import pytest

from fastapi_mq.health import HealthCheck
from mqtransport import ChannelError, MQApp, SendError
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError, RefusedError
from mqtransport.message import Outgoing
from mqtransport.testing import VirtualClock, run_virtual
from mqtransport.testing.proxy import FaultProxy
from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import PATIENCE_S, Number, Numbers, consumer, eventually, sqs_app


async def test_ping_raises_channel_error_within_its_deadline_when_nobody_answers() -> None:
    async with (
        SQSDouble() as double,
        FaultProxy(double.url) as proxy,
        sqs_app(proxy.url) as app,
    ):
        await app.ping()
        proxy.add("*", mode="hang")
        async with asyncio.timeout(app.broker.timeout_s + 1):
            with pytest.raises(ChannelError):
                await app.ping()
        proxy.clear()
        await app.ping()


async def test_ping_raises_channel_error_at_once_when_the_connection_is_refused() -> None:
    async with (
        SQSDouble() as double,
        FaultProxy(double.url) as proxy,
        sqs_app(proxy.url) as app,
    ):
        proxy.refuse()
        async with asyncio.timeout(app.broker.timeout_s + 1):
            with pytest.raises(ChannelError):
                await app.ping()


@pytest.mark.parametrize(
    ("mode", "outcome", "copies"),
    [
        ("hang", "unknown", 0),
        ("hang_after", "unknown", 1),
        ("reset_after", "unknown", 1),
        ("garbage", "unknown", 0),
        ("garbage_empty", "unknown", 0),
        ("http_503", "unknown", 0),
    ],
)
async def test_a_confirmed_send_raises_in_time_and_never_takes_a_fault_for_a_confirm(
    mode: str, outcome: str, copies: int
) -> None:
    async with (
        SQSDouble() as double,
        FaultProxy(double.url) as proxy,
        sqs_app(proxy.url, send_timeout_s=1.5) as app,
    ):
        double.create_queue("orders")
        channel = await app.create_producing_channel("orders")
        channel.add_producer(producer := Numbers())
        await app.start()
        proxy.add("SendMessageBatch", mode=mode)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(SendError, match="not confirmed within") as caught:
                await producer.produce(n=1)
        assert caught.value.outcome == outcome
        assert len(caught.value.message_id) == 32
        # A fault that strikes behind the broker leaves the message there: hence "unknown".
        assert double.counts("orders")[0] >= copies

        proxy.clear()
        again = await producer.send(Number(n=1), message_id=caught.value.message_id)
        assert (again.id, again.state) == (caught.value.message_id, "confirmed")
        ids = {message.attributes["MQ"][:40] for message in double.messages("orders")}
        assert len(ids) == 1  # however many copies: all carry the same message id


async def test_a_refused_connection_is_known_as_not_sent() -> None:
    async with (
        SQSDouble() as double,
        FaultProxy(double.url) as proxy,
        sqs_app(proxy.url, send_timeout_s=0.5) as app,
    ):
        double.create_queue("orders")
        channel = await app.create_producing_channel("orders")
        channel.add_producer(producer := Numbers())
        await app.start()
        proxy.refuse()
        outcomes = []
        for n in range(5):
            with pytest.raises(SendError) as caught:
                await producer.produce(n=n)
            outcomes.append(caught.value.outcome)
        # The first may have gone out on a connection kept alive, and of one whose time ends in
        # the very moment of a connect nothing is known yet.
        assert "not_sent" in outcomes[1:]


async def test_buffered_messages_arrive_after_the_broker_returns() -> None:
    handled: set[int] = set()

    async def handle(body: Number) -> None:
        handled.add(body.n)

    async with (
        SQSDouble() as double,
        FaultProxy(double.url) as proxy,
        sqs_app(proxy.url) as app,
    ):
        double.create_queue("orders")
        out = await app.create_producing_channel("orders", confirm=False)
        out.add_producer(producer := Numbers())
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(handle))
        await app.start()
        proxy.refuse()
        sent = [await producer.produce(n=n) for n in range(200)]
        assert {one.state for one in sent} == {"buffered"}
        assert out.unsent == 200
        proxy.accept()
        await eventually(lambda: handled == set(range(200)), "all handled")
        assert out.unsent == 0


def test_a_refused_message_that_was_imported_and_sent_is_not_exported_again() -> None:
    class Refusing(MemoryBroker):
        refuses = True

        async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
            if self.refuses:
                return [RefusedError("scripted: refused", queue=queue) for _ in batch]
            return await super().send(queue, batch)

    async def scenario() -> None:
        broker = Refusing(clock=(clock := VirtualClock()))
        await broker.connect()
        app = MQApp(broker, clock=clock)
        out = await app.create_producing_channel("orders", confirm=False)
        await app.start()
        for n in range(2):
            await out.send_message("number", {"n": n})
        await asyncio.sleep(1)
        exported = app.export_unsent_messages()
        assert (len(exported["orders"]), out.unsent) == (2, 2)
        exported["orders"].pop()  # the second one stays refused
        app.import_unsent_messages(exported)
        assert out.unsent == 2
        broker.refuses = False
        await asyncio.sleep(1)
        left = app.export_unsent_messages()["orders"]
        assert ([one["body"] for one in left], out.unsent, out.sent) == ([{"n": 1}], 1, 1)
        await app.shutdown()

    run_virtual(scenario)


async def test_health_tells_the_truth_through_an_outage_and_recovers_by_itself() -> None:
    async with (
        SQSDouble() as double,
        FaultProxy(double.url) as proxy,
        sqs_app(proxy.url) as app,
    ):
        double.create_queue("orders")
        await app.create_producing_channel("orders")
        await app.start()
        check = HealthCheck(app)
        assert (await check.report()).status == "pass"
        proxy.add("*", mode="hang")
        errors: list[str | None] = []

        async def ask() -> tuple[str, str, str]:
            report, ready = await check.report(), await check.ready()
            errors.append(report.error)
            return report.status, ready.status, check.live().status

        async def until(wanted: tuple[str, str, str]) -> None:
            async with asyncio.timeout(2 * PATIENCE_S):
                while await ask() != wanted:  # noqa: ASYNC110 - only asking shows it
                    await asyncio.sleep(0.05)

        await until(("fail", "warn", "pass"))
        # The first bad answer did not wait for the ping, which hangs on until it is unreachable.
        assert next(error for error in errors if error) == "timeout"
        proxy.clear()
        await until(("pass", "pass", "pass"))
        await check.aclose()


async def test_200_concurrent_probes_cause_one_broker_call() -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders")
        await app.create_producing_channel("orders")
        await app.start()
        double.reset_counts()
        check = HealthCheck(app)
        answers = await asyncio.gather(*(check.report() for _ in range(200)))
        assert {answer.status for answer in answers} == {"pass"}
        assert sum(double.requests.values()) == 1, double.requests
