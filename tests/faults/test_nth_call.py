"""Fail the n-th call: every call of the driver, in every way the proxy knows, once.

Each cell is a small application of its own with a proxy of its own: it buffers a few messages for
one queue, and sends twenty to another in rounds, more of them than calls are let pass. In each
round one handler fails once, so that a lease is released; in the first one a handler runs longer
than its lease, so that this is renewed; in the last one a message is dead-lettered.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import product, starmap
from random import Random
from typing import TypeVar

import pytest

from mqtransport import Backoff, ChannelError, Delivery, MQApp, Retry
from mqtransport.channel import ConsumingChannel
from mqtransport.errors import ConsumeMessageError
from mqtransport.testing.proxy import MODES, FaultProxy, Mode
from mqtransport.testing.sqs_double import SQSDouble
from tests.faults.journal import Item, Items, Journal
from tests.faults.support import Recorder, app_on, check_alive, check_ended, until

CALLS = (
    "SendMessageBatch",
    "ReceiveMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibilityBatch",
    "GetQueueUrl",
    "GetQueueAttributes",
)
AT_A_TIME = 32
MESSAGES = 20
BUFFERED = 3
CELL_S = 90.0
"""A cell that hangs fails by this; undisturbed it takes 5 s, and on a busy machine it may wait."""

T = TypeVar("T")


@pytest.fixture
async def double() -> AsyncIterator[SQSDouble]:
    async with SQSDouble() as double:
        yield double


@pytest.mark.timeout(900)
async def test_one_failed_call_loses_nothing_and_hangs_nothing(
    full: bool, double: SQSDouble, caplog: pytest.LogCaptureFixture
) -> None:
    # Else the report of a failure would drown in the warnings of a hundred cells.
    caplog.set_level(logging.CRITICAL, "mqtransport")
    turn = asyncio.Semaphore(AT_A_TIME)
    failures: list[str] = []

    async def run(call: str, mode: Mode, n: int) -> None:
        cell = f"{call}-{mode}-{n}"
        journal = Journal()
        async with turn:
            try:
                async with asyncio.timeout(CELL_S):
                    await play(cell, journal, double, call, mode, n)
            except Exception as error:  # every cell is judged, whatever the others did
                journal.look(double, cell, f"{cell}-dlq")
                failures.append(f"{cell}: {type(error).__name__}: {error} ({journal})")

    cells = list(product(CALLS, MODES, (1, 2, 3) if full else (1,)))
    if not full:
        # The first carries buffered messages, the second those whose senders wait; the first
        # releases, the second renews; the first poll shows the fast path its way, the second
        # takes it.
        again = ["SendMessageBatch", "ChangeMessageVisibilityBatch", "ReceiveMessage"]
        cells += product(again, MODES, [2])
    await asyncio.gather(*starmap(run, cells))
    assert not failures, "\n".join([f"{len(failures)} cells failed", *failures])


async def play(
    cell: str, journal: Journal, double: SQSDouble, call: str, mode: Mode, n: int
) -> None:
    queue, dead_letters, spare = (f"{cell}{suffix}" for suffix in ("", "-dlq", "-spare"))
    for name in (queue, dead_letters, spare):
        double.create_queue(name)
    async with FaultProxy(double.url) as proxy:
        # Beyond the time of the call, and clearly so: a poll has 1 s more, and what it brings as
        # that ends has been leased for as long, so it may come twice.
        seconds = 3.0 if call == "ReceiveMessage" else 2.0
        rule = proxy.add(call, mode=mode, count=1, after=n - 1, seconds=seconds)
        async with app_on(
            proxy.url, timeout_s=1.0, lease_s=2.0, send_timeout_s=20.0, random=Random(cell)
        ) as app:
            buffered = await patiently(lambda: app.create_producing_channel(spare, confirm=False))
            out = await patiently(lambda: app.create_producing_channel(queue))
            out.add_producer(producer := Items())
            channel = await patiently(
                lambda: app.create_consuming_channel(
                    queue,
                    dead_letter=dead_letters,
                    retry=Retry(max_attempts=5, backoff=Backoff(first_s=0.05, max_s=0.1)),
                    backoff=Backoff(first_s=0.05, max_s=0.2),
                )
            )
            channel.add_consumer(Recorder(journal, Handler()))
            await app.start()
            for one in range(BUFFERED):
                await buffered.send_message("item", {"key": f"buffered-{one}"})
            for keys in rounds(n + 1):
                await play_round(keys, journal, double, channel, producer)
            check_alive(app)
        check_ended(app)
        check_buffered(double, app, spare)
    journal.look(double, queue, dead_letters)
    journal.check()
    assert rule.hits == 1, f"the fault struck {rule.hits} times"
    # After one fault everything flows again: nothing is left over, and only what had to be
    # given up is in the dead letter queue.
    assert not journal.waiting, journal
    # Nothing runs twice but what was sent twice, or whose lease was lost.
    sent = [one.entries for one in double.log if one[:2] == ("SendMessageBatch", queue)]
    causes = sum(sent) - len(journal.confirmed) + channel.counts.lease_lost
    assert journal.duplicated <= causes, (journal, causes)
    if not mode.name.startswith("access_denied"):
        # Nobody is told of what passes within the time that a send has.
        assert not journal.raised, dict(journal.raised)
        assert journal.confirmed == set(journal.attempts), journal
    assert set(journal.dead_lettered) == {"refused"} & journal.confirmed, journal


def check_buffered(double: SQSDouble, app: MQApp, queue: str) -> None:
    """What was buffered is in the queue, or is exported; a denied queue is asked for again late."""
    exported = app.export_unsent_messages().get(queue, [])
    there = {json.loads(message.body)["key"] for message in double.messages(queue)}
    there |= {record["body"]["key"] for record in exported}
    assert there == {f"buffered-{n}" for n in range(BUFFERED)}, there


def rounds(number: int) -> list[list[str]]:
    """Return the keys to send in each round; the key says what the handler does."""
    keys = [[f"{n}-plain" for n in range(part, MESSAGES, number)] for part in range(number)]
    for part in keys:
        part[0] = part[0].replace("plain", "fails")
    keys[0][1], keys[-1][2] = "slow", "refused"
    return keys


async def play_round(
    keys: list[str],
    journal: Journal,
    double: SQSDouble,
    channel: ConsumingChannel,
    producer: Items,
) -> None:
    await asyncio.gather(
        # What was surely not sent stays unsent, so that it can be told from what was.
        *(journal.send(producer, key, retried=("unknown",)) for key in keys)
    )

    def settled() -> bool:
        return channel.counts.in_hand == 0 and double.counts(channel.name) == (0, 0, 0)

    await until(settled, lambda: (keys, channel.counts), CELL_S)


class Handler:
    """Fails once, is slow, or refuses, as the key says."""

    def __init__(self) -> None:
        self.failed: set[str] = set()

    async def __call__(self, item: Item, delivery: Delivery) -> None:
        if item.key.endswith("fails") and item.key not in self.failed:
            self.failed.add(item.key)
            raise ValueError("the first run fails")
        if item.key == "slow":
            await asyncio.sleep(2.2)
        if item.key == "refused":
            raise ConsumeMessageError("never")


async def patiently(open_channel: Callable[[], Awaitable[T]]) -> T:
    """Open a channel as a service would that is started again after each failure."""
    while True:  # the cell's deadline ends it
        try:
            return await open_channel()
        except ChannelError:
            await asyncio.sleep(0.05)
