"""The hand: one outcome per delivery, and counts that balance at every instant."""

import asyncio
from typing import Any

import pytest
from fakes import ScriptedBroker, Slow, held, raw, virtually
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mqtransport.channel.in_hand import Counts, Hand, Held, Interruption, Outcome
from mqtransport.message import Attribute, Delivery

OUTCOMES = st.sampled_from(Outcome)


class FakeTask:
    """As much of a task as the hand looks at."""

    def __init__(self) -> None:
        self.ended = False
        self.cancelled_times = 0

    def done(self) -> bool:
        return self.ended

    def cancel(self) -> None:
        self.cancelled_times += 1


class Conservation(RuleBasedStateMachine):
    """Whatever is done in whatever order, received == outcomes + in hand."""

    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.hand = Hand(capacity=5)
        self.first_outcome: dict[Held, Outcome] = {}
        self.all: list[Held] = []

    @rule(target=taken, with_task=st.booleans())
    def take(self, with_task: bool) -> Held:
        one = held(str(len(self.all)))
        if with_task:
            one.task = FakeTask()  # type: ignore[assignment]
        one.delivery = Delivery("id", "n", {}, 1, "q", None, 0.0)
        self.hand.add(one)
        self.all.append(one)
        return one

    @rule(one=taken, outcome=OUTCOMES)
    def begin_settle(self, one: Held, outcome: Outcome) -> None:
        begun = self.hand.begin_settle(one, outcome)
        assert not (begun and one.outcome is not None)

    @rule(one=taken, outcome=OUTCOMES)
    def finish(self, one: Held, outcome: Outcome) -> None:
        was_open = one.outcome is None
        assert self.hand.finish(one, outcome) is was_open
        self.first_outcome.setdefault(one, outcome)
        assert one.outcome is self.first_outcome[one]

    @rule(one=consumes(taken))
    def handler_ends(self, one: Held) -> None:
        if one.task is not None:
            one.task.ended = True  # type: ignore[attr-defined]
        self.hand.handler_ended(one)

    @invariant()
    def the_law_holds(self) -> None:
        counts = self.hand.counts
        assert counts.balanced
        assert counts.received == len(self.all)
        assert counts.in_hand == len(self.hand) == sum(one.outcome is None for one in self.all)
        for outcome in Outcome:
            found = [one for one in self.all if one.outcome is outcome]
            assert getattr(counts, outcome.value) == len(found)

    @invariant()
    def unfinished_are_those_neither_settling_nor_over(self) -> None:
        open_ = [one for one in self.all if one.outcome is None and one.settling is None]
        assert self.hand.unfinished == len(open_)

    @invariant()
    def a_running_handler_keeps_its_slot(self) -> None:
        running = [
            one
            for one in self.all
            if one.outcome is not None and one.task is not None and not one.task.done()
        ]
        assert self.hand.stuck == len(running)
        assert self.hand.free == 5 - len(self.hand) - len(running)

    @invariant()
    def a_lost_lease_shows_to_the_handler(self) -> None:
        for one in self.all:
            assert one.delivery is not None
            assert one.delivery.lease_lost is (one.outcome is Outcome.LEASE_LOST)


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_settle_under_way_is_not_overtaken_by_another() -> None:
    hand, one = Hand(1), held()
    hand.add(one)
    assert hand.begin_settle(one, Outcome.ACKED)
    assert not hand.begin_settle(one, Outcome.RELEASED)
    assert one.settling is Outcome.ACKED


def test_a_delivery_gets_one_outcome() -> None:
    hand, one = Hand(1), held()
    hand.add(one)
    assert hand.finish(one, Outcome.ACKED)
    assert not hand.finish(one, Outcome.RELEASED)
    assert not hand.begin_settle(one, Outcome.RELEASED)
    assert hand.counts == Counts(received=1, acked=1)


@virtually
async def test_a_slot_that_comes_free_is_announced() -> None:
    hand, one = Hand(1), held()
    hand.add(one)
    assert hand.free == 0
    assert not hand.changed.is_set()
    hand.finish(one, Outcome.RELEASED)
    assert hand.changed.is_set()
    assert hand.free == 1


