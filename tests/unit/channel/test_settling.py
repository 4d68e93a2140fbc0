"""Settling: batched, retried while it makes sense, and ended in exactly one outcome."""

import asyncio
from typing import Any

import pytest
from fakes import QUEUE, ScriptedBroker, Slow, held, tools, trouble, virtually

from mqtransport.channel.in_hand import Hand, Held, Outcome
from mqtransport.channel.settling import Settler
from mqtransport.errors import BrokerUnavailableError, RefusedError, StaleReceiptError

DOWN = BrokerUnavailableError("down")
STALE = StaleReceiptError("stale")
REFUSED = RefusedError("refused")


class Bench:
    def __init__(
        self, *, linger_s: float = 0.1, give_up_s: float = 30.0, capacity: int = 1000
    ) -> None:
        self.broker = ScriptedBroker()
        self.hand = Hand(capacity)
        self.calm = True
        self.defects: list[BaseException] = []
        self.settler = Settler(
            QUEUE,
            tools(self.broker),
            self.hand,
            trouble(self.broker),
            linger_s=linger_s,
            calm=lambda: self.calm,
            give_up_s=give_up_s,
            on_defect=self.defects.append,
        )

    def take(self, count: int = 1) -> list[Held]:
        start = self.hand.counts.received
        taken = [held(str(start + n)) for n in range(count)]
        for one in taken:
            self.hand.add(one)
        return taken

    def log(self, verb: str) -> list[tuple[float, int]]:
        return [(round(call.at, 3), call.size) for call in self.broker.of(verb)]

    @property
    def outcomes(self) -> dict[str, int]:
        counts = self.hand.counts
        assert counts.balanced
        names = ("acked", "released", "dead_lettered", "lease_lost", "in_hand")
        return {name: getattr(counts, name) for name in names if getattr(counts, name)}


@virtually
async def test_an_ack_waits_for_company_but_not_longer_than_the_linger() -> None:
    bench = Bench()
    first, second = bench.take(2)
    bench.settler.ack(first)
    await asyncio.sleep(0.06)
    bench.settler.ack(second)
    await asyncio.sleep(0.03)
    assert bench.log("ack") == []
    await asyncio.sleep(1)
    assert bench.log("ack") == [(0.1, 2)]
    assert bench.outcomes == {"acked": 2}


@virtually
async def test_ten_acks_leave_at_once_and_the_rest_after_the_linger() -> None:
    bench = Bench()
    for one in bench.take(23):
        bench.settler.ack(one)
    await asyncio.sleep(1)
    assert bench.log("ack") == [(0, 10), (0, 10), (0.1, 3)]
    assert bench.outcomes == {"acked": 23}


@virtually
async def test_while_messages_wait_for_slots_an_ack_waits_50_ms_for_company() -> None:
    bench = Bench(linger_s=0.2)
    bench.calm = False
    bench.settler.ack(*bench.take())
    await asyncio.sleep(1)
    assert bench.log("ack") == [(0.05, 1)]


@virtually
async def test_acks_that_wait_on_a_calm_channel_hurry_once_a_slot_is_missed() -> None:
    bench = Bench(linger_s=0.2)
    first, second = bench.take(2)
    bench.settler.ack(first)
    await asyncio.sleep(0.01)
    bench.settler.hasten()
    await asyncio.sleep(0.02)
    bench.settler.hasten()  # which puts nothing off
    bench.settler.ack(second)
    await asyncio.sleep(1)
    assert bench.log("ack") == [(0.06, 2)]


@virtually
async def test_hurry_prolongs_no_linger() -> None:
    bench = Bench(linger_s=0.03)
    bench.settler.ack(*bench.take())
    bench.settler.hasten()
    await asyncio.sleep(1)
    assert bench.log("ack") == [(0.03, 1)]


@pytest.mark.parametrize(
    ("capacity", "calm", "at_once"), [(10, True, 8), (10, False, 10), (12, True, 10), (5, True, 5)]
)
@virtually
async def test_waiting_acks_leave_two_slots_of_a_calm_channel(
    capacity: int, calm: bool, at_once: int
) -> None:
    bench = Bench(capacity=capacity)
    bench.calm = calm
    for one in bench.take(at_once - 1):
        bench.settler.ack(one)
    await asyncio.sleep(0.01)
    assert bench.log("ack") == []
    bench.settler.ack(*bench.take())
    await asyncio.sleep(0.01)
    assert bench.log("ack") == [(0.01, at_once)]


