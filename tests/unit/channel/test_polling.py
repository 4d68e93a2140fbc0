"""Polling: when the broker is asked, for how many messages, and how failures slow it down."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes import FIFO, QUEUE, ScriptedBroker, Slow, held, raw, tools, trouble, virtually

from mqtransport.channel.base import QueueRef
from mqtransport.channel.in_hand import Hand, Held, Outcome
from mqtransport.channel.options import ReceiveOptions
from mqtransport.channel.polling import Poller
from mqtransport.errors import (
    AccessDeniedError,
    BrokerUnavailableError,
    QueueNotFoundError,
    RefusedError,
    ThrottledError,
)
from mqtransport.message import RawDelivery

DOWN = BrokerUnavailableError("down")


class Bench:
    def __init__(
        self,
        capacity: int = 10,
        most_calls: int = 5000,
        queue: QueueRef = QUEUE,
        **options: Any,
    ) -> None:
        self.broker = ScriptedBroker(most_calls)
        self.hand = Hand(capacity)
        self.admitted: list[tuple[float, float]] = []
        self.held: list[Held] = []
        self.blocked_times = 0
        self.trouble = trouble(self.broker)
        self.poller = Poller(
            queue,
            tools(self.broker),
            ReceiveOptions(concurrency=capacity, **options),
            self.hand,
            self.trouble,
            admit=self._admit,
            on_blocked=self._blocked,
        )

    def _admit(self, deliveries: Sequence[RawDelivery], deadline: float) -> None:
        for one in deliveries:
            taken = held(one.receipt)
            self.hand.add(taken)
            self.held.append(taken)
            self.admitted.append((self.broker.clock.monotonic(), deadline))

    def _blocked(self) -> None:
        self.blocked_times += 1

    def finish(self, count: int) -> None:
        for one in self.held[:count]:
            self.hand.finish(one, Outcome.ACKED)
        del self.held[:count]

    @property
    def polls(self) -> list[tuple[float, int]]:
        return [
            (round(call.at, 3), call.options["max_messages"]) for call in self.broker.of("receive")
        ]


@asynccontextmanager
async def polling(bench: Bench) -> AsyncIterator[Bench]:
    task = asyncio.create_task(bench.poller.run())
    try:
        yield bench
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


def batch(count: int) -> list[RawDelivery]:
    return [raw(str(n)) for n in range(count)]


@pytest.mark.parametrize(("capacity", "asked"), [(1, 1), (5, 5), (10, 10), (50, 10)])
@virtually
async def test_a_poll_asks_for_ten_or_what_the_hand_holds(capacity: int, asked: int) -> None:
    async with polling(Bench(capacity)) as bench:
        await asyncio.sleep(1)
        assert bench.polls == [(0, asked)]


@virtually
async def test_a_poll_asks_for_the_lease_and_waits_at_most_as_long_as_the_broker_allows() -> None:
    async with polling(Bench(lease_s=42, wait_s=100)) as bench:
        await asyncio.sleep(1)
        (call,) = bench.broker.of("receive")
        assert (call.options["lease_s"], call.options["wait_s"]) == (42, 20)


@virtually
async def test_there_is_one_poll_at_a_time_and_the_next_follows_at_once() -> None:
    async with polling(Bench()) as bench:
        await asyncio.sleep(99)
        assert bench.polls == [(at, 10) for at in (0, 20, 40, 60, 80)]
        assert bench.broker.most_open == 1
        assert bench.poller.polls == 4


@virtually
async def test_a_full_hand_is_not_polled_for() -> None:
    bench = Bench(10)
    bench.broker.script("receive", batch(10))
    async with polling(bench):
        await asyncio.sleep(1000)
        assert len(bench.polls) == 1
        assert bench.poller.blocked
        assert bench.blocked_times == 1
        bench.finish(10)
        await asyncio.sleep(1)
        assert bench.polls[1:] == [(1000, 10)]
        assert not bench.poller.blocked


@virtually
async def test_a_busy_queue_is_polled_for_few_slots_only_after_fifty_milliseconds() -> None:
    bench = Bench(10)
    bench.broker.script("receive", batch(10))
    async with polling(bench):
        await asyncio.sleep(1)
        bench.finish(3)
        await asyncio.sleep(0.04)
        assert len(bench.polls) == 1
        await asyncio.sleep(1)
        assert bench.polls[1:] == [(1.05, 3)]


@virtually
async def test_a_busy_queue_is_polled_as_soon_as_a_full_batch_fits() -> None:
    bench = Bench(10)
    bench.broker.script("receive", batch(10))
    async with polling(bench):
        await asyncio.sleep(1)
        bench.finish(3)
        await asyncio.sleep(0.02)
        bench.finish(7)
        await asyncio.sleep(1)
        assert bench.polls[1:] == [(1.02, 10)]


@virtually
async def test_slots_that_come_free_during_the_wait_are_asked_for_together() -> None:
    bench = Bench(10)
    bench.broker.script("receive", batch(10))
    async with polling(bench):
        await asyncio.sleep(1)
        for _ in range(4):
            bench.finish(1)
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        assert bench.polls[1:] == [(1.05, 4)]


@virtually
async def test_a_calm_queue_is_polled_for_few_slots_at_once() -> None:
    bench = Bench(10)
    bench.broker.script("receive", Slow(3, batch(4)))
    async with polling(bench):
        await asyncio.sleep(5)
        assert bench.polls == [(0, 10), (3, 6)]


@virtually
async def test_the_hand_is_never_overfilled() -> None:
    bench = Bench(7)
    bench.broker.standing["receive"] = lambda call: batch(call.options["max_messages"])
    async with polling(bench):
        for n in range(300):
            await asyncio.sleep(0.013)
            assert bench.hand.free >= 0
            bench.finish(n % 3)


# -- leases ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delay_s", "deadline"), [(0, 30), (5, 35), (20, 50), (23, 50), (24.9, 50)]
)
@virtually
async def test_lateness_of_a_reply_shortens_the_lease(delay_s: float, deadline: float) -> None:
    bench = Bench()
    bench.broker.script("receive", Slow(delay_s, batch(2)))
    async with polling(bench):
        await asyncio.sleep(26)
        assert bench.admitted == [(pytest.approx(delay_s), pytest.approx(deadline))] * 2


# -- failures -------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [DOWN, ThrottledError("slow")])
@virtually
async def test_failed_polls_back_off_with_jitter_within_bounds(error: Exception) -> None:
    async with polling(Bench()) as bench:
        bench.broker.standing["receive"] = error
        await asyncio.sleep(4 * 3600)
        times = [at for at, _ in bench.polls]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        for number, gap in enumerate(gaps, start=1):
            assert 0.099 <= gap <= min(30, 2 ** min(number - 1, 10)) + 0.001
        late = gaps[20:]
        assert 12 < sum(late) / len(late) < 18
        assert max(late) > 27
        assert min(late) < 3


@pytest.mark.parametrize("error", [AccessDeniedError("denied"), QueueNotFoundError("missing")])
@virtually
async def test_a_queue_that_needs_an_operator_is_asked_for_soon_and_then_once_a_minute(
    error: Exception,
) -> None:
    async with polling(Bench()) as bench:
        bench.broker.standing["receive"] = error
        await asyncio.sleep(4 * 3600)
        times = [at for at, _ in bench.polls]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert gaps[:4] == pytest.approx([5, 10, 20, 40])
        assert gaps[4:] == pytest.approx([60] * len(gaps[4:]))
        assert len(gaps) > 200


@virtually
async def test_a_good_poll_ends_the_trouble() -> None:
    bench = Bench()
    bench.broker.script("receive", *[DOWN] * 10, [])
    async with polling(bench):
        await asyncio.sleep(400)
        assert (bench.trouble.failures, bench.trouble.error) == (0, None)
        at = [at for at, _ in bench.polls]
        assert at[-1] - at[-2] == pytest.approx(20)


@virtually
async def test_a_poll_that_is_refused_does_not_loop_hot() -> None:
    async with polling(Bench(most_calls=500)) as bench:
        bench.broker.standing["receive"] = RefusedError("no such lease")
        await asyncio.sleep(600)
        assert len(bench.polls) < 100


@pytest.mark.parametrize("wait_s", [0.0, 20.0])
@virtually
async def test_empty_answers_that_come_at_once_do_not_make_a_hot_loop(wait_s: float) -> None:
    bench = Bench(most_calls=500, wait_s=wait_s)
    bench.broker.standing["receive"] = []
    task = asyncio.create_task(bench.poller.run())
    await asyncio.wait({task}, timeout=1.0)
    failure = task.exception() if task.done() else None
    task.cancel()
    await asyncio.wait({task})
    assert failure is None


@virtually
async def test_a_defect_in_the_driver_ends_the_poller_with_it() -> None:
    bench = Bench()
    bench.broker.script("receive", KeyError("defect"))
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(bench.poller.run(), 5)
    assert raised.group_contains(KeyError)


# -- stop -----------------------------------------------------------------------------------


@virtually
async def test_a_stopped_poller_lets_its_open_poll_end_and_makes_no_other() -> None:
    bench = Bench()
    bench.broker.script("receive", Slow(5, batch(2)))
    task = asyncio.create_task(bench.poller.run())
    await asyncio.sleep(1)
    bench.poller.stop()
    await asyncio.wait_for(task, 10)
    assert bench.broker.clock.monotonic() == 5
    assert len(bench.admitted) == 2
    assert len(bench.polls) == 1


@pytest.mark.parametrize("free", [0, 3])
@virtually
async def test_a_poller_that_waits_for_slots_stops_at_once(free: int) -> None:
    bench = Bench()
    bench.broker.script("receive", batch(10))
    task = asyncio.create_task(bench.poller.run())
    await asyncio.sleep(1)
    bench.finish(free)
    await asyncio.sleep(0.01)
    bench.poller.stop()
    await asyncio.wait_for(task, 10)
    assert bench.broker.clock.monotonic() == pytest.approx(1.01)
    assert len(bench.polls) == 1


@virtually
async def test_a_poller_that_backs_off_stops_at_once() -> None:
    bench = Bench()
    bench.broker.standing["receive"] = AccessDeniedError("denied")
    task = asyncio.create_task(bench.poller.run())
    await asyncio.sleep(0.05)
    bench.poller.stop()
    await asyncio.wait_for(task, 10)
    assert bench.broker.clock.monotonic() == pytest.approx(0.05)


@virtually
async def test_it_shows_since_when_a_poll_is_open() -> None:
    bench = Bench()
    bench.broker.script("receive", DOWN)
    async with polling(bench):
        assert bench.poller.polling_since is None
        await asyncio.sleep(10)
        (_, (at, _)) = bench.polls
        assert bench.poller.polling_since == pytest.approx(at, abs=0.001)
        assert bench.poller.limit_s == 25


# -- several polls at a time ----------------------------------------------------------------


def standing_load(bench: Bench, seconds: float = 0.01) -> None:
    """Let every receive come back full after a while."""
    bench.broker.standing["receive"] = Slow(
        seconds, lambda call: batch(call.options["max_messages"])
    )


@virtually
async def test_while_polls_come_back_full_several_are_open_and_fill_the_hand() -> None:
    bench = Bench(100)
    standing_load(bench)
    async with polling(bench):
        await asyncio.sleep(1)
        assert len(bench.hand) == 100
        assert bench.broker.most_open == 9  # the first was alone
        assert len(bench.polls) == 10


@virtually
async def test_open_polls_never_ask_for_more_than_the_hand_holds() -> None:
    bench = Bench(35)
    standing_load(bench)
    async with polling(bench):
        for _ in range(50):
            await asyncio.sleep(0.005)
            assert len(bench.hand) <= 35
            bench.finish(3)


@virtually
async def test_at_most_ten_polls_are_open() -> None:
    bench = Bench(500)
    standing_load(bench)
    async with polling(bench):
        await asyncio.sleep(0.5)
        assert bench.broker.most_open == 10


@virtually
async def test_when_a_poll_is_not_full_the_next_are_one_at_a_time_again() -> None:
    bench = Bench(100)
    bench.broker.script("receive", batch(10))
    async with polling(bench):
        await asyncio.sleep(100)
        assert bench.broker.most_open == 9
        bench.broker.most_open = 0
        await asyncio.sleep(100)
        assert bench.broker.most_open == 1


@virtually
async def test_in_an_outage_one_of_several_polls_goes_on_trying() -> None:
    bench = Bench(100)
    bench.broker.script("receive", batch(10), *[Slow(1, DOWN)] * 9)
    bench.broker.standing["receive"] = DOWN
    async with polling(bench):
        await asyncio.sleep(1.0001)
        asked = len(bench.polls)
        await asyncio.sleep(600)
        assert len(bench.polls) - asked <= 600 / 10  # one try in 15 s on average, not nine


@virtually
async def test_a_stop_lets_all_open_polls_end() -> None:
    bench = Bench(100)
    bench.broker.script("receive", batch(10))
    task = asyncio.create_task(bench.poller.run())
    await asyncio.sleep(1)
    assert bench.poller.open == 9
    bench.poller.stop()
    await asyncio.sleep(0)
    assert not task.done()
    await asyncio.wait_for(task, 20)
    assert bench.poller.open == 0
    assert bench.poller.polling_since is None


# -- ordered queues -------------------------------------------------------------------------


def attempts(bench: Bench) -> list[str]:
    return [call.options["attempt_id"] for call in bench.broker.of("receive")]


LOST = BrokerUnavailableError("the reply was lost", maybe_done=True)


@virtually
async def test_a_standard_queue_is_asked_without_an_attempt_id() -> None:
    async with polling(Bench()) as bench:
        await asyncio.sleep(1)
        assert attempts(bench) == [None]


@virtually
async def test_each_receive_of_an_ordered_queue_has_an_attempt_id_of_its_own() -> None:
    async with polling(Bench(queue=FIFO)) as bench:
        await asyncio.sleep(50)
        assert len(set(attempts(bench))) == 3
        assert all(attempts(bench))


@virtually
async def test_after_a_lost_reply_the_attempt_id_and_the_number_stay_the_same() -> None:
    bench = Bench(10, queue=FIFO)
    bench.broker.script("receive", LOST, LOST, batch(10))
    async with polling(bench):
        await asyncio.sleep(10)
        assert len(attempts(bench)) == 3
        assert len(set(attempts(bench))) == 1
        assert [asked for _, asked in bench.polls] == [10, 10, 10]


@virtually
async def test_a_receive_that_was_surely_not_made_needs_no_attempt_id_again() -> None:
    bench = Bench(queue=FIFO)
    bench.broker.script("receive", DOWN)
    async with polling(bench):
        await asyncio.sleep(5)
        assert len(set(attempts(bench))) == 2


@virtually
async def test_an_attempt_id_is_given_up_before_the_broker_forgets_it() -> None:
    bench = Bench(queue=FIFO)
    bench.broker.standing["receive"] = LOST
    async with polling(bench):
        await asyncio.sleep(1000)
    first = attempts(bench)[0]
    times = [call.at for call in bench.broker.of("receive") if call.options["attempt_id"] == first]
    assert 200 < max(times) <= 240 + 30 < 300
