import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from mqtransport.broker import QueueOptions
from mqtransport.brokers.sqlite import SQLiteBroker
from mqtransport.brokers.sqlite.verbs import Put
from mqtransport.errors import BrokerError
from tests.durability.support import QUEUE, message, opened, receive, send


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


async def held_up(broker: SQLiteBroker) -> threading.Event:
    """Let the thread of the file stand still until the event is set."""
    go, stands = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stand(db: object) -> None:
        loop.call_soon_threadsafe(stands.set)
        go.wait(10)

    worker = broker._open_worker("test")
    worker.submit(stand).add_done_callback(asyncio.Future.exception)  # it may be too late
    await stands.wait()
    return go


@pytest.mark.parametrize("queue", [QUEUE, "orders.fifo"])
async def test_a_message_stored_in_the_commit_of_an_empty_receive_wakes_it(
    path: Path, queue: str
) -> None:
    async with opened(path) as broker:
        go = await held_up(broker)
        waiting = asyncio.create_task(receive(broker, queue, wait_s=20))
        await asyncio.sleep(0)  # it has asked, and found nothing
        sending = asyncio.create_task(broker.send(queue, [message("a", group="g")]))
        await asyncio.sleep(0)
        go.set()
        await sending
        async with asyncio.timeout(5):
            assert [one.body for one in await waiting] == ["a"]


async def test_a_message_stored_for_a_caller_who_is_gone_wakes_a_receive(path: Path) -> None:
    async with opened(path) as broker:
        waiting = asyncio.create_task(receive(broker, wait_s=20))
        await asyncio.sleep(0.1)
        go, begun = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        put = broker._verbs.put

        def put_slowly(db: sqlite3.Connection, calls: list[Put]) -> list[list[str | BrokerError]]:
            loop.call_soon_threadsafe(begun.set)
            go.wait(10)
            return put(db, calls)

        broker._verbs.put = put_slowly
        sending = asyncio.create_task(broker.send(QUEUE, [message("a")]))
        await begun.wait()
        sending.cancel()
        await asyncio.wait({sending})
        go.set()
        async with asyncio.timeout(5):
            assert [one.body for one in await waiting] == ["a"]


async def test_a_foreign_message_between_a_look_and_its_wait_wakes_the_receive(
    path: Path,
) -> None:
    """The other's write comes after the claim, and is noticed before the receiver waits."""
    async with opened(path) as broker, opened(path) as other:
        await send(other, "a")
        (held,) = await receive(other)  # so that there is a queue, and nothing in it
        noticed = asyncio.Event()
        claim, wake_all = broker._claim, broker._wake_all
        claims = 0

        async def claim_slowly(*arguments: object) -> object:
            nonlocal claims
            found = await claim(*arguments)
            claims += 1
            if claims == 1:
                await other.release(QUEUE, [held.receipt], delay_s=0)
                noticed.clear()
                await noticed.wait()
            return found

        def notice() -> None:
            wake_all()
            noticed.set()

        broker._claim = claim_slowly
        broker._wake_all = notice
        async with asyncio.timeout(5):
            assert [one.body for one in await receive(broker, wait_s=20)] == ["a"]


async def test_a_cancelled_receive_takes_nothing_with_it(path: Path) -> None:
    async with opened(path) as broker:
        await send(broker, "a")
        go = await held_up(broker)
        waiting = asyncio.create_task(receive(broker, wait_s=20))
        await asyncio.sleep(0)
        waiting.cancel()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        (again,) = await receive(broker, wait_s=5)
        assert again.attempt == 1


@pytest.mark.parametrize("end", ["", ".fifo"])
@pytest.mark.parametrize("gone", [False, True], ids=["waited for", "given up"])
async def test_a_receive_that_moves_a_dead_letter_wakes_who_waits_for_it(
    path: Path, end: str, gone: bool
) -> None:
    queue, dead = "orders" + end, "dead" + end
    async with opened(path) as broker:
        await broker.declare(queue, QueueOptions(dead_letter_queue=dead, max_receive_count=1))
        await broker.send(queue, [message("a", group="g")])
        (one,) = await receive(broker, queue)
        await broker.release(queue, [one.receipt], delay_s=0)
        waiting = asyncio.create_task(receive(broker, dead, wait_s=20))
        await broker.ping([dead])  # the receive has looked, and waits
        await asyncio.sleep(0)
        go = await held_up(broker)
        moving = asyncio.create_task(receive(broker, queue))
        await asyncio.sleep(0)
        begun = threading.Event()
        broker._open_worker("test").submit(lambda db: begun.set())
        go.set()
        assert begun.wait(10)  # the loop stands still, so that the answer finds nobody
        if gone:
            moving.cancel()
        else:
            assert await moving == []
        async with asyncio.timeout(5):
            assert [one.body for one in await waiting] == ["a"]