@virtually
async def test_a_handler_is_interrupted_once_and_the_first_reason_stands() -> None:
    one = held()
    one.interrupt(Interruption.STOP)
    assert one.interruption is None  # nothing runs
    one.task = asyncio.create_task(asyncio.sleep(10))
    await asyncio.sleep(0)
    one.interrupt(Interruption.LEASE_LOST)
    one.interrupt(Interruption.STOP)
    await asyncio.wait({one.task})
    assert one.interruption is Interruption.LEASE_LOST
    assert one.task.cancelled()


def test_the_hand_may_change_while_it_is_read() -> None:
    hand = Hand(10)
    for n in range(5):
        hand.add(held(str(n)))
    for one in hand:
        hand.finish(one, Outcome.RELEASED)
    assert len(hand) == 0


def test_the_message_id_is_the_brokers_until_the_message_was_read() -> None:
    one = held()
    attributes = {**one.raw.attributes, "MQ": Attribute("String", '{"id": "own-id"}')}
    one.raw = one.raw._replace(attributes=attributes)
    assert one.message_id == "id-1"
    one.name = "n"
    assert one.message_id == "own-id"


# -- through a channel ----------------------------------------------------------------------


async def consuming_app(broker: ScriptedBroker, consume: Any) -> Any:
    from pydantic import BaseModel

    from mqtransport import Consumer, MQApp
    from mqtransport.settings import MQSettings

    class C(Consumer):
        name = "n"

        class Model(BaseModel):
            pass

    C.consume = consume  # type: ignore[method-assign]
    C.__abstractmethods__ = frozenset()
    app = MQApp(broker, settings=MQSettings(), clock=broker.clock)
    channel = await app.create_consuming_channel("orders")
    channel.add_consumer(C())
    await app.start()
    return app


@virtually
async def test_a_handler_that_finishes_in_spite_of_a_stop_is_acked_and_not_released() -> None:
    async def consume(self: Any, msg: Any) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # finishes its work all the same

    broker = ScriptedBroker()
    broker.script("receive", [held().raw], Slow(20, []))
    app = await consuming_app(broker, consume)
    await asyncio.sleep(1)
    await app.stop(timeout=1)
    assert [call.verb for call in broker.calls if call.verb in ("ack", "release")] == ["ack"]
    counts = app.consuming_channels[0].counts
    assert (counts.acked, counts.released) == (1, 0)


@virtually
async def test_a_handler_cancelled_from_outside_ends_cancelled_and_settles_nothing() -> None:
    async def consume(self: Any, msg: Any) -> None:
        await asyncio.sleep(100)

    broker = ScriptedBroker()
    broker.script("receive", [held().raw])
    app = await consuming_app(broker, consume)
    channel = app.consuming_channels[0]
    await asyncio.sleep(1)
    (one,) = channel._hand
    one.task.cancel()
    await asyncio.wait({one.task}, timeout=1)
    assert one.task.cancelled()
    await app.stop(timeout=1)
    assert broker.of("ack") + broker.of("release") == []
    assert (channel.counts.lease_lost, channel.counts.balanced) == (1, True)


@virtually
async def test_an_error_that_cannot_be_printed_does_not_kill_the_channel() -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    async def consume(self: Any, msg: Any) -> None:
        raise Unprintable

    await expect_survival(consume)


@pytest.mark.parametrize("delay_s", [float("nan"), float("inf")])
@virtually
async def test_an_absurd_retry_delay_does_not_kill_the_channel(delay_s: float) -> None:
    from mqtransport import RetryMessage

    async def consume(self: Any, msg: Any) -> None:
        raise RetryMessage(delay_s=delay_s)

    await expect_survival(consume)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), asyncio.CancelledError()])
@virtually
async def test_what_a_handler_raises_does_not_kill_the_channel(error: BaseException) -> None:
    async def consume(self: Any, msg: Any) -> None:
        raise error

    await expect_survival(consume)


async def expect_survival(consume: Any) -> None:
    from mqtransport import MQApp

    broker = ScriptedBroker()
    broker.script("receive", [raw("1")], [raw("2", attempt=5)])
    app: MQApp = await consuming_app(broker, consume)
    channel = app.consuming_channels[0]
    target = await app.create_producing_channel("dead")
    channel.use_dead_letter_queue(target)
    await asyncio.sleep(5)
    assert app.failure is None
    assert channel.running
    await app.stop(timeout=1)
    assert channel.counts.balanced
