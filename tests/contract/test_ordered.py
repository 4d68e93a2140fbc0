"""Ordered queues: a group is handled in order, through failures, stops and lost leases."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from mqtransport import Backoff, Consumer, Delivery, MQApp, Producer, Retry
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.channel import ConsumingChannel
from mqtransport.errors import (
    BrokerError,
    BrokerUnavailableError,
    ConsumeMessageError,
    MessageRefusedError,
    RetryMessage,
    StaleReceiptError,
)
from mqtransport.testing import VirtualClock, run_virtual
from tests.contract.support import check_balanced


class Step(BaseModel):
    n: int


class Steps(Producer[Step]):
    name = "step"


@dataclass
class Seen:
    """What the handler saw: the starts and ends of every run, in order."""

    starts: list[tuple[str, int, int]] = field(default_factory=list)
    done: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    running: set[str] = field(default_factory=set)
    overlaps: int = 0


class Walker(Consumer[Step]):
    """Handles steps; ``behave`` may sleep or raise."""

    name = "step"

    def __init__(self, behave: Callable[[Step, Delivery], Coroutine[Any, Any, None]]) -> None:
        self.behave = behave
        self.seen = Seen()

    async def consume(self, step: Step, delivery: Delivery) -> None:
        group = delivery.group or ""
        self.seen.overlaps += group in self.seen.running
        self.seen.running.add(group)
        self.seen.starts.append((group, step.n, delivery.attempt))
        try:
            await self.behave(step, delivery)
            self.seen.done[group].append(step.n)
        finally:
            self.seen.running.discard(group)


async def nothing(step: Step, delivery: Delivery) -> None:
    await asyncio.sleep(0.1)


Scene = Callable[["Stage"], Coroutine[Any, Any, None]]


@dataclass
class Stage:
    broker: MemoryBroker
    app: MQApp
    channel: ConsumingChannel
    walker: Walker
    producer: Steps

    @property
    def seen(self) -> Seen:
        return self.walker.seen

    async def send(self, group: str, *numbers: int) -> None:
        for n in numbers:
            await self.producer.send(Step(n=n), group=group)

    async def left(self, queue: str = "steps.fifo") -> tuple[int, int]:
        info = await self.broker.describe(queue)
        return info.depth or 0, info.in_flight or 0


def play(
    scene: Scene,
    behave: Callable[[Step, Delivery], Coroutine[Any, Any, None]] = nothing,
    *,
    broker: type[MemoryBroker] = MemoryBroker,
    seed: int | None = None,
    **options: Any,
) -> None:
    """Play a scene in virtual time on a memory broker's ordered queue, with a dead letter queue.

    The consumer is not started yet: what is sent before comes in one receive.
    """

    async def main() -> None:
        clock = VirtualClock()
        driver = broker(clock=clock, random=Random(1))
        await driver.connect()
        feeder = MQApp(driver, clock=clock, random=Random(3))
        out = await feeder.create_producing_channel("steps.fifo")
        out.add_producer(producer := Steps())
        await feeder.start()
        app = MQApp(driver, clock=clock, random=Random(2))
        channel = await app.create_consuming_channel(
            "steps.fifo", dead_letter="steps-dlq.fifo", **options
        )
        channel.add_consumer(walker := Walker(behave))
        await scene(Stage(driver, app, channel, walker, producer))
        await feeder.stop()
        await app.shutdown(timeout=5)
        check_balanced(channel.counts)

    run_virtual(main, seed=seed)


def failing(
    numbers: set[int], times: int = 10**6, error: type[Exception] = ValueError
) -> Callable[[Step, Delivery], Coroutine[Any, Any, None]]:
    """Fail the first so many runs of these numbers."""
    runs: defaultdict[int, int] = defaultdict(int)

    async def behave(step: Step, delivery: Delivery) -> None:
        await asyncio.sleep(0.1)
        runs[step.n] += 1
        if step.n in numbers and runs[step.n] <= times:
            raise error("no")

    return behave


SLOW = Retry(max_attempts=3, backoff=Backoff(first_s=20.0, max_s=20.0))
QUICK = Retry(max_attempts=3, backoff=Backoff(first_s=1.0, max_s=4.0))


@pytest.mark.parametrize("seed", [None, *range(20)])
def test_a_group_is_handled_in_order_one_at_a_time_and_groups_in_parallel(
    seed: int | None,
) -> None:
    async def scene(stage: Stage) -> None:
        await asyncio.gather(*(stage.send(group, *range(20)) for group in "abcd"))
        await stage.app.start()
        await asyncio.sleep(30)
        assert stage.seen.done == {group: list(range(20)) for group in "abcd"}
        assert stage.seen.overlaps == 0
        starts = [group for group, _, _ in stage.seen.starts]
        assert len(set(starts[:4])) > 1, "no group waits for another to end"

    play(scene, seed=seed)


def test_the_next_message_of_a_group_does_not_wait_for_company_of_the_last_ones_ack() -> None:
    async def scene(stage: Stage) -> None:
        await stage.app.start()
        await stage.send("a", 1)
        await asyncio.sleep(0.05)
        await stage.send("a", 2)  # stays at the broker until the first is acked
        await asyncio.sleep(0.07)
        assert [n for _, n, _ in stage.seen.starts] == [1, 2]

    play(scene)


def test_no_message_of_a_group_sees_what_a_handler_of_another_left_in_its_context() -> None:
    """Ten acks make a batch; what follows from it starts the next message of every group."""
    tenant: ContextVar[str | None] = ContextVar("tenant", default=None)
    seen: list[str | None] = []

    async def behave(step: Step, delivery: Delivery) -> None:
        seen.append(tenant.get())
        tenant.set(delivery.group)
        await asyncio.sleep(0.1)

    async def scene(stage: Stage) -> None:
        await asyncio.gather(*(stage.send(group, 1, 2, 3) for group in "abcdefghij"))
        await stage.app.start()
        await asyncio.sleep(30)
        assert seen == [None] * 30

    play(scene, behave, concurrency=40)


@pytest.mark.parametrize("seed", [None, *range(10)])
def test_a_failing_head_is_retried_in_place_and_its_tail_waits_unstarted(seed: int | None) -> None:
    async def scene(stage: Stage) -> None:
        await stage.send("a", *range(10))
        await stage.app.start()
        await asyncio.sleep(60)
        assert stage.seen.done == {"a": list(range(10))}
        assert stage.seen.overlaps == 0
        heads = [(n, attempt) for _, n, attempt in stage.seen.starts if n == 0]
        assert heads == [(0, 1), (0, 2), (0, 3)]
        # In place: the broker delivered each of them once.
        assert stage.channel.counts.received == 10

    play(scene, failing({0}, times=2), retry=QUICK, seed=seed)


def test_while_a_group_is_fenced_other_groups_go_on() -> None:
    async def scene(stage: Stage) -> None:
        await stage.send("bad", 0, 1)
        await stage.send("good", *range(100, 110))
        await stage.app.start()
        await asyncio.sleep(3)
        assert stage.seen.done["good"] == list(range(100, 110))
        assert stage.seen.done["bad"] == []
        await asyncio.sleep(60)
        assert stage.seen.done["bad"] == [1]

    retry = Retry(max_attempts=4, backoff=Backoff(first_s=8, max_s=8))
    play(scene, failing({0}), retry=retry)


@pytest.mark.parametrize("seed", range(5))
def test_a_fenced_group_does_not_hold_up_another_whose_head_was_delivered_as_often(
    seed: int,
) -> None:
    """Both are suspects, which run one at a time; but a pause is no run."""
    done_at: list[float] = []

    async def behave(step: Step, delivery: Delivery) -> None:
        if delivery.group == "bad":
            raise RetryMessage(delay_s=25)
        done_at.append(asyncio.get_running_loop().time())

    async def scene(stage: Stage) -> None:
        await stage.send("bad", 0)
        await stage.send("good", 0)
        for _ in range(QUICK.max_attempts):
            taken = await stage.broker.receive("steps.fifo", max_messages=2, wait_s=0, lease_s=9)
            await stage.broker.release("steps.fifo", [one.receipt for one in taken], delay_s=0)
        started_at = asyncio.get_running_loop().time()
        await stage.app.start()
        await asyncio.sleep(60)
        assert done_at[0] - started_at < 1

    play(scene, behave, retry=QUICK, max_deliveries=100, seed=seed)


def test_a_poisoned_head_is_dead_lettered_and_nine_behind_it_are_handled_in_order() -> None:
    async def scene(stage: Stage) -> None:
        await stage.send("a", *range(10))
        await stage.app.start()
        await asyncio.sleep(60)
        assert stage.seen.done == {"a": list(range(1, 10))}
        assert stage.channel.counts.dead_lettered == 1
        assert await stage.left("steps-dlq.fifo") == (1, 0)
        (dead,) = await stage.broker.receive(
            "steps-dlq.fifo", max_messages=10, wait_s=0, lease_s=30
        )
        assert dead.group == "a"

    play(scene, failing({0}), retry=QUICK)


def test_a_rejected_head_lets_the_next_start_at_once() -> None:
    async def scene(stage: Stage) -> None:
        await stage.send("a", 0, 1)
        await stage.app.start()
        await asyncio.sleep(1)
        assert stage.seen.done == {"a": [1]}
        assert stage.channel.counts.dead_lettered == 1

    play(scene, failing({0}, error=ConsumeMessageError))


def test_a_delay_that_does_not_fit_the_fence_gives_the_group_back_last_first() -> None:
    releases: list[tuple[float, list[str]]] = []

    class Watched(MemoryBroker):
        async def release(
            self, queue: str, receipts: Sequence[str], *, delay_s: float
        ) -> list[BrokerError | None]:
            releases.append((delay_s, list(receipts)))
            return await super().release(queue, receipts, delay_s=delay_s)

    async def behave(step: Step, delivery: Delivery) -> None:
        if step.n == 0 and delivery.attempt == 1:
            raise RetryMessage(delay_s=120)

    async def scene(stage: Stage) -> None:
        await stage.send("a", *range(4))
        await stage.app.start()
        await asyncio.sleep(100)
        assert stage.seen.starts == [("a", 0, 1)], "the tail is not run before its head"
        assert await stage.left() == (3, 0), "the tail is given back, not hidden"
        await asyncio.sleep(100)
        assert stage.seen.done == {"a": [0, 1, 2, 3]}
        assert stage.seen.overlaps == 0
        (tail_delay, tail), (head_delay, head) = releases
        assert (tail_delay, head_delay, len(tail), len(head)) == (0, 120, 3, 1)

    play(scene, behave, broker=Watched)


@pytest.mark.parametrize("seed", [None, *range(5)])
def test_a_head_that_asks_for_a_retry_at_once_for_ever_ends_by_max_deliveries(
    seed: int | None,
) -> None:
    async def behave(step: Step, delivery: Delivery) -> None:
        if step.n == 0:
            raise RetryMessage(delay_s=0)  # without awaiting anything

    async def scene(stage: Stage) -> None:
        await stage.send("a", 0, 1)
        await stage.app.start()
        await asyncio.sleep(10)
        heads = [attempt for _, n, attempt in stage.seen.starts if n == 0]
        assert heads == list(range(1, 10))
        assert stage.seen.done == {"a": [1]}
        assert stage.channel.counts.dead_lettered == 1

    play(scene, behave, retry=QUICK, seed=seed)


def test_a_head_that_ran_too_long_keeps_its_lease_until_it_is_run_again() -> None:
    """The pause is longer than what is left of the lease when its handler is cancelled."""

    async def behave(step: Step, delivery: Delivery) -> None:
        if delivery.attempt == 1:
            await asyncio.sleep(3600)

    async def scene(stage: Stage) -> None:
        await stage.send("a", 1)
        await stage.app.start()
        await asyncio.sleep(60)
        assert stage.channel.counts.lease_lost == 0
        assert stage.seen.starts == [("a", 1, 1), ("a", 1, 2)]

    play(scene, behave, lease_s=1.0, max_processing_s=5.0, retry=SLOW)


def test_a_head_that_is_run_again_at_once_leaves_the_loop_to_others() -> None:
    turns: list[int] = []

    async def behave(step: Step, delivery: Delivery) -> None:
        if delivery.attempt == 1:
            asyncio.get_running_loop().call_soon(turns.append, delivery.attempt)
        if delivery.attempt < 100:
            raise RetryMessage(delay_s=0)
        turns.append(delivery.attempt)

    async def scene(stage: Stage) -> None:
        await stage.send("a", 0)
        await stage.app.start()
        await asyncio.sleep(10)
        assert turns == [1, 100]

    play(scene, behave, max_deliveries=100)


@pytest.mark.parametrize("max_fence_s", [0, 2, 5])
def test_the_fence_bounds_how_long_a_group_is_held(max_fence_s: float) -> None:
    async def scene(stage: Stage) -> None:
        await stage.send("a", 0, 1)
        await stage.app.start()
        await asyncio.sleep(120)
        assert stage.seen.done == {"a": [0, 1]}
        # Whatever the fence: nothing of the group ran before its head was done.
        order = [n for _, n, _ in stage.seen.starts]
        assert order.index(1) > max(i for i, n in enumerate(order) if n == 0)
        assert (stage.channel.counts.released > 0) is (max_fence_s < 3)

    async def behave(step: Step, delivery: Delivery) -> None:
        if step.n == 0 and delivery.attempt == 1:
            raise RetryMessage(delay_s=3)

    play(scene, behave, max_fence_s=max_fence_s)


@pytest.mark.parametrize("seed", range(10))
def test_a_stop_gives_the_tail_back_and_lets_the_head_finish(seed: int) -> None:
    async def slow(step: Step, delivery: Delivery) -> None:
        await asyncio.sleep(3)

    async def scene(stage: Stage) -> None:
        await stage.send("a", *range(5))
        await stage.app.start()
        await asyncio.sleep(1)
        report = await stage.app.stop(timeout=10)
        assert stage.seen.done == {"a": [0]}
        assert await stage.left() == (4, 0)
        assert report.seconds < 11
        await stage.app.start()
        await asyncio.sleep(30)
        assert stage.seen.done == {"a": list(range(5))}

    play(scene, slow, seed=seed)


def test_a_stop_gives_the_tail_back_while_its_head_still_runs() -> None:
    async def slow(step: Step, delivery: Delivery) -> None:
        await asyncio.sleep(5)

    async def scene(stage: Stage) -> None:
        await stage.send("a", *range(5))
        await stage.app.start()
        await asyncio.sleep(1)
        stopping = asyncio.create_task(stage.app.stop(timeout=10))
        await asyncio.sleep(1)
        assert (stage.channel.counts.released, stage.channel.counts.in_hand) == (4, 1)
        await stopping
        assert stage.seen.done == {"a": [0]}

    play(scene, slow)


@pytest.mark.parametrize("seed", range(10))
def test_a_stop_during_a_fence_gives_the_group_back_at_once(seed: int) -> None:
    async def scene(stage: Stage) -> None:
        await stage.send("a", *range(5))
        await stage.app.start()
        await asyncio.sleep(1)
        report = await stage.app.stop(timeout=10)
        assert report.seconds < 1
        assert await stage.left() == (5, 0)

    retry = Retry(max_attempts=5, backoff=Backoff(first_s=1000, max_s=1000))
    play(scene, failing({0}), retry=retry, max_fence_s=5000, seed=seed)


class LosesLeases(MemoryBroker):
    """Renewals of chosen deliveries are refused as stale."""

    lost: ClassVar[set[str]] = set()

    async def extend(
        self, queue: str, receipts: Sequence[str], *, lease_s: float
    ) -> list[BrokerError | None]:
        answers = await super().extend(queue, receipts, lease_s=lease_s)
        stale = StaleReceiptError("stale")
        return [stale if one in self.lost else a for one, a in zip(receipts, answers, strict=True)]


def test_when_the_heads_lease_is_lost_its_tail_is_not_run_before_it() -> None:
    async def slow_once(step: Step, delivery: Delivery) -> None:
        await asyncio.sleep(40 if step.n == 0 and delivery.attempt == 1 else 0.1)

    async def scene(stage: Stage) -> None:
        await stage.send("a", *range(4))
        await stage.app.start()
        await asyncio.sleep(1)
        held = list(stage.channel._hand)
        LosesLeases.lost = {held[0].raw.receipt}
        await asyncio.sleep(120)
        assert stage.seen.done == {"a": [0, 1, 2, 3]}
        assert stage.seen.overlaps == 0
        assert stage.channel.counts.lease_lost == 1
        assert stage.channel.counts.released >= 1

    play(scene, slow_once, broker=LosesLeases)


class RefusesAcks(MemoryBroker):
    """Acks go wrong for a while: the answer is that they could not be made."""

    until = 0.0

    async def ack(self, queue: str, receipts: Sequence[str]) -> list[BrokerError | None]:
        if self._clock.monotonic() < self.until:
            return [BrokerUnavailableError("no")] * len(receipts)
        return await super().ack(queue, receipts)


@pytest.mark.parametrize("seed", range(10))
def test_what_was_handled_but_could_not_be_deleted_is_not_run_again(seed: int) -> None:
    async def scene(stage: Stage) -> None:
        stage.broker.until = 1000.0  # type: ignore[attr-defined]
        await stage.send("a", *range(3))
        await stage.app.start()
        await asyncio.sleep(400)
        stage.broker.until = 0.0  # type: ignore[attr-defined]
        await asyncio.sleep(200)
        assert [n for _, n, _ in stage.seen.starts] == [0, 1, 2]
        assert await stage.left() == (0, 0)
        assert stage.channel.counts.lease_lost > 0

    play(scene, broker=RefusesAcks, seed=seed)


@pytest.mark.parametrize("seed", range(30))
def test_under_random_failures_no_group_sees_a_message_before_its_predecessor_is_done(
    seed: int,
) -> None:
    random = Random(seed)
    done: defaultdict[str, set[int]] = defaultdict(set)
    violations: list[tuple[str, int]] = []

    async def behave(step: Step, delivery: Delivery) -> None:
        group = delivery.group or ""
        if step.n and step.n - 1 not in done[group]:
            violations.append((group, step.n))
        await asyncio.sleep(random.uniform(0, 2))
        draw = random.random()
        if draw < 0.2:
            raise ValueError("no")
        if draw < 0.25:
            raise RetryMessage(delay_s=random.choice([0, 1, 30, 90]))
        if draw < 0.3:
            done[group].add(step.n)
            raise ConsumeMessageError("rejected")
        if draw < 0.33:
            await asyncio.sleep(400)  # beyond max_processing_s
        done[group].add(step.n)

    async def scene(stage: Stage) -> None:
        await asyncio.gather(*(stage.send(group, *range(15)) for group in "abc"))
        await stage.app.start()
        for _ in range(4):
            await asyncio.sleep(random.uniform(1, 100))
            await stage.app.stop(timeout=random.choice([0, 1, 5]))
            await stage.app.start()
        await asyncio.sleep(20_000)
        assert violations == []
        assert await stage.left() == (0, 0)
        dead, _ = await stage.left("steps-dlq.fifo")
        handled = sum(map(len, stage.seen.done.values()))
        assert handled + dead >= 45

    retry = Retry(max_attempts=100, backoff=Backoff(first_s=1, max_s=60))
    play(scene, behave, retry=retry, max_deliveries=1000, seed=seed)


async def test_a_send_without_a_group_or_with_a_delay_is_refused_at_the_call() -> None:
    app = await MQApp.connect("memory://")
    out = await app.create_producing_channel("steps.fifo")
    out.add_producer(producer := Steps())
    await app.start()
    with pytest.raises(MessageRefusedError, match="pass group="):
        await producer.send(Step(n=1))
    with pytest.raises(MessageRefusedError, match="takes no delay_s"):
        await producer.send(Step(n=1), group="a", delay_s=1)
    await app.shutdown()
