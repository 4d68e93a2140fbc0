"""uvloop, on which many applications run: its sockets and timers are its own."""

import asyncio
from typing import Any

import pytest

from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import Number, Numbers, check_balanced, consumer, eventually, sqs_app
from tests.loops import UVLOOP


@pytest.fixture(scope="module", params=[UVLOOP])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("fast_path", [True, False], ids=["fast path", "aiobotocore"])
async def test_messages_go_round_on_uvloop(fast_path: bool) -> None:
    handled: list[int] = []

    async def handle(body: Number) -> None:
        handled.append(body.n)

    assert type(asyncio.get_running_loop()).__module__ == "uvloop"
    async with SQSDouble() as double, sqs_app(double.url, sqs_fast_path=fast_path) as app:
        double.create_queue("orders")
        out = await app.create_producing_channel("orders")
        out.add_producer(producer := Numbers())
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(consumer(handle))
        await app.start()
        for start in (0, 30, 60):
            await asyncio.gather(*(producer.produce(n=n) for n in range(start, start + 30)))
        await eventually(lambda: double.counts("orders") == (0, 0, 0), "all deleted")
        await app.stop()
        assert sorted(handled) == list(range(90))
        check_balanced(channel.counts)
