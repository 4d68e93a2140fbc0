"""What only the memory broker promises; what every broker promises is in tests/conformance."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from mqtransport import limits
from mqtransport.broker import QueueOptions
from mqtransport.brokers import _memory_queue
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import ClosedError, RefusedError, StaleReceiptError
from mqtransport.message import Attribute, Outgoing, RawDelivery
from mqtransport.testing import VirtualClock, VirtualLoop, run_virtual

Scenario = Callable[[MemoryBroker], Coroutine[Any, Any, None]]


def virtual_broker(**options: Any) -> MemoryBroker:
    return MemoryBroker(clock=VirtualClock(), random=Random(1), **options)


def virtually(scenario: Scenario) -> Callable[[], None]:
    """Run the test on a virtual loop with a connected broker, in several orders of tasks."""

    def test() -> None:
        async def main() -> None:
            async with virtual_broker() as broker:
                await scenario(broker)

        for seed in (None, *range(5)):
            run_virtual(main, seed=seed)

    test.__name__ = scenario.__name__
    return test


def message(body: str, **options: Any) -> Outgoing:
    return Outgoing("id", body, {"Name": Attribute("String", "n")}, **options)


async def send(broker: MemoryBroker, *bodies: str, queue: str = "q", **options: Any) -> list[str]:
    answers = await broker.send(queue, [message(body, **options) for body in bodies])
    assert all(isinstance(answer, str) for answer in answers)
    return [str(answer) for answer in answers]


async def take(
    broker: MemoryBroker,
    most: int = 10,
    *,
    queue: str = "q",
    wait_s: float = 0,
    lease_s: float = 30,
) -> list[RawDelivery]:
    return await broker.receive(queue, max_messages=most, wait_s=wait_s, lease_s=lease_s)


def now() -> float:
    return asyncio.get_running_loop().time()


@virtually
async def test_a_lease_ends_exactly_when_it_ends(broker: MemoryBroker) -> None:
    await send(broker, "a")
    await take(broker, lease_s=30)
    await asyncio.sleep(29.999)
    assert await take(broker) == []
    (again,) = await take(broker, wait_s=20)
    assert now() == pytest.approx(30.0, abs=1e-6)
    assert again.attempt == 2


@virtually
async def test_a_delayed_message_comes_exactly_when_its_delay_ends(broker: MemoryBroker) -> None:
    await send(broker, "a", delay_s=7.25)
    waiting = asyncio.create_task(take(broker, wait_s=20))
    await waiting
    assert now() == pytest.approx(7.25, abs=1e-6)


@virtually
async def test_a_waiting_receive_wakes_in_the_instant_of_the_send(broker: MemoryBroker) -> None:
    waiting = asyncio.create_task(take(broker, wait_s=20))
    await asyncio.sleep(3)
    await send(broker, "a")
    assert [d.body for d in await waiting] == ["a"]
    assert now() == 3


@virtually
async def test_an_extension_to_a_shorter_lease_wakes_at_its_end(broker: MemoryBroker) -> None:
    await send(broker, "a")
    (first,) = await take(broker, lease_s=1000)
    waiting = asyncio.create_task(take(broker, wait_s=20))
    await asyncio.sleep(1)
    assert await broker.extend("q", [first.receipt], lease_s=2) == [None]
    assert len(await waiting) == 1
    assert now() == 3


@virtually
async def test_the_timer_passes_on_when_the_receive_that_held_it_leaves(
    broker: MemoryBroker,
) -> None:
    long = asyncio.create_task(take(broker, wait_s=20))
    short = asyncio.create_task(take(broker, wait_s=5))
    await asyncio.sleep(1)
    await send(broker, "late", delay_s=9)
    assert await short == []
    assert [d.body for d in await long] == ["late"]
    assert now() == 10


@virtually
async def test_a_hundred_waiting_receives_get_a_hundred_messages(broker: MemoryBroker) -> None:
    waiting = [asyncio.create_task(take(broker, 1, wait_s=20)) for _ in range(100)]
    await asyncio.sleep(1)
    for start in range(0, 100, 10):
        await send(broker, *(f"m{n}" for n in range(start, start + 10)))
    taken = [d.body for got in await asyncio.gather(*waiting) for d in got]
    assert sorted(taken) == sorted(f"m{n}" for n in range(100))
    assert now() == 1


@virtually
async def test_messages_come_in_the_order_in_which_they_became_ready(
    broker: MemoryBroker,
) -> None:
    await send(broker, "second", delay_s=5)
    await send(broker, "first", delay_s=3)
    await asyncio.sleep(10)
    await send(broker, "third")
    assert [d.body for d in await take(broker)] == ["first", "second", "third"]


@virtually
async def test_a_settled_delivery_is_stale_for_all_but_a_second_ack(broker: MemoryBroker) -> None:
    await send(broker, "a", "b")
    one, two = await take(broker)
    assert await broker.ack("q", [one.receipt]) == [None]
    assert await broker.release("q", [two.receipt], delay_s=60) == [None]
    assert await broker.ack("q", [one.receipt]) == [None]
    for answers in (
        await broker.ack("q", [two.receipt]),
        await broker.release("q", [two.receipt], delay_s=0),
        await broker.extend("q", [two.receipt], lease_s=30),
        await broker.release("q", [one.receipt], delay_s=0),
    ):
        assert isinstance(answers[0], StaleReceiptError)
    assert await take(broker, wait_s=20) == []
    info = await broker.describe("q")
    assert (info.depth, info.in_flight, info.delayed) == (0, 0, 1)


@virtually
async def test_a_receipt_is_stale_from_the_end_of_its_lease(broker: MemoryBroker) -> None:
    await send(broker, "a")
    (first,) = await take(broker, lease_s=5)
    await asyncio.sleep(5)
    (answer,) = await broker.ack("q", [first.receipt])
    assert isinstance(answer, StaleReceiptError)
    assert len(await take(broker)) == 1


@virtually
async def test_twelve_hours_count_from_the_receive_not_from_the_last_extension(
    broker: MemoryBroker,
) -> None:
    await send(broker, "a")
    (first,) = await take(broker, lease_s=30_000)
    await asyncio.sleep(20_000)
    (answer,) = await broker.extend("q", [first.receipt], lease_s=23_201)
    assert isinstance(answer, RefusedError)
    assert await broker.extend("q", [first.receipt], lease_s=23_200) == [None]
    await asyncio.sleep(23_199)
    assert await take(broker) == []
    await asyncio.sleep(1)
    assert len(await take(broker)) == 1


@virtually
async def test_a_dead_lettered_message_keeps_its_id_and_wakes_the_other_queue(
    broker: MemoryBroker,
) -> None:
    await broker.declare("q", QueueOptions(dead_letter_queue="dead", max_receive_count=1))
    (sent_id,) = await send(broker, "poison", group="g")
    await take(broker, lease_s=5)
    waiting = asyncio.create_task(take(broker, queue="dead", wait_s=20))
    await asyncio.sleep(5)
    assert await take(broker) == []
    (dead,) = await waiting
    assert (dead.broker_id, dead.group, dead.attempt) == (sent_id, "g", 1)
    assert dead.sent_at is not None
    assert dead.first_received_at == dead.sent_at + 5
    assert now() == 5


@virtually
async def test_a_redrive_policy_that_cannot_work_is_refused(broker: MemoryBroker) -> None:
    with pytest.raises(RefusedError, match="its own"):
        await broker.declare("q", QueueOptions(dead_letter_queue="q"))
    for queue, dead in (("q", "d.fifo"), ("q.fifo", "d")):
        with pytest.raises(RefusedError, match="same kind") as caught:
            await broker.declare(queue, QueueOptions(dead_letter_queue=dead))
        assert caught.value.queue == queue
    with pytest.raises(RefusedError, match="max_receive_count"):
        await broker.declare("q", QueueOptions(dead_letter_queue="d", max_receive_count=0))
    with pytest.raises(RefusedError, match="lease_s"):
        await broker.declare("q", QueueOptions(lease_s=float("nan")))


@virtually
async def test_a_name_that_sqs_could_not_have_is_refused(broker: MemoryBroker) -> None:
    for name in ("", "a b", "x" * 81, "a.b", ".fifo", "x" * 76 + ".fifo"):
        with pytest.raises(RefusedError, match="queue name"):
            await broker.describe(name)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_numbers_that_are_no_durations_are_refused(value: float) -> None:
    @virtually
    async def scenario(broker: MemoryBroker) -> None:
        for call in (
            lambda: take(broker, wait_s=value),
            lambda: take(broker, lease_s=value),
            lambda: broker.release("q", ["r"], delay_s=value),
            lambda: broker.extend("q", ["r"], lease_s=value),
        ):
            with pytest.raises(RefusedError, match="it must be"):
                await call()
        (answer,) = await broker.send("q", [message("a", delay_s=value)])
        assert isinstance(answer, RefusedError)

    scenario()


@virtually
async def test_aclose_ends_a_waiting_receive(broker: MemoryBroker) -> None:
    waiting = [asyncio.create_task(take(broker, wait_s=20)) for _ in range(3)]
    await asyncio.sleep(1)
    await broker.aclose()
    for task in waiting:
        with pytest.raises(ClosedError):
            await task
    assert now() == 1
    with pytest.raises(ClosedError):
        await broker.connect()


@virtually
async def test_no_verb_starves_other_tasks(broker: MemoryBroker) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(tick())
    for _ in range(200):
        await take(broker)
    other.cancel()
    assert ticks > 20


@virtually
async def test_ping_makes_no_queue(broker: MemoryBroker) -> None:
    await broker.ping(["never"])
    assert broker._queues == {}


@virtually
async def test_attributes_cannot_be_changed_on_the_way(broker: MemoryBroker) -> None:
    attributes = {"Name": Attribute("String", "n")}
    await broker.send("q", [Outgoing("id", "a", attributes)])
    attributes["Name"] = Attribute("String", "changed")
    (delivery,) = await take(broker)
    assert delivery.attributes == {"Name": Attribute("String", "n")}
    with pytest.raises(TypeError):
        delivery.attributes["Name"] = attributes["Name"]  # type: ignore[index]


def test_an_acked_message_is_forgotten_long_before_its_lease_would_have_ended() -> None:
    async def main() -> None:
        async with virtual_broker() as broker:
            seen: list[weakref.ref[_memory_queue.Message]] = []
            # Comes back before all others, so that they do not leave by the front.
            await send(broker, "first", delay_s=900)
            for _ in range(100):
                await send(broker, *(f"m{n}" for n in range(10)))
                taken = await take(broker, lease_s=40_000)
                seen += [weakref.ref(m) for m in broker._queues["q"]._leased.values()]
                for _ in range(5):
                    await broker.extend("q", [d.receipt for d in taken], lease_s=40_000)
                await broker.ack("q", [d.receipt for d in taken])
            gc.collect()
            queue = broker._queues["q"]
            assert len(queue._row) + len(queue._heap) < 200
            assert sum(ref() is not None for ref in seen) < 200

    # weakref needs a __weakref__ slot, which the class itself has no use for.
    class Referable(_memory_queue.Message):
        __slots__ = ("__weakref__",)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mqtransport.brokers.memory.Message", Referable)
        run_virtual(main)


def test_hidden_messages_keep_their_order_when_the_heap_is_cleared_out() -> None:
    async def main() -> None:
        async with virtual_broker() as broker:
            delays = list(range(1, 301))
            Random(7).shuffle(delays)
            for delay_s in delays:
                await send(broker, str(delay_s), delay_s=delay_s)
                await send(broker, "held")
                (held,) = await take(broker)
                for _ in range(5):
                    await broker.extend("q", [held.receipt], lease_s=900)
                await broker.ack("q", [held.receipt])
            got: list[str] = []
            while len(got) < 300:
                got += [d.body for d in await take(broker, wait_s=20, lease_s=40_000)]
                assert now() == pytest.approx(len(got))
            assert got == [str(delay_s) for delay_s in sorted(delays)]

    run_virtual(main)


@virtually
async def test_counts_stay_true_through_extensions_and_releases(broker: MemoryBroker) -> None:
    await send(broker, "a", "b", "c")
    await send(broker, "late", delay_s=100)
    one, two, _ = await take(broker)
    for _ in range(3):
        await broker.extend("q", [one.receipt, two.receipt], lease_s=50)
    await broker.release("q", [two.receipt], delay_s=10)
    info = await broker.describe("q")
    assert (info.depth, info.in_flight, info.delayed) == (0, 2, 2)
    await asyncio.sleep(200)
    info = await broker.describe("q")
    assert (info.depth, info.in_flight, info.delayed) == (4, 0, 0)


@virtually
async def test_receives_leave_neither_waiters_nor_timers_behind(broker: MemoryBroker) -> None:
    for _ in range(50):
        assert await take(broker, wait_s=1) == []
        waiting = asyncio.create_task(take(broker, wait_s=20))
        await asyncio.sleep(0.1)
        await send(broker, "a")
        (delivery,) = await waiting
        await broker.ack("q", [delivery.receipt])
    # The last one is not cleared away by a later send.
    assert await take(broker, wait_s=1) == []
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    assert len(broker._waiters["q"]._waiting) == 0
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []


def test_remembered_acks_are_bounded() -> None:
    async def main() -> None:
        async with virtual_broker() as broker:
            for _ in range(1_100):
                await send(broker, *(f"m{n}" for n in range(10)))
                await broker.ack("q", [d.receipt for d in await take(broker)])
            assert len(broker._queues["q"]._acked) == 10_000
            assert (await broker.describe("q")).in_flight == 0

    run_virtual(main)


def test_one_broker_serves_one_loop_after_another() -> None:
    broker = MemoryBroker()

    async def first() -> None:
        await broker.connect()
        await send(broker, "kept")
        # Left waiting when the loop ends.
        kept.append(asyncio.create_task(take(broker, queue="other", wait_s=20)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def second() -> list[RawDelivery]:
        waiting = asyncio.create_task(take(broker, queue="other", wait_s=20))
        await asyncio.sleep(0.01)
        await send(broker, "news", queue="other")
        return await take(broker) + await waiting

    kept: list[object] = []
    asyncio.run(first())
    assert [d.body for d in asyncio.run(second())] == ["kept", "news"]


def test_a_wake_up_does_not_go_to_a_loop_that_stopped_without_cleaning_up() -> None:
    broker = virtual_broker()
    dead, alive = VirtualLoop(), VirtualLoop()
    try:
        dead.run_until_complete(broker.connect())
        abandoned = dead.create_task(take(broker, wait_s=20))
        dead.run_until_complete(asyncio.sleep(1))

        async def scenario() -> tuple[list[str], float]:
            waiting = asyncio.create_task(take(broker, wait_s=20))
            await asyncio.sleep(1)
            await send(broker, "news")
            return [d.body for d in await waiting], now()

        assert alive.run_until_complete(scenario()) == (["news"], 1.0)
        abandoned.cancel()
        dead.run_until_complete(asyncio.wait([abandoned]))
    finally:
        dead.close()
        alive.close()


def test_the_same_random_source_gives_the_same_ids() -> None:
    async def main() -> tuple[list[str], list[str]]:
        async with virtual_broker() as broker:
            ids = await send(broker, "a", "b")
            return ids, [d.receipt for d in await take(broker)]

    assert run_virtual(main) == run_virtual(main)


def test_it_works_on_asyncios_own_loop_and_clock() -> None:
    async def main() -> list[int]:
        async with MemoryBroker() as broker:
            await send(broker, "a")
            (first,) = await take(broker, lease_s=0.05)
            (second,) = await take(broker, wait_s=20)
            assert await broker.ack("q", [second.receipt]) == [None]
            return [first.attempt, second.attempt]

    assert asyncio.run(main()) == [1, 2]


@pytest.mark.parametrize("limit", [0, -1, limits.MAX_MESSAGE_BYTES + 1])
def test_a_size_limit_out_of_range_is_refused_at_construction(limit: int) -> None:
    with pytest.raises(RefusedError, match="max_message_bytes"):
        MemoryBroker(max_message_bytes=limit)


def test_a_lower_size_limit_holds_for_every_queue() -> None:
    async def main() -> None:
        async with virtual_broker(max_message_bytes=100) as broker:
            (answer,) = await broker.send("q", [message("x" * 100)])
            assert isinstance(answer, RefusedError)
            assert (await broker.describe("q")).max_message_bytes == 100

    run_virtual(main)


def test_construction_needs_no_event_loop_and_no_verb_works_before_connect() -> None:
    broker = MemoryBroker(timeout_s=2)
    assert broker.timeout_s == 2
    with pytest.raises(ClosedError, match="connect"):
        asyncio.run(broker.describe("q"))
