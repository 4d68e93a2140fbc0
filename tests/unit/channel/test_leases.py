"""Leases: the arithmetic, and a keeper that renews in time and never in vain."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes import QUEUE, ScriptedBroker, Slow, held, tools, trouble, virtually
from hypothesis import given
from hypothesis import strategies as st

from mqtransport.channel.in_hand import Hand, Held, Interruption, Outcome
from mqtransport.channel.leases import LeaseKeeper, margin_s, receive_deadline
from mqtransport.errors import (
    BrokerUnavailableError,
    RefusedError,
    StaleReceiptError,
    ThrottledError,
)

LEASE_S = 30.0
DOWN = BrokerUnavailableError("down")
STALE = StaleReceiptError("stale")


class Bench:
    def __init__(self, broker: ScriptedBroker, lease_s: float = LEASE_S) -> None:
        self.broker = broker
        self.hand = Hand(100)
        self.lost: dict[str, float] = {}
        self.keeper = LeaseKeeper(
            QUEUE, tools(broker), lease_s, self.hand, trouble(broker), self._lost
        )

    def _lost(self, one: Held) -> None:
        self.lost[one.raw.receipt] = self.broker.clock.monotonic()
        self.hand.finish(one, Outcome.LEASE_LOST)

    def take(self, name: str = "1", lease_s: float = LEASE_S) -> Held:
        now = self.broker.clock.monotonic()
        deadline = now + lease_s
        one = held(name, deadline=deadline, renew_at=deadline - margin_s(lease_s))
        one.received = now
        self.hand.add(one)
        self.keeper.watch(one)
        return one

    @property
    def renewals(self) -> list[tuple[float, list[Any]]]:
        return [(round(call.at, 3), list(call.items)) for call in self.broker.of("extend")]


@asynccontextmanager
async def keeping(lease_s: float = LEASE_S, **standing: Any) -> AsyncIterator[Bench]:
    bench = Bench(ScriptedBroker(), lease_s)
    bench.broker.standing.update(standing)
    task = asyncio.create_task(bench.keeper.run())
    await asyncio.sleep(0)
    try:
        yield bench
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


# -- arithmetic -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lease_s", "margin"), [(3.0, 1.0), (15.0, 5.0), (30.0, 10.0), (60.0, 10.0), (43_200, 10.0)]
)
def test_a_lease_is_renewed_a_third_but_at_most_ten_seconds_early(
    lease_s: float, margin: float
) -> None:
    assert margin_s(lease_s) == margin


@pytest.mark.parametrize(
    ("started", "ended", "deadline"),
    [
        (100.0, 100.1, 130.1),
        (100.0, 120.0, 150.0),
        (100.0, 123.0, 150.0),
        (100.0, 160.0, 150.0),
    ],
    ids=["at once", "after the wait", "three seconds late", "later than the lease"],
)
def test_a_late_reply_shortens_the_lease_by_its_lateness(
    started: float, ended: float, deadline: float
) -> None:
    found = receive_deadline(started=started, ended=ended, wait_s=20.0, lease_s=30.0)
    assert found == pytest.approx(deadline)


@given(took=st.floats(0, 1000), handed_out=st.floats(0, 1), wait_s=st.floats(0, 20))
def test_a_lease_never_ends_later_here_than_at_the_broker(
    took: float, handed_out: float, wait_s: float
) -> None:
    # The broker hands out within wait_s; the reply then travels for the rest.
    granted = min(handed_out * wait_s, took)
    deadline = receive_deadline(started=0.0, ended=took, wait_s=wait_s, lease_s=30.0)
    late = max(0.0, took - wait_s)
    assert deadline <= max(granted, took - late) + 30.0 + 1e-9
    if took >= wait_s:
        assert deadline == pytest.approx(wait_s + 30.0)


# -- the keeper -----------------------------------------------------------------------------


@virtually
async def test_a_lease_is_renewed_ten_seconds_before_its_end_again_and_again() -> None:
    async with keeping() as bench:
        bench.take()
        await asyncio.sleep(100)
        assert bench.renewals[:4] == [(at, ["receipt-1"]) for at in (20, 40, 60, 80)]
        assert bench.lost == {}
        assert {call.options["lease_s"] for call in bench.broker.of("extend")} == {LEASE_S}


@virtually
async def test_no_delivery_means_no_renewal() -> None:
    async with keeping() as bench:
        await asyncio.sleep(1000)
        assert bench.renewals == []


@virtually
async def test_renewals_travel_in_full_batches() -> None:
    async with keeping() as bench:
        for n in range(25):
            bench.take(str(n))
        await asyncio.sleep(21)
        assert [(at, len(receipts)) for at, receipts in bench.renewals] == [
            (20, 10),
            (20, 10),
            (20, 5),
        ]


@virtually
async def test_what_is_nearly_due_travels_along() -> None:
    async with keeping() as bench:
        bench.take("1")
        await asyncio.sleep(2)
        bench.take("2")
        await asyncio.sleep(1)
        bench.take("3")
        await asyncio.sleep(18)
        assert bench.renewals == [(20, ["receipt-1", "receipt-2"])]
        await asyncio.sleep(3)
        assert bench.renewals[1:] == [(23, ["receipt-3"])]


@virtually
async def test_a_new_delivery_with_a_shorter_lease_wakes_the_keeper() -> None:
    async with keeping() as bench:
        bench.take("1")
        await asyncio.sleep(1)
        bench.take("2", lease_s=6.0)
        await asyncio.sleep(5)
        assert bench.renewals == [(5, ["receipt-2"])]


@virtually
async def test_the_renewed_lease_counts_from_when_the_request_was_sent() -> None:
    async with keeping(extend=Slow(4.0)) as bench:
        one = bench.take()
        await asyncio.sleep(25)
        assert (one.deadline, one.renew_at) == (50.0, 40.0)


@pytest.mark.parametrize(
    "error", [DOWN, ThrottledError("slow"), RefusedError("no"), [DOWN], [None, None], []]
)
@virtually
async def test_a_failed_renewal_is_tried_again_until_the_deadline_and_then_lost(
    error: Any,
) -> None:
    async with keeping(extend=error) as bench:
        one = bench.take()
        await asyncio.sleep(29.99)
        assert bench.lost == {}
        await asyncio.sleep(100)
        assert bench.lost == {"receipt-1": 30.0}
        assert one.outcome is Outcome.LEASE_LOST
        times = [at for at, _ in bench.renewals]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert 10 < len(times) < 150
        assert all(0.009 <= gap <= 1.0 for gap in gaps)
        assert times[-1] <= 30


@virtually
async def test_a_renewal_that_recovers_saves_the_lease() -> None:
    async with keeping() as bench:
        bench.broker.script("extend", *[DOWN] * 8)
        bench.take()
        await asyncio.sleep(60)
        assert bench.lost == {}


@virtually
async def test_a_stale_receipt_is_lost_at_once_and_its_batch_mates_are_renewed() -> None:
    async with keeping() as bench:
        bench.broker.script("extend", [None, STALE])
        good, bad = bench.take("1"), bench.take("2")
        await asyncio.sleep(21)
        assert bench.lost == {"receipt-2": 20.0}
        assert bad.outcome is Outcome.LEASE_LOST
        assert (good.outcome, good.deadline) == (None, 50.0)


@virtually
async def test_a_release_in_progress_is_never_renewed() -> None:
    async with keeping() as bench:
        one = bench.take()
        bench.hand.begin_settle(one, Outcome.RELEASED)
        await asyncio.sleep(100)
        assert bench.renewals == []
        assert bench.lost == {"receipt-1": 30.0}


@virtually
async def test_an_ack_that_waits_is_renewed_until_it_is_given_up() -> None:
    async with keeping() as bench:
        one = bench.take()
        await asyncio.sleep(15)
        bench.hand.begin_settle(one, Outcome.ACKED)
        one.settle_until = 45.0
        await asyncio.sleep(200)
        assert [at for at, _ in bench.renewals] == [20, 40]
        assert bench.lost == {"receipt-1": 70.0}


@virtually
async def test_an_ack_in_flight_is_not_renewed() -> None:
    async with keeping() as bench:
        one = bench.take()
        bench.hand.begin_settle(one, Outcome.ACKED)
        one.settle_in_flight = True
        await asyncio.sleep(29)
        assert bench.renewals == []


@virtually
async def test_an_ack_that_failed_in_flight_when_renewal_was_due_is_renewed_afterwards() -> None:
    async with keeping() as bench:
        one = bench.take()
        bench.hand.begin_settle(one, Outcome.ACKED)
        one.settle_until = 48.0
        await asyncio.sleep(18)
        one.settle_in_flight = True
        await asyncio.sleep(5)
        one.settle_in_flight = False  # timed out; the settler tries again in a while
        bench.keeper.watch(one)  # and says so
        await asyncio.sleep(6)
        assert len(bench.renewals) == 1
        assert bench.lost == {}


@virtually
async def test_a_cancelled_handler_that_runs_on_is_not_renewed() -> None:
    async with keeping() as bench:
        one = bench.take()
        one.interruption = Interruption.TIME_LIMIT
        await asyncio.sleep(31)
        assert bench.renewals == []
        assert bench.lost == {"receipt-1": 30.0}


@virtually
async def test_a_stale_receipt_while_its_ack_waits_is_not_asked_about_in_a_hot_loop() -> None:
    bench = Bench(ScriptedBroker(most_calls=200))
    bench.broker.standing["extend"] = [STALE]
    keeping_task = asyncio.create_task(bench.keeper.run())
    one = bench.take()
    await asyncio.sleep(19.5)
    bench.hand.begin_settle(one, Outcome.ACKED)
    one.settle_until = 49.5
    await asyncio.wait({keeping_task}, timeout=2.0)
    failure = keeping_task.exception() if keeping_task.done() else None
    keeping_task.cancel()
    await asyncio.wait({keeping_task})
    assert failure is None


@virtually
async def test_a_handler_that_runs_too_long_is_cancelled_then_although_leases_are_good() -> None:
    async with keeping() as bench:
        one = bench.take()
        one.task = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(1)
        one.run_until = 4.0
        bench.keeper.watch(one)
        await asyncio.sleep(2.9)
        assert one.interruption is None
        await asyncio.sleep(0.2)
        assert one.interruption is Interruption.TIME_LIMIT
        await asyncio.wait({one.task}, timeout=1)
        assert one.task.cancelled()


@virtually
async def test_a_handler_that_ignores_its_limit_is_not_asked_about_in_a_hot_loop() -> None:
    async with keeping() as bench:
        one = bench.take()
        one.interruption, one.run_until = Interruption.TIME_LIMIT, 5.0
        bench.keeper.watch(one)
        looks = 0
        end_overdue = bench.keeper._end_overdue

        def count(now: float) -> None:
            nonlocal looks
            looks += 1
            end_overdue(now)

        bench.keeper._end_overdue = count  # type: ignore[method-assign]
        await asyncio.sleep(29)
        assert looks < 10


@virtually
async def test_slow_renewals_of_some_do_not_hold_up_those_of_others() -> None:
    async with keeping() as bench:
        bench.broker.script("extend", Slow(9.0), None)
        bench.take("1")
        await asyncio.sleep(5)
        bench.take("2")
        await asyncio.sleep(21)
        assert bench.renewals == [(20, ["receipt-1"]), (25, ["receipt-2"])]
        assert bench.lost == {}


@virtually
async def test_a_renewal_that_hangs_past_the_deadline_is_lost_at_the_deadline() -> None:
    async with keeping(extend=Slow(60.0)) as bench:
        bench.take()
        await asyncio.sleep(90)
        assert bench.lost == {"receipt-1": 30.0}
        assert len(bench.renewals) == 1


@virtually
async def test_a_delivery_that_is_settled_is_renewed_no_more() -> None:
    async with keeping() as bench:
        one = bench.take()
        await asyncio.sleep(25)
        bench.hand.finish(one, Outcome.ACKED)
        await asyncio.sleep(100)
        assert [at for at, _ in bench.renewals] == [20]


@virtually
async def test_a_defect_in_the_driver_ends_the_keeper_with_it() -> None:
    bench = Bench(ScriptedBroker())
    bench.broker.standing["extend"] = KeyError("defect")
    bench.take()
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(bench.keeper.run(), 60)
    assert caught.group_contains(KeyError)


@virtually
async def test_hours_of_renewals_keep_every_lease() -> None:
    async with keeping() as bench:
        for n in range(7):
            bench.take(str(n))
            await asyncio.sleep(3.7)
        await asyncio.sleep(2 * 3600)
        assert bench.lost == {}
        assert len(bench.renewals) < 2 * 3600 / 20 * 7


# -- the longest lease ----------------------------------------------------------------------

LONGEST_S = 43_200.0


@virtually
async def test_a_renewal_never_asks_for_more_than_is_left_of_the_longest_lease() -> None:
    async with keeping() as bench:
        bench.take()
        await asyncio.sleep(LONGEST_S - 11)
        for call in bench.broker.of("extend"):
            assert call.options is not None
            assert call.at + call.options["lease_s"] <= LONGEST_S
        assert bench.lost == {}


@virtually
async def test_at_the_end_of_the_longest_lease_a_delivery_is_lost() -> None:
    async with keeping() as bench:
        bench.take()
        await asyncio.sleep(2 * LONGEST_S)
        assert LONGEST_S - 30 <= bench.lost["receipt-1"] <= LONGEST_S
        asked = len(bench.renewals)
        await asyncio.sleep(LONGEST_S)
        assert len(bench.renewals) == asked


@virtually
async def test_a_delivery_near_its_end_does_not_shorten_the_leases_of_others() -> None:
    async with keeping() as bench:
        old = bench.take("old", lease_s=25)
        await asyncio.sleep(LONGEST_S - 60)
        young = bench.take("young", lease_s=old.deadline - bench.broker.clock.monotonic())
        await asyncio.sleep(45)
        by_name = {
            name: [
                call.options["lease_s"]
                for call in bench.broker.of("extend")
                if call.options and f"receipt-{name}" in call.items
            ]
            for name in ("old", "young")
        }
        assert by_name["old"][-1] < LEASE_S
        assert set(by_name["young"]) == {LEASE_S}
        assert young.outcome is None
