"""A server that accepts and never answers: attempts go on, acks pass, health tells the truth."""

import asyncio
import socket
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from fastapi_mq.health import HealthCheck
from mqtransport import Backoff, ChannelError, SendError
from mqtransport.message import Outgoing
from mqtransport.testing.proxy import FaultProxy
from mqtransport.testing.sqs_double import SQSDouble
from tests.faults.journal import Items, Journal
from tests.faults.support import Recorder, app_on, check_alive, check_ended, until

ACKS = 50
"""Acks measured."""

POLLS = 10
"""Channels whose long polls are open meanwhile."""


class Longest(Random):
    """Makes every pause with jitter as long as it may be."""

    def uniform(self, a: float, b: float) -> float:
        return b


@asynccontextmanager
async def mute_server() -> AsyncIterator[str]:
    """A server that accepts, reads, and never answers; gives its URL."""
    writers: list[asyncio.StreamWriter] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while await reader.read(65_536):
            pass

    server = await asyncio.start_server(swallow, "127.0.0.1", 0, family=socket.AF_INET)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(w.wait_closed() for w in writers), return_exceptions=True)


async def test_every_call_to_a_server_that_never_answers_ends_in_a_typed_error() -> None:
    async with mute_server() as url, app_on(url, timeout_s=0.5) as app:
        check = HealthCheck(app)
        async with asyncio.timeout(10):
            with pytest.raises(ChannelError):
                await app.ping()
            with pytest.raises(ChannelError):
                await app.create_producing_channel("items")
            with pytest.raises(ChannelError):
                await app.create_consuming_channel("items", dead_letter="items-dlq")
            assert check.live().status == "pass"
            assert (await check.report()).status == "fail"
            await check.aclose()
        assert app.channels == []


async def test_after_a_poll_that_hangs_the_next_attempt_comes_within_its_wait_and_six_seconds(
    journal: Journal,
) -> None:
    wait_s = 1.0
    async with (
        SQSDouble(seed=1) as double,
        FaultProxy(double.url) as proxy,
        # With the timeout and the backoff that everybody has.
        app_on(proxy.url, wait_s=wait_s, random=Longest(1)) as app,
    ):
        double.create_queue("items")
        out = await app.create_producing_channel("items")
        out.add_producer(producer := Items())
        channel = await app.create_consuming_channel("items")
        channel.add_consumer(Recorder(journal))
        check = HealthCheck(app)
        rule = proxy.add("ReceiveMessage", mode="hang", count=1)
        await app.start()
        assert await journal.send(producer, "1")
        # The process is well, and the broker answers everything else: the truth, all the way.
        seen: set[tuple[str, str, str]] = set()
        async with asyncio.timeout(30):
            while not journal.handled:
                report, ready = await check.report(), await check.ready()
                seen.add((check.live().status, ready.status, report.status))
                await asyncio.sleep(0.2)
        assert rule.hits == 1
        hung, following = [met for met in proxy.log if met.action == "ReceiveMessage"][:2]
        assert hung.treatment == "hang"
        # The timeout and the longest pause make the six; the rest is for a busy machine.
        assert following.at_s - hung.at_s <= wait_s + 6 + 2
        assert {live for live, _, _ in seen} == {"pass"}
        assert {ready for _, ready, _ in seen} <= {"pass", "warn"}
        assert ("pass", "warn", "warn") in seen, seen  # between the failed poll and the next
        await check.aclose()
        check_alive(app)
        await app.stop(timeout=3)
        check_ended(app)
        journal.look(double, "items")
        journal.check()


async def test_health_stays_true_while_nothing_is_answered_and_everything_recovers(
    journal: Journal,
) -> None:
    async with (
        SQSDouble(seed=1) as double,
        FaultProxy(double.url) as proxy,
        app_on(proxy.url, timeout_s=0.5, send_timeout_s=2.0, lease_s=2.0) as app,
    ):
        double.create_queue("items")
        out = await app.create_producing_channel("items")
        out.add_producer(producer := Items())
        channel = await app.create_consuming_channel(
            "items", backoff=Backoff(first_s=0.05, max_s=0.2)
        )
        channel.add_consumer(Recorder(journal))
        check, critical = HealthCheck(app), HealthCheck(app, broker_critical=True)
        await app.start()
        proxy.add("*", mode="hang")
        async with asyncio.timeout(60):
            await assert_becomes(check, ("pass", "warn", "fail"))
            assert (await critical.ready()).status == "fail"
            with pytest.raises(SendError) as raised:
                await out.send_message("item", {"key": "unsent"})
            assert raised.value.outcome == "unknown"
            polls = [met for met in proxy.log if met.action == "ReceiveMessage"]
            await until(  # it goes on trying, and is no less alive for it
                lambda: proxy.calls["ReceiveMessage"] >= len(polls) + 2,
                lambda: proxy.calls,
                within_s=30.0,
            )
            assert check.live().status == "pass"
            proxy.clear()
            assert await journal.send(producer, "1")
            await until(lambda: journal.handled["1"] == 1, lambda: journal, within_s=30.0)
            await assert_becomes(check, ("pass", "pass", "pass"))
        await check.aclose()
        await critical.aclose()
        check_alive(app)
        await app.stop(timeout=3)
        check_ended(app)
        journal.look(double, "items")
        journal.check()


async def assert_becomes(check: HealthCheck, wanted: tuple[str, str, str]) -> None:
    """Ask until live, ready and report say so; the caller's deadline bounds it."""
    found: tuple[str, str, str] | None = None
    while found != wanted:
        await asyncio.sleep(0.05)
        report, ready = await check.report(), await check.ready()
        found = (check.live().status, ready.status, report.status)
        assert found[0] == "pass", found


async def test_an_ack_never_waits_behind_open_polls(journal: Journal) -> None:
    async with (
        SQSDouble(seed=1) as double,
        # The ten polls take every connection that polls may have.
        app_on(double.url, wait_s=15.0, poll_connections=POLLS) as app,
    ):
        for queue in ("items", *(f"idle-{n}" for n in range(POLLS))):
            double.create_queue(queue)
        broker = app.broker
        for _ in range(ACKS // 10):
            await broker.send("items", [Outgoing(f"m{n}", "{}", {}) for n in range(10)])
        receipts: list[str] = []
        while len(receipts) < ACKS:
            found = await broker.receive("items", max_messages=10, wait_s=1, lease_s=60)
            receipts += [one.receipt for one in found]
        for n in range(POLLS):
            idle = await app.create_consuming_channel(f"idle-{n}")
            idle.add_consumer(Recorder(journal))
        double.reset_counts()
        await app.start()
        await until(
            lambda: double.requests["ReceiveMessage"] == POLLS,
            lambda: double.requests,
            within_s=10.0,
        )
        took_s: list[float] = []
        for receipt in receipts:
            began = time.perf_counter()
            assert await broker.ack("items", [receipt]) == [None]
            took_s.append(time.perf_counter() - began)
        assert double.requests["ReceiveMessage"] == POLLS, "a poll was not open throughout"
        assert sum(channel.polls for channel in app.consuming_channels) == 0
        # The bar of the library itself, and a median of fifty: some 3 ms on a quiet machine.
        assert statistics.median(took_s) < 0.1, sorted(took_s)
        assert double.counts("items") == (0, 0, 0)
        await app.stop(timeout=0)
        check_ended(app)
