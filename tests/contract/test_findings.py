"""Findings: what start logs and check() returns, and what it costs, on the strict double."""

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest

from mqtransport import ChannelError, Finding, MQApp
from mqtransport.errors import ClosedError
from mqtransport.testing.proxy import FaultProxy
from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import Number, consumer, sqs_app


async def ignore(body: Number) -> None:
    return None


def redrive(target: str, count: int = 20) -> dict[str, object]:
    arn = f"arn:aws:sqs:us-east-1:000000000000:{target}"
    return {"deadLetterTargetArn": arn, "maxReceiveCount": count}


def brief(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(one.severity, one.queue, one.code) for one in found]


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """Return level and text of the app's own lines; those of the start itself left out."""
    return [
        (record.levelno, record.getMessage())
        for record in caplog.records
        if record.name == "mqtransport.app" and record.getMessage().startswith("queue ")
    ]


def asked(double: SQSDouble) -> Counter[str]:
    return Counter(call.queue for call in double.log if call.action == "GetQueueAttributes")


async def consuming(app: MQApp, queue: str = "orders", **options: Any) -> None:
    channel = await app.create_consuming_channel(queue, **options)
    channel.add_consumer(consumer(ignore))


async def test_of_what_create_queues_makes_nothing_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with SQSDouble() as double, sqs_app(double.url, create_queues=True, lease_s=45) as app:
        await consuming(app, dead_letter="orders-dlq")
        await consuming(app, "orders-dlq", lease_s=30)
        await app.create_producing_channel("orders")
        await app.start()
        assert await app.check() == []
        assert logged(caplog) == []


async def test_of_the_memory_broker_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app = await MQApp.connect("memory://")
    await consuming(app, dead_letter="orders-dlq")
    await consuming(app, "plain")
    await app.create_producing_channel("orders")
    await app.start()
    assert await app.check() == []
    assert logged(caplog) == []
    await app.shutdown()


async def test_start_logs_each_finding_with_its_severity_and_asks_for_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders-dlq", MessageRetentionPeriod=1_209_600)
        double.create_queue("orders", RedrivePolicy=redrive("orders-dlq", 1))
        double.create_queue("plain", VisibilityTimeout=300)
        await consuming(app, dead_letter="orders-dlq")
        await consuming(app, "plain")
        double.reset_counts()
        caplog.set_level(logging.INFO)
        assert logged(caplog) == []
        await app.start()
        (error, warning, info) = logged(caplog)
        assert not set(double.requests) - {"ReceiveMessage"}
    assert error[0] == logging.ERROR
    assert error[1].startswith("queue 'orders': its maxReceiveCount is 1")
    assert warning[0] == logging.WARNING
    assert warning[1].startswith("queue 'plain': it has no dead letter queue")
    assert info[0] == logging.INFO
    assert info[1].startswith("queue 'plain': its own VisibilityTimeout is 300 s")


