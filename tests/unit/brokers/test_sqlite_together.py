"""Calls that share a transaction: each gets its own answer."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from mqtransport.brokers.sqlite import SQLiteBroker
from mqtransport.errors import (
    BrokerError,
    BrokerUnavailableError,
    RefusedError,
    StaleReceiptError,
)
from tests.durability.support import QUEUE, drain, message, opened, receive, send
from tests.unit.brokers.test_sqlite_waking import held_up


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 131, 600])
async def test_messages_of_many_callers_are_stored_in_the_order_of_the_calls(
    path: Path, count: int
) -> None:
    bodies = [f"{number} " + "x" * (5000 if number % 50 == 7 else 10) for number in range(count)]
    async with opened(path) as broker:
        go = await held_up(broker)
        sends = [asyncio.create_task(broker.send(QUEUE, [message(one, one)])) for one in bodies]
        await asyncio.sleep(0)
        go.set()
        answers = [one for (one,) in await asyncio.gather(*sends)]
        assert all(isinstance(one, str) for one in answers)
        assert len(set(answers)) == count
        assert await drain(broker) == bodies


async def test_each_send_of_a_commit_gets_its_own_answers(path: Path) -> None:
    async with opened(path) as broker:
        await broker.limit_queue("low", 10)
        go = await held_up(broker)
        sends = [
            asyncio.create_task(broker.send(queue, [message(body, body) for body in bodies]))
            for queue, bodies in (
                ("low", ["a", "b" * 11, "c"]),
                (QUEUE, ["d" * 11, "e" * 5000]),
                ("low", ["f" * 11]),
                (QUEUE, ["g", "\0", "h"]),
            )
        ]
        await asyncio.sleep(0)
        go.set()
        answers = await asyncio.gather(*sends)
        stored = [["" if isinstance(one, str) else "refused" for one in each] for each in answers]
        assert stored == [["", "refused", ""], ["", ""], ["refused"], ["", "refused", ""]]
        refused = [one for each in answers for one in each if isinstance(one, BrokerError)]
        assert all(isinstance(one, RefusedError) for one in refused)
        assert await drain(broker, "low") == ["a", "c"]
        assert await drain(broker) == ["d" * 11, "e" * 5000, "g", "h"]


async def test_each_ack_of_a_commit_gets_its_own_answers(path: Path) -> None:
    async with opened(path) as broker:
        await send(broker, "a", "b", "c" * 5000, "d")
        one, two, three, four = await receive(broker, most=4)
        await broker.release(QUEUE, [two.receipt], delay_s=0)
        (again,) = await receive(broker)
        go = await held_up(broker)
        acks = [
            asyncio.create_task(broker.ack(queue, receipts))
            for queue, receipts in (
                (QUEUE, [one.receipt, two.receipt, one.receipt]),
                ("other", [four.receipt]),
                (QUEUE, ["none", three.receipt]),
                (QUEUE, [again.receipt, two.receipt]),
                (QUEUE, [three.receipt]),
            )
        ]
        await asyncio.sleep(0)
        go.set()
        answers = await asyncio.gather(*acks)
        done = [[one is None for one in each] for each in answers]
        # A delivery that is over is stale while its message is there, and acked when it is gone.
        assert done == [[True, False, True], [False], [False, True], [True, True], [True]]
        stale = [one for each in answers for one in each if one is not None]
        assert all(isinstance(one, StaleReceiptError) for one in stale)
        info = await broker.describe(QUEUE)
        assert (info.depth, info.in_flight) == (0, 1)
        assert await broker.ack(QUEUE, [four.receipt]) == [None]


async def test_a_call_that_fails_leaves_those_of_its_commit_alone(path: Path) -> None:
    async with opened(path) as broker:
        go = await held_up(broker)
        first = asyncio.create_task(broker.send(QUEUE, [message("a")]))
        await asyncio.sleep(0)
        failing = broker._open_worker("test").submit(lambda db: db.execute("no SQL"))
        second = asyncio.create_task(broker.send(QUEUE, [message("b")]))
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, second)
        assert failing.exception() is not None
        assert await drain(broker) == ["a", "b"]


async def test_an_error_of_the_module_itself_ends_its_call_and_no_other(path: Path) -> None:
    """It has no name, as those of SQLite have."""
    async with opened(path) as broker:
        go = await held_up(broker)
        failing = broker._open_worker("test").submit(lambda db: db.execute("SELECT ?", [object()]))
        sending = asyncio.create_task(broker.send(QUEUE, [message("a")]))
        await asyncio.sleep(0)
        go.set()
        await sending
        assert isinstance(failing.exception(), sqlite3.Error)
        assert await drain(broker) == ["a"]


async def test_calls_end_in_time_while_the_file_is_busy(path: Path) -> None:
    async with SQLiteBroker(path, timeout_s=0.2) as broker:
        await send(broker, "a")
        go = await held_up(broker)
        loop = asyncio.get_running_loop()
        start = loop.time()
        calls = [broker.ping([QUEUE]), broker.send(QUEUE, [message("b")]), receive(broker)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert 0.15 < loop.time() - start < 1
        for one in answers:
            assert isinstance(one, BrokerUnavailableError)
            assert one.maybe_done
        go.set()
        # What nobody waited for any more when its turn came was not done.
        assert await drain(broker) == ["a"]


async def test_a_receive_that_is_late_in_its_turn_gives_back_what_it_takes(path: Path) -> None:
    async with SQLiteBroker(path, timeout_s=0.2) as broker:
        await send(broker, "a")
        go = await held_up(broker)
        late = asyncio.create_task(receive(broker))
        await asyncio.sleep(0)
        again = threading.Event()  # stands still within the transaction of the receive
        standing = broker._open_worker("test").submit(lambda db: again.wait(10))
        standing.add_done_callback(asyncio.Future.exception)  # it may be too late
        go.set()
        with pytest.raises(BrokerUnavailableError):
            await late
        again.set()
        (back,) = await receive(broker, wait_s=5)
        assert back.attempt == 1