@virtually
async def test_an_ack_counts_only_when_the_broker_has_confirmed_it() -> None:
    bench = Bench(linger_s=0)
    bench.broker.standing["ack"] = Slow(3)
    (one,) = bench.take()
    bench.settler.ack(one)
    await asyncio.sleep(2.9)
    assert bench.outcomes == {"in_hand": 1}
    await asyncio.sleep(0.2)
    assert bench.outcomes == {"acked": 1}


@virtually
async def test_the_ack_of_a_dead_letter_counts_as_one() -> None:
    bench = Bench()
    (one,) = bench.take()
    bench.settler.ack(one, Outcome.DEAD_LETTERED)
    await asyncio.sleep(1)
    assert bench.outcomes == {"dead_lettered": 1}


@virtually
async def test_releases_with_equal_delays_share_a_call() -> None:
    bench = Bench()
    taken = bench.take(24)
    for number, one in enumerate(taken):
        bench.settler.release(one, 0.0 if number % 2 else 5.0)
    await asyncio.sleep(1)
    calls = sorted((call.options["delay_s"], call.size) for call in bench.broker.of("release"))
    assert calls == [(0.0, 2), (0.0, 10), (5.0, 2), (5.0, 10)]
    assert bench.outcomes == {"released": 24}


@virtually
async def test_release_delays_are_rounded_up_to_the_brokers_step() -> None:
    bench = Bench()
    first, second, third = bench.take(3)
    bench.settler.release(first, 4.2)
    bench.settler.release(second, 4.9)
    bench.settler.release(third, 0.0)
    await asyncio.sleep(1)
    calls = {call.options["delay_s"]: call.size for call in bench.broker.of("release")}
    assert calls == {5: 2, 0: 1}


@pytest.mark.parametrize("delay_s", [43_200.0, 100_000.0])
@virtually
async def test_a_release_asks_for_no_longer_than_the_broker_allows_since_the_receive(
    delay_s: float,
) -> None:
    bench = Bench()
    (one,) = bench.take()
    await asyncio.sleep(10)
    bench.settler.release(one, delay_s)
    await asyncio.sleep(1)
    (call,) = bench.broker.of("release")
    assert 43_180 <= call.options["delay_s"] <= 43_190


@pytest.mark.parametrize("answer", [DOWN, [DOWN], [None, None], []])
@pytest.mark.parametrize("verb", ["ack", "release"])
@virtually
async def test_a_failed_settle_is_tried_again_until_it_succeeds(verb: str, answer: Any) -> None:
    bench = Bench()
    bench.broker.script(verb, *[answer] * 4)
    (one,) = bench.take()
    settle(bench, verb, one)
    await asyncio.sleep(29)
    assert len(bench.log(verb)) == 5
    assert bench.outcomes == {"acked" if verb == "ack" else "released": 1}


@virtually
async def test_a_failed_item_leaves_its_batch_mates_alone() -> None:
    bench = Bench(linger_s=0)
    bench.broker.script("ack", [None, DOWN, STALE, None])
    taken = bench.take(4)
    for one in taken:
        bench.settler.ack(one)
    await asyncio.sleep(10)
    assert [list(call.items) for call in bench.broker.of("ack")][1:] == [["receipt-1"]]
    assert [one.outcome for one in taken] == [
        Outcome.ACKED,
        Outcome.ACKED,
        Outcome.LEASE_LOST,
        Outcome.ACKED,
    ]


@pytest.mark.parametrize("verb", ["ack", "release"])
@virtually
async def test_a_settle_that_keeps_failing_is_given_up_after_one_lease(verb: str) -> None:
    bench = Bench(give_up_s=30)
    bench.broker.standing[verb] = DOWN
    (one,) = bench.take()
    settle(bench, verb, one)
    await asyncio.sleep(29.9)
    assert bench.outcomes == {"in_hand": 1}
    await asyncio.sleep(3)
    assert bench.outcomes == {"lease_lost": 1}
    tries = len(bench.log(verb))
    assert tries < 150
    await asyncio.sleep(100)
    assert len(bench.log(verb)) == tries


@pytest.mark.parametrize("verb", ["ack", "release"])
@pytest.mark.parametrize("error", [STALE, REFUSED])
@virtually
async def test_a_settle_that_can_never_succeed_is_a_lost_lease_at_once(
    verb: str, error: Exception
) -> None:
    bench = Bench(linger_s=0)
    bench.broker.script(verb, [error])
    (one,) = bench.take()
    settle(bench, verb, one)
    await asyncio.sleep(0.05)
    assert bench.outcomes == {"lease_lost": 1}
    await asyncio.sleep(60)
    assert len(bench.log(verb)) == 1