@pytest.mark.parametrize(("count", "warned"), [(14, True), (15, False)])
async def test_a_redrive_policy_that_pre_empts_the_retries_is_warned_about(
    count: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("dlq", MessageRetentionPeriod=1_209_600)
        double.create_queue("orders", RedrivePolicy=redrive("dlq", count))
        await consuming(app, dead_letter="dlq")
        await app.start()
        assert (f"its maxReceiveCount is {count}" in caplog.text) is warned


async def test_a_dead_letter_queue_given_after_the_channel_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders-dlq", MaximumMessageSize=262_144)
        double.create_queue("orders")
        await consuming(app)
        (channel,) = app.consuming_channels
        channel.use_dead_letter_queue(await app.create_producing_channel("orders-dlq"))
        await app.start()
        ((level, text),) = logged(caplog)
        assert level == logging.WARNING
        assert text.endswith("[dead_letter_size]")


async def test_check_looks_again() -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("orders-dlq", MessageRetentionPeriod=1_209_600)
        double.create_queue("orders", RedrivePolicy=redrive("orders-dlq"))
        await consuming(app, dead_letter="orders-dlq")
        double.reset_counts()
        assert await app.check() == []
        assert asked(double) == {"orders": 1, "orders-dlq": 1}
        double.lower_limit("orders-dlq", 262_144)
        found = await app.check()
        assert brief(found) == [("warning", "orders", "dead_letter_size")]
        await app.start()
        assert await app.check() == found
        await app.stop()
        assert await app.check() == found
    with pytest.raises(ClosedError):
        await app.check()


async def test_check_asks_about_each_queue_once() -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("dlq")
        double.create_queue("orders", RedrivePolicy=redrive("dlq"))
        double.create_queue("more", RedrivePolicy=redrive("dlq"))
        await consuming(app)
        await consuming(app, "more")
        await app.create_producing_channel("orders")
        double.reset_counts()
        found = await app.check()
        assert asked(double) == {"orders": 1, "more": 1, "dlq": 1}
        assert double.requests == {"GetQueueAttributes": 3, "GetQueueUrl": 1}
        assert brief(found) == [
            ("warning", "orders", "dead_letter_retention"),
            ("warning", "more", "dead_letter_retention"),
            ("info", "orders", "only_redrive"),
            ("info", "more", "only_redrive"),
        ]


async def test_a_redrive_target_is_found_beside_a_queue_given_by_url() -> None:
    async with SQSDouble() as double:
        double.create_queue("dlq")
        url = double.create_queue("orders", RedrivePolicy=redrive("dlq"))
        async with sqs_app(double.url, queues={"orders": url}) as app:
            await consuming(app)
            double.reset_counts()
            found = await app.check()
            assert ("warning", "orders", "dead_letter_retention") in brief(found)
            assert asked(double) == {"orders": 1, "dlq": 1}
            assert double.requests["GetQueueUrl"] == 0  # it may belong to another account
            assert "000000000000" not in "".join(map(str, found))


async def test_a_producing_app_asks_about_no_dead_letter_queue() -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("dlq")
        double.create_queue(
            "orders", RedrivePolicy=redrive("dlq"), DelaySeconds=5, MaximumMessageSize=262_144
        )
        await app.create_producing_channel("orders")
        double.reset_counts()
        assert brief(await app.check()) == [("info", "orders", "delay"), ("info", "orders", "size")]
        assert asked(double) == {"orders": 1}


async def test_where_it_is_denied_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("dlq")
        double.create_queue("orders", RedrivePolicy=redrive("dlq", 1), VisibilityTimeout=5)
        double.throttle("GetQueueAttributes", 1000, code="AccessDenied")
        await consuming(app)
        await app.create_producing_channel("dlq")
        await app.start()
        assert logged(caplog) == []
        assert await app.check() == []


async def test_a_redrive_target_that_may_not_be_looked_up_hides_nothing_else() -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("dlq")
        double.create_queue("orders", RedrivePolicy=redrive("dlq", 1))
        await consuming(app)
        double.throttle("GetQueueUrl", code="AccessDenied")
        assert brief(await app.check()) == [
            ("error", "orders", "max_receive_count"),
            ("info", "orders", "only_redrive"),
        ]


async def test_queues_that_were_deleted_since() -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        for name in ("orders-dlq", "more-dlq"):
            double.create_queue(name, MessageRetentionPeriod=1_209_600)
        double.create_queue("orders", RedrivePolicy=redrive("orders-dlq"))
        double.create_queue("more", RedrivePolicy=redrive("more-dlq"))
        await consuming(app)
        await consuming(app, "more")
        double.store.delete(double.store.get("orders"))
        double.store.delete(double.store.get("more-dlq"))
        missing, gone, _ = found = await app.check()
        assert brief(found) == [
            ("error", "orders", "missing"),
            ("warning", "more", "redrive_missing"),
            ("info", "more", "only_redrive"),
        ]
        assert "'orders'" in missing.text
        assert "'more-dlq'" in gone.text


async def test_check_raises_channel_error_in_time_if_the_broker_cannot_be_reached() -> None:
    async with (
        SQSDouble() as double,
        FaultProxy(double.url) as proxy,
        sqs_app(proxy.url) as app,
    ):
        double.create_queue("orders")
        double.create_queue("more")
        await consuming(app)
        await consuming(app, "more")
        proxy.add("*", mode="hang")
        async with asyncio.timeout(2 * app.broker.timeout_s + 1):
            with pytest.raises(ChannelError):
                await app.check()
        proxy.clear()
        proxy.refuse()
        with pytest.raises(ChannelError):
            await app.check()


async def test_an_app_without_channels_has_nothing_to_check() -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        assert await app.check() == []
        assert not double.requests
    with pytest.raises(ClosedError):
        await app.check()
