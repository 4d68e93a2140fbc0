"""Handlers on threads of their own: how they send, and how they cannot."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mqtransport import Consumer, MQApp, UsageError
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
