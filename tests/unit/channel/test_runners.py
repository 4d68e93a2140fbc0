"""Runners: no delivery waits for the handler of another, and none feels what another left."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from fakes import held, virtually

from mqtransport.channel.in_hand import Held, Outcome
from mqtransport.channel.runners import Runners

Step = Callable[[Held], Awaitable[object]]

TENANT: ContextVar[str] = ContextVar("tenant")


class Bench:
    """Runs a handler for every delivery, and writes down what happens."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.runners = Runners(self.handle, self.ended)
        self.tasks: dict[Held, asyncio.Task[None] | None] = {}
        self.at_once = self.most_at_once = 0
        self.over: list[tuple[Held, BaseException | None]] = []

    async def handle(self, one: Held) -> bool:
        self.tasks[one] = one.task
        assert one.task is asyncio.current_task()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self.step(one) is not False
        finally:
            self.at_once -= 1

    def ended(self, one: Held, error: BaseException | None) -> None:
        self.over.append((one, error))

    def start(self, count: int) -> list[Held]:
        started = [held(str(number)) for number in range(count)]
        for one in started:
            self.runners.start(one)
        return started

    @property
    def task_count(self) -> int:
        return len(set(self.tasks.values()))


async def nothing(one: Held) -> None:
    pass


@virtually
async def test_handlers_that_wait_for_nothing_share_a_task_and_keep_their_order() -> None:
    bench = Bench(nothing)
    started = bench.start(10)
    await asyncio.sleep(1)
    assert bench.over == [(one, None) for one in started]
    assert list(bench.tasks) == started
    assert bench.task_count == 1
    assert [one.task for one in started] == [None] * 10


@virtually
async def test_handlers_that_wait_run_beside_each_other_in_tasks_of_their_own() -> None:
    bench = Bench(lambda one: asyncio.sleep(5))
    started = bench.start(10)
    await asyncio.sleep(1)
    assert (bench.most_at_once, bench.task_count) == (10, 10)
    assert all(one.task is not None and not one.task.done() for one in started)
    await asyncio.sleep(5)
    assert {one for one, error in bench.over if error is None} == set(started)


@virtually
async def test_one_that_waits_holds_up_none_of_those_behind_it() -> None:
    gate = asyncio.Event()

    async def step(one: Held) -> None:
        if one.raw.broker_id == "id-0":
            await gate.wait()

    bench = Bench(step)
    first, *others = bench.start(5)
    await asyncio.sleep(1)
    assert {one for one, _ in bench.over} == set(others)
    gate.set()
    await asyncio.sleep(1)
    assert bench.over[-1] == (first, None)


@virtually
async def test_a_task_in_which_a_handler_has_waited_is_used_no_more() -> None:
    gate = asyncio.Event()

    async def step(one: Held) -> None:
        if one.raw.broker_id == "id-0":
            await gate.wait()

    bench = Bench(step)
    (first,) = bench.start(1)
    await asyncio.sleep(1)
    gate.set()  # it goes on before those that come now have their tasks
    second, third = held("second"), held("third")
    bench.runners.start(second)
    bench.runners.start(third)
    await asyncio.sleep(1)
    assert [one for one, _ in bench.over] == [second, third, first]
    assert bench.tasks[first] not in (bench.tasks[second], bench.tasks[third])


@virtually
async def test_what_is_settled_before_its_turn_is_not_run() -> None:
    bench = Bench(nothing)
    first, second, third = bench.start(3)
    second.settling = Outcome.RELEASED
    third.outcome = Outcome.LEASE_LOST
    await asyncio.sleep(1)
    assert list(bench.tasks) == [first]


@virtually
async def test_a_delivery_that_did_not_end_well_shares_its_task_with_none_behind_it() -> None:
    async def step(one: Held) -> bool:
        return False

    bench = Bench(step)
    started = bench.start(3)
    await asyncio.sleep(1)
    assert bench.over == [(one, None) for one in started]
    assert bench.task_count == 3


@virtually
async def test_a_cancellation_that_comes_late_reaches_no_other_delivery() -> None:
    async def step(one: Held) -> None:
        if one.raw.broker_id == "id-0":
            assert one.task is not None
            one.task.cancel()  # the handler ends well before it feels it
        else:
            await asyncio.sleep(0)
            finished.append(one)

    finished: list[Held] = []
    bench = Bench(step)
    first, second = bench.start(2)
    await asyncio.sleep(1)
    assert bench.over == [(first, None), (second, None)]
    assert finished == [second]


@virtually
async def test_a_cancellation_that_its_handler_takes_back_reaches_no_other_delivery() -> None:
    async def step(one: Held) -> None:
        if one.raw.broker_id == "id-0":
            assert one.task is not None
            one.task.cancel()
            one.task.uncancel()  # up to Python 3.12 it comes all the same
        else:
            await asyncio.sleep(0)
            finished.append(one)

    finished: list[Held] = []
    bench = Bench(step)
    first, second = bench.start(2)
    await asyncio.sleep(1)
    assert bench.over == [(first, None), (second, None)]
    assert finished == [second]


@virtually
async def test_a_context_variable_that_is_left_behind_reaches_no_other_delivery() -> None:
    seen: list[str] = []

    async def step(one: Held) -> None:
        seen.append(TENANT.get("nobody's"))
        TENANT.set(one.raw.broker_id)

    TENANT.set("the app's")
    bench = Bench(step)
    bench.start(3)
    await asyncio.sleep(1)
    assert seen == ["the app's"] * 3


@virtually
async def test_a_context_variable_reaches_none_that_is_started_by_the_handler_that_set_it() -> None:
    seen: list[str] = []

    async def step(one: Held) -> None:
        seen.append(TENANT.get("nobody's"))
        if len(seen) == 1:
            TENANT.set("mine")
            bench.runners.start(held("follows"))

    TENANT.set("the app's")
    bench = Bench(step)
    TENANT.set("another's")
    bench.start(1)
    await asyncio.sleep(1)
    assert seen == ["the app's"] * 2


@virtually
async def test_a_context_variable_that_is_put_back_costs_no_task() -> None:
    async def step(one: Held) -> None:
        token = TENANT.set("mine")
        TENANT.reset(token)

    TENANT.set("the app's")
    bench = Bench(step)
    bench.start(3)
    await asyncio.sleep(1)
    assert bench.task_count == 1


@virtually
async def test_a_task_that_is_cancelled_before_its_first_step_takes_only_its_own_along() -> None:
    bench = Bench(nothing)
    first, *others = bench.start(3)
    assert first.task is not None
    first.task.cancel()
    await asyncio.sleep(1)
    assert list(bench.tasks) == others
    assert {one for one, _ in bench.over} == {first, *others}


@virtually
async def test_what_a_handling_died_of_is_told_and_the_others_run_on() -> None:
    defect = KeyError("defect")

    async def step(one: Held) -> None:
        if one.raw.broker_id == "id-1":
            raise defect

    bench = Bench(step)
    first, second, third = bench.start(3)
    await asyncio.sleep(1)
    assert dict(bench.over) == {first: None, second: defect, third: None}