@virtually
async def test_a_delivery_whose_lease_was_lost_meanwhile_is_not_acked() -> None:
    bench = Bench()
    first, second = bench.take(2)
    bench.settler.ack(first)
    bench.settler.ack(second)
    bench.hand.finish(first, Outcome.LEASE_LOST)
    await asyncio.sleep(1)
    assert [list(call.items) for call in bench.broker.of("ack")] == [["receipt-1"]]
    bench.settler.ack(first)
    bench.settler.release(first, 0.0)
    await asyncio.sleep(1)
    assert len(bench.broker.calls) == 1
    assert bench.outcomes == {"acked": 1, "lease_lost": 1}


@virtually
async def test_a_late_answer_does_not_change_an_outcome() -> None:
    bench = Bench(linger_s=0)
    bench.broker.standing["ack"] = Slow(10)
    (one,) = bench.take()
    bench.settler.ack(one)
    await asyncio.sleep(5)
    bench.hand.finish(one, Outcome.LEASE_LOST)
    await asyncio.sleep(10)
    assert bench.outcomes == {"lease_lost": 1}


@virtually
async def test_a_delivery_is_settled_in_one_way_only() -> None:
    bench = Bench()
    (one,) = bench.take()
    bench.settler.ack(one)
    bench.settler.release(one, 0.0)
    await asyncio.sleep(1)
    assert [call.verb for call in bench.broker.calls] == ["ack"]
    assert bench.outcomes == {"acked": 1}


@virtually
async def test_a_flush_sends_acks_at_once() -> None:
    bench = Bench(linger_s=5)
    for one in bench.take(3):
        bench.settler.ack(one)
    bench.settler.flush()
    await asyncio.sleep(10)
    assert bench.log("ack") == [(0, 3)]


@virtually
async def test_a_drain_waits_for_confirmation_retries_included() -> None:
    bench = Bench()
    bench.broker.script("ack", DOWN, DOWN, Slow(2))
    bench.broker.script("release", DOWN)
    first, second = bench.take(2)
    bench.settler.ack(first)
    bench.settler.release(second, 0.0)
    await bench.settler.drain(20)
    assert bench.outcomes == {"acked": 1, "released": 1}


@virtually
async def test_a_drain_ends_when_its_time_is_up() -> None:
    bench = Bench()
    bench.broker.standing["ack"] = Slow(1000)
    bench.broker.standing["release"] = DOWN
    first, second = bench.take(2)
    bench.settler.ack(first)
    bench.settler.release(second, 0.0)
    started = bench.broker.clock.monotonic()
    await bench.settler.drain(3)
    assert bench.broker.clock.monotonic() - started == pytest.approx(3)
    await bench.settler.close()
    assert bench.outcomes == {"in_hand": 2}
    calls = len(bench.broker.calls)
    await asyncio.sleep(100)
    assert len(bench.broker.calls) == calls
    assert bench.defects == []


@virtually
async def test_an_idle_settler_is_drained_at_once() -> None:
    bench = Bench()
    await bench.settler.drain(10)
    assert bench.broker.clock.monotonic() == 0


@virtually
async def test_a_defect_in_the_driver_is_reported() -> None:
    bench = Bench(linger_s=0)
    defect = KeyError("defect")
    bench.broker.script("ack", defect)
    (one,) = bench.take()
    bench.settler.ack(one)
    await asyncio.sleep(1)
    assert bench.defects == [defect]


@virtually
async def test_whatever_the_broker_answers_each_delivery_has_one_outcome() -> None:
    from random import Random

    source = Random(7)
    answers = [None, DOWN, STALE, REFUSED]

    def answer(call: Any) -> list[Any]:
        if source.random() < 0.1:
            raise DOWN
        return [source.choice(answers) for _ in call.items]

    bench = Bench()
    bench.broker.standing = {"ack": answer, "release": answer}
    for one in bench.take(300):
        if source.random() < 0.5:
            bench.settler.ack(one)
        else:
            bench.settler.release(one, float(source.randint(0, 2)))
        await asyncio.sleep(source.random() / 50)
        assert bench.hand.counts.balanced
    await bench.settler.drain(60)
    assert "in_hand" not in bench.outcomes
    assert bench.hand.counts.received == 300


def settle(bench: Bench, verb: str, one: Held) -> None:
    if verb == "ack":
        bench.settler.ack(one)
    else:
        bench.settler.release(one, 0.0)


@virtually
async def test_deliveries_that_cannot_be_settled_are_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.broker.standing["ack"] = lambda call: [REFUSED] * call.size
    for _ in range(120):  # two minutes
        for one in bench.take(5):
            bench.settler.ack(one)
        await asyncio.sleep(1)
    told = [one for one in caplog.records if "is not settled" in one.getMessage()]
    assert len([one for one in told if one.levelname == "WARNING"]) == 2
    assert bench.outcomes == {"lease_lost": 600}
