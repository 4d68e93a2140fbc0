"""What only the memory broker's ordered queues promise: exact moments, costs, choices of SQS's."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import count
from random import Random
from types import FrameType
from typing import Any

import pytest

from mqtransport.broker import QueueOptions
from mqtransport.brokers._memory_queue import Message, Terms
from mqtransport.brokers._ordered_queue import OrderedQueue, Recent
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.message import Outgoing, RawDelivery
from mqtransport.testing import VirtualClock, run_virtual

Q = "q.fifo"


def virtually(scenario: Callable[[MemoryBroker], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def test() -> None:
        async def main() -> None:
            async with MemoryBroker(clock=VirtualClock(), random=Random(1)) as broker:
                await scenario(broker)

        for seed in (None, *range(5)):
            run_virtual(main, seed=seed)

    test.__name__ = scenario.__name__
    return test


async def send(broker: MemoryBroker, *bodies: str, queue: str = Q) -> list[str]:
    """Send bodies such as ``a1``; the letter is the group, the whole body the dedup id."""
    answers = await broker.send(queue, [Outgoing(body, body, {}, None, body[0]) for body in bodies])
    assert all(isinstance(answer, str) for answer in answers)
    return [str(answer) for answer in answers]


async def take(broker: MemoryBroker, most: int = 10, queue: str = Q, **o: Any) -> list[RawDelivery]:
    options = {"wait_s": 0, "lease_s": 30, **o}
    return await broker.receive(queue, max_messages=most, **options)


def bodies(taken: list[RawDelivery]) -> str:
    return " ".join(one.body for one in taken)


def now() -> float:
    return asyncio.get_running_loop().time()


@virtually
async def test_a_receive_fills_up_with_the_group_whose_head_is_oldest(broker: MemoryBroker) -> None:
    await send(broker, "a1", "b1", "a2", "c1", "b2", "a3")
    assert bodies(await take(broker, 4)) == "a1 a2 a3 b1"
    assert bodies(await take(broker, 4)) == "c1"


@virtually
async def test_a_group_is_free_in_the_instant_of_the_last_ack(broker: MemoryBroker) -> None:
    await send(broker, "a1", "a2", "a3")
    one, two = await take(broker, 2)
    waiting = asyncio.create_task(take(broker, wait_s=20))
    await asyncio.sleep(1)
    await broker.ack(Q, [two.receipt])
    await asyncio.sleep(1)
    assert not waiting.done()
    await broker.ack(Q, [one.receipt])
    assert bodies(await waiting) == "a3"
    assert now() == 2


@virtually
async def test_the_acks_of_one_call_wake_a_receive_for_each_group(broker: MemoryBroker) -> None:
    await send(broker, "a1", "b1", "c1")
    first = await take(broker)
    await send(broker, "a2", "b2", "c2")
    waiting = [asyncio.create_task(take(broker, 1, wait_s=20)) for _ in range(3)]
    await asyncio.sleep(1)
    await broker.ack(Q, [one.receipt for one in first])
    assert sorted([bodies(got) for got in await asyncio.gather(*waiting)]) == ["a2", "b2", "c2"]
    assert now() == 1


@virtually
async def test_a_group_is_free_in_the_instant_in_which_its_last_lease_or_delay_ends(
    broker: MemoryBroker,
) -> None:
    await send(broker, "a1", "a2", "a3")
    await take(broker, 1, lease_s=7)
    assert bodies(await take(broker, wait_s=20)) == "a1 a2 a3"
    assert now() == 7
    await asyncio.sleep(30)
    (first,) = await take(broker, 1)
    await broker.release(Q, [first.receipt], delay_s=9)
    assert bodies(await take(broker, wait_s=20)) == "a1 a2 a3"
    assert now() == 46


@virtually
async def test_a_dedup_id_counts_for_five_minutes_from_the_first(broker: MemoryBroker) -> None:
    (first,) = await send(broker, "a1")
    await asyncio.sleep(200)
    assert await send(broker, "a1", "a1") == [first, first]
    await asyncio.sleep(99.9)
    assert await send(broker, "a1") == [first]
    await asyncio.sleep(0.1)
    (second,) = await send(broker, "a1")
    assert second != first
    assert [one.broker_id for one in await take(broker)] == [first, second]


@virtually
async def test_a_refused_message_leaves_its_dedup_id_unused(broker: MemoryBroker) -> None:
    (answer,) = await broker.send(Q, [Outgoing("a1", "a1", {}, None, None)])
    assert not isinstance(answer, str)
    await send(broker, "a1")
    assert bodies(await take(broker)) == "a1"


@virtually
async def test_dedup_ids_and_attempt_ids_are_forgotten_after_five_minutes(
    broker: MemoryBroker,
) -> None:
    for n in range(500):
        await send(broker, f"a{n}")
        (one,) = await take(broker, attempt_id=f"attempt-{n}")
        await broker.ack(Q, [one.receipt])
        await asyncio.sleep(3)
    queue = broker._queues[Q]
    assert isinstance(queue, OrderedQueue)
    assert len(queue._sent) <= 101
    assert len(queue._attempts) <= 101


def test_a_value_put_again_counts_from_then_and_outlives_what_is_older() -> None:
    recent: Recent[str] = Recent()
    for name, value, at in (("a", "old", 0.0), ("b", "b", 100.0), ("a", "new", 200.0)):
        recent.put(name, value, at)
    assert (recent.get("a", 399.0), recent.get("b", 399.0)) == ("new", "b")
    assert (recent.get("a", 400.0), recent.get("b", 400.0)) == ("new", None)
    assert recent.get("a", 500.0) is None
    assert len(recent) == 0


@virtually
async def test_groups_are_forgotten_with_their_last_message(broker: MemoryBroker) -> None:
    for n in range(200):
        await broker.send(Q, [Outgoing(str(n), "x", {}, None, f"group-{n}")])
        (one,) = await take(broker)
        await broker.ack(Q, [one.receipt])
    queue = broker._queues[Q]
    assert isinstance(queue, OrderedQueue)
    assert queue._groups == {}
    assert queue._free == []


@virtually
async def test_a_repeated_receive_sets_the_leases_anew(broker: MemoryBroker) -> None:
    await send(broker, "a1", "a2", "b1")
    first = await take(broker, 2, lease_s=30, attempt_id="x")
    await asyncio.sleep(20)
    assert await take(broker, 2, lease_s=30, attempt_id="x") == first
    await asyncio.sleep(20)
    assert await take(broker, 10, lease_s=5, attempt_id="x") == first
    waiting = await take(broker, wait_s=20)
    assert (bodies(waiting), now()) == ("b1", 40)
    assert bodies(await take(broker, wait_s=20)) == "a1 a2"
    assert now() == 45


@virtually
async def test_a_repeated_receive_may_be_extended_for_twelve_hours_from_its_repetition(
    broker: MemoryBroker,
) -> None:
    await send(broker, "a1")
    await take(broker, attempt_id="x", lease_s=300)
    await asyncio.sleep(200)
    (again,) = await take(broker, attempt_id="x", lease_s=300)
    assert await broker.extend(Q, [again.receipt], lease_s=43_200) == [None]


@virtually
async def test_an_attempt_counts_for_five_minutes(broker: MemoryBroker) -> None:
    await send(broker, "a1", "b1")
    first = await take(broker, 1, lease_s=1000, attempt_id="x")
    await asyncio.sleep(299.9)
    assert await take(broker, 1, lease_s=1000, attempt_id="x") == first
    await asyncio.sleep(0.1)
    assert bodies(await take(broker, 1, lease_s=1000, attempt_id="x")) == "b1"


@pytest.mark.parametrize("change", ["ack", "release", "extend", "expiry"])
def test_a_receive_whose_messages_changed_is_not_repeated(change: str) -> None:
    @virtually
    async def scenario(broker: MemoryBroker) -> None:
        await send(broker, "a1", "a2", "b1")
        one, two = await take(broker, 2, lease_s=100, attempt_id="x")
        if change == "ack":
            await broker.ack(Q, [two.receipt])
        if change == "release":
            await broker.release(Q, [two.receipt], delay_s=0)
        if change == "extend":
            await broker.extend(Q, [two.receipt], lease_s=100)
        if change == "expiry":
            await broker.extend(Q, [one.receipt], lease_s=200)
            await asyncio.sleep(100)
        fresh = await take(broker, 2, lease_s=100, attempt_id="x")
        assert bodies(fresh) == "b1"
        assert await take(broker, 2, lease_s=100, attempt_id="x") == fresh

    scenario()


@virtually
async def test_a_repetition_never_brings_more_than_it_asks_for(broker: MemoryBroker) -> None:
    await send(broker, "a1", "a2", "b1")
    assert bodies(await take(broker, 2, attempt_id="x")) == "a1 a2"
    assert bodies(await take(broker, 1, attempt_id="x")) == "b1"


@virtually
async def test_an_attempt_id_means_nothing_on_a_standard_queue(broker: MemoryBroker) -> None:
    await send(broker, "a1", "a2", queue="q")
    assert bodies(await take(broker, 1, "q", attempt_id="x")) == "a1"
    assert bodies(await take(broker, 1, "q", attempt_id="x")) == "a2"


@virtually
async def test_a_dead_lettered_head_frees_its_group_in_the_same_receive(
    broker: MemoryBroker,
) -> None:
    await broker.declare(Q, QueueOptions(dead_letter_queue="d.fifo", max_receive_count=1))
    ids = await send(broker, "a1", "a2", "a3")
    assert await send(broker, "a1", queue="d.fifo") != ids[:1]
    waiting = asyncio.create_task(take(broker, 1, "d.fifo", wait_s=20, lease_s=1))
    taken = await take(broker, 2)
    await broker.release(Q, [one.receipt for one in reversed(taken)], delay_s=0)
    assert bodies(await take(broker)) == "a3"
    assert bodies(await waiting) == "a1"
    dead = await take(broker, 10, "d.fifo", wait_s=20)
    # A copy is no duplicate of what a producer sent there.
    assert bodies(dead) == "a1 a1 a2"
    assert [(one.broker_id, one.group, one.attempt) for one in dead[1:]] == [
        (ids[0], "a", 1),
        (ids[1], "a", 1),
    ]


@virtually
async def test_depth_counts_what_waits_behind_its_group(broker: MemoryBroker) -> None:
    await send(broker, "a1", "a2", "a3", "b1")
    one, two = await take(broker, 2)
    await broker.release(Q, [one.receipt], delay_s=10)
    info = await broker.describe(Q)
    assert (info.depth, info.in_flight, info.delayed) == (2, 1, 1)
    await broker.ack(Q, [two.receipt])
    await asyncio.sleep(10)
    info = await broker.describe(Q)
    assert (info.depth, info.in_flight, info.delayed) == (3, 0, 0)


def terms(at: float, most: int = 10, attempt_id: str | None = None) -> Terms:
    return Terms(most, 30.0, at, at, RECEIPTS, attempt_id)


RECEIPTS = (f"r{number}" for number in count())


def put(queue: OrderedQueue, group: str, body: str, at: float = 0.0) -> None:
    queue.send(Message(body, body, {}, group, at), dedup_id=body, now=at, delay_s=0.0)


def lines_run(step: Callable[[], object]) -> int:
    """Return how many lines of Python a step runs: its cost, the same on every machine."""
    lines = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        step()
    finally:
        sys.settrace(before)
    return lines


def costs_behind(depth: int) -> list[int]:
    """Return what each kind of step costs behind so many messages of a blocked group."""
    queue = OrderedQueue("q.fifo", max_message_bytes=1000)
    for n in range(depth):
        put(queue, "blocked", f"m{n}")
    (head,) = queue.take(terms(0.0, 1))
    put(queue, "a", "a1")
    taken: list[RawDelivery] = []
    steps: list[Callable[[], object]] = [
        lambda: put(queue, "blocked", "last"),
        lambda: put(queue, "a", "a2"),
        lambda: taken.extend(queue.take(terms(0.0))),
        lambda: queue.take(terms(0.0)),
        lambda: queue.give_back(taken[1].receipt, now=0.0, delay_s=0.0),
        lambda: queue.delete(taken[0].receipt),
        lambda: queue.give_back(head.receipt, now=0.0, delay_s=5.0),
        lambda: queue.advance(5.0),
        lambda: taken.extend(queue.take(terms(5.0, 3))),
        lambda: queue.info(),
        lambda: queue.advance(35.0),
    ]
    costs = [lines_run(step) for step in steps]
    assert bodies(taken) == "a1 a2 m0 m1 m2"
    return costs


def test_no_step_costs_more_behind_ten_thousand_messages_of_a_blocked_group() -> None:
    assert costs_behind(10_000) == costs_behind(10)


@dataclass
class Modelled:
    group: str
    body: str
    until: float | None = None
    receipt: str | None = None


class Model:
    """The rules as a reader would apply them, by looking at every message each time."""

    def __init__(self) -> None:
        self.messages: list[Modelled] = []

    def advance(self, at: float) -> None:
        for one in self.messages:
            if one.until is not None and one.until <= at:
                one.until = one.receipt = None

    def expected(self, most: int) -> list[Modelled]:
        blocked = {one.group for one in self.messages if one.until is not None}
        free = [one for one in self.messages if one.group not in blocked]
        groups = dict.fromkeys(one.group for one in free)
        return [one for group in groups for one in free if one.group == group][:most]


@pytest.mark.parametrize("seed", range(40))
def test_any_history_goes_by_the_rules(seed: int) -> None:
    random, at, number = Random(seed), 0.0, 0
    queue, model = OrderedQueue("q.fifo", max_message_bytes=1000), Model()
    for _ in range(400):
        at += random.choice((0, 0, 1, 7))
        queue.advance(at)
        model.advance(at)
        held = [one for one in model.messages if one.receipt is not None]
        step = random.choice(("send", "take", "take", "delete", "give_back", "prolong"))
        if step == "send":
            for _ in range(random.randint(1, 4)):
                number += 1
                model.messages.append(Modelled(random.choice("abc"), f"m{number}"))
                put(queue, model.messages[-1].group, f"m{number}", at)
        elif step == "take":
            most = random.randint(1, 5)
            taken, expected = queue.take(terms(at, most)), model.expected(most)
            assert [one.body for one in taken] == [one.body for one in expected]
            for one, delivery in zip(expected, taken, strict=True):
                one.until, one.receipt = at + 30, delivery.receipt
        elif held:
            one = random.choice(held)
            assert one.receipt is not None
            if step == "delete":
                assert queue.delete(one.receipt)
                model.messages.remove(one)
            elif step == "give_back":
                delay_s = random.choice((0.0, 10.0))
                queue.give_back(one.receipt, now=at, delay_s=delay_s)
                one.receipt, one.until = None, at + delay_s if delay_s else None
            else:
                queue.prolong(one.receipt, until=at + 3)
                one.until = at + 3
        waiting = [one for one in model.messages if one.until is None]
        assert queue.info().depth == len(waiting)
        assert queue.has_ready == bool(model.expected(1))
