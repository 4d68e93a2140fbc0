import asyncio
import contextlib

import pytest
from fakes import Slow, virtually
from test_sender import entry, sending

from mqtransport.channel.many import outcomes
from mqtransport.channel.outbox import Entry
from mqtransport.errors import BrokerUnavailableError, RefusedError, SendError
from mqtransport.message import Sent

REFUSED = RefusedError("illegal")


def entries(count: int) -> list[Entry]:
    return [entry(str(n)) for n in range(count)]


@virtually
async def test_each_message_has_its_own_outcome_in_the_order_of_the_list() -> None:
    async with sending() as bench:
        bench.broker.script("send", ["id", REFUSED, "id"])
        refusal = SendError("no", queue="q", message_id="m", outcome="not_sent")
        first, bad, last = entries(3)
        assert bench.sender.start([first, bad, last], 10)
        found = await outcomes([first, refusal, bad, last], bench.sender.withdraw)
        assert found[0] == Sent("m-0", "confirmed")
        assert found[1] is refusal
        assert isinstance(found[2], SendError)
        assert found[2].message_id == "m-1"
        assert found[3] == Sent("m-2", "confirmed")
        assert bench.sender._deadlines._waiting == {}


@virtually
async def test_messages_share_their_time_limit() -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = BrokerUnavailableError("down")
        many = entries(25)
        assert bench.sender.start(many, 3.0)
        found = await outcomes(many, bench.sender.withdraw)
        assert [type(one) for one in found] == [SendError] * 25
        assert not bench.sender.start(entries(1), 3.0)  # a lone send may ask at once
        assert bench.now == 3
        assert len(bench.sender.outbox) == 0


@virtually
async def test_a_cancelled_caller_withdraws_all_that_have_not_left() -> None:
    async with sending(max_in_flight=1) as bench:
        bench.broker.standing["send"] = Slow(2.0)
        many = entries(25)
        assert bench.sender.start(many, 10)
        task = asyncio.create_task(outcomes(many, bench.sender.withdraw))
        other = bench.send(entry("other"))
        await asyncio.sleep(1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await other
        assert task.cancelled()
        assert bench.ids == [[f"m-{n}" for n in range(10)], ["m-other"]]
        assert len(bench.sender.outbox) == 0


@virtually
async def test_what_becomes_of_messages_of_a_cancelled_caller_troubles_nobody() -> None:
    async with sending() as bench:
        bench.broker.script("send", Slow(2.0, [REFUSED] * 3))
        many = entries(3)
        assert bench.sender.start(many, 10)
        task = asyncio.create_task(outcomes(many, bench.sender.withdraw))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(2)
        assert task.cancelled()
        assert len(bench.calls) == 1
        # Not failed, which asyncio would report as an exception that was never retrieved.
        assert [one.waiter is not None and one.waiter.cancelled() for one in many] == [True] * 3


@pytest.mark.parametrize("bounds", [{"max_buffered": 4}, {"max_buffered_bytes": 49}])
@virtually
async def test_nothing_is_started_where_one_would_have_to_wait(bounds: dict[str, int]) -> None:
    async with sending(**bounds) as bench:
        assert not bench.sender.start(entries(5), 10)
        assert len(bench.sender.outbox) == 0
        assert bench.sender.start(entries(4), 10)
        await asyncio.sleep(1)
        assert bench.sender.confirmed == 4
