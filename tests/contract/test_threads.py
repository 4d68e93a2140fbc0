"""Handlers on threads of their own: how they send, and how they cannot."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from mqtransport import Backoff, Consumer, MQApp, Retry, UsageError
from mqtransport.channel import ConsumingChannel
from tests.contract.support import Number, Numbers, eventually


async def outcome_in_a_thread(work: Callable[[Numbers], Any], *, confirm: bool) -> tuple[Any, int]:
    """Run the work in a plain ``def`` handler; return what it gave, and what is unsent."""
    producer = Numbers()
    found: list[Any] = []

    class Threaded(Consumer[Number]):
        name = "number"

        def consume(self, body: Number) -> None:
            try:
                found.append(work(producer))
            except Exception as error:
                found.append(error)

    app = await MQApp.connect("memory://", send_timeout_s=1.0)
    (await app.create_consuming_channel("in")).add_consumer(Threaded())
    source = await app.create_producing_channel("in")
    out = await app.create_producing_channel("out", confirm=confirm)
    out.add_producer(producer)
    async with app:
        await source.send_message("number", {"n": 1})
        await eventually(lambda: bool(found), "the handler ran")
        unsent = out.unsent
    return found[0], unsent


@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize(
    "send",
    [
        lambda producer: producer.send(Number(n=2)),
        lambda producer: producer.produce(n=2),
        lambda producer: producer.send_many([Number(n=2)]),
        lambda producer: producer.channel.send_message("number", {"n": 2}),
    ],
    ids=["send", "produce", "send_many", "send_message"],
)
async def test_a_send_in_another_event_loop_says_what_to_do(send: Any, confirm: bool) -> None:
    error, unsent = await outcome_in_a_thread(lambda one: asyncio.run(send(one)), confirm=confirm)
    assert isinstance(error, UsageError), error
    assert "asyncio.run_coroutine_threadsafe(producer.send(...), loop)" in str(error)
    assert unsent == 0


@pytest.mark.parametrize(("confirm", "state"), [(True, "confirmed"), (False, "buffered")])
async def test_a_thread_sends_through_the_loop_of_the_app(confirm: bool, state: str) -> None:
    loop = asyncio.get_running_loop()

    def send(producer: Numbers) -> Any:
        sending = asyncio.run_coroutine_threadsafe(producer.send(Number(n=2)), loop)
        return sending.result(timeout=10)

    sent, _ = await outcome_in_a_thread(send, confirm=confirm)
    assert sent.state == state


async def run_into_the_limit(handle: Callable[[], Any]) -> ConsumingChannel:
    """Let a thread finish and then its time limit pass, both while the loop is blocked."""
    started, blocked, finished = threading.Event(), threading.Event(), threading.Event()

    class Threaded(Consumer[Number]):
        name = "number"

        def consume(self, body: Number) -> Any:
            started.set()
            blocked.wait(10)
            try:
                return handle()
            finally:
                finished.set()

    app = await MQApp.connect("memory://")
    retry = Retry(max_attempts=3, backoff=Backoff(first_s=0.01, max_s=0.01))
    channel = await app.create_consuming_channel("in", max_processing_s=1.0, retry=retry)
    channel.add_consumer(Threaded())
    source = await app.create_producing_channel("in")
    async with app:
        await source.send_message("number", {"n": 1})
        await eventually(started.is_set, "the handler runs")
        blocked.set()
        finished.wait(10)
        time.sleep(1.1)  # noqa: ASYNC251 - the mistake that this is about
        await eventually(lambda: channel.counts.acked == 1, "acked")
    return channel


async def test_a_thread_that_finished_when_the_limit_passed_is_not_run_again() -> None:
    runs: list[int] = []

    def handle() -> None:
        runs.append(1)

    channel = await run_into_the_limit(handle)
    assert runs == [1]
    assert (channel.counts.received, channel.counts.released) == (1, 0)


async def test_what_a_thread_returned_to_be_awaited_is_not_done_before_it_was_awaited() -> None:
    awaited: list[int] = []

    class Rest:
        def __await__(self) -> Generator[Any, None, None]:
            awaited.append(1)
            yield from asyncio.sleep(0).__await__()

    def handle() -> Rest:
        return Rest()

    await run_into_the_limit(handle)
    assert awaited == [1], "acked, so it was awaited"
